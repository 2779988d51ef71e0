-- How things went: looks at the queues and counts, for graphs. Written by the
-- background worker where pictrepo.sample_interval says so.

CREATE TABLE pictrepo.samples (
	at timestamptz PRIMARY KEY,
	images bigint NOT NULL,
	uploads bigint NOT NULL
);
COMMENT ON TABLE pictrepo.samples IS 'what there was from time to time';
COMMENT ON COLUMN pictrepo.samples.at IS 'when';
COMMENT ON COLUMN pictrepo.samples.images IS 'hashes that were stored';
COMMENT ON COLUMN pictrepo.samples.uploads IS 'uploads that were under way';

CREATE TABLE pictrepo.queue_samples (
	at timestamptz NOT NULL,
	queue text COLLATE "C",
	ready bigint NOT NULL,
	scheduled bigint NOT NULL,
	running bigint NOT NULL,
	dead bigint NOT NULL,
	oldest_age interval,
	pushed bigint,
	popped bigint,
	completed bigint,
	failed bigint,
	died bigint,
	reaped bigint,
	wait_time interval,
	run_time interval,
	waiting bigint,
	PRIMARY KEY (at, queue)
);
COMMENT ON TABLE pictrepo.queue_samples IS 'what queue_stats showed from time to time';
COMMENT ON COLUMN pictrepo.queue_samples.at IS 'when';
COMMENT ON COLUMN pictrepo.queue_samples.queue IS 'the queue';
COMMENT ON COLUMN pictrepo.queue_samples.ready IS 'jobs that waited for a worker';
COMMENT ON COLUMN pictrepo.queue_samples.scheduled IS 'jobs that were not due yet';
COMMENT ON COLUMN pictrepo.queue_samples.running IS 'jobs that workers held';
COMMENT ON COLUMN pictrepo.queue_samples.dead IS 'jobs in dead_jobs';
COMMENT ON COLUMN pictrepo.queue_samples.oldest_age IS 'how long the oldest ready job had been due; NULL: none was ready';
COMMENT ON COLUMN pictrepo.queue_samples.pushed IS 'jobs that were pushed since the server started, as are the counts that follow; less than in the sample before: it was started anew';
COMMENT ON COLUMN pictrepo.queue_samples.popped IS 'jobs that were given to workers';
COMMENT ON COLUMN pictrepo.queue_samples.completed IS 'jobs that ended in success';
COMMENT ON COLUMN pictrepo.queue_samples.failed IS 'runs that ended in failure or abort';
COMMENT ON COLUMN pictrepo.queue_samples.died IS 'jobs that went to dead_jobs';
COMMENT ON COLUMN pictrepo.queue_samples.reaped IS 'jobs that were taken from silent workers and ended sessions';
COMMENT ON COLUMN pictrepo.queue_samples.wait_time IS 'how long the popped ones had been due until then';
COMMENT ON COLUMN pictrepo.queue_samples.run_time IS 'how long workers held those that ended';
COMMENT ON COLUMN pictrepo.queue_samples.waiting IS 'sessions that waited';
