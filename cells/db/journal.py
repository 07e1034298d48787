"""Statements on the journal beside the inbox: orders with an answer, outbox, what is over.

All are compare-and-set: who changes a row says in which state and in whose
claim it must be. Times are of the database (:class:`cells.db.engine.now`).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from cells.db import engine, inbox, models, statements

CLAIMED: Final = inbox.CLAIMED
DONE: Final = inbox.DONE

PENDING: Final = 'pending'
SENT: Final = 'sent'
UNCONFIRMED: Final = 'unconfirmed'
#: Values of a row that is never sent again; what was in it may be a password (X4).
_GONE: Final[Mapping[str, Any]] = {'state': UNCONFIRMED, 'envelope': ''}
#: What became of a change that was taken back.
WITHDRAWN: Final = 'withdrawn'

#: Of a statement with several rows: a database bounds its size.
STATEMENT_CHARACTERS: Final = 1024 * 1024

_IN = models.Inbox.__table__.c
_OUT = models.Outbox.__table__.c
_DEAD = models.DeadMessage.__table__.c
_AHEAD = models.Outbox.__table__.alias('ahead').c


def order_begin(
    connection: sa.Connection, uuid: str, operation: str, request_id: str | None = None
) -> bool:
    """Note that an order with an answer is begun; False when a copy of it came before."""
    return bool(
        statements.insert_new(
            connection,
            models.Inbox,
            [
                {
                    'uuid': uuid,
                    'operation': operation,
                    'envelope': '',
                    'state': inbox.BEGUN,
                    'attempts': 1,
                    'claimed_until': 0.0,
                    'received_at': engine.now(),
                    'ended_at': engine.now(),
                    'request_id': request_id,
                }
            ],
        )
    )


def order_end(connection: sa.Connection, uuid: str, result: str) -> None:
    """Keep the answer of an order, as JSON text."""
    connection.execute(
        sa.update(models.Inbox)
        .where(_IN.uuid == uuid, _IN.state == inbox.BEGUN)
        .values(state=inbox.DONE, ended_at=engine.now(), result=result)
    )


def order_forget(connection: sa.Connection, uuid: str) -> None:
    """Let an order that failed be tried again."""
    connection.execute(sa.delete(models.Inbox).where(_IN.uuid == uuid, _IN.state == inbox.BEGUN))


def order_result(connection: sa.Connection, uuid: str) -> str | None:
    """Return the answer of an order, None while there is none."""
    query = sa.select(_IN.result).where(_IN.uuid == uuid, _IN.state == inbox.DONE)
    return connection.execute(query).scalar()


def dead_add(
    connection: sa.Connection, rows: Iterable[tuple[str, str, str, str, str | None]]
) -> None:
    """Put messages aside: tuples of uuid, operation, routing path, envelope, reason."""
    for uuid, operation, came_by, envelope, reason in rows:
        connection.execute(
            sa.insert(models.DeadMessage).values(
                uuid=uuid,
                operation=operation,
                came_by=came_by,
                envelope=envelope,
                reason=reason,
                parked_at=engine.now(),
            )
        )


def release_all(connection: sa.Connection, worker: str) -> None:
    """Free what an earlier process in this worker's slot had claimed."""
    for model, columns, claimed in (
        (models.Inbox, _IN, _IN.state == inbox.CLAIMED),
        (models.Outbox, _OUT, _OUT.state == PENDING),
    ):
        connection.execute(
            sa.update(model).where(claimed, columns.claimed_by == worker).values(claimed_until=0.0)
        )


def purge(connection: sa.Connection, older_than: float, limit: int) -> int:
    """Delete what ended that many seconds ago, some at a time; return how many rows.

    Failed changes, and messages that were put aside, are kept ten times as long, for people
    to look at.
    """
    before = engine.now() - older_than
    long_before = engine.now() - older_than * 10
    purged = 0
    for model, columns, over in (
        (
            models.Inbox,
            _IN,
            sa.and_(_IN.state.in_((inbox.DONE, inbox.BEGUN)), _IN.ended_at < before),
        ),
        (models.Inbox, _IN, sa.and_(_IN.state == inbox.FAILED, _IN.ended_at < long_before)),
        (models.Outbox, _OUT, sa.and_(_OUT.state == UNCONFIRMED, _OUT.sent_at < before)),
        (models.DeadMessage, _DEAD, _DEAD.parked_at < long_before),
    ):
        old = [row[0] for row in connection.execute(sa.select(columns.id).where(over).limit(limit))]
        if old:
            connection.execute(sa.delete(model).where(columns.id.in_(old)))
        purged += len(old)
    return purged


