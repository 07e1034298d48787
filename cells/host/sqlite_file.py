"""A small SQLite file of an agent. Any thread may use it, one at a time.

It is readable for the account of the agent alone, and what is deleted from it is
overwritten: what an agent is ordered may hold a password.
"""

import contextlib
import os
import pathlib
import sqlite3
import threading
from collections.abc import Iterator
from typing import Final

from cells import exceptions

#: Seconds that another process may hold the file.
BUSY_SECONDS: Final = 5.0


class SqliteFile:
    """A file with tables.

    :param path: made when it is missing, with its directory.
    :param schema: statements that make the tables that are missing.
    :param durable: whether a change must survive that the machine loses its power; it survives
        the death of the process in any case.
    """

    def __init__(self, path: pathlib.Path, schema: str, durable: bool = True) -> None:
        self._path = path
        self._schema = schema
        self._durable = durable
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the file, or make it.

        :raises ConfigurationError: it cannot be used.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            connection = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS
            )
            connection.row_factory = sqlite3.Row
            connection.execute('PRAGMA journal_mode = WAL')
            connection.execute('PRAGMA synchronous = %s' % ('FULL' if self._durable else 'NORMAL'))
            connection.execute('PRAGMA secure_delete = ON')
            connection.executescript(self._schema)
        except (OSError, sqlite3.Error) as error:
            raise exceptions.ConfigurationError(
                reason='[DEFAULT] state_path: %s cannot be used: %s' % (self._path, error)
            ) from None
        self._connection = connection

    def close(self) -> None:
        """Close the file; who is still at work with it is told that the agent ends."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Use the file, for single statements.

        :raises AgentStopped: it is closed.
        """
        with self._lock:
            if self._connection is None:
                raise exceptions.AgentStopped()
            yield self._connection

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Change the file: all of the block or, when it raises, nothing.

        :raises AgentStopped: it is closed.
        """
        with self.read() as connection:
            connection.execute('BEGIN IMMEDIATE')
            try:
                yield connection
            except BaseException:
                connection.execute('ROLLBACK')
                raise
            connection.execute('COMMIT')
