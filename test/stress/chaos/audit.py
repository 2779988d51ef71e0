"""Do the books balance with what the server has, and with each other?

Each check gives lines that say what is wrong.
"""

from collections import defaultdict

from books import ACKED, DOUBT, NEVER

TIMEOUT = 2.0  # pictrepo.heartbeat_timeout, in server.conf
TOLERANCE = 0.1  # two clocks are compared


class Audit:
    """books: of all clients, and of the drain. dead: {id: job} of dead_jobs. periods: {queue: how it was configured}.

    watch: of this machine's clock. What spans a step of it is not judged.
    """

    def __init__(self, books, disasters, dead, periods, watch):
        self.books = books
        self.periods = periods
        self.watch = watch
        self.disasters = sorted(disasters, key=lambda disaster: disaster.start)
        self.dead = dead
        self.pushes = {push.tag: push for push in books.pushes}
        self.claims = defaultdict(list)
        for claim in books.claims:
            self.claims[claim.id].append(claim)
        for claims in self.claims.values():
            claims.sort(key=lambda claim: claim.end)
        self.seen = {claim.tag for claim in books.claims} | {job["tag"] for job in dead.values()}
        self.seen |= books.glimpsed
        self.completed = set(self.outcomes("completed"))
        self.repeated = 0
        self.taken_away = 0
        self.not_judged = 0

    def outcomes(self, outcome):
        """Ids of the jobs that got this answer, one for each."""
        return [claim.id for claim in self.books.claims for e in claim.endings
                if e.outcome == outcome]

    def completed_in_doubt(self):
        return self.books.completed_in_doubt | {
            claim.id for claim in self.books.claims for e in claim.endings
            if e.outcome is None and e.result == "success"}

    def crashed_between(self, start, end):
        return any(d.crash and d.start <= end and d.end >= start for d in self.disasters)

    def reapable(self, beat, end):
        """Was there a full timeout of silence, not counting across a restart, nor while the server stood still?"""
        since, longest = beat, 0
        for disaster in self.disasters:
            if disaster.start < end and disaster.still and beat < disaster.end:
                longest, since = max(longest, disaster.start - since), disaster.end
            elif beat < disaster.start < end:
                longest, since = max(longest, disaster.start - since), disaster.start
        return max(longest, end - since) >= TIMEOUT - TOLERANCE

    def too_early(self, beat, end):
        """Was it taken away sooner than it may be, for sure?"""
        if self.reapable(beat, end):
            return False
        stepped = self.watch.stepped(beat - TOLERANCE, end)
        self.not_judged += stepped
        return not stepped

    # ----- pushes -----

    def check_known(self):
        """What comes out was pushed, or may have been; and is what was pushed."""
        found = [(claim.id, claim.tag) for claim in self.books.claims]
        found += [(id, job["tag"]) for id, job in self.dead.items()]
        for id, tag in found:
            push = self.pushes.get(tag)
            if push is None or push.state == NEVER:
                yield f"job {id} ({tag}) came out, but was never pushed"
            elif push.state == DOUBT and push.id not in (None, id):
                yield f"job {tag} is there as {push.id} and as {id}"
            elif push.state == ACKED and push.id != id:
                yield f"job {tag} was pushed as {push.id} and came out as {id}"
            else:
                push.id = id

    def check_kept(self):
        """Each job ended in one way, and none is lost."""
        done = self.completed | self.completed_in_doubt()
        for push in self.books.pushes:
            if push.state == ACKED and push.id not in done and push.id not in self.dead:
                yield f"job {push.id} ({push.tag}) is lost"
        for id in self.completed & self.dead.keys():
            yield f"job {id} is completed and dead"

    def check_whole(self):
        """A transaction in doubt is there as a whole, or not at all."""
        in_doubt = self.completed_in_doubt()
        for group in self.books.groups:
            there = {push.tag in self.seen for push in group.pushes}
            if group.state == DOUBT and len(there) > 1:
                yield f"a part of a transaction: {[push.tag for push in group.pushes]}"
            for claim, ending in group.endings:
                ended = claim.id not in self.dead and claim.id not in self.completed
                others = claim.id in self.books.completed_in_doubt or any(
                    e.outcome is None and e is not ending
                    for c in self.claims[claim.id] for e in c.endings)
                if ending.outcome is None and claim.id in in_doubt and not others \
                        and ended != (True in there):
                    yield f"job {claim.id} and what was pushed with its end do not agree"

    # ----- claims -----

    def check_ended(self):
        """What ended never comes out again, and ends once."""
        ended_at = {}
        for claim in self.books.claims:
            for ending in claim.endings:
                if ending.outcome in ("completed", "dead"):
                    if claim.id in ended_at:
                        yield f"job {claim.id} ended twice"
                    ended_at[claim.id] = ending.end
        for claim in self.books.claims:
            if claim.start > ended_at.get(claim.id, float("inf")):
                yield f"job {claim.id} ({claim.tag}) came out after its end"
        for id in set(self.outcomes("dead")) - self.dead.keys():
            yield f"job {id} died and is not among the dead"

    def check_attempts(self):
        """Each claim is one attempt more, but where a crash took claims back."""
        in_doubt = defaultdict(list)
        for queue, start in self.books.pops_in_doubt:
            in_doubt[queue].append(start)
        for id, claims in self.claims.items():
            for n, claim in enumerate(claims):
                unknown = sum(start < claim.end for start in in_doubt[claim.queue])
                if not 1 <= claim.attempt <= len(claims) + unknown:
                    yield f"job {id} has attempt {claim.attempt} with {n + 1} claims"
                if claim.attempt > self.pushes[claim.tag].retry + 1:
                    yield f"job {id} has attempt {claim.attempt}, more than its retries allow"

    def check_holders(self):
        """From one hand to the next only after an end, a timeout, or a crash."""
        for id, claims in self.claims.items():
            for old, new in zip(claims, claims[1:]):
                if new.attempt < old.attempt and new.start < old.end:
                    old, new = new, old  # their answers overtook each other
                yield from self.check_handed_on(id, old, new)

    def check_handed_on(self, id, old, new):
        for_sure = any(e.outcome in ("retrying", "completed", "dead") for e in old.endings)
        if new.attempt <= old.attempt:
            self.repeated += 1
            if for_sure or not self.crashed_between(old.start, new.end):
                yield f"job {id}: attempt {new.attempt} after attempt {old.attempt} without a crash"
        elif not old.ended_before(new.end):
            self.taken_away += 1
            if self.too_early(old.beat, new.end):
                yield (f"job {id} went from {old.worker} to {new.worker} "
                       f"{new.end - old.beat:.1f} s after its last heartbeat")

    def check_lost(self):
        """A worker loses a job only by a timeout, an end of its own, or a crash since it had it for sure."""
        for claim in self.books.claims:
            for ending in claim.endings:
                if ending.outcome == "lost" and not (
                        claim.outcome_in_doubt()
                        or self.crashed_between(claim.beat, ending.end)) \
                        and self.too_early(claim.beat, ending.end):
                    yield (f"worker {claim.worker} lost job {claim.id} "
                           f"{ending.end - claim.beat:.1f} s after its last heartbeat")

    # ----- configured queues -----

    def check_configured(self):
        """A paused queue gives nothing out, and one with a limit no more than that."""
        for queue, periods in self.periods.items():
            held = []
            for pop in self.pops_of(queue):
                held = [claim for claim in held if self.surely_held(claim, pop[0].start)]
                for period in periods:
                    if period.start <= pop[0].start and pop[0].end <= period.end:
                        yield from self.check_pop(pop, held, period)
                held += pop

    def pops_of(self, queue):
        """The claims of each pop, one pop after the other."""
        pops = defaultdict(list)
        for claim in self.books.claims:
            if claim.queue == queue:
                pops[claim.start, claim.worker].append(claim)
        return [pops[pop] for pop in sorted(pops)]

    def surely_held(self, claim, time):
        """A worker has it still, and nobody may take it away before."""
        return not (claim.ended_before(time) or self.reapable(claim.beat, time)
                    or self.crashed_between(claim.start, time) or self.watch.stepped(claim.beat, time))

    def check_pop(self, pop, held, period):
        if period.paused:
            yield f"job {pop[0].id} came out of a queue that was paused"
        running = [claim for claim in held if claim.end <= pop[0].start and self.surely_held(claim, pop[0].end)]
        if period.limit is not None and len(running) + len(pop) > period.limit:
            yield f"job {pop[0].id} came out though {len(running)} ran and {period.limit} may"

    def wrong(self):
        yield from self.books.odd
        yield from self.check_known()
        yield from self.check_kept()
        yield from self.check_whole()
        yield from self.check_ended()
        yield from self.check_attempts()
        yield from self.check_holders()
        yield from self.check_lost()
        yield from self.check_configured()
