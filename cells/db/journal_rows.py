"""Rows of the journal as people see them: in the inbox, in the outbox, put aside.

Who changes one says in which state it must be. What a worker has claimed is left alone: it
may be about to end. Times are of the database (:class:`cells.db.engine.now`).
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from cells.db import engine, inbox, models, statements
from cells.db import journal as db_journal

INBOX: Final = 'inbox'
OUTBOX: Final = 'outbox'
DEAD: Final = 'dead'
#: The one state of what was put aside.
PARKED: Final = 'parked'

#: Box -> the states of what is not over, or needs somebody.
OPEN: Final[Mapping[str, tuple[str, ...]]] = {
    INBOX: (inbox.RECEIVED, inbox.CLAIMED, inbox.FAILED),
    OUTBOX: (db_journal.PENDING, db_journal.SENT),
    DEAD: (PARKED,),
}
#: And of the rest.
OVER: Final[Mapping[str, tuple[str, ...]]] = {
    INBOX: (inbox.DONE, inbox.BEGUN),
    OUTBOX: (db_journal.UNCONFIRMED,),
    DEAD: (),
}
STATES: Final = tuple(dict.fromkeys(state for box in OPEN for state in (*OPEN[box], *OVER[box])))

_IN: Final = models.Inbox.__table__.c
_OUT: Final = models.Outbox.__table__.c
_DEAD: Final = models.DeadMessage.__table__.c
_PAGE: Final = 200


class Row(NamedTuple):
    """A row of one of the three tables.

    :ivar neighbour: that it is for; None for what came in, whose envelope says from whom.
    :ivar age: seconds since it came, was written, or was put aside.
    :ivar worker: that has it just now, None when nobody has.
    """

    box: str
    id: int
    uuid: str
    operation: str | None
    neighbour: str | None
    state: str
    instance_uuid: str | None
    request_id: str | None
    age: float
    attempts: int | None
    reason: str | None
    worker: str | None
    envelope: str
    came_by: str | None

    @property
    def name(self) -> str:
        """By which people name it."""
        return '%s:%d' % (self.box, self.id)


def _claimed_by(columns: Any, *states: str) -> sa.ColumnElement[Any]:
    held = sa.and_(columns.state.in_(states), columns.claimed_until >= engine.now())
    return sa.case((held, columns.claimed_by), else_=sa.null())


_NOTHING: Final = sa.null()
_QUERIES: Final[Mapping[str, sa.Select[Any]]] = {
    INBOX: sa.select(
        sa.literal(INBOX).label('box'),
        _IN.id,
        _IN.uuid,
        _IN.operation,
        _NOTHING.label('neighbour'),
        _IN.state,
        _IN.instance_uuid,
        _IN.request_id,
        (engine.now() - _IN.received_at).label('age'),
        _IN.attempts,
        _IN.reason,
        _claimed_by(_IN, inbox.CLAIMED).label('worker'),
        _IN.envelope,
        _NOTHING.label('came_by'),
    ),
    OUTBOX: sa.select(
        sa.literal(OUTBOX).label('box'),
        _OUT.id,
        _OUT.uuid,
        _NOTHING.label('operation'),
        _OUT.neighbour,
        _OUT.state,
        _OUT.instance_uuid,
        _OUT.request_id,
        (engine.now() - _OUT.created_at).label('age'),
        _OUT.attempts,
        _NOTHING.label('reason'),
        _claimed_by(_OUT, db_journal.PENDING).label('worker'),
        _OUT.envelope,
        _NOTHING.label('came_by'),
    ),
    DEAD: sa.select(
        sa.literal(DEAD).label('box'),
        _DEAD.id,
        _DEAD.uuid,
        _DEAD.operation,
        _NOTHING.label('neighbour'),
        sa.literal(PARKED).label('state'),
        _NOTHING.label('instance_uuid'),
        _NOTHING.label('request_id'),
        (engine.now() - _DEAD.parked_at).label('age'),
        _NOTHING.label('attempts'),
        _DEAD.reason,
        _NOTHING.label('worker'),
        _DEAD.envelope,
        _DEAD.came_by,
    ),
}
_TABLES: Final[Mapping[str, tuple[type[models.Base], Any]]] = {
    INBOX: (models.Inbox, _IN),
    OUTBOX: (models.Outbox, _OUT),
    DEAD: (models.DeadMessage, _DEAD),
}


def rows(
    database: engine.Database,
    box: str,
    states: Collection[str],
    neighbour: str | None = None,
    instance_uuid: str | None = None,
) -> Iterator[Row]:
    """Yield rows, oldest first, as long as they are asked for.

    :param neighbour: those for this one only; of the outbox.
    :param instance_uuid: those about this one only; nothing is known of what was put aside.
    """
    columns = _TABLES[box][1]
    query = _QUERIES[box].order_by(columns.id).limit(_PAGE)
    if box != DEAD:
        query = query.where(columns.state.in_(states))
        if instance_uuid is not None:
            query = query.where(columns.instance_uuid == instance_uuid)
    if box == OUTBOX and neighbour is not None:
        query = query.where(columns.neighbour == neighbour)
    after = 0
    while True:
        with database.read() as connection:
            found = [Row(*row) for row in connection.execute(query.where(columns.id > after))]
        yield from found
        if len(found) < _PAGE:
            return
        after = found[-1].id


def row_get(connection: sa.Connection, box: str, row_id: int, lock: bool = False) -> Row | None:
    """Return a row, None when there is none (any more).

    :param lock: keep all others from changing it until the transaction ends.
    """
    query = _QUERIES[box].where(_TABLES[box][1].id == row_id)
    if lock:
        found = statements.locked(connection, query, free_only=False)
    else:
        found = [dict(row) for row in connection.execute(query).mappings()]
    return Row(**found[0]) if found else None


def try_again(connection: sa.Connection, row: Row) -> None:
    """Have a row, which the caller has locked, carried out or sent at once, as if it were new."""
    model, columns = _TABLES[row.box]
    values: dict[str, Any] = {'attempts': 0, 'claimed_by': None, 'claimed_until': 0.0}
    if row.box == INBOX:
        values.update(state=inbox.RECEIVED, refused_at=None)
        if row.state == inbox.FAILED:
            values.update(received_at=engine.now(), ended_at=None, reason=None)
    else:
        values['state'] = db_journal.PENDING
    connection.execute(sa.update(model).where(columns.id == row.id).values(**values))


def take_in(connection: sa.Connection, row: Row, *subject: str | None) -> None:
    """Have what was put aside carried out as any other change.

    :param subject: see :func:`cells.db.inbox.inbox_accept`.
    """
    inbox.inbox_accept(connection, [(row.uuid, row.operation or '', row.envelope, *subject)])
    forget(connection, row)


def end(connection: sa.Connection, row: Row, reason: str) -> None:
    """Note that a change that came in is not carried out; a copy of it is known still."""
    change = sa.update(models.Inbox).where(_IN.id == row.id)
    values = {'state': inbox.FAILED, 'ended_at': engine.now(), 'reason': reason, 'envelope': ''}
    if row.state == inbox.FAILED:
        values['state'] = inbox.DONE
    connection.execute(change.values(values))


def forget(connection: sa.Connection, row: Row) -> None:
    """Delete a row."""
    model, columns = _TABLES[row.box]
    connection.execute(sa.delete(model).where(columns.id == row.id))
