"""Whose instances are: an update counts only along the route of the cell that owns it (X1).

The record at the top says by the path to its cell who that is, after the aliases of cells that
were renamed or moved (R12). While an instance is being built, it is the cell that the build was
given to last, and what is below that.
"""

import collections
import logging
import threading
from collections.abc import Mapping
from typing import Any, Final, Protocol

import sqlalchemy as sa

from cells import context, exceptions, paths, placement
from cells.db import instances as db_instances
from cells.db import placements as db_placements
from cells.db import replicas
from cells.db.replicas import Record
from cells.objects import instance as instance_objects
from cells.state import CellStateManager
from cells.stats import Stats

LOG = logging.getLogger(__name__)

#: About how many instances it is remembered that something was said.
MOST_COMPLAINTS: Final = 1000


class Order(Protocol):
    """Orders a change in one cell as a part of a transaction."""

    def __call__(
        self,
        connection: sa.Connection,
        ctxt: context.RequestContext,
        operation: str,
        kwargs: Mapping[str, Any],
        target: paths.CellPath,
    ) -> None: ...


class Refused(Exception):
    """Raised for an update that does not count. The text says why."""


class Ownership:
    """Decides for the top of the tree.

    :param order: see :meth:`cells.messaging.MessageRunner.change_within`.
    """

    def __init__(self, *, state: CellStateManager, stats: Stats, order: Order) -> None:
        self._state = state
        self._stats = stats
        self._order = order
        self._complaints = _Complaints()

    def check(self, connection: sa.Connection, record: Record, route: paths.CellPath) -> bool:
        """Look whether an update of an instance may come by a route.

        :param route: the path to where it came from, this cell first.
        :returns: whether that cell is the known owner; False when it becomes it.
        :raises Refused: it may not.
        """
        if len(route) == 1:
            return True
        if record.cell_name is not None:
            owner = self._owner(record)
            if owner == route:
                return True
            if not (record.is_building and self._is_placed(connection, record, route)):
                raise Refused('it belongs to cell %s' % (owner or record.cell_name))
            return False
        if record.host is not None:
            raise Refused('it belongs to cell %s itself' % self._state.topology.own_name)
        if placement.current_route_allows(connection, record.uuid, route):
            return False
        if not placement.stray(connection, record.uuid, route):
            self.terminate(connection, record.uuid, route)
        raise Refused('its build was given to another cell')

    def _owner(self, record: Record) -> paths.CellPath | None:
        try:
            return self._state.aliases.resolve(paths.CellPath.parse(record.cell_name))
        except ValueError:
            return None

    def _is_placed(self, connection: sa.Connection, record: Record, route: paths.CellPath) -> bool:
        if not db_placements.attempts_last(connection, [record.uuid]):
            return False
        return placement.current_route_allows(connection, record.uuid, route)

    def refused(self, operation: str, uuid: str, route: paths.CellPath, reason: object) -> None:
        """Count an update that does not count, and say so the first time."""
        self._stats.count('replicas_refused', operation=operation)
        if self._complaints.is_new((uuid, str(route))):
            LOG.warning(
                '%s of instance %s from cell %s is refused: %s. If that cell was renamed or moved, '
                '"nova-cells-manage cell move OLD NEW" makes it known',
                operation,
                uuid,
                route,
                reason,
            )

    def terminate(self, connection: sa.Connection, uuid: str, route: paths.CellPath) -> None:
        """Have a cell end an instance that is not to be there; once a minute at most (S6)."""
        if len(route) == 1 or not replicas.tell_once(connection, uuid):
            return
        try:
            instance = db_instances.instance_get(connection, uuid, read_deleted='yes')
        except exceptions.InstanceNotFound:
            instance = instance_objects.Instance(uuid=uuid)
        kwargs = {'instance': instance, 'delete_type': 'delete'}
        try:
            self._order(connection, context.background(), 'terminate_instance', kwargs, route)
        except exceptions.CellsError as error:
            LOG.warning('Instance %s is not terminated in cell %s: %s', uuid, route, error)
            return
        self._stats.count('replicas_terminated')
        LOG.warning(
            'Cell %s has instance %s, which is not to be there; it is told to terminate it',
            route,
            uuid,
        )


class _Complaints:
    """What was said already; the oldest is forgotten."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said: collections.OrderedDict[tuple[str, str], None] = collections.OrderedDict()

    def is_new(self, what: tuple[str, str]) -> bool:
        with self._lock:
            if what in self._said:
                return False
            self._said[what] = None
            if len(self._said) > MOST_COMPLAINTS:
                self._said.popitem(last=False)
            return True
