"""What follows on the steps of a resize, see :mod:`cells.compute.resizing`."""

from collections.abc import Mapping
from typing import Any, Final

from cells.compute import ending, flavor_sizes, network, placing, power, states
from cells.compute.ending import Completion, End
from cells.db import claims
from cells.db import instance_migrations as db_migrations

# -- to another host or size --


def _migrated(end: End) -> None:
    migration = _migration(end)
    if migration is None or not end.is_ours():
        _give_up(end, migration)
        return
    _note(end, migration, 'post-migrating')
    assert end.instance is not None
    new = end.instance.new_flavor
    was_stopped = _old_vm_state(end) == states.STOPPED
    end.change(
        {
            'host': migration['dest_compute'],
            'node': migration['dest_node'],
            'task_state': states.RESIZE_MIGRATED,
            'power_state': states.SHUTDOWN,
        }
    )
    end.follow(
        migration['dest_compute'],
        'resize_finish',
        {'flavor': flavor_sizes.told(new), 'power_on': not was_stopped},
        notes={'migration_id': migration['id']},
    )


def _not_migrated(end: End) -> None:
    """The source could not let it go: it is what it was there, if its machine is."""
    undone = end.outcome.refused or end.outcome.power_state in (
        states.RUNNING,
        states.POWER_PAUSED,
    )
    if not undone and _old_vm_state(end) == states.STOPPED:
        undone = end.outcome.power_state == states.SHUTDOWN
    end.fail({} if undone else {'vm_state': states.ERROR}, _former_fields(end))
    _give_up(end, _migration(end))


def _finished(end: End) -> None:
    migration = _migration(end)
    if migration is None or not end.is_ours():
        _give_up(end, migration)
        return
    assert end.instance is not None
    new = end.instance.new_flavor
    _note(end, migration, 'finished')
    end.settle(
        {
            **flavor_sizes.columns_of(new),
            'launched_at': ending.now(),
            'node': end.outcome.values.get('node') or migration['dest_node'],
        },
        {'flavor': new, **network.fields_of(end.uuid, end.outcome.values)},
    )


def _not_finished(end: End) -> None:
    """The destination could not go on with it: the source does."""
    migration = _migration(end)
    if migration is None or not end.is_ours():
        _give_up(end, migration)
        return
    end.fault()
    if end.outcome.refused:
        _back_to_source(end, migration)  # there is nothing to destroy
    else:
        end.change({'task_state': states.RESIZE_REVERTING})
        end.follow(end.host, 'resize_revert_destroy', notes={'migration_id': migration['id']})


# -- confirmed --


def _confirmed(end: End) -> None:
    migration = _migration(end)
    if migration is None or end.instance is None:
        return
    _note(end, migration, 'confirmed')
    _keep(end, migration, claims.MIGRATION)
    values = {}
    if end.instance.vm_state == states.RESIZED:
        off = end.instance.power_state == states.SHUTDOWN
        values['vm_state'] = states.STOPPED if off else states.ACTIVE
    end.change(values, _former_fields(end))


def _not_confirmed(end: End) -> None:
    # It can be confirmed again.
    _note(end, _migration(end), 'finished')
    end.fail()


# -- reverted --


def _destroyed(end: End) -> None:
    migration = _migration(end)
    if migration is not None:
        _back_to_source(end, migration)


def _back_to_source(end: End, migration: Mapping[str, Any]) -> None:
    back = {
        'host': migration['source_compute'],
        'node': migration['source_node'],
        'task_state': states.RESIZE_REVERTING,
    }
    if not end.change(back):
        return
    end.follow(
        migration['source_compute'],
        'resize_revert_finish',
        {'power_on': _old_vm_state(end) != states.STOPPED},
        notes={'migration_id': migration['id']},
    )


def _reverted(end: End) -> None:
    migration = _migration(end)
    if migration is None or not end.is_ours():
        return
    assert end.instance is not None
    old = end.instance.old_flavor
    stopped = _old_vm_state(end) == states.STOPPED
    # What the agent was ordered to undo by the cell alone has failed for its user.
    _note(end, migration, 'error' if end.notes.get('failed') else 'reverted')
    end.settle(
        {
            **flavor_sizes.columns_of(old),
            'launched_at': ending.now(),
            'task_state': states.POWERING_OFF if stopped else None,
        },
        {
            'flavor': old,
            **_former_fields(end),
            **network.fields_of(end.uuid, end.outcome.values),
        },
    )
    _keep(end, migration, claims.INSTANCE)
    if stopped:
        end.follow(end.host, 'stop', {'clean_shutdown': True})


def _not_reverted(end: End) -> None:
    _note(end, _migration(end), 'error')
    end.fail()


# -- what they share --


def _migration(end: End) -> dict[str, Any] | None:
    return db_migrations.migration_get(end.connection, end.notes['migration_id'])


def _note(end: End, migration: Mapping[str, Any] | None, status: str) -> None:
    if migration is not None:
        db_migrations.migration_update(end.connection, migration['id'], {'status': status})


def _give_up(end: End, migration: Mapping[str, Any] | None) -> None:
    """End a migration that leads to nothing; who deletes the instance deals with its hosts."""
    _note(end, migration, 'error')
    if migration is not None and end.instance is not None:
        _keep(end, migration, claims.INSTANCE)


def _keep(end: End, migration: Mapping[str, Any], kind: str) -> None:
    """Give back what the other of the two hosts has for the instance, whose size is its own again.

    :param kind: of the claim that stays.
    """
    assert end.instance is not None
    there = migration['dest_compute'], migration['dest_node']
    if there == (migration['source_compute'], migration['source_node']):
        amount = flavor_sizes.amount_of(flavor_sizes.of_instance(end.instance))
        claims.claim_resize(end.connection, end.uuid, *there, amount)
    elif kind == claims.MIGRATION:
        placing.release(end.connection, end.uuid, kind=claims.INSTANCE)
        claims.claim_turn(end.connection, end.uuid, migration['dest_compute'], claims.INSTANCE)
    else:
        # Not elsewhere: there may be another migration, ordered after a reset of the state.
        placing.release(end.connection, end.uuid, migration['dest_compute'], claims.MIGRATION)


def _old_vm_state(end: End) -> str | None:
    if end.instance is None:
        return None
    return end.instance.system_metadata.get(power.OLD_VM_STATE)


def _former_fields(end: End) -> dict[str, Any]:
    """Return the fields of an instance that is not between two sizes any more."""
    system = {} if end.instance is None else end.instance.system_metadata
    return {
        'old_flavor': None,
        'new_flavor': None,
        'system_metadata': power.without(system, power.OLD_VM_STATE),
    }


_REVERTING: Final = (states.RESIZE_REVERTING,)

COMPLETIONS: Final = {
    'resize_migrate': Completion(
        (states.RESIZE_PREP, states.RESIZE_MIGRATING),
        reset=True,
        succeeded=_migrated,
        failing=_not_migrated,
    ),
    'resize_finish': Completion(
        (states.RESIZE_MIGRATED, states.RESIZE_FINISH),
        states.RESIZED,
        reset=True,
        succeeded=_finished,
        failing=_not_finished,
    ),
    'resize_confirm': Completion(succeeded=_confirmed, failing=_not_confirmed),
    'resize_revert_destroy': Completion(
        _REVERTING,
        failed=states.ERROR,
        reset=True,
        succeeded=_destroyed,
        failing=_not_reverted,
    ),
    'resize_revert_finish': Completion(
        _REVERTING,
        states.ACTIVE,
        failed=states.ERROR,
        reset=True,
        succeeded=_reverted,
        failing=_not_reverted,
    ),
}
