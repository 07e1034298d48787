"""Images of instances: snapshots, and backups of which the oldest are deleted.

The image is made where the request came in; the message names it. What is copied, and
which copies are too old, is for the host.
"""

from typing import Any, Final

from cells import arguments, exceptions
from cells.compute import states
from cells.compute.actions import Action, Request
from cells.compute.ending import Completion
from cells.db import block_devices as db_devices

MOST_BACKUPS: Final = 10_000

_COPIED: Final = frozenset({states.ACTIVE, states.STOPPED, states.PAUSED, states.SUSPENDED})


def is_volume_backed(request: Request) -> bool:
    """Tell whether the disk that an instance starts from is a volume."""
    devices = db_devices.bdm_get_all(request.connection, request.instance.uuid)
    return any(
        one['boot_index'] == 0 and one['destination_type'] == 'volume' and not one['no_device']
        for one in devices
    )


def _snapshot_arguments(image_id: object) -> dict[str, Any]:
    return {'image_id': arguments.text('image_id', image_id)}


def _snapshot(request: Request, image_id: str) -> None:
    host = request.host()
    request.begin()
    name = request.instance.display_name or request.instance.uuid
    request.order(host, 'snapshot', {'image_id': image_id, 'name': name})


def _backup_arguments(image_id: object, backup_type: object, rotation: object) -> dict[str, Any]:
    return {
        'image_id': arguments.text('image_id', image_id),
        'backup_type': arguments.text('backup_type', backup_type),
        'rotation': arguments.number('rotation', rotation, most=MOST_BACKUPS),
    }


def _backup(request: Request, image_id: str, backup_type: str, rotation: int) -> None:
    if is_volume_backed(request):
        raise exceptions.InvalidRequest(
            'The request is invalid: instance %s starts from a volume, of which there are no '
            'backups' % request.instance.uuid
        )
    host = request.host()
    request.begin()
    request.order(
        host,
        'backup',
        {'image_id': image_id, 'backup_type': backup_type, 'rotation': rotation},
    )


ACTIONS: Final = (
    Action(
        'snapshot',
        perform=_snapshot,
        accepts=_snapshot_arguments,
        policy='compute:snapshot',
        vm_states=_COPIED,
        task_states=states.IDLE,
        launched=True,
        task_state=states.IMAGE_SNAPSHOT_PENDING,
        expects=states.IDLE,
    ),
    Action(
        'backup',
        perform=_backup,
        accepts=_backup_arguments,
        policy='compute:backup',
        vm_states=_COPIED,
        task_states=states.IDLE,
        launched=True,
        task_state=states.IMAGE_BACKUP,
        expects=states.IDLE,
    ),
)

_UPLOAD: Final = (states.IMAGE_PENDING_UPLOAD, states.IMAGE_UPLOADING)

COMPLETIONS: Final = {
    'snapshot': Completion((states.IMAGE_SNAPSHOT_PENDING, states.IMAGE_SNAPSHOT, *_UPLOAD)),
    'backup': Completion((states.IMAGE_BACKUP, states.IMAGE_SNAPSHOT, *_UPLOAD)),
}
