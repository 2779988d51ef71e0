"""What the processes and the tables take while it runs: samples, plots, and whether any of it grows."""

import csv
import re
from collections import defaultdict
from pathlib import Path
from statistics import median
from threading import Event, Thread
from time import monotonic

from svg import Chart, Line, Linear, Log, drawing

COLORS = ["#0969da", "#cf222e", "#1a7f37", "#9a6700", "#8250df", "#bf3989", "#57606a", "#0a7ea4"]

# Of a process's own memory, after the first part of the run, in which caches fill.
MAY_GROW_BY = 4096  # kB
SETTLED = 0.3

# A run that is shorter than this, in seconds, ends while caches still fill.
COMPARED_FROM = 60

# A run of so many seconds tells whether tables grow or calls slow down. How many times as
# large or as long they may be in the end, and so much in any case.
JUDGED_FROM = 600
LARGER, MB = 1.5, 1
LONGER, MS = 4, 25
# These keep what the load leaves there for good.
KEEPING = ("dead_jobs ", "uploads ", "store_migrations ")

KINDS = ("operations client", "chaos client", "soak traffic", "soak waiter", "pictrepo worker")
PROCESSES = """SELECT pid, coalesce(nullif(application_name, ''), backend_type) || ' (' || coalesce(datname, '-') || ')'
    FROM pg_stat_activity WHERE application_name IN ('operations client', 'chaos client', 'soak traffic', 'soak waiter')
        OR backend_type LIKE 'pictrepo%'"""
SIZES = """SELECT relname, pg_total_relation_size(c.oid) FROM pg_class c
    WHERE relnamespace = 'pictrepo'::regnamespace AND relkind = 'r' AND pg_total_relation_size(c.oid) > 65536"""


