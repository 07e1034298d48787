"""Queries on the neighbours of this cell and on what is known of them."""

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from oslo_db import exception as db_exc

from cells import exceptions, paths
from cells.db import engine, models

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
    with database.write() as connection:
        for report in reports:
            values = dict(report)
            name = values.pop('name')
            newer = (
                sa.update(models.NeighbourReport)
                .where(_REPORTS.name == name, _REPORTS.last_seen <= values['last_seen'])
                .values(**values)
            )
            if connection.execute(newer).rowcount:
                continue
            known = sa.select(_REPORTS.name).where(_REPORTS.name == name)
            if connection.execute(known).first() is None:
                connection.execute(sa.insert(models.NeighbourReport).values(name=name, **values))
