<?php
// pictrepo from PHP with PDO: the scenario that all clients run. A worker is in
// worker.php.
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
function connect(): PDO
{
    return new PDO('pgsql:', options: [
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
    $complete = fn ($id) =>
        value($db, 'SELECT pictrepo.complete_job(?, ?, ?, attempt => ?)', 'jobs', $worker, $id, 1);

    $pushed = $push(['number' => 1]);
    $job = row($db, 'SELECT * FROM pictrepo.pop(?, ?)', 'jobs', $worker);
    $age = time() - (new DateTimeImmutable($job['queue_time']))->getTimestamp();
    check('push, pop: the job, its attempt and its time',
        [$job['id'], decode($job['job']), $job['attempt'], abs($age) < 60], [$pushed, ['number' => 1], 1, true]);
    $complete($job['id']);

    $job = while_other_calls(
        ['SELECT pictrepo.push(?, ?)', 'jobs', '{"number": 2}'],
        fn () => row($db, 'SELECT id, job FROM pictrepo.pop(?, ?, wait => ?)', 'jobs', $worker, '10 s'));
    check('pop with wait: what another connection pushes meanwhile', decode($job['job']), ['number' => 2]);

    check('heartbeat: held',
        value($db, 'SELECT pictrepo.heartbeat(?, ?, ?, ?)', 'jobs', $worker, $job['id'], 1), true);
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

    $pop_wait = fn ($timeout) => row($db, 'CALL pictrepo.pop_wait(?, ?, ?)',
        'jobs', $worker, $timeout);
    check('pop_wait: NULLs when the time is up', $pop_wait('50 ms'),
        ['id' => null, 'job' => null, 'attempt' => null, 'queue_time' => null]);
    $push(['number' => 7]);
    check('pop_wait: a job', decode($pop_wait('10 s')['job']), ['number' => 7]);

    $listener = listen('queue_status_channel');
    $push(['number' => 8], 'heard');
    check('LISTEN: the push is heard with its queue', hears($listener, ' heard'), true);
}

function listen(string $channel): PDO
{
    $db = connect();
    $db->exec("LISTEN $channel");
    return $db;
}

function hears(PDO $listener, string $ending): bool
{
    while ($notify = $listener->pgsqlGetNotify(PDO::FETCH_ASSOC, 10_000)) {
        if (str_ends_with($notify['payload'], $ending)) {
            return true;
        }
    }
    return false;
}

// What a call waits for while another one is made. PDO waits for each answer, so
// that other one is another process's.
function while_other_calls(array $call, callable $waiting): mixed
{
    $process = pcntl_fork();
    if ($process === 0) {
        usleep(500_000);
        value(connect(), ...$call);
        // It leaves the parent's connections alone.
        posix_kill(getmypid(), SIGKILL);
    }
    $answer = $waiting();
    pcntl_waitpid($process, $status);
    return $answer;
}

function variants(PDO $db, Bytes $hash): void
{
    [$ours, $theirs] = [new_uuid($db), new_uuid($db)];
    $claim = fn ($worker) => value($db, 'SELECT pictrepo.claim_variant_processing_rights(?, ?, ?)',
        $hash, 'thumbnail', $worker);
    check('claim_variant_processing_rights: claimed, busy for another',
        [$claim($ours), $claim($theirs)], ['claimed', 'busy']);
    $listener = listen('keyed_notification_channel');
    $file = while_other_calls(
        ['SELECT pictrepo.finish_variant(?, ?, ?, ?, ?)', $hash, 'thumbnail', $ours, 'cat-128.webp', ['width' => 128]],
        fn () => value($db, 'SELECT pictrepo.variant_waiter(?, ?, ?)', $hash, 'thumbnail', '10 s'));
    check('finish_variant, variant_waiter: what one connection waits for while the other stores it',
        $file, 'cat-128.webp');
    check('LISTEN: the variant is heard with its hash',
        hears($listener, base64_encode($hash->data) . 'thumbnail'), true);
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
    $listener = listen('upload_completion_channel');
    $result = while_other_calls(
        ['SELECT outcome FROM pictrepo.finish_ingest(?, ?, ?, ?, ?, ?, ?, ?, ?)',
            'process', $worker, $job, $upload, make_hash($db, 'dog'), 'dog.png', DETAILS, 'dog.png', 'token'],
        fn () => value($db, 'SELECT pictrepo.wait(?, ?)', $upload, '10 s'));
    check('finish_ingest, wait: what one connection waits for while the other brings it',
        decode($result), ['Success' => ['alias' => 'dog.png', 'token' => 'token']]);
    check('LISTEN: the upload is heard', hears($listener, $upload), true);
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

    $db->exec('SET default_transaction_read_only = on');
    $fails('25006: a write while transactions are read-only', 'SELECT pictrepo.push(?, ?)', 'jobs', '1');
    $db->exec('SET default_transaction_read_only = off');
    $upload = value($db, 'SELECT pictrepo.create_upload()');
    value($db, 'SELECT pictrepo.claim(?)', $upload);
    $fails('P0002: an upload that was claimed', 'SELECT pictrepo.wait(?, ?)', $upload, '10 s');
    $db->exec('BEGIN');
    $fails('2D000: pop_wait in a transaction', 'CALL pictrepo.pop_wait(?)', 'empty');
    $db->exec('ROLLBACK');
    $db->exec("SET statement_timeout = '100ms'");
    $fails('57014: a pop that waits for longer than statement_timeout',
        'SELECT pictrepo.pop(?, wait => ?)', 'empty', '10 s');
    $db->exec('SET statement_timeout = 0');
    $db->exec('BEGIN ISOLATION LEVEL REPEATABLE READ');
    value($db, 'SELECT pictrepo.get(?)', 'bytes');
    value(connect(), "SELECT pictrepo.create_hash('later', 'later.png')");
    $fails('40001: an alias of a hash that is newer than the snapshot',
        "SELECT pictrepo.create_alias('later.png', 'token', 'later')");
    $db->exec('ROLLBACK');
    check('after errors: the connection goes on',
        value($db, 'SELECT pictrepo.identifier(?)', $hash), 'cat.png');
}

$db = connect();
$hash = make_hash($db, 'cat');
pictures($db, $hash);
pages($db, $hash);
jobs($db);
variants($db, $hash);
upload_and_delete($db);
errors($db, $hash);
