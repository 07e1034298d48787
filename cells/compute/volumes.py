"""Volumes of an instance. A volume has one row, whoever asks in which order (S10).

Who waits for the name of a device gets it from the host, which keeps it for the volume;
the row is written, and the order given, once it is known. Without a caller the host
chooses when it attaches.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from cells import arguments, dispatch, exceptions
from cells.compute import states
from cells.compute.actions import Action, Request
from cells.compute.ending import Completion, End
from cells.db import block_devices as db_devices
from cells.db import instances as db_instances

_DEVICE: Final = re.compile('/dev/[a-z]{1,12}[0-9]{0,4}')
#: Columns of a row that holds ids.
LONGEST_VOLUME_ID: Final = 36

ATTACHED: Final = 'attached'
DETACHED: Final = 'detached'


# -- arguments --


def _volume(name: str, value: object) -> dict[str, Any]:
    """Return a volume as the volume API shows it; its id alone will do."""
    found = {'id': value} if isinstance(value, str) else arguments.mapping(name, value)
    arguments.text('%s id' % name, found.get('id'), LONGEST_VOLUME_ID)
    return found


def _attach_arguments(
    volume_id: object, device: object = None, disk_bus: object = None, device_type: object = None
) -> dict[str, Any]:
    if device is not None and not (isinstance(device, str) and _DEVICE.fullmatch(device)):
        raise exceptions.InvalidDevicePath(path='%.60s' % ascii(device))
    return {
        'volume_id': arguments.text('volume_id', volume_id, LONGEST_VOLUME_ID),
        'device': device,
        'disk_bus': None if disk_bus is None else arguments.text('disk_bus', disk_bus),
        'device_type': None if device_type is None else arguments.text('device_type', device_type),
    }


def _detach_arguments(volume: object) -> dict[str, Any]:
    return {'volume_id': _volume('volume', volume)['id']}


def _swap_arguments(old_volume: object, new_volume: object) -> dict[str, Any]:
    old, new = _volume('old_volume', old_volume), _volume('new_volume', new_volume)
    if old['id'] == new['id']:
        raise exceptions.InvalidVolume(reason='volume %s cannot replace itself' % old['id'])
    if old.get('attach_status') == DETACHED:
        raise exceptions.VolumeUnattached(volume_id=old['id'])
    if new.get('attach_status') == ATTACHED:
        raise exceptions.InvalidVolume(reason='volume %s is attached already' % new['id'])
    sizes = old.get('size'), new.get('size')
    if all(isinstance(size, int) for size in sizes) and new['size'] < old['size']:
        raise exceptions.InvalidVolume(
            reason='volume %s has %d GB, less than the %d of volume %s'
            % (new['id'], new['size'], old['size'], old['id'])
        )
    return {'old_volume_id': old['id'], 'new_volume_id': new['id']}


# -- attach --


def _attach(request: Request, **wanted: Any) -> Any:
    _check_new(request, wanted['volume_id'])
    if request.instance.vm_state == states.SHELVED_OFFLOADED:
        _write(request, wanted)
        return wanted['device']
    host = request.host()
    database = request.means.database
    if not request.answered or database is None:
        _order_attach(request, host, wanted)
        return wanted['device']
    # What follows has a transaction of its own, in which everything is looked at again.
    return dispatch.Later(lambda: _attach_under_a_name(request, host, wanted))


def _attach_under_a_name(request: Request, host: str, wanted: Mapping[str, Any]) -> str:
    uuid, database = request.instance.uuid, request.means.database
    assert database is not None
    device = arguments.text(
        'the device that the agent names',
        request.means.call(
            request.ctxt,
            host,
            'reserve_block_device_name',
            instance_uuid=uuid,
            device=wanted['device'],
            volume_id=wanted['volume_id'],
        ),
    )
    with database.write() as connection:
        request.connection = connection
        request.instance = db_instances.instance_get(connection, uuid, lock=True)
        request.check()
        _check_new(request, wanted['volume_id'])
        _order_attach(request, request.host(), {**wanted, 'device': device})
    return device


def _check_new(request: Request, volume_id: str) -> None:
    found = db_devices.bdm_find(request.connection, request.instance.uuid, volume_id=volume_id)
    if found is not None:
        raise exceptions.InvalidVolume(
            reason='volume %s is attached to instance %s already'
            % (volume_id, request.instance.uuid)
        )


def _write(request: Request, wanted: Mapping[str, Any]) -> str:
    return db_devices.bdm_save(
        request.connection,
        request.instance.uuid,
        {
            'source_type': 'volume',
            'destination_type': 'volume',
            'volume_id': wanted['volume_id'],
            'device_name': wanted['device'],
            'disk_bus': wanted['disk_bus'],
            'device_type': wanted['device_type'],
            'boot_index': None,
            'delete_on_termination': False,
            'no_device': False,
        },
    )


def _order_attach(request: Request, host: str, wanted: Mapping[str, Any]) -> None:
    bdm_uuid = _write(request, wanted)
    request.order(
        host,
        'attach_volume',
        {**wanted, 'bdm_uuid': bdm_uuid},
        notes={'volume_id': wanted['volume_id'], 'bdm_uuid': bdm_uuid},
    )


def _attached(end: End) -> None:
    device = end.outcome.values.get('device')
    if end.instance is None or not isinstance(device, str):
        return
    known = db_devices.bdm_find(end.connection, end.uuid, uuid=end.notes['bdm_uuid'])
    if known is not None and known['volume_id'] == end.notes['volume_id']:
        db_devices.bdm_save(
            end.connection, end.uuid, {'uuid': known['uuid'], 'device_name': device}
        )


def _not_attached(end: End) -> None:
    known = db_devices.bdm_find(end.connection, end.uuid, uuid=end.notes['bdm_uuid'])
    if known is not None and end.instance is not None:
        db_devices.bdm_destroy(end.connection, end.uuid, volume_id=end.notes['volume_id'])
    end.fail()


# -- detach and swap --


def _known(request: Request, volume_id: str) -> dict[str, Any]:
    found = db_devices.bdm_find(request.connection, request.instance.uuid, volume_id=volume_id)
    if found is None:
        raise exceptions.VolumeBDMNotFound(volume_id=volume_id)
    return found


def _detach(request: Request, volume_id: str) -> None:
    _known(request, volume_id)
    if request.instance.vm_state == states.SHELVED_OFFLOADED:
        db_devices.bdm_destroy(request.connection, request.instance.uuid, volume_id=volume_id)
        return
    request.order(
        request.host(),
        'detach_volume',
        {'volume_id': volume_id},
        notes={'volume_id': volume_id},
    )


def _detached(end: End) -> None:
    if end.instance is not None:
        db_devices.bdm_destroy(end.connection, end.uuid, volume_id=end.notes['volume_id'])


def _swap(request: Request, old_volume_id: str, new_volume_id: str) -> None:
    bdm = _known(request, old_volume_id)
    _check_new(request, new_volume_id)
    ids = {'old_volume_id': old_volume_id, 'new_volume_id': new_volume_id}
    request.order(request.host(), 'swap_volume', ids, notes={**ids, 'bdm_uuid': bdm['uuid']})


def _swapped(end: End) -> None:
    known = db_devices.bdm_find(end.connection, end.uuid, uuid=end.notes['bdm_uuid'])
    if known is None or end.instance is None:
        return
    old, new = end.notes['old_volume_id'], end.notes['new_volume_id']
    if known['volume_id'] != old:
        return
    if db_devices.bdm_find(end.connection, end.uuid, volume_id=new) is not None:
        # It has come another way meanwhile, and has its row.
        db_devices.bdm_destroy(end.connection, end.uuid, volume_id=old)
        return
    db_devices.bdm_save(
        end.connection,
        end.uuid,
        {'uuid': known['uuid'], 'volume_id': new, 'connection_info': None},
    )


def _on_volumes(name: str, *vm_states: str, **kwargs: Any) -> Action:
    return Action(
        name,
        policy='compute:%s' % name,
        unlocked=True,
        vm_states=frozenset(vm_states),
        task_states=states.IDLE,
        launched=True,
        **kwargs,
    )


_ATTACHED: Final = (
    states.ACTIVE,
    states.PAUSED,
    states.STOPPED,
    states.RESIZED,
    states.SOFT_DELETED,
)
_SHELVED: Final = (states.SHELVED, states.SHELVED_OFFLOADED)

ACTIONS: Final = (
    _on_volumes('attach_volume', *_ATTACHED, *_SHELVED, perform=_attach, accepts=_attach_arguments),
    _on_volumes('detach_volume', *_ATTACHED, *_SHELVED, perform=_detach, accepts=_detach_arguments),
    _on_volumes(
        'swap_volume', *_ATTACHED, states.SUSPENDED, perform=_swap, accepts=_swap_arguments
    ),
)

COMPLETIONS: Final = {
    'attach_volume': Completion(succeeded=_attached, failing=_not_attached),
    'detach_volume': Completion(succeeded=_detached),
    'swap_volume': Completion(succeeded=_swapped),
}
