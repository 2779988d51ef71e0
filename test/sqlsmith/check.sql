-- What the queries called, and what must hold whatever they did by functions.
\pset tuples_only on
\pset format unaligned
\set QUIET on

SELECT sum(calls) || ' calls of ' || count(*) || ' functions of pictrepo, '
	|| (SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database())
	|| ' transactions'
FROM pg_stat_user_functions WHERE schemaname = 'pictrepo';

DO $$
BEGIN
	ASSERT (SELECT sum(calls) > 0 FROM pg_stat_user_functions WHERE schemaname = 'pictrepo'), 'nothing was called';
	ASSERT pictrepo.size() = (SELECT count(*) FROM pictrepo.hashes), 'size';
	ASSERT pictrepo.queue_length() = (SELECT count(*) FROM pictrepo.job_queue), 'queue_length';
	ASSERT (SELECT bool_and(pictrepo.queue_length(queue) = jobs)
		FROM (SELECT queue, count(*) AS jobs FROM pictrepo.job_queue GROUP BY queue) q), 'queue_length of a queue';
	ASSERT (SELECT count(*) = 0 FROM pictrepo.status() WHERE value IS NULL), 'status';
	PERFORM pictrepo.push('afterwards', '1');
	ASSERT (SELECT count(*) = 1 FROM pictrepo.pop('afterwards')), 'push and pop';
END $$;
