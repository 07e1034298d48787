"""Whether a daemon could ever start: what its workers tell their master."""

import mmap
import os
import signal
from typing import Final


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
        self._page[:1] = self._FAILED
        os.kill(self._master, signal.SIGTERM)
        return True

    @property
    def failed(self) -> bool:
        """Whether no worker could ever serve."""
        return self._page[:1] == self._FAILED
