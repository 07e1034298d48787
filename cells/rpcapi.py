"""The clients of a cell: :class:`CellsAPI`, nova's contract, and what is beside it.

:class:`InstancesAPI` keeps the records that an API service works with, :class:`OpsAPI`
is for operators.

An API service makes one of each and keeps it::

    conf = cfg.ConfigOpts()
    conf(args, project='cells')
    api = rpcapi.CellsAPI.from_conf(conf)
    records = rpcapi.InstancesAPI.from_conf(conf)
    services = api.service_get_all(ctxt)

``ctxt`` is a request context: ours, nova's, or anything with ``to_dict()``.
Methods are thread-safe. A call returns within ``call_timeout`` + 5 seconds;
a cast returns when the broker has it.

This is a library: it loads no database and no eventlet and patches nothing.
"""

from collections.abc import Mapping
from typing import Any

from oslo_config import cfg

from cells import versions
from cells.client import (
    base,
    builds,
    hosts,
    instance_actions,
    instance_reports,
    instances,
    records,
    topology,
)

__all__ = ['CellsAPI', 'InstancesAPI', 'OpsAPI']

InstancesAPI = records.InstancesAPI


class CellsAPI(
    topology.TopologyCalls,
    hosts.HostCalls,
    instances.InstanceCalls,
    instance_actions.InstanceActions,
    instance_reports.InstanceReports,
    builds.BuildCalls,
):
    """What API services ask of the cells, as in nova (``spec/rpc_client.json``).

    Calls raise the errors of :mod:`cells.exceptions` that the cells report;
    ``oslo_messaging.MessagingTimeout`` when the own cell does not answer,
    ``oslo_messaging.RPCVersionCapError``, before anything is sent, when the cap
    forbids the method, and ``oslo_messaging.MessageDeliveryFailure`` when the
    broker does not take the message, or no ``nova-cells`` listens for it.

    :param enabled: ``[cells] enable``; with False, what needs no cell is answered here.
    """

    def __init__(self, transport: Any, *, enabled: bool = True, **kwargs: Any) -> None:
        super().__init__(transport, **kwargs)
        self._enabled = enabled

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts, transport: Any = None) -> 'CellsAPI':
        """Return the client that a configuration describes; ours is registered on it."""
        transport = base.transport_of(conf, transport)
        return cls(
            transport,
            enabled=conf.cells.enable,
            topic=conf.cells.topic,
            version_cap=conf.upgrade_levels.cells,
            call_timeout=conf.cells.call_timeout,
        )


class OpsAPI(base.Client):
    """What operators ask of a cell; its answers name the cells that did not answer."""

    def __init__(self, transport: Any, **kwargs: Any) -> None:
        super().__init__(transport, namespace=versions.OPS_NAMESPACE, **kwargs)

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts, transport: Any = None) -> 'OpsAPI':
        """Return the client that a configuration describes; ours is registered on it."""
        transport = base.transport_of(conf, transport)
        return cls(transport, topic=conf.cells.topic, call_timeout=conf.cells.call_timeout)

    def status(self, ctxt: Any) -> dict[str, Any]:
        """Return name, neighbours with their links, journal and counters of the serving worker."""
        return self._ask(ctxt, 'status')

    def whoami(self, ctxt: Any) -> dict[str, Any]:
        """Return id and name of the own cell."""
        return self._ask(ctxt, 'whoami')

    def ping(self, ctxt: Any, cell_name: str | None = None) -> dict[str, Any]:
        """Ask a cell who it is, over all cells on the way.

        :param cell_name: a path such as ``api!region!leaf``, the name of a neighbour, or None
            for the own cell.
        :returns: cell, id, seconds (of the round trip), time (its clock), protocol.
        :raises CellTimeout: it did not answer within 5 seconds.
        """
        return self._ask(ctxt, 'ping', cell_name=cell_name)

    def hello(self, ctxt: Any, cell_name: str) -> dict[str, Any]:
        """Ask a neighbour of the own cell whether it knows this cell.

        :returns: cell, known, as ('parent' or 'child'), id, reason when it is not known.
        :raises CellNotFound: there is no such neighbour.
        """
        return self._ask(ctxt, 'hello', cell_name=cell_name)

    def query(
        self,
        ctxt: Any,
        operation: str,
        args: Mapping[str, Any] | None = None,
        seconds: int | None = None,
    ) -> dict[str, Any]:
        """Ask all cells below, and the own one, something that has an answer.

        :param operation: the name of a listing, such as ``service_get_all``.
        :param args: its arguments.
        :param seconds: that the cells get to answer, at most ``[cells] call_timeout``.
        :returns: ``{'answers': [{'cell', 'value'}], 'missing': [{'cell', 'reason', 'error'}]}``.
        """
        if seconds is None:
            return self._ask(ctxt, 'query', operation=operation, args=dict(args or {}))
        return self._call_within(
            seconds,
            ctxt,
            versions.OPS_SINCE['query_within'],
            'query',
            operation=operation,
            args=dict(args or {}),
            within=seconds,
        )

    def differences(
        self, ctxt: Any, cell_name: str, after: str | None = None, seconds: int | None = None
    ) -> dict[str, Any]:
        """Compare a page of the instances of a cell with the records here, at the top.

        :param cell_name: the path to the cell.
        :param after: ``until`` of the page before.
        :param seconds: that the cell gets to answer, at most ``[cells] call_timeout``.
        :returns: uuids by ``differ``, ``missing`` (here), ``gone`` (deleted here), ``refused``
            (of another cell) and ``extra`` (not there); how many were ``compared``, and how
            many are ``unsettled``: something of them is on its way; ``until``, None at the end.
        :raises Invalid: the own cell is not the top.
        """
        return self._call_within(
            seconds,
            ctxt,
            versions.OPS_SINCE['differences'],
            'differences',
            cell_name=cell_name,
            after=after,
            within=seconds,
        )

    def tree(self, ctxt: Any, seconds: int | None = None) -> dict[str, Any]:
        """Ask all cells how they do: see :meth:`cells.status.CellStatus.summary`.

        :param seconds: that the cells get to answer, at most ``[cells] call_timeout``.
        :returns: as :meth:`query`.
        """
        return self.query(ctxt, 'x_status', seconds=seconds)

    def sync_status(self, ctxt: Any) -> list[dict[str, Any]]:
        """Return the orders to sync that reached the own cell, newest first."""
        return self._ask(ctxt, 'sync_status')

    def _ask(self, ctxt: Any, method: str, **kwargs: Any) -> Any:
        return self._call(ctxt, versions.OPS_SINCE[method], method, **kwargs)
