"""How long an answer is worth waiting for: values in, values out.

A question carries when it was sent and within how many milliseconds the
sender wants the answer. Every cell answers a little before that, and gives
the cells behind it less again, so that the outermost waits longest (T4).
"""

from typing import Final

from cells.messages import Extension

#: What a cell keeps for itself of the time that it is given.
SHARE: Final = 0.95
AT_LEAST_EARLY: Final = 0.05
#: A question of a plain cell is too late after so many times what such a cell waits.
PLAIN_TIMES: Final = 2
#: How long after its end a question may still be taken, for clocks that differ.
GRACE: Final = 1.0


def shorter(seconds: float) -> float:
    """Return how long a cell may wait for others that must answer in ``seconds``."""
    return max(0.0, min(seconds * SHARE, seconds - AT_LEAST_EARLY))


def remaining(extension: Extension | None, now: float, default: float) -> float:
    """Return for how many seconds the sender of a message still waits.

    :param extension: what the sender said; None for a plain one, which waits ``default``.
    :param now: seconds since the epoch.
    :returns: less than ``-GRACE`` for a question that nobody waits for any more (R4).
    """
    if extension is None or extension.budget_ms is None:
        return default
    # A clock of the sender that is ahead must not make the answer due later.
    age = max(0.0, now - extension.sent_at)
    return min(extension.budget_ms / 1000 - age, default)


def remaining_plain(asked_at: float | None, now: float, default: float) -> float:
    """Return for how many seconds a plain cell still waits for the answer to its question.

    It says nothing of that, so it waits ``default`` from now on; but not when its user asked
    long ago, and the question has lain in a queue since (R4).

    :param asked_at: when its user asked, by the clock of whoever served that one; None when it
        is not known.
    """
    age = 0.0 if asked_at is None else now - asked_at
    return default - age if age > PLAIN_TIMES * default else default
