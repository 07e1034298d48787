"""What a guest is given: a password, another system to start from, a new disk."""

import secrets
from collections.abc import Mapping
from typing import Any, Final

from cells import arguments, exceptions
from cells.compute import api_fields, ending, images, network, states
from cells.compute import metadata as instance_metadata
from cells.compute.actions import Action, Request
from cells.compute.ending import Completion, End
from cells.db import instances as db_instances

#: Bytes of randomness in a password that is made up.
RANDOM_BYTES: Final = 12
#: Begins the names in the system metadata that describe the image of an instance.
IMAGE_PREFIX: Final = 'image_'
LONGEST_PASSWORD: Final = 4096


def _password(name: str, value: object) -> str:
    return arguments.secret(name, value, LONGEST_PASSWORD) or secrets.token_urlsafe(RANDOM_BYTES)


# -- passwords --


def _password_arguments(password: object = None) -> dict[str, Any]:
    return {'password': _password('password', password)}


# -- rescue --


def _rescue_arguments(
    rescue_password: object = None,
    rescue_image_ref: object = None,
    clean_shutdown: object = True,
) -> dict[str, Any]:
    arguments.boolean('clean_shutdown', clean_shutdown)
    return {
        'password': _password('rescue_password', rescue_password),
        'image_ref': None
        if rescue_image_ref is None
        else arguments.text('rescue_image_ref', rescue_image_ref),
    }


def _rescue(request: Request, **args: Any) -> None:
    if images.is_volume_backed(request):
        raise exceptions.InstanceNotRescuable(
            instance_id=request.instance.uuid, reason='it starts from a volume'
        )
    host = request.host()
    request.begin()
    request.order(host, 'rescue', args)


def _rescued(end: End) -> None:
    end.settle({'launched_at': ending.now()})


# -- rebuild --


def _rebuild_arguments(
    image_href: object,
    admin_password: object,
    files_to_inject: object = None,
    **kwargs: Any,
) -> dict[str, Any]:
    values = dict(kwargs)
    for name in ('preserve_ephemeral', 'on_shared_storage', 'recreate'):
        if values.pop(name, None) not in (None, False, True):
            raise exceptions.Invalid(reason='%s is not true or false' % name)
    metadata = values.pop('metadata', None)
    if metadata is not None:
        metadata = instance_metadata.checked(metadata)
    files = (
        [] if files_to_inject is None else arguments.sequence('files_to_inject', files_to_inject)
    )
    return {
        'image_ref': arguments.text('image_href', image_href, empty=True),
        'admin_password': arguments.secret('admin_password', admin_password, LONGEST_PASSWORD),
        'files': files,
        'metadata': metadata,
        'values': api_fields.with_action(
            'rebuild', values, (*api_fields.WITH_ACTIONS, 'kernel_id', 'ramdisk_id')
        ),
    }


def _rebuild(
    request: Request,
    image_ref: str,
    admin_password: str | None,
    files: list[Any],
    metadata: dict[str, str] | None,
    values: Mapping[str, Any],
) -> None:
    instance, host = request.instance, request.host()
    before = {name: getattr(instance, name) for name in ('image_ref', 'kernel_id', 'ramdisk_id')}
    system = {
        key: value
        for key, value in instance.system_metadata.items()
        if not key.startswith(IMAGE_PREFIX)
    }
    request.begin(
        {'image_ref': image_ref, 'kernel_id': '', 'ramdisk_id': '', 'progress': 0, **values},
        {'system_metadata': {**system, IMAGE_PREFIX + 'base_image_ref': image_ref}},
    )
    if metadata is not None and metadata != instance.metadata:
        db_instances.metadata_set(request.connection, instance.uuid, metadata, replace=True)
        db_instances.instance_touch(request.connection, instance.uuid, [db_instances.METADATA])
    request.reload()
    request.order(
        host,
        'rebuild',
        {'image_ref': image_ref, 'admin_password': admin_password, 'files': files},
        notes={
            'before': before,
            'system_metadata': dict(instance.system_metadata),
            'stopped': instance.vm_state == states.STOPPED,
        },
    )


def _rebuilt(end: End) -> None:
    settle_built(end, {})


def settle_built(end: End, values: Mapping[str, Any]) -> bool:
    """Write that an instance has a new disk; one that was stopped is stopped again.

    :param values: columns, beside its states.
    """
    stopped = bool(end.notes.get('stopped'))
    changed = {
        'launched_at': ending.now(),
        'task_state': states.POWERING_OFF if stopped else None,
        **values,
    }
    done = end.settle(changed, network.fields_of(end.uuid, end.outcome.values))
    if done and stopped:
        end.follow(end.host, 'stop', {'clean_shutdown': True})
    return done


def _not_rebuilt(end: End) -> None:
    if end.outcome.refused:
        # Its disk is what it was.
        end.fail(end.notes['before'], {'system_metadata': end.notes['system_metadata']})
    else:
        end.fail({'vm_state': states.ERROR})


_REBUILT: Final = frozenset({states.ACTIVE, states.STOPPED, states.ERROR})


def _order(name: str, vm_states: frozenset[str], task_state: str, **kwargs: Any) -> Action:
    return Action(
        name,
        policy='compute:%s' % name,
        unlocked=True,
        vm_states=vm_states,
        task_states=states.IDLE,
        launched=True,
        task_state=task_state,
        expects=states.IDLE,
        **kwargs,
    )


ACTIONS: Final = (
    _order(
        'set_admin_password',
        frozenset({states.ACTIVE}),
        states.UPDATING_PASSWORD,
        orders='set_admin_password',
        accepts=_password_arguments,
        record='changePassword',
    ),
    _order(
        'rescue',
        _REBUILT,
        states.RESCUING,
        perform=_rescue,
        accepts=_rescue_arguments,
        record='rescue',
    ),
    _order(
        'unrescue',
        frozenset({states.RESCUED}),
        states.UNRESCUING,
        orders='unrescue',
        record='unrescue',
    ),
    _order(
        'rebuild',
        _REBUILT,
        states.REBUILDING,
        perform=_rebuild,
        accepts=_rebuild_arguments,
        record='rebuild',
    ),
)

#: Task states of an instance that gets a new disk.
REBUILDING: Final = (
    states.REBUILDING,
    states.REBUILD_BLOCK_DEVICE_MAPPING,
    states.REBUILD_SPAWNING,
)

COMPLETIONS: Final = {
    'set_admin_password': Completion((states.UPDATING_PASSWORD,)),
    'rescue': Completion((states.RESCUING,), states.RESCUED, succeeded=_rescued),
    'unrescue': Completion((states.UNRESCUING,), states.ACTIVE),
    'rebuild': Completion(REBUILDING, states.ACTIVE, succeeded=_rebuilt, failing=_not_rebuilt),
}
