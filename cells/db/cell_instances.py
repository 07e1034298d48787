"""Which instances are in which cells, as the records of this cell say."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells import paths
from cells.db import engine, models

_COLUMNS: Final = models.Instance.__table__.c


def counts(database: engine.Database) -> dict[str, int]:
    """Return how many instances are not deleted, by the path to their cell; '' for none."""
    query = (
        sa.select(_COLUMNS.cell_name, sa.func.count())
        .where(_COLUMNS.deleted == 0)
        .group_by(_COLUMNS.cell_name)
    )
    with database.read() as connection:
        return {row[0] or '': row[1] for row in connection.execute(query)}


def names_below(
    names: Iterable[str], below: paths.CellPath, aliases: Mapping[paths.CellPath, paths.CellPath]
) -> set[str]:
    """Return those of these paths that lead to a cell or below it, now or by an old name (R12).

    :param aliases: path that a cell had -> path that it has.
    """
    known = paths.Aliases(aliases)
    found = set()
    for name in names:
        try:
            path = known.resolve(paths.CellPath.parse(name))
        except ValueError:
            continue  # no path that any cell could have
        if path.starts_with(below):
            found.add(name)
    return found


def page(
    connection: sa.Connection, names: Collection[str], limit: int, after: int = 0
) -> list[dict[str, Any]]:
    """Return instances of cells that are not deleted, in the order of their ids.

    :param names: the paths to the cells, as they stand in the records.
    :param after: the id of the last one of the page before.
    """
    query = (
        sa.select(
            _COLUMNS.id,
            _COLUMNS.uuid,
            _COLUMNS.display_name,
            _COLUMNS.vm_state,
            _COLUMNS.task_state,
            _COLUMNS.cell_name,
        )
        .where(_COLUMNS.deleted == 0, _COLUMNS.cell_name.in_(names), _COLUMNS.id > after)
        .order_by(_COLUMNS.id)
        .limit(limit)
    )
    return [dict(row) for row in connection.execute(query).mappings()]
