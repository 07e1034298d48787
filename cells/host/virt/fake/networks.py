"""Interfaces and addresses of machines: values in, values out."""

import hashlib
import ipaddress
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from cells import exceptions
from cells.host.virt.fake.machine import Machine, Values

#: The network of an interface that none was asked for.
NETWORK: Final = str(uuid.uuid5(uuid.NAMESPACE_DNS, 'network.fake.cells'))
LABEL: Final = 'fake'
BRIDGE: Final = 'br-fake'

_PRIVATE: Final = ipaddress.IPv4Network('10.0.0.0/8')
_PREFIX: Final = 20

#: Returns an address that is free: the one that is wanted, or any.
Addresses = Callable[[str | None], str]


def subnet(text: str, host: str) -> ipaddress.IPv4Network:
    """Return the subnet of a host.

    :param text: what is configured, empty for one that the name of the host decides.
    :raises ValueError: it is no subnet, or too small.
    """
    if text:
        found = ipaddress.IPv4Network(text)
        if found.num_addresses < 4:
            raise ValueError('%s has no room for a gateway and an instance' % text)
        return found
    number = int.from_bytes(hashlib.sha256(host.encode()).digest()[:4])
    blocks = 2 ** (_PREFIX - _PRIVATE.prefixlen)
    first = int(_PRIVATE.network_address) + number % blocks * 2 ** (32 - _PREFIX)
    return ipaddress.IPv4Network((first, _PREFIX))


def gateway(network: ipaddress.IPv4Network) -> str:
    """Return the first address of a subnet, which no machine gets."""
    return str(network.network_address + 1)


def free(
    network: ipaddress.IPv4Network, wanted: str | None, used: Collection[str], number: int
) -> tuple[str, int]:
    """Return a free address, and the number with which the next is to be asked for.

    Addresses are given in turn, so that one that has gone to another host with its
    machine is not given again soon.

    :param wanted: the one that it must be, if any.
    :raises DriverError: it is no address, is used, or all are used.
    """
    if wanted is not None:
        return _wanted(wanted, used), number
    several = network.num_addresses - 3  # without network, gateway and broadcast
    for step in range(several):
        found = str(network.network_address + 2 + (number + step) % several)
        if found not in used:
            return found, (number + step + 1) % several
    raise exceptions.DriverError(reason='all %d addresses of %s are used' % (several, network))


def _wanted(wanted: str, used: Collection[str]) -> str:
    try:
        found = str(ipaddress.ip_address(wanted))
    except ValueError:
        raise exceptions.DriverError(reason='%.60s is not an address' % ascii(wanted)) from None
    if found in used:
        raise exceptions.DriverError(reason='address %s is used by another instance' % found)
    return found


def interfaces(
    wanted: Iterable[Mapping[str, Any]], op_id: str, addresses: Addresses
) -> tuple[Values, ...]:
    """Return the interfaces of a new machine: one if none is asked for.

    :param wanted: each may have ``network_id``, ``port_id`` and ``address``.
    """
    return tuple(
        interface(
            one.get('network_id'), one.get('port_id'), one.get('address'), op_id, index, addresses
        )
        for index, one in enumerate(list(wanted) or [{}])
    )


def interface(
    network_id: str | None,
    port_id: str | None,
    address: object,
    op_id: str,
    index: int,
    addresses: Addresses,
) -> Values:
    """Return an interface; run again by the same operation it is the same."""
    port = port_id or str(uuid.uuid5(uuid.UUID(NETWORK), '%s %d' % (op_id, index)))
    digest = hashlib.sha256(port.encode()).hexdigest()
    return {
        'port_id': port,
        'network_id': network_id or NETWORK,
        'mac': 'fa:16:3e:%s:%s:%s' % (digest[:2], digest[2:4], digest[4:6]),
        'addresses': [addresses(None if address is None else str(address))],
    }


def plugged(machine: Machine, new: Values) -> Machine:
    """Return a machine with one interface more.

    :raises DriverError: it has the port already.
    """
    if any(one['port_id'] == new['port_id'] for one in machine.interfaces):
        raise exceptions.DriverError(
            reason='port %s is attached to instance %s already' % (new['port_id'], machine.uuid)
        )
    return machine.but(interfaces=(*machine.interfaces, new))


def unplugged(machine: Machine, port_id: str) -> Machine:
    """Return a machine without an interface.

    :raises DriverError: it does not have it.
    """
    kept = tuple(one for one in machine.interfaces if one['port_id'] != port_id)
    if len(kept) == len(machine.interfaces):
        raise exceptions.DriverError(
            reason='port %s is not attached to instance %s' % (port_id, machine.uuid)
        )
    return machine.but(interfaces=kept)


def with_address(machine: Machine, network_id: str | None, addresses: Addresses) -> Machine:
    """Return a machine with one address more on its interface to a network, or on its first.

    :raises DriverError: it has no such interface.
    """
    index = next(
        (
            index
            for index, one in enumerate(machine.interfaces)
            if network_id in (None, one['network_id'])
        ),
        None,
    )
    if index is None:
        raise exceptions.DriverError(
            reason='instance %s has no interface to network %s' % (machine.uuid, network_id)
        )
    changed = list(machine.interfaces)
    changed[index] = {
        **changed[index],
        'addresses': [*changed[index]['addresses'], addresses(None)],
    }
    return machine.but(interfaces=tuple(changed))


def without_address(machine: Machine, address: str) -> Machine:
    """Return a machine without an address.

    :raises DriverError: it does not have it.
    """
    if not any(address in one['addresses'] for one in machine.interfaces):
        raise exceptions.DriverError(
            reason='instance %s does not have address %s' % (machine.uuid, address)
        )
    return machine.but(
        interfaces=tuple(
            {**one, 'addresses': [other for other in one['addresses'] if other != address]}
            for one in machine.interfaces
        )
    )


def network_info(
    found: Sequence[Mapping[str, Any]], network: ipaddress.IPv4Network
) -> list[dict[str, Any]]:
    """Return interfaces as nova's information cache has them."""
    return [
        {
            'id': one['port_id'],
            'address': one['mac'],
            'type': 'bridge',
            'devname': 'tap%s' % one['port_id'][:11],
            'active': True,
            'network': {
                'id': one['network_id'],
                'bridge': BRIDGE,
                'label': LABEL,
                'meta': {'injected': False},
                'subnets': [_subnet(one['addresses'], network)],
            },
        }
        for one in found
    ]


def _subnet(addresses: Sequence[str], network: ipaddress.IPv4Network) -> dict[str, Any]:
    return {
        'cidr': str(network),
        'version': 4,
        'gateway': {'address': gateway(network), 'type': 'gateway', 'version': 4, 'meta': {}},
        'dns': [],
        'routes': [],
        'meta': {},
        'ips': [
            {
                'address': one,
                'type': 'fixed',
                'version': ipaddress.ip_address(one).version,
                'floating_ips': [],
                'meta': {},
            }
            for one in addresses
        ],
    }
