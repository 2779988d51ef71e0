"""How long check_delete_token takes for tokens that differ here and there.

    timing.py [--rounds N]

Each round times CALLS calls of each kind, in random order; so what else the
machine does meets all alike. Printed are medians, and by how much each is off
that of the right token, in nanoseconds a call, with the error of that figure.
Nothing is asserted: a figure of time depends on the machine.
"""

import argparse
import random
import statistics
import time

import psycopg

CALLS = 1000
TOKEN = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=255))
OFFERED = {
    "the right token": TOKEN,
    "differs in the first byte": "-" + TOKEN[1:],
    "differs in the middle": TOKEN[:127] + "-" + TOKEN[128:],
    "differs in the last byte": TOKEN[:-1] + "-",
    "differs in all bytes": "-" * 255,
    "is a beginning of it": TOKEN[:100],
    "is one byte": "-",
}


def measure(db, offered):
    start = time.perf_counter_ns()
    db.execute("SELECT count(pictrepo.check_delete_token('alias', %s)) FROM generate_series(1, %s)", [offered, CALLS])
    return (time.perf_counter_ns() - start) / CALLS


def error_of_median(values):
    return 1.2533 * statistics.stdev(values) / len(values) ** 0.5


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=500)
    rounds = parser.parse_args().rounds
    times = {kind: [] for kind in OFFERED}
    with psycopg.connect(autocommit=True) as db:
        db.execute("SELECT pictrepo.ingest('hash', 'file', '{}', 'alias', %s)", [TOKEN])
        for offered in OFFERED.values():
            measure(db, offered)
        for _ in range(rounds):
            for kind in random.sample(list(OFFERED), len(OFFERED)):
                times[kind].append(measure(db, OFFERED[kind]))
    right = times["the right token"]
    print(f"{rounds} rounds of {CALLS} calls of each kind")
    for kind, values in times.items():
        off = [value - base for value, base in zip(values, right)]
        line = f"{kind:26} {statistics.median(values):8.1f} ns"
        if values is not right:
            line += f"  {statistics.median(off):+7.1f} ns +- {error_of_median(off):.1f}"
        print(line)


main()
