-- Numbers of images and jobs.

CREATE TABLE pictrepo.row_counts (
	relation text COLLATE "C" NOT NULL,
	queue text COLLATE "C" NOT NULL,
	rows bigint NOT NULL,
	counted_at timestamptz NOT NULL,
	PRIMARY KEY (relation, queue)
);
COMMENT ON TABLE pictrepo.row_counts IS
	'numbers of rows from 10,000 on, which the primary records for size() and queue_length() on its standbys';
COMMENT ON COLUMN pictrepo.row_counts.relation IS 'hashes or job_queue';
COMMENT ON COLUMN pictrepo.row_counts.queue IS 'name of a queue; the empty string for all rows';
COMMENT ON COLUMN pictrepo.row_counts.rows IS 'number of rows';
COMMENT ON COLUMN pictrepo.row_counts.counted_at IS 'time when the number was recorded';

CREATE FUNCTION pictrepo.recount(OUT images bigint, OUT jobs bigint)
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_recount';
COMMENT ON FUNCTION pictrepo.recount() IS
	'count the images and the jobs again. Later calls of size() and queue_length() continue from these numbers';
