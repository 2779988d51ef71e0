"""What a work is: something to do, and how each contestant does it."""

from collections.abc import Callable
from dataclasses import dataclass

from options import ROUNDS

PICTREPO = "pictrepo"
PICTRS = "pict-rs"
BARE = "bare tables"
FLOOR = "empty function"


@dataclass(eq=False)
class Work:
    """Some work, and the measure of each contestant at it; the first one is pictrepo.

    name chooses it (ONLY), title tells works of one name apart, at is its
    place on a plot's axis. :rows in statements is the number of images.
    """
    name: str
    title: str
    contestants: dict[str, Callable]
    before_round: tuple[str, ...] = ()
    before_each: tuple[str, ...] = ()
    rounds: int = ROUNDS
    at: float | None = None
    grows: bool = False  # measured at each size
