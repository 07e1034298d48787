"""Queries on the neighbours of this cell and on what is known of them."""

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from oslo_db import exception as db_exc

from cells import exceptions, paths
from cells.db import changes, drains, engine, models, path_aliases, statements

_CELLS = models.Cell.__table__.c
_REPORTS = models.NeighbourReport.__table__.c


def cell_get_all(database: engine.Database) -> list[dict[str, Any]]:
    """Return all neighbours, values by column."""
    query = sa.select(*_CELLS).where(_CELLS.deleted == 0).order_by(_CELLS.id)
    with database.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def cell_get(connection: sa.Connection, name: str) -> dict[str, Any] | None:
    """Return a neighbour by name, values by column."""
    query = sa.select(*_CELLS).where(_CELLS.name == name, _CELLS.deleted == 0)
    found = connection.execute(query).mappings().first()
    return dict(found) if found is not None else None


def cell_create(
    database: engine.Database, values: Mapping[str, Any], own_name: str | None = None
) -> dict[str, Any]:
    """Add a neighbour and return its row.

    :param own_name: of this cell, where the paths of aliases begin.
    :raises ValueError: a cell may not have this name (R11).
    :raises CellExists: there is one of that name.
    :raises Invalid: a cell that was renamed or moved is still known by that name (R12).
    """
    paths.check_name(values['name'])
    try:
        with database.write() as connection:
            if own_name is not None and not values.get('is_parent'):
                path_aliases.check_free(connection, paths.CellPath((own_name, values['name'])))
            connection.execute(sa.insert(models.Cell).values(**values))
            changes.bump(connection, changes.NEIGHBOURS)
            row = cell_get(connection, values['name'])
    except db_exc.DBDuplicateEntry:
        raise exceptions.CellExists(name=values['name']) from None
    assert row is not None
    return row


def cell_update(
    database: engine.Database, name: str, values: Mapping[str, Any], own_name: str | None = None
) -> dict[str, Any] | None:
    """Change a neighbour and return its row, looked up by the old name: None when renamed.

    The paths that lead to a child that is renamed, and to all below it, stay known (R12).

    :param own_name: of this cell, where these paths begin.
    :raises CellNotFound: there is none.
    :raises CellExists: the new name is taken.
    """
    change = sa.update(models.Cell).where(_CELLS.name == name, _CELLS.deleted == 0)
    try:
        with database.write() as connection:
            if not connection.execute(change.values(**values)).rowcount:
                raise exceptions.CellNotFound(cell_name=name)
            if values.get('name', name) != name:
                # It was told of another cell; the next one of that name is not to have it.
                connection.execute(sa.delete(models.NeighbourReport).where(_REPORTS.name == name))
                drains.drain_rename(connection, name, values['name'])
                renamed = cell_get(connection, values['name'])
                if own_name is not None and renamed is not None and not renamed['is_parent']:
                    old, new = (paths.CellPath((own_name, one)) for one in (name, values['name']))
                    path_aliases.alias_create(connection, old, new)
            changes.bump(connection, changes.NEIGHBOURS)
            return cell_get(connection, name)
    except db_exc.DBDuplicateEntry:
        raise exceptions.CellExists(name=values['name']) from None


def cell_delete(database: engine.Database, name: str) -> int:
    """Delete a neighbour, softly, and what was known of it; return how many rows."""
    delete = (
        sa.update(models.Cell)
        .where(_CELLS.name == name, _CELLS.deleted == 0)
        .values(deleted=_CELLS.id, deleted_at=models.utcnow())
    )
    with database.write() as connection:
        count = connection.execute(delete).rowcount
        if count:
            connection.execute(sa.delete(models.NeighbourReport).where(_REPORTS.name == name))
            drains.drain_delete(connection, name)
            changes.bump(connection, changes.NEIGHBOURS)
        return count


def cell_id(database: engine.Database) -> str:
    """Return the id of this cell, which was made with the schema."""
    with database.read() as connection:
        query = sa.select(models.CellIdentity.__table__.c.id)
        return str(connection.execute(query).scalar_one())


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


def offset_store(database: engine.Database, name: str, offset: float) -> None:
    """Note by how many seconds the clock of a neighbour is ahead."""
    update = sa.update(models.NeighbourReport).where(_REPORTS.name == name)
    with database.write() as connection:
        connection.execute(update.values(clock_offset=offset))


def report_store(database: engine.Database, name: str, reported: Mapping[str, str]) -> None:
    """Keep what a neighbour reported, as JSON texts by column, and let all workers know."""
    update = sa.update(models.NeighbourReport).where(_REPORTS.name == name)
    with database.write() as connection:
        if connection.execute(update.values(**reported)).rowcount:
            changes.bump(connection, changes.REPORTS)
