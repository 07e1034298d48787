"""What a fake host remembers, in a SQLite file of its own."""

import contextlib
import json
import pathlib
import sqlite3
import time
from collections.abc import Iterable, Iterator
from typing import Final

from cells import exceptions
from cells.host import sqlite_file
from cells.host.store import KEEP_SECONDS
from cells.host.virt.base import Demand, Result
from cells.host.virt.fake.machine import Machine

FILE: Final = 'fake-virt.sqlite'

#: What a row of a machine is: the machine, or what is held of one that is being resized away.
LIVE: Final = 'live'
HELD: Final = 'held'

FIRST_PORT: Final = 5900
LAST_PORT: Final = 65535
#: Lines of a console that are kept.
MOST_LINES: Final = 1000

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS machines (
    uuid TEXT NOT NULL,
    role TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (uuid, role)
);
CREATE TABLE IF NOT EXISTS addresses (
    address TEXT NOT NULL,
    uuid TEXT NOT NULL,
    role TEXT NOT NULL,
    PRIMARY KEY (address, uuid, role)
);
CREATE TABLE IF NOT EXISTS ports (
    uuid TEXT NOT NULL,
    console_type TEXT NOT NULL,
    port INTEGER NOT NULL UNIQUE,
    PRIMARY KEY (uuid, console_type)
);
CREATE TABLE IF NOT EXISTS lines (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL,
    line TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS lines_by_uuid ON lines (uuid, number);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS finished (
    op_id TEXT PRIMARY KEY,
    power_state INTEGER,
    "values" TEXT NOT NULL,
    ended_at REAL NOT NULL
);
"""


class Work:
    """The file within one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    # -- machines --

    def get(self, uuid: str, role: str = LIVE) -> Machine | None:
        """Return a machine, None when it is not here."""
        row = self._connection.execute(
            'SELECT document FROM machines WHERE uuid = ? AND role = ?', (uuid, role)
        ).fetchone()
        return None if row is None else Machine.from_json(row['document'])

    def need(self, uuid: str, role: str = LIVE) -> Machine:
        """Return a machine.

        :raises InstanceNotFound: it is not here.
        """
        found = self.get(uuid, role)
        if found is None:
            raise exceptions.InstanceNotFound(instance_id=uuid)
        return found

    def all(self) -> list[tuple[str, Machine]]:
        """Return everything that is here, with its role."""
        rows = self._connection.execute('SELECT role, document FROM machines ORDER BY uuid, role')
        return [(row['role'], Machine.from_json(row['document'])) for row in rows]

    def put(self, machine: Machine, role: str = LIVE) -> None:
        """Keep a machine as it is now."""
        self._connection.execute(
            'INSERT OR REPLACE INTO machines VALUES (?, ?, ?)',
            (machine.uuid, role, machine.to_json()),
        )
        self._connection.execute(
            'DELETE FROM addresses WHERE uuid = ? AND role = ?', (machine.uuid, role)
        )
        self._connection.executemany(
            'INSERT OR IGNORE INTO addresses VALUES (?, ?, ?)',
            [
                (address, machine.uuid, role)
                for one in machine.interfaces
                for address in one['addresses']
            ],
        )

    def drop(self, uuid: str, role: str = LIVE) -> bool:
        """Remove a machine; tell whether it was here."""
        done = self._connection.execute(
            'DELETE FROM machines WHERE uuid = ? AND role = ?', (uuid, role)
        )
        self._connection.execute('DELETE FROM addresses WHERE uuid = ? AND role = ?', (uuid, role))
        if not self._connection.execute(
            'SELECT 1 FROM machines WHERE uuid = ?', (uuid,)
        ).fetchone():
            self._connection.execute('DELETE FROM lines WHERE uuid = ?', (uuid,))
        self.close_ports(uuid)
        return bool(done.rowcount)

    def taken(self) -> list[Demand]:
        """Return the room that is taken."""
        return [machine.demand for _, machine in self.all()]

    # -- addresses --

    def addresses(self) -> set[str]:
        """Return the addresses that are used."""
        rows = self._connection.execute('SELECT DISTINCT address FROM addresses')
        return {row['address'] for row in rows}

    # -- consoles --

    def port(self, uuid: str, console_type: str) -> int:
        """Return the port of a console, a new one if it has none.

        :raises DriverError: there are no more ports.
        """
        row = self._connection.execute(
            'SELECT port FROM ports WHERE uuid = ? AND console_type = ?', (uuid, console_type)
        ).fetchone()
        if row is not None:
            return int(row['port'])
        used = {row['port'] for row in self._connection.execute('SELECT port FROM ports')}
        port = next((one for one in range(FIRST_PORT, LAST_PORT + 1) if one not in used), None)
        if port is None:
            raise exceptions.DriverError(reason='there is no port left for a console')
        self._connection.execute('INSERT INTO ports VALUES (?, ?, ?)', (uuid, console_type, port))
        return port

    def close_ports(self, uuid: str) -> None:
        """Give back the ports of a machine."""
        self._connection.execute('DELETE FROM ports WHERE uuid = ?', (uuid,))

    def write(self, uuid: str, lines: Iterable[str]) -> None:
        """Write lines to the console of a machine."""
        self._connection.executemany(
            'INSERT INTO lines (uuid, line) VALUES (?, ?)', [(uuid, line) for line in lines]
        )
        self._connection.execute(
            'DELETE FROM lines WHERE uuid = ? AND number <= (SELECT number FROM lines '
            'WHERE uuid = ? ORDER BY number DESC LIMIT 1 OFFSET ?)',
            (uuid, uuid, MOST_LINES),
        )

    def lines(self, uuid: str, last: int | None) -> list[str]:
        """Return the last lines of a console, None for all."""
        rows = self._connection.execute(
            'SELECT line FROM lines WHERE uuid = ? ORDER BY number DESC LIMIT ?',
            (uuid, -1 if last is None else last),
        ).fetchall()
        return [row['line'] for row in reversed(rows)]

    # -- numbers --

    def number(self, name: str) -> int:
        """Return a number that was kept, 0 at first."""
        row = self._connection.execute(
            'SELECT value FROM counters WHERE name = ?', (name,)
        ).fetchone()
        return 0 if row is None else int(row['value'])

    def keep_number(self, name: str, value: int) -> None:
        """Keep a number."""
        self._connection.execute('INSERT OR REPLACE INTO counters VALUES (?, ?)', (name, value))

    # -- what was done --

    def finish(self, op_id: str, result: Result) -> Result:
        """Note that an operation is done, and return what came of it."""
        self._connection.execute(
            'INSERT OR REPLACE INTO finished VALUES (?, ?, ?, ?)',
            (
                op_id,
                None if result.power_state is None else int(result.power_state),
                json.dumps(dict(result.values)),
                time.time(),
            ),
        )
        return result

    def finished(self, op_id: str) -> Result | None:
        """Return what came of an operation, None when it is not done."""
        row = self._connection.execute(
            'SELECT power_state, "values" FROM finished WHERE op_id = ?', (op_id,)
        ).fetchone()
        return None if row is None else Result(row['power_state'], json.loads(row['values']))

    def forget(self) -> None:
        """Forget what was done long ago."""
        self._connection.execute(
            'DELETE FROM finished WHERE ended_at < ?', (time.time() - KEEP_SECONDS,)
        )


class FakeStore:
    """The file. Any thread may use it, one at a time."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._file = sqlite_file.SqliteFile(directory / FILE, _SCHEMA, durable=False)

    def open(self) -> None:
        """Open the file, or make it.

        :raises ConfigurationError: it cannot be used.
        """
        self._file.open()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @contextlib.contextmanager
    def work(self) -> Iterator[Work]:
        """Do something with it: all of the block or, when it raises, nothing.

        :raises AgentStopped: it is closed.
        """
        with self._file.write() as connection:
            yield Work(connection)

    def count(self, name: str) -> int:
        """Return how often this was called with a name, this time included."""
        with self.work() as work:
            value = work.number(name) + 1
            work.keep_number(name, value)
            return value
