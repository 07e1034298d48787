"""Statements of the sweep: what has been under way for long, and what work there is for it."""

import datetime
from collections.abc import Collection, Iterable
from typing import Any, Final

import sqlalchemy as sa

from cells.db import dirty, engine, inbox, models, placements
from cells.db import journal as db_journal

_INSTANCES: Final = models.Instance.__table__.c
_DIRTY: Final = models.Dirty.__table__.c
_IN: Final = models.Inbox.__table__.c
_OUT: Final = models.Outbox.__table__.c
_PLACEMENTS: Final = models.Placement.__table__.c

_MOMENT: Final = sa.func.coalesce(_INSTANCES.updated_at, _INSTANCES.created_at)


def stuck(
    connection: sa.Connection, older_than: float, after: int, limit: int
) -> list[dict[str, Any]]:
    """Return instances with a task state that have not changed for so many seconds.

    :param after: the id of the last one that was looked at.
    """
    query = (
        sa.select(
            _INSTANCES.id,
            _INSTANCES.uuid,
            _INSTANCES.cell_name,
            _INSTANCES.host,
            _INSTANCES.vm_state,
            _INSTANCES.task_state,
            _MOMENT.label('changed_at'),
        )
        .where(
            _INSTANCES.deleted == 0,
            _INSTANCES.task_state.is_not(None),
            _unchanged(older_than),
            _INSTANCES.id > after,
        )
        .order_by(_INSTANCES.id)
        .limit(limit)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def stuck_builds(connection: sa.Connection, older_than: float, limit: int) -> list[dict[str, Any]]:
    """Return records of instances that were to be built so long ago, and that no cell has."""
    placed = sa.select(_PLACEMENTS.instance_uuid).where(_PLACEMENTS.state.in_(placements.OPEN))
    query = (
        sa.select(_INSTANCES.uuid, _INSTANCES.vm_state, _INSTANCES.task_state)
        .where(
            _INSTANCES.deleted == 0,
            _INSTANCES.cell_name.is_(None),
            _INSTANCES.host.is_(None),
            _INSTANCES.launched_at.is_(None),
            _INSTANCES.vm_state == 'building',
            _unchanged(older_than),
            _INSTANCES.uuid.not_in(placed),
        )
        .order_by(_INSTANCES.id)
        .limit(limit)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def _unchanged(seconds: float) -> sa.ColumnElement[bool]:
    return sa.func.coalesce(_INSTANCES.updated_at, _INSTANCES.created_at) < (
        models.utcnow() - datetime.timedelta(seconds=seconds)
    )


def builds_waiting(connection: sa.Connection) -> bool:
    """Tell whether builds are in the journal that have not been looked at."""
    query = sa.select(_IN.id).where(_IN.operation == 'build_instances', _IN.state.in_(inbox.OPEN))
    return connection.execute(query.limit(1)).first() is not None


def ordered(connection: sa.Connection, uuids: Collection[str]) -> set[str]:
    """Return those instances of which an order is in the journal, or on its way from here."""
    out = (
        sa.select(_IN.instance_uuid)
        .join(_OUT.uuid.table, _OUT.uuid == _IN.uuid)
        .where(_IN.instance_uuid.in_(uuids), _OUT.state != db_journal.UNCONFIRMED)
    )
    return inbox.inbox_open(connection, uuids) | set(connection.execute(out).scalars())


def told(connection: sa.Connection, uuids: Collection[str]) -> set[str]:
    """Return those instances whose state is on its way up."""
    query = sa.select(_DIRTY.instance_uuid).where(
        _DIRTY.instance_uuid.in_(uuids), _DIRTY.part == dirty.INSTANCE
    )
    return set(connection.execute(query).scalars())


def placed(connection: sa.Connection, uuids: Collection[str]) -> set[str]:
    """Return those instances of which a build is under way."""
    query = sa.select(_PLACEMENTS.instance_uuid).where(
        _PLACEMENTS.instance_uuid.in_(uuids), _PLACEMENTS.state.in_(placements.OPEN)
    )
    return set(connection.execute(query).scalars())


def states(connection: sa.Connection, uuids: Iterable[str]) -> dict[str, Any]:
    """Return what is known of instances, by uuid: deleted and task_state."""
    query = sa.select(_INSTANCES.uuid, _INSTANCES.deleted, _INSTANCES.task_state).where(
        _INSTANCES.uuid.in_(list(uuids))
    )
    return {row.uuid: row for row in connection.execute(query)}


def overdue(
    connection: sa.Connection, older_than: float, after: int, limit: int
) -> list[dict[str, Any]]:
    """Return what was written for neighbours so long ago, and no broker has taken.

    :param after: the id of the last one that was looked at.
    :returns: rows with id, uuid, neighbour and envelope.
    """
    query = (
        sa.select(_OUT.id, _OUT.uuid, _OUT.neighbour, _OUT.envelope)
        .where(
            _OUT.state == db_journal.PENDING,
            _OUT.sent_at.is_(None),
            _OUT.created_at < engine.now() - older_than,
            _OUT.id > after,
        )
        .order_by(_OUT.id)
        .limit(limit)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def unsettled(database: engine.Database, older_than: float) -> dict[str, int]:
    """Return how many instances have been under way for so long, by the path to their cell."""
    query = (
        sa.select(_INSTANCES.cell_name, sa.func.count())
        .where(
            _INSTANCES.deleted == 0,
            _INSTANCES.task_state.is_not(None),
            _unchanged(older_than),
        )
        .group_by(_INSTANCES.cell_name)
    )
    with database.read() as connection:
        return {row[0] or '': row[1] for row in connection.execute(query)}


def inconsistent(database: engine.Database) -> int:
    """Return how many records do not fit the cell that they are of."""
    query = sa.select(sa.func.count()).where(
        _INSTANCES.inconsistent.is_not(None), _INSTANCES.deleted == 0
    )
    with database.read() as connection:
        return int(connection.execute(query).scalar_one())
