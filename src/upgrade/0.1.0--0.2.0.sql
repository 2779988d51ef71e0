-- What an upgrade from 0.1.0 changes in tables, and what it cannot replace.

CREATE INDEX dead_jobs_queue_index ON pictrepo.dead_jobs (queue, died_at);
