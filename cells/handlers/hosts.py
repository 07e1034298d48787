"""Hosts: what they have, and what their agents are asked and told."""

import math
from collections.abc import Mapping
from typing import Any, Final

from cells import arguments, context, exceptions, messages
from cells.db import compute_nodes as db_compute_nodes
from cells.db import engine
from cells.db import services as db_services
from cells.handlers import base
from cells.objects import base as objects_base
from cells.objects import compute_node

#: What callers of the contract may have an agent do, and with which arguments (X2).
PROXIED: Final[dict[str, frozenset[str]]] = {
    'get_host_uptime': frozenset(),
    'host_maintenance_mode': frozenset({'host', 'mode'}),
    'host_power_action': frozenset({'action'}),
    'ping': frozenset(),
    'set_host_enabled': frozenset({'enabled'}),
}


class HostHandlers:
    """Answers questions on hosts from the database, and passes on what is for their agents.

    :param service_down_time: seconds without a report after which a host is down.
    """

    OPERATIONS: Final = (
        'compute_node_get',
        'compute_node_get_all',
        'compute_node_stats',
        'get_host_uptime',
        'proxy_rpc_to_manager',
    )

    def __init__(
        self,
        database: engine.Database,
        hosts: base.HostCaller,
        *,
        compute_topic: str,
        service_down_time: float,
    ) -> None:
        self._database = database
        self._hosts = hosts
        self._topic = compute_topic
        self._down_after = service_down_time

    def compute_node_get(
        self, ctxt: context.RequestContext, compute_id: object
    ) -> compute_node.ComputeNode:
        """Return a compute node.

        :param compute_id: its id, or its uuid.
        :raises ComputeHostNotFound: there is none.
        """
        found = None
        key = base.row_key(compute_id)
        if key is not None:
            found = db_compute_nodes.compute_node_find(self._database, key)
        if found is None:
            raise exceptions.ComputeHostNotFound(host='%.80s' % (ascii(compute_id).strip("'"),))
        return _to_object(found)

    def compute_node_get_all(
        self, ctxt: context.RequestContext, hypervisor_match: object = None
    ) -> compute_node.ComputeNodeList:
        """Return the compute nodes of this cell, in the order of their ids.

        :param hypervisor_match: only those with this in their ``hypervisor_hostname``.
        :raises Invalid: it is not a text.
        """
        match = None
        if hypervisor_match is not None:
            match = arguments.text('hypervisor_match', hypervisor_match, empty=True)
        found = db_compute_nodes.compute_node_get_all(self._database, match)
        return compute_node.ComputeNodeList(objects=[_to_object(row) for row in found])

    def compute_node_stats(self, ctxt: context.RequestContext) -> dict[str, int]:
        """Return totals over the hosts of this cell that are up and not disabled."""
        return db_compute_nodes.statistics(self._database, self._down_after)

    def get_host_uptime(self, ctxt: context.RequestContext, host_name: object) -> str:
        """Return since when a host runs, as its agent tells it.

        :raises ComputeHostNotFound: this cell has no such host.
        :raises ComputeServiceUnavailable: its agent is down, or does not answer.
        """
        host = self._living(host_name)
        return str(self._hosts.call(ctxt, host, 'get_host_uptime'))

    def proxy_rpc_to_manager(
        self,
        ctxt: context.RequestContext,
        message: messages.Message,
        host_name: object,
        topic: object,
        rpc_message: object,
        timeout: object = None,
    ) -> Any:
        """Have the agent of a host do something; return what came of it when that is wanted.

        :param topic: ``<compute_topic>.<cell path>@<host>``, of which only the first part
            counts: the rest led the message here.
        :param rpc_message: ``method``, one of :data:`PROXIED`, and ``args``; ``version``
            and ``namespace`` are for agents of nova.
        :param timeout: seconds to wait for the agent.
        :raises Invalid: an argument cannot be one.
        :raises ComputeHostNotFound: this cell has no such host.
        :raises ComputeServiceUnavailable: its agent is down, or does not answer.
        """
        method, args = proxied(rpc_message)
        seconds = proxy_timeout(timeout)
        self._check_topic(topic)
        host = self._living(host_name)
        if method in ('set_host_enabled', 'host_maintenance_mode', 'host_power_action'):
            args['op_id'] = message.uuid  # by which the agent knows a repetition
        if message.need_response:
            return self._hosts.call(ctxt, host, method, timeout=seconds, **args)
        self._hosts.cast(ctxt, host, method, **args)
        return None

    def _check_topic(self, topic: object) -> None:
        name = arguments.text('topic', topic, longest=8192)
        if name != self._topic and not name.startswith(self._topic + '.'):
            raise exceptions.Invalid(
                reason='topic is %.120s; only services of topic %s can be reached'
                % (ascii(name), self._topic)
            )

    def _living(self, host_name: object) -> str:
        host = arguments.text('host_name', host_name)
        row = db_services.service_find(self._database, host)
        if row is None:
            raise exceptions.ComputeHostNotFound(host=host)
        if not db_services.is_up(row, self._down_after):
            raise exceptions.ComputeServiceUnavailable(host=host)
        return host


def proxied(rpc_message: object) -> tuple[str, dict[str, Any]]:
    """Return method and arguments of what an agent is to do.

    ``host``, which nova gives beside the host in the topic, is left out.

    :raises Invalid: it may not be done, or not like this.
    """
    given = arguments.mapping('rpc_message', rpc_message)
    method = given.get('method')
    if not isinstance(method, str) or method not in PROXIED:
        raise exceptions.Invalid(
            reason='the method is %.80s; hosts can be asked for %s'
            % (ascii(method), ', '.join(PROXIED))
        )
    args = given.get('args')
    values = arguments.mapping('args', {} if args is None else args)
    unknown = values.keys() - PROXIED[method]
    if unknown:
        raise exceptions.Invalid(
            reason='%s has no argument %s; it has %s'
            % (
                method,
                ', '.join('%.60s' % ascii(name) for name in sorted(unknown)),
                ', '.join(sorted(PROXIED[method])) or 'none',
            )
        )
    values.pop('host', None)
    return method, values


def proxy_timeout(timeout: object) -> float | None:
    """Return the seconds that a caller gives an agent, None for the default.

    :raises Invalid: it is not a number above 0.
    """
    if timeout is None:
        return None
    if (
        isinstance(timeout, bool)
        or not isinstance(timeout, int | float)
        or not (math.isfinite(timeout) and timeout > 0)
    ):
        raise exceptions.Invalid(reason='timeout is %.60s, not seconds above 0' % ascii(timeout))
    return float(timeout)


def _to_object(row: Mapping[str, Any]) -> compute_node.ComputeNode:
    values = {key: row[key] for key in row if key in compute_node.ComputeNode.fields}
    values['deleted'] = bool(row['deleted'])
    values['supported_hv_specs'] = [
        compute_node.HVSpec(arch=arch, hv_type=hv_type, vm_mode=vm_mode)
        for arch, hv_type, vm_mode in row['supported_hv_specs'] or ()
    ]
    if row['pci_device_pools'] is not None:
        values['pci_device_pools'] = objects_base.from_primitive(row['pci_device_pools'])
    found = compute_node.ComputeNode(**values)
    found.obj_reset_changes(recursive=True)
    return found
