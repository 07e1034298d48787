"""All that can be done with instances of this cell, and the two ways to ask for it.

:func:`perform` is for messages that name the action; :func:`run` is what parents do through
``run_compute_api_method``, where an allow-list says what they may name. What nova's cells
dropped without a word is in :data:`REFUSED`, with the reason (O1).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from cells import arguments, context, dispatch, exceptions, messages
from cells.compute import (
    consoles,
    deletion,
    flags,
    guest,
    images,
    leaving,
    metadata,
    network,
    power,
    resizing,
    shelving,
    volumes,
)
from cells.compute.actions import Action, Request, bound
from cells.compute.keys import key_of
from cells.compute.means import Means
from cells.db import instances as db_instances

#: By name, as in ``spec/compute_api.json``.
ACTIONS: Final[dict[str, Action]] = {
    action.name: action
    for subject in (
        consoles,
        deletion,
        flags,
        guest,
        images,
        leaving,
        metadata,
        network,
        power,
        resizing,
        shelving,
        volumes,
    )
    for action in subject.ACTIONS
}

#: What ``run_compute_api_method`` may name: what parents of some release send that way, and
#: what has no message of its own.
METHODS: Final[dict[str, Action]] = {
    name: ACTIONS[name]
    for name in (
        'add_fixed_ip',
        'attach_interface',
        'attach_volume',
        'delete_instance_metadata',
        'detach_interface',
        'detach_volume',
        'evacuate',
        'force_delete',
        'get_console_output',
        'get_diagnostics',
        'get_instance_diagnostics',
        'get_instance_metadata',
        'get_rdp_connect_info',
        'get_serial_console_connect_info',
        'get_spice_connect_info',
        'get_vnc_connect_info',
        'lock',
        'rebuild',
        'remove_fixed_ip',
        'rescue',
        'restore',
        'set_admin_password',
        'shelve',
        'shelve_offload',
        'swap_volume',
        'trigger_crash_dump',
        'unlock',
        'unrescue',
        'unshelve',
        'update',
        'update_instance_metadata',
    )
}

_NO_FLOATING: Final = 'no cell has floating IPs; they are attached where the API service is'
_NO_VOLUME_SNAPSHOTS: Final = 'no host of this cell takes part in snapshots of volumes'
_NOT_UNDER_WAY: Final = 'a live migration that is under way is brought to an end by its hosts alone'

#: What is known and not done here, and why; it is refused before anything is changed (O1).
REFUSED: Final[dict[str, str]] = {
    'associate_floating_ip': _NO_FLOATING,
    'disassociate_floating_ip': _NO_FLOATING,
    'external_instance_event': 'events of networks and volumes are not waited for in this cell',
    'get_mks_console': 'no host of this cell has MKS consoles',
    'get_mks_connect_info': 'no host of this cell has MKS consoles',
    'inject_file': 'files are put into an instance when it is built or rebuilt',
    'live_migrate_abort': _NOT_UNDER_WAY,
    'live_migrate_force_complete': _NOT_UNDER_WAY,
    'quiesce_instance': _NO_VOLUME_SNAPSHOTS,
    'unquiesce_instance': _NO_VOLUME_SNAPSHOTS,
    'volume_snapshot_create': _NO_VOLUME_SNAPSHOTS,
    'volume_snapshot_delete': _NO_VOLUME_SNAPSHOTS,
}


def run(
    connection: sa.Connection,
    ctxt: context.RequestContext,
    name: object,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    means: Means | None = None,
    message_uuid: str | None = None,
    answered: bool = False,
    seconds: float | None = None,
) -> Any:
    """Do what a parent names, in a transaction, and return what came of it.

    :param name: in :data:`METHODS`.
    :param args: the uuid of the instance, and what else the action takes.
    :param means: see :func:`perform` for the rest.
    :raises CellServiceAPIMethodNotFound: it is not to be had.
    :raises WireError: what :func:`perform` raises.
    """
    action = METHODS.get(name) if isinstance(name, str) else None
    if action is None:
        raise _unknown(name)
    if not args:
        raise exceptions.Invalid(reason='%s names no instance: method_args is empty' % name)
    given = bound(action, args[1:], kwargs)
    uuid = arguments.text('the uuid of the instance', args[0])
    return _perform(connection, ctxt, action, uuid, given, means, message_uuid, answered, seconds)


def perform(
    connection: sa.Connection,
    ctxt: context.RequestContext,
    name: str,
    uuid: str,
    kwargs: Mapping[str, Any],
    *,
    means: Means | None = None,
    message_uuid: str | None = None,
    answered: bool = False,
    seconds: float | None = None,
) -> Any:
    """Do something with an instance, in a transaction; return the answer, or ``dispatch.Later``.

    :param name: in :data:`ACTIONS`.
    :param message_uuid: of the message that it came with; what came before is not done again.
    :param answered: whether a caller waits for the answer.
    :param seconds: how long.
    :raises Invalid: the arguments do not fit.
    :raises InstanceNotFound: there is no such instance.
    :raises PolicyNotAuthorized: the request may not.
    :raises InstanceInvalidState: it cannot be done now; InstanceIsLocked when it is locked.
    :raises InstanceUpdateConflict: another task has it.
    """
    action = ACTIONS[name]
    given = bound(action, (), kwargs)
    return _perform(connection, ctxt, action, uuid, given, means, message_uuid, answered, seconds)


def _perform(
    connection: sa.Connection,
    ctxt: context.RequestContext,
    action: Action,
    uuid: str,
    given: Mapping[str, Any],
    means: Means | None,
    message_uuid: str | None,
    answered: bool,
    seconds: float | None,
) -> Any:
    found = means or Means()
    request = Request(
        connection=connection,
        ctxt=ctxt,
        action=action,
        instance=db_instances.instance_get(connection, uuid, lock=True),
        key=key_of(message_uuid or messages.new_uuid()),
        means=found,
        answered=answered,
        seconds=found.call_timeout if seconds is None else seconds,
    )
    if request.is_done():
        return None
    request.check()
    value = request.perform(given)
    if not isinstance(value, dispatch.Later):
        request.done()
    return value


def _unknown(name: object) -> exceptions.CellServiceAPIMethodNotFound:
    if isinstance(name, str) and name in REFUSED:
        return exceptions.CellServiceAPIMethodNotFound(detail='%s: %s' % (name, REFUSED[name]))
    return exceptions.CellServiceAPIMethodNotFound(
        detail='%.80s; there are %s' % (ascii(name), ', '.join(METHODS))
    )
