<?php
// pictrepo from PHP with PDO.
//
// work() is a worker to copy; `php client.php work QUEUE` starts it as a
// process. The rest is the scenario that all clients run.
declare(strict_types=1);

// ---------------------------------------------------------------------------
// Calls
// ---------------------------------------------------------------------------

// PDO takes any string for text, so bytes must be said to be bytes.
final class Bytes
{
    public function __construct(public readonly string $data) {}
}

// libpq finds the rest in the environment.
function connect(string $application = 'client'): PDO
{
    return new PDO("pgsql:application_name=$application", options: [
        PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
        PDO::ATTR_DEFAULT_FETCH_MODE => PDO::FETCH_ASSOC,
    ]);
}

function query(PDO $db, string $sql, mixed ...$params): PDOStatement
{
    $statement = $db->prepare($sql);
    foreach ($params as $index => $param) {
        match (true) {
            $param instanceof Bytes => $statement->bindValue($index + 1, $param->data, PDO::PARAM_LOB),
            is_array($param) => $statement->bindValue($index + 1, json_encode($param)),
            default => $statement->bindValue($index + 1, $param),
        };
    }
    $statement->execute();
    return $statement;
}

// Rows, with bytes out of the streams that PDO gives them as.
function rows(PDO $db, string $sql, mixed ...$params): array
{
    $unpack = fn ($value) => is_resource($value) ? stream_get_contents($value) : $value;
    return array_map(fn ($row) => array_map($unpack, $row), query($db, $sql, ...$params)->fetchAll());
}

function row(PDO $db, string $sql, mixed ...$params): ?array
{
    return rows($db, $sql, ...$params)[0] ?? null;
}

function value(PDO $db, string $sql, mixed ...$params): mixed
{
    return array_values(row($db, $sql, ...$params))[0];
}

function decode(string $json): mixed
{
    return json_decode($json, associative: true, flags: JSON_THROW_ON_ERROR);
}

// ---------------------------------------------------------------------------
// The worker
// ---------------------------------------------------------------------------

// Hands the jobs of a queue to the handler until SIGTERM says stop. A handler
// that throws lets its job fail. One whose connection is cut may see the same
// job again, from any worker.
function work(string $queue, callable $handler, int $beat = 30): void
{
    pcntl_async_signals(true);
    $stop = false;
    pcntl_signal(SIGTERM, function () use (&$stop) { $stop = true; });
    while (!$stop) {
        try {
            $db = connect('worker');
            while (!$stop) {
                // A worker that is NULL is this session. pop_wait commits by itself,
                // so there is no transaction around it.
                $popped = row($db, "CALL pictrepo.pop_wait(?, NULL, '10 s', NULL, NULL, NULL, NULL)", $queue);
                if ($popped['id'] !== null) {
                    do_job($db, $queue, $popped['id'], decode($popped['job']), $handler, $beat);
                }
            }
        } catch (PDOException $error) {
            // what a server says while it goes down (class 57), or that there is none
            if (!preg_match('/^(08|57|HY000)/', $error->errorInfo[0] ?? '08')) {
                throw $error;
            }
            error_log("connecting again: {$error->getMessage()}");
            sleep(1);
        }
    }
}

function do_job(PDO $db, string $queue, string $id, mixed $job, callable $handler, int $beat): void
{
    // PHP has no threads, so an alarm sends the heartbeats, on the worker's
    // connection, which is idle. PHP takes a signal between two of its calls: one
    // that lasts longer than the heartbeat timeout loses the job. Such work belongs
    // in a process of its own.
    pcntl_signal(SIGALRM, function () use ($db, $queue, $id, $beat) {
        try {
            value($db, 'SELECT pictrepo.heartbeat(?, NULL, ?)', $queue, $id);
        } catch (PDOException) {
            // complete_job will hear of it, too
        }
        pcntl_alarm($beat);
    });
    pcntl_alarm($beat);
    $result = 'success';
    $reason = null;
    try {
        $handler($job);
    } catch (Throwable $error) {
        $result = 'failure';
        $reason = $error->getMessage();
    }
    pcntl_alarm(0);
    $outcome = value($db, 'SELECT pictrepo.complete_job(?, NULL, ?, ?, ?)', $queue, $id, $result, $reason);
    // retrying, dead, or lost: another worker has it by now
    if ($outcome !== 'completed') {
        error_log("job $id is $outcome: $reason");
    }
}

// ---------------------------------------------------------------------------
// The scenario
// ---------------------------------------------------------------------------

const DETAILS = ['width' => 640, 'height' => 480, 'format' => ['Image' => 'png']];

