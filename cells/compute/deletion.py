"""The end of an instance: at once, or so that it can be restored for a while.

A host that is up removes the machine first and the record goes then. Where no host can be
asked the record goes at once, and whatever host may have something of the machine removes
it when it is back: neither a record without a machine is left, nor a machine without one
(S5). An administrator can always purge a record (O13).
"""

import logging
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells.compute import ending, host_ops, placing, states
from cells.compute.actions import Action, Request
from cells.compute.ending import Completion, End
from cells.db import block_devices as db_devices
from cells.db import claims, console_tokens, dirty, host_operations, models, services
from cells.db import instance_actions as db_actions
from cells.db import instance_migrations as db_migrations
from cells.db import instances as db_instances
from cells.objects.instance import Instance

LOG = logging.getLogger(__name__)

CONFIRM: Final = 'confirmResize'


def _delete(request: Request) -> None:
    _remove(request, 'terminate', {})


def _soft_delete(request: Request) -> None:
    _remove(request, 'soft_delete', {'deleted_at': ending.now()})


def _remove(request: Request, method: str, values: Mapping[str, Any]) -> None:
    instance = request.instance
    if instance.disable_terminate:
        LOG.info('Instance %s is not deleted: disable_terminate is set', instance.uuid)
        request.already()
        return
    purge = _is_purge(request)
    if instance.host and not purge and _can_be_asked(request):
        if instance.task_state in states.DELETIONS and _at_work(request):
            request.already()
            return
        _confirm(request)
        if method == 'terminate':
            request.cancel_unsent('the instance is deleted')
        request.begin(values)
        request.order(str(instance.host), method)
        if method == 'terminate':
            _terminate_strays(request, {str(instance.host)})
        return
    if purge:
        LOG.warning(
            'Instance %s (%s, %s) is purged by user %s, request %s',
            instance.uuid,
            instance.vm_state,
            instance.task_state,
            request.ctxt.user_id,
            request.ctxt.request_id,
        )
        db_actions.action_end(request.connection, request.record(str(request.action.record)))
    _confirm(request)
    request.cancel_unsent('the instance is deleted')
    _terminate_strays(request, set())
    bury(request.connection, instance)


def _is_purge(request: Request) -> bool:
    """Tell whether an administrator wants a record gone that no ordinary way leads to."""
    instance = request.instance
    return bool(
        request.action.purges
        and request.ctxt.is_admin
        and (instance.task_state is not None or instance.vm_state == states.ERROR)
    )


def _can_be_asked(request: Request) -> bool:
    """Tell whether the host of the instance is there to remove it."""
    if request.instance.vm_state == states.SHELVED_OFFLOADED:
        return False
    service = services.service_read(request.connection, str(request.instance.host))
    return service is not None and services.is_up(service, request.means.service_down_time)


def _at_work(request: Request) -> bool:
    found = host_operations.ops_open(request.connection, request.instance.uuid)
    return any(one['method'] in ('terminate', 'soft_delete') for one in found)


def _confirm(request: Request) -> None:
    """Confirm the resize of an instance that waits for that: its former host is freed."""
    instance = request.instance
    if instance.vm_state != states.RESIZED:
        return
    found = db_migrations.migration_find(
        request.connection, instance.uuid, ('finished', 'confirming')
    )
    if found is None or not found['source_compute']:
        return
    db_migrations.migration_update(request.connection, found['id'], {'status': 'confirmed'})
    db_actions.action_end(request.connection, request.record(CONFIRM))
    request.action_uuid = None


def _terminate_strays(request: Request, asked: set[str]) -> None:
    """Have every other host remove what it may have of the instance, now or when it is back."""
    instance = request.instance
    hosts = {one['host'] for one in claims.claims_of(request.connection, instance.uuid)}
    hosts |= {one['host'] for one in host_operations.ops_open(request.connection, instance.uuid)}
    if instance.host:
        hosts.add(str(instance.host))
    for number, host in enumerate(sorted(hosts - asked)):
        host_ops.order_stray_terminate(
            request.connection,
            '%s.%d' % (request.key, number + 1),
            host,
            host_ops.told(instance),
        )
        placing.release(request.connection, instance.uuid, host)


def bury(connection: sa.Connection, instance: Instance) -> None:
    """Destroy the record of an instance, with what belongs to it; its row is locked."""
    uuid = instance.uuid
    db_devices.bdm_destroy_all(connection, uuid)
    db_instances.instance_update(
        connection,
        uuid,
        {
            'vm_state': states.DELETED,
            'task_state': None,
            'power_state': states.NOSTATE,
            'terminated_at': ending.now(),
        },
    )
    db_instances.instance_destroy(connection, uuid)
    console_tokens.tokens_delete(connection, uuid)
    placing.release(connection, uuid)


def bury_unknown(connection: sa.Connection, instance: Instance) -> None:
    """Take note that an instance is deleted of which this cell has no live record.

    So the cells above hear that it is gone, and nothing of it is built here any more.

    :param instance: as the message has it; its uuid at least.
    """
    values = {
        name: getattr(instance, name)
        for name in ('display_name', 'project_id', 'user_id')
        if name in instance
    }
    known = sa.select(models.Instance.id).where(models.Instance.uuid == instance.uuid)
    if connection.execute(known).first() is None:
        LOG.warning('Instance %s is to be deleted and is not known here', instance.uuid)
        gone = {'vm_state': states.DELETED, 'terminated_at': ending.now()}
        db_instances.instance_create(connection, {'uuid': instance.uuid, **values, **gone})
        db_instances.instance_destroy(connection, instance.uuid)
    else:
        db_instances.instance_touch(connection, instance.uuid, dirty.ALL)


# -- restore --


def _restore(request: Request) -> None:
    if not request.instance.host:
        request.begin({'deleted_at': None, 'vm_state': states.ACTIVE, 'task_state': None})
        db_actions.action_end(request.connection, str(request.action_uuid))
        return
    request.begin({'deleted_at': None})
    request.order(str(request.instance.host), 'restore')


# -- what comes of it --


def _terminated(end: End) -> None:
    # Whatever the record says meanwhile: the machine is gone.
    if end.instance is not None and end.instance.host in (None, end.host):
        bury(end.connection, end.instance)


def _deletion(name: str, perform: Any, **kwargs: Any) -> Action:
    return Action(
        name,
        perform=perform,
        policy='compute:%s' % name,
        unlocked=True,
        record='delete',
        restarts=True,
        **kwargs,
    )


def _not_terminated(end: End) -> None:
    # What was never begun has left the machine as it was.
    end.fail({} if end.outcome.refused else {'vm_state': states.ERROR})


ACTIONS: Final = (
    _deletion('delete', _delete, task_state=states.DELETING),
    _deletion(
        'force_delete',
        _delete,
        task_state=states.DELETING,
        task_states=states.IDLE,
        purges=True,
    ),
    _deletion('soft_delete', _soft_delete, task_state=states.SOFT_DELETING, launched=True),
    Action(
        'restore',
        perform=_restore,
        policy='compute:restore',
        unlocked=True,
        vm_states=frozenset({states.SOFT_DELETED}),
        task_states=states.IDLE,
        launched=True,
        task_state=states.RESTORING,
        expects=states.IDLE,
        record='restore',
    ),
)

COMPLETIONS: Final = {
    'terminate': Completion((states.DELETING,), succeeded=_terminated, failing=_not_terminated),
    'soft_delete': Completion((states.SOFT_DELETING,), states.SOFT_DELETED),
    'restore': Completion((states.RESTORING,), states.ACTIVE),
}
