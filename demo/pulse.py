"""A heartbeat beside the work.

    with beating(lambda: call("SELECT pictrepo.heartbeat(...)")):
        ...                     # what takes its time
"""

from contextlib import contextmanager
from threading import Event, Thread


@contextmanager
def beating(beat, every=0.5):
    """Whether the beats were still wanted shows when the work is handed in."""
    done = Event()

    def run():
        while not done.wait(every):
            beat()

    thread = Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
