"""Statements of the comparison with the cells above: which instances, and telling them anew."""

import datetime
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from cells.db import dirty, engine, models, statements
from cells.db.walks import Pages

_INSTANCES: Final = models.Instance.__table__.c
_DIRTY: Final = models.Dirty.__table__.c
_FAULTS: Final = models.InstanceFault.__table__.c
_ACTIONS: Final = models.InstanceAction.__table__.c
_EVENTS: Final = models.InstanceActionEvent.__table__.c

#: Rows of each kind that are told again with an instance of which there is no record.
MOST_ROWS: Final = 100


def living(connection: sa.Connection, after: str | None, length: int) -> Sequence[str]:
    """Return the uuids of a page of all instances that are not deleted."""
    return _page(connection, after, length, _INSTANCES.deleted == 0)


def matching(
    project_id: str | None, updated_since: datetime.datetime | None, deleted: bool
) -> Pages:
    """Return what gives the pages of the instances that fit.

    :param deleted: whether deleted ones count.
    """
    which = [] if deleted else [_INSTANCES.deleted == 0]
    if project_id is not None:
        which.append(_INSTANCES.project_id == project_id)
    if updated_since is not None:
        changed = sa.func.coalesce(_INSTANCES.updated_at, _INSTANCES.created_at)
        which.append(changed >= updated_since)

    def pages(connection: sa.Connection, after: str | None, length: int) -> Sequence[str]:
        return _page(connection, after, length, *which)

    return pages


def recently_changed(seconds: int) -> Pages:
    """Return what gives the pages of the instances that changed within so many seconds.

    :param seconds: 0 or less for all.
    """

    def pages(connection: sa.Connection, after: str | None, length: int) -> Sequence[str]:
        if seconds <= 0:
            return living(connection, after, length)
        since = models.utcnow() - datetime.timedelta(seconds=seconds)
        return matching(None, since, False)(connection, after, length)

    return pages


def _page(
    connection: sa.Connection, after: str | None, length: int, *which: sa.ColumnElement[bool]
) -> Sequence[str]:
    query = sa.select(_INSTANCES.uuid).where(*which).order_by(_INSTANCES.uuid).limit(length)
    if after is not None:
        query = query.where(_INSTANCES.uuid > after)
    return connection.execute(query).scalars().all()


def unsettled(
    connection: sa.Connection, uuids: Collection[str], younger_than: float
) -> frozenset[str]:
    """Return those of which something is on its way up, or has changed less long ago."""
    marked = sa.select(_DIRTY.instance_uuid).where(
        _DIRTY.instance_uuid.in_(uuids), _DIRTY.part == dirty.INSTANCE
    )
    since = models.utcnow() - datetime.timedelta(seconds=younger_than)
    changed = sa.select(_INSTANCES.uuid).where(
        _INSTANCES.uuid.in_(uuids),
        sa.func.coalesce(_INSTANCES.updated_at, _INSTANCES.created_at) > since,
    )
    found = set(connection.execute(marked).scalars())
    return frozenset(found | set(connection.execute(changed).scalars()))


def marked_between(
    connection: sa.Connection, after: str | None, until: str | None, limit: int
) -> frozenset[str]:
    """Return those in a range of uuids of which something is on its way up."""
    query = sa.select(_DIRTY.instance_uuid).where(_DIRTY.part == dirty.INSTANCE)
    if after is not None:
        query = query.where(_DIRTY.instance_uuid > after)
    if until is not None:
        query = query.where(_DIRTY.instance_uuid <= until)
    found = connection.execute(query.order_by(_DIRTY.instance_uuid).limit(limit))
    return frozenset(found.scalars())


def waiting(database: engine.Database) -> int:
    """Return how many marks are on instances."""
    query = sa.select(sa.func.count()).select_from(_DIRTY.part.table)
    with database.read() as connection:
        return int(connection.execute(query).scalar_one())