// Loosely, because the members of a JSON object have no order.
function check(string $step, mixed $got, mixed $wanted): void
{
    echo $got == $wanted ? "ok - $step\n" : "not ok - $step: " . json_encode($got) . "\n";
}

function new_uuid(PDO $db): string
{
    return value($db, 'SELECT gen_random_uuid()');
}

function make_hash(PDO $db, string $content): Bytes
{
    return new Bytes(value($db, "SELECT pictrepo.make_hash(?, ?, 'png')",
        new Bytes(hash('sha256', $content, binary: true)), strlen($content)));
}

function ingest(PDO $db, Bytes $hash, string $identifier, string $alias, ?DateTimeImmutable $created_at = null): string
{
    return value($db, 'SELECT outcome FROM pictrepo.ingest(?, ?, ?, ?, ?, ?)',
        $hash, $identifier, DETAILS, $alias, 'token', $created_at?->format(DATE_RFC3339));
}

function pictures(PDO $db, Bytes $hash): void
{
    check('ingest: created', ingest($db, $hash, 'cat.png', 'cat-1.png'), 'created');
    check('ingest: duplicate', ingest($db, $hash, 'again.png', 'cat-2.png'), 'duplicate');
    $served = row($db, 'SELECT hash, identifier, details, fallback FROM pictrepo.serve(?)', 'cat-2.png');
    $served['details'] = decode($served['details']);
    check('serve: the file and its details', $served,
        ['hash' => $hash->data, 'identifier' => 'cat.png', 'details' => DETAILS, 'fallback' => false]);

    $every_byte = implode('', array_map(chr(...), range(0, 255)));
    query($db, 'SELECT pictrepo.set(?, ?)', 'bytes', new Bytes($every_byte));
    check('set, get: any bytes', value($db, 'SELECT pictrepo.get(?)', 'bytes'), $every_byte);

    $noon = new DateTimeImmutable('2020-01-01T12:00:00Z');
    query($db, 'SELECT pictrepo.set_accessed_alias(?, ?)', 'cat-1.png', $noon->format(DATE_RFC3339));
    check('set_accessed_alias, alias_accessed_at: the same time',
        new DateTimeImmutable(value($db, 'SELECT pictrepo.alias_accessed_at(?)', 'cat-1.png')), $noon);
}

// PDO leaves an array in one piece, in PostgreSQL's notation; as JSON it can be read.
function page_at(PDO $db, ?string $slug): array
{
    $page = row($db, "SELECT prev, next, to_json(hashes) AS hashes FROM pictrepo.hash_page(?, ?)", $slug, 2);
    $page['hashes'] = array_map(fn ($hex) => hex2bin(substr($hex, 2)), decode($page['hashes']));
    return $page;
}

function pages(PDO $db, Bytes $newest): void
{
    $wanted = [$newest->data];
    for ($number = 4; $number >= 0; $number--) {
        $name = "page-$number.png";
        $hash = make_hash($db, $name);
        ingest($db, $hash, $name, $name, new DateTimeImmutable("2020-01-01T12:0$number:00Z"));
        $wanted[] = $hash->data;
    }

    $page = page_at($db, null);
    $first = $got = $page['hashes'];
    while ($page['next'] !== null) {
        $page = page_at($db, $page['next']);
        array_push($got, ...$page['hashes']);
    }
    // as hex, since check() shows what it got as JSON
    check('hash_page: all hashes by its slugs, newest first',
        array_map(bin2hex(...), $got), array_map(bin2hex(...), $wanted));
    while ($page['prev'] !== null) {
        $page = page_at($db, $page['prev']);
    }
    check('hash_page: prev leads back', array_map(bin2hex(...), $page['hashes']), array_map(bin2hex(...), $first));
}

