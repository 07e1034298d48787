"""Counters by which the workers of a cell see that something has changed.

Who changes what the others keep a copy of raises its counter in the same
transaction; the others compare the counters a few times a second, which costs
one small row each.
"""

from typing import Final

import sqlalchemy as sa

from cells.db import engine, models, statements

_COLUMNS = models.Change.__table__.c
_ALL: Final = sa.select(_COLUMNS.name, _COLUMNS.version)

#: The neighbours: rows of ``cells``.
NEIGHBOURS: Final = 'neighbours'
#: What the own capacities are counted from: services, hosts, flavors.
HOSTS: Final = 'hosts'
#: That a parent asked to be told.
WANTED: Final = 'wanted'
#: What neighbours reported.
REPORTS: Final = 'reports'


def bump(connection: sa.Connection, name: str) -> None:
    """Raise a counter, in the transaction of what has changed."""
    # One statement: of two transactions that look first and then insert, MariaDB ends one.
    statements.insert_or_update(
        connection,
        models.Change,
        {'name': name, 'version': 1},
        {'version': _COLUMNS.version + 1},
    )


def versions(database: engine.Database) -> dict[str, int]:
    """Return all counters by name."""
    with database.read() as connection:
        return {row[0]: row[1] for row in connection.execute(_ALL)}
