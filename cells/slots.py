"""A name for each worker that stays the same over restarts.

A queue named after a process would be left behind by every restart. So a
worker takes the first free of numbered slots, held by a lock on a file that
the system lets go of when the process dies.
"""

import fcntl
import os
import pathlib
from typing import IO, Final

from cells import exceptions

MOST_WORKERS: Final = 1000


class WorkerSlot:
    """A slot of this worker, from :meth:`take` to :meth:`release`."""

    def __init__(self, number: int, lock: IO[str]) -> None:
        self.number = number
        self._lock = lock

    @staticmethod
    def take(state_path: str) -> 'WorkerSlot':
        """Take the first free slot of a directory, which is made when it is missing.

        :raises ConfigurationError: the directory cannot be used.
        """
        directory = pathlib.Path(state_path)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for number in range(MOST_WORKERS):
                lock = open(directory / ('worker-%d.lock' % number), 'a+')  # noqa: SIM115
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    lock.close()
                    continue
                lock.truncate(0)
                lock.write('%d\n' % os.getpid())
                lock.flush()
                return WorkerSlot(number, lock)
        except OSError as error:
            raise exceptions.ConfigurationError(
                reason='[DEFAULT] state_path = %s cannot be used: %s' % (state_path, error)
            ) from None
        raise exceptions.ConfigurationError(
            reason='%d workers use [DEFAULT] state_path = %s already' % (MOST_WORKERS, state_path)
        )

    def release(self) -> None:
        """Let another worker have the slot."""
        self._lock.close()
