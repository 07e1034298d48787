"""What handlers share that take over what plain cells tell."""

from typing import Final

import sqlalchemy as sa

from cells import messages, paths
from cells.db import replicas
from cells.db.replicas import Record
from cells.ownership import Ownership, Refused
from cells.stats import Stats

LONGEST_UUID: Final = 36


class PlainHandlers:
    """Counts what is taken over and what is not."""

    def __init__(self, *, ownership: Ownership, stats: Stats) -> None:
        self._ownership = ownership
        self._stats = stats

    def _owned(
        self, connection: sa.Connection, operation: str, uuid: str, message: messages.Message
    ) -> bool:
        """Tell whether something may be told of an instance; locks its record."""
        record = replicas.records(connection, [uuid]).get(uuid)
        if record is None:
            self._drop('missing')
            return False
        return self._may(connection, operation, record, message.routing_path.backwards())

    def _may(
        self, connection: sa.Connection, operation: str, record: Record, route: paths.CellPath
    ) -> bool:
        try:
            self._ownership.check(connection, record, route)
        except Refused as error:
            self._ownership.refused(operation, record.uuid, route, error)
            return False
        return True

    def _drop(self, reason: str) -> None:
        self._stats.count('replicas_dropped', reason=reason)

    def _applied(self) -> None:
        self._stats.count('replicas_applied')
