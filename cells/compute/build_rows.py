"""What a build writes into the database of the cell that has it, and what it takes back.

Each instance has its own properties, all that came with it but its id (C11, C12). What
belonged to an earlier life, or to another cell, is as it is for a machine that is not
there yet. Passwords and files stay out of it: only the agent gets them.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells import context, exceptions, messages, times
from cells.compute import build_args, placing, states
from cells.db import block_devices as db_block_devices
from cells.db import instance_actions, instance_fields, models, statements
from cells.db import instances as db_instances
from cells.objects.instance import Instance, InstanceInfoCache

#: The action that a build is.
ACTION: Final = 'create'
_INSTANCES: Final = models.Instance.__table__.c

#: Columns that do not come from the request.
_OWN: Final = frozenset(
    (
        'cell_name',
        'cleaned',
        'deleted',
        'deleted_at',
        'id',
        'launched_at',
        'launched_on',
        'power_state',
        'progress',
        'task_state',
        'terminated_at',
        'updated_at',
        'vm_state',
    )
)
#: Fields of a flavor that say to what an instance changes, which it does not do yet.
_NOT_YET: Final = frozenset(('migration_context', 'new_flavor', 'old_flavor'))

#: What a build has in ``task_state`` until it has ended.
TASK_STATES: Final = (
    states.SCHEDULING,
    states.BLOCK_DEVICE_MAPPING,
    states.NETWORKING,
    states.SPAWNING,
)


def create(
    connection: sa.Connection,
    instance: Instance,
    request: Mapping[str, Any],
    devices: Iterable[Mapping[str, Any]],
    *,
    host: str,
    node: str,
) -> None:
    """Write an instance that is about to be built on a host, and its block devices.

    :param request: ``build_inst_kwargs``.
    :raises Invalid: a value cannot be stored.
    """
    flavor = build_args.flavor_of(instance, request)
    values = {
        name: getattr(instance, name)
        for name in db_instances.OBJECT_COLUMNS
        if name in instance and name not in _OWN
    }
    values.update(
        build_args.sizes_of(instance, flavor),
        host=host,
        node=node,
        vm_state=states.BUILDING,
        task_state=states.SCHEDULING,
        power_state=0,
        progress=0,
    )
    fields = {
        name: getattr(instance, name)
        for name in sorted(instance_fields.NAMES - _NOT_YET)
        if name in instance
    }
    if flavor is not None:
        fields['flavor'] = flavor
    groups = fields.get('security_groups')
    if groups is None or not len(groups):
        fields['security_groups'] = build_args.security_groups(request.get('security_groups'))
    if fields.get('info_cache') is None:
        fields['info_cache'] = InstanceInfoCache(instance_uuid=instance.uuid, network_info='[]')
    metadata = dict(instance.metadata) if 'metadata' in instance else {}
    try:
        db_instances.instance_create(connection, values, metadata, fields)
    except (TypeError, ValueError) as error:
        raise exceptions.Invalid(reason='instance %s: %s' % (instance.uuid, error)) from None
    for device in devices:
        # The mark for all of the instance covers its devices.
        db_block_devices.bdm_save(connection, instance.uuid, device, sync=False)


def adopt(
    connection: sa.Connection,
    instance: Instance,
    request: Mapping[str, Any],
    devices: Iterable[Mapping[str, Any]],
    *,
    host: str,
    node: str,
) -> None:
    """Let an instance that is only a record in this cell be about to be built on a host."""
    flavor = build_args.flavor_of(instance, request)
    values = {
        **build_args.sizes_of(instance, flavor),
        'host': host,
        'node': node,
        'vm_state': states.BUILDING,
        'task_state': states.SCHEDULING,
        'power_state': 0,
    }
    fields = {} if flavor is None else {'flavor': flavor}
    db_instances.instance_update(connection, instance.uuid, values, fields=fields)
    for device in devices:
        db_block_devices.bdm_save(connection, instance.uuid, device)


def disown(connection: sa.Connection, instance_uuid: str) -> None:
    """Let an instance be only a record in this cell again."""
    values = {'host': None, 'node': None, 'task_state': states.SCHEDULING}
    db_instances.instance_update(connection, instance_uuid, values)


def forget(connection: sa.Connection, instance_uuid: str) -> None:
    """Remove an instance as if it had never been here; the cells above are not told."""
    of_instance: Iterable[type[models.Base]] = (
        models.InstanceField,
        models.InstanceMetadata,
        models.InstanceFault,
        models.BlockDeviceMapping,
        models.Dirty,
    )
    for model in of_instance:
        which = model.__table__.c.instance_uuid == instance_uuid
        connection.execute(sa.delete(model).where(which))
    actions = models.InstanceAction.__table__.c
    events = models.InstanceActionEvent.__table__.c
    own = list(
        connection.execute(
            sa.select(actions.id).where(actions.instance_uuid == instance_uuid)
        ).scalars()
    )
    if own:
        connection.execute(sa.delete(models.InstanceActionEvent).where(events.action_id.in_(own)))
        connection.execute(sa.delete(models.InstanceAction).where(actions.id.in_(own)))
    connection.execute(
        sa.delete(models.Instance).where(models.Instance.__table__.c.uuid == instance_uuid)
    )


def info_cache(instance_uuid: str, network_info: object) -> InstanceInfoCache:
    """Return the network of an instance as a field of it."""
    return InstanceInfoCache(instance_uuid=instance_uuid, network_info=network_info)


def present(connection: sa.Connection, uuid: str) -> dict[str, Any] | None:
    """Return what is there of an instance, locked; None when there is nothing."""
    names = ('uuid', 'deleted', 'host', 'node', 'vm_state', 'task_state', 'launched_at')
    query = sa.select(*(_INSTANCES[name] for name in names)).where(_INSTANCES.uuid == uuid)
    found = statements.locked(connection, query, free_only=False)
    return found[0] if found else None


def drop(connection: sa.Connection, instance_uuid: str, notes: Mapping[str, Any]) -> None:
    """Take back what a build has written of an instance."""
    if notes['adopted']:
        disown(connection, instance_uuid)
    else:
        forget(connection, instance_uuid)
    placing.release(connection, instance_uuid)


# -- the action --


def begin_action(connection: sa.Connection, ctxt: context.RequestContext, uuid: str) -> str:
    """Return the uuid of the action that the build is, which is begun if it is not yet."""
    known = instance_actions.action_by_request(connection, uuid, ctxt.request_id)
    if known is not None and known['action'] == ACTION and known['uuid'] is not None:
        return str(known['uuid'])
    action_uuid = messages.new_uuid()
    try:
        start_time = times.parse('timestamp', ctxt.timestamp)
    except exceptions.Invalid:
        start_time = models.utcnow()
    instance_actions.action_create(
        connection,
        {
            'uuid': action_uuid,
            'action': ACTION,
            'instance_uuid': uuid,
            'request_id': ctxt.request_id,
            'user_id': ctxt.user_id,
            'project_id': ctxt.project_id,
            'start_time': start_time,
        },
    )
    return action_uuid


def end_event(
    connection: sa.Connection,
    operation: Mapping[str, Any],
    reason: str | None,
    action_goes_on: bool = False,
) -> None:
    """End the step that an operation is, and its action; ``reason`` is None when it went well."""
    if operation['event_uuid'] is not None:
        result = instance_actions.SUCCESS if reason is None else instance_actions.ERROR
        instance_actions.event_end(connection, operation['event_uuid'], result, reason)
    if operation['action_uuid'] is not None and not action_goes_on:
        message = None if reason is None else instance_actions.ERROR
        instance_actions.action_end(connection, operation['action_uuid'], message)
