"""Many instances at once: pages of them, and what they use."""

import dataclasses
import datetime
from collections.abc import Collection, Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells import exceptions, paths
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
    :ivar inconsistent: only records that do not fit their cell.
    """

    values: Mapping[str, tuple[Any, ...]] = dataclasses.field(default_factory=dict)
    cell_name: str | None = None
    name: str | None = None
    read_deleted: str = 'no'
    inconsistent: bool = False


def instance_get_page(
    connection: sa.Connection, filters: Filters, limit: int, marker: str | None = None
) -> list[instance_objects.Instance]:
    """Return instances that all filters fit, newest first.

    :param limit: how many at most.
    :param marker: the uuid of the last one of the page before.
    :raises InstanceNotFound: there is no such marker, not even a deleted one.
    """
    rows = row_get_page(connection, instances.OBJECT_COLUMNS, filters, limit, marker)
    uuids = [row['uuid'] for row in rows]
    fields = instance_fields.get(connection, uuids)
    metadata = _metadata(connection, uuids)
    return [instances.of_row(row, metadata[row['uuid']], fields[row['uuid']]) for row in rows]


def row_get_page(
    connection: sa.Connection,
    names: Collection[str],
    filters: Filters,
    limit: int,
    marker: str | None = None,
) -> list[dict[str, Any]]:
    """Return some columns of instances that all filters fit, newest first.

    :param names: of the columns.
    :param limit: and ``marker``: see :func:`instance_get_page`.
    :raises InstanceNotFound: there is no such marker, not even a deleted one.
    """
    created = sa.func.coalesce(_COLUMNS.created_at, _OLDEST)
    conditions = _conditions(filters)
    if marker is not None:
        wanted = sa.select(_COLUMNS.id, created).where(_COLUMNS.uuid == marker)
        last = connection.execute(wanted).first()
        if last is None:
            raise exceptions.InstanceNotFound(instance_id=marker)
        moment = last[1]
        conditions.append(
            sa.or_(created < moment, sa.and_(created == moment, _COLUMNS.id < last.id))
        )
    query = (
        sa.select(*(_COLUMNS[name] for name in names))
        .where(*conditions)
        .order_by(created.desc(), _COLUMNS.id.desc())
        .limit(limit)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


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
    if filters.inconsistent:
        conditions.append(_COLUMNS.inconsistent.is_not(None))
    return conditions


def _metadata(connection: sa.Connection, uuids: list[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {uuid: {} for uuid in uuids}
    query = sa.select(_METADATA.instance_uuid, _METADATA.key, _METADATA.value)
    for uuid, key, value in connection.execute(query.where(_METADATA.instance_uuid.in_(uuids))):
        found[uuid][key] = value
    return found
