"""What becomes of builds that were given to a cell: what other parts say of it, and ask.

Everything here works in the transaction of the caller and only notes what is so; what
follows from it, :class:`cells.placer.Placer` does soon after the commit.
"""

import datetime
import uuid as uuids
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells import exceptions, paths
from cells.compute import states
from cells.db import faults as db_faults
from cells.db import instance_actions as db_actions
from cells.db import instances as db_instances
from cells.db import placements as db_placements
from cells.db import tombstones as db_tombstones
from cells.db.placements import Reasons

#: Names derived from what a message is about, so that a repetition has the same.
NAMESPACE: Final = uuids.UUID('6f0f2a6e-2d1c-4b0e-9b8a-4c5d1c1f7a31')
EVENT: Final = 'cells_schedule_instances'
ERROR_TEXT: Final = 'No cell could take the instance'
LONGEST_REASON: Final = 1000
#: Begins the reason of a cell that cannot have heard of a build.
UNREACHED: Final = 'it cannot be reached'
MOST_REASONS: Final = 1000


def is_unreached(reasons: str | None) -> bool:
    """Tell whether an attempt has ended because its cell could not be told.

    :param reasons: as they are stored with it.
    """
    found = Reasons.of(reasons).cells.values()
    return bool(found) and all(one.startswith(UNREACHED) for one in found)


def name_of(*parts: object) -> str:
    """Return a uuid that is always the same for the same parts."""
    return str(uuids.uuid5(NAMESPACE, '|'.join(map(str, parts))))


# -- said by the cell's own compute part --


def build_over(
    connection: sa.Connection, instance_uuid: str, attempt: int, reason: str | None
) -> bool:
    """Take it that a build in this cell is over.

    :param attempt: that it was begun with.
    :param reason: None when the instance runs; else why it cannot be built here, and nothing
        of it is left here then. The next cell is tried.
    :returns: False when nobody waits for it any more.
    """
    if reason is None:
        state, reasons = db_placements.BUILT, None
    else:
        state, reasons = db_placements.REFUSED, Reasons({'': reason[:LONGEST_REASON]})
    return db_placements.attempt_ended(connection, instance_uuid, attempt, None, state, reasons)


# -- said by children --


def answered(
    connection: sa.Connection,
    child: str,
    instance_uuid: str,
    attempt: int,
    accepted: bool | None,
    reasons: Mapping[str, str],
) -> None:
    """Take it that a child has said what came of an attempt.

    :param accepted: whether the instance runs; None when a plain cell below has it, so that
        what comes of it will show at the top alone.
    :param reasons: by path of a cell, why it cannot.
    """
    state = {True: db_placements.BUILT, None: db_placements.PASSED}.get(
        accepted, db_placements.REFUSED
    )
    ended = db_placements.attempt_ended(
        connection, instance_uuid, attempt, child, state, Reasons(reasons)
    )
    if accepted and not ended:
        # It was taken from the child meanwhile, and has been built all the same.
        db_placements.attempt_stray(connection, instance_uuid, child, Reasons({}), attempt)


def cancelled_above(connection: sa.Connection, instance_uuid: str, attempt: int) -> None:
    """Take it that the cell above wants an attempt no more; it may be on its way here still."""
    db_placements.lock(connection)
    db_tombstones.tombstone_put(connection, instance_uuid, attempt, 'given to another cell')
    db_placements.attempts_cancel(connection, instance_uuid, attempt)


# -- said at the top by what comes up from plain cells --


def plain_built(connection: sa.Connection, instance_uuid: str, route: paths.CellPath) -> None:
    """Take it that an instance has a host in a plain cell.

    :param route: the path to the cell, this one first.
    """
    row = _current(connection, instance_uuid, route)
    if row is not None:
        db_placements.attempts_set(connection, [row['id']], db_placements.BUILT)


def plain_error(connection: sa.Connection, instance_uuid: str, route: paths.CellPath) -> bool:
    """Take it that a plain cell could not build an instance, which never had a host.

    The next cell is tried, and the plain one told to drop what it has.

    :returns: True when this is so; False when the error is none of a build under way.
    """
    row = _current(connection, instance_uuid, route)
    if row is None:
        return False
    reasons = Reasons({str(route): 'the build ended in an error'})
    db_placements.attempts_set(connection, [row['id']], db_placements.ERRORED, reasons=reasons)
    return True


