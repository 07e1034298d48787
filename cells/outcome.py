"""Whether a daemon could ever start: what its workers tell their master."""

import logging
import mmap
import os
import signal
import threading
from typing import Final, NoReturn

LOG = logging.getLogger(__name__)

#: Seconds until a worker whose configuration turned out not to work is replaced.
RETRY_SECONDS: Final = 10.0


class Outcome:
    """What became of the start, shared by the workers and their master.

    Made in the master: it learns which process that is, and its page of memory is inherited.
    """

    _SERVED: Final = b's'
    _FAILED: Final = b'f'

    def __init__(self) -> None:
        self._master = os.getpid()
        self._page = mmap.mmap(-1, 1)

    def served(self) -> None:
        """Note that a worker has served: from now on a configuration is known to work."""
        self._page[:1] = self._SERVED

    def give_up(self) -> bool:
        """End the whole daemon, unless a worker of it has served before."""
        if self._page[:1] == self._SERVED:
            return False
        if self._page[:1] != self._FAILED:
            # Once: a second signal would end a master under eventlet before it can say why.
            self._page[:1] = self._FAILED
            os.kill(self._master, signal.SIGTERM)
        return True

    def refuse(self, what: str, reason: str, stopped: threading.Event) -> NoReturn:
        """End this worker, whose configuration turned out not to work.

        With it ends the daemon if none has ever served. Otherwise the others serve with what
        they read earlier; the master starts this one again, and should not do so all the time.
        """
        LOG.error('%s cannot start: %s', what, reason)
        if not self.give_up():
            stopped.wait(RETRY_SECONDS)
        raise SystemExit(1)

    @property
    def failed(self) -> bool:
        """Whether no worker could ever serve."""
        return self._page[:1] == self._FAILED
