-- What the queries called, and what must hold whatever they did by functions.
\pset tuples_only on
\pset format unaligned
\set QUIET on

-- sqlsmith cannot say CALL, and nobody but the server calls a trigger's function.
CREATE TEMP VIEW reached AS
SELECT proname, coalesce(calls, 0) AS calls
FROM pg_proc p LEFT JOIN pg_stat_user_functions f ON f.funcid = p.oid
WHERE pronamespace = 'pictrepo'::regnamespace AND prokind = 'f' AND prorettype <> 'trigger'::regtype;

SELECT sum(calls) || ' calls of ' || count(*) FILTER (WHERE calls > 0) || ' of ' || count(*)
	|| ' functions of pictrepo, '
	|| (SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database())
	|| ' transactions'
FROM reached;

SELECT 'not reached: ' || string_agg(proname, ', ' ORDER BY proname) FROM reached WHERE calls = 0 HAVING count(*) > 0;

DO $$
BEGIN
	ASSERT (SELECT sum(calls) > 0 FROM reached), 'nothing was called';
	ASSERT pictrepo.size() = (SELECT count(*) FROM pictrepo.hashes), 'size';
	ASSERT pictrepo.queue_length() = (SELECT count(*) FROM pictrepo.job_queue), 'queue_length';
	ASSERT (SELECT bool_and(pictrepo.queue_length(queue) = jobs)
		FROM (SELECT queue, count(*) AS jobs FROM pictrepo.job_queue GROUP BY queue) q), 'queue_length of a queue';
	ASSERT (SELECT count(*) = 0 FROM pictrepo.status() WHERE value IS NULL), 'status';
	PERFORM pictrepo.push('afterwards', '1');
	ASSERT (SELECT count(*) = 1 FROM pictrepo.pop('afterwards')), 'push and pop';
END $$;
