"""Resize and cold migration: an instance goes to another host, or another size, or both.

The source switches it off and hands its disk out (``resize_migrate``); the destination
goes on from there (``resize_finish``). Then it waits: confirmed, the source deletes what
it has kept; reverted, the destination deletes its machine and the source goes on with
what it had. What the destination cannot finish is reverted by itself.

Both hosts have a claim as long as both have something of it: what it is counts as
``instance``, what it comes to, or came from, as ``migration``.
"""

from collections.abc import Mapping
from typing import Any, Final

from cells import arguments, exceptions
from cells.amounts import Amount
from cells.compute import (
    api_fields,
    flavor_sizes,
    images,
    placing,
    power,
    states,
)
from cells.compute.actions import Action, Request
from cells.db import claims
from cells.db import instance_migrations as db_migrations
from cells.objects.flavor import Flavor

MIGRATE: Final = 'migrate'


# -- resize --


def _resize_arguments(
    flavor_id: object = None,
    clean_shutdown: object = True,
    flavor: object = None,
    **extra_instance_updates: Any,
) -> dict[str, Any]:
    arguments.boolean('clean_shutdown', clean_shutdown)
    return {
        'flavor_id': None if flavor_id is None else arguments.text('flavor_id', flavor_id),
        'described': None if flavor is None else arguments.mapping('flavor', flavor),
        'values': api_fields.with_action('resize', extra_instance_updates),
    }


def _resize(
    request: Request,
    flavor_id: str | None,
    described: Mapping[str, Any] | None,
    values: Mapping[str, Any],
) -> None:
    instance, source = request.instance, request.host()
    old = flavor_sizes.of_instance(instance)
    new, same = old, True
    if flavor_id is not None:
        same = 'flavorid' in old and old.flavorid == flavor_id
        if not same:
            new = flavor_sizes.find(request.connection, flavor_id, described)
    if new.root_gb == 0 and old.root_gb and not images.is_volume_backed(request):
        raise exceptions.CannotResizeDisk(
            reason='flavor %s has no root disk, the instance has one of %d GB'
            % (flavor_id, old.root_gb)
        )
    host, node = _destination(request, source, old, new)
    migration_id = db_migrations.migration_create(
        request.connection,
        {
            'instance_uuid': instance.uuid,
            'status': 'migrating',
            'migration_type': 'migration' if same else 'resize',
            'source_compute': source,
            'source_node': instance.node,
            'dest_compute': host,
            'dest_node': node,
            'old_instance_type_id': old.id,
            'new_instance_type_id': new.id,
        },
    )
    request.begin(
        values,
        {
            'old_flavor': old,
            'new_flavor': new,
            'system_metadata': {
                **instance.system_metadata,
                power.OLD_VM_STATE: instance.vm_state,
            },
        },
        record=MIGRATE if same else None,
    )
    request.order(
        source,
        'resize_migrate',
        {'flavor': flavor_sizes.told(new)},
        notes={'migration_id': migration_id},
    )


def _destination(request: Request, source: str, old: Flavor, new: Flavor) -> tuple[str, str]:
    """Claim room on another host, or on the same one when there is no other."""
    uuid, amount = request.instance.uuid, flavor_sizes.amount_of(new)
    found = placing.place(
        request.connection,
        uuid,
        amount,
        service_down_time=request.means.service_down_time,
        exclude={source},
        kind=claims.MIGRATION,
    )
    if not isinstance(found, list):
        return found
    here = _same_host(request, source, old, new)
    if isinstance(here, list):
        raise exceptions.NoValidHost(reason='; '.join([*found, *here]))
    return here


def _same_host(
    request: Request, source: str, old: Flavor, new: Flavor
) -> tuple[str, str] | list[str]:
    # Until it is confirmed both disks are there, and one of the two machines runs.
    had, wanted = flavor_sizes.amount_of(old), flavor_sizes.amount_of(new)
    more = Amount(
        max(0, wanted.memory_mb - had.memory_mb),
        wanted.disk_gb,
        max(0, wanted.vcpus - had.vcpus),
    )
    claims.lock(request.connection)
    found = placing.choose_host(
        request.connection,
        *more,
        only=source,
        nodes=None if request.instance.node is None else {request.instance.node},
        service_down_time=request.means.service_down_time,
    )
    if not isinstance(found, list):
        claims.claim_resize(request.connection, request.instance.uuid, *found, had.plus(more))
    return found


# -- confirm --


def _confirm_arguments(migration: object = None) -> dict[str, Any]:
    return {}


def _finished_migration(request: Request) -> dict[str, Any]:
    found = db_migrations.migration_find(request.connection, request.instance.uuid, ('finished',))
    if found is None:
        raise exceptions.MigrationNotFoundByStatus(
            instance_id=request.instance.uuid, status='finished'
        )
    return found


def _confirm(request: Request) -> None:
    migration = _finished_migration(request)
    db_migrations.migration_update(request.connection, migration['id'], {'status': 'confirming'})
    request.begin()
    request.order(
        migration['source_compute'],
        'resize_confirm',
        notes={'migration_id': migration['id']},
    )


# -- revert --


def _revert(request: Request) -> None:
    migration = _finished_migration(request)
    host = request.host()
    db_migrations.migration_update(request.connection, migration['id'], {'status': 'reverting'})
    request.begin()
    request.order(host, 'resize_revert_destroy', notes={'migration_id': migration['id']})


def _with_a_resize(name: str, record: str, perform: Any, **kwargs: Any) -> Action:
    return Action(
        name,
        perform=perform,
        policy='compute:%s' % name,
        unlocked=True,
        task_states=states.IDLE,
        launched=True,
        record=record,
        **kwargs,
    )


_RESIZED: Final = frozenset({states.RESIZED})

ACTIONS: Final = (
    _with_a_resize(
        'resize',
        'resize',
        _resize,
        accepts=_resize_arguments,
        vm_states=frozenset({states.ACTIVE, states.STOPPED}),
        task_state=states.RESIZE_PREP,
        expects=states.IDLE,
        restarts=True,
    ),
    _with_a_resize(
        'confirm_resize',
        'confirmResize',
        _confirm,
        accepts=_confirm_arguments,
        vm_states=_RESIZED,
    ),
    _with_a_resize(
        'revert_resize',
        'revertResize',
        _revert,
        vm_states=_RESIZED,
        task_state=states.RESIZE_REVERTING,
        expects=states.IDLE,
    ),
)
