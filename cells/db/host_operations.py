"""Statements on what agents are to do: pending -> accepted -> done | failed | cancelled.

An operation is *open* until it has ended. Of one instance one is under way at a time: an
operation is due when those that were ordered before it have ended. All changes of state
are compare-and-set; times are of the database (:class:`cells.db.engine.now`). What an
operation was ordered with is wiped when it ends: there may be a password in it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import orjson
import sqlalchemy as sa

from cells import json_text
from cells.db import engine, models, statements

PENDING: Final = 'pending'
ACCEPTED: Final = 'accepted'
DONE: Final = 'done'
FAILED: Final = 'failed'
CANCELLED: Final = 'cancelled'

OPEN: Final = (PENDING, ACCEPTED)

#: In place of the uuid of an instance: for a machine that is none of this cell's instances.
#: Such an operation waits for no other.
STRAY: Final = ''

_OPS: Final = models.HostOperation.__table__.c
_EARLIER: Final = models.HostOperation.__table__.alias('earlier').c

_JSON: Final = ('args', 'instance', 'notes', 'ctxt', 'result')
#: The condition for what waits for no other operation.
_FIRST: Final = sa.or_(
    _OPS.instance_uuid == STRAY,
    ~sa.exists().where(
        _EARLIER.instance_uuid == _OPS.instance_uuid,
        _EARLIER.state.in_(OPEN),
        _EARLIER.created_at < _OPS.created_at,
    ),
)
_OF_ID: Final = sa.select(*_OPS).where(_OPS.op_id == sa.bindparam('an_id', type_=_OPS.op_id.type))
_LOCKED: Final = _OF_ID.with_for_update()
_HOSTS_DUE: Final = (
    sa.select(_OPS.host).where(_OPS.state == PENDING, _OPS.due <= engine.now()).distinct()
)
#: Least difference in time between two operations of an instance.
_TICK: Final = 0.00001


def op_add(connection: sa.Connection, values: Mapping[str, Any], seconds: float) -> bool:
    """Write a new operation, due now; False when there is one of its id already.

    :param values: ``op_id``, ``instance_uuid``, ``host``, ``method``, and as plain values
        ``args``, ``instance``, ``notes`` and ``ctxt``; ``action_uuid`` and ``event_uuid``.
    :param seconds: from now to its deadline.
    """
    # Two of one transaction may come at the same time by the clock, and have an order.
    last = sa.select(sa.func.max(_OPS.created_at)).where(
        _OPS.instance_uuid == values['instance_uuid'], _OPS.state.in_(OPEN)
    )
    now, before = connection.execute(sa.select(engine.now(), last.scalar_subquery())).one()
    at = float(now) if before is None else max(float(now), float(before) + _TICK)
    row = {name: _text(value) if name in _JSON else value for name, value in values.items()}
    return bool(
        statements.insert_new(
            connection,
            models.HostOperation,
            [
                {
                    **row,
                    'state': PENDING,
                    'attempts': 0,
                    'created_at': at,
                    'due': float(now),
                    'deadline': at + seconds,
                }
            ],
        )
    )


def op_find(connection: sa.Connection, op_id: str, lock: bool = False) -> dict[str, Any] | None:
    """Return an operation, values by column, JSON as what it stands for; or None.

    :param lock: keep all others from changing it until the transaction ends.
    """
    query = _LOCKED if lock and statements.locks(connection) else _OF_ID
    found = connection.execute(query, {'an_id': op_id}).mappings().first()
    return None if found is None else _decoded(found)


def ops_open(connection: sa.Connection, instance_uuid: str) -> list[dict[str, Any]]:
    """Return the open operations of an instance, in the order in which they were ordered."""
    query = sa.select(*_OPS).where(_OPS.instance_uuid == instance_uuid, _OPS.state.in_(OPEN))
    rows = connection.execute(query.order_by(_OPS.created_at)).mappings()
    return [_decoded(row) for row in rows]


def ops_of(
    connection: sa.Connection, instance_uuid: str, method: str, lock: bool = False
) -> list[dict[str, Any]]:
    """Return all operations of one kind of an instance, those that are over as well, oldest first.

    :param lock: keep all others from changing them until the transaction ends.
    """
    query = (
        sa.select(*_OPS)
        .where(_OPS.instance_uuid == instance_uuid, _OPS.method == method)
        .order_by(_OPS.created_at)
    )
    if lock:
        return [_decoded(row) for row in statements.locked(connection, query, free_only=False)]
    return [_decoded(row) for row in connection.execute(query).mappings()]


def ops_on_host(connection: sa.Connection, host: str) -> dict[str, dict[str, Any]]:
    """Return the open operations of a host, by id: its instance, state and method."""
    query = sa.select(_OPS.op_id, _OPS.instance_uuid, _OPS.state, _OPS.method, _OPS.created_at)
    rows = connection.execute(query.where(_OPS.host == host, _OPS.state.in_(OPEN))).mappings()
    return {row['op_id']: dict(row) for row in rows}


def instances_at_work(
    connection: sa.Connection, instance_uuids: Iterable[str], seconds: float
) -> set[str]:
    """Return those of some instances with an operation that is open, or ended just now.

    :param seconds: how long ago an operation may have ended.
    """
    recent = sa.or_(_OPS.state.in_(OPEN), _OPS.ended_at > engine.now() - seconds)
    query = sa.select(_OPS.instance_uuid).where(
        _OPS.instance_uuid.in_(list(instance_uuids)), recent
    )
    return set(connection.execute(query.distinct()).scalars())


# -- on their way to the agents --


def hosts_due(database: engine.Database) -> list[str]:
    """Return the hosts for whom an operation may be due."""
    with database.read() as connection:
        return list(connection.execute(_HOSTS_DUE).scalars())


def ops_claim(
    connection: sa.Connection, worker: str, host: str, seconds: float, limit: int
) -> list[dict[str, Any]]:
    """Claim operations of a host that are due, oldest first, for so many seconds.

    What has waited for another operation has its whole time from now on.
    """
    query = (
        sa.select(*_OPS)
        .where(
            _OPS.host == host,
            _OPS.state == PENDING,
            _OPS.due <= engine.now(),
            _FIRST,
        )
        .order_by(_OPS.created_at)
        .limit(limit)
    )
    found = statements.locked(connection, query, free_only=True)
    if not found:
        return []
    fresh = [row['op_id'] for row in found if not row['attempts']]
    if fresh:
        renewed = _OPS.deadline - _OPS.created_at + engine.now()
        connection.execute(
            sa.update(models.HostOperation).where(_OPS.op_id.in_(fresh)).values(deadline=renewed)
        )
    connection.execute(
        sa.update(models.HostOperation)
        .where(_OPS.op_id.in_([row['op_id'] for row in found]))
        .values(claimed_by=worker, due=engine.now() + seconds, attempts=_OPS.attempts + 1)
    )
    now = float(connection.execute(sa.select(engine.now())).scalar_one())
    for row in found:
        if not row['attempts']:
            row['deadline'] = row['deadline'] - row['created_at'] + now
        row['attempts'] += 1
    return [_decoded(row) for row in found]


def ops_accepted(connection: sa.Connection, op_ids: Sequence[str]) -> None:
    """Note that the agent has these; one that it has ended meanwhile stays as it is."""
    connection.execute(
        sa.update(models.HostOperation)
        .where(_OPS.op_id.in_(op_ids), _OPS.state == PENDING)
        .values(state=ACCEPTED, claimed_by=None)
    )


def ops_postpone(
    connection: sa.Connection, op_ids: Sequence[str], seconds: float, reason: str | None = None
) -> None:
    """Have these offered again after so many seconds.

    :param reason: why they were not accepted; None keeps what is known.
    """
    values: dict[str, Any] = {'claimed_by': None, 'due': engine.now() + seconds}
    if reason is not None:
        values['result'] = _text({'reason': reason})
    connection.execute(
        sa.update(models.HostOperation)
        .where(_OPS.op_id.in_(op_ids), _OPS.state == PENDING)
        .values(**values)
    )


def ops_release(connection: sa.Connection, worker: str) -> None:
    """Free what a worker has claimed, which is not at it any more."""
    connection.execute(
        sa.update(models.HostOperation)
        .where(_OPS.state == PENDING, _OPS.claimed_by == worker)
        .values(claimed_by=None, due=engine.now())
    )


def ops_offer_again(connection: sa.Connection, op_ids: Sequence[str]) -> None:
    """Offer again what an agent has accepted and does not know any more; it may take it twice."""
    connection.execute(
        sa.update(models.HostOperation)
        .where(_OPS.op_id.in_(op_ids), _OPS.state == ACCEPTED)
        .values(state=PENDING, due=engine.now())
    )


def ops_overdue(database: engine.Database, limit: int) -> list[dict[str, Any]]:
    """Return open operations whose deadline is over and which wait for no other one.

    Those that a worker is offering right now are left out.
    """
    query = (
        sa.select(_OPS.op_id, _OPS.host, _OPS.state, _OPS.method, _OPS.attempts, _OPS.result)
        .where(
            _OPS.state.in_(OPEN),
            _OPS.deadline < engine.now(),
            sa.or_(_OPS.state == ACCEPTED, _OPS.claimed_by.is_(None), _OPS.due < engine.now()),
            _FIRST,
        )
        .order_by(_OPS.deadline)
        .limit(limit)
    )
    with database.read() as connection:
        return [
            {**row, 'result': None if row['result'] is None else orjson.loads(row['result'])}
            for row in connection.execute(query).mappings()
        ]


def op_note(connection: sa.Connection, op_id: str, notes: Mapping[str, Any]) -> None:
    """Replace what whoever gets the outcome of an operation wants to know."""
    connection.execute(
        sa.update(models.HostOperation)
        .where(_OPS.op_id == op_id, _OPS.state.in_(OPEN))
        .values(notes=_text(notes))
    )


# -- their end --


def op_end(
    connection: sa.Connection, op_id: str, state: str, result: Mapping[str, Any] | None
) -> bool:
    """End an operation and wipe what it was ordered with; False when it had ended before."""
    ended = (
        sa.update(models.HostOperation)
        .where(_OPS.op_id == op_id, _OPS.state.in_(OPEN))
        .values(
            state=state, args='{}', claimed_by=None, ended_at=engine.now(), result=_text(result)
        )
    )
    return bool(connection.execute(ended).rowcount)


def ops_cancel_unsent(connection: sa.Connection, instance_uuid: str) -> list[dict[str, Any]]:
    """Cancel what was ordered for an instance and never offered to an agent; return that."""
    query = sa.select(*_OPS).where(
        _OPS.instance_uuid == instance_uuid, _OPS.state == PENDING, _OPS.attempts == 0
    )
    found = statements.locked(connection, query.order_by(_OPS.created_at), free_only=False)
    return [_decoded(row) for row in found if op_end(connection, row['op_id'], CANCELLED, None)]


def ops_purge(
    connection: sa.Connection, older_than: float, limit: int, kept: Collection[str] = ()
) -> int:
    """Delete what ended that many seconds ago, some at a time; return how many.

    What has failed is kept ten times as long, as it may be reported as done late.

    :param kept: methods of which all is kept for so long.
    """
    now = engine.now()
    usual = sa.and_(_OPS.state.in_((DONE, CANCELLED)), _OPS.method.not_in(list(kept)))
    over = sa.or_(
        sa.and_(usual, _OPS.ended_at < now - older_than), _OPS.ended_at < now - older_than * 10
    )
    query = sa.select(_OPS.op_id).where(_OPS.state.not_in(OPEN), over).limit(limit)
    old = list(connection.execute(query).scalars())
    if old:
        connection.execute(sa.delete(models.HostOperation).where(_OPS.op_id.in_(old)))
    return len(old)


def _text(value: Any) -> str | None:
    return None if value is None else json_text.dumps(value)


def _decoded(row: Mapping[Any, Any]) -> dict[str, Any]:
    values = dict(row)
    for name in _JSON:
        if values.get(name) is not None:
            values[name] = orjson.loads(values[name])
    return values
