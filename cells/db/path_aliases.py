"""Paths that cells had before they were renamed or moved (R12).

Records of instances, and what users hold, name cells by their paths. A row here says where
what was below one path is now; no record is rewritten. It is kept at the cell that uses such
paths, which is the top and every cell whose API services ask for cells below it.
"""

from typing import Final

import sqlalchemy as sa

from cells import exceptions, paths
from cells.db import changes, engine, models, statements

_COLUMNS: Final = models.PathAlias.__table__.c

LONGEST_PREFIX: Final = 512


def aliases(database: engine.Database) -> paths.Aliases:
    """Return all that is known."""
    with database.read() as connection:
        return _aliases(connection)


def _aliases(connection: sa.Connection) -> paths.Aliases:
    found = connection.execute(sa.select(_COLUMNS.old_prefix, _COLUMNS.new_prefix)).all()
    parse = paths.CellPath.parse
    return paths.Aliases({parse(row[0]): parse(row[1]) for row in found})


def alias_get_all(database: engine.Database) -> list[tuple[str, str]]:
    """Return old and new paths, in the order of the old ones."""
    query = sa.select(_COLUMNS.old_prefix, _COLUMNS.new_prefix).order_by(_COLUMNS.old_prefix)
    with database.read() as connection:
        return [(row[0], row[1]) for row in connection.execute(query)]


def alias_create(connection: sa.Connection, old: paths.CellPath, new: paths.CellPath) -> None:
    """Note that a cell, and all below it, is under another path now.

    What led to the old path leads to the new one from now on; what led away from the new one is
    dropped, as it is in use again.

    :raises Invalid: one of the two lies below the other's old place, so that it would lead nowhere.
    """
    if len(str(old)) > LONGEST_PREFIX:
        raise exceptions.Invalid(
            reason='%.40s... has %d characters, at most %d are allowed'
            % (old, len(str(old)), LONGEST_PREFIX)
        )
    if new.starts_with(old):
        raise exceptions.Invalid(
            reason='%s cannot stand for %s: the first is a part of the second' % (old, new)
        )
    connection.execute(sa.delete(models.PathAlias).where(_COLUMNS.old_prefix == str(new)))
    for row in connection.execute(sa.select(_COLUMNS.old_prefix, _COLUMNS.new_prefix)).all():
        target = paths.CellPath.parse(row.new_prefix)
        if target.starts_with(old):
            moved = paths.CellPath(new.names + target.names[len(old) :])
            changed = sa.update(models.PathAlias).where(_COLUMNS.old_prefix == row.old_prefix)
            connection.execute(changed.values(new_prefix=str(moved)))
    statements.insert_or_update(
        connection,
        models.PathAlias,
        {'old_prefix': str(old), 'new_prefix': str(new), 'created_at': engine.now()},
        {'new_prefix': str(new)},
    )
    try:
        known = _aliases(connection)
        for path in known.prefixes:
            known.resolve(path)
    except ValueError as error:
        raise exceptions.Invalid(reason='%s cannot stand for %s: %s' % (old, new, error)) from None
    changes.bump(connection, changes.NEIGHBOURS)


def check_free(connection: sa.Connection, path: paths.CellPath) -> None:
    """Refuse a path for a new cell by which another one is still known.

    What is for the new cell would go to the other one.

    :raises Invalid: it is.
    """
    query = sa.select(_COLUMNS.new_prefix).where(_COLUMNS.old_prefix == str(path))
    known = connection.execute(query).scalar()
    if known is not None:
        raise exceptions.Invalid(
            reason='%s is still the alias of %s, whose instances may be known by it. Give the new '
            'cell another name, or forget the alias first '
            '("nova-cells-manage cell alias-delete %s")' % (path, known, path)
        )


def alias_delete(connection: sa.Connection, old: paths.CellPath) -> int:
    """Forget where what was under a path is now; return how many rows that were."""
    gone = sa.delete(models.PathAlias).where(_COLUMNS.old_prefix == str(old))
    count = connection.execute(gone).rowcount
    if count:
        changes.bump(connection, changes.NEIGHBOURS)
    return count
