// pictrepo from JavaScript with pg (node-postgres): the scenario that all clients
// run. A worker is in worker.js.
'use strict';

const { createHash, randomUUID } = require('crypto');
const { on } = require('events');
const { setTimeout: sleep } = require('timers/promises');
const { isDeepStrictEqual, inspect } = require('util');
const { Client, DatabaseError } = require('pg');

const DETAILS = { width: 640, height: 480, format: { Image: 'png' } };

function check(step, got, wanted) {
  const good = isDeepStrictEqual(got, wanted);
  console.log(good ? `ok - ${step}` : `not ok - ${step}: ${inspect(got, { breakLength: Infinity })}`);
}

async function connect() {
  const db = new Client();
  await db.connect();
  return db;
}

async function rows(db, sql, ...args) {
  return (await db.query(sql, args)).rows.map((row) => ({ ...row }));
}

async function row(db, sql, ...args) {
  return (await rows(db, sql, ...args))[0];
}

async function value(db, sql, ...args) {
  return Object.values(await row(db, sql, ...args))[0];
}

function makeHash(db, content) {
  return value(db, "SELECT pictrepo.make_hash($1, $2, 'png')",
    createHash('sha256').update(content).digest(), content.length);
}

function ingest(db, hash, identifier, alias, createdAt = null) {
  return value(db, 'SELECT outcome FROM pictrepo.ingest($1, $2, $3, $4, $5, $6)',
    hash, identifier, DETAILS, alias, 'token', createdAt);
}

async function pictures(db, hash) {
  check('ingest: created', await ingest(db, hash, 'cat.png', 'cat-1.png'), 'created');
  check('ingest: duplicate', await ingest(db, hash, 'again.png', 'cat-2.png'), 'duplicate');
  check('serve: the file and its details',
    await row(db, 'SELECT hash, identifier, details, fallback FROM pictrepo.serve($1)', 'cat-2.png'),
    { hash, identifier: 'cat.png', details: DETAILS, fallback: false });

  const everyByte = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
  await db.query('SELECT pictrepo.set($1, $2)', ['bytes', everyByte]);
  check('set, get: any bytes', await value(db, 'SELECT pictrepo.get($1)', 'bytes'), everyByte);

  const noon = new Date('2020-01-01T12:00:00Z');
  await db.query('SELECT pictrepo.set_accessed_alias($1, $2)', ['cat-1.png', noon]);
  check('set_accessed_alias, alias_accessed_at: the same time',
    await value(db, 'SELECT pictrepo.alias_accessed_at($1)', 'cat-1.png'), noon);
}

async function pages(db, newest) {
  const wanted = [newest];
  for (let number = 0; number < 5; number++) {
    const hash = await makeHash(db, `page ${number}`);
    await ingest(db, hash, `page-${number}.png`, `page-${number}.png`, new Date(Date.UTC(2020, 0, 1, 12, number)));
    wanted.splice(1, 0, hash);
  }

  const pageAt = (slug) => row(db, 'SELECT prev, next, hashes FROM pictrepo.hash_page($1, $2)', slug, 2);
  let page = await pageAt(null);
  const first = page.hashes;
  const got = [...first];
  while (page.next) {
    page = await pageAt(page.next);
    got.push(...page.hashes);
  }
  check('hash_page: all hashes by its slugs, newest first', got, wanted);
  while (page.prev) page = await pageAt(page.prev);
  check('hash_page: prev leads back', page.hashes, first);
}