def own_memory(pid):
    """What the process has for itself, in kB; None when it is gone."""
    try:
        found = re.search(r"^Anonymous:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text("ascii"), re.M)
        return int(found[1]) if found else None
    except OSError:
        return None


def middle_and_end(points):
    """Of a fifth of the samples, and of a tenth. A table that was small at first has fewer."""
    sizes = [size for _, size in points]
    tenth = len(sizes) // 10
    return median(sizes[4 * tenth:6 * tenth + 1]), median(sizes[-tenth - 1:])


def first_and_last(points, which):
    """Of a quarter of the intervals each: 1 the median, 2 the 99th percentile."""
    quarter = max(1, len(points) // 4)
    return [median(point[which] for point in part) for part in (points[:quarter], points[-quarter:])]


def grown(sizes, latencies):
    """Of a run that was long enough: lines that say what has grown."""
    for table, points in sorted(sizes.items()):
        middle, end = middle_and_end(points)
        if not table.startswith(KEEPING) and end > LARGER * middle + MB:
            yield f"{table} grew from {middle:.1f} MB to {end:.1f} MB"
    for kind, points in sorted(latencies.items()):
        first, last = first_and_last(points, 2)
        if last > LONGER * first + MS:
            yield f"{kind}: the 99th percentile went from {first:.1f} ms to {last:.1f} ms"


class Watch(Thread):
    def __init__(self, servers, output, seconds):
        super().__init__(name="watch", daemon=True)
        self.servers, self.output, self.seconds = servers, output, seconds
        self.every = min(10, seconds / 40)
        self.stop = Event()
        self.memory = defaultdict(list)  # (process, what it is): (second, kB)
        self.sizes = defaultdict(list)  # table: (second, MB)
        self.failed = None

    def run(self):
        began = monotonic()
        try:
            while not self.stop.is_set():
                self.sample(monotonic() - began)
                self.stop.wait(self.every)
        except Exception as error:  # no sample, no proof
            self.failed = error

    def sample(self, second):
        for server in self.servers:
            with server.connect("soak watch") as db:
                for name, size in db.execute(SIZES).fetchall():
                    self.sizes[f"{name} ({server.database})"].append((second, size / 2**20))
                processes = db.execute(PROCESSES).fetchall()
        for pid, what in processes:
            size = own_memory(pid)
            if size is not None:
                self.memory[pid, what].append((second, size))

    def end(self):
        self.stop.set()
        self.join(60)

    def growth(self):
        """For each process that was there all the time: kB when it had settled, and in the end."""
        last = max(points[-1][0] for points in self.memory.values())
        for (pid, what), points in sorted(self.memory.items(), key=lambda item: item[0][1]):
            settled = [size for second, size in points if SETTLED <= second / last <= SETTLED + 0.2]
            late = [size for second, size in points if second / last >= 0.8]
            if settled and late:
                yield pid, what, median(settled), median(late)

    def wrong(self, latencies):
        if self.failed:
            yield f"watching failed: {self.failed!r}"
            return
        compared = list(self.growth())
        whole = self.seconds >= COMPARED_FROM
        there = {name for _, name, _, _ in compared} if whole else {name for _, name in self.memory}
        for what in KINDS:
            if not any(name.startswith(what) for name in there):
                yield f"no {what} was there" + " all the time" * whole
        for pid, what, settled, late in compared if whole else ():
            if late > settled + MAY_GROW_BY:
                yield f"{what} {pid} grew from {settled:,.0f} kB to {late:,.0f} kB"
        if self.seconds >= JUDGED_FROM:
            yield from grown(self.sizes, latencies)

    # ----- what there is to see -----

    def report(self, latencies):
        self.write("memory.csv", ("process", "what", "second", "kB"),
                   ((pid, what, *point) for (pid, what), points in self.memory.items() for point in points))
        self.write("sizes.csv", ("table", "second", "MB"),
                   ((table, *point) for table, points in self.sizes.items() for point in points))
        self.write("latency.csv", ("call", "second", "p50 ms", "p99 ms"),
                   ((kind, *point) for kind, points in latencies.items() for point in points))
        self.draw(latencies)
        print("memory of one's own, in MB, settled and in the end")
        groups = defaultdict(list)
        for _, what, settled, late in self.growth():
            groups[what].append((settled / 1024, late / 1024))
        for what, pairs in groups.items():
            most = max(pairs, key=lambda pair: pair[1])
            print(f"  {what:34} {len(pairs):3} of them, at most {most[0]:6.1f} {most[1]:6.1f}")
        print("tables with indexes, in MB, in the middle and in the end")
        for table, points in sorted(self.sizes.items()):
            print(f"  {table:34}" + "".join(f" {size:8.2f}" for size in middle_and_end(points)))
        print("latency in ms, median and 99th percentile, in the first and the last quarter")
        for kind, points in latencies.items():
            (p50, late_p50), (p99, late_p99) = first_and_last(points, 1), first_and_last(points, 2)
            print(f"  {kind:34} {p50:8.2f} {p99:8.2f} {late_p50:8.2f} {late_p99:8.2f}")

    def write(self, name, titles, rows):
        with open(self.output / name, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([titles, *rows])

    def draw(self, latencies):
        most = defaultdict(lambda: defaultdict(float))
        for (_, what), points in self.memory.items():
            for number, (second, size) in enumerate(points):
                most[what][second] = max(most[what][second], size / 1024)
        self.plot("memory.svg", "Memory in the long run", "the largest process of each kind, its own memory in MB",
                  {what: sorted(points.items()) for what, points in most.items()}, "MB", Linear)
        largest = sorted(self.sizes, key=lambda table: -self.sizes[table][-1][1])[:8]
        self.plot("sizes.svg", "Tables in the long run", "the largest tables with their indexes, in MB",
                  {table: self.sizes[table] for table in largest}, "MB", Linear)
        self.plot("latency.svg", "Latency in the long run", "99th percentile of each kind of call, in ms",
                  {kind: [(second, p99) for second, _, p99 in points] for kind, points in latencies.items()},
                  "ms", Log)

    def plot(self, name, title, about, series, unit, scale):
        lines = [Line(label, [(second / 60, value) for second, value in points], COLORS[number % len(COLORS)], dots=False)
                 for number, (label, points) in enumerate(series.items()) if points]
        end = max(x for line in lines for x, _ in line.points)
        values = [y for line in lines for _, y in line.points]
        (self.output / name).write_text(drawing(title, about, [
            Chart(lines, Linear("minutes", [end], most=end), scale(unit, values))]), encoding="utf-8")
