"""Workers that wait for jobs, each kind in its own way.

All of them, and who pushes, live on one thread and one clock: an answer is
stamped when its first byte is there, before anything is made of it. So what
is measured is the server, and the little it takes to notice an answer.
"""

import asyncio
import time

import psycopg
from psycopg.pq import ExecStatus

from measure import LeftOut
from peers import (BARE_CLAIM, BARE_COMPLETE, BARE_PUSH, PICTRS_CLAIM, PICTRS_COMPLETE,
                   PICTRS_LISTEN, PICTRS_PUSH, PICTRS_RESET)

APPLICATION = "bench worker"


class Session:
    """A connection to ask one thing at a time; `seen` is when the last answer came."""

    def __init__(self, heard=None):
        self.connection = psycopg.connect(autocommit=True, application_name=APPLICATION)
        self.pgconn = self.connection.pgconn
        self.heard = heard
        self.seen = None
        self.rows = None
        self.answer = None
        self.loop = asyncio.get_running_loop()
        self.loop.add_reader(self.pgconn.socket, self.read)

    async def ask(self, sql):
        """The rows that a statement gives, their values as text."""
        self.answer = self.loop.create_future()
        self.pgconn.send_query(sql.encode())
        return await self.answer

    def read(self):
        self.seen = time.monotonic()
        self.pgconn.consume_input()
        while self.answer is not None and not self.pgconn.is_busy():
            self.take_result(self.pgconn.get_result())
        while (notify := self.pgconn.notifies()) is not None:
            self.heard(notify.extra.decode())

    def take_result(self, result):
        if result is None:
            answer, self.answer = self.answer, None
            if not answer.done():
                answer.set_result(self.rows)
        elif result.status in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            self.rows = [[value and value.decode() for value in
                          (result.get_value(row, column) for column in range(result.nfields))]
                         for row in range(result.ntuples)]
        elif not self.answer.done():
            self.answer.set_exception(RuntimeError(result.error_message.decode()))

    def close(self):
        self.loop.remove_reader(self.pgconn.socket)
        self.connection.close()


class Worker:
    """What a worker does to take a job, and others to push it.

    start is 0 to 1, its place among its team, so that those who look from
    time to time do not all look at once.
    """
    statements = {}
    counted = False  # whether pictrepo.queue_stats tells of them

    @staticmethod
    def need(db):
        """Raises LeftOut where this server has no such thing."""

    def __init__(self, team, start):
        self.team = team
        self.start = start
        self.session = Session()

    async def prepare(self):
        for name, statement in self.statements.items():
            await self.session.ask(f"PREPARE {name} AS {statement}")

    async def push(self):
        return (await self.session.ask("EXECUTE push"))[0][0]

    async def take(self):
        """The id of a job, as soon as there is one."""
        raise NotImplementedError

    async def complete(self, job):
        await self.session.ask(f"EXECUTE complete ('{job}')")


class PopWorker(Worker):
    """Blocks in pop."""
    counted = True
    statements = {
        "push": """SELECT pictrepo.push('q', '{"Ingest": 1}')""",
        "take": "SELECT id FROM pictrepo.pop('q', wait => '1 min')",
        "complete (uuid)": "SELECT pictrepo.complete_job('q', NULL, $1)",
    }

    async def take(self):
        while not (rows := await self.session.ask("EXECUTE take")):
            pass
        return rows[0][0]


class PopWaitWorker(PopWorker):
    """Blocks in pop_wait."""

    @staticmethod
    def need(db):
        if db.execute("SELECT FROM pg_proc WHERE pronamespace = 'pictrepo'::regnamespace"
                      " AND proname = 'pop_wait'").rowcount == 0:
            raise LeftOut("there is no pop_wait")

    async def take(self):
        call = "CALL pictrepo.pop_wait('q', NULL, '1 min', NULL, NULL, NULL, NULL)"
        while (job := (await self.session.ask(call))[0][0]) is None:
            pass
        return job


