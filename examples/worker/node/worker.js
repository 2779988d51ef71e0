// A worker of pictrepo: does the jobs of a queue until SIGTERM.
//
//     node worker.js QUEUE
'use strict';

const { randomUUID } = require('crypto');
const { setTimeout: sleep } = require('timers/promises');
const { Client, DatabaseError } = require('pg');

// Seconds between heartbeats, a quarter of pictrepo.heartbeat_timeout.
const BEAT = Number(process.env.HEARTBEAT_SECONDS ?? 30);

const WAIT = "CALL pictrepo.pop_wait($1, $2, '10 s')";
const END_AND_NEXT = 'SELECT id, job, attempt, outcome FROM pictrepo.complete_and_pop($1, $2, $3, $5, $6, $4)';
const END = 'SELECT NULL AS id, pictrepo.complete_job($1, $2, $3, $5, $6, $4) AS outcome';

// Does one job: your work goes here. If it throws the job fails, and is tried
// again. When the signal `lost` is aborted another worker has the job, and this
// one should leave it.
async function handle(job, lost) {
  if (job.seconds < 0) throw new Error('no job takes less than no time');
  await sleep(job.seconds * 1000, undefined, { signal: lost });
}

async function work(queue, stop) {
  const worker = randomUUID();
  while (!stop.aborted) {
    const db = new Client({ application_name: `imagehost worker: ${queue}` });
    // A connection that is cut says so here, too; without a listener node would end.
    db.on('error', () => {});
    try {
      await db.connect();
      await workConnected(db, queue, worker, stop);
    } catch (error) {
      if (!isPassing(error)) throw error;
      console.error('connecting again:', error.message);
      await sleep(1000);
    } finally {
      // Not awaited, because some versions never end a connection that was cut.
      db.end().catch(() => {});
    }
  }
}

async function workConnected(db, queue, worker, stop) {
  let next = { id: null };
  while (next.id || !stop.aborted) {
    // pop_wait commits by itself, so there is no transaction around it.
    next = next.id
      ? await doJob(db, [queue, worker, next.id, next.attempt], next.job, stop)
      : (await db.query(WAIT, [queue, worker])).rows[0];
  }
}

// Does a job and ends it; the next one comes along, unless the worker is to stop.
async function doJob(db, claim, job, stop) {
  let result = 'success', reason = null;
  const lost = new AbortController();
  // The worker's connection is idle while it works.
  const heart = setInterval(async () => {
    const held = await db.query('SELECT pictrepo.heartbeat($1, $2, $3, $4) AS held', claim)
      .then(({ rows: [{ held }] }) => held, () => false);
    if (!held) lost.abort();
  }, BEAT * 1000);
  try {
    await handle(job, lost.signal);
  } catch (error) {
    result = 'failure';
    reason = error.message;
  } finally {
    clearInterval(heart);
  }
  if (lost.signal.aborted) {
    console.error(`job ${claim[2]} is lost`);
    return { id: null };
  }
  const { rows: [next] } = await db.query(stop.aborted ? END : END_AND_NEXT, [...claim, result, reason]);
  if (next.outcome !== 'completed') console.error(`job ${claim[2]} is ${next.outcome}: ${reason}`);
  return next;
}

// A lost connection, or what trying again may help against: conflicts,
// something that ran out, a server that goes down.
function isPassing(error) {
  return !(error instanceof DatabaseError) || /^(08|40|53|57)/.test(error.code);
}

const stopping = new AbortController();
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => stopping.abort());
work(process.argv[2], stopping.signal);
