"""What is measured: the works, and how each contestant does them."""

from collections.abc import Callable
from dataclasses import dataclass

from measure import rate, script
from options import ROUNDS
from peers import (BARE_CLAIM, BARE_COMPLETE, BARE_PUSH, PICTRS_CLAIM, PICTRS_COMPLETE,
                   PICTRS_LISTEN, PICTRS_PUSH, PICTRS_RESET)

GSET = " \\gset"
ALIAS = r"\set n random(1, :rows)"


@dataclass(eq=False)
class Work:
    """Some work, and the measure of each contestant at it; the first one is pictrepo."""
    name: str
    title: str
    contestants: dict[str, Callable]
    before_round: tuple[str, ...] = ()
    before_each: tuple[str, ...] = ()
    rounds: int = ROUNDS


# Some jobs lie ahead, so that a client finds one while others have theirs locked.
START = (
    "TRUNCATE pictrepo.job_queue, pictrs.job_queue, bare.jobs",
    "SELECT pictrepo.push_many('q', array_fill('1'::jsonb, ARRAY[100]))",
    "INSERT INTO pictrs.job_queue (queue, job) SELECT 'q', '1' FROM generate_series(1, 100)",
    "INSERT INTO bare.jobs (job) SELECT '1' FROM generate_series(1, 100)",
)

PUSH = """SELECT pictrepo.push('q', '{"Ingest": 1}')"""
CYCLE = script(PUSH, "SELECT id FROM pictrepo.pop('q')" + GSET,
               "SELECT pictrepo.complete_job('q', NULL, :id)")
PICTRS_CYCLE = script(PICTRS_LISTEN, PICTRS_PUSH, PICTRS_RESET, PICTRS_CLAIM + GSET,
                      PICTRS_COMPLETE + ":id")
BARE_CYCLE = script(BARE_PUSH, BARE_CLAIM + GSET, BARE_COMPLETE + ":id")

WORKS = [
    Work("push", "push a job", {
        "pictrepo": rate(script(PUSH)),
        "pict-rs": rate(script(PICTRS_PUSH)),
        "bare": rate(script(BARE_PUSH)),
    }, before_each=START),
    Work("cycle", "push, pop and complete a job", {
        "pictrepo": rate(CYCLE),
        "pict-rs": rate(PICTRS_CYCLE),
        "bare": rate(BARE_CYCLE),
    }, before_each=START),
    Work("serve", "from an alias to identifier and details", {
        "pictrepo": rate(script(
            ALIAS, "SELECT pictrepo.details(pictrepo.identifier_from_alias('a' || :n))")),
        "pict-rs": rate(script(
            ALIAS, "SELECT hash FROM pictrs.aliases WHERE alias = 'a' || :n" + GSET,
            "SELECT identifier FROM pictrs.hashes WHERE hash = :hash" + GSET,
            "SELECT json FROM pictrs.details WHERE identifier = :identifier")),
    }),
    Work("page", "the last page of 20 hashes", {
        "pictrepo": rate(script("SELECT pictrepo.hash_page_by_date(:at, 20)")),
        "pict-rs": rate(script(
            """SELECT hash FROM pictrs.hashes WHERE created_at < :at
                OR (created_at = :at AND hash <= '~')
                ORDER BY created_at DESC, hash DESC LIMIT 21""",
            """SELECT hash FROM pictrs.hashes WHERE created_at > :at
                OR (created_at = :at AND hash > '~')
                ORDER BY created_at, hash OFFSET 19 LIMIT 1""")),
    }),
    Work("outdated", "the 100 variants served longest ago", {
        "pictrepo": rate(script("SELECT count(*) FROM pictrepo.older_variants('2030-01-01', 100)")),
        "pict-rs": rate(script(
            """SELECT count(*) FROM (SELECT hash, variant FROM pictrs.variants
                WHERE accessed < '2030-01-01' ORDER BY accessed LIMIT 100) v""")),
    }),
]