class PictrsWorker(Worker):
    """Looks for a job when a notification was for it, or after 5 s, as in pict-rs.

    One connection of the process listens. A job that was not heard of before
    is a reason for one worker to look.
    """
    PAUSE = 5
    statements = {
        "push": PICTRS_PUSH,
        "reset": PICTRS_RESET,
        "claim": PICTRS_CLAIM,
        "complete (uuid)": PICTRS_COMPLETE + "$1",
    }

    def __init__(self, team, start):
        super().__init__(team, start)
        self.pause = self.PAUSE * start
        if not hasattr(team, "ear"):
            team.ear = Ear(team)

    async def take(self):
        while True:
            await self.team.ear.listen()
            await self.session.ask("EXECUTE reset")
            if rows := await self.session.ask("EXECUTE claim"):
                return rows[0][0]
            await self.team.ear.wait(self.pause)
            self.team.woken += 1
            self.pause = self.PAUSE


class Ear:
    """pict-rs's listening connection, and its workers that wait for what it hears."""

    def __init__(self, team):
        self.team = team
        self.session = Session(self.hear)
        self.turn = asyncio.Lock()
        self.news = asyncio.Semaphore(0)
        self.known = []

    async def listen(self):
        async with self.turn:
            await self.session.ask(PICTRS_LISTEN)

    def hear(self, payload):
        self.team.woken += 1
        job = payload.split(" ")[0]
        if job in self.known:
            return
        self.known = [*self.known[-15:], job]
        # What nobody waits for is kept once.
        if self.news.locked():
            self.news.release()

    async def wait(self, seconds):
        try:
            await asyncio.wait_for(self.news.acquire(), seconds)
        except asyncio.TimeoutError:
            pass


class NotifyWorker(Worker):
    """Listens on a connection of its own, so that every notification wakes all of them."""
    statements = {
        "push": "WITH pushed AS (" + BARE_PUSH + " RETURNING id)"
                " SELECT id, pg_notify('bare_jobs', id::text) FROM pushed",
        "claim": BARE_CLAIM,
        "complete (bigint)": BARE_COMPLETE + "$1",
    }

    def __init__(self, team, start):
        super().__init__(team, start)
        self.session.heard = self.hear
        self.news = asyncio.Event()

    async def prepare(self):
        await super().prepare()
        if self in self.team.workers:
            await self.session.ask("LISTEN bare_jobs")

    def hear(self, payload):
        self.team.woken += 1
        self.news.set()

    async def take(self):
        while True:
            self.news.clear()
            if rows := await self.session.ask("EXECUTE claim"):
                return rows[0][0]
            if self in self.team.workers:
                await self.news.wait()
            else:
                await asyncio.sleep(0.01)


class PollingWorker(Worker):
    """Looks for a job in a bare table ten times a second."""
    PAUSE = 0.1
    statements = {
        "push": BARE_PUSH + " RETURNING id",
        "claim": BARE_CLAIM,
        "complete (bigint)": BARE_COMPLETE + "$1",
    }

    def __init__(self, team, start):
        super().__init__(team, start)
        self.pause = self.PAUSE * start

    async def take(self):
        while not (rows := await self.session.ask("EXECUTE claim")):
            await asyncio.sleep(self.pause)
            self.team.woken += 1
            self.pause = self.PAUSE
        return rows[0][0]


class IdleConnection(Worker):
    """Does not even wait: what connections cost that nobody uses."""

    async def take(self):
        await asyncio.Event().wait()


class Team:
    """Workers of one kind, all at it until the team is dismissed."""

    def __init__(self, kind, size):
        self.woken = 0  # how often one of their sessions was called, or looked by itself
        self.workers = [kind(self, number / size) for number in range(size)]
        self.tasks = []

    async def prepare(self, *others):
        for worker in [*self.workers, *others]:
            await worker.prepare()

    async def warm_up(self, *others):
        """Every session has its plans and caches before it counts."""
        for worker in [*self.workers, *others]:
            for _ in range(2):
                await worker.push()
                await worker.complete(await worker.take())

    def run(self, work):
        self.tasks = [asyncio.create_task(work(worker)) for worker in self.workers]

    def check(self):
        for task in self.tasks:
            if task.done():
                task.result()

    async def dismiss(self, bench):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for session in self.sessions():
            session.close()
        # A backend that waits does not see that its client has gone.
        bench.db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                         " WHERE application_name = %s", [APPLICATION])
        bench.wait_for_sessions_to_end()

    def sessions(self):
        if hasattr(self, "ear"):
            yield self.ear.session
        for worker in self.workers:
            yield worker.session
