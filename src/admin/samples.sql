-- Samples of the queues and the counts, for graphs.  The background worker takes
-- one every pictrepo.sample_interval.

CREATE TABLE pictrepo.samples (
	at timestamptz PRIMARY KEY,
	images bigint NOT NULL,
	uploads bigint NOT NULL
);
COMMENT ON TABLE pictrepo.samples IS 'numbers of images and uploads over time, one row per sample';
COMMENT ON COLUMN pictrepo.samples.at IS 'time of the sample';
COMMENT ON COLUMN pictrepo.samples.images IS 'number of stored hashes';
COMMENT ON COLUMN pictrepo.samples.uploads IS 'number of uploads that were not claimed yet';

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
COMMENT ON TABLE pictrepo.queue_samples IS 'rows of queue_stats over time, one row per queue and sample';
COMMENT ON COLUMN pictrepo.queue_samples.at IS 'time of the sample';
COMMENT ON COLUMN pictrepo.queue_samples.queue IS 'name of the queue';
COMMENT ON COLUMN pictrepo.queue_samples.ready IS 'due jobs that waited for a worker';
COMMENT ON COLUMN pictrepo.queue_samples.scheduled IS 'jobs that were not due yet';
COMMENT ON COLUMN pictrepo.queue_samples.running IS 'jobs that workers held';
COMMENT ON COLUMN pictrepo.queue_samples.dead IS 'jobs in dead_jobs';
COMMENT ON COLUMN pictrepo.queue_samples.oldest_age IS
	'time since the oldest ready job became due; NULL if no job was ready';
COMMENT ON COLUMN pictrepo.queue_samples.pushed IS
	'jobs pushed since the server started. '
	'This counter and the following columns restart at 0 with the server. '
	'They are NULL without shared_preload_libraries';
COMMENT ON COLUMN pictrepo.queue_samples.popped IS 'jobs given to workers';
COMMENT ON COLUMN pictrepo.queue_samples.completed IS 'jobs that ended in success';
COMMENT ON COLUMN pictrepo.queue_samples.failed IS 'runs that ended in failure or were aborted';
COMMENT ON COLUMN pictrepo.queue_samples.died IS 'jobs moved to dead_jobs';
COMMENT ON COLUMN pictrepo.queue_samples.reaped IS 'jobs taken from silent workers and from ended sessions';
COMMENT ON COLUMN pictrepo.queue_samples.wait_time IS
	'total time that popped jobs had been due before a worker got them';
COMMENT ON COLUMN pictrepo.queue_samples.run_time IS 'total time that workers held the jobs whose runs ended';
COMMENT ON COLUMN pictrepo.queue_samples.waiting IS
	'sessions that waited for a job at the time of the sample';
