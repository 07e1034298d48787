"""Which cells take no new instances: this cell, or children of it, by name (C7).

A row lasts until an operator takes it away, through restarts of daemons and of the database;
the workers read it anew when the counter of the neighbours is raised. A child that is
drained here gets no builds from here, whatever kind of cell it is and whether it is up or not.
"""

from typing import Any, Final

import sqlalchemy as sa

from cells.db import changes, engine, models, statements

_COLUMNS: Final = models.Drain.__table__.c

LONGEST_REASON: Final = 255


def drain_get_all(database: engine.Database) -> dict[str, dict[str, Any]]:
    """Return reason and created_at (seconds since the epoch) by name."""
    with database.read() as connection:
        found = connection.execute(sa.select(*_COLUMNS)).mappings()
        return {row['name']: dict(row) for row in found}


def drain_create(connection: sa.Connection, name: str, reason: str) -> None:
    """Note that a cell takes no new instances; one that is drained has another reason then."""
    statements.insert_or_update(
        connection,
        models.Drain,
        {'name': name, 'reason': reason[:LONGEST_REASON], 'created_at': engine.now()},
        {'reason': reason[:LONGEST_REASON]},
    )
    changes.bump(connection, changes.NEIGHBOURS)


def drain_delete(connection: sa.Connection, name: str) -> int:
    """Let a cell take new instances; return how many rows that were."""
    count = connection.execute(sa.delete(models.Drain).where(_COLUMNS.name == name)).rowcount
    if count:
        changes.bump(connection, changes.NEIGHBOURS)
    return count


def drain_rename(connection: sa.Connection, old: str, new: str) -> None:
    """Have what is known of a cell stand under its new name."""
    connection.execute(sa.delete(models.Drain).where(_COLUMNS.name == new))
    change = sa.update(models.Drain).where(_COLUMNS.name == old)
    connection.execute(change.values(name=new))
