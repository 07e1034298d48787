"""What a build asks for, as hosts and agents need it: values in, values out."""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any, Final

from cells import exceptions, messages
from cells.amounts import Amount
from cells.db import block_devices as db_block_devices
from cells.objects import flavor as flavor_objects
from cells.objects import plain, security_group
from cells.objects.instance import Instance, InstanceList

_SIZES: Final = ('memory_mb', 'vcpus', 'root_gb', 'ephemeral_gb')


def flavor_of(instance: Instance, request: Mapping[str, Any]) -> flavor_objects.Flavor | None:
    """Return the size that an instance is built in, None when nobody says.

    :param request: ``build_inst_kwargs``.
    :raises Invalid: it cannot be one.
    """
    if 'flavor' in instance and instance.flavor is not None:
        return instance.flavor
    found = _properties(request).get('instance_type')
    if isinstance(found, Mapping):
        try:
            return plain.build('Flavor', found)
        except (TypeError, ValueError) as error:
            raise exceptions.Invalid(reason='instance_type: %s' % error) from None
    return found if isinstance(found, flavor_objects.Flavor) else None


def sizes_of(instance: Instance, flavor: flavor_objects.Flavor | None) -> dict[str, int]:
    """Return memory, processors and disks of an instance, of its flavor what it has not itself.

    :raises Invalid: one is missing, or below 0.
    """
    found = {}
    for name in _SIZES:
        value = getattr(instance, name) if name in instance else None
        if value is None and flavor is not None and name in flavor:
            value = getattr(flavor, name)
        if value is None and name in ('root_gb', 'ephemeral_gb'):
            value = 0
        if value is None or value < 0:
            raise exceptions.Invalid(
                reason='%s of instance %s is %s, not a whole number from 0 on'
                % (name, instance.uuid, value)
            )
        found[name] = value
    return found


def amount_of(sizes: Mapping[str, int]) -> Amount:
    """Return what an instance needs of a host."""
    return Amount(sizes['memory_mb'], sizes['root_gb'] + sizes['ephemeral_gb'], sizes['vcpus'])


def args_of(
    instance: Instance, request: Mapping[str, Any], devices: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the arguments of the operation ``build``."""
    password = request.get('admin_password')
    return {
        'admin_password': password if isinstance(password, str) else None,
        'injected_files': [
            list(one) if isinstance(one, list | tuple) else one
            for one in request.get('injected_files') or ()
        ],
        'networks': _networks(request.get('requested_networks')),
        'block_devices': [plain.flatten(device) for device in devices],
        'metadata': dict(instance.metadata) if 'metadata' in instance else {},
    }


def block_devices_of(instance: Instance, request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the block devices of an instance, values by column.

    What names another instance of the request is not for this one, when devices name several.
    """
    given = [_values_of(one) for one in request.get('block_device_mapping') or ()]
    named = {device.get('instance_uuid') for device in given} - {None}
    found = []
    for device in given:
        owner = device.get('instance_uuid')
        if len(named) > 1 and owner != instance.uuid:
            continue
        values = {name: device[name] for name in db_block_devices.STATE if name in device}
        for name in ('deleted', 'deleted_at'):
            values.pop(name, None)
        if owner != instance.uuid and (owner is not None or _number_of(request) > 1):
            # It stands for one device of each instance of the request.
            values['uuid'] = None
        if values.get('uuid') is None:
            values['uuid'] = messages.new_uuid()
        if values.get('volume_id') and not values.get('source_type'):
            values.update(source_type='volume', destination_type='volume')
        found.append(values)
    return found


def _values_of(device: Any) -> dict[str, Any]:
    if isinstance(device, Mapping) or hasattr(device, 'items'):
        return dict(device.items())
    raise exceptions.Invalid(
        reason='block_device_mapping has %.80s, not a block device' % ascii(device)
    )


def _number_of(request: Mapping[str, Any]) -> int:
    given = request.get('instances')
    return len(given) if isinstance(given, list | tuple | InstanceList) else 1


def _networks(given: Any) -> list[dict[str, Any]]:
    found = []
    for one in given or ():
        if isinstance(one, Mapping) or hasattr(one, 'items'):
            values = dict(one.items())
        elif isinstance(one, list | tuple):
            # As clients before Liberty have it.
            names = ('network_id', 'address', 'port_id', 'pci_request_id')
            values = dict(zip(names, one, strict=False))
        else:
            raise exceptions.Invalid(
                reason='requested_networks has %.80s, not a network' % ascii(one)
            )
        found.append(
            {
                name: str(value)
                if isinstance(value, ipaddress.IPv4Address | ipaddress.IPv6Address)
                or not isinstance(value, str | None)
                else value
                for name, value in values.items()
                if name in ('network_id', 'address', 'port_id', 'tag', 'pci_request_id')
            }
        )
    return found


def security_groups(given: Any) -> security_group.SecurityGroupList:
    names = [one.get('name') if isinstance(one, Mapping) else one for one in given or ()]
    return security_group.SecurityGroupList(
        objects=[security_group.SecurityGroup(name=name) for name in names if isinstance(name, str)]
    )


def _properties(request: Mapping[str, Any]) -> Mapping[str, Any]:
    found = request.get('filter_properties')
    return found if isinstance(found, Mapping) else {}
