"""How much of everything: what the environment says, else what the form is."""

import os

# The short form shows the picture in a few minutes, the long one is for figures to keep.
LONG = os.environ.get("LONG", "") not in ("", "0")


def number(name, short, long):
    return float(os.environ.get(name) or (long if LONG else short))


SECONDS = number("SECONDS_EACH", 2, 10)
READING = SECONDS / 2  # what only reads soon shows its pace
PUSHING = SECONDS * 3 / 4  # at one job every 20 ms
ROUNDS = int(number("ROUNDS", 3, 5))
CLIENTS = int(number("CLIENTS", 8, 8))
HELD = number("HELD", 15, 60)
IDLE = number("IDLE", 5, 20)
FEW_ROUNDS = int(number("FEW_ROUNDS", 1, 3))  # of what takes long
ROWS = int(number("ROWS", 100_000, 1_000_000))
ONLY = os.environ.get("ONLY", "").split()
