"""Queries on flavors. ``extra_specs`` and ``projects`` are stored as JSON."""

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from cells import exceptions
from cells.db import changes, engine, models, statements

_COLUMNS = models.Flavor.__table__.c


def flavor_get_all(database: engine.Database) -> list[dict[str, Any]]:
    """Return all flavors, values by column, smallest memory first."""
    query = (
        sa.select(*_COLUMNS)
        .where(_COLUMNS.deleted == 0)
        .order_by(_COLUMNS.memory_mb, _COLUMNS.root_gb, _COLUMNS.id)
    )
    with database.read() as connection:
        return [_decoded(row) for row in connection.execute(query).mappings()]


def flavor_get(database: engine.Database, flavorid: str) -> dict[str, Any]:
    """Return a flavor by its ``flavorid``, values by column.

    :raises FlavorNotFound: there is none.
    """
    with database.read() as connection:
        return flavor_find(connection, flavorid)


def flavor_find(connection: sa.Connection, flavorid: str) -> dict[str, Any]:
    """Return a flavor by its ``flavorid``, values by column.

    :raises FlavorNotFound: there is none.
    """
    query = sa.select(*_COLUMNS).where(_COLUMNS.flavorid == flavorid, _COLUMNS.deleted == 0)
    row = connection.execute(query).mappings().first()
    if row is None:
        raise exceptions.FlavorNotFound(flavor_id=flavorid)
    return _decoded(row)


def flavor_create(connection: sa.Connection, values: Mapping[str, Any]) -> None:
    """Add a flavor: ``name``, ``flavorid``, ``memory_mb``, ``vcpus`` and other columns.

    :raises FlavorExists: there is one of this name.
    :raises FlavorIdExists: there is one of this ``flavorid``.
    """
    query = sa.select(_COLUMNS.name).where(
        _COLUMNS.deleted == 0,
        sa.or_(_COLUMNS.name == values['name'], _COLUMNS.flavorid == values['flavorid']),
    )
    row = {
        'deleted': 0,
        'created_at': models.utcnow(),
        'root_gb': 0,
        'ephemeral_gb': 0,
        'swap': 0,
        'rxtx_factor': 1.0,
        'disabled': False,
        'is_public': True,
        **values,
        'extra_specs': json.dumps(values.get('extra_specs') or {}, sort_keys=True),
        'projects': json.dumps(values.get('projects') or []),
    }
    if not statements.insert_new(connection, models.Flavor, [row]):
        if values['name'] in connection.execute(query).scalars().all():
            raise exceptions.FlavorExists(name=values['name'])
        raise exceptions.FlavorIdExists(flavor_id=values['flavorid'])
    changes.bump(connection, changes.HOSTS)


def flavor_delete(connection: sa.Connection, flavorid: str) -> None:
    """Mark a flavor as deleted.

    :raises FlavorNotFound: there is none.
    """
    gone = sa.update(models.Flavor).where(_COLUMNS.flavorid == flavorid, _COLUMNS.deleted == 0)
    if not connection.execute(
        gone.values(deleted=_COLUMNS.id, deleted_at=models.utcnow())
    ).rowcount:
        raise exceptions.FlavorNotFound(flavor_id=flavorid)
    changes.bump(connection, changes.HOSTS)


def flavor_sizes(database: engine.Database) -> list[tuple[int, int]]:
    """Return the different (memory, disk) of all flavors, in MiB."""
    disk = (_COLUMNS.root_gb + _COLUMNS.ephemeral_gb) * 1024
    query = sa.select(_COLUMNS.memory_mb, disk).where(_COLUMNS.deleted == 0).distinct()
    with database.read() as connection:
        return [(int(row[0]), int(row[1])) for row in connection.execute(query)]


def _decoded(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        **row,
        'extra_specs': json.loads(row['extra_specs'] or '{}'),
        'projects': json.loads(row['projects'] or '[]'),
    }
