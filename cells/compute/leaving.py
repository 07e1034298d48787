"""Instances that leave their host: live migration while it is up, evacuation when it is down.

An instance stays in its cell (C18). A host is named as it is called in the cell, or with
the path of the cell before it, which must be this one's.
"""

from typing import Any, Final

from cells import arguments, exceptions, paths
from cells.compute import ending, flavor_sizes, host_ops, network, placing, states
from cells.compute.actions import Action, Request
from cells.compute.ending import Completion, End
from cells.compute.guest import LONGEST_PASSWORD, REBUILDING
from cells.db import block_devices as db_devices
from cells.db import claims, console_tokens, services
from cells.db import instance_migrations as db_migrations
from cells.objects import plain

#: Words that stand for "as the host thinks best" in later releases.
AUTO: Final = (None, 'auto')
#: Of a migration to a host that nothing has come to yet.
BEGUN: Final = ('accepted', 'migrating', 'running')


# -- where to --


def _host_argument(name: str, value: object) -> str | None:
    return None if value is None else arguments.text(name, value)


def _flag(name: str, value: object) -> bool | None:
    return None if value in AUTO else arguments.boolean(name, value)


def _own_host(request: Request, given: str) -> str:
    """Return the name of a host of this cell.

    :raises Invalid: it is in another cell, or no name of a host.
    """
    try:
        path, host = paths.split_item(given)
    except ValueError as error:
        raise exceptions.Invalid(reason='host %.60s: %s' % (ascii(given), error)) from None
    cell = request.means.cell
    if path is not None and path.last != cell:
        raise exceptions.Invalid(
            reason='instance %s is in cell %s and cannot move to host %.255s of cell %s: '
            'instances do not change their cell' % (request.instance.uuid, cell, host, path)
        )
    return arguments.text('host', host)


def _claim(request: Request, target: str | None, source: str) -> tuple[str, str]:
    """Claim room for the instance on a host that is named, or on any but its own."""
    if target is not None:
        _check_target(request, target, source)
    found = placing.place(
        request.connection,
        request.instance.uuid,
        flavor_sizes.amount_of(flavor_sizes.of_instance(request.instance)),
        service_down_time=request.means.service_down_time,
        wanted=placing.Wanted(None if target is None else frozenset({target})),
        exclude={source},
        kind=claims.MIGRATION,
    )
    if isinstance(found, list):
        raise exceptions.NoValidHost(reason='; '.join(found))
    return found


def _check_target(request: Request, target: str, source: str) -> None:
    service = services.service_read(request.connection, target)
    if service is None:
        raise exceptions.ComputeHostNotFound(host=target)
    if target == source:
        raise exceptions.UnableToMigrateToSelf(instance_id=request.instance.uuid, host=target)
    if not services.is_up(service, request.means.service_down_time):
        raise exceptions.ComputeServiceUnavailable(host=target)


def _migration(request: Request, kind: str, status: str, host: str, node: str) -> int:
    instance = request.instance
    return db_migrations.migration_create(
        request.connection,
        {
            'instance_uuid': instance.uuid,
            'status': status,
            'migration_type': kind,
            'source_compute': instance.host,
            'source_node': instance.node,
            'dest_compute': host,
            'dest_node': node,
            'old_instance_type_id': instance.instance_type_id,
            'new_instance_type_id': instance.instance_type_id,
        },
    )


def _order(
    request: Request,
    host: str,
    method: str,
    args: dict[str, Any],
    *,
    then: str,
    migration_id: int,
    target: str | None,
) -> None:
    """Order something of the host that the instance comes to; another may do, if none is named."""
    amount = flavor_sizes.amount_of(flavor_sizes.of_instance(request.instance))
    request.order(
        host,
        method,
        args,
        then=then,
        notes={
            'migration_id': migration_id,
            'elsewhere': target is None,
            'demand': list(amount),
            'kind': claims.MIGRATION,
            'tried': [request.instance.host],
        },
    )


# -- live migration --


def _live_migrate_arguments(
    block_migration: object = None, disk_over_commit: object = None, host_name: object = None
) -> dict[str, Any]:
    _flag('block_migration', block_migration)
    _flag('disk_over_commit', disk_over_commit)
    return {'target': _host_argument('host_name', host_name)}


def _live_migrate(request: Request, target: str | None) -> None:
    source = request.host()
    if target is not None:
        target = _own_host(request, target)
    service = services.service_read(request.connection, source)
    if service is None or not services.is_up(service, request.means.service_down_time):
        raise exceptions.ComputeServiceUnavailable(host=source)
    host, node = _claim(request, target, source)
    migration_id = _migration(request, 'live-migration', 'running', host, node)
    request.begin()
    paused = request.instance.vm_state == states.PAUSED
    _order(
        request,
        host,
        'migrate_in',
        {'power_state': states.POWER_PAUSED if paused else states.RUNNING},
        then='migrate_in',
        migration_id=migration_id,
        target=target,
    )


