"""Many instances at once: pages of them, and what they use."""

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells import paths
from cells.db import instance_fields, instances, models, statements
from cells.objects import instance as instance_objects

_COLUMNS: Final = models.Instance.__table__.c
_METADATA: Final = models.InstanceMetadata.__table__.c
_OLDEST: Final = datetime.datetime(1970, 1, 1)

#: Instances that can still be restored use nothing of a quota.
SOFT_DELETED: Final = 'soft-delete'


@dataclasses.dataclass(frozen=True, slots=True)
class Filters:
    """Which instances are meant.

    :ivar values: by column the values that it may have, None for null.
    :ivar cell_name: the path of a cell; those below it as well.
    :ivar name: a part of the name that is shown, in capitals or not.
    :ivar read_deleted: ``no``, ``yes`` or ``only``.
    """

    values: Mapping[str, tuple[Any, ...]] = dataclasses.field(default_factory=dict)
    cell_name: str | None = None
    name: str | None = None
    read_deleted: str = 'no'


def instance_get_page(
    connection: sa.Connection, filters: Filters, limit: int, marker: str | None = None
) -> list[instance_objects.Instance]:
    """Return instances that all filters fit, newest first.

    :param limit: how many at most.
    :param marker: the uuid of the last one of the page before.
    :raises InstanceNotFound: there is no such marker, not even a deleted one.
    """
    created = sa.func.coalesce(_COLUMNS.created_at, _OLDEST)
    conditions = _conditions(filters)
    if marker is not None:
        last = instances.instance_get(connection, marker, 'yes')
        moment = last.created_at.replace(tzinfo=None) if last.created_at else _OLDEST
        conditions.append(
            sa.or_(created < moment, sa.and_(created == moment, _COLUMNS.id < last.id))
        )
    query = (
        sa.select(*(_COLUMNS[name] for name in instances.OBJECT_COLUMNS))
        .where(*conditions)
        .order_by(created.desc(), _COLUMNS.id.desc())
        .limit(limit)
    )
    rows = [dict(row) for row in connection.execute(query).mappings()]
    uuids = [row['uuid'] for row in rows]
    fields = instance_fields.get(connection, uuids)
    metadata = _metadata(connection, uuids)
    return [instances.of_row(row, metadata[row['uuid']], fields[row['uuid']]) for row in rows]


def usage_get(connection: sa.Connection, project_id: str) -> dict[str, int]:
    """Return what the instances of a project use: instances, cores, ram_mb.

    It is counted each time, so that it cannot drift (S19).
    """
    alive = sa.and_(
        _COLUMNS.project_id == project_id,
        _COLUMNS.deleted == 0,
        sa.func.coalesce(_COLUMNS.vm_state, '') != SOFT_DELETED,
    )
    query = sa.select(
        sa.func.count(),
        sa.func.coalesce(sa.func.sum(_COLUMNS.vcpus), 0),
        sa.func.coalesce(sa.func.sum(_COLUMNS.memory_mb), 0),
    ).where(alive)
    number, cores, ram_mb = connection.execute(query).one()
    return {'instances': int(number), 'cores': int(cores), 'ram_mb': int(ram_mb)}


def _conditions(filters: Filters) -> list[sa.ColumnElement[bool]]:
    conditions = [statements.visible(_COLUMNS, filters.read_deleted)]
    for name, values in filters.values.items():
        present = [value for value in values if value is not None]
        allowed = [_COLUMNS[name].in_(present)]
        if None in values:
            allowed.append(_COLUMNS[name].is_(None))
        conditions.append(sa.or_(*allowed))
    if filters.cell_name is not None:
        below = filters.cell_name + paths.SEPARATOR
        conditions.append(
            sa.or_(
                _COLUMNS.cell_name == filters.cell_name,
                _COLUMNS.cell_name.startswith(below, autoescape=True),
            )
        )
    if filters.name is not None:
        conditions.append(_COLUMNS.display_name.icontains(filters.name, autoescape=True))
    return conditions


def _metadata(connection: sa.Connection, uuids: list[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {uuid: {} for uuid in uuids}
    query = sa.select(_METADATA.instance_uuid, _METADATA.key, _METADATA.value)
    for uuid, key, value in connection.execute(query.where(_METADATA.instance_uuid.in_(uuids))):
        found[uuid][key] = value
    return found
