"""Queries on orders to send the state of instances upwards again."""

import datetime
from typing import Any

import sqlalchemy as sa

from cells.db import engine, models

_COLUMNS = models.SyncRequest.__table__.c


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
        )
    )


def sync_request_get_all(database: engine.Database, limit: int = 1000) -> list[dict[str, Any]]:
    """Return the newest orders, values by column."""
    query = sa.select(*_COLUMNS).order_by(_COLUMNS.requested_at.desc()).limit(limit)
    with database.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def sync_request_count(database: engine.Database) -> int:
    """Return how many orders there are."""
    with database.read() as connection:
        return connection.execute(
            sa.select(sa.func.count()).select_from(_COLUMNS.uuid.table)
        ).scalar_one()
