"""The operations that an agent has been ordered to carry out, in its store.

An order is *accepted*, *begun*, *ended* with a result, and *reported* to the cell; or
it is *cancelled* before it is begun, or after the agent died with it under way. What
it was ordered with is deleted at its end: there may be a password in it.
"""

import dataclasses
import json
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from cells.host import sqlite_file, store

ACCEPTED: Final = 'accepted'
BEGUN: Final = 'begun'
ENDED: Final = 'ended'
REPORTED: Final = 'reported'
CANCELLED: Final = 'cancelled'

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS orders (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    op_id TEXT NOT NULL UNIQUE,
    instance_uuid TEXT NOT NULL,
    method TEXT NOT NULL,
    instance TEXT,
    args TEXT,
    deadline REAL NOT NULL,
    request_id TEXT,
    own INTEGER NOT NULL,
    state TEXT NOT NULL,
    result TEXT,
    changed_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS orders_by_state ON orders (state, number);
"""

_COLUMNS: Final = (
    'op_id, instance_uuid, method, instance, args, deadline, request_id, own, state, result'
)


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """An order.

    :ivar args: complete, see ``methods.arguments_of``.
    :ivar deadline: seconds since the epoch after which it must not be begun.
    :ivar request_id: of the request that it is for.
    :ivar own: the agent gave it to itself, so its result is nobody's.
    :ivar state: as it was when it was read.
    :ivar result: what is reported, once it has ended.
    """

    op_id: str
    instance_uuid: str
    method: str
    instance: Mapping[str, Any]
    args: Mapping[str, Any]
    deadline: float
    request_id: str | None = None
    own: bool = False
    state: str = ACCEPTED
    result: Mapping[str, Any] | None = None


class Orders:
    """The orders of an agent. Any thread may use it.

    :param file: of the store, which opens and closes it.
    """

    def __init__(self, file: sqlite_file.SqliteFile) -> None:
        self._file = file

    def open(self) -> None:
        """Make the table if it is missing, and forget what is long over."""
        with self._file.read() as connection:
            connection.executescript(_SCHEMA)
        self.forget()

    def forget(self) -> None:
        """Forget what is long over."""
        with self._file.write() as connection:
            connection.execute(
                'DELETE FROM orders WHERE state IN (?, ?) AND changed_at < ?',
                (REPORTED, CANCELLED, time.time() - store.KEEP_SECONDS),
            )

    def add(self, order: Order) -> bool:
        """Keep an order; False when there is one of its id already."""
        with self._file.write() as connection:
            done = connection.execute(
                'INSERT OR IGNORE INTO orders (op_id, instance_uuid, method, instance, args, '
                'deadline, request_id, own, state, changed_at) '
                'VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
                (
                    order.op_id,
                    order.instance_uuid,
                    order.method,
                    written(order.instance),
                    written(order.args),
                    order.deadline,
                    order.request_id,
                    order.own,
                    ACCEPTED,
                    time.time(),
                ),
            )
            return done.rowcount == 1

    def find(self, op_id: str) -> Order | None:
        """Return an order, None when it is not known."""
        return next(iter(self._select('op_id = ?', op_id)), None)

    def waiting(self) -> list[Order]:
        """Return what is accepted or begun, in the order in which it was accepted."""
        return self._select('state IN (?, ?)', ACCEPTED, BEGUN)

    def unreported(self) -> list[Order]:
        """Return what has ended and not been reported, in the order in which it was accepted."""
        return self._select('state = ?', ENDED)

    def open_ids(self) -> list[str]:
        """Return the ids of what the cell has not had the result of."""
        found = self._select('state IN (?, ?, ?) AND NOT own', ACCEPTED, BEGUN, ENDED)
        return [one.op_id for one in found]

    def coming(self, methods: Iterable[str]) -> list[Order]:
        """Return what is accepted or begun of some methods."""
        names = tuple(methods)
        wanted = ', '.join('?' * len(names))
        return self._select('state IN (?, ?) AND method IN (%s)' % wanted, ACCEPTED, BEGUN, *names)

    def has_waiting(self, instance_uuid: str) -> bool:
        """Tell whether anything is accepted or begun for an instance."""
        return bool(
            self._select('state IN (?, ?) AND instance_uuid = ?', ACCEPTED, BEGUN, instance_uuid)
        )

    def _select(self, where: str, *values: object) -> list[Order]:
        with self._file.read() as connection:
            rows = connection.execute(
                'SELECT %s FROM orders WHERE %s ORDER BY number' % (_COLUMNS, where), values
            ).fetchall()
        return [
            Order(
                op_id=row['op_id'],
                instance_uuid=row['instance_uuid'],
                method=row['method'],
                instance=json.loads(row['instance'] or '{}'),
                args=json.loads(row['args'] or '{}'),
                deadline=row['deadline'],
                request_id=row['request_id'],
                own=bool(row['own']),
                state=row['state'],
                result=None if row['result'] is None else json.loads(row['result']),
            )
            for row in rows
        ]

    # -- from state to state; each tells whether it was so --

    def begin(self, op_id: str) -> bool:
        """Note that an order is begun; False when it was cancelled meanwhile."""
        return self._move(op_id, BEGUN, [ACCEPTED])

    def end(self, op_id: str, result: Mapping[str, Any]) -> bool:
        """Keep the result of an order, and forget what it was ordered with."""
        with self._file.write() as connection:
            done = connection.execute(
                'UPDATE orders SET state = CASE own WHEN 1 THEN ? ELSE ? END, result = ?, '
                'args = NULL, instance = NULL, changed_at = ? WHERE op_id = ? AND state IN (?, ?)',
                (REPORTED, ENDED, written(result), time.time(), op_id, ACCEPTED, BEGUN),
            )
            return done.rowcount == 1

    def reported(self, op_id: str) -> bool:
        """Note that the cell has the result of an order."""
        return self._move(op_id, REPORTED, [ENDED])

    def report_again(self, op_id: str) -> bool:
        """Note that the cell wants the result of an order again."""
        return self._move(op_id, ENDED, [REPORTED])

    def cancel(self, op_id: str, begun: bool) -> bool:
        """Cancel an order.

        :param begun: also one that was begun, by an agent that died.
        """
        with self._file.write() as connection:
            done = connection.execute(
                'UPDATE orders SET state = ?, args = NULL, instance = NULL, changed_at = ? '
                'WHERE op_id = ? AND state IN (?, ?)',
                (CANCELLED, time.time(), op_id, ACCEPTED, BEGUN if begun else ACCEPTED),
            )
            return done.rowcount == 1

    def _move(self, op_id: str, state: str, expected: list[str]) -> bool:
        with self._file.write() as connection:
            done = connection.execute(
                'UPDATE orders SET state = ?, changed_at = ? WHERE op_id = ? AND state IN (%s)'
                % ', '.join('?' * len(expected)),
                (state, time.time(), op_id, *expected),
            )
            return done.rowcount == 1


def written(value: Mapping[str, Any]) -> str:
    """Return what is kept of values in the store.

    :raises TypeError: it cannot be kept, or ``ValueError``.
    """
    return json.dumps(dict(value), allow_nan=False)
