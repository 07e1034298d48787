"""Compares what an agent has with what its cell knows.

An agent asks at each start, before it carries anything out, and now and then. What is
under way, or has just ended, is left alone: the agent looked before it asked.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells import exceptions
from cells.compute import states
from cells.db import claims, faults, host_operations, instances, models

LOG = logging.getLogger(__name__)

#: Seconds for which an instance is left alone after an operation on it has ended.
SETTLE_SECONDS: Final = 60.0
#: Rows in one statement.
TOGETHER: Final = 500

#: States in which an instance on a host has a machine there.
_HAS_MACHINE: Final = frozenset(states.VM_STATES) - {
    states.BUILDING,
    states.DELETED,
    states.ERROR,
    states.SHELVED_OFFLOADED,
}

#: Of a migration that touches its hosts no more.
_OVER: Final = ('cancelled', 'completed', 'confirmed', 'done', 'error', 'failed', 'reverted')

_INSTANCES: Final = models.Instance.__table__.c
_MIGRATIONS: Final = models.Migration.__table__.c

#: Takes the power state that a host sees: (connection, uuid of the instance, power state).
PowerSync = Callable[[sa.Connection, str, int], object]


def reconcile(
    connection: sa.Connection,
    host: str,
    operations: Collection[str],
    found: Mapping[str, int],
    power_sync: PowerSync,
) -> dict[str, list[str]]:
    """Return which operations an agent is to cancel and which instances it is to destroy.

    What it has not accepted after all is offered again. An instance that should be on the
    host and is not is put into the error state, with a fault; the record stays. An instance that
    this cell has never had is left alone: its database may have been restored from a backup (S4).

    :param operations: ids of those that the agent has accepted and whose end it has not told.
    :param found: the power states of the instances on the host, by uuid.
    """
    open_here = host_operations.ops_on_host(connection, host)
    lost = [
        op_id
        for op_id, row in open_here.items()
        if row['state'] == host_operations.ACCEPTED and op_id not in operations
    ]
    if lost:
        host_operations.ops_offer_again(connection, lost)
    known = _instances(connection, host, found)
    busy = host_operations.instances_at_work(connection, known.keys() | found, SETTLE_SECONDS)
    for uuid, row in known.items():
        if uuid in busy or row['deleted'] or row['host'] != host or row['task_state'] is not None:
            continue
        if uuid not in found:
            _missing(connection, row)
        elif found[uuid] != row['power_state']:
            power_sync(connection, uuid, found[uuid])
    return {
        'cancel': sorted(set(operations) - open_here.keys()),
        'destroy': _not_wanted(connection, host, found, known, busy),
    }


def _instances(
    connection: sa.Connection, host: str, found: Collection[str]
) -> dict[str, dict[str, Any]]:
    """Return the instances that the cell has on a host, and of the others those that are there."""
    names = ('uuid', 'deleted', 'host', 'vm_state', 'task_state', 'power_state')
    query = sa.select(*(_INSTANCES[name] for name in names))
    wanted: list[sa.ColumnElement[bool]] = [
        sa.and_(_INSTANCES.host == host, _INSTANCES.deleted == 0)
    ]
    uuids = sorted(found)
    wanted += [
        _INSTANCES.uuid.in_(uuids[start : start + TOGETHER])
        for start in range(0, len(uuids), TOGETHER)
    ]
    return {
        row['uuid']: dict(row)
        for which in wanted
        for row in connection.execute(query.where(which)).mappings()
    }


def _not_wanted(
    connection: sa.Connection,
    host: str,
    found: Collection[str],
    known: Mapping[str, Mapping[str, Any]],
    busy: Collection[str],
) -> list[str]:
    for uuid in sorted(set(found) - known.keys() - set(busy)):
        LOG.error(
            'Instance %s is on host %s, and this cell has no record of it: it is left there. If '
            'the database of this cell was restored from a backup, it is one that was built since',
            uuid,
            host,
        )
    strange = {
        uuid for uuid, row in known.items() if uuid in found and not _is_at_home(row, host)
    } - set(busy)
    if not strange:
        return []
    # A part of an instance that moves stays behind until the move is confirmed.
    strange -= claims.claims_on(connection, host)
    moving = sa.select(_MIGRATIONS.instance_uuid).where(
        _MIGRATIONS.instance_uuid.in_(sorted(strange)),
        sa.or_(_MIGRATIONS.source_compute == host, _MIGRATIONS.dest_compute == host),
        _MIGRATIONS.deleted == 0,
        _MIGRATIONS.status.not_in(_OVER),
    )
    gone = sorted(strange - set(connection.execute(moving).scalars()))
    for uuid in gone:
        LOG.warning('Instance %s is on host %s and does not belong there', uuid, host)
    return gone


def _is_at_home(row: Mapping[str, Any], host: str) -> bool:
    return not row['deleted'] and bool(row['host'] == host)


def _missing(connection: sa.Connection, row: Mapping[str, Any]) -> None:
    if row['vm_state'] not in _HAS_MACHINE:
        return
    uuid, host = row['uuid'], row['host']
    LOG.error('Instance %s is not on host %s any more', uuid, host)
    expected = {'vm_state': row['vm_state'], 'task_state': None, 'host': host}
    try:
        instances.instance_update(
            connection, uuid, {'vm_state': states.ERROR, 'power_state': 0}, expected=expected
        )
    except (exceptions.InstanceNotFound, exceptions.InstanceUpdateConflict):
        return  # it has changed since it was read
    faults.fault_create(
        connection, uuid, 'Host %s does not have this instance any more' % host, host=host
    )
