"""Hosts, their services and resources, and what ran on them."""

import collections
import logging
from collections.abc import Mapping
from typing import Any

from oslo_versionedobjects import exception as versioned

from cells import context, exceptions, messages, paths, rpc
from cells.endpoints import base
from cells.handlers import hosts as host_handlers
from cells.objects import base as objects_base
from cells.objects import proxy

LOG = logging.getLogger(__name__)


class HostMethods(base.Endpoint):
    """What is asked about hosts."""

    @rpc.served
    def service_get_all(
        self, ctxt: context.RequestContext, filters: Mapping[str, Any] | None
    ) -> list[Any]:
        """Return the services of this cell and all below, each with its cell."""
        return self._list(ctxt, 'service_get_all', {'filters': filters}, proxy.ServiceProxy)

    @rpc.served
    def service_get_by_compute_host(
        self, ctxt: context.RequestContext, host_name: object
    ) -> dict[str, Any]:
        """Return the compute service of a host, ``cell!path@host``."""
        target, host = base.cell_and_item(host_name, 'host_name')
        response = self.ask(ctxt, 'service_get_by_compute_host', target, {'host_name': host})
        return _proxied(response.value, proxy.ServiceProxy, response.cell_name)

    @rpc.served
    def service_update(
        self,
        ctxt: context.RequestContext,
        host_name: object,
        binary: object,
        params_to_update: object,
    ) -> dict[str, Any]:
        """Change a service of a host, ``cell!path@host``, and return it."""
        target, host = base.cell_and_item(host_name, 'host_name')
        arguments = {'host_name': host, 'binary': binary, 'params_to_update': params_to_update}
        response = self.ask(ctxt, 'service_update', target, arguments)
        return _proxied(response.value, proxy.ServiceProxy, response.cell_name)

    @rpc.served
    def service_delete(self, ctxt: context.RequestContext, cell_service_id: object) -> None:
        """Delete a service, ``cell!path@id``; it fails when the cell says that it failed."""
        target, service_id = base.cell_and_item(cell_service_id, 'cell_service_id')
        self.ask(ctxt, 'service_delete', target, {'service_id': service_id})

    @rpc.served
    def compute_node_get(self, ctxt: context.RequestContext, compute_id: object) -> dict[str, Any]:
        """Return a compute node, ``cell!path@id``."""
        target, item = base.cell_and_item(compute_id, 'compute_id')
        response = self.ask(ctxt, 'compute_node_get', target, {'compute_id': item})
        return _proxied(response.value, proxy.ComputeNodeProxy, str(target))

    @rpc.served
    def compute_node_get_all(
        self, ctxt: context.RequestContext, hypervisor_match: str | None = None
    ) -> list[Any]:
        """Return the compute nodes of this cell and all below, each with its cell."""
        arguments = {'hypervisor_match': hypervisor_match}
        return self._list(ctxt, 'compute_node_get_all', arguments, proxy.ComputeNodeProxy)

    @rpc.served
    def compute_node_stats(self, ctxt: context.RequestContext) -> dict[str, int]:
        """Return totals over the compute nodes of this cell and all below."""
        totals: collections.Counter[str] = collections.Counter()
        for response in self.ask_all(ctxt, 'compute_node_stats', {}):
            if isinstance(response.value, Mapping):
                for key, value in response.value.items():
                    if isinstance(value, int):
                        totals[key] += value
        return dict(totals)

    @rpc.served
    def get_host_uptime(self, ctxt: context.RequestContext, host_name: object) -> str:
        """Return since when a host, ``cell!path@host``, runs."""
        target, host = base.cell_and_item(host_name, 'host_name')
        return self.ask(ctxt, 'get_host_uptime', target, {'host_name': host}).value

    @rpc.served
    def proxy_rpc_to_manager(
        self,
        ctxt: context.RequestContext,
        topic: object,
        rpc_message: object,
        call: object,
        timeout: object = None,
    ) -> Any:
        """Have the agent of a host do something, and wait for it or not (V7).

        :param topic: ``<compute_topic>.cell!path@host``.
        """
        target, host = _cell_and_agent(topic)
        # Refused here as well, where the caller hears of it even when it does not wait.
        host_handlers.proxied(rpc_message)
        host_handlers.proxy_timeout(timeout)
        arguments = {
            'host_name': host,
            'topic': topic,
            'rpc_message': rpc_message,
            'timeout': timeout,
        }
        if call:
            return self.ask(ctxt, 'proxy_rpc_to_manager', target, arguments).value
        self._runner.change(ctxt, 'proxy_rpc_to_manager', arguments, target)
        return None

    def _list(
        self,
        ctxt: context.RequestContext,
        operation: str,
        arguments: Mapping[str, Any],
        cls: type[proxy.ObjectProxy],
    ) -> list[dict[str, Any]]:
        """Return the objects that all cells answer with, in the order of cells and of ids."""
        found = self.ask_all(ctxt, operation, arguments)
        return [
            proxy.add_cell(one, cls, response.cell_name)
            for response in sorted(found, key=lambda response: response.cell_name)
            for one in _items(response.value)
            if self._readable(one, operation, response.cell_name)
        ]

    @staticmethod
    def _readable(one: Any, operation: str, cell_name: str) -> bool:
        """Tell whether a client can make an object of it; one that it cannot costs no other."""
        reason = 'it is none'
        if objects_base.is_envelope(one):
            try:
                objects_base.from_primitive(one)
                return True
            except versioned.VersionedObjectsException as error:
                reason = str(error)
        LOG.warning('%s leaves an object of cell %s out: %s', operation, cell_name, reason)
        return False

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
            found = self.ask_all(ctxt, 'task_log_get_all', arguments)
        else:
            target, arguments['host'] = _cell_and_host(host)
            found = [self.ask(ctxt, 'task_log_get_all', target, arguments)]
        return [_with_cell(row, one.cell_name) for one in found for row in _logs(one)]


