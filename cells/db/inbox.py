"""Statements on the inbox: changes that came in, until they are done.

Of one instance one change is carried out at a time: the one that was ordered first
(``ordering``, then arrival). It waits for none that came later, nor for one that is refused
for now and came later itself: of two whose times contradict their arrival, the refused one
may be the one whose time is wrong.

All are compare-and-set: who changes a row says in which state and in whose claim it must
be. Times are of the database (:class:`cells.db.engine.now`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from cells.db import engine, models, statements

RECEIVED: Final = 'received'
CLAIMED: Final = 'claimed'
DONE: Final = 'done'
FAILED: Final = 'failed'
#: Of an order that is answered: begun, and no row for the workers of the journal.
BEGUN: Final = 'begun'

#: What is not at its end.
OPEN: Final = (RECEIVED, CLAIMED)
#: Operations whose arguments may have a password among them, or files for a guest.
SECRET: Final = (
    'build_instances',
    'rebuild_instance',
    'run_compute_api_method',
    'set_admin_password',
)

_IN: Final = models.Inbox.__table__.c
_OTHER: Final = models.Inbox.__table__.alias('other').c

#: How many changes are looked at for each that is claimed.
CANDIDATES: Final = 2
_CLAIMED_COLUMNS: Final = (
    _IN.id,
    _IN.uuid,
    _IN.operation,
    _IN.envelope,
    _IN.attempts,
    _IN.instance_uuid,
    _IN.ordering,
    _IN.refused_at,
    (engine.now() - _IN.received_at).label('age'),
)


def inbox_accept(connection: sa.Connection, rows: Iterable[Sequence[str | None]]) -> None:
    """Take changes in.

    :param rows: tuples of uuid, operation and envelope, and behind them, as far as there are
        any, the uuid of the instance that it is about, the text that gives its place in the
        order, and the id of the request.
    """
    values = []
    for uuid, operation, envelope, *subject in rows:
        instance_uuid, ordering, request_id = (*subject, None, None, None)[:3]
        values.append(
            {
                'uuid': uuid,
                'operation': operation,
                'envelope': envelope,
                'state': RECEIVED,
                'attempts': 0,
                'claimed_until': 0.0,
                'received_at': engine.now(),
                'instance_uuid': instance_uuid,
                'ordering': ordering,
                'request_id': request_id,
            }
        )
    statements.insert_new(connection, models.Inbox, values)


def inbox_remember(connection: sa.Connection, uuids: Sequence[str], older_than: float) -> None:
    """Keep on knowing changes that are done and still come again."""
    connection.execute(
        sa.update(models.Inbox)
        .where(_IN.uuid.in_(uuids), _IN.state == DONE, _IN.ended_at < engine.now() - older_than)
        .values(ended_at=engine.now())
    )


def _free(state: str) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the conditions of a change in this state that nobody works on."""
    # Added to, so that the rows come from the index of states, which has them in order.
    return _IN.state == state, _IN.claimed_until + 0 < engine.now()


def _waits() -> sa.ColumnElement[bool]:
    """Return the condition of a change that another one of its instance goes before."""
    earlier = sa.or_(
        _OTHER.ordering < _IN.ordering,
        sa.and_(_OTHER.ordering == _IN.ordering, _OTHER.id < _IN.id),
    )
    fresh = sa.and_(_OTHER.instance_uuid == _IN.instance_uuid, _OTHER.refused_at.is_(None))
    # An order that only one index has: any other way to find it may read the whole table.
    first = (
        sa.select(_OTHER.id)
        .where(fresh, _OTHER.state == RECEIVED)
        .order_by(_OTHER.ordering, _OTHER.id)
        .limit(1)
        .scalar_subquery()
    )
    refused_before = sa.and_(_OTHER.refused_at.is_not(None), _OTHER.id < _IN.id)
    return sa.or_(
        _another(CLAIMED, _OTHER.claimed_until >= engine.now()),
        _another(CLAIMED, earlier, sa.or_(_OTHER.refused_at.is_(None), refused_before)),
        sa.and_(_IN.state == RECEIVED, _IN.refused_at.is_(None), first != _IN.id),
        sa.and_(
            sa.or_(_IN.state == CLAIMED, _IN.refused_at.is_not(None)),
            _another(RECEIVED, fresh, earlier),
        ),
        _another(RECEIVED, refused_before, earlier),
    )


def _another(state: str, *conditions: sa.ColumnElement[bool]) -> sa.Exists:
    return (
        sa.select(sa.literal(1))
        .where(
            _OTHER.instance_uuid == _IN.instance_uuid,
            _OTHER.state == state,
            _OTHER.id != _IN.id,
            *conditions,
        )
        .exists()
    )


