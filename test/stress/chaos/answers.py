"""What may come of a statement besides an answer."""


class Lost(Exception):
    """The connection is gone; nobody knows what became of the statement."""


class Refused(Exception):
    """The statement failed; it did nothing."""


class NothingToDo(Exception):
    """No job is in the hand."""
