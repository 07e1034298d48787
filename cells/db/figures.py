"""How much waits in the tables of a cell, and for how long: for operators and alarms.

Each statement reads what is open, by an index, and not what has been done.
"""

from typing import Any, Final

import sqlalchemy as sa

from cells.db import engine, inbox, journal, models, services, unsent, walks

_IN: Final = models.Inbox.__table__.c
_OUT: Final = models.Outbox.__table__.c
_DEAD: Final = models.DeadMessage.__table__.c


def figures(database: engine.Database, service_down_time: float) -> dict[str, Any]:
    """Return what is in the tables.

    :returns: ``outbox``, a list of (neighbour, state, rows, age of the oldest); ``inbox``, a list
        of (state, rows, age of the oldest); ``parked``, messages put aside; ``sync``, see
        :func:`cells.db.unsent.summary`; ``round`` and ``last_round`` of the healing, values by
        column, or None; ``hosts``, how many there are by ``up``, ``down`` and ``disabled``.
    """
    with database.read() as connection:
        found = {
            'outbox': _outbox(connection),
            'inbox': _inbox(connection),
            'parked': _count(connection, sa.select(sa.func.count(_DEAD.id))),
            'round': walks.walk_get(connection, walks.ROUND),
            'last_round': walks.walk_get(connection, walks.ROUND + walks.LAST),
        }
    hosts = services.hosts_counted(database, service_down_time)
    return {**found, 'sync': unsent.summary(database), 'hosts': hosts}


def _outbox(connection: sa.Connection) -> list[tuple[str, str, int, float]]:
    query = sa.select(
        _OUT.neighbour,
        _OUT.state,
        sa.func.count(),
        engine.now() - sa.func.min(_OUT.created_at),
    ).where(_OUT.state.in_((journal.PENDING, journal.SENT)))
    query = query.group_by(_OUT.neighbour, _OUT.state)
    return [(row[0], row[1], row[2], float(row[3])) for row in connection.execute(query)]


def _inbox(connection: sa.Connection) -> list[tuple[str, int, float]]:
    states = (*inbox.OPEN, inbox.FAILED)
    query = (
        sa.select(_IN.state, sa.func.count(), engine.now() - sa.func.min(_IN.received_at))
        .where(_IN.state.in_(states))
        .group_by(_IN.state)
    )
    return [(row[0], row[1], float(row[2])) for row in connection.execute(query)]


def _count(connection: sa.Connection, query: sa.Select[Any]) -> int:
    return int(connection.execute(query).scalar_one())
