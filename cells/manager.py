"""The RPC endpoints of a cell: :class:`CellsManager`, nova's contract, and operators' beside it.

Methods look at their arguments, ask the runner and give the answer the shape
of ``spec/rpc_server.json``. A call waits for other cells in the thread that
serves it; a cast returns when the journal has it.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import oslo_messaging

from cells import context, exceptions, messages, paths, remote_errors, rpc, times, versions
from cells.db import engine, rows
from cells.db import journal as db_journal
from cells.db import sync_requests as db_sync_requests
from cells.drivers import base as drivers_base
from cells.messaging import MessageRunner
from cells.objects import base as objects_base
from cells.objects import proxy
from cells.operations import OPERATIONS, Kind
from cells.state import CellStateManager
from cells.stats import Stats

LOG = logging.getLogger(__name__)


class CellsManager:
    """What API services may ask of their cell.

    :param partial_results: see ``[cells] partial_results``.
    """

    target = oslo_messaging.Target(version=versions.RPC_VERSION)

    def __init__(
        self, *, runner: MessageRunner, state: CellStateManager, partial_results: bool
    ) -> None:
        self._runner = runner
        self._state = state
        self._partial_results = partial_results

    @rpc.served
    def get_cell_info_for_neighbors(self, ctxt: context.RequestContext) -> list[dict[str, Any]]:
        """Return what is known of each neighbour, children first."""
        topology = self._state.topology
        return [cell.info() for cell in (*topology.children.values(), *topology.parents.values())]

    @rpc.served
    def sync_instances(
        self,
        ctxt: context.RequestContext,
        project_id: str | None,
        updated_since: str | None,
        deleted: bool,
    ) -> None:
        """Order all cells below to send the state of their instances up again."""
        if updated_since is not None:
            times.parse('updated_since', updated_since)
        self._runner.change(
            ctxt,
            'sync_instances',
            {'project_id': project_id, 'updated_since': updated_since, 'deleted': deleted},
        )

    @rpc.served
    def service_get_all(
        self, ctxt: context.RequestContext, filters: Mapping[str, Any] | None
    ) -> list[Any]:
        """Return the services of this cell and all below, each with its cell."""
        responses = self._runner.broadcast(ctxt, 'service_get_all', {'filters': filters})
        return [
            proxy.add_cell(service, proxy.ServiceProxy, response.cell_name)
            for response in self._answers(ctxt, 'service_get_all', responses)
            for service in response.value
            if objects_base.is_envelope(service)
        ]

    @rpc.served
    def task_log_get_all(
        self,
        ctxt: context.RequestContext,
        task_name: str,
        period_beginning: object,
        period_ending: object,
        host: str | None = None,
        state: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return task logs of all cells, or of the one that ``host`` names."""
        arguments = {
            'task_name': task_name,
            'period_beginning': str(period_beginning),
            'period_ending': str(period_ending),
            'host': None,
            'state': state,
        }
        if host is None:
            responses = self._runner.broadcast(ctxt, 'task_log_get_all', arguments)
            found = self._answers(ctxt, 'task_log_get_all', responses)
        else:
            target, arguments['host'] = _cell_and_host(host)
            found = [_or_raise(self._runner.call(ctxt, 'task_log_get_all', target, arguments))]
        return [_with_cell(row, one.cell_name) for one in found for row in one.value]

    def _answers(
        self,
        ctxt: context.RequestContext,
        operation: str,
        responses: Sequence[messages.Response],
    ) -> list[messages.Response]:
        """Return the answers of a listing; the contract has no place for what is missing."""
        for response in responses:
            if response.failure is None:
                continue
            if not self._partial_results or not _is_absence(response.failure):
                raise remote_errors.exception_of(response.failure)
            LOG.warning(
                '%s is without cell %s (request %s): %s',
                operation,
                response.cell_name,
                ctxt.request_id,
                response.failure.message,
            )
        return [response for response in responses if response.failure is None]


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


def _is_absence(failure: messages.Failure) -> bool:
    """Tell whether a cell is missing, rather than refusing what a caller did wrong."""
    return not isinstance(remote_errors.exception_of(failure), exceptions.Invalid | ValueError)


def _or_raise(response: messages.Response) -> messages.Response:
    if response.failure is not None:
        raise remote_errors.exception_of(response.failure)
    return response


def _cell_and_host(host: str) -> tuple[paths.CellPath, str | None]:
    try:
        path, name = paths.split_item(host)
        return (paths.CellPath.parse(name), None) if path is None else (path, name)
    except ValueError as error:
        raise exceptions.Invalid(
            reason='host is %.120r, not of the form cell!path@host: %s' % (host, error)
        ) from None


def _with_cell(row: dict[str, Any], cell_name: str) -> dict[str, Any]:
    return {
        **row,
        'id': paths.with_cell(cell_name, row['id']),
        'host': paths.with_cell(cell_name, row['host']),
    }