def tell_again(
    connection: sa.Connection, expected: Mapping[str, tuple[int, int] | None]
) -> list[str]:
    """Have everything told of instances once more, as if it had just changed.

    :param expected: by uuid the count of changes that they must have still: what has changed
        since is told anyway; None for any.
    :returns: the uuids of those.
    """
    query = (
        sa.select(_INSTANCES.id, _INSTANCES.uuid, _INSTANCES.sync_epoch, _INSTANCES.sync_seq)
        .where(_INSTANCES.uuid.in_(expected))
        .order_by(_INSTANCES.id)
    )
    told = []
    for row in statements.locked(connection, query, free_only=False):
        at = expected[row['uuid']]
        if at is not None and at != (row['sync_epoch'], row['sync_seq']):
            continue
        change = sa.update(models.Instance).where(_INSTANCES.id == row['id'])
        # It has not changed: when it last did is not to say so.
        values = {'sync_seq': row['sync_seq'] + 1, 'updated_at': _INSTANCES.updated_at}
        connection.execute(change.values(values))
        dirty.mark(connection, row['uuid'], dirty.ALL, row['sync_epoch'], row['sync_seq'] + 1)
        told.append(row['uuid'])
    return told


def tell_history(connection: sa.Connection, uuids: Collection[str]) -> None:
    """Have the newest faults, actions and steps of instances told once more."""
    for uuid in uuids:
        for part, key, query in (
            (dirty.FAULT, _FAULTS.uuid, _newest(_FAULTS, _FAULTS.instance_uuid == uuid)),
            (dirty.ACTION, _ACTIONS.uuid, _newest(_ACTIONS, _ACTIONS.instance_uuid == uuid)),
            (
                dirty.EVENT,
                _EVENTS.uuid,
                _newest(
                    _EVENTS,
                    _EVENTS.action_id.in_(
                        sa.select(_ACTIONS.id).where(_ACTIONS.instance_uuid == uuid)
                    ),
                ),
            ),
        ):
            for found in connection.execute(query.where(key.is_not(None))).scalars():
                dirty.mark_row(connection, uuid, part, found)


def _newest(columns: Any, which: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return sa.select(columns.uuid).where(which).order_by(columns.id.desc()).limit(MOST_ROWS)


def deleted_here(connection: sa.Connection, uuids: Collection[str]) -> dict[str, bool]:
    """Return whether instances are deleted here, by uuid; what was never here is left out."""
    query = sa.select(_INSTANCES.uuid, _INSTANCES.deleted).where(_INSTANCES.uuid.in_(uuids))
    return {row.uuid: bool(row.deleted) for row in connection.execute(query)}


# -- at the top --


def records_between(
    connection: sa.Connection,
    paths: Collection[str],
    after: str | None,
    until: str | None,
    left_out: Collection[str],
    limit: int,
) -> list[tuple[str, str]]:
    """Return records, with the paths to their cells, in a range of uuids; no deleted ones.

    :param paths: of the cells that they may be in.
    :param left_out: uuids that are not asked for.
    """
    query = sa.select(_INSTANCES.uuid, _INSTANCES.cell_name).where(
        _INSTANCES.deleted == 0, _INSTANCES.cell_name.in_(paths)
    )
    if after is not None:
        query = query.where(_INSTANCES.uuid > after)
    if until is not None:
        query = query.where(_INSTANCES.uuid <= until)
    if left_out:
        query = query.where(_INSTANCES.uuid.not_in(left_out))
    found = connection.execute(query.order_by(_INSTANCES.uuid).limit(limit)).all()
    return [(row.uuid, row.cell_name) for row in found]


def consistent(connection: sa.Connection, uuids: Collection[str]) -> int:
    """Take back that records and their cells do not fit; return of how many that was said."""
    change = sa.update(models.Instance).where(
        _INSTANCES.uuid.in_(uuids), _INSTANCES.inconsistent.is_not(None)
    )
    values = {'inconsistent': None, 'updated_at': _INSTANCES.updated_at}
    return connection.execute(change.values(values)).rowcount


def records(connection: sa.Connection, uuids: Collection[str]) -> dict[str, Any]:
    """Return what is known of instances, by uuid: cell_name, deleted and inconsistent."""
    query = sa.select(
        _INSTANCES.uuid, _INSTANCES.cell_name, _INSTANCES.deleted, _INSTANCES.inconsistent
    ).where(_INSTANCES.uuid.in_(uuids))
    return {row.uuid: row for row in connection.execute(query)}
