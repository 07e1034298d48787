"""Statements on builds: what was asked for, and each attempt to build an instance in a cell.

An attempt is *open* from ``waiting`` (for a cell) over ``placed`` (in one) to one of the
states that say what is to follow: ``built``, ``refused``, ``errored``, ``hopeless``,
``cancel``, ``passed``. It is over in ``done``, ``failed`` and ``cancelled``. ``expires`` is
when an open attempt is to be looked at, and when one that is over may go.

Who gives attempts to cells holds :func:`lock`, so that it sees what all workers have given out.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from cells.candidates import Load
from cells.db import changes, engine, models, statements

WAITING: Final = 'waiting'
#: Given to a cell that will say what came of it.
PLACED: Final = 'placed'
#: Given to a cell below which a plain one has it: what came of it shows at the top alone.
TOLD: Final = 'told'
BUILT: Final = 'built'
REFUSED: Final = 'refused'
#: A plain cell could not build it, and may have kept something of it.
ERRORED: Final = 'errored'
#: Not to be given to any cell.
HOPELESS: Final = 'hopeless'
CANCEL: Final = 'cancel'
#: Given to a plain cell, which will not say here what came of it.
PASSED: Final = 'passed'
DONE: Final = 'done'
FAILED: Final = 'failed'
CANCELLED: Final = 'cancelled'

#: In which somebody is to do something when it is time.
FOLLOWED_UP: Final = (BUILT, REFUSED, ERRORED, HOPELESS, CANCEL, PASSED)
OPEN: Final = (WAITING, PLACED, TOLD, *FOLLOWED_UP)
OVER: Final = (DONE, FAILED, CANCELLED)
#: In which an attempt is what the instance lives by.
CURRENT: Final = frozenset((PLACED, TOLD, BUILT, PASSED, DONE))

#: Seconds for which an attempt that is over is kept.
KEEP_SECONDS: Final = 86400.0
#: Seconds after which what was built shows in the capacities of a cell.
SETTLE_SECONDS: Final = 5.0
#: Seconds until a cell is told again to drop what is over.
TELL_SECONDS: Final = 60.0

_COLUMNS: Final = models.Placement.__table__.c
_REQUESTS: Final = models.BuildRequest.__table__.c
_LOCK: Final = 'placements'
#: Rows in one statement.
_TOGETHER: Final = 50


class Reasons(NamedTuple):
    """Why an instance was not built: for each cell, by its path, and an error code.

    What this cell itself says of its hosts stands under '' until it is told on.
    """

    cells: Mapping[str, str]
    code: int = 500

    def text(self) -> str:
        """Return the form in which they are stored."""
        return json.dumps({'cells': dict(self.cells), 'code': self.code})

    @staticmethod
    def of(text: str | None) -> 'Reasons':
        """Return what is stored."""
        stored = json.loads(text) if text else {}
        return Reasons(stored.get('cells', {}), stored.get('code', 500))


def lock(connection: sa.Connection) -> None:
    """Have no other worker give out attempts, or bury instances, until the transaction ends."""
    changes.bump(connection, _LOCK)


# -- requests --


def request_add(connection: sa.Connection, uuid: str, envelope: str) -> None:
    """Keep what was asked for."""
    statements.insert_new(
        connection,
        models.BuildRequest,
        [{'uuid': uuid, 'envelope': envelope, 'created_at': engine.now()}],
    )


def requests_get(connection: sa.Connection, uuids: Collection[str]) -> dict[str, str]:
    """Return what was asked for, by uuid."""
    query = sa.select(_REQUESTS.uuid, _REQUESTS.envelope).where(_REQUESTS.uuid.in_(uuids))
    return {row.uuid: row.envelope for row in connection.execute(query)}


def requests_drop(connection: sa.Connection, uuids: Collection[str]) -> None:
    """Forget those of these requests of which no attempt is open."""
    still_open = sa.select(_COLUMNS.request_uuid).where(
        _COLUMNS.request_uuid.in_(uuids), _COLUMNS.state.in_(OPEN)
    )
    needed = set(connection.execute(still_open).scalars())
    gone = sorted(set(uuids) - needed)
    if gone:
        connection.execute(sa.delete(models.BuildRequest).where(_REQUESTS.uuid.in_(gone)))


# -- attempts --


def attempts_add(connection: sa.Connection, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add attempts; one that is there already stays as it is.

    :param rows: by column; at least ``instance_uuid``, ``attempt`` and ``request_uuid``.
    """
    whole: list[dict[str, Any]] = [
        {
            'attempt_above': None,
            'next_cell': '',
            'message_uuid': None,
            'state': WAITING,
            'reasons': None,
            'memory_mb': 0,
            'disk_gb': 0,
            'vcpus': 0,
            'expires': 0.0,
            'created_at': engine.now(),
            **row,
        }
        for row in rows
    ]
    for start in range(0, len(whole), _TOGETHER):
        statements.insert_new(connection, models.Placement, whole[start : start + _TOGETHER])