async function jobs(db) {
  const worker = randomUUID();
  const push = (job, queue = 'jobs', connection = db) =>
    value(connection, 'SELECT pictrepo.push($1, $2)', queue, job);
  const complete = (id) =>
    value(db, 'SELECT pictrepo.complete_job($1, $2, $3, attempt => $4)', 'jobs', worker, id, 1);

  const pushed = await push({ number: 1 });
  let next = await row(db, 'SELECT * FROM pictrepo.pop($1, $2)', 'jobs', worker);
  check('push, pop: the job, its attempt and its time',
    { ...next, queue_time: Math.abs(Date.now() - next.queue_time) < 60_000 },
    { id: pushed, job: { number: 1 }, attempt: 1, queue_time: true });
  await complete(next.id);

  next = await waits(
    row(db, 'SELECT id, job FROM pictrepo.pop($1, $2, wait => $3)', 'jobs', worker, '10 s'),
    (other) => push({ number: 2 }, 'jobs', other));
  check('pop with wait: what another connection pushes meanwhile', next.job, { number: 2 });

  check('heartbeat: held',
    await value(db, 'SELECT pictrepo.heartbeat($1, $2, $3, $4)', 'jobs', worker, next.id, 1), true);
  await push({ number: 3 });
  next = await row(db, 'SELECT outcome, id, job FROM pictrepo.complete_and_pop($1, $2, $3)',
    'jobs', worker, next.id);
  check('complete_and_pop: completed, and the next job',
    [next.outcome, next.job], ['completed', { number: 3 }]);
  check('complete_job: completed', await complete(next.id), 'completed');
  check('complete_job: lost the second time', await complete(next.id), 'lost');

  const ids = await value(db, 'SELECT pictrepo.push_many($1, $2, $3)', 'jobs',
    [{ number: 4 }, { number: 5 }, { number: 6 }], ['a', null, 'a']);
  check('push_many: ids, and NULL where the key is held', ids.map((id) => id !== null), [true, true, false]);
  const popped = await rows(db, 'SELECT id FROM pictrepo.pop($1, $2, $3)', 'jobs', worker, 10);
  check('complete_many: completed, and lost',
    await value(db, 'SELECT pictrepo.complete_many($1, $2, $3)', 'jobs', worker,
      [...popped.map(({ id }) => id), randomUUID()]),
    ['completed', 'completed', 'lost']);

  const popWait = (timeout) => row(db, 'CALL pictrepo.pop_wait($1, $2, $3)',
    'jobs', worker, timeout);
  check('pop_wait: NULLs when the time is up', await popWait('50 ms'),
    { id: null, job: null, attempt: null, queue_time: null });
  await push({ number: 7 });
  check('pop_wait: a job', (await popWait('10 s')).job, { number: 7 });

  const hears = await listen('queue_status_channel');
  await push({ number: 8 }, 'heard');
  check('LISTEN: the push is heard with its queue', await hears(' heard'), true);
}

// Whether a payload with that ending is heard, and then no more.
async function listen(channel) {
  const db = await connect();
  const notifications = on(db, 'notification', { signal: AbortSignal.timeout(10_000) });
  await db.query(`LISTEN ${channel}`);
  return async (ending) => {
    for await (const [{ payload }] of notifications) {
      if (payload.endsWith(ending)) break;
    }
    await db.end();
    return true;
  };
}

// What the first connection waits for while the second one makes a call.
async function waits(waiting, call) {
  const other = await connect();
  const [answer] = await Promise.all([waiting, sleep(500).then(() => call(other))]);
  await other.end();
  return answer;
}

async function variants(db, hash) {
  const ours = randomUUID(), theirs = randomUUID();
  const claim = (worker) =>
    value(db, 'SELECT pictrepo.claim_variant_processing_rights($1, $2, $3)', hash, 'thumbnail', worker);

  check('claim_variant_processing_rights: claimed, busy for another',
    [await claim(ours), await claim(theirs)], ['claimed', 'busy']);
  const hears = await listen('keyed_notification_channel');
  check('finish_variant, variant_waiter: what one connection waits for while the other stores it',
    await waits(value(db, 'SELECT pictrepo.variant_waiter($1, $2, $3)', hash, 'thumbnail', '10 s'), (other) =>
      value(other, 'SELECT pictrepo.finish_variant($1, $2, $3, $4, $5)',
        hash, 'thumbnail', ours, 'cat-128.webp', { width: 128 })),
    'cat-128.webp');
  check('LISTEN: the variant is heard with its hash', await hears(`${hash.toString('base64')}thumbnail`), true);
  check('serve_variant: its file',
    await row(db, 'SELECT identifier, details, original_identifier FROM pictrepo.serve_variant($1, $2)',
      'cat-1.png', 'thumbnail'),
    { identifier: 'cat-128.webp', details: { width: 128 }, original_identifier: 'cat.png' });
}