def _moved_in(end: End) -> None:
    if not _arrive(end, 'completed'):
        return
    source = str(end.notes['tried'][0])
    claims.claim_turn(end.connection, end.uuid, source, claims.MIGRATION)
    claims.claim_turn(end.connection, end.uuid, end.host, claims.INSTANCE)
    end.settle({'progress': 0, **_place(end)}, network.fields_of(end.uuid, end.outcome.values))
    end.follow(source, 'migrate_out')


def _moved_out(end: End) -> None:
    found = db_migrations.migration_find(end.connection, end.uuid, BEGUN)
    if found is None or found['dest_compute'] != end.host:
        placing.release(end.connection, end.uuid, end.host, claims.MIGRATION)
    # Else the instance is about to come back, and the claim is for that by now.


def _not_moved_out(end: End) -> None:
    """The source keeps what it should have forgotten, until it is back."""
    if end.instance is not None and end.instance.host != end.host:
        host_ops.order_stray_terminate(
            end.connection,
            str(end.operation['op_id']),
            end.host,
            host_ops.told(end.instance),
        )
    _moved_out(end)


# -- evacuation --


def _evacuate_arguments(
    host: object = None, on_shared_storage: object = None, admin_password: object = None
) -> dict[str, Any]:
    _flag('on_shared_storage', on_shared_storage)
    return {
        'target': _host_argument('host', host),
        'admin_password': arguments.secret('admin_password', admin_password, LONGEST_PASSWORD),
    }


def _evacuate(request: Request, target: str | None, admin_password: str | None) -> None:
    instance, source = request.instance, request.host()
    if target is not None:
        target = _own_host(request, target)
    service = services.service_read(request.connection, source)
    if service is not None and services.is_up(service, request.means.service_down_time):
        raise exceptions.ComputeServiceInUse(host=source)
    # What the lost host was to do would only be waited for.
    request.cancel_on(source, 'the instance is evacuated')
    host, node = _claim(request, target, source)
    migration_id = _migration(request, 'evacuation', 'accepted', host, node)
    request.begin()
    devices = db_devices.bdm_get_all(request.connection, instance.uuid)
    _order(
        request,
        host,
        'build',
        {
            'admin_password': admin_password,
            'injected_files': [],
            'networks': [],
            'block_devices': [plain.flatten(device) for device in devices],
            'metadata': dict(instance.metadata),
        },
        then='evacuate',
        migration_id=migration_id,
        target=target,
    )


def _evacuated(end: End) -> None:
    if not _arrive(end, 'done'):
        return
    source = str(end.notes['tried'][0])
    placing.release(end.connection, end.uuid, source)
    claims.claim_turn(end.connection, end.uuid, end.host, claims.INSTANCE)
    end.settle(
        {'launched_at': ending.now(), **_place(end)},
        network.fields_of(end.uuid, end.outcome.values),
    )
    assert end.instance is not None
    host_ops.order_stray_terminate(
        end.connection, str(end.operation['op_id']), source, host_ops.told(end.instance)
    )


# -- what they share --


def _arrive(end: End, status: str) -> bool:
    """Note that an instance has come to a host; remove the machine if nobody wants it there."""
    migration_id = end.notes['migration_id']
    if end.is_ours():
        db_migrations.migration_update(
            end.connection,
            migration_id,
            {'status': status, 'dest_compute': end.host, 'dest_node': _place(end)['node']},
        )
        console_tokens.tokens_delete(end.connection, end.uuid)
        return True
    db_migrations.migration_update(end.connection, migration_id, {'status': 'error'})
    end.remove_machine()
    return False


def _place(end: End) -> dict[str, Any]:
    node = end.outcome.values.get('node')
    if not isinstance(node, str):
        held = claims.claims_of(end.connection, end.uuid)
        node = next((one['node'] for one in held if one['host'] == end.host), end.host)
    return {'host': end.host, 'node': node}


def _did_not_arrive(end: End) -> None:
    db_migrations.migration_update(end.connection, end.notes['migration_id'], {'status': 'error'})
    # Only there: after a revert that failed, what it has of its own host is of this kind, too.
    placing.release(end.connection, end.uuid, end.host, claims.MIGRATION)
    end.fail()


ACTIONS: Final = (
    Action(
        'live_migrate',
        perform=_live_migrate,
        accepts=_live_migrate_arguments,
        unlocked=True,
        vm_states=frozenset({states.ACTIVE, states.PAUSED}),
        task_states=states.IDLE,
        launched=True,
        task_state=states.MIGRATING,
        expects=states.IDLE,
        record='live-migration',
        restarts=True,
    ),
    Action(
        'evacuate',
        perform=_evacuate,
        accepts=_evacuate_arguments,
        vm_states=frozenset({states.ACTIVE, states.STOPPED, states.ERROR}),
        task_states=states.IDLE,
        launched=True,
        task_state=states.REBUILDING,
        expects=states.IDLE,
        record='evacuate',
    ),
)

COMPLETIONS: Final = {
    'migrate_in': Completion(
        (states.MIGRATING,), reset=True, succeeded=_moved_in, failing=_did_not_arrive
    ),
    'migrate_out': Completion(succeeded=_moved_out, failing=_not_moved_out),
    'evacuate': Completion(
        REBUILDING, states.ACTIVE, reset=True, succeeded=_evacuated, failing=_did_not_arrive
    ),
}
