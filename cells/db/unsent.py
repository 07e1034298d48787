"""Claims on the dirty set: who sends what of it, and what becomes of it.

A claim is a token that is used once. Who marks something again while it is being sent takes
the token off (:func:`cells.db.dirty.mark`), so that only what has not changed since is dropped
when the cells above have it. Times are of the database.
"""

import functools
from collections.abc import Collection
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from cells.db import dirty, engine, models, statements

_COLUMNS: Final = models.Dirty.__table__.c
_INSTANCES: Final = models.Instance.__table__.c

#: Stands for an instance that a plain cell was told of, and is to be told of once more.
CLOSING: Final = 'closing'
#: Between a worker's name and what makes a claim of it unique.
MARK: Final = '#'
#: Stands for the claim on what is left alone for a while: who marks it takes that off as well.
LATER: Final = '(later)'

_CLAIMED: Final = (
    _COLUMNS.instance_uuid,
    _COLUMNS.part,
    _COLUMNS.key,
    _COLUMNS.names,
    _COLUMNS.epoch,
    _COLUMNS.seq,
    _COLUMNS.attempts,
    _COLUMNS.marked_at,
)
#: What :func:`close_later` is given, by the name of its parameter.
_GIVEN: Final = {
    'a_uuid': _COLUMNS.instance_uuid.type,
    'new_names': _COLUMNS.names.type,
    'new_epoch': _COLUMNS.epoch.type,
    'new_seq': _COLUMNS.seq.type,
}
#: Of these an instance has one row; its key is empty.
_SINGLE: Final = (dirty.INSTANCE, dirty.CONSOLE, CLOSING)


def due(database: engine.Database) -> bool:
    """Tell whether there is something to send."""
    with database.read() as connection:
        for which in (_fresh(), _again()):
            if connection.execute(sa.select(_COLUMNS.part).where(which).limit(1)).first():
                return True
    return False


def _fresh() -> sa.ColumnElement[bool]:
    return _COLUMNS.claimed_until == 0.0


def _again() -> sa.ColumnElement[bool]:
    return sa.and_(_COLUMNS.claimed_until > 0.0, _COLUMNS.claimed_until < engine.now())


def claim(
    connection: sa.Connection, token: str, seconds: float, limit: int
) -> list[dict[str, Any]]:
    """Claim what nobody sends: first what failed before and is due again, then the oldest.

    :param token: used for no other claim; begins with the name of the worker.
    """
    found: list[dict[str, Any]] = []
    for which, order in ((_again(), _COLUMNS.claimed_until), (_fresh(), _COLUMNS.marked_at)):
        if len(found) < limit:
            query = sa.select(*_CLAIMED).where(which).order_by(order).limit(limit - len(found))
            found += statements.locked(connection, query, free_only=True)
    keys: dict[str, list[tuple[str, str]]] = {}
    for row in found:
        keys.setdefault(row['part'], []).append((row['instance_uuid'], row['key']))
    change = sa.update(models.Dirty).values(claimed_by=token, claimed_until=engine.now() + seconds)
    for part, pairs in keys.items():
        connection.execute(change.where(_those(part, pairs)))
    return found


def _those(part: str, pairs: list[tuple[str, str]]) -> sa.ColumnElement[bool]:
    which = [_COLUMNS.part == part, _COLUMNS.instance_uuid.in_([uuid for uuid, _ in pairs])]
    if part not in _SINGLE:
        which.append(sa.tuple_(_COLUMNS.instance_uuid, _COLUMNS.key).in_(pairs))
    return sa.and_(*which)


def drop(connection: sa.Connection, token: str, uuids: Collection[str]) -> int:
    """Drop what the cells above have now, but for what was marked again; return how many rows."""
    gone = sa.delete(models.Dirty).where(
        _COLUMNS.instance_uuid.in_(uuids), _COLUMNS.claimed_by == token
    )
    return connection.execute(gone).rowcount


def release(
    connection: sa.Connection,
    token: str,
    uuids: Collection[str],
    delay: float = 0.0,
    failed: bool = False,
) -> int:
    """Give back what was claimed, to be sent again after some seconds; return how many rows.

    :param failed: whether it may be its own fault that it was not taken.
    """
    values: dict[str, Any] = {
        'claimed_by': LATER if delay else None,
        'claimed_until': engine.now() + delay if delay else 0.0,
    }
    if failed:
        values['attempts'] = _COLUMNS.attempts + 1
    change = sa.update(models.Dirty).where(
        _COLUMNS.instance_uuid.in_(uuids), _COLUMNS.claimed_by == token
    )
    return connection.execute(change.values(**values)).rowcount


def release_marked(connection: sa.Connection, uuids: Collection[str], delay: float = 0.0) -> None:
    """Free what was marked again while it was being sent, to be sent after some seconds."""
    connection.execute(
        sa.update(models.Dirty)
        .where(
            _COLUMNS.instance_uuid.in_(uuids),
            _COLUMNS.claimed_by.is_(None),
            _COLUMNS.claimed_until > 0.0,
            _COLUMNS.part != CLOSING,
        )
        .values(claimed_until=engine.now() + delay if delay else 0.0)
    )


def release_all(connection: sa.Connection, worker: str) -> None:
    """Free what an earlier process in this worker's slot had claimed."""
    connection.execute(
        sa.update(models.Dirty)
        .where(_COLUMNS.claimed_by.startswith(worker + MARK, autoescape=True))
        .values(claimed_by=None, claimed_until=0.0)
    )