def attempts_last(
    connection: sa.Connection, instance_uuids: Collection[str]
) -> dict[str, dict[str, Any]]:
    """Return the last attempt at each of these instances, by uuid."""
    query = (
        sa.select(*_COLUMNS)
        .where(_COLUMNS.instance_uuid.in_(instance_uuids))
        .order_by(_COLUMNS.attempt)
    )
    return {row['instance_uuid']: dict(row) for row in connection.execute(query).mappings()}


def attempts_of(
    connection: sa.Connection, instance_uuids: Collection[str], request_uuids: Collection[str]
) -> list[dict[str, Any]]:
    """Return all attempts at instances that belong to these requests, oldest first."""
    query = (
        sa.select(*_COLUMNS)
        .where(_COLUMNS.instance_uuid.in_(instance_uuids), _COLUMNS.request_uuid.in_(request_uuids))
        .order_by(_COLUMNS.attempt)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def attempts_together(connection: sa.Connection, message_uuid: str) -> list[dict[str, Any]]:
    """Return the attempts that went into one message and are still placed; they are locked."""
    query = (
        sa.select(*_COLUMNS)
        .where(_COLUMNS.message_uuid == message_uuid, _COLUMNS.state == PLACED)
        .order_by(_COLUMNS.id)
    )
    return statements.locked(connection, query, free_only=False)


def states_due(database: engine.Database) -> set[str]:
    """Return in which states there are attempts that it is time to look at."""
    query = sa.select(_COLUMNS.state).where(
        _COLUMNS.state.in_(OPEN), _COLUMNS.expires < engine.now()
    )
    with database.read() as connection:
        return set(connection.execute(query.distinct()).scalars())


def time(connection: sa.Connection) -> float:
    """Return the time by which all this goes."""
    return float(connection.execute(sa.select(engine.now())).scalar_one())


def attempts_due(
    connection: sa.Connection, states: Collection[str], limit: int
) -> list[dict[str, Any]]:
    """Return attempts that it is time to look at, oldest first; they are locked."""
    query = (
        sa.select(*_COLUMNS)
        .where(_COLUMNS.state.in_(states), _COLUMNS.expires < engine.now())
        .order_by(_COLUMNS.id)
        .limit(limit)
    )
    return statements.locked(connection, query, free_only=False)


def loads(connection: sa.Connection) -> dict[str, Load]:
    """Return what is on its way to each cell, by name, in one statement."""
    settled = engine.now() + KEEP_SECONDS - SETTLE_SECONDS
    query = (
        sa.select(
            _COLUMNS.next_cell,
            sa.func.count(),
            sa.func.sum(_COLUMNS.memory_mb),
            sa.func.sum(_COLUMNS.disk_gb),
            sa.func.sum(_COLUMNS.vcpus),
        )
        .where(
            sa.or_(
                _COLUMNS.state.in_((PLACED, BUILT, PASSED)),
                sa.and_(_COLUMNS.state == DONE, _COLUMNS.expires > settled),
            )
        )
        .group_by(_COLUMNS.next_cell)
    )
    return {row[0]: Load(*map(int, row[1:])) for row in connection.execute(query)}


_PLACE: Final = (
    sa.update(models.Placement)
    .where(_COLUMNS.id == sa.bindparam('row_id'))
    .values(
        state=PLACED,
        next_cell=sa.bindparam('cell'),
        message_uuid=sa.bindparam('message'),
        choice=sa.bindparam('choice'),
        expires=engine.now() + sa.bindparam('seconds', type_=sa.Double()),
    )
)


def attempts_place(
    connection: sa.Connection, rows: Sequence[tuple[int, str, str | None, float, str | None]]
) -> None:
    """Note which cells attempts were given to.

    :param rows: tuples of id, cell, uuid of the message, seconds, and why, as JSON text.
    """
    names = ('row_id', 'cell', 'message', 'seconds', 'choice')
    if rows:
        connection.execute(_PLACE, [dict(zip(names, row, strict=True)) for row in rows])


def attempts_set(
    connection: sa.Connection,
    ids: Collection[int],
    state: str,
    *,
    seconds: float = 0.0,
    reasons: Reasons | None = None,
) -> None:
    """Change the state of attempts.

    :param seconds: until they are to be looked at; those that are over are kept for longer.
    """
    if not ids:
        return
    delay = seconds + (KEEP_SECONDS if state in OVER else 0.0)
    # What is due at once is so by every clock.
    values: dict[str, Any] = {'state': state, 'expires': engine.now() + delay if delay else 0.0}
    if reasons is not None:
        values['reasons'] = reasons.text()
    connection.execute(sa.update(models.Placement).where(_COLUMNS.id.in_(ids)).values(**values))


def attempt_ended(
    connection: sa.Connection,
    instance_uuid: str,
    attempt: int,
    next_cell: str | None,
    state: str,
    reasons: Reasons | None = None,
) -> bool:
    """Note what came of an attempt that is with a cell; False when it is there no more.

    :param next_cell: None for the own one, to which no message goes.
    """
    change = sa.update(models.Placement).where(
        _COLUMNS.instance_uuid == instance_uuid,
        _COLUMNS.attempt == attempt,
        _COLUMNS.message_uuid.is_(None)
        if next_cell is None
        else sa.and_(_COLUMNS.next_cell == next_cell, _COLUMNS.message_uuid.is_not(None)),
        _COLUMNS.state.in_((PLACED, TOLD)),
    )
    text = None if reasons is None else reasons.text()
    return bool(connection.execute(change.values(state=state, expires=0.0, reasons=text)).rowcount)


def attempt_stray(
    connection: sa.Connection,
    instance_uuid: str,
    next_cell: str,
    reasons: Reasons,
    attempt: int | None = None,
) -> bool:
    """Have a cell told to drop an attempt that is over, once a minute at most.

    :param reasons: by the path to where it has come to something; added to what is known.
    :param attempt: None for any that the cell was given.
    :returns: False when it was given none.
    """
    which = [
        _COLUMNS.instance_uuid == instance_uuid,
        _COLUMNS.next_cell == next_cell,
        _COLUMNS.state.in_((FAILED, CANCEL, CANCELLED)),
    ]
    if attempt is not None:
        which.append(_COLUMNS.attempt == attempt)
    told = sa.and_(
        _COLUMNS.state == CANCELLED, _COLUMNS.expires > engine.now() + KEEP_SECONDS - TELL_SECONDS
    )
    query = sa.select(_COLUMNS.id, _COLUMNS.reasons, told.label('told')).where(*which)
    found = statements.locked(connection, query.order_by(_COLUMNS.id), free_only=False)
    for row in found:
        if not row['told']:
            known = Reasons.of(row['reasons'])
            merged = Reasons({**known.cells, **reasons.cells}, known.code)
            attempts_set(connection, [row['id']], CANCEL, reasons=merged)
    return bool(found)


def attempts_cancel(
    connection: sa.Connection, instance_uuid: str, attempt_above: int | None = None
) -> None:
    """Have attempts at an instance dropped, here and wherever they were given to.

    :param attempt_above: only what belongs to this attempt of the cell above; then also what
        was built.
    """
    which = [_COLUMNS.instance_uuid == instance_uuid]
    states = list(OPEN)
    if attempt_above is not None:
        which.append(_COLUMNS.attempt_above == attempt_above)
        states.append(DONE)
    change = sa.update(models.Placement).where(*which, _COLUMNS.state.in_(states))
    connection.execute(change.values(state=CANCEL, expires=0.0))


def attempt_put_aside(
    connection: sa.Connection, states: Collection[str], seconds: float
) -> str | None:
    """Have the first attempt that is due looked at later; return the uuid of its instance."""
    found = attempts_due(connection, states, 1)
    for row in found:
        attempts_set(connection, [row['id']], row['state'], seconds=seconds)
    return found[0]['instance_uuid'] if found else None


def attempts_purge(connection: sa.Connection, limit: int) -> int:
    """Delete attempts that have been over for long, some at a time; return how many."""
    query = (
        sa.select(_COLUMNS.id)
        .where(_COLUMNS.state.in_(OVER), _COLUMNS.expires < engine.now())
        .limit(limit)
    )
    found = list(connection.execute(query).scalars())
    if found:
        connection.execute(sa.delete(models.Placement).where(_COLUMNS.id.in_(found)))
    return len(found)