async function uploadAndDelete(db) {
  const worker = randomUUID();
  const upload = await value(db, 'SELECT pictrepo.create_upload()');
  await value(db, 'SELECT pictrepo.push($1, $2, upload => $3)',
    'process', { Ingest: { identifier: 'dog.png' } }, upload);
  const job = await value(db, 'SELECT id FROM pictrepo.pop($1, $2)', 'process', worker);
  const hash = await makeHash(db, 'dog');
  const hears = await listen('upload_completion_channel');
  check('finish_ingest, wait: what one connection waits for while the other brings it',
    await waits(value(db, 'SELECT pictrepo.wait($1, $2)', upload, '10 s'), (other) =>
      row(other, 'SELECT * FROM pictrepo.finish_ingest($1, $2, $3, $4, $5, $6, $7, $8, $9)',
        'process', worker, job, upload, hash, 'dog.png', DETAILS, 'dog.png', 'token')),
    { Success: { alias: 'dog.png', token: 'token' } });
  check('LISTEN: the upload is heard', await hears(upload), true);
  const claim = () => value(db, 'SELECT pictrepo.claim($1)', upload);
  check('claim: once', [await claim(), await claim()], [true, false]);

  const remove = (token) => value(db, 'SELECT pictrepo.delete_alias($1, $2)', 'dog.png', token);
  check('delete_alias: forbidden with another token', await remove('wrong'), 'forbidden');
  check('delete_alias: deleted', await remove('token'), 'deleted');
  const files = await rows(db, 'SELECT job FROM pictrepo.pop($1, max_jobs => $2)', 'cleanup', 10);
  check('cleanup: the files that nothing needs any more',
    files.map(({ job }) => job.Identifier.identifier), ['again.png', 'dog.png']);
}

async function errors(db, hash) {
  async function fails(step, sql, ...args) {
    const got = await value(db, sql, ...args).catch((error) => error);
    check(step, got instanceof DatabaseError ? got.code : got, step.split(':')[0]);
  }
  const createAlias = 'SELECT pictrepo.create_alias($1, $2, $3)';
  await fails('22004: a hash that is NULL', createAlias, 'new.png', 'token', null);
  await fails('22023: a bad slug', 'SELECT pictrepo.hash_page($1)', 'no slug');
  await fails('22001: an alias that is too long', createAlias, 'a'.repeat(300), 'token', hash);
  await fails('23503: an alias of an unknown hash', createAlias, 'new.png', 'token', await makeHash(db, 'unknown'));
  await fails('22P02: malformed JSON', 'SELECT pictrepo.push($1, $2)', 'jobs', '{');
  await fails('42501: what takes an admin', 'SELECT pictrepo.pause_queue($1)', 'jobs');

  await db.query('SET default_transaction_read_only = on');
  await fails('25006: a write while transactions are read-only', 'SELECT pictrepo.push($1, $2)', 'jobs', '1');
  await db.query('SET default_transaction_read_only = off');
  const upload = await value(db, 'SELECT pictrepo.create_upload()');
  await db.query('SELECT pictrepo.claim($1)', [upload]);
  await fails('P0002: an upload that was claimed', 'SELECT pictrepo.wait($1, $2)', upload, '10 s');
  await db.query('BEGIN');
  await fails('2D000: pop_wait in a transaction', 'CALL pictrepo.pop_wait($1)', 'empty');
  await db.query('ROLLBACK');
  await db.query("SET statement_timeout = '100ms'");
  await fails('57014: a pop that waits for longer than statement_timeout',
    'SELECT pictrepo.pop($1, wait => $2)', 'empty', '10 s');
  await db.query('SET statement_timeout = 0');
  await db.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
  await db.query('SELECT pictrepo.get($1)', ['bytes']);
  const other = await connect();
  await other.query("SELECT pictrepo.create_hash('later', 'later.png')");
  await other.end();
  await fails('40001: an alias of a hash that is newer than the snapshot',
    "SELECT pictrepo.create_alias('later.png', 'token', 'later')");
  await db.query('ROLLBACK');
  check('after errors: the connection goes on',
    await value(db, 'SELECT pictrepo.identifier($1)', hash), 'cat.png');
}

async function main() {
  const db = await connect();
  const hash = await makeHash(db, 'cat');
  await pictures(db, hash);
  await pages(db, hash);
  await jobs(db);
  await variants(db, hash);
  await uploadAndDelete(db);
  await errors(db, hash);
  await db.end();
}

main();
