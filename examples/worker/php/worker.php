<?php
// A worker of pictrepo: does the jobs of a queue until SIGTERM.
//
//     php worker.php QUEUE
declare(strict_types=1);

const WAIT = "CALL pictrepo.pop_wait(?, ?, '10 s')";
const END_AND_NEXT = 'SELECT id, job, attempt, outcome FROM pictrepo.complete_and_pop(?, ?, ?, ?, ?, ?)';
const END = 'SELECT NULL, NULL, NULL, pictrepo.complete_job(?, ?, ?, ?, ?, ?)';

// Another worker has the job.
final class Lost extends Exception {}

// Does one job: your work goes here. If it throws the job fails, and is tried again.
function handle(array $job): void
{
    if ($job['seconds'] < 0) {
        throw new RuntimeException('no job takes less than no time');
    }
    // A heartbeat cuts a sleep short.
    for ($until = microtime(true) + $job['seconds']; microtime(true) < $until;) {
        usleep(100_000);
    }
}

final class Worker
{
    public bool $stop = false;
    private PDO $db;
    private ?string $worker = null;

    // Seconds between heartbeats: a quarter of pictrepo.heartbeat_timeout.
    public function __construct(private string $queue, private int $beat)
    {
        putenv("PGAPPNAME=imagehost worker: $queue");
    }

    public function run(): void
    {
        while (!$this->stop) {
            try {
                $this->connect();
                $this->work();
            } catch (PDOException $error) {
                // What trying again may help against: a lost connection, conflicts,
                // something that ran out, a server that goes down.
                if (!preg_match('/^(08|40|53|57|HY000)/', $error->errorInfo[0] ?? '08')) {
                    throw $error;
                }
                error_log("connecting again: {$error->getMessage()}");
                sleep(1);
            }
        }
    }

    // No transaction, because pop_wait commits by itself, and no prepared
    // statements, because a transaction pooler may know none.
    private function connect(): void
    {
        $this->db = new PDO('pgsql:', options: [
            PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
            PDO::PGSQL_ATTR_DISABLE_PREPARES => true,
        ]);
        $this->worker ??= $this->call('SELECT gen_random_uuid()')[0];
    }

    private function call(string $sql, ?string ...$params): array
    {
        $statement = $this->db->prepare($sql);
        $statement->execute($params);
        return $statement->fetch(PDO::FETCH_NUM);
    }

    private function work(): void
    {
        $id = $job = $attempt = null;
        while ($id !== null || !$this->stop) {
            [$id, $job, $attempt] = $id === null
                ? $this->call(WAIT, $this->queue, $this->worker)
                : $this->doJob($id, $job, (string) $attempt);
        }
    }

    // Does a job and ends it; the next one comes along, unless the worker is to stop.
    private function doJob(string $id, string $job, string $attempt): array
    {
        $claim = [$this->queue, $this->worker, $id];
        $result = 'success';
        $reason = null;
        try {
            $this->whileBeating([...$claim, $attempt], fn () => handle(json_decode($job, associative: true)));
        } catch (Lost) {
            error_log("job $id is lost");
            return [null, null, null];
        } catch (Throwable $error) {
            $result = 'failure';
            $reason = $error->getMessage();
        }
        $sql = $this->stop ? END : END_AND_NEXT;
        [$next, $its_job, $its_attempt, $outcome] = $this->call($sql, ...$claim, ...[$result, $reason, $attempt]);
        if ($outcome !== 'completed') {
            error_log("job $id is $outcome: $reason");
        }
        return [$next, $its_job, $its_attempt];
    }

    // An alarm sends the heartbeats, on the worker's connection, which is idle. When
    // another worker has the job it throws, out of the work. PHP takes a signal
    // between two of its calls: one that lasts longer than the heartbeat timeout
    // loses the job, and belongs in a process of its own.
    private function whileBeating(array $claim, callable $work): void
    {
        pcntl_signal(SIGALRM, function () use ($claim) {
            try {
                $held = $this->call('SELECT pictrepo.heartbeat(?, ?, ?, ?)', ...$claim)[0];
            } catch (PDOException) {
                $held = false;
            }
            if (!$held) {
                throw new Lost();
            }
            pcntl_alarm($this->beat);
        });
        pcntl_alarm($this->beat);
        try {
            $work();
        } finally {
            pcntl_alarm(0);
        }
    }
}

$worker = new Worker($argv[1], (int) (getenv('HEARTBEAT_SECONDS') ?: 30));
pcntl_async_signals(true);
foreach ([SIGTERM, SIGINT] as $signal) {
    pcntl_signal($signal, function () use ($worker) { $worker->stop = true; });
}
$worker->run();
