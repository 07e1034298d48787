"""An instance as people see it: chosen columns, and what is under way with it."""

from collections.abc import Collection
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from cells.db import host_operations, inbox, models
from cells.db import journal as db_journal

_INSTANCES: Final = models.Instance.__table__.c
_DIRTY: Final = models.Dirty.__table__.c
_IN: Final = models.Inbox.__table__.c
_OUT: Final = models.Outbox.__table__.c
_OPS: Final = models.HostOperation.__table__.c


class UnderWay(NamedTuple):
    """What is not at its end.

    :ivar marks: how many parts of it the cells above are still to be told of.
    :ivar changes: how many changes of it lie in the journal.
    :ivar neighbours: to whom something of it is on its way.
    :ivar operations: what its host is to do.
    """

    marks: int
    changes: int
    neighbours: tuple[str, ...]
    operations: tuple[str, ...]


def columns_of(
    connection: sa.Connection, uuid: str, names: Collection[str]
) -> dict[str, Any] | None:
    """Return some columns of an instance, deleted or not; None when there is none."""
    query = sa.select(*(_INSTANCES[name] for name in names)).where(_INSTANCES.uuid == uuid)
    row = connection.execute(query).mappings().first()
    return None if row is None else dict(row)


def under_way(connection: sa.Connection, uuid: str) -> UnderWay:
    """Return what is not at its end with an instance."""
    marks = sa.select(sa.func.count()).where(_DIRTY.instance_uuid == uuid)
    changes = sa.select(sa.func.count()).where(_IN.instance_uuid == uuid, _IN.state.in_(inbox.OPEN))
    neighbours = (
        sa.select(_OUT.neighbour)
        .where(_OUT.instance_uuid == uuid, _OUT.state != db_journal.UNCONFIRMED)
        .distinct()
    )
    operations = sa.select(_OPS.method).where(
        _OPS.instance_uuid == uuid, _OPS.state.in_(host_operations.OPEN)
    )
    return UnderWay(
        int(connection.execute(marks).scalar_one()),
        int(connection.execute(changes).scalar_one()),
        tuple(sorted(connection.execute(neighbours).scalars())),
        tuple(connection.execute(operations.order_by(_OPS.created_at)).scalars()),
    )
