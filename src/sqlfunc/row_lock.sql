-- What statements of pictrepo call to lock rows.

CREATE FUNCTION pictrepo.lock_row(table_id oid, row_id tid, exclusive bool) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_lock_row';
COMMENT ON FUNCTION pictrepo.lock_row(oid, tid, bool) IS
	'lock a row, for statements of pictrepo: no role may call it. Returns false, without waiting, if another '
	'transaction has locked or changed the row. '
	'table_id, row_id: tableoid and ctid of the row. exclusive: lock it FOR UPDATE, not FOR NO KEY UPDATE';
