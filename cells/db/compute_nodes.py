"""Queries on compute nodes. JSON is stored as text and comes out as what it stands for."""

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from cells.db import changes, engine, models, services

_COLUMNS = models.ComputeNode.__table__.c
_SERVICES = models.Service.__table__.c

#: Columns that hold JSON of their own; ``cpu_info`` and the like are text to everybody.
_JSON: Final = ('pci_device_pools', 'stats', 'supported_hv_specs')

#: Columns that capacities are counted from.
_MATTER: Final = frozenset(
    {
        'cpu_allocation_ratio',
        'disk_allocation_ratio',
        'free_disk_gb',
        'free_ram_mb',
        'local_gb',
        'memory_mb',
        'ram_allocation_ratio',
        'vcpus',
        'vcpus_used',
    }
)

#: What :func:`statistics` adds up, beside the number of nodes.
TOTALS: Final = (
    'vcpus',
    'memory_mb',
    'local_gb',
    'vcpus_used',
    'memory_mb_used',
    'local_gb_used',
    'free_ram_mb',
    'free_disk_gb',
    'current_workload',
    'running_vms',
    'disk_available_least',
)


def compute_node_get_all(
    database: engine.Database, hypervisor_match: str | None = None
) -> list[dict[str, Any]]:
    """Return the compute nodes of this cell, values by column, in the order of their ids.

    :param hypervisor_match: only those with this in their ``hypervisor_hostname``, however
        it is capitalised.
    """
    query = sa.select(*_COLUMNS).where(_COLUMNS.deleted == 0).order_by(_COLUMNS.id)
    if hypervisor_match is not None:
        query = query.where(
            _COLUMNS.hypervisor_hostname.icontains(hypervisor_match, autoescape=True)
        )
    with database.read() as connection:
        return [_decoded(row) for row in connection.execute(query).mappings()]


def compute_node_find(database: engine.Database, node: int | str) -> dict[str, Any] | None:
    """Return a compute node by its id, or by its uuid; None when there is none."""
    column = _COLUMNS.id if isinstance(node, int) else _COLUMNS.uuid
    query = sa.select(*_COLUMNS).where(column == node, _COLUMNS.deleted == 0)
    with database.read() as connection:
        row = connection.execute(query).mappings().first()
        return None if row is None else _decoded(row)


def statistics(database: engine.Database, down_after: float) -> dict[str, int]:
    """Return the number of nodes on hosts that are up and not disabled, and their totals.

    :param down_after: seconds without a report after which a host is down.
    """
    joined = models.ComputeNode.__table__.join(
        models.Service.__table__, _SERVICES.host == _COLUMNS.host
    )
    query = (
        sa.select(
            sa.func.count().label('count'),
            *(sa.func.sum(_COLUMNS[name]).label(name) for name in TOTALS),
        )
        .select_from(joined)
        .where(_COLUMNS.deleted == 0, services.up_condition(down_after))
    )
    with database.read() as connection:
        row = connection.execute(query).mappings().one()
        return {name: int(value or 0) for name, value in row.items()}


def compute_nodes_replace(
    connection: sa.Connection,
    host: str,
    service_id: int | None,
    nodes: Sequence[Mapping[str, Any]],
) -> bool:
    """Make the compute nodes of a host those that it reported; others of it are deleted.

    What is as it was is not written. The caller has locked the row of the service.

    :param nodes: values by column, ``hypervisor_hostname`` among them and different in all.
    :returns: whether anything is another now that capacities are counted from.
    """
    query = sa.select(*_COLUMNS).where(_COLUMNS.host == host, _COLUMNS.deleted == 0)
    known = {row['hypervisor_hostname']: row for row in connection.execute(query).mappings()}
    matters = False
    for node in nodes:
        values = {**_encoded(node), 'service_id': service_id}
        row = known.pop(values['hypervisor_hostname'], None)
        if row is None:
            made = {'host': host, 'uuid': str(uuid.uuid4()), **values}
            connection.execute(sa.insert(models.ComputeNode).values(**made))
            matters = True
            continue
        changed = {name: value for name, value in values.items() if row[name] != value}
        if changed:
            connection.execute(
                sa.update(models.ComputeNode)
                .where(_COLUMNS.id == row['id'])
                .values(**changed, updated_at=models.utcnow())
            )
            matters = matters or bool(changed.keys() & _MATTER)
    gone = [row['id'] for row in known.values()]
    return bool(gone and _delete(connection, _COLUMNS.id.in_(gone))) or matters


def compute_node_save(database: engine.Database, host: str, **values: Any) -> None:
    """Write the one compute node of a host, as a report of its agent would."""
    node = {'hypervisor_hostname': host, **values}
    with database.write() as connection:
        if compute_nodes_replace(connection, host, None, [node]):
            changes.bump(connection, changes.HOSTS)


def compute_nodes_delete(connection: sa.Connection, host: str) -> None:
    """Mark the compute nodes of a host as deleted."""
    if _delete(connection, _COLUMNS.host == host):
        changes.bump(connection, changes.HOSTS)


def _delete(connection: sa.Connection, which: sa.ColumnElement[bool]) -> bool:
    gone = sa.update(models.ComputeNode).where(which, _COLUMNS.deleted == 0)
    values = {'deleted': _COLUMNS.id, 'deleted_at': models.utcnow()}
    return bool(connection.execute(gone.values(**values)).rowcount)


def _encoded(node: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(node)
    for name in _JSON:
        if values.get(name) is not None:
            values[name] = json.dumps(values[name], sort_keys=True)
    return values


def _decoded(row: Mapping[Any, Any]) -> dict[str, Any]:
    values = dict(row)
    for name in _JSON:
        if values[name] is not None:
            values[name] = json.loads(values[name])
    return values