def current_route_allows(
    connection: sa.Connection, instance_uuid: str, route: paths.CellPath
) -> bool:
    """Tell whether an update may be of the attempt that an instance lives by.

    :param route: the way it came, this cell first.
    :returns: True also when no attempt is known; then the owner of the record decides.
    """
    row = db_placements.attempts_last(connection, [instance_uuid]).get(instance_uuid)
    if row is None:
        return True
    return row['state'] in db_placements.CURRENT and row['next_cell'] == _next(route)


def stray(connection: sa.Connection, instance_uuid: str, route: paths.CellPath) -> bool:
    """Have an attempt dropped that has come to something after it was given up.

    :param route: the path to where that is, this cell first.
    :returns: False when the cell that it came by was given no attempt; what is there must be
        ended otherwise.
    """
    reasons = Reasons({str(route): 'it went on after it had been given up'})
    return db_placements.attempt_stray(connection, instance_uuid, _next(route), reasons)


def _current(
    connection: sa.Connection, instance_uuid: str, route: paths.CellPath
) -> dict[str, Any] | None:
    row = db_placements.attempts_last(connection, [instance_uuid]).get(instance_uuid)
    if row is None or row['next_cell'] != _next(route):
        return None
    waited_for = (db_placements.PLACED, db_placements.TOLD)
    return row if row['state'] in waited_for else None


def _next(route: paths.CellPath) -> str:
    return route.names[1] if len(route) > 1 else route.names[0]


# -- said by whoever deletes --


def bury(connection: sa.Connection, instance_uuid: str, reason: str = 'deleted') -> None:
    """Have an instance built no more, here or below, whatever is still on its way (S5).

    What runs already is not touched. Call it before anything else in the transaction: a
    build that is placed at this moment ends before, or sees the tombstone.
    """
    db_placements.lock(connection)
    db_tombstones.tombstone_put(connection, instance_uuid, reason=reason)
    db_placements.attempts_cancel(connection, instance_uuid)


# -- when a cell is out of the question --


def back_to_scheduling(connection: sa.Connection, instance_uuid: str) -> None:
    """Have a record at the top forget what a cell told that does not build it after all."""
    values = {
        'cell_name': None,
        'host': None,
        'node': None,
        'task_state': states.SCHEDULING,
        'sync_epoch': 0,
        'sync_seq': 0,
    }
    try:
        instance = db_instances.instance_get(connection, instance_uuid, lock=True)
    except exceptions.InstanceNotFound:
        return
    if instance.vm_state == states.BUILDING and instance.task_state not in states.DELETIONS:
        db_instances.instance_update(connection, instance_uuid, values)


def lines(reasons: Reasons) -> str:
    """Return reasons for people, one line for each cell."""
    if not reasons.cells:
        return '%s: there is none' % ERROR_TEXT
    if reasons.code != 500:
        return '\n'.join(sorted(set(reasons.cells.values())))
    told = ['%s: %s' % (path, text) for path, text in sorted(reasons.cells.items())]
    return '\n'.join(['%s:' % ERROR_TEXT, *told])


def fail_at_top(
    connection: sa.Connection,
    instance_uuid: str,
    attempt: int,
    reasons: Reasons,
    request_id: str | None,
) -> bool:
    """Put a record into the error state, with a fault that says why, and end its action.

    :returns: False when there is no such record, or it is being deleted, or has a host.
    """
    try:
        instance = db_instances.instance_get(connection, instance_uuid, lock=True)
    except exceptions.InstanceNotFound:
        return False
    if instance.task_state in states.DELETIONS or instance.host:
        return False
    db_instances.instance_update(
        connection, instance_uuid, {'vm_state': states.ERROR, 'task_state': None}
    )
    text = lines(reasons)
    db_faults.fault_create(
        connection,
        instance_uuid,
        text,
        code=reasons.code,
        details=text,
        uuid=name_of('fault', instance_uuid, attempt),
    )
    for action in _under_way(connection, instance_uuid, request_id):
        now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
        db_actions.event_create(
            connection,
            {
                'action_id': action['id'],
                'uuid': name_of('event', instance_uuid, attempt, action['uuid']),
                'event': EVENT,
                'start_time': now,
                'finish_time': now,
                'result': db_actions.ERROR,
                'traceback': text,
            },
        )
        db_actions.action_end(connection, action['uuid'], db_actions.ERROR)
    return True


def _under_way(
    connection: sa.Connection, instance_uuid: str, request_id: str | None
) -> list[dict[str, Any]]:
    """Return the action of a request that has no end; all, when it is not known which it is."""
    if request_id is None:
        return db_actions.actions_open(connection, instance_uuid)
    found = db_actions.action_by_request(connection, instance_uuid, request_id)
    return [found] if found is not None and found['finish_time'] is None else []
