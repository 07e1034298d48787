"""Orders that came to nothing on their way, or in a cell that does not have the instance."""

import logging
from typing import Any, Final

import sqlalchemy as sa

from cells import failures, inconsistencies, messages, paths, placement
from cells.db import replicas
from cells.db.replicas import Record
from cells.state import CellStateManager
from cells.stats import Stats

LOG = logging.getLogger(__name__)


class FailureHandlers:
    """Notes failures at the top of the tree."""

    OPERATIONS: Final = ('x_action_failed',)

    def __init__(self, *, state: CellStateManager, stats: Stats) -> None:
        self._state = state
        self._stats = stats

    def x_action_failed(
        self, connection: sa.Connection, message: messages.Message, **given: Any
    ) -> None:
        """Note that an order failed, and end the task that the record shows for it.

        It counts along the way from here to the cell of the instance: from a cell on it,
        and from that cell.

        :param given: see :class:`cells.failures.Failed`.
        :raises Invalid: it cannot be read.
        """
        failed = failures.from_kwargs(given)
        route = message.routing_path.backwards()
        record = replicas.records(connection, [failed.instance_uuid]).get(failed.instance_uuid)
        if record is None or record.deleted:
            LOG.info('Instance %s is not there any more: %s', failed.instance_uuid, failed.text)
            self._stats.count('failures_dropped', reason='gone')
            return
        owner = self._owner(record)
        if not self._may(connection, record, owner, route):
            LOG.warning(
                'Cell %s says that %s of instance %s failed, which is not on the way to it',
                route,
                failed.operation,
                record.uuid,
            )
            self._stats.count('failures_dropped', reason='owner')
            return
        absent = failed.not_found and owner == route
        if absent and inconsistencies.not_found(connection, record, route, self._stats):
            return
        failures.end_task(connection, failed)
        failures.note(connection, failed)
        self._stats.count('failures_noted', operation=failed.operation)

    def _owner(self, record: Record) -> paths.CellPath | None:
        if record.cell_name is None:
            return None
        try:
            return self._state.aliases.resolve(paths.CellPath.parse(record.cell_name))
        except ValueError:
            return None

    def _may(
        self,
        connection: sa.Connection,
        record: Record,
        owner: paths.CellPath | None,
        route: paths.CellPath,
    ) -> bool:
        if owner is None:
            return placement.current_route_allows(connection, record.uuid, route)
        return owner.starts_with(route) or route.starts_with(owner)
