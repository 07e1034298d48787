"""Waiting for a database that is away."""

import logging
import threading
from collections.abc import Callable
from typing import Final

from cells.db import engine

LOG = logging.getLogger(__name__)

#: Seconds to wait, at first and at most.
SHORTEST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 2.0


class Patience:
    """Waits ever longer for a database that is away, and says so once.

    :param what: waits, for the log.
    :param stopped: ends every wait.
    :param each: whether each new reason is worth a line, and not only the first.
    """

    def __init__(self, what: str, stopped: threading.Event, *, each: bool = False) -> None:
        self._what = what
        self._stopped = stopped
        self._each = each
        self._reason = ''
        self._pause = SHORTEST_PAUSE
        self._failing = False

    def wait(self, error: Exception) -> None:
        """Take note of a failure and wait before the next attempt."""
        if engine.is_deadlock(error):
            return
        reason = engine.brief(error)
        if not self._failing or (self._each and reason != self._reason):
            LOG.warning(
                '%s: the database does not answer, trying until it does: %s', self._what, reason
            )
        self._failing, self._reason = True, reason
        self._stopped.wait(self._pause)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def insist(self, do: Callable[[], object]) -> None:
        """Do something until the database, which may be away, has done it.

        :raises DBError: it refuses, and will go on doing so; or all is to end.
        """
        while True:
            try:
                do()
            except engine.ERRORS as error:
                if self._stopped.is_set() or not engine.is_transient(error):
                    raise
                failure = error
            else:
                self.succeeded()
                return
            # Not in the handler of the error, as oslo.log would add the error to the line.
            self.wait(failure)
            if engine.is_deadlock(failure):
                self._stopped.wait(SHORTEST_PAUSE)

    def succeeded(self) -> None:
        """Take note of a success."""
        if self._failing:
            LOG.info('%s: the database answers again', self._what)
        self._failing = False
        self._pause = SHORTEST_PAUSE
