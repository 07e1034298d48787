"""Queries on orders to send the state of instances upwards again."""

import datetime
from typing import Any, Final

import sqlalchemy as sa

from cells.db import engine, models

_COLUMNS: Final = models.SyncRequest.__table__.c

OPEN: Final = 'open'
DONE: Final = 'done'


def sync_request_create(
    connection: sa.Connection,
    uuid: str,
    project_id: str | None,
    updated_since: datetime.datetime | None,
    deleted: bool,
    requested_by: str,
    request_id: str | None,
) -> None:
    """Note an order, in the transaction of the message that brought it."""
    connection.execute(
        sa.insert(models.SyncRequest).values(
            uuid=uuid,
            project_id=project_id,
            updated_since=updated_since,
            deleted=deleted,
            requested_by=requested_by,
            request_id=request_id,
            requested_at=engine.now(),
            state=OPEN,
            looked_at=0,
            repaired=0,
        )
    )


def sync_request_open(database: engine.Database, limit: int) -> list[dict[str, Any]]:
    """Return orders that are not carried out, oldest first, values by column."""
    query = (
        sa.select(*_COLUMNS)
        .where(sa.or_(_COLUMNS.state == OPEN, _COLUMNS.state.is_(None)))
        .order_by(_COLUMNS.requested_at)
        .limit(limit)
    )
    with database.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def sync_request_find(connection: sa.Connection, request_id: str) -> dict[str, Any] | None:
    """Return the newest order of a request, values by column, or None."""
    query = sa.select(*_COLUMNS).where(_COLUMNS.request_id == request_id)
    found = connection.execute(query.order_by(_COLUMNS.requested_at.desc())).mappings().first()
    return None if found is None else dict(found)


def sync_request_progress(
    connection: sa.Connection, uuid: str, position: str | None, looked_at: int, repaired: int
) -> None:
    """Note how far an order is.

    :param position: the instance that was looked at last; None to leave that as it is.
    :param looked_at: how many more instances; ``repaired``: of how many of them all is told.
    """
    values: dict[str, Any] = {
        'looked_at': sa.func.coalesce(_COLUMNS.looked_at, 0) + looked_at,
        'repaired': sa.func.coalesce(_COLUMNS.repaired, 0) + repaired,
    }
    if position is not None:
        values['position'] = position
    connection.execute(sa.update(models.SyncRequest).where(_COLUMNS.uuid == uuid).values(values))


def sync_request_end(connection: sa.Connection, uuid: str) -> None:
    """Note that an order is carried out."""
    connection.execute(
        sa.update(models.SyncRequest)
        .where(_COLUMNS.uuid == uuid)
        .values(state=DONE, ended_at=engine.now())
    )


def sync_request_get_all(database: engine.Database, limit: int = 1000) -> list[dict[str, Any]]:
    """Return the newest orders, values by column."""
    query = sa.select(*_COLUMNS).order_by(_COLUMNS.requested_at.desc()).limit(limit)
    with database.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def sync_request_purge(connection: sa.Connection, older_than: float, limit: int) -> int:
    """Delete orders that ended that many seconds ago, some at a time; return how many."""
    query = (
        sa.select(_COLUMNS.uuid)
        .where(_COLUMNS.state == DONE, _COLUMNS.ended_at < engine.now() - older_than)
        .limit(limit)
    )
    found = list(connection.execute(query).scalars())
    if found:
        connection.execute(sa.delete(models.SyncRequest).where(_COLUMNS.uuid.in_(found)))
    return len(found)


def sync_request_count(database: engine.Database) -> int:
    """Return how many orders there are."""
    with database.read() as connection:
        return connection.execute(
            sa.select(sa.func.count()).select_from(_COLUMNS.uuid.table)
        ).scalar_one()
