"""Counters by which the workers of a cell see that something has changed.

Who changes what the others keep a copy of raises its counter in the same
transaction; the others compare the counters a few times a second, which costs
one small row each.
"""

from typing import Final

import sqlalchemy as sa

from cells.db import engine, models, statements

_COLUMNS = models.Change.__table__.c

#: The neighbours: rows of ``cells``.
NEIGHBOURS: Final = 'neighbours'
#: What the own capacities are counted from: services, hosts, flavors.
HOSTS: Final = 'hosts'
#: What neighbours reported.
REPORTS: Final = 'reports'


def bump(connection: sa.Connection, name: str) -> None:
    """Raise a counter, in the transaction of what has changed."""
    raised = sa.update(models.Change).where(_COLUMNS.name == name)
    if connection.execute(raised.values(version=_COLUMNS.version + 1)).rowcount:
        return
    if not statements.insert_new(connection, models.Change, [{'name': name, 'version': 1}]):
        connection.execute(raised.values(version=_COLUMNS.version + 1))


def versions(database: engine.Database) -> dict[str, int]:
    """Return all counters by name."""
    with database.read() as connection:
        found = connection.execute(sa.select(_COLUMNS.name, _COLUMNS.version))
        return {name: version for name, version in found}
