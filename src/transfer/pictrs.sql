-- From and to the tables that pict-rs 0.5 keeps in PostgreSQL.

CREATE TABLE pictrepo.transfers (
	direction text COLLATE "C" NOT NULL CHECK (direction IN ('import', 'export')),
	schema text COLLATE "C" NOT NULL,
	relation text COLLATE "C" NOT NULL,
	source_rows bigint NOT NULL,
	rows_read bigint NOT NULL DEFAULT 0,
	stored bigint NOT NULL DEFAULT 0,
	present bigint NOT NULL DEFAULT 0,
	bad bigint NOT NULL DEFAULT 0,
	target_rows bigint,
	reached text[],
	started timestamptz NOT NULL DEFAULT now(),
	updated timestamptz NOT NULL DEFAULT now(),
	finished timestamptz,
	PRIMARY KEY (direction, schema, relation)
);
COMMENT ON TABLE pictrepo.transfers IS
	'how far import_pictrs and export_pictrs are, or what they did last, table by table';
COMMENT ON COLUMN pictrepo.transfers.direction IS 'import or export';
COMMENT ON COLUMN pictrepo.transfers.schema IS 'where pict-rs''s tables are';
COMMENT ON COLUMN pictrepo.transfers.relation IS 'the table, by pict-rs''s name';
COMMENT ON COLUMN pictrepo.transfers.source_rows IS
	'rows of the table that is read, as counted at the beginning, and again at the end';
COMMENT ON COLUMN pictrepo.transfers.rows_read IS 'rows that have been read; always stored + present + bad';
COMMENT ON COLUMN pictrepo.transfers.stored IS 'rows that were new and are stored now';
COMMENT ON COLUMN pictrepo.transfers.present IS 'rows whose key was there already; what was there stays as it is';
COMMENT ON COLUMN pictrepo.transfers.bad IS 'rows that could not be stored; transfer_errors says why';
COMMENT ON COLUMN pictrepo.transfers.target_rows IS
	'rows of the table that is written, as counted at the end; NULL: not at the end';
COMMENT ON COLUMN pictrepo.transfers.reached IS 'key of the last row that was read; NULL: none was';
COMMENT ON COLUMN pictrepo.transfers.started IS 'when it began';
COMMENT ON COLUMN pictrepo.transfers.updated IS 'when the last batch was committed';
COMMENT ON COLUMN pictrepo.transfers.finished IS
	'when the table was done; NULL: not yet, and the next call goes on from here';

CREATE TABLE pictrepo.transfer_errors (
	direction text COLLATE "C" NOT NULL,
	schema text COLLATE "C" NOT NULL,
	relation text COLLATE "C" NOT NULL,
	place bigint NOT NULL,
	key text COLLATE "C" NOT NULL,
	message text COLLATE "C" NOT NULL,
	PRIMARY KEY (direction, schema, relation, place),
	FOREIGN KEY (direction, schema, relation) REFERENCES pictrepo.transfers ON DELETE CASCADE
);
COMMENT ON TABLE pictrepo.transfer_errors IS
	'rows that the last import_pictrs or export_pictrs of a schema left where they are';
COMMENT ON COLUMN pictrepo.transfer_errors.direction IS 'import or export';
COMMENT ON COLUMN pictrepo.transfer_errors.schema IS 'where pict-rs''s tables are';
COMMENT ON COLUMN pictrepo.transfer_errors.relation IS 'the table, by pict-rs''s name';
COMMENT ON COLUMN pictrepo.transfer_errors.place IS 'which of the rows that were read';
COMMENT ON COLUMN pictrepo.transfer_errors.key IS 'its key as pict-rs has it, at most 100 characters of it';
COMMENT ON COLUMN pictrepo.transfer_errors.message IS 'what is wrong with it';

CREATE PROCEDURE pictrepo.import_pictrs(source_schema text, batch int = 10000, resume bool = true,
	INOUT stored bigint = NULL, INOUT present bigint = NULL, INOUT bad bigint = NULL,
	INOUT counts_agree bool = NULL)
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_import_pictrs';
COMMENT ON PROCEDURE pictrepo.import_pictrs(text, int, bool, bigint, bigint, bigint, bool) IS
	'take over what is in pict-rs 0.5''s tables, batch (1 to 100000) rows at a time, each committed; what is there stays. '
	'It goes on where an unfinished one stopped (resume false: from the beginning). '
	'Progress is in transfers and pg_stat_activity, bad rows are in transfer_errors. '
	'counts_agree: all that is there was read and is here now. '
	'Errors: 2D000 in a transaction block; 3F000 no such schema; 42P01, 42703, 42804 other tables than pict-rs''s; 55006 another session is at it';

CREATE PROCEDURE pictrepo.export_pictrs(target_schema text, batch int = 10000, resume bool = true,
	INOUT stored bigint = NULL, INOUT present bigint = NULL, INOUT bad bigint = NULL,
	INOUT counts_agree bool = NULL)
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_export_pictrs';
COMMENT ON PROCEDURE pictrepo.export_pictrs(text, int, bool, bigint, bigint, bigint, bool) IS
	'write pict-rs 0.5''s tables, which are made where they are missing, batch (1 to 100000) rows at a time, each committed; what is there stays. '
	'It goes on where an unfinished one stopped (resume false: from the beginning). '
	'Progress is in transfers and pg_stat_activity, bad rows are in transfer_errors. '
	'counts_agree: all that is here was read and is there now. '
	'Errors: 2D000 in a transaction block; 42P01, 42703, 42804 other tables than pict-rs''s; 55006 another session is at it';
