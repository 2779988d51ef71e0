-- Import from and export to the tables that pict-rs 0.5 has in PostgreSQL.

CREATE TABLE pictrepo.transfers (
	direction text COLLATE "C" NOT NULL CHECK (direction IN ('import', 'export')),
	schema text COLLATE "C" NOT NULL,
	relation text COLLATE "C" NOT NULL,
	source_rows bigint NOT NULL,
	rows_read bigint NOT NULL DEFAULT 0,
	stored bigint NOT NULL DEFAULT 0,
	same bigint NOT NULL DEFAULT 0,
	bad bigint NOT NULL DEFAULT 0,
	target_rows bigint,
	reached text[],
	started timestamptz NOT NULL DEFAULT now(),
	updated timestamptz NOT NULL DEFAULT now(),
	finished timestamptz,
	different bigint NOT NULL DEFAULT 0,
	PRIMARY KEY (direction, schema, relation)
);
COMMENT ON TABLE pictrepo.transfers IS
	'progress of the last import_pictrs and export_pictrs of each schema, one row per table';
COMMENT ON COLUMN pictrepo.transfers.direction IS 'import or export';
COMMENT ON COLUMN pictrepo.transfers.schema IS 'schema of the tables of pict-rs';
COMMENT ON COLUMN pictrepo.transfers.relation IS 'name of the table in pict-rs';
COMMENT ON COLUMN pictrepo.transfers.source_rows IS
	'rows of the table that is read, counted at the start and again at the end';
COMMENT ON COLUMN pictrepo.transfers.rows_read IS 'rows read; equals stored + same + different + bad';
COMMENT ON COLUMN pictrepo.transfers.stored IS 'rows that were stored';
COMMENT ON COLUMN pictrepo.transfers.same IS 'rows that existed with the same values';
COMMENT ON COLUMN pictrepo.transfers.different IS
	'rows whose key existed with other values; the existing row stays as it is, and transfer_errors says '
	'what differs';
COMMENT ON COLUMN pictrepo.transfers.bad IS 'rows that could not be stored; transfer_errors says why';
COMMENT ON COLUMN pictrepo.transfers.target_rows IS
	'rows of the table that is written, counted at the end; NULL before the end';
COMMENT ON COLUMN pictrepo.transfers.reached IS 'key of the last row read; NULL if none was';
COMMENT ON COLUMN pictrepo.transfers.started IS 'start time';
COMMENT ON COLUMN pictrepo.transfers.updated IS 'time of the last committed batch';
COMMENT ON COLUMN pictrepo.transfers.finished IS
	'time when the table was finished; NULL if it is unfinished. The next call then continues it';

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
	'rows that the last import_pictrs or export_pictrs of a schema could not store, or that existed with other '
	'values';
COMMENT ON COLUMN pictrepo.transfer_errors.direction IS 'import or export';
COMMENT ON COLUMN pictrepo.transfer_errors.schema IS 'schema of the tables of pict-rs';
COMMENT ON COLUMN pictrepo.transfer_errors.relation IS 'name of the table in pict-rs';
COMMENT ON COLUMN pictrepo.transfer_errors.place IS 'number of the row, in reading order';
COMMENT ON COLUMN pictrepo.transfer_errors.key IS
	'key of the row in the form of pict-rs, at most 100 characters of it';
COMMENT ON COLUMN pictrepo.transfer_errors.message IS 'reason why the row could not be stored, or names of the columns that differ';

CREATE PROCEDURE pictrepo.import_pictrs(source_schema text, batch int = 10000, resume bool = true,
	INOUT stored bigint = NULL, INOUT same bigint = NULL, INOUT different bigint = NULL,
	INOUT bad bigint = NULL, INOUT counts_agree bool = NULL)
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_import_pictrs';
COMMENT ON PROCEDURE pictrepo.import_pictrs(text, int, bool, bigint, bigint, bigint, bigint, bool) IS
	'copy the tables of pict-rs 0.5 into pictrepo, in batches that commit one by one. '
	'Existing rows stay as they are. batch: 1 to 100000 rows. '
	'resume: if true, continue an unfinished import of the schema; if false, start from the beginning. '
	'stored, same, different, bad: numbers of rows, as in transfers; transfer_errors lists the different and '
	'the bad ones. '
	'counts_agree: true if every row was read, and pictrepo has it with the same values. '
	'transfers and pg_stat_activity show the progress. Error 2D000: the call is in a transaction block. '
	'Error 3F000: the schema does not exist. '
	'Errors 42P01, 42703, 42804: the tables are not those of pict-rs. '
	'Error 55006: another session imports from or exports to the schema';

CREATE PROCEDURE pictrepo.export_pictrs(target_schema text, batch int = 10000, resume bool = true,
	INOUT stored bigint = NULL, INOUT same bigint = NULL, INOUT different bigint = NULL,
	INOUT bad bigint = NULL, INOUT counts_agree bool = NULL)
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_export_pictrs';
COMMENT ON PROCEDURE pictrepo.export_pictrs(text, int, bool, bigint, bigint, bigint, bigint, bool) IS
	'copy pictrepo into the tables of pict-rs 0.5, in batches that commit one by one. '
	'Missing tables are created, and existing rows stay as they are. In a schema without tables, pict-rs 0.5.11 '
	'and later can start on the result. batch: 1 to 100000 rows. '
	'resume: if true, continue an unfinished export to the schema; if false, start from the beginning. '
	'stored, same, different, bad: numbers of rows, as in transfers; transfer_errors lists the different and '
	'the bad ones. '
	'counts_agree: true if every row was read, and the target has it with the same values. '
	'transfers and pg_stat_activity show the progress. Error 2D000: the call is in a transaction block. '
	'Errors 42P01, 42703, 42804: the tables are not those of pict-rs. '
	'Error 55006: another session imports from or exports to the schema';
