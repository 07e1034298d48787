"""What operators may ask of a cell."""

from collections.abc import Mapping
from typing import Any

import oslo_messaging

from cells import context, exceptions, rpc, versions
from cells.db import engine, rows
from cells.db import journal as db_journal
from cells.db import sync_requests as db_sync_requests
from cells.drivers import base as drivers_base
from cells.messaging import MessageRunner
from cells.operations import OPERATIONS, Kind
from cells.state import CellStateManager
from cells.stats import Stats


class OpsManager:
    """What operators may ask of this cell: namespace ``cells.ops``."""

    target = oslo_messaging.Target(namespace=versions.OPS_NAMESPACE, version=versions.OPS_VERSION)

    def __init__(
        self,
        *,
        runner: MessageRunner,
        state: CellStateManager,
        driver: drivers_base.CellsDriver,
        database: engine.Database,
        stats: Stats,
    ) -> None:
        self._runner = runner
        self._state = state
        self._driver = driver
        self._database = database
        self._stats = stats

    @rpc.served
    def status(self, ctxt: context.RequestContext) -> dict[str, Any]:
        """Return how this cell does, as seen by this worker."""
        topology = self._state.topology
        return {
            'name': topology.own_name,
            'neighbours': [
                self._neighbour(cell.name, cell.is_parent)
                for cell in (*topology.parents.values(), *topology.children.values())
            ],
            'journal': self._journal(),
            'counters': self._stats.snapshot(),
        }

    def _journal(self) -> dict[str, Any]:
        try:
            return dict(db_journal.counts(self._database))
        except engine.ERRORS as error:
            # Now of all times the rest is wanted.
            return {'error': 'the database does not answer: %s' % engine.brief(error)}

    def _neighbour(self, name: str, is_parent: bool) -> dict[str, Any]:
        link, sighting = self._driver.link(name), self._state.sighting(name)
        protocol = {-1: 'unknown', 0: 'plain'}.get(sighting.protocol, 'ours')
        return {
            'name': name,
            'is_parent': is_parent,
            'link_up': link.up,
            'link_error': link.error,
            'waiting': link.waiting,
            'sent': link.sent,
            'failed': link.failed,
            'protocol': protocol,
            'last_seen': sighting.last_seen or None,
            'last_plain_at': sighting.last_plain_at,
        }

    @rpc.served
    def query(
        self, ctxt: context.RequestContext, operation: str, args: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Ask all cells below something, and name those that did not answer.

        :raises Invalid: the operation is not a listing.
        """
        row = OPERATIONS.get(operation)
        if row is None or not row.replies or Kind.BROADCAST not in row.kinds:
            listings = (
                name
                for name, one in OPERATIONS.items()
                if one.replies and Kind.BROADCAST in one.kinds
            )
            raise exceptions.Invalid(
                reason='%.60r is not a listing; there are %s' % (operation, ', '.join(listings))
            )
        responses = self._runner.broadcast(ctxt, operation, args)
        return {
            'answers': [
                {'cell': one.cell_name, 'value': one.value}
                for one in responses
                if one.failure is None
            ],
            'missing': [
                {'cell': one.cell_name, 'reason': one.failure.message}
                for one in responses
                if one.failure is not None
            ],
        }

    @rpc.served
    def sync_status(self, ctxt: context.RequestContext) -> list[dict[str, Any]]:
        """Return the orders to sync that reached this cell, newest first."""
        try:
            found = db_sync_requests.sync_request_get_all(self._database)
        except engine.ERRORS as error:
            if not engine.is_transient(error):
                raise
            raise exceptions.DatabaseUnavailable(cell_name=self._state.topology.own_name) from None
        return [rows.plain(row) for row in found]