def mark_whole(connection: sa.Connection, uuid: str) -> None:
    """Have everything told of an instance."""
    query = sa.select(_INSTANCES.sync_epoch, _INSTANCES.sync_seq).where(_INSTANCES.uuid == uuid)
    row = connection.execute(query).first()
    if row is not None:
        dirty.mark(connection, uuid, dirty.ALL, row.sync_epoch, row.sync_seq)


def begin_again(connection: sa.Connection, uuid: str, known: tuple[int, int]) -> bool:
    """Count the states of an instance anew, beyond what the cells above know, and tell all.

    :param known: the pair that they have.
    :returns: False when what is here is not behind that.
    """
    query = sa.select(_INSTANCES.id, _INSTANCES.sync_epoch, _INSTANCES.sync_seq).where(
        _INSTANCES.uuid == uuid
    )
    found = statements.locked(connection, query, free_only=False)
    if not found or (found[0]['sync_epoch'], found[0]['sync_seq']) >= known:
        return False
    epoch, seq = known[0] + 1, found[0]['sync_seq'] + 1
    change = sa.update(models.Instance).where(_INSTANCES.id == found[0]['id'])
    connection.execute(change.values(sync_epoch=epoch, sync_seq=seq))
    dirty.mark(connection, uuid, dirty.ALL, epoch, seq)
    return True


def close_later(
    connection: sa.Connection, rows: Collection[tuple[str, str, int, int]], seconds: float
) -> None:
    """Have instances told once more, after their last change.

    :param rows: uuid, names, epoch and seq of each; none twice.
    :param seconds: until then.
    """
    dialect = connection.dialect.name
    if not rows:
        return
    if dialect != 'postgresql':
        connection.execute(
            _closing(dialect),
            [{**dict(zip(_GIVEN, row, strict=True)), 'in_seconds': seconds} for row in rows],
        )
        return
    # One statement for all: psycopg2 would make a round trip for each row.
    columns = zip(_GIVEN, zip(*rows, strict=True), strict=True)
    given = {name: list(values) for name, values in columns}
    connection.execute(_closing_many(), {**given, 'in_seconds': seconds})


@functools.cache
def _closing(dialect: str) -> sa.Insert:
    uuid, names, epoch, seq = (sa.bindparam(name, type_=_GIVEN[name]) for name in _GIVEN)
    told_again = engine.now() + sa.bindparam('in_seconds', type_=sa.Double())
    changed = {'epoch': epoch, 'seq': seq, 'claimed_until': told_again}
    return statements.upsert(
        dialect,
        models.Dirty,
        {
            **changed,
            'instance_uuid': uuid,
            'part': CLOSING,
            'key': '',
            'names': names,
            'marked_at': engine.now(),
            'attempts': 0,
        },
        {**changed, 'names': dirty.joined(names), 'claimed_by': None},
    )


@functools.cache
def _closing_many() -> sa.Insert:
    arrays = (sa.bindparam(name, type_=pg.ARRAY(kind)) for name, kind in _GIVEN.items())
    names = (sa.column(name, kind) for name, kind in _GIVEN.items())
    given = sa.func.unnest(*arrays).table_valued(*names).render_derived()
    table: Any = models.Dirty.__table__
    told_again = engine.now() + sa.bindparam('in_seconds', type_=sa.Double())
    values: dict[str, Any] = {
        'instance_uuid': given.c.a_uuid,
        'part': sa.literal(CLOSING),
        'key': sa.literal(''),
        'names': given.c.new_names,
        'epoch': given.c.new_epoch,
        'seq': given.c.new_seq,
        'marked_at': engine.now(),
        'attempts': sa.literal(0),
        'claimed_until': told_again,
    }
    insert = pg.insert(table).from_select(
        list(values), sa.select(*values.values()), include_defaults=False
    )
    changed = {name: insert.excluded[name] for name in ('epoch', 'seq', 'claimed_until')}
    return insert.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={**changed, 'names': dirty.joined(insert.excluded.names), 'claimed_by': None},
    )


def closing_in(connection: sa.Connection, uuids: Collection[str]) -> dict[str, float]:
    """Return in how many seconds these instances are to be told once more, those that are."""
    query = sa.select(_COLUMNS.instance_uuid, _COLUMNS.claimed_until - engine.now()).where(
        _COLUMNS.instance_uuid.in_(uuids),
        _COLUMNS.part == CLOSING,
        sa.or_(_COLUMNS.claimed_by.is_(None), _COLUMNS.claimed_by == LATER),
    )
    return {row[0]: float(row[1]) for row in connection.execute(query)}


def summary(database: engine.Database) -> dict[str, Any]:
    """Return how many rows wait, and for how many seconds the oldest of them does."""
    query = sa.select(sa.func.count(), engine.now() - sa.func.min(_COLUMNS.marked_at)).where(
        _COLUMNS.part != CLOSING
    )
    failing = sa.select(sa.func.count()).where(_COLUMNS.attempts > 0, _COLUMNS.part != CLOSING)
    with database.read() as connection:
        count, age = connection.execute(query).one()
        return {
            'rows': count,
            'oldest_seconds': None if age is None else float(age),
            'failing': connection.execute(failing).scalar_one(),
        }
