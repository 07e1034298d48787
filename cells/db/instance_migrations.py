"""Instances on their way to other hosts or sizes; not those of the schema (``migrations/``)."""

import dataclasses
import datetime
import uuid
from collections.abc import Collection, Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells.db import engine, models, statements
from cells.objects import migration as migration_objects

_COLUMNS: Final = models.Migration.__table__.c


@dataclasses.dataclass(frozen=True, slots=True)
class Filters:
    """Which migrations are meant; None means that it does not matter.

    :ivar host: one that it comes from or goes to.
    :ivar changed_since: only those changed at that time or later; deleted ones as well.
    """

    status: tuple[str, ...] | None = None
    host: str | None = None
    source_compute: str | None = None
    dest_compute: str | None = None
    migration_type: str | None = None
    instance_uuid: str | None = None
    uuid: str | None = None
    hidden: bool | None = None
    changed_since: datetime.datetime | None = None


def migration_create(connection: sa.Connection, values: Mapping[str, Any]) -> int:
    """Write a new migration and return its id.

    :param values: by column; without ``migration_type`` it is told from the two sizes.
    """
    same = values.get('old_instance_type_id') == values.get('new_instance_type_id')
    full = {
        'uuid': str(uuid.uuid4()),
        'migration_type': 'migration' if same else 'resize',
        **values,
    }
    made = connection.execute(sa.insert(models.Migration).values(**full))
    assert made.inserted_primary_key is not None
    return int(made.inserted_primary_key[0])


def migration_get(connection: sa.Connection, migration_id: int) -> dict[str, Any] | None:
    """Return a migration, values by column, or None."""
    query = sa.select(*_COLUMNS).where(_COLUMNS.id == migration_id, _COLUMNS.deleted == 0)
    found = connection.execute(query).mappings().first()
    return None if found is None else dict(found)


def migration_find(
    connection: sa.Connection, instance_uuid: str, status: Collection[str]
) -> dict[str, Any] | None:
    """Return the newest migration of an instance in one of some states, by column, or None."""
    query = (
        sa.select(*_COLUMNS)
        .where(
            _COLUMNS.instance_uuid == instance_uuid,
            _COLUMNS.status.in_(list(status)),
            _COLUMNS.deleted == 0,
        )
        .order_by(_COLUMNS.id.desc())
        .limit(1)
    )
    found = connection.execute(query).mappings().first()
    return None if found is None else dict(found)


def migration_update(
    connection: sa.Connection, migration_id: int, values: Mapping[str, Any]
) -> None:
    """Change a migration; the caller has locked its instance."""
    connection.execute(
        sa.update(models.Migration)
        .where(_COLUMNS.id == migration_id)
        .values(updated_at=models.utcnow(), **values)
    )


def migrations_get(
    database: engine.Database, filters: Filters, read_deleted: str = 'no'
) -> migration_objects.MigrationList:
    """Return the migrations that all filters fit, newest first."""
    query = (
        sa.select(*_COLUMNS)
        .where(*_conditions(filters, read_deleted))
        .order_by(_COLUMNS.created_at.desc(), _COLUMNS.id.desc())
    )
    with database.read() as connection:
        found = [_to_object(row) for row in connection.execute(query).mappings()]
    return migration_objects.MigrationList(objects=found)


def _conditions(filters: Filters, read_deleted: str) -> list[sa.ColumnElement[bool]]:
    values = {
        field.name: getattr(filters, field.name)
        for field in dataclasses.fields(filters)
        if getattr(filters, field.name) is not None
    }
    conditions: list[sa.ColumnElement[bool]] = []
    since = values.pop('changed_since', None)
    if since is None:
        conditions.append(statements.visible(_COLUMNS, read_deleted))
    else:
        changed = sa.func.coalesce(_COLUMNS.updated_at, _COLUMNS.created_at)
        conditions.append(changed >= since)
    status = values.pop('status', None)
    if status is not None:
        conditions.append(_COLUMNS.status.in_(status))
    host = values.pop('host', None)
    if host is not None:
        conditions.append(sa.or_(_COLUMNS.source_compute == host, _COLUMNS.dest_compute == host))
    return conditions + [_COLUMNS[name] == value for name, value in values.items()]


def _to_object(row: Mapping[Any, Any]) -> migration_objects.Migration:
    found = migration_objects.Migration(**{**row, 'deleted': bool(row['deleted'])})
    found.obj_reset_changes()
    return found
