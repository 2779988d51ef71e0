"""A worker of pictrepo: does the jobs of a queue until SIGTERM.

    python3 worker.py QUEUE
"""

import logging
import os
import signal
import sys
from contextlib import contextmanager
from threading import Event, Thread
from uuid import uuid4

import psycopg

# Seconds between heartbeats, a quarter of pictrepo.heartbeat_timeout.
BEAT = int(os.environ.get("HEARTBEAT_SECONDS", 30))

WAIT = "CALL pictrepo.pop_wait(%s, %s, '10 s')"
END_AND_NEXT = "SELECT id, job, attempt, outcome FROM pictrepo.complete_and_pop(%s, %s, %s, %s, %s, %s)"
END = "SELECT NULL, NULL, NULL, pictrepo.complete_job(%s, %s, %s, %s, %s, %s)"


def handle(job, lost):
    """Do one job: your work goes here.

    An exception lets the job fail, and it is tried again. When the event lost
    is set another worker has the job, and this one should leave it.
    """
    if job["seconds"] < 0:
        raise ValueError("no job takes less than no time")
    lost.wait(job["seconds"])


def work(queue, stop):
    worker = uuid4()
    while not stop.is_set():
        try:
            # No transaction, because pop_wait commits by itself, and no prepared
            # statements, because a transaction pooler may know none.
            with psycopg.connect(autocommit=True, prepare_threshold=None,
                                 application_name=f"imagehost worker: {queue}") as db:
                work_connected(db, queue, worker, stop)
        except psycopg.OperationalError as error:
            logging.warning("connecting again: %s", error)
            stop.wait(1)


def work_connected(db, queue, worker, stop):
    job_id = None
    while job_id or not stop.is_set():
        if job_id:
            job_id, job, attempt = do_job(db, (queue, worker, job_id), attempt, job, stop)
        else:
            job_id, job, attempt, _ = db.execute(WAIT, (queue, worker)).fetchone()


def do_job(db, claim, attempt, job, stop):
    """Do a job and end it; the next one comes along, unless the worker is to stop."""
    result, reason = "success", None
    with beating(db, (*claim, attempt)) as lost:
        try:
            handle(job, lost)
        except Exception as error:
            result, reason = "failure", str(error)
    if lost.is_set():
        logging.warning("job %s is lost", claim[2])
        return None, None, None
    *following, outcome = db.execute(END if stop.is_set() else END_AND_NEXT,
                                     (*claim, result, reason, attempt)).fetchone()
    if outcome != "completed":
        logging.warning("job %s is %s: %s", claim[2], outcome, reason)
    return following


@contextmanager
def beating(db, claim):
    """Send heartbeats meanwhile, on the worker's connection, which is idle."""
    done, lost = Event(), Event()

    def beat():
        try:
            while not done.wait(BEAT):
                if not db.execute("SELECT pictrepo.heartbeat(%s, %s, %s, %s)", claim).fetchone()[0]:
                    return lost.set()
        except psycopg.Error:
            lost.set()

    thread = Thread(target=beat)
    thread.start()
    try:
        yield lost
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    stopping = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    work(sys.argv[1], stopping)
