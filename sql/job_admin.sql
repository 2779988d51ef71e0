-- QueueRepo for administrators: cancelling, changing and releasing jobs, many dead jobs at once, dropping queues.
SET timezone = 'UTC';
\set one '11111111-1111-4111-8111-111111111111'
\set two '22222222-2222-4222-8222-222222222222'

-- a job that waits
SELECT pictrepo.push('process', '1') AS id \gset
SELECT pictrepo.cancel_job(:'id');
SELECT pictrepo.queue_length('process');
SELECT pictrepo.cancel_job(:'id') AS again;

-- a job that runs: its worker hears of it, and so does the client of its upload
SELECT pictrepo.create_upload() AS upload \gset
SELECT pictrepo.push('process', '2', upload => :'upload') AS id \gset
SELECT job FROM pictrepo.pop('process', :'one');
SELECT pictrepo.cancel_job(:'id');
SELECT pictrepo.heartbeat('process', :'one', :'id'), pictrepo.complete_job('process', :'one', :'id');
SELECT pictrepo.wait(:'upload', '0');
SELECT pictrepo.claim(:'upload');

-- an upload that has its result keeps it
SELECT pictrepo.create_upload() AS upload \gset
SELECT pictrepo.push('process', '3', upload => :'upload') AS id \gset
SELECT pictrepo.complete_upload(:'upload', '{"Success": {"alias": "a.png", "token": "t"}}'), pictrepo.cancel_job(:'id');
SELECT pictrepo.wait(:'upload', '0');
SELECT pictrepo.claim(:'upload');

-- many, those that wait first; the unique key is free again
SELECT count(pictrepo.push_many('process', '{1,2,3,4}'));
SELECT pictrepo.push('process', '5', unique_key => 'nightly') IS NOT NULL AS pushed;
SELECT count(*) FROM pictrepo.pop('process', :'one', 2);
SELECT pictrepo.cancel_jobs('process', max => 1);
SELECT state, count(*) FROM pictrepo.jobs GROUP BY 1 ORDER BY 1;
SELECT pictrepo.cancel_jobs('cleanup', 'nightly') AS another_queue, pictrepo.cancel_jobs('process', 'Nightly') AS another_key;
SELECT pictrepo.cancel_jobs('process', 'nightly') AS waiting, pictrepo.cancel_jobs('process', 'nightly') AS again;
SELECT pictrepo.push('process', '6', unique_key => 'nightly') IS NOT NULL AS pushed;
SELECT job FROM pictrepo.pop('process', :'two', 10) ORDER BY job::text;
SELECT pictrepo.cancel_jobs('process', 'nightly') AS running;
SELECT pictrepo.cancel_jobs('process') AS the_rest, pictrepo.cancel_jobs('process') AS again;
SELECT pictrepo.queue_length('process');

-- change a job that waits
SELECT pictrepo.push('process', '"first"') AS first \gset
SELECT pictrepo.push('process', '"second"') AS second \gset
SELECT pictrepo.update_job(:'second', priority => 7);
SELECT pictrepo.update_job(:'first', run_at => '3001-01-01');
SELECT job, queue, state, priority, run_at > now() AS later FROM pictrepo.jobs ORDER BY job;
SELECT job FROM pictrepo.pop('process', :'one', 10);
SELECT pictrepo.update_job(:'second', priority => 8) AS running, pictrepo.update_job(:'one', priority => 8) AS missing;
SELECT pictrepo.update_job(:'first', queue => 'other', run_at => '2001-01-01');
SELECT job, queue, state FROM pictrepo.jobs ORDER BY job;
SELECT pictrepo.update_job(:'first') AS nothing_to_change;
SELECT job FROM pictrepo.pop('other', :'one');

-- give a job back: it keeps its retries, and may wait
SELECT pictrepo.release_job('process', :'two', :'second') AS another_worker, pictrepo.release_job('other', :'one', :'second') AS another_queue;
SELECT pictrepo.release_job('process', :'one', :'second'), pictrepo.release_job('process', :'one', :'second') AS again;
SELECT pictrepo.heartbeat('process', :'one', :'second'), pictrepo.complete_job('process', :'one', :'second');
SELECT job, state, retry, attempt, worker FROM pictrepo.jobs WHERE queue = 'process';
SELECT job, attempt FROM pictrepo.pop('process', :'two');
SELECT pictrepo.release_job('process', :'two', :'second', '3001-01-01');
SELECT job, state, retry, run_at FROM pictrepo.jobs WHERE queue = 'process';
SELECT pictrepo.cancel_job(:'first'), pictrepo.cancel_job(:'second');

-- many dead jobs
SELECT pictrepo.configure_queue('process', retries => 3);
SELECT count(pictrepo.push_many('process', '{1,2,3,4}', '{a,b,c,d}', retry => 0));
SELECT outcome, count(*) FROM unnest(pictrepo.complete_many('process', :'one', (SELECT array_agg(id) FROM pictrepo.pop('process', :'one', 3)),
	'failure', 'connection timed out')) AS outcome GROUP BY 1;
SELECT pictrepo.complete_job('process', :'one', id, 'aborted', 'no picture') FROM pictrepo.pop('process', :'one');
SELECT pictrepo.push('process', '5', unique_key => 'a') AS holder \gset
SELECT pictrepo.requeue_dead('process', '%no such error%') AS none, pictrepo.requeue_dead('other', '%') AS another_queue;
SELECT pictrepo.requeue_dead('process', '%timed out', 2) AS one_of_two_whose_key_is_held;
SELECT pictrepo.requeue_dead('process', '%timed out', 2) AS the_other, pictrepo.requeue_dead('process', '%timed out', 2) AS held;
SELECT job, state, retry, error FROM pictrepo.jobs WHERE unique_key <> 'a' ORDER BY job;
SELECT pictrepo.delete_dead('process', 'no%'), pictrepo.delete_dead('other', '%') AS another_queue;
SELECT job, error FROM pictrepo.dead_jobs;

-- a queue goes when nothing belongs to it
SELECT pictrepo.drop_queue('process') AS has_jobs;
SELECT pictrepo.cancel_jobs('process');
SELECT pictrepo.drop_queue('process') AS has_a_dead_job;
SELECT pictrepo.delete_dead('process', '%');
SELECT count(pictrepo.schedule_job('yearly', 'process', '1', cron => '@yearly'));
SELECT pictrepo.drop_queue('process') AS has_a_schedule;
SELECT pictrepo.unschedule_job('yearly');
SELECT pictrepo.drop_queue('process'), pictrepo.drop_queue('process') AS again;
SELECT count(*) FROM pictrepo.queues WHERE queue = 'process';

-- bad input
SELECT pictrepo.cancel_job(NULL);
SELECT pictrepo.cancel_jobs('');
SELECT pictrepo.cancel_jobs('process', repeat('k', 81));
SELECT pictrepo.cancel_jobs('process', max => 0);
SELECT pictrepo.update_job(:'one', run_at => 'infinity');
SELECT pictrepo.update_job(:'one', queue => '');
SELECT pictrepo.release_job('process', :'one', NULL);
SELECT pictrepo.release_job('process', :'one', :'two', '-infinity');
SELECT pictrepo.requeue_dead('process', '%', 10001);
SELECT pictrepo.delete_dead('process', '%\');
SELECT pictrepo.delete_dead(NULL, '%');
SELECT pictrepo.requeue_dead('process', NULL);
SELECT pictrepo.drop_queue(NULL);
