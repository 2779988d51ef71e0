"""How long check_delete_token takes for tokens that differ here and there, in two forms.

    timing.py [--rounds N]

Each round times CALLS calls of each kind, in random order; so what else the
machine does meets all alike. Of each BLOCK of rounds the shortest time counts.
Printed are means of these, and by how much each is off that of the right token,
in nanoseconds a call, with the standard error of that figure.
A kind that is off by more than SIGNIFICANT errors and by more than NOTICED gives
something away, and that is a failure.
"""

import argparse
import random
import statistics
import sys
import time

import psycopg

CALLS = 1000
BLOCK = 20  # rounds
SIGNIFICANT = 5  # standard errors
NOTICED = 100  # ns

TEXT = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=255))
UUID = "9ee3f8c8-32c8-4b22-93b1-4b6a1f9a2c57"

# The first of each is the one that is right. What is no UUID is not compared as one,
# and may take another time than a UUID does: its form is no secret.
OFFERED = {
    "text": {
        "the right token": TEXT,
        "differs in the first byte": "-" + TEXT[1:],
        "differs in the middle": TEXT[:127] + "-" + TEXT[128:],
        "differs in the last byte": TEXT[:-1] + "-",
        "differs in all bytes": "-" * 255,
        "is a beginning of it": TEXT[:100],
        "is one byte": "-",
    },
    "uuid": {
        "the right token": UUID,
        "differs in the first digit": "0" + UUID[1:],
        "differs in the middle": UUID[:19] + "c" + UUID[20:],
        "differs in the last digit": UUID[:-1] + "8",
        "differs in all digits": "".join(c if c == "-" else f"{15 - int(c, 16):x}" for c in UUID),
    },
}


def measure(db, form, offered):
    start = time.perf_counter_ns()
    db.execute("SELECT count(pictrepo.check_delete_token(%s, %s)) FROM generate_series(1, %s)", [form, offered, CALLS])
    return (time.perf_counter_ns() - start) / CALLS


def least(values):
    """Of each block of rounds the time that was least disturbed."""
    return [min(values[start:start + BLOCK]) for start in range(0, len(values), BLOCK)]


def off_the_right(times):
    """(kind, ns a call, ns off, standard error of that) for what is not the right token."""
    (_, right), *others = times.items()
    for kind, values in others:
        off = [value - base for value, base in zip(least(values), least(right))]
        error = statistics.stdev(off) / len(off) ** 0.5
        yield kind, statistics.mean(least(values)), statistics.mean(off), error


def report(form, times):
    """Whether something is given away."""
    right, values = next(iter(times.items()))
    print(f"{form}: {right:26} {statistics.mean(least(values)):8.1f} ns")
    given_away = False
    for kind, took, off, error in off_the_right(times):
        bad = abs(off) > max(SIGNIFICANT * error, NOTICED)
        given_away |= bad
        print(f"{form}: {kind:26} {took:8.1f} ns  {off:+7.1f} ns +- {error:.1f}" + "  IS GIVEN AWAY" * bad)
    return given_away


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=500)
    rounds = parser.parse_args().rounds
    if rounds < 5 * BLOCK:
        parser.error(f"fewer than {5 * BLOCK} rounds say nothing")
    kinds = [(form, kind) for form, offered in OFFERED.items() for kind in offered]
    times = {form: {kind: [] for kind in offered} for form, offered in OFFERED.items()}
    with psycopg.connect(autocommit=True) as db:
        for form, offered in OFFERED.items():
            db.execute("SELECT pictrepo.ingest(%s, 'file', '{}', %s, %s)",
                       [form.encode(), form, offered["the right token"]])
        for form, kind in kinds:
            measure(db, form, OFFERED[form][kind])
        for _ in range(rounds):
            for form, kind in random.sample(kinds, len(kinds)):
                times[form][kind].append(measure(db, form, OFFERED[form][kind]))
    print(f"{rounds} rounds of {CALLS} calls of each kind")
    return any([report(form, times[form]) for form in OFFERED])


sys.exit(main())
