"""How well the record at the top and a cell agree, in numbers."""

import datetime
from typing import Any, Final

import sqlalchemy as sa

from cells.db import models

_INSTANCES: Final = models.Instance.__table__.c


def instance_count(connection: sa.Connection) -> int:
    """Return how many instances are here that are not deleted."""
    query = sa.select(sa.func.count()).where(_INSTANCES.deleted == 0)
    return int(connection.execute(query).scalar_one())


def records_by_cell(connection: sa.Connection) -> dict[str, tuple[int, int]]:
    """Return how many records there are that are not deleted, by the path to their cell.

    :returns: the number, and of how many it is known that they do not fit; '' is for those
        that no cell has.
    """
    odd = sa.func.count(_INSTANCES.inconsistent)
    query = sa.select(_INSTANCES.cell_name, sa.func.count(), odd).where(_INSTANCES.deleted == 0)
    found = connection.execute(query.group_by(_INSTANCES.cell_name))
    return {row[0] or '': (int(row[1]), int(row[2])) for row in found}


def inconsistent(connection: sa.Connection, limit: int) -> list[tuple[str, str | None, str]]:
    """Return records that do not fit their cell: uuid, the path to it, and why."""
    query = sa.select(_INSTANCES.uuid, _INSTANCES.cell_name, _INSTANCES.inconsistent).where(
        _INSTANCES.inconsistent.is_not(None), _INSTANCES.deleted == 0
    )
    found = connection.execute(query.order_by(_INSTANCES.uuid).limit(limit))
    return [(row[0], row[1], row[2]) for row in found]


def place_of(connection: sa.Connection, uuid: str) -> dict[str, Any] | None:
    """Return where an instance is, and how it is, by its row here; None when there is none."""
    query = sa.select(
        _INSTANCES.cell_name,
        _INSTANCES.host,
        _INSTANCES.vm_state,
        _INSTANCES.task_state,
        _INSTANCES.deleted,
        _INSTANCES.updated_at,
        _INSTANCES.inconsistent,
    ).where(_INSTANCES.uuid == uuid)
    row = connection.execute(query).mappings().first()
    return None if row is None else dict(row)


def matching_count(
    connection: sa.Connection,
    project_id: str | None,
    updated_since: datetime.datetime | None,
    deleted: bool,
) -> int:
    """Return how many instances an order to sync is about."""
    which = [] if deleted else [_INSTANCES.deleted == 0]
    if project_id is not None:
        which.append(_INSTANCES.project_id == project_id)
    if updated_since is not None:
        changed = sa.func.coalesce(_INSTANCES.updated_at, _INSTANCES.created_at)
        which.append(changed >= updated_since)
    query = sa.select(sa.func.count()).select_from(_INSTANCES.uuid.table).where(*which)
    return int(connection.execute(query).scalar_one())