def outbox_add(connection: sa.Connection, rows: Iterable[Sequence[str | None]]) -> None:
    """Note changes for neighbours.

    :param rows: tuples of uuid, neighbour, kind and envelope, and behind them, as far as there
        are any, the uuid of the instance that it is about, of which things are sent in the order
        in which they are noted, and the id of the request.
    """
    group: list[dict[str, Any]] = []
    size = 0
    for uuid, neighbour, kind, envelope, *subject in rows:
        instance_uuid, request_id = (*subject, None, None)[:2]
        length = len(envelope or '')
        size += length
        if group and size > STATEMENT_CHARACTERS:
            statements.insert_new(connection, models.Outbox, group)
            group, size = [], length
        group.append(
            {
                'uuid': uuid,
                'neighbour': neighbour,
                'kind': kind,
                'envelope': envelope,
                'state': PENDING,
                'attempts': 0,
                'claimed_until': 0.0,
                'created_at': engine.now(),
                'instance_uuid': instance_uuid,
                'request_id': request_id,
            }
        )
    statements.insert_new(connection, models.Outbox, group)


def outbox_claim(
    connection: sa.Connection,
    worker: str,
    neighbour: str,
    seconds: float,
    limit: int,
    confirms: bool = True,
) -> list[dict[str, Any]]:
    """Claim changes for a neighbour that are due, oldest first.

    What is about an instance waits for what was noted before it, until the neighbour has that:
    several workers send, and each on its own way.

    :param confirms: whether the neighbour says what it has; else its broker's word counts.
    :returns: rows with id, uuid, kind, envelope and attempts.
    """
    under_way = (PENDING, SENT) if confirms else (PENDING,)
    waits = (
        sa.select(sa.literal(1))
        .where(
            _AHEAD.instance_uuid == _OUT.instance_uuid,
            _AHEAD.neighbour == neighbour,
            _AHEAD.id < _OUT.id,
            _AHEAD.state.in_(under_way),
        )
        .exists()
    )
    query = (
        sa.select(_OUT.id, _OUT.uuid, _OUT.kind, _OUT.envelope, _OUT.attempts)
        .where(
            _OUT.neighbour == neighbour,
            _OUT.state == PENDING,
            _OUT.claimed_until < engine.now(),
            sa.or_(_OUT.instance_uuid.is_(None), sa.not_(waits)),
        )
        .order_by(_OUT.id)
        .limit(limit)
    )
    found = statements.locked(connection, query, free_only=True)
    if found:
        connection.execute(
            sa.update(models.Outbox)
            .where(_OUT.id.in_([row['id'] for row in found]))
            .values(
                claimed_by=worker,
                claimed_until=engine.now() + seconds,
                attempts=_OUT.attempts + 1,
            )
        )
    return found


def outbox_sent(
    connection: sa.Connection, row_ids: Sequence[int], patience: float, plain: bool = False
) -> None:
    """Note that the broker of the neighbour has these; due again if not confirmed by then.

    :param plain: whether the neighbour cannot confirm: then they are never due again.
    """
    state = _GONE if plain else {'state': SENT, 'claimed_until': engine.now() + patience}
    _change(
        connection,
        sa.and_(_OUT.id.in_(row_ids), _OUT.state == PENDING),
        {**state, 'sent_at': engine.now()},
    )


def outbox_not_sent(connection: sa.Connection, row_ids: Sequence[int], delay: float) -> None:
    """Note that these did not get out; due again after ``delay`` seconds."""
    _change(
        connection,
        sa.and_(_OUT.id.in_(row_ids), _OUT.state == PENDING),
        {'claimed_by': None, 'claimed_until': engine.now() + delay},
    )


def outbox_known(connection: sa.Connection, uuids: Collection[str]) -> set[str]:
    """Return which of these changes a neighbour has not confirmed yet."""
    query = sa.select(_OUT.uuid).where(_OUT.uuid.in_(uuids))
    return set(connection.execute(query).scalars())


def outbox_withdraw(
    connection: sa.Connection, uuid: str, neighbour: str, untried: bool = False
) -> str:
    """Take a change back that the broker of the neighbour does not have.

    :param untried: also one that nobody has tried to send yet.
    :returns: :data:`WITHDRAWN`; or, and then it stays, :data:`PENDING` when it is to be tried
        first, :data:`CLAIMED` while a worker is sending it, :data:`SENT` when the broker has,
        or may have, got it, :data:`UNCONFIRMED` when so has that of a plain neighbour, and
        :data:`DONE` when the neighbour has confirmed it.
    """
    in_time = sa.and_(_OUT.claimed_by.is_not(None), _OUT.claimed_until > engine.now())
    query = sa.select(
        _OUT.id,
        _OUT.state,
        _OUT.attempts,
        _OUT.claimed_by,
        _OUT.sent_at,
        in_time.label('claimed'),
    ).where(_OUT.uuid == uuid, _OUT.neighbour == neighbour)
    found = statements.locked(connection, query, free_only=False)
    if not found:
        return DONE
    row = found[0]
    if row['state'] != PENDING:
        return str(row['state'])
    if row['claimed']:
        return CLAIMED
    if row['claimed_by'] is not None or row['sent_at'] is not None:
        # A worker has died with it, or the neighbour has not confirmed an earlier copy.
        return SENT
    if not row['attempts'] and not untried:
        return PENDING
    connection.execute(sa.delete(models.Outbox).where(_OUT.id == row['id']))
    return WITHDRAWN


