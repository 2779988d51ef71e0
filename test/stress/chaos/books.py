"""What clients know for sure, kept outside of the server.

Every time is a client's own: an event lies between the moment a statement was
sent and the moment its answer was there. A statement without an answer is in
doubt, and so is all that its transaction did.
"""

from collections import Counter
from dataclasses import dataclass, field

ACKED = "acknowledged"
DOUBT = "in doubt"
NEVER = "never"  # refused, rolled back, or the unique key was taken


@dataclass(slots=True, eq=False)
class Push:
    tag: str
    queue: str
    retry: int
    state: str = DOUBT
    id: str | None = None


@dataclass(slots=True, eq=False)
class Ending:
    """A worker says what became of a job; outcome None is in doubt."""
    result: str
    start: float
    end: float = float("inf")
    outcome: str | None = None


@dataclass(slots=True, eq=False)
class Claim:
    """A job in a worker's hand, for sure."""
    id: str
    tag: str
    queue: str
    worker: str
    attempt: int
    start: float
    end: float
    beat: float = 0.0  # when its last good heartbeat was sent
    endings: list = field(default_factory=list)

    def ended_before(self, time):
        """It may have been given up by then."""
        return any(e.outcome != "lost" and e.start <= time for e in self.endings)

    def outcome_in_doubt(self):
        return any(e.outcome is None for e in self.endings)


@dataclass(slots=True, eq=False)
class Group:
    """Pushes, and endings with success, of one transaction."""
    pushes: list
    endings: list = field(default_factory=list)  # (claim, ending)
    state: str = DOUBT


@dataclass(slots=True)
class Books:
    """One client's own."""
    pushes: list = field(default_factory=list)
    claims: list = field(default_factory=list)
    groups: list = field(default_factory=list)
    pops_in_doubt: list = field(default_factory=list)  # (queue, start)
    completed_in_doubt: set = field(default_factory=set)  # ids whose claim is in doubt, too
    glimpsed: set = field(default_factory=set)  # tags of these
    hashes: dict = field(default_factory=dict)  # name: whether it is there; None is in doubt
    odd: list = field(default_factory=list)  # what a client must never hear
    count: Counter = field(default_factory=Counter)

    def add(self, other):
        self.pushes += other.pushes
        self.claims += other.claims
        self.groups += other.groups
        self.pops_in_doubt += other.pops_in_doubt
        self.completed_in_doubt |= other.completed_in_doubt
        self.glimpsed |= other.glimpsed
        self.hashes |= other.hashes
        self.odd += other.odd
        self.count += other.count


@dataclass(slots=True)
class Period:
    """A queue was configured like this for sure, for workers that asked for jobs and got them in this time."""
    start: float
    end: float = float("inf")
    paused: bool = False
    limit: int | None = None


@dataclass(slots=True)
class Disaster:
    """Some time in here the server died, or was stopped, and came back."""
    start: float
    end: float
    crash: bool  # a crash may lose claims
    still: bool = False  # it stood still for all of this time, and lived on
