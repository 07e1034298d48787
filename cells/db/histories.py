"""What a request came to in this cell, from every table that says something of it.

A request is known by its id. Where only an instance is named, as in placements and faults,
what belongs to the instances of the request counts, as long as the request was at work.
"""

import datetime
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

import sqlalchemy as sa

from cells.db import journal as db_journal
from cells.db import models, placements

#: Rows of each kind at most.
MOST: Final = 200
#: Seconds after the last trace of a request in which a fault of its instances is still its own.
FAULT_SECONDS: Final = 5.0
LONGEST_DETAIL: Final = 1000

_ACTIONS: Final = models.InstanceAction.__table__.c
_EVENTS: Final = models.InstanceActionEvent.__table__.c
_FAULTS: Final = models.InstanceFault.__table__.c
_IN: Final = models.Inbox.__table__.c
_OUT: Final = models.Outbox.__table__.c
_DEAD: Final = models.DeadMessage.__table__.c
_PLACEMENTS: Final = models.Placement.__table__.c
_OPS: Final = models.HostOperation.__table__.c
_ORDERS: Final = models.SyncRequest.__table__.c


class Trace(NamedTuple):
    """Something that a request did, or that was done for it.

    :ivar at: seconds since the epoch.
    :ivar kind: action, step, fault, journal, outbox, dead, placement, host or sync.
    :ivar state: what has become of it by now, where it has an end of its own.
    :ivar key: the same for a copy of it in another cell; '' for what has none.
    :ivar is_copy: whether it is known from a cell below.
    """

    at: float
    kind: str
    instance: str | None
    what: str
    state: str | None
    detail: str | None
    key: str = ''
    is_copy: bool = False


def traces(connection: sa.Connection, request_id: str) -> list[Trace]:
    """Return what a request came to, oldest first."""
    found = list(_actions(connection, request_id))
    found += _journal(connection, request_id)
    found += _outbox(connection, request_id)
    found += _placements(connection, request_id)
    known = {one.instance for one in found if one.instance is not None}
    found += _host_operations(connection, request_id, known)
    found += _sync(connection, request_id)
    found += _dead(connection, request_id)
    found += _faults(connection, known, found)
    return sorted(found, key=lambda one: one.at)


def seconds(moment: datetime.datetime | None) -> float:
    """Return a moment of the contract, in UTC and without a zone, as seconds since the epoch."""
    return 0.0 if moment is None else moment.replace(tzinfo=datetime.UTC).timestamp()


def _short(text: str | None) -> str | None:
    return None if text is None else text[:LONGEST_DETAIL]


def _actions(connection: sa.Connection, request_id: str) -> Iterator[Trace]:
    query = sa.select(*_ACTIONS).where(_ACTIONS.request_id == request_id).limit(MOST)
    rows = [dict(row) for row in connection.execute(query.order_by(_ACTIONS.id)).mappings()]
    for row in rows:
        failed = row['message'] == 'Error'
        state = 'under way' if row['finish_time'] is None else 'failed' if failed else 'done'
        at = seconds(row['start_time'] or row['created_at'])
        common = (row['uuid'] or '', row['remote_id'] is not None)
        yield Trace(at, 'action', row['instance_uuid'], row['action'], state, None, *common)
    ids = {row['id']: row for row in rows}
    steps = sa.select(*_EVENTS).where(_EVENTS.action_id.in_(ids)).limit(MOST)
    for step in connection.execute(steps.order_by(_EVENTS.id)).mappings():
        owner = ids[step['action_id']]
        yield Trace(
            seconds(step['start_time'] or step['created_at']),
            'step',
            owner['instance_uuid'],
            step['event'],
            step['result'] or ('under way' if step['finish_time'] is None else None),
            _short(step['traceback'] or step['host']),
            step['uuid'] or '',
            owner['remote_id'] is not None,
        )


def _journal(connection: sa.Connection, request_id: str) -> Iterator[Trace]:
    query = sa.select(
        _IN.received_at, _IN.instance_uuid, _IN.operation, _IN.state, _IN.reason
    ).where(_IN.request_id == request_id)
    for at, uuid, operation, state, reason in connection.execute(
        query.order_by(_IN.id).limit(MOST)
    ):
        yield Trace(at, 'journal', uuid, operation, state, _short(reason))


