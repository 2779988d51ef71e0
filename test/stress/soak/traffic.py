"""A steady mix of calls at a fixed rate, by pgbench, and sessions that wait for jobs."""

import os
import subprocess
from collections import defaultdict
from statistics import quantiles
from threading import Event, Thread

RATE = 200  # calls per second, of all kinds together
IMAGES = 20000
CLIENTS = 4

# How often, and what.
MIX = {
    "serve": (10, r"\set n random(1, %d)" % IMAGES,
              "SELECT * FROM pictrepo.serve('a' || :n, touch => true)"),
    "variant": (3, r"\set n random(1, %d)" % IMAGES,
                "SELECT * FROM pictrepo.serve_variant('a' || :n, 'v', touch => true)"),
    "page": (2, r"\set n random(0, %d)" % IMAGES,
             "SELECT pictrepo.hash_page_by_date('2020-01-01'::timestamptz + :n * interval '1 minute')"),
    "push": (4, "SELECT pictrepo.push('work', '{\"Ingest\": 1}')"),
    "work": (4, "SELECT count(pictrepo.complete_job('work', NULL, id)) FROM pictrepo.pop('work')"),
    "image": (2, r"\set n random(1, 9000000000000000000)",
              "SELECT * FROM pictrepo.ingest(sha256(int8send(:n)), 'f' || :n, '{\"width\": 640}', 'new' || :n, 't')",
              "SELECT pictrepo.delete_alias('new' || :n, 't')"),
    "cleanup": (4, "SELECT count(pictrepo.complete_job('cleanup', NULL, id)) FROM pictrepo.pop('cleanup')"),
    "wake": (1, "SELECT pictrepo.push('waited', '1')"),
}

FILL = f"""
    SELECT count(*) FROM generate_series(1, {IMAGES}) n, LATERAL pictrepo.ingest(sha256(int8send(n)), 'i' || n,
        '{{"width": 640, "height": 480}}', 'a' || n, 't', '2020-01-01'::timestamptz + n * interval '1 minute')"""


class Waiter(Thread):
    """A worker that waits for each job, in one session for the whole run."""

    def __init__(self, server, number):
        super().__init__(name=f"waiter {number}", daemon=True)
        self.server, self.stop, self.taken, self.odd = server, Event(), 0, []

    def run(self):
        try:
            with self.server.connect("soak waiter") as db:
                while not self.stop.is_set():
                    id = db.execute("CALL pictrepo.pop_wait('waited', timeout => '1 s')").fetchone()[0]
                    if id is not None:
                        db.execute("SELECT pictrepo.complete_job('waited', NULL, %s)", (id,))
                        self.taken += 1
        except Exception as error:  # it must go on for the whole run
            self.odd.append(f"{self.name}: {error!r}")


class Traffic:
    def __init__(self, server, seconds, output):
        self.server, self.seconds, self.output = server, seconds, output
        self.waiters = [Waiter(server, number) for number in range(8)]
        with server.connect("soak") as db:
            db.execute(FILL)
            db.execute("SELECT pictrepo.schedule_job('tick', 'waited', '2', every => '1 s')")
            db.execute("ANALYZE")

    def begin(self):
        for waiter in self.waiters:
            waiter.start()
        command = ["pgbench", "--no-vacuum", "--protocol=prepared", f"--client={CLIENTS}", f"--rate={RATE}",
                   f"--time={max(1, round(self.seconds))}", "--log", f"--log-prefix={self.output / 'calls'}"]
        for name, (weight, *lines) in MIX.items():
            path = self.output / f"{name}.sql"
            path.write_text("".join(line + ("\n" if line.startswith("\\") else ";\n") for line in lines))
            command.append(f"--file={path}@{weight}")
        self.pgbench = subprocess.Popen(
            [*command, self.server.database], env={**os.environ, "PGAPPNAME": "soak traffic"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def finish(self):
        try:
            output = self.pgbench.communicate(timeout=120)[0]
        except subprocess.TimeoutExpired:
            self.pgbench.kill()
            output = "it hangs"
        if self.pgbench.returncode != 0 or "aborted" in output:
            yield f"pgbench: {output}"
        with self.server.connect("soak check") as db:
            db.execute("SELECT pictrepo.unschedule_job('tick')")
        for waiter in self.waiters:
            waiter.stop.set()
        for waiter in self.waiters:
            waiter.join(30)
            yield from waiter.odd
            if waiter.is_alive():
                yield f"{waiter.name} hangs"
        yield from self.audit()

    def audit(self):
        """What was pushed and not taken is there, and nothing else."""
        with self.server.connect("soak check") as db:
            for what, said, there in db.execute("""
                    SELECT 'size()', pictrepo.size(), (SELECT count(*) FROM pictrepo.hashes)
                    UNION ALL SELECT 'queue_length()', pictrepo.queue_length(),
                        (SELECT count(*) FROM pictrepo.job_queue)
                    UNION ALL SELECT 'images', %s, pictrepo.size()
                    UNION ALL SELECT 'dead jobs', 0, (SELECT count(*) FROM pictrepo.dead_jobs)
                    UNION ALL SELECT 'running jobs', 0,
                        (SELECT count(*) FROM pictrepo.jobs WHERE state = 'running')
                    UNION ALL SELECT 'waiting sessions', 0,
                        (SELECT value::bigint FROM pictrepo.status() WHERE item = 'waiting sessions')""",
                                             (IMAGES,)).fetchall():
                if said != there:
                    yield f"{what}: {said} and {there}"
            left = dict(db.execute("SELECT queue, count(*) FROM pictrepo.job_queue GROUP BY queue").fetchall())
            errors = db.execute("SELECT duty, last_error FROM pictrepo.maintenance WHERE last_error IS NOT NULL")
            for duty, error in errors.fetchall():
                yield f"duty {duty}: {error}"
        # In the end each waiter has taken what it was called for.
        if left.get("waited"):
            yield f"{left['waited']} jobs were left to those who wait"

    def calls(self):
        """(second of the run, kind, milliseconds) of each call."""
        kinds, began = list(MIX), None
        for path in sorted(self.output.glob("calls.*")):
            with open(path, encoding="ascii") as log:
                for line in log:
                    # client, transaction, time, script, seconds, microseconds, lag
                    _, _, latency, script, seconds, _, lag = map(int, line.split())
                    began = began or seconds
                    # without the time that it waited for its turn
                    yield seconds - began, kinds[script], (latency - lag) / 1000

    def latencies(self, intervals=40):
        """For each kind: (second, median, 99th percentile) of each interval."""
        width = max(1.0, self.seconds / intervals)
        found = defaultdict(lambda: defaultdict(list))
        for second, kind, milliseconds in self.calls():
            found[kind][int(second / width)].append(milliseconds)
        return {kind: [(number * width, *percentiles(values)) for number, values in sorted(numbers.items())
                       if len(values) > 1]
                for kind, numbers in found.items()}

    def count(self):
        count = defaultdict(int)
        for _, kind, _ in self.calls():
            count[kind] += 1
        count["jobs taken by those who wait"] = sum(waiter.taken for waiter in self.waiters)
        return count


def percentiles(values):
    cuts = quantiles(values, n=100)
    return cuts[49], cuts[98]