function jobs(PDO $db): void
{
    $worker = new_uuid($db);
    $push = fn ($job, $queue = 'jobs') => value($db, 'SELECT pictrepo.push(?, ?)', $queue, $job);
    $complete = fn ($id) => value($db, 'SELECT pictrepo.complete_job(?, ?, ?)', 'jobs', $worker, $id);

    $pushed = $push(['number' => 1]);
    $job = row($db, 'SELECT * FROM pictrepo.pop(?, ?)', 'jobs', $worker);
    $age = time() - (new DateTimeImmutable($job['queue_time']))->getTimestamp();
    check('push, pop: the job, its attempt and its time',
        [$job['id'], decode($job['job']), $job['attempt'], abs($age) < 60], [$pushed, ['number' => 1], 1, true]);
    $complete($job['id']);

    // PDO waits for each answer, so another process pushes
    $pusher = start('push', 'jobs', '{"number": 2}');
    $job = row($db, 'SELECT id, job FROM pictrepo.pop(?, ?, wait => ?)', 'jobs', $worker, '10 s');
    proc_close($pusher);
    check('pop with wait: what another connection pushes meanwhile', decode($job['job']), ['number' => 2]);

    check('heartbeat: held',
        value($db, 'SELECT pictrepo.heartbeat(?, ?, ?)', 'jobs', $worker, $job['id']), true);
    $push(['number' => 3]);
    $job = row($db, 'SELECT outcome, id, job FROM pictrepo.complete_and_pop(?, ?, ?)', 'jobs', $worker, $job['id']);
    check('complete_and_pop: completed, and the next job',
        [$job['outcome'], decode($job['job'])], ['completed', ['number' => 3]]);
    check('complete_job: completed', $complete($job['id']), 'completed');
    check('complete_job: lost the second time', $complete($job['id']), 'lost');

    // an array for PostgreSQL is one of SQL, of parameters
    $ids = decode(value($db, 'SELECT to_json(pictrepo.push_many(?, ARRAY[?, ?, ?]::jsonb[], ARRAY[?, NULL, ?]))',
        'jobs', ['number' => 4], ['number' => 5], ['number' => 6], 'a', 'a'));
    check('push_many: ids, and NULL where the key is held',
        array_map(is_string(...), $ids), [true, true, false]);
    query($db, 'SELECT * FROM pictrepo.pop(?, ?, ?)', 'jobs', $worker, 10);
    check('complete_many: completed, and lost',
        decode(value($db, 'SELECT to_json(pictrepo.complete_many(?, ?, ARRAY[?, ?, ?]::uuid[]))',
            'jobs', $worker, $ids[0], $ids[1], $worker)),
        ['completed', 'completed', 'lost']);

    $pop_wait = fn ($timeout) => row($db, 'CALL pictrepo.pop_wait(?, ?, ?, NULL, NULL, NULL, NULL)',
        'jobs', $worker, $timeout);
    check('pop_wait: NULLs when the time is up', $pop_wait('50 ms'),
        ['id' => null, 'job' => null, 'attempt' => null, 'queue_time' => null]);
    $push(['number' => 7]);
    check('pop_wait: a job', decode($pop_wait('10 s')['job']), ['number' => 7]);

    $listener = connect();
    $listener->exec('LISTEN queue_status_channel');
    $push(['number' => 8], 'heard');
    do {
        $notify = $listener->pgsqlGetNotify(PDO::FETCH_ASSOC, 10_000);
        $heard = explode(' ', $notify['payload'] ?? ' nothing')[1];
    } while ($notify && $heard !== 'heard');
    check('LISTEN: the push is heard with its queue', $heard, 'heard');
}

function push_later(string $queue, string $job): void
{
    usleep(500_000);
    value(connect(), 'SELECT pictrepo.push(?, ?)', $queue, $job);
}

// Another process of this program.
function start(string ...$args)
{
    return proc_open([PHP_BINARY, __FILE__, ...$args], [1 => STDERR], $pipes);
}

function handle(array $job): void
{
    if (isset($job['fail'])) {
        throw new RuntimeException($job['fail']);
    }
    // an alarm cuts a sleep short
    for ($until = microtime(true) + $job['nap']; microtime(true) < $until;) {
        usleep(100_000);
    }
    if ($job['last']) {
        posix_kill(getmypid(), SIGTERM);
    }
    value(connect(), 'SELECT pictrepo.push(?, ?)', 'done', $job);
}

function worker_loop(PDO $db): void
{
    $push = fn ($job, $retry = null, $upload = null) =>
        value($db, 'SELECT pictrepo.push(?, ?, retry => ?, upload => ?)', 'work', $job, $retry, $upload);
    $done = fn () => decode(value($db, 'SELECT job FROM pictrepo.pop(?, wait => ?)', 'done', '20 s'));
    $worker = start('work', 'work');

    $long = ['nap' => 4, 'last' => false];
    $push($long);
    check('work: a job longer than the heartbeat timeout', $done(), $long);

    $upload = value($db, 'SELECT pictrepo.create_upload()');
    $push(['fail' => 'the picture is broken'], 0, $upload);
    check('work: the upload of a job that fails hears why',
        decode(value($db, 'SELECT pictrepo.wait(?, ?)', $upload, '20 s')),
        ['Failure' => ['message' => 'the picture is broken', 'code' => 'job-failed']]);

    $db->exec('SELECT pg_terminate_backend(pid) FROM pg_stat_activity'
        . " WHERE datname = current_database() AND application_name = 'worker'");
    $last = ['nap' => 0, 'last' => true];
    $push($last);
    check('work: connects again', $done(), $last);
    proc_close($worker);
    check('work: ends when told, each job done once',
        [value($db, 'SELECT pictrepo.queue_length(?)', 'work'), value($db, 'SELECT pictrepo.queue_length(?)', 'done')],
        [0, 2]);
}

