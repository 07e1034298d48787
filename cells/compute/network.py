"""The network of an instance: its addresses and interfaces, and what the guest knows of them.

What the host reports of the network is kept in the info cache, which goes up (S11).
"""

import ipaddress
from collections.abc import Mapping
from typing import Any, Final

from cells import arguments, exceptions
from cells.compute import states
from cells.compute.actions import Action, Request
from cells.compute.ending import Completion, End
from cells.db import instances as db_instances
from cells.objects import instance as instance_objects

_WITH_INTERFACES: Final = frozenset({states.ACTIVE, states.PAUSED, states.STOPPED})


def info_of(instance: instance_objects.Instance) -> list[dict[str, Any]]:
    """Return what was last seen of the network of an instance."""
    cache = instance.info_cache if 'info_cache' in instance else None
    if cache is None or 'network_info' not in cache:
        return []
    return list(cache.network_info or [])


def fields_of(uuid: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an instance that a result with ``network_info`` changes."""
    info = values.get('network_info')
    if not isinstance(info, list) or not all(isinstance(vif, dict) for vif in info):
        return {}
    cache = instance_objects.InstanceInfoCache(instance_uuid=uuid, network_info=info)
    return {'info_cache': cache}


def _network_changed(end: End) -> None:
    fields = fields_of(end.uuid, end.outcome.values)
    if fields:
        end.change({}, fields)


# -- arguments --


def _address(name: str, value: object) -> str:
    try:
        return str(ipaddress.ip_address(arguments.text(name, value)))
    except ValueError:
        raise exceptions.Invalid(
            reason='%s is %.60s, not an address such as 10.0.0.1' % (name, ascii(value))
        ) from None


def _network_arguments(network_id: object) -> dict[str, Any]:
    return {'network_id': arguments.text('network_id', network_id)}


def _address_arguments(address: object) -> dict[str, Any]:
    return {'address': _address('address', address)}


def _interface_arguments(
    network_id: object = None, port_id: object = None, requested_ip: object = None
) -> dict[str, Any]:
    return {
        'network_id': None if network_id is None else arguments.text('network_id', network_id),
        'port_id': None if port_id is None else arguments.text('port_id', port_id),
        'requested_ip': None if requested_ip is None else _address('requested_ip', requested_ip),
    }


def _port_arguments(port_id: object) -> dict[str, Any]:
    return {'port_id': arguments.text('port_id', port_id)}


# -- actions --


def _inject(request: Request) -> None:
    request.order(
        request.host(), 'inject_network_info', {'network_info': info_of(request.instance)}
    )


def _attach_interface(request: Request, port_id: str | None, **args: Any) -> Any:
    host, uuid, database = request.host(), request.instance.uuid, request.means.database
    before = {vif.get('id') for vif in info_of(request.instance)}
    request.begin()
    op_id = request.order(host, 'attach_interface', {'port_id': port_id, **args})

    def attached() -> Any:
        """Return the interface that has come: who asked for it waits for that."""
        assert database is not None
        with database.read() as connection:
            found = info_of(db_instances.instance_get(connection, uuid))
        for vif in reversed(found):
            if vif.get('id') == port_id or (port_id is None and vif.get('id') not in before):
                return vif
        return None

    return request.outcome_of(op_id, attached)


def _on_network(name: str, **kwargs: Any) -> Action:
    return Action(name, policy='compute:%s' % name, unlocked=True, **kwargs)


_RUNNING: Final[dict[str, Any]] = {
    'vm_states': _WITH_INTERFACES,
    'task_states': states.IDLE,
    'launched': True,
}

ACTIONS: Final = (
    _on_network('reset_network', orders='reset_network'),
    _on_network('inject_network_info', perform=_inject),
    _on_network('add_fixed_ip', orders='add_fixed_ip', accepts=_network_arguments),
    _on_network('remove_fixed_ip', orders='remove_fixed_ip', accepts=_address_arguments),
    _on_network(
        'attach_interface', perform=_attach_interface, accepts=_interface_arguments, **_RUNNING
    ),
    _on_network('detach_interface', orders='detach_interface', accepts=_port_arguments, **_RUNNING),
)

COMPLETIONS: Final = {
    'reset_network': Completion(succeeded=lambda end: None),
    'inject_network_info': Completion(succeeded=lambda end: None),
    'add_fixed_ip': Completion(succeeded=_network_changed),
    'remove_fixed_ip': Completion(succeeded=_network_changed),
    'attach_interface': Completion(succeeded=_network_changed),
    'detach_interface': Completion(succeeded=_network_changed),
}
