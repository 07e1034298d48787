"""What a user has noted on an instance. The host is told of changes, as well as can be."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from cells import arguments, exceptions
from cells.compute import states
from cells.compute.actions import Action, Request
from cells.compute.ending import Completion, End
from cells.db import instances as db_instances

LOG = logging.getLogger(__name__)

#: Items that an instance may have.
MOST_METADATA: Final = 1024


def checked(metadata: object) -> dict[str, str]:
    """Return metadata that is fit to be stored.

    :raises Invalid: it is not.
    """
    given = arguments.mapping('metadata', metadata)
    for key, value in given.items():
        arguments.text('a key of metadata', key)
        arguments.text('metadata %.40s' % ascii(key), value, empty=True)
    if len(given) > MOST_METADATA:
        raise exceptions.Invalid(
            reason='metadata has %d items, at most %d are allowed' % (len(given), MOST_METADATA)
        )
    return given


def _get(request: Request) -> dict[str, str]:
    return dict(request.instance.metadata)


def _update_arguments(metadata: object, delete: object = False) -> dict[str, Any]:
    return {
        'metadata': checked(metadata),
        'delete': arguments.boolean('delete', delete),
    }


def _update(request: Request, metadata: Mapping[str, str], delete: bool) -> dict[str, str]:
    known = request.instance.metadata
    result = dict(metadata) if delete else {**known, **metadata}
    if len(result) > MOST_METADATA:
        raise exceptions.Invalid(
            reason='instance %s would have %d items of metadata, at most %d are allowed'
            % (request.instance.uuid, len(result), MOST_METADATA)
        )
    if result != known:
        db_instances.metadata_set(
            request.connection, request.instance.uuid, metadata, replace=delete
        )
        _tell(request, result)
    return result


def _key_arguments(key: object) -> dict[str, Any]:
    return {'key': arguments.text('key', key)}


def _delete(request: Request, key: str) -> None:
    if key in request.instance.metadata:
        db_instances.metadata_delete(request.connection, request.instance.uuid, [key])
        left = {name: value for name, value in request.instance.metadata.items() if name != key}
        _tell(request, left)


def _tell(request: Request, metadata: Mapping[str, str]) -> None:
    request.already(db_instances.METADATA)
    if request.instance.host:
        request.order(str(request.instance.host), 'change_metadata', {'metadata': dict(metadata)})


def _not_told(end: End) -> None:
    LOG.warning(
        'Host %s was not told of the metadata of instance %s: %s',
        end.host,
        end.uuid,
        end.outcome.error_message,
    )


_AT_WORK: Final = frozenset({states.ACTIVE, states.PAUSED, states.SUSPENDED, states.STOPPED})

ACTIONS: Final = (
    Action('get_instance_metadata', perform=_get, policy='compute:get_instance_metadata'),
    Action(
        'update_instance_metadata',
        perform=_update,
        accepts=_update_arguments,
        policy='compute:update_instance_metadata',
        unlocked=True,
        vm_states=_AT_WORK,
        launched=True,
    ),
    Action(
        'delete_instance_metadata',
        perform=_delete,
        accepts=_key_arguments,
        policy='compute:delete_instance_metadata',
        unlocked=True,
        vm_states=_AT_WORK,
        launched=True,
    ),
)

COMPLETIONS: Final = {
    'change_metadata': Completion(succeeded=lambda end: None, failing=_not_told),
}
