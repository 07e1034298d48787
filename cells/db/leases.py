"""Statements on leases: which worker of a cell does what only one is to do."""

import sqlalchemy as sa

from cells.db import engine, models, statements

_COLUMNS = models.Lease.__table__.c


def lease_take(database: engine.Database, name: str, holder: str, seconds: float) -> bool:
    """Take a lease that is free or over, or renew the own one, by the clock of the database.

    :returns: whether ``holder`` has it now, for so many seconds.
    """
    take = (
        sa.update(models.Lease)
        .where(
            _COLUMNS.name == name,
            sa.or_(
                _COLUMNS.holder == holder,
                _COLUMNS.expires < engine.now(),
                # The clock was set back since: nobody may have it for that long (D8).
                _COLUMNS.expires > engine.now() + 2 * seconds,
            ),
        )
        .values(holder=holder, expires=engine.now() + seconds)
    )
    with database.write() as connection:
        if connection.execute(take).rowcount:
            return True
        row = {'name': name, 'holder': holder, 'expires': engine.now() + seconds}
        return bool(statements.insert_new(connection, models.Lease, [row]))


def lease_release(database: engine.Database, name: str, holder: str) -> None:
    """Let another worker have it at once."""
    with database.write() as connection:
        connection.execute(
            sa.update(models.Lease)
            .where(_COLUMNS.name == name, _COLUMNS.holder == holder)
            .values(expires=0.0)
        )


def lease_get_all(database: engine.Database) -> dict[str, str]:
    """Return who holds what, by name of the lease; those that are over are left out."""
    query = sa.select(_COLUMNS.name, _COLUMNS.holder).where(_COLUMNS.expires > engine.now())
    with database.read() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}
