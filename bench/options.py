"""How much of everything: what the environment says, else what the form is."""

import os


def switched(name):
    return os.environ.get(name, "") not in ("", "0", "no")


# The short form shows the picture in a few minutes, the full one is for figures to keep.
FULL = switched("FULL")


def number(name, short, full):
    return float(os.environ.get(name) or (full if FULL else short))


def words(name):
    return os.environ.get(name, "").replace(",", " ").split()


SECONDS = number("SECONDS_EACH", 1, 5)
WARM_UP = 1  # s before what counts; pgbench tells of whole seconds
PUSHING = number("PUSHING", 1, 6)  # s at one job every 20 ms
ROUNDS = int(number("ROUNDS", 2, 3))
FEW_ROUNDS = int(number("FEW_ROUNDS", 1, 2))  # of what takes long, or is not the main thing
ONLY = words("ONLY")
BETWEEN = FEW_ROUNDS if FULL or ONLY else 0  # of a step between others that the picture does without
CLIENTS = int(number("CLIENTS", 8, 8))
HELD = number("HELD", 8, 60)
IDLE = number("IDLE", 3, 20)
ROWS = int(number("ROWS", 100_000, 1_000_000))
BACKLOG = int(number("BACKLOG", ROWS, ROWS))
PROXIES = 300_000  # or one for each image
QUEUES = 1000
SIZES = {int(size) for size in words("SIZES")} or {10_000, 100_000}  # beside ROWS; for how it grows
