"""What operators may ask of a cell."""

import time
from collections.abc import Mapping
from typing import Any, Final

import oslo_messaging

from cells import arguments, context, exceptions, paths, remote_errors, rpc, versions
from cells.db import engine, rows
from cells.db import journal as db_journal
from cells.db import sync_requests as db_sync_requests
from cells.endpoints import base
from cells.handlers import compare
from cells.heal import Healing
from cells.messaging import MessageRunner
from cells.operations import OPERATIONS, Kind, Operation
from cells.reports import Reports
from cells.state import CellStateManager
from cells.stats import Stats
from cells.status import CellStatus
from cells.sweep import Sweep
from cells.sync import UpSync

#: Seconds that a cell gets to answer a ping.
PING_SECONDS: Final = 5.0
#: What may be asked for as a limit in time.
LONGEST_SECONDS: Final = 86400


class OpsManager:
    """What operators may ask of this cell: namespace ``cells.ops``."""

    target = oslo_messaging.Target(namespace=versions.OPS_NAMESPACE, version=versions.OPS_VERSION)

    def __init__(
        self,
        *,
        runner: MessageRunner,
        state: CellStateManager,
        database: engine.Database,
        reports: Reports,
        stats: Stats,
        server: str,
        sync: UpSync,
        healing: Healing,
        sweep: Sweep,
        status: CellStatus,
    ) -> None:
        self._runner = runner
        self._state = state
        self._database = database
        self._reports = reports
        self._stats = stats
        self._server = server
        self._sync = sync
        self._healing = healing
        self._sweep = sweep
        self._status = status

    @rpc.served
    def whoami(self, ctxt: context.RequestContext) -> dict[str, Any]:
        """Return which cell serves here: id and name."""
        return {'id': self._state.cell_id, 'name': self._state.topology.own_name}

    @rpc.served
    def ping(self, ctxt: context.RequestContext, cell_name: str | None = None) -> dict[str, Any]:
        """Ask a cell who it is, over all cells on the way.

        :param cell_name: the path to it from this cell, or the name of a neighbour; None for
            this cell itself.
        :raises CellTimeout: it did not answer.
        :raises CellRoutingInconsistency: no way leads there.
        """
        own = self._state.topology.own_name
        path = base.cell_path(cell_name or own)
        if len(path) == 1 and path.last != own:
            path = paths.CellPath((own, path.last))
        self._check_ours(path.names[1] if len(path) == 2 else own)
        begun = time.monotonic()
        response = self._runner.ping(path, PING_SECONDS)
        if response.failure is not None:
            raise remote_errors.exception_of(response.failure)
        found = response.value if isinstance(response.value, dict) else {}
        return {
            'cell': str(path),
            'id': found.get('id'),
            'seconds': time.monotonic() - begun,
            'time': found.get('time'),
            'protocol': found.get('protocol'),
        }

    @rpc.served
    def hello(self, ctxt: context.RequestContext, cell_name: str) -> dict[str, Any]:
        """Ask a neighbour whether it knows this cell, and as what.

        :raises CellNotFound: this cell has no such neighbour.
        """
        topology = self._state.topology
        cell = topology.get(cell_name) if isinstance(cell_name, str) else None
        if cell is None:
            raise exceptions.CellNotFound(cell_name=cell_name)
        self._check_ours(cell.name)
        response = self._runner.ping(paths.CellPath((topology.own_name, cell.name)), PING_SECONDS)
        found: dict[str, Any] = {'cell': cell.name, 'known': False, 'as': None, 'reason': None}
        if response.failure is not None:
            found['reason'] = (
                '%s. It is silent, or does not know this cell (%s) as its %s, or knows another '
                'one by this name'
                % (response.failure.message, topology.own_name, _opposite(cell.is_parent))
            )
        elif isinstance(response.value, dict):
            known = response.value.get('knows')
            found.update(
                {'known': known == _opposite(cell.is_parent), 'as': known},
                id=response.value.get('id'),
            )
        return found

    def _check_ours(self, name: str) -> None:
        if name in self._state.topology.names and self._state.sighting(name).protocol == 0:
            raise exceptions.Invalid(
                reason='cell %s is a plain nova-cells, which cannot be asked who it is' % name
                if self._state.sightings.extensions
                else 'cell %s cannot ask others who they are: [cells] envelope_extensions is false'
                % self._state.topology.own_name
            )

    @rpc.served
    def status(self, ctxt: context.RequestContext) -> dict[str, Any]:
        """Return how this cell does, as seen by this worker."""
        topology = self._state.topology
        return {
            'name': topology.own_name,
            'id': self._state.cell_id,
            'worker': self._server,
            'envelope_extensions': self._state.sightings.extensions,
            'is_top': topology.is_top,
            'capacities': self._reports.capacities(),
            'capabilities': self._reports.capabilities(),
            **self._journal(),
            'counters': self._stats.snapshot(),
        }

    def _journal(self) -> dict[str, Any]:
        oldest: dict[str, float] = {}
        waiting: dict[str, int] = {}
        journal: dict[str, Any] = {}
        sync: dict[str, Any] = {}
        healing: dict[str, Any] = {}
        sweep: dict[str, Any] = {}
        try:
            oldest = db_journal.outbox_oldest(self._database)
            waiting = db_journal.outbox_waiting(self._database)
            journal = dict(db_journal.counts(self._database))
            sync = self._sync.status()
            healing = self._healing.status()
            sweep = self._sweep.status()
        except engine.ERRORS as error:
            # Now of all times the rest is wanted.
            journal = {'error': 'the database does not answer: %s' % engine.brief(error)}
        return {
            'journal': journal,
            'sync': sync,
            'healing': healing,
            'sweep': sweep,
            'neighbours': self._status.neighbours(oldest, waiting),
        }

    @rpc.served
    def query(
        self,
        ctxt: context.RequestContext,
        operation: str,
        args: Mapping[str, Any],
        within: int | None = None,
    ) -> dict[str, Any]:
        """Ask all cells below something, and name those that did not answer.

        :param within: seconds that they get; None, and at most, ``[cells] call_timeout``.
        :raises Invalid: the operation is not a listing.
        """
        row = OPERATIONS.get(operation) if isinstance(operation, str) else None
        if row is None or not _is_listing(row):
            listings = (name for name, one in OPERATIONS.items() if _is_listing(one))
            raise exceptions.Invalid(
                reason='%.60r is not a listing; there are %s' % (operation, ', '.join(listings))
            )
        if within is not None:
            arguments.number('within', within, 1, LONGEST_SECONDS)
        responses = self._runner.broadcast(ctxt, operation, arguments.mapping('args', args), within)
        return {
            'answers': [
                {'cell': one.cell_name, 'value': one.value}
                for one in responses
                if one.failure is None
            ],
            'missing': [
                {
                    'cell': one.cell_name,
                    'reason': one.failure.message,
                    'error': one.failure.name,
                }
                for one in responses
                if one.failure is not None
            ],
        }

    @rpc.served
    def differences(
        self,
        ctxt: context.RequestContext,
        cell_name: object,
        after: object = None,
        within: object = None,
    ) -> dict[str, Any]:
        """Compare a page of the instances of a cell with the records here; change nothing.

        :param within: seconds that the cell gets; None, and at most, ``[cells] call_timeout``.
        :raises Invalid: this cell is not the top of the tree.
        :raises CellTimeout: the cell did not answer.
        """
        topology = self._state.topology
        if not topology.is_top:
            raise exceptions.Invalid(
                reason='cell %s is not the top of the tree, where the records are'
                % topology.own_name
            )
        route = self._state.resolve(base.cell_path(cell_name))
        seconds = None if within is None else arguments.number('within', within, 1)
        question = {'after': after}
        response = self._runner.call(ctxt, 'x_instance_contents', route, question, seconds)
        if response.failure is not None:
            raise remote_errors.exception_of(response.failure)
        told = arguments.mapping('the answer of %s' % route, response.value)
        given = dict(_digest(item) for item in arguments.sequence('items', told.get('items')))
        unsettled = list(map(str, arguments.sequence('unsettled', told.get('unsettled'))))
        place = None if after is None else str(after)
        with self._database.read() as connection:
            found, _ = compare.differences(connection, self._state.aliases, route, given)
            found[compare.EXTRA] = compare.extra(
                connection,
                self._state.aliases,
                route,
                place,
                told.get('until'),
                [*given, *unsettled],
            )
        return {
            **found,
            'compared': len(given),
            'unsettled': len(unsettled),
            'until': told.get('until'),
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


def _is_listing(row: Operation) -> bool:
    return row.replies and not row.changes and Kind.BROADCAST in row.kinds


def _digest(item: object) -> tuple[str, tuple[str, frozenset[str]]]:
    """Return what a cell said of an instance: uuid, digest and the fields that it lacks."""
    uuid, digest, absent = arguments.sequence('an item', item)
    return str(uuid), (str(digest), frozenset(map(str, absent)))


def _opposite(is_parent: bool) -> str:
    """Return what this cell is to a neighbour that is its parent, or its child."""
    return 'child' if is_parent else 'parent'
