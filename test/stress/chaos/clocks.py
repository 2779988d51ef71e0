"""The clocks: one that watches this machine's own, and one that the server can be given.

Clients take the time by the monotonic clock, and the server writes times of the wall
clock into rows. A machine that is busy, or wakes up, sets its wall clock.
"""

import mmap
import os
import struct
import subprocess
import time
from bisect import bisect_left, bisect_right
from pathlib import Path
from threading import Event, Thread

SHIM = Path(__file__).resolve().parents[2] / "lib" / "clock_shim.c"

LOOK_EVERY = 0.05  # seconds
STEP = 0.05  # the clocks differ by that much more or less than before, in seconds


class Watch(Thread):
    """Looks at the clocks all the time, so that it can say when the wall clock was set."""

    def __init__(self):
        super().__init__(name="clock watch", daemon=True)
        self.times, self.offsets = [], []
        self.stop = Event()

    def run(self):
        while True:
            self.look()
            if self.stop.wait(LOOK_EVERY):
                return

    def look(self):
        """Between two looks at the one clock nothing else may take its time."""
        while True:
            before, wall, after = time.monotonic(), time.time(), time.monotonic()
            if after - before < STEP / 10:
                break
        self.times.append(before)
        self.offsets.append(wall - before)

    def end(self):
        self.stop.set()
        self.join()

    def stepped(self, start, end):
        """Was the wall clock set between these times, or did it run at another speed?"""
        first = max(0, bisect_left(self.times, start) - 1)
        seen = self.offsets[first:bisect_right(self.times, end) + 1]
        return bool(seen) and max(seen) - min(seen) > STEP

    def steps(self):
        """How many there were."""
        return sum(abs(b - a) > STEP for a, b in zip(self.offsets, self.offsets[1:]))


class ShiftedClock:
    """A wall clock for a server, which can be set: it adds an offset from a file to this machine's."""

    def __init__(self, directory):
        self.library, self.offset = Path(directory) / "clock_shim.so", Path(directory) / "clock_offset"
        self.offset.write_bytes(struct.pack("q", 0))
        with open(self.offset, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 8)
        self.seconds = self.latest = 0.0

    def build(self):
        """False where there is no compiler."""
        try:
            subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O2", "-o", self.library, SHIM], check=True)
        except (OSError, subprocess.CalledProcessError):
            return False
        return True

    def environment(self):
        return {"LD_PRELOAD": str(self.library), "CLOCK_OFFSET": str(self.offset)}

    def step(self, seconds):
        self.seconds += seconds
        self.latest = max(self.latest, self.seconds)
        self.memory[:] = struct.pack("q", round(self.seconds * 1e6))

    def let_all_come_due(self):
        """As late as it has ever been, and later: what was delayed is due."""
        self.step(self.latest + 10 - self.seconds)
