"""What a client does in transactions of several calls, some of which have two phases.

They neither use unique keys nor queues with a limit: calls of several transactions may wait
for each other there, and deadlock as any transactions may.
"""

import time
from dataclasses import dataclass, field
from threading import Lock
from typing import Callable

from answers import Lost, NothingToDo, Refused
from audit import TIMEOUT
from books import ACKED, NEVER, Ending, Group, Period

CONFIGURED = "configured"  # the queue that transactions of two phases configure
QUEUES = ["mail", "limited", "thumbnails", "cleanup", CONFIGURED]
LIMITED = {"limited", CONFIGURED}

BACKOFF = 0.2  # seconds, see configure() in chaos.py


@dataclass(slots=True, eq=False)
class TwoPhases:
    """A transaction of two phases, and what its client has decided."""
    name: str
    commit: bool
    backend: int  # the last one that was at it
    settle: Callable  # what it says: whether it was committed
    prepared: bool = False  # for sure
    committing: float | None = None  # since when it may be committed


@dataclass(slots=True)
class Configuration:
    """What all clients know together of the queue that they configure one after the other."""
    turn: Lock = field(default_factory=Lock)
    periods: list = field(default_factory=lambda: [Period(time.monotonic())])


class Transactions:
    """A part of Client."""

    def queue_without_limit(self):
        return self.random.choice([queue for queue in QUEUES if queue not in LIMITED])

    def pick_without_limit(self):
        claim = self.pick()
        if claim.queue in LIMITED:
            self.held.append(claim)
            raise NothingToDo
        return claim

    # ----- rolled back -----

    def pop_rolled_back(self):
        """Nothing is claimed, whole or in part."""
        queue = self.queue_without_limit()
        self.roll_back_all(lambda: self.send_pop(queue, self.random.choice([0, 0.1])))

    def end_and_claim_rolled_back(self):
        """A job is given back and claimed again. After all its worker has had it all the time."""
        claim = self.job_to_keep()
        self.roll_back_all(lambda: self.end_and_claim(claim))
        self.see_that_it_is_kept(claim)

    def job_to_keep(self):
        """Some are older than they may be without the heartbeats of their worker."""
        claim = self.pick_without_limit()
        self.held.append(claim)
        until = claim.start + 1.2 * TIMEOUT
        while self.random.random() < 0.95 and time.monotonic() < until:
            if not self.beat(claim):
                raise NothingToDo
            time.sleep(TIMEOUT / 10)
        return claim

    def see_that_it_is_kept(self, claim):
        time.sleep(self.random.uniform(0, TIMEOUT / 2))
        if claim in self.held:
            self.beat(claim)

    def end_and_claim(self, claim):
        """What it pops may be among others. The job is among them, unless another one has it or it is dead."""
        self.ask("SELECT pictrepo.complete_job(%s, %s, %s, 'failure', 'chaos')",
                 claim.queue, self.worker_argument(), claim.id)
        time.sleep(1.5 * BACKOFF)
        rows = self.ask("SELECT * FROM pictrepo.pop(%s, %s, 1000)", claim.queue, self.worker_argument())
        self.books.count["ended and claimed again, rolled back"] += claim.id in {str(row[0]) for row in rows}
        return rows

    def roll_back_all(self, claim):
        savepoint = self.random.random() < 0.5
        try:
            self.begin()
            if savepoint:
                self.ask("SAVEPOINT here")
            rows = claim()
            if savepoint:
                self.ask("ROLLBACK TO here")
                self.commit()
            else:
                self.rollback()
            self.books.count["claims rolled back"] += len(rows)
        except Refused:
            self.rollback()
            raise

    # ----- committed -----

    def do_job(self):
        """What an image host does: work, hand in, order more work, in one step."""
        claim = self.pick()
        group = Group([self.new_push(self.random.choice(QUEUES)) for _ in range(2)])
        ending = Ending("success", time.monotonic())
        claim.endings.append(ending)
        try:
            outcome, ids = self.send_do_job(claim, group)
        except (Refused, Lost) as error:
            if isinstance(error, Lost) and self.committing:
                group.endings.append((claim, ending))
                self.books.groups.append(group)
            else:
                claim.endings.remove(ending)
                self.held.append(claim)
                self.undo(group)
            raise
        ending.outcome, ending.end = outcome, time.monotonic()
        if outcome == "lost":
            self.undo(group)
            return
        for push, id in zip(group.pushes, ids):
            self.settle_push(push, id)
        group.state = ACKED
        group.endings.append((claim, ending))
        self.books.groups.append(group)

    def send_do_job(self, claim, group):
        self.begin()
        ids = [self.send_push(group.pushes[0], None)]
        outcome = self.ask("SELECT pictrepo.complete_job(%s, %s, %s)",
                           claim.queue, self.worker_argument(), claim.id)[0][0]
        if outcome == "lost":
            return outcome, None
        self.ask("SAVEPOINT here")
        regretted = self.new_push(claim.queue)
        regretted.state = NEVER
        self.send_push(regretted, None)
        self.ask("ROLLBACK TO here")
        ids.append(self.send_push(group.pushes[1], None))
        self.commit()
        return outcome, ids

    def undo(self, group):
        group.state = NEVER
        for push in group.pushes:
            push.state = NEVER
        if not self.db.closed:
            self.rollback()

    def pop_and_complete(self):
        """Claimed and done in one transaction; nobody else ever sees the claim."""
        queue = self.queue_without_limit()
        start, rows = time.monotonic(), []
        try:
            self.begin()
            rows = self.send_pop(queue)
            outcomes = [self.ask("SELECT pictrepo.complete_job(%s, %s, %s)",
                                 queue, self.worker_argument(), row[0])[0][0] for row in rows]
            if self.random.random() < 0.2:
                self.rollback()
                return
            self.commit()
        except Refused:
            self.rollback()
            raise
        except Lost:
            if not self.committing:
                raise
            self.books.completed_in_doubt |= {str(row[0]) for row in rows}
            self.books.glimpsed |= {row[1]["tag"] for row in rows}
            self.books.pops_in_doubt.append((queue, start))
            raise
        for claim, outcome in zip(self.take(queue, rows, start), outcomes):
            self.held.remove(claim)
            claim.endings.append(Ending("success", start, claim.end, outcome))

    # ----- two phases -----
    # What is prepared outlives its session and the server. Nobody else ends it, and until
    # then its client does nothing that may have to wait for it. When the backend that was
    # at it is gone, what is there says what became of it.

    def may_prepare(self):
        """For a third of the time, at the same time as others: while there is any such transaction,
        heartbeats are written into rows, and counts and configurations are read from tables."""
        return self.prepares and time.monotonic() % 12 < 4

    def begin_two_phases(self, settle):
        """The server prepares nothing that notifies."""
        self.tags += 1
        two = TwoPhases(f"{self.name} {self.tags}", self.random.random() < 0.6, self.db.info.backend_pid, settle)
        self.begin()
        self.ask("SET LOCAL pictrepo.notify = off")
        return two

    def prepare_and_end(self, two):
        self.two_phases = two
        self.ask(f"PREPARE TRANSACTION '{two.name}'")
        two.prepared = True
        time.sleep(self.random.choice([0, 0.05, 0.5]))
        self.end_two_phases()

    def end_two_phases(self):
        """As it was decided before. What is gone by then has ended so, or was never prepared."""
        two = self.two_phases
        if two is None:
            return
        if not two.prepared:
            self.rollback()  # a cancel may have come before the word
            if self.db is None:
                raise Lost
        while two.backend != self.db.info.backend_pid and self.ask(
                "SELECT pid FROM pg_stat_activity WHERE pid = %s", two.backend):
            time.sleep(0.01)
        while self.ask("SELECT gid FROM pg_prepared_xacts WHERE gid = %s", two.name):
            two.prepared = True
            two.backend = self.db.info.backend_pid
            if two.commit and two.committing is None:
                two.committing = time.monotonic()
            self.ask(f"{'COMMIT' if two.commit else 'ROLLBACK'} PREPARED '{two.name}'")
        self.two_phases = None
        two.settle(two.committing)
        self.books.count["prepared: " + (
            "never came to be" if not two.prepared else "committed" if two.commit else "rolled back")] += 1

    def do_job_in_two_phases(self):
        """The end of the job counts from when it may be committed on, and no earlier."""
        if not self.may_prepare():
            raise NothingToDo
        claim = self.pick_without_limit()
        group = Group([self.new_push(self.queue_without_limit()) for _ in range(2)])
        start = time.monotonic()

        def settle(committing):
            if committing is None:
                self.take_back(claim)
                group.state = NEVER
                for push in group.pushes:
                    push.state = NEVER
                return
            ending = Ending("success", committing, time.monotonic(), "completed")
            claim.endings.append(ending)
            for push in group.pushes:
                self.settle_push(push, push.id)
            group.state = ACKED
            group.endings.append((claim, ending))
            self.books.groups.append(group)

        try:
            two = self.begin_two_phases(settle)
            lost = self.ask("SELECT pictrepo.complete_job(%s, %s, %s)",
                            claim.queue, self.worker_argument(), claim.id)[0][0] == "lost"
            if not lost:
                for push in group.pushes:
                    push.id = str(self.send_push(push, None))
        except (Refused, Lost):
            self.take_back(claim)
            self.undo(group)
            raise
        if lost:
            claim.endings.append(Ending("success", start, time.monotonic(), "lost"))
            self.undo(group)
            return
        self.prepare_and_end(two)

    def take_back(self, claim):
        if claim.worker == self.worker:
            self.held.append(claim)

    def end_and_claim_in_two_phases(self):
        """Rolled back in any case, so that its worker has had it all the time."""
        if not self.may_prepare():
            raise NothingToDo
        claim = self.job_to_keep()
        self.held.remove(claim)
        try:
            two = self.begin_two_phases(lambda committing: self.take_back(claim))
            two.commit = False
            self.end_and_claim(claim)
        except (Refused, Lost):
            self.take_back(claim)
            if not self.db.closed:
                self.rollback()
            raise
        self.prepare_and_end(two)
        self.see_that_it_is_kept(claim)

    def configure_in_two_phases(self):
        """Pause the queue, or give it a limit, or take its configuration away."""
        if not self.may_prepare() or not self.configuration.turn.acquire(blocking=False):
            raise NothingToDo
        paused, limit = self.random.choice([(False, None), (True, None), (False, 1), (False, 3)])

        def settle(committing):
            if committing is not None:
                self.configuration.periods[-1].end = committing
                self.configuration.periods.append(Period(time.monotonic(), paused=paused, limit=limit))
            self.configuration.turn.release()

        try:
            two = self.begin_two_phases(settle)
            self.ask("DELETE FROM pictrepo.queues WHERE queue = %s", CONFIGURED)
            if paused or limit:
                self.ask("SELECT pictrepo.configure_queue(%s, max_running => %s, paused => %s)",
                         CONFIGURED, limit or -1, paused)
        except (Refused, Lost):
            self.configuration.turn.release()
            if not self.db.closed:
                self.rollback()
            raise
        self.prepare_and_end(two)