def outbox_confirm(connection: sa.Connection, neighbour: str, uuids: Sequence[str]) -> int:
    """Drop what a neighbour has in its own journal; return how many those were."""
    ids = _lock_outbox(connection, sa.and_(_OUT.neighbour == neighbour, _OUT.uuid.in_(uuids)))
    if ids:
        connection.execute(sa.delete(models.Outbox).where(_OUT.id.in_(ids)))
    return len(ids)


def outbox_overdue(
    connection: sa.Connection, neighbour: str, plain: bool, older_than: float = 0
) -> int:
    """Deal with what was sent and never confirmed; return how many rows that is.

    One of our cells gets it again, it drops what it has. A plain one cannot
    confirm and must not get it twice: it is kept as sent, unconfirmed.

    :param older_than: leave alone what was sent less than so many seconds ago.
    """
    return _change(
        connection,
        sa.and_(
            _OUT.neighbour == neighbour,
            _OUT.state == SENT,
            _OUT.claimed_until < engine.now(),
            _OUT.sent_at <= engine.now() - older_than,
        ),
        _GONE if plain else {'state': PENDING},
    )


def _lock_outbox(connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[int]:
    query = sa.select(_OUT.id).where(which).order_by(_OUT.id)
    return [row['id'] for row in statements.locked(connection, query, free_only=False)]


def _change(
    connection: sa.Connection, which: sa.ColumnElement[bool], values: Mapping[str, Any]
) -> int:
    ids = _lock_outbox(connection, which)
    if ids:
        connection.execute(sa.update(models.Outbox).where(_OUT.id.in_(ids)).values(**values))
    return len(ids)


def outbox_due(database: engine.Database, state: str) -> list[str]:
    """Return the neighbours for whom something of this state is due."""
    query = (
        sa.select(_OUT.neighbour)
        .where(_OUT.state == state, _OUT.claimed_until < engine.now())
        .distinct()
    )
    with database.read() as connection:
        return [row[0] for row in connection.execute(query)]


def outbox_waiting(database: engine.Database) -> dict[str, int]:
    """Return how many changes a neighbour has not confirmed, by name.

    What a plain nova-cells has been sent counts as gone.
    """
    query = sa.select(_OUT.neighbour, sa.func.count()).where(_OUT.state != UNCONFIRMED)
    with database.read() as connection:
        return {row[0]: row[1] for row in connection.execute(query.group_by(_OUT.neighbour))}


def outbox_drop(connection: sa.Connection, neighbour: str) -> int:
    """Forget all changes for a neighbour that is gone for ever; return how many those were."""
    gone = sa.delete(models.Outbox).where(_OUT.neighbour == neighbour)
    return connection.execute(gone).rowcount


def outbox_readdress(connection: sa.Connection, parent: str, known: Collection[str]) -> int:
    """Have what goes up, and waits for a parent that is gone, go to the new one; return how much.

    What was meant for one cell cannot take another way.

    :param known: the names of all neighbours.
    """
    change = sa.update(models.Outbox).where(
        _OUT.neighbour.not_in(known), _OUT.kind == 'broadcast', _OUT.state != UNCONFIRMED
    )
    values = {'neighbour': parent, 'state': PENDING, 'claimed_until': 0.0}
    return connection.execute(change.values(values)).rowcount


def outbox_oldest(database: engine.Database) -> dict[str, float]:
    """Return the age in seconds of the oldest change that a neighbour has not confirmed, by name.

    What a plain nova-cells has been sent counts as gone.
    """
    query = (
        sa.select(_OUT.neighbour, engine.now() - sa.func.min(_OUT.created_at))
        .where(_OUT.state != UNCONFIRMED)
        .group_by(_OUT.neighbour)
    )
    with database.read() as connection:
        return {row[0]: float(row[1]) for row in connection.execute(query)}


def counts(database: engine.Database) -> dict[str, int]:
    """Return the number of rows by table and state, for example ``inbox.done``."""
    found = {}
    with database.read() as connection:
        for name, columns in (('inbox', _IN), ('outbox', _OUT)):
            query = sa.select(columns.state, sa.func.count()).group_by(columns.state)
            for state, number in connection.execute(query):
                found['%s.%s' % (name, state)] = number
        dead = sa.select(sa.func.count()).select_from(models.DeadMessage)
        number = connection.execute(dead).scalar_one()
        if number:
            found['dead_messages'] = number
    return found