def _outbox(connection: sa.Connection, request_id: str) -> Iterator[Trace]:
    query = sa.select(
        _OUT.created_at, _OUT.instance_uuid, _OUT.neighbour, _OUT.state, _OUT.attempts
    ).where(_OUT.request_id == request_id)
    for at, uuid, neighbour, state, attempts in connection.execute(
        query.order_by(_OUT.id).limit(MOST)
    ):
        confirmed = state == db_journal.UNCONFIRMED
        detail = None if confirmed else 'sent %d times, not confirmed' % attempts
        yield Trace(at, 'outbox', uuid, 'to cell %s' % neighbour, state, detail)


def _placements(connection: sa.Connection, request_id: str) -> Iterator[Trace]:
    messages = sa.select(_IN.uuid).where(
        _IN.request_id == request_id, _IN.operation == 'build_instances'
    )
    which = _PLACEMENTS.request_uuid.in_(list(connection.execute(messages).scalars()))
    query = sa.select(*_PLACEMENTS).where(which)
    for row in connection.execute(query.order_by(_PLACEMENTS.id).limit(MOST)).mappings():
        reasons = placements.Reasons.of(row['reasons']).cells
        yield Trace(
            row['created_at'],
            'placement',
            row['instance_uuid'],
            'attempt %d in cell %s' % (row['attempt'], row['next_cell'] or '(none yet)'),
            row['state'],
            _short(
                '; '.join(
                    '%s: %s' % (path, reason) if path else reason
                    for path, reason in sorted(reasons.items())
                )
                or None
            ),
        )


def _host_operations(
    connection: sa.Connection, request_id: str, instances: Collection[str]
) -> Iterator[Trace]:
    query = sa.select(
        _OPS.created_at, _OPS.instance_uuid, _OPS.method, _OPS.host, _OPS.state, _OPS.ctxt
    ).where(_OPS.instance_uuid.in_(instances))
    for at, uuid, method, host, state, ctxt in connection.execute(
        query.order_by(_OPS.created_at).limit(MOST)
    ):
        if '"%s"' % request_id in ctxt:
            yield Trace(at, 'host', uuid, '%s on %s' % (method, host), state, None)


def _sync(connection: sa.Connection, request_id: str) -> Iterator[Trace]:
    query = sa.select(*_ORDERS).where(_ORDERS.request_id == request_id)
    for row in connection.execute(query.limit(MOST)).mappings():
        detail = '%d looked at, %d told again' % (row['looked_at'] or 0, row['repaired'] or 0)
        yield Trace(
            row['requested_at'], 'sync', None, 'sync_instances', row['state'] or 'open', detail
        )


def _dead(connection: sa.Connection, request_id: str) -> Iterator[Trace]:
    query = sa.select(_DEAD.parked_at, _DEAD.operation, _DEAD.reason).where(
        _DEAD.envelope.contains(request_id, autoescape=True)
    )
    for at, operation, reason in connection.execute(query.order_by(_DEAD.id).limit(MOST)):
        yield Trace(at, 'dead', None, operation or '(not read)', 'parked', _short(reason))


def _faults(
    connection: sa.Connection, instances: Collection[str], found: Collection[Trace]
) -> Iterator[Trace]:
    if not found:
        return
    begun = min(one.at for one in found)
    query = sa.select(*_FAULTS).where(_FAULTS.instance_uuid.in_(instances), _FAULTS.deleted == 0)
    ended = max(one.at for one in found) + FAULT_SECONDS
    for row in connection.execute(query.order_by(_FAULTS.id.desc()).limit(MOST)).mappings():
        at = seconds(row['created_at'])
        if begun - 1 <= at <= ended:
            yield Trace(
                at,
                'fault',
                row['instance_uuid'],
                'code %d' % row['code'],
                None,
                _short(row['details'] or row['message']),
                row['uuid'] or '',
            )