def inbox_claim(
    connection: sa.Connection, worker: str, seconds: float, limit: int
) -> list[dict[str, Any]]:
    """Claim changes that nobody works on, oldest first: new ones and those of the dead.

    Of one instance no more than one. Call :func:`inbox_crowded` after the commit.

    :returns: rows with id, uuid, operation, envelope, attempts, instance_uuid,
        ordering, refused_at and age, in seconds since it came in.
    """
    candidates: list[int] = []
    for state in OPEN:
        # Each state by itself: so the rows come from its index in order, and few are read.
        query = (
            sa.select(_IN.id)
            .where(*_free(state), sa.or_(_IN.instance_uuid.is_(None), sa.not_(_waits())))
            .order_by(_IN.id)
            .limit(limit * CANDIDATES)
        )
        candidates += connection.execute(query).scalars()
    if not candidates:
        return []
    # Only these are locked, and more than are wanted, as others may be about to take the first.
    query = (
        sa.select(*_CLAIMED_COLUMNS)
        .where(_IN.id.in_(candidates), _IN.state.in_(OPEN), _IN.claimed_until < engine.now())
        .order_by(_IN.id)
        .limit(limit)
    )
    found: list[dict[str, Any]] = []
    instances: set[str | None] = set()
    for row in statements.locked(connection, query, free_only=True):
        if row['instance_uuid'] is None or row['instance_uuid'] not in instances:
            instances.add(row['instance_uuid'])
            found.append(row)
    if found:
        connection.execute(
            sa.update(models.Inbox)
            .where(_IN.id.in_([row['id'] for row in found]))
            .values(
                state=CLAIMED,
                claimed_by=worker,
                claimed_until=engine.now() + seconds,
                attempts=_IN.attempts + 1,
            )
        )
    return found


def inbox_crowded(database: engine.Database, found: Sequence[Mapping[str, Any]]) -> set[int]:
    """Return the ids of claimed changes whose instance another claim has as well.

    Two workers that claim at the same time do not see each other's claim, so each looks
    once more when its own is committed, and gives back what it is not alone with.
    """
    owners = {row['instance_uuid']: row['id'] for row in found if row['instance_uuid'] is not None}
    if not owners or database.dialect == 'sqlite':  # whose writer is alone
        return set()
    query = sa.select(_IN.instance_uuid).where(
        _IN.instance_uuid.in_(owners),
        _IN.state == CLAIMED,
        _IN.claimed_until >= engine.now(),
        _IN.id.not_in(owners.values()),
    )
    with database.read() as connection:
        return {owners[row[0]] for row in connection.execute(query)}


def inbox_release(connection: sa.Connection, row_ids: Iterable[int], worker: str) -> None:
    """Give changes back that were claimed and not begun."""
    connection.execute(
        sa.update(models.Inbox)
        .where(_IN.id.in_(sorted(row_ids)), _IN.state == CLAIMED, _IN.claimed_by == worker)
        .values(state=RECEIVED, claimed_until=0.0, attempts=_IN.attempts - 1)
    )


def inbox_put_back(
    connection: sa.Connection,
    row: Mapping[str, Any],
    worker: str,
    pause: float,
    patience: float,
) -> bool:
    """Put a change back that is refused for now, to be tried again after ``pause`` seconds.

    The patience with those that wait behind it begins with the same moment, so that many
    that are refused one after the other are not waited for one after the other.

    :param patience: seconds from its first refusal within which it is tried.
    :returns: False when they are over, or the claim was lost.
    """
    waiting = sa.or_(_IN.refused_at.is_(None), _IN.refused_at > engine.now() - patience)
    result = connection.execute(
        sa.update(models.Inbox)
        .where(_IN.id == row['id'], _IN.state == CLAIMED, _IN.claimed_by == worker, waiting)
        .values(
            state=RECEIVED,
            claimed_until=engine.now() + pause,
            attempts=_IN.attempts - 1,
            refused_at=sa.func.coalesce(_IN.refused_at, engine.now()),
        )
    )
    if not result.rowcount:
        return False
    connection.execute(
        sa.update(models.Inbox)
        .where(
            _IN.instance_uuid == row['instance_uuid'],
            _IN.state == RECEIVED,
            _IN.refused_at.is_(None),
            _IN.id > row['id'],
            _IN.ordering >= row['ordering'],
        )
        .values(refused_at=engine.now())
    )
    return True


def inbox_calm(connection: sa.Connection, instance_uuid: str) -> None:
    """Let the patience with what waits for an instance begin anew: it is not refused any more."""
    connection.execute(
        sa.update(models.Inbox)
        .where(
            _IN.instance_uuid == instance_uuid,
            _IN.state == RECEIVED,
            _IN.refused_at.is_not(None),
        )
        .values(refused_at=None)
    )


def inbox_end(
    connection: sa.Connection, row_id: int, worker: str, state: str, reason: str | None = None
) -> bool:
    """End a change in the transaction of its effects.

    Of what is done only the uuid is needed still: there may be a password in the rest (X4).
    What has failed is for people to look at, unless it is one of :data:`SECRET`.

    :returns: False when the claim was lost; then the transaction must not commit.
    """
    values: dict[str, Any] = {'state': state, 'ended_at': engine.now(), 'reason': reason}
    if state == DONE:
        values['envelope'] = ''
    elif state == FAILED:
        values['envelope'] = sa.case((_IN.operation.in_(SECRET), ''), else_=_IN.envelope)
    result = connection.execute(
        sa.update(models.Inbox)
        .where(_IN.id == row_id, _IN.state == CLAIMED, _IN.claimed_by == worker)
        .values(**values)
    )
    return bool(result.rowcount)


def inbox_due(database: engine.Database) -> bool:
    """Tell whether there is something in the inbox that nobody works on, if only to wait."""
    with database.read() as connection:
        for state in OPEN:
            query = sa.select(_IN.id).where(*_free(state)).limit(1)
            if connection.execute(query).first() is not None:
                return True
    return False


def inbox_open(connection: sa.Connection, instance_uuids: Iterable[str]) -> set[str]:
    """Return those instances of which a change is not at its end."""
    query = sa.select(_IN.instance_uuid).where(
        _IN.instance_uuid.in_(list(instance_uuids)), _IN.state.in_(OPEN)
    )
    return {row[0] for row in connection.execute(query)}