function variants(PDO $db, Bytes $hash): void
{
    [$ours, $theirs] = [new_uuid($db), new_uuid($db)];
    $claim = fn ($worker) => value($db, 'SELECT pictrepo.claim_variant_processing_rights(?, ?, ?)',
        $hash, 'thumbnail', $worker);
    check('claim_variant_processing_rights: claimed, busy for another',
        [$claim($ours), $claim($theirs)], ['claimed', 'busy']);
    check('finish_variant: stored',
        value($db, 'SELECT pictrepo.finish_variant(?, ?, ?, ?, ?)',
            $hash, 'thumbnail', $ours, 'cat-128.webp', ['width' => 128]), 'stored');
    check('variant_waiter: its file',
        value($db, 'SELECT pictrepo.variant_waiter(?, ?, ?)', $hash, 'thumbnail', '10 s'), 'cat-128.webp');
    $served = row($db, 'SELECT identifier, details, original_identifier FROM pictrepo.serve_variant(?, ?)',
        'cat-1.png', 'thumbnail');
    $served['details'] = decode($served['details']);
    check('serve_variant: its file', $served,
        ['identifier' => 'cat-128.webp', 'details' => ['width' => 128], 'original_identifier' => 'cat.png']);
}

function upload_and_delete(PDO $db): void
{
    $worker = new_uuid($db);
    $upload = value($db, 'SELECT pictrepo.create_upload()');
    value($db, 'SELECT pictrepo.push(?, ?, upload => ?)',
        'process', ['Ingest' => ['identifier' => 'dog.png']], $upload);
    $job = value($db, 'SELECT id FROM pictrepo.pop(?, ?)', 'process', $worker);
    row($db, 'SELECT * FROM pictrepo.finish_ingest(?, ?, ?, ?, ?, ?, ?, ?, ?)',
        'process', $worker, $job, $upload, make_hash($db, 'dog'), 'dog.png', DETAILS, 'dog.png', 'token');
    check('wait: what finish_ingest left',
        decode(value($db, 'SELECT pictrepo.wait(?, ?)', $upload, '10 s')),
        ['Success' => ['alias' => 'dog.png', 'token' => 'token']]);
    $claim = fn () => value($db, 'SELECT pictrepo.claim(?)', $upload);
    check('claim: once', [$claim(), $claim()], [true, false]);

    $delete = fn ($token) => value($db, 'SELECT pictrepo.delete_alias(?, ?)', 'dog.png', $token);
    check('delete_alias: forbidden with another token', $delete('wrong'), 'forbidden');
    check('delete_alias: deleted', $delete('token'), 'deleted');
    $jobs = array_column(rows($db, 'SELECT job FROM pictrepo.pop(?, max_jobs => ?)', 'cleanup', 10), 'job');
    check('cleanup: the files that nothing needs any more',
        array_map(fn ($job) => decode($job)['Identifier']['identifier'], $jobs), ['again.png', 'dog.png']);
}

function errors(PDO $db, Bytes $hash): void
{
    $fails = function (string $step, string $sql, mixed ...$params) use ($db): void {
        try {
            check($step, value($db, $sql, ...$params), 'an error');
        } catch (PDOException $error) {
            check($step, $error->errorInfo[0], substr($step, 0, 5));
        }
    };
    $create_alias = 'SELECT pictrepo.create_alias(?, ?, ?)';
    $fails('22004: a hash that is NULL', $create_alias, 'new.png', 'token', null);
    $fails('22023: a bad slug', 'SELECT pictrepo.hash_page(?)', 'no slug');
    $fails('22001: an alias that is too long', $create_alias, str_repeat('a', 300), 'token', $hash);
    $fails('23503: an alias of an unknown hash', $create_alias, 'new.png', 'token', make_hash($db, 'unknown'));
    $fails('22P02: malformed JSON', 'SELECT pictrepo.push(?, ?)', 'jobs', '{');
    $fails('42501: what takes an admin', 'SELECT pictrepo.pause_queue(?)', 'jobs');
    check('after errors: the connection goes on',
        value($db, 'SELECT pictrepo.identifier(?)', $hash), 'cat.png');
}

function scenario(): void
{
    $db = connect();
    $hash = make_hash($db, 'cat');
    pictures($db, $hash);
    pages($db, $hash);
    jobs($db);
    worker_loop($db);
    variants($db, $hash);
    upload_and_delete($db);
    errors($db, $hash);
}

match ($argv[1] ?? 'scenario') {
    'scenario' => scenario(),
    'work' => work($argv[2], handle(...), beat: 1),
    'push' => push_later($argv[2], $argv[3]),
};
