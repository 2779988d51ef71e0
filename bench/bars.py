"""What pictrepo must reach: ratios within this run, or times.

A bar whose works were not measured is not told of.
"""

from ends import LONGEST
from measure import PER_SECOND, WAL, DEAD
from options import CLIENTS, HELD, ROWS
from results import middle
from waiting import CPU, P99, SNAPSHOTS, STATEMENTS, WOKEN
from work import BARE, FLOOR, PICTREPO, PICTRS


class Figures:
    """The medians of this run: a KeyError says that something was not measured."""

    def __init__(self, results):
        self.cases = {(case.work.title, case.work.name, case.work.at): contestants
                      for case, contestants in results.cases.items() if case.rows == ROWS}

    def __call__(self, name, contestant=PICTREPO, at=None, title="", measure=PER_SECOND):
        for (of_title, of_name, of_at), contestants in self.cases.items():
            if of_name == name and at in (None, of_at) and title in of_title and contestant in contestants:
                return middle(contestants[contestant], measure)
        raise KeyError(name)


# What, whether at least or at most, the bar, and how the figure is had.
BARS = [
    ("push, by pict-rs's", ">=", 2.2, lambda get: get("push") / get("push", PICTRS)),
    ("push, by bare INSERT's", ">=", 0.9, lambda get: get("push") / get("push", BARE)),
    ("job cycle, by pict-rs's", ">=", 3,
     lambda get: get("cycle", at=CLIENTS) / get("cycle", PICTRS, CLIENTS)),
    ("job cycle, by bare tables'", ">=", 1,
     lambda get: get("cycle", at=CLIENTS) / get("cycle", BARE, CLIENTS)),
    (f"job cycle at the end of {HELD:g} s beside a snapshot, by its own without", ">=", 0.8,
     lambda get: get("held") / get("held", "pictrepo, no snapshot")),
    ("the same, by pict-rs's", ">=", 10, lambda get: get("held") / get("held", PICTRS)),
    ("longest end of a job beside transactions that have popped, ms", "<=", 250,
     lambda get: get("ends", measure=LONGEST)),
    ("heartbeat, by pict-rs's", ">=", 3, lambda get: get("heartbeat") / get("heartbeat", PICTRS)),
    ("WAL bytes of a heartbeat", "<=", 1, lambda get: get("heartbeat", measure=WAL)),
    ("row versions of a heartbeat", "<=", 0.01, lambda get: get("heartbeat", measure=DEAD)),
    ("1,000 jobs at once, by one at a time", ">=", 25,
     lambda get: get("batch", at=1000) / get("batch", at=1)),
    ("push to job in hand, 32 idle workers, p99 in ms", "<=", 2,
     lambda get: get("latency", at=32, measure=P99)),
    ("the same, sessions woken per job", "<=", 1.05, lambda get: get("latency", at=32, measure=WOKEN)),
    ("64 idle workers, CPU %", "<=", 1, lambda get: get("idle", measure=CPU)),
    ("64 idle workers, sessions that ran a statement", "<=", 0, lambda get: get("idle", measure=STATEMENTS)),
    ("64 idle workers in pop_wait, snapshots", "<=", 0,
     lambda get: get("idle", "pictrepo, pop_wait", measure=SNAPSHOTS)),
    ("middle or last page, by the first page's time", "<=", 1.3,
     lambda get: max(get("page", at=0) / get("page", at=depth) for depth in (0.5, 1))),
    ("last page, by pict-rs's", ">=", 500, lambda get: get("page", at=1) / get("page", PICTRS, 1)),
    ("serve, by pict-rs's three calls", ">=", 1.9, lambda get: get("serve") / get("serve", PICTRS)),
    ("serve, by an empty function", ">=", 0.5, lambda get: get("serve") / get("serve", FLOOR)),
    ("serve with access time, by pict-rs's", ">=", 100, lambda get: get("touch") / get("touch", PICTRS)),
    ("100 outdated variants, ms", "<=", 2, lambda get: 1000 * CLIENTS / get("outdated", title="variants")),
    ("100 outdated aliases, ms", "<=", 2, lambda get: 1000 * CLIENTS / get("outdated", title="aliases")),
    ("an empty function, by size()", "<=", 2,
     lambda get: get("count", FLOOR, title="hashes") / get("count", title="hashes")),
    ("an empty function, by queue_length()", "<=", 2,
     lambda get: get("count", FLOOR, title="jobs") / get("count", title="jobs")),
]


def bars(results):
    """(what, goal, what was measured, whether it is reached)."""
    get = Figures(results)
    for what, sign, bar, figure in BARS:
        try:
            value = figure(get)
        except KeyError:
            continue
        if sign == ">=":
            yield what, f"≥ {bar:g}", value, value >= bar
        else:
            yield what, f"≤ {bar:g}", value, value <= bar
