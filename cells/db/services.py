"""Queries on services."""

import datetime
from typing import Any

import sqlalchemy as sa

from cells.db import engine, models, statements

_COLUMNS = models.Service.__table__.c


def service_get_all(
    database: engine.Database, disabled: bool | None = None
) -> list[dict[str, Any]]:
    """Return the services of this cell, values by column; only (not) disabled ones if given."""
    query = sa.select(*_COLUMNS).where(_COLUMNS.deleted == 0).order_by(_COLUMNS.id)
    if disabled is not None:
        query = query.where(_COLUMNS.disabled == disabled)
    with database.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def service_report(
    database: engine.Database,
    host: str,
    binary: str,
    topic: str,
    now: datetime.datetime | None = None,
) -> None:
    """Note that a service is alive; its row is made with the first report."""
    now = now or models.utcnow()
    alive = (
        sa.update(models.Service)
        .where(_COLUMNS.host == host, _COLUMNS.binary == binary, _COLUMNS.deleted == 0)
        .values(report_count=_COLUMNS.report_count + 1, last_seen_up=now, updated_at=now)
    )
    with database.write() as connection:
        if connection.execute(alive).rowcount:
            return
        # All workers of a host share the row: the first to come makes it.
        statements.insert_new(
            connection,
            models.Service,
            [
                {
                    'host': host,
                    'binary': binary,
                    'topic': topic,
                    'report_count': 1,
                    'disabled': False,
                    'last_seen_up': now,
                    'forced_down': False,
                    'version': 0,
                    'created_at': now,
                    'deleted': 0,
                }
            ],
        )
