"""Queries on the neighbours of this cell and on what is known of them."""

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from oslo_db import exception as db_exc

from cells import exceptions, paths
from cells.db import engine, models, statements

_CELLS = models.Cell.__table__.c
_REPORTS = models.NeighbourReport.__table__.c


def cell_get_all(database: engine.Database) -> list[dict[str, Any]]:
    """Return all neighbours, values by column."""
    query = sa.select(*_CELLS).where(_CELLS.deleted == 0).order_by(_CELLS.id)
    with database.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def cell_create(database: engine.Database, values: Mapping[str, Any]) -> None:
    """Add a neighbour.

    :raises ValueError: a cell may not have this name (R11).
    :raises CellExists: there is one of that name.
    """
    paths.check_name(values['name'])
    try:
        with database.write() as connection:
            connection.execute(sa.insert(models.Cell).values(**values))
    except db_exc.DBDuplicateEntry:
        raise exceptions.CellExists(name=values['name']) from None


def reports_get_all(database: engine.Database) -> dict[str, dict[str, Any]]:
    """Return what is known of the neighbours, by name."""
    with database.read() as connection:
        found = connection.execute(sa.select(*_REPORTS)).mappings()
        return {row['name']: dict(row) for row in found}


def reports_save(database: engine.Database, reports: Iterable[Mapping[str, Any]]) -> None:
    """Note what is known of neighbours; a newer ``last_seen`` is never replaced by an older."""
    unknown = [report for report in reports if not _report_update(database, report)]
    if unknown:
        with database.write() as connection:
            statements.insert_new(connection, models.NeighbourReport, unknown)
        # Another worker may have been first, and with an older report.
        for report in unknown:
            _report_update(database, report)


def _report_update(database: engine.Database, report: Mapping[str, Any]) -> bool:
    # A transaction for each: two workers that hold one row and want another would block.
    newer = (
        sa.update(models.NeighbourReport)
        .where(_REPORTS.name == report['name'], _REPORTS.last_seen <= report['last_seen'])
        .values(**report)
    )
    with database.write() as connection:
        return bool(connection.execute(newer).rowcount)
