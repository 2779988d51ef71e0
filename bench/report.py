"""What came of it: Markdown for people."""

import os
import platform
from datetime import date
from pathlib import Path

from bars import bars
from ends import LONGEST
from measure import DEAD, PER_SECOND, WAL
from options import CLIENTS, FEW_ROUNDS, FULL, HELD, IDLE, ONLY, PROXIES, ROUNDS, ROWS, SECONDS, WARM_UP
from results import middle
from waiting import (CPU, HELD_BACK, P50, P50_SENT, P99, P99_SENT, SNAPSHOTS, STATEMENTS, WAKES,
                     WOKEN, WORKERS)
from work import PICTREPO

# The same for all contestants, and what costs or saves most.
SETTINGS = ("fsync", "synchronous_commit", "full_page_writes", "wal_level", "shared_buffers", "max_wal_size",
            "checkpoint_timeout", "autovacuum", "jit", "max_connections")

METHOD = Path(__file__).with_name("method.md")


def table(header, rows):
    """Its lines; none where there is nothing to show."""
    if not rows:
        return []
    lines = ["| " + " | ".join(row) + " |" for row in [header, *rows]]
    lines.insert(1, "|" + "---|" * len(header))
    return [line.replace("|  |", "| |").replace("|  |", "| |") for line in lines] + [""]


def section(title, *parts):
    lines = [line for part in parts for line in part]
    return ["", f"## {title}", "", *lines] if lines else []


# ---------------------------------------------------------------------------
# Circumstances
# ---------------------------------------------------------------------------

def processor():
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def memory():
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"{pages / 2**30:.0f} GB"


def versions(results):
    return [f"{library.name} {library.version}" for library in results.libraries.values() if library.version]


def circumstances(db, results):
    version, extension = db.execute(
        "SELECT current_setting('server_version'),"
        " (SELECT extversion FROM pg_extension WHERE extname = 'pictrepo')").fetchone()
    settings = ", ".join(f"{name} = {db.execute(f'SHOW {name}').fetchone()[0]}" for name in SETTINGS)
    return [
        f"{date.today()}, {'full' if FULL else 'short'} form{' of ' + ' '.join(ONLY) if ONLY else ''}.", "",
        f"- Machine: {os.cpu_count()} cores, {processor()}, {memory()},"
        f" {platform.system()} {platform.release().partition('-')[0]}",
        f"- PostgreSQL {version}; " + ", ".join([f"pictrepo {extension}", *versions(results)]),
        f"- Settings: {settings}",
        f"- {ROWS:,} images, {min(ROWS, PROXIES):,} proxied urls;"
        f" {CLIENTS} clients where nothing else is said",
        f"- {ROUNDS} rounds of {SECONDS:g} s after {WARM_UP} s of warm-up, {FEW_ROUNDS} of what is a step"
        f" between others; once {HELD:g} s beside an old snapshot, {IDLE:g} s of waiting",
        *(f"- Left out: {name}: {reason}" for name, reason in results.left_out.items()), ""]


# ---------------------------------------------------------------------------
# Tables
# ---------------------------------------------------------------------------

def by(one, other):
    return one / other if other else float("inf")


def ratio(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def spread(values):
    return f"{ratio(min(values))} to {ratio(max(values))}" if len(values) > 1 else ""


def number(rounds, name, places=0):
    return f"{middle(rounds, name):,.{places}f}" if name in rounds[0] else ""


def rate_row(case, contestant, rounds, own):
    row = [case.work.title, contestant, number(rounds, PER_SECOND), "", "",
           number(rounds, WAL), number(rounds, DEAD, 2)]
    if own and contestant != PICTREPO:
        row[3:5] = [ratio(by(middle(own, PER_SECOND), middle(rounds, PER_SECOND))),
                    spread([by(a[PER_SECOND], b[PER_SECOND]) for a, b in zip(own, rounds)])]
    return row


def rates(results, names):
    rows = [rate_row(case, contestant, rounds, results.cases[case].get(PICTREPO))
            for case, contestant, rounds in results.of(PER_SECOND, ROWS) if case.work.name in names]
    return table(["work", "contestant", PER_SECOND, "pictrepo's ratio", "worst to best round", WAL, DEAD],
                 rows)


def longest_ends(results):
    rows = [[case.work.title, contestant, number(rounds, PER_SECOND), number(rounds, LONGEST, 1)]
            for case, contestant, rounds in results.of(LONGEST)]
    return table(["work", "contestant", PER_SECOND, LONGEST], rows)


def times_own(contestants, contestant, name):
    if contestant == PICTREPO or PICTREPO not in contestants:
        return ""
    return ratio(middle(contestants[contestant], name) / middle(contestants[PICTREPO], name))


def latencies(results):
    rows = [[number(rounds, WORKERS), contestant, *(number(rounds, name, 2) for name in (P50, P99)),
             times_own(results.cases[case], contestant, P99),
             *(number(rounds, name, 2) for name in (P50_SENT, P99_SENT, WOKEN))]
            for case, contestant, rounds in results.of(P99)]
    return table(["idle workers", "push's commit to job in hand", P50, P99, "times pictrepo's p99",
                  P50_SENT, P99_SENT, WOKEN], rows)


def idling(results):
    rows = [[contestant, number(rounds, CPU, 2), number(rounds, WAKES, 1),
             *(number(rounds, name) for name in (STATEMENTS, SNAPSHOTS, HELD_BACK))]
            for _, contestant, rounds in results.of(CPU)]
    return table(["64 workers that wait", CPU, WAKES, STATEMENTS, SNAPSHOTS, HELD_BACK], rows)


def growth(results):
    """Each work at each size in one row."""
    grown = [(case, contestant, rounds) for case, contestant, rounds in results.of(PER_SECOND)
             if case.work.grows]
    sizes = sorted({case.rows for case, _, _ in grown})
    if len(sizes) < 2:
        return []
    rows = {}
    for case, contestant, rounds in grown:
        rows.setdefault((case.work.title, contestant), {})[case.rows] = number(rounds, PER_SECOND)
    return table(["per second", "contestant", *(f"{size:,} images" for size in sizes)],
                 [[*name, *(values.get(size, "") for size in sizes)] for name, values in rows.items()])


def goals(results):
    rows = [[what, goal, ratio(value), "yes" if reached else "**no**"]
            for what, goal, value, reached in bars(results)]
    return table(["goal", "at least or most", "here", "reached"], rows)


QUEUE = ("push", "cycle", "batch", "backlog", "queues", "held", "heartbeat")
REPO = ("serve", "touch", "ingest", "delete", "page", "outdated", "count", "export", "import")


def report(db, results, plots):
    return "\n".join([
        "# The bench", "", *circumstances(db, results),
        METHOD.read_text(encoding="utf-8"),
        *section("What it must reach", goals(results)),
        *section("In pictures", [line for name, title in plots for line in (f"![{title}]({name})", "")]),
        *section("The queue", rates(results, QUEUE), longest_ends(results)),
        *section("Waiting for a job", latencies(results), idling(results)),
        *section("The repo", rates(results, REPO)),
        *section("How it grows", growth(results))])