def _items(value: Any) -> list[Any]:
    """Return the envelopes in a list, or in an object that is one."""
    if objects_base.is_envelope(value):
        value = value.get('nova_object.data', {}).get('objects')
    return value if isinstance(value, list) else []


def _proxied(value: Any, cls: type[proxy.ObjectProxy], cell_name: str) -> dict[str, Any]:
    if not objects_base.is_envelope(value):
        raise exceptions.CellRoutingInconsistency(
            reason='cell %s answered with %.60r where an object was asked for' % (cell_name, value)
        )
    return proxy.add_cell(value, cls, cell_name)


def _cell_and_agent(topic: object) -> tuple[paths.CellPath, str]:
    """Split ``<compute_topic>.cell!path@host``; names of cells have no dots, the others may."""
    text = topic if isinstance(topic, str) else ''
    start = text.rfind('.', 0, max(text.rfind(paths.ITEM_SEPARATOR), 0))
    if start < 1:
        raise exceptions.CellRoutingInconsistency(
            reason='topic is %.120s, not of the form compute.cell!path@host' % ascii(topic)
        )
    return base.cell_and_item(text[start + 1 :], 'topic')


def _cell_and_host(host: str) -> tuple[paths.CellPath, str | None]:
    try:
        path, name = paths.split_item(host)
        return (paths.CellPath.parse(name), None) if path is None else (path, name)
    except ValueError as error:
        raise exceptions.Invalid(
            reason='host is %.120r, not of the form cell!path@host: %s' % (host, error)
        ) from None


def _logs(response: messages.Response) -> list[dict[str, Any]]:
    """Return the rows of an answer; what is none must not cost the other cells theirs (T3)."""
    rows = response.value if isinstance(response.value, list) else [response.value]
    found = [row for row in rows if isinstance(row, dict) and {'id', 'host'} <= row.keys()]
    if len(found) != len(rows):
        LOG.warning('Cell %s answered with what is no task log', response.cell_name)
    return found


def _with_cell(row: dict[str, Any], cell_name: str) -> dict[str, Any]:
    return {
        **row,
        'id': paths.with_cell(cell_name, row['id']),
        'host': paths.with_cell(cell_name, row['host']),
    }
