"""Which disk of a machine has which name: values in, values out."""

import re
import string
from collections.abc import Collection, Mapping
from typing import Any, Final

from cells import exceptions
from cells.host.virt.fake.machine import Machine, Values

#: Seconds for which a name is kept for a volume that does not come.
RESERVED_SECONDS: Final = 3600.0

_PATH: Final = re.compile(r'(?:/dev/)?(?:x?v|s|h)d([a-z]{1,2})')
_LETTERS: Final = tuple(string.ascii_lowercase) + tuple(
    first + second for first in string.ascii_lowercase for second in string.ascii_lowercase
)


def device_name(path: str) -> str:
    """Return the name of a disk as machines here have it: ``/dev/vdb`` for ``/dev/sdb``.

    :raises InvalidDevicePath: it is no name of a disk.
    """
    found = _PATH.fullmatch(path)
    if found is None:
        raise exceptions.InvalidDevicePath(path=path)
    return '/dev/vd%s' % found[1]


def reserved(machine: Machine, device: str | None, volume_id: str, now: float) -> Machine:
    """Return a machine that keeps a name for a volume; the same if it has one for it.

    :param device: the name that is wanted, None for the next free one.
    :raises InvalidDevicePath: it is no name of a disk.
    :raises DevicePathInUse: another disk has it.
    """
    known = find(machine, volume_id)
    wanted = None if device is None else device_name(device)
    if known is not None and wanted in (None, known['device']):
        return machine
    others = without(_fresh(machine, now), volume_id)
    name = _free(others, wanted)
    volume = {'volume_id': volume_id, 'device': name, 'reserved_at': now}
    return others.but(volumes=(*others.volumes, volume))


def attached(machine: Machine, values: Mapping[str, Any], now: float) -> Machine:
    """Return a machine with a volume; under the name that it has, or that is kept for it.

    :param values: ``volume_id``, ``device``, ``disk_bus``, ``device_type``, ``bdm_uuid``.
    :raises InvalidDevicePath: ``device`` is no name of a disk.
    :raises DevicePathInUse: another disk has it.
    """
    volume_id = values['volume_id']
    with_name = reserved(machine, values.get('device'), volume_id, now)
    known = find(with_name, volume_id)
    assert known is not None
    volume = {
        'volume_id': volume_id,
        'device': known['device'],
        'disk_bus': values.get('disk_bus') or 'virtio',
        'device_type': values.get('device_type') or 'disk',
        'bdm_uuid': values.get('bdm_uuid'),
    }
    return _replaced(with_name, volume_id, volume)


def detached(machine: Machine, volume_id: str) -> Machine:
    """Return a machine without a volume.

    :raises DriverError: it is not attached.
    """
    _need(machine, volume_id)
    return without(machine, volume_id)


def swapped(machine: Machine, old: str, new: str) -> Machine:
    """Return a machine with a volume in the place of another.

    :raises DriverError: the old one is not attached, or the new one is.
    """
    known = _need(machine, old)
    if find(machine, new) is not None:
        raise exceptions.DriverError(
            reason='volume %s is attached to instance %s already' % (new, machine.uuid)
        )
    return _replaced(machine, old, {**known, 'volume_id': new})


def find(machine: Machine, volume_id: str) -> Values | None:
    """Return what a machine has of a volume, attached or only reserved."""
    return next((one for one in machine.volumes if one['volume_id'] == volume_id), None)


def without(machine: Machine, volume_id: str) -> Machine:
    """Return a machine without a volume, which it need not have."""
    return machine.but(
        volumes=tuple(one for one in machine.volumes if one['volume_id'] != volume_id)
    )


def _replaced(machine: Machine, volume_id: str, volume: Values) -> Machine:
    return machine.but(
        volumes=tuple(volume if one['volume_id'] == volume_id else one for one in machine.volumes)
    )


def _need(machine: Machine, volume_id: str) -> Values:
    known = find(machine, volume_id)
    if known is None:
        raise exceptions.DriverError(
            reason='volume %s is not attached to instance %s' % (volume_id, machine.uuid)
        )
    return known


def _free(machine: Machine, wanted: str | None) -> str:
    used = _names(machine)
    if wanted is None:
        free = (name for name in ('/dev/vd%s' % one for one in _LETTERS) if name not in used)
        found = next(free, None)
        if found is None:
            raise exceptions.DriverError(
                reason='instance %s has %d disks, and no more names' % (machine.uuid, len(used))
            )
        return found
    if wanted in used:
        raise exceptions.DevicePathInUse(path=wanted)
    return wanted


def _names(machine: Machine) -> Collection[str]:
    return {one['device'] for one in (*machine.disks, *machine.volumes)}


def _fresh(machine: Machine, now: float) -> Machine:
    """Return a machine without the names that were kept for nothing."""
    return machine.but(
        volumes=tuple(
            one for one in machine.volumes if now - one.get('reserved_at', now) <= RESERVED_SECONDS
        )
    )
