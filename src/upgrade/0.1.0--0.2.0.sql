-- What an upgrade from 0.1.0 changes in tables, and what it cannot replace.

CREATE INDEX dead_jobs_queue_index ON pictrepo.dead_jobs (queue, died_at);

ALTER TABLE pictrepo.job_queue ADD COLUMN failures int NOT NULL DEFAULT 0;

-- Until now, a job that was requeued had its attempts from 0 on.
UPDATE pictrepo.job_queue SET failures = attempt - (status = 'running')::int;

DROP FUNCTION pictrepo.heartbeat(text, uuid, uuid);
DROP FUNCTION pictrepo.complete_job(text, uuid, uuid, text, text);
DROP FUNCTION pictrepo.complete_many(text, uuid, uuid[], text, text);
DROP FUNCTION pictrepo.complete_and_pop(text, uuid, uuid, text, text);
DROP FUNCTION pictrepo.finish_ingest(text, uuid, uuid, uuid, bytea, text, jsonb, text, text, timestamptz);

DROP VIEW pictrepo.maintenance;
DROP FUNCTION pictrepo.maintenance_status();

-- What an earlier transfer found present may have been the same or not.  The next
-- one begins anew.
DELETE FROM pictrepo.transfers;
DELETE FROM pictrepo.transfer_errors;
-- PostgreSQL 18 names the constraint NOT NULL by the column.
ALTER TABLE pictrepo.transfers ALTER COLUMN present DROP NOT NULL;
ALTER TABLE pictrepo.transfers RENAME COLUMN present TO same;
ALTER TABLE pictrepo.transfers ALTER COLUMN same SET NOT NULL;
ALTER TABLE pictrepo.transfers ADD COLUMN different bigint NOT NULL DEFAULT 0;
DROP PROCEDURE pictrepo.import_pictrs(text, int, bool, bigint, bigint, bigint, bool);
DROP PROCEDURE pictrepo.export_pictrs(text, int, bool, bigint, bigint, bigint, bool);

CREATE TABLE pictrepo.prepared_notifications (
	id uuid PRIMARY KEY,
	channel text NOT NULL,
	payload text NOT NULL
);
SELECT pg_catalog.pg_extension_config_dump('pictrepo.prepared_notifications', '');

CREATE TABLE pictrepo.row_counts (
	relation text COLLATE "C" NOT NULL,
	queue text COLLATE "C" NOT NULL,
	rows bigint NOT NULL,
	counted_at timestamptz NOT NULL,
	PRIMARY KEY (relation, queue)
);

CREATE TABLE pictrepo.restore_hold (
	only_row bool PRIMARY KEY DEFAULT true CHECK (only_row),
	held_until timestamptz NOT NULL
);

CREATE TRIGGER queues_gone AFTER TRUNCATE ON pictrepo.queues
	EXECUTE FUNCTION pictrepo.queue_changed();
ALTER TABLE pictrepo.queues ENABLE ALWAYS TRIGGER queues_gone;
