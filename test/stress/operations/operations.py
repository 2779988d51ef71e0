"""The operations under fire: many clients at few things, while they and their server are killed.

    operations.py [--seconds N] [--clients N] [--seed N] DATA LOG

Runs them on the cluster in DATA, which PGHOST and the like reach; then the repo
must fit together, and fit what the clients know and what is in the store. For
the first half every call is a transaction, and no two may lock each other out;
then transactions have several. In the whole there is each kind of disaster of
test/stress/chaos. A seed makes the same clients and the same
killer; what meets what is up to chance.
"""

import argparse
import random
import re
import sys
import time
from pathlib import Path
from threading import Event

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "chaos"))

from chaos import DEALING  # noqa: E402
from host import NAMED, Books, Cleaner, Host  # noqa: E402
from killer import Killer  # noqa: E402
from server import Server  # noqa: E402

# Between two disasters, in seconds.
PAUSES = [0.1, 0.3, 0.6, 1.5]

# XX is the class of internal errors: a bug, or corruption.
ODD_IN_LOG = re.compile(
    r"PANIC:|TRAP:|was terminated by signal (?!9\b)"
    r"| XX\d\d\d (?!LOG:  could not send data to client: Bad file descriptor)")

# Whatever these give is wrong.
WRONG = {
    "orphan": "SELECT kind || ' ' || name FROM pictrepo.orphans",
    "url without alias": "SELECT url FROM pictrepo.proxies p WHERE NOT EXISTS"
    " (SELECT FROM pictrepo.aliases a WHERE a.alias = p.alias)",
    "variant without hash": "SELECT v.identifier FROM pictrepo.variants v WHERE NOT EXISTS"
    " (SELECT FROM pictrepo.hashes h WHERE h.hash = v.hash)",
    "file without details": """SELECT identifier FROM (
        SELECT identifier FROM pictrepo.hashes UNION ALL SELECT identifier FROM pictrepo.variants) files
        WHERE NOT EXISTS (SELECT FROM pictrepo.details d WHERE d.identifier = files.identifier)""",
    "queued, and named": f"""SELECT job -> 'Identifier' ->> 'identifier' FROM pictrepo.job_queue
        WHERE queue = 'cleanup' AND job -> 'Identifier' ->> 'identifier' IN ({NAMED})""",
    "size() is wrong": "SELECT n FROM (SELECT count(*) FROM pictrepo.hashes) AS hashes (n)"
    " WHERE n <> pictrepo.size()"}


def query(server, sql, *args):
    with server.wait_until_up() as db:
        return db.execute(sql, args).fetchall()


def column(server, sql):
    return {row[0] for row in query(server, sql)}


def fire(server, options, books):
    stop, end = Event(), Event()
    hosts = [Host(f"h{n}", server, options.seed, stop, books) for n in range(options.clients)]
    cleaner = Cleaner("cleaner", server, options.seed, end, books)
    killer = Killer(server, options.seed, stop, "operations client", PAUSES)
    for thread in (*hosts, cleaner, killer):
        thread.start()
    stop.wait(options.seconds / 2)
    for host in hosts:
        host.several = True
    stop.wait(options.seconds / 2)
    killer.dealt.wait(DEALING)
    stop.set()
    for thread in (*hosts, killer):
        thread.join(120)
        if thread.is_alive():
            books.odd.append(f"{thread.name} hangs")
    books.odd += killer.odd + [f"there were no {kind}" for kind in killer.missing()]
    books.count.update(killer.count)
    server.wait_until_up().close()
    time.sleep(1)
    end.set()
    cleaner.join(120)


def audit(server, books):
    """Lines that say what is wrong."""
    yield from books.odd
    for what, sql in WRONG.items():
        for found in sorted(map(str, column(server, sql))):
            yield f"{what}: {found}"

    named = column(server, NAMED)
    queued = column(server, """SELECT job -> 'Identifier' ->> 'identifier' FROM (
        SELECT queue, job FROM pictrepo.job_queue UNION ALL SELECT queue, job FROM pictrepo.dead_jobs) jobs
        WHERE queue = 'cleanup'""")
    of_jobs = column(server, """SELECT job ->> 'file' FROM (
        SELECT queue, job FROM pictrepo.job_queue UNION ALL SELECT queue, job FROM pictrepo.dead_jobs) jobs
        WHERE queue = 'process'""")
    for file in sorted(named - books.store):
        yield f"lost: {file} is named and not in the store"
    for file in sorted(of_jobs - books.store):
        yield f"lost: a job has {file}, which is not in the store"
    left = books.store - named - queued - of_jobs
    for file in sorted(left - books.doubt):
        yield f"forgotten: {file} is in the store, nothing names it and nobody removes it"
    books.count["files in doubt that were left"] = len(left)
    books.count["files in the store"] = len(books.store)

    aliases = column(server, "SELECT alias FROM pictrepo.aliases")
    for alias in sorted(aliases & books.gone):
        yield f"{alias} was deleted and is there"
    for alias, content in sorted(books.served.items()):
        rows = query(server, "SELECT hash, identifier, details, fallback FROM pictrepo.serve(%s)", alias)
        if not rows or bytes(rows[0][0]).decode() != content or rows[0][2] is None or rows[0][3] \
                or rows[0][1] not in books.store:
            yield f"{alias} of {content} is served as {rows}"
    books.count["aliases that must be served"] = len(books.served)
    books.count["aliases that must be gone"] = len(books.gone)


def prepare(server):
    with server.connect("operations check") as db:
        db.execute("CREATE EXTENSION IF NOT EXISTS pictrepo")
        db.execute("SELECT pictrepo.configure_queue('cleanup', retries => 1000, backoff => '0')")


def check_log(server):
    with open(server.log, encoding="utf-8", errors="replace") as log:
        return [f"log: {line.rstrip()}" for line in log if ODD_IN_LOG.search(line)]


def main(options):
    server, books = Server(options.data, options.log), Books()
    print(f"seed {options.seed}", flush=True)
    try:
        if server.postmaster() is None:
            server.start()
        prepare(server)
        fire(server, options, books)
        wrong = [*audit(server, books), *check_log(server)]
    finally:
        if server.postmaster() is not None:
            server.stop("fast")
    width = max(map(len, books.count))
    for name in sorted(books.count):
        print(f"  {name:{width}} {books.count[name]:9,}")
    for line in wrong[:50]:
        print(line)
    print(f"{len(wrong)} things are wrong" if wrong else "all fits together", flush=True)
    return bool(wrong)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("data")
    parser.add_argument("log")
    sys.exit(main(parser.parse_args()))
