"""What an agent must remember over a restart, in a small SQLite file of its own."""

import pathlib
import time
import uuid
from collections.abc import Collection
from typing import Final, NamedTuple

from cells.host import sqlite_file

FILE: Final = 'nova-cells-compute.sqlite'

#: Seconds for which operations are known, so that they are not done again.
KEEP_SECONDS: Final = 7 * 86400.0

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS consoles (
    instance_uuid TEXT NOT NULL,
    console_type TEXT NOT NULL,
    port INTEGER NOT NULL,
    PRIMARY KEY (instance_uuid, console_type)
);
CREATE TABLE IF NOT EXISTS operations (id TEXT PRIMARY KEY, result TEXT, begun_at REAL NOT NULL);
"""


class Flags(NamedTuple):
    """Whether a host takes new instances."""

    enabled: bool
    maintenance: bool


class Store:
    """The memory of an agent. Any thread may use it, one at a time.

    :param directory: ``[DEFAULT] state_path``.
    """

    def __init__(self, directory: str) -> None:
        self.file = sqlite_file.SqliteFile(pathlib.Path(directory) / FILE, _SCHEMA)

    def open(self) -> None:
        """Open the file, or make it.

        :raises ConfigurationError: it cannot be used.
        """
        self.file.open()
        with self.file.read() as connection:
            connection.execute(
                'INSERT OR IGNORE INTO settings VALUES (?, ?)', ('machine_id', str(uuid.uuid4()))
            )

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    # -- this host --

    @property
    def machine_id(self) -> str:
        """Tells this machine from others of the same name; made with the file."""
        return str(self._setting('machine_id', ''))

    def flags(self) -> Flags:
        """Return whether this host takes new instances."""
        return Flags(self._setting('enabled', '1') == '1', self._setting('maintenance', '0') == '1')

    def set_enabled(self, enabled: bool) -> None:
        """Note whether this host takes new instances."""
        self._set('enabled', '1' if enabled else '0')

    def set_maintenance(self, maintenance: bool) -> None:
        """Note whether this host is being worked at."""
        self._set('maintenance', '1' if maintenance else '0')

    def _setting(self, name: str, default: str) -> str:
        with self.file.read() as connection:
            row = connection.execute(
                'SELECT value FROM settings WHERE name = ?', (name,)
            ).fetchone()
        return default if row is None else row[0]

    def _set(self, name: str, value: str) -> None:
        with self.file.read() as connection:
            connection.execute('INSERT OR REPLACE INTO settings VALUES (?, ?)', (name, value))

    # -- consoles of its instances --

    def console_put(self, instance_uuid: str, console_type: str, port: int) -> None:
        """Note the port of a console."""
        with self.file.read() as connection:
            connection.execute(
                'INSERT OR REPLACE INTO consoles VALUES (?, ?, ?)',
                (instance_uuid, console_type, port),
            )

    def console_port(self, instance_uuid: str, console_type: str) -> int | None:
        """Return the port of a console, None when there is none."""
        with self.file.read() as connection:
            row = connection.execute(
                'SELECT port FROM consoles WHERE instance_uuid = ? AND console_type = ?',
                (instance_uuid, console_type),
            ).fetchone()
        return None if row is None else int(row[0])

    def consoles_delete(self, instance_uuid: str) -> None:
        """Forget the consoles of an instance."""
        with self.file.read() as connection:
            connection.execute('DELETE FROM consoles WHERE instance_uuid = ?', (instance_uuid,))

    def consoles_keep(self, instance_uuids: Collection[str]) -> None:
        """Forget the consoles of all but some instances."""
        with self.file.write() as connection:
            rows = connection.execute('SELECT DISTINCT instance_uuid FROM consoles').fetchall()
            connection.executemany(
                'DELETE FROM consoles WHERE instance_uuid = ?',
                [(row[0],) for row in rows if row[0] not in instance_uuids],
            )

    # -- what is done once --

    def operation_begin(self, operation: str) -> bool:
        """Note that an operation is begun; False when it was begun before."""
        now = time.time()
        with self.file.read() as connection:
            connection.execute('DELETE FROM operations WHERE begun_at < ?', (now - KEEP_SECONDS,))
            done = connection.execute(
                'INSERT OR IGNORE INTO operations VALUES (?, NULL, ?)', (operation, now)
            )
            return done.rowcount == 1

    def operation_end(self, operation: str, result: str) -> None:
        """Note what came of an operation."""
        with self.file.read() as connection:
            connection.execute('UPDATE operations SET result = ? WHERE id = ?', (result, operation))

    def operation_forget(self, operation: str) -> None:
        """Let an operation that failed be tried again."""
        with self.file.read() as connection:
            connection.execute('DELETE FROM operations WHERE id = ?', (operation,))

    def operation_result(self, operation: str) -> str | None:
        """Return what came of an operation, None when it has not come to an end."""
        with self.file.read() as connection:
            row = connection.execute(
                'SELECT result FROM operations WHERE id = ?', (operation,)
            ).fetchone()
        return None if row is None else row[0]
