"""What the own capacities are counted from."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from cells import amounts, capacity
from cells.db import claims, engine, flavors, models, services

_NODES = models.ComputeNode.__table__.c
_SERVICES = models.Service.__table__.c


def host_capacities(
    database: engine.Database, down_after: float
) -> tuple[list[capacity.Node], list[tuple[int, int]]]:
    """Return the nodes of the hosts that count, and the sizes of all flavors.

    A host counts when it has a compute service that is up and not disabled (D2). What is
    claimed on it is not free, also before its agent has it.

    :param down_after: seconds without a report after which a host is down.
    """
    names = dict.fromkeys((*capacity.Node._fields, 'hypervisor_hostname', *amounts.COLUMNS))
    query = (
        sa.select(*(_NODES[name] for name in names))
        .join_from(
            models.ComputeNode.__table__,
            models.Service.__table__,
            _SERVICES.host == _NODES.host,
        )
        .where(_NODES.deleted == 0, services.up_condition(down_after))
    )
    with database.read() as connection:
        rows = [dict(zip(names, row, strict=True)) for row in connection.execute(query)]
        claimed = claims.claimed_by_node(connection)
    nodes = [
        _node(row, claimed.get((row['host'], row['hypervisor_hostname']), amounts.NOTHING))
        for row in rows
    ]
    return nodes, flavors.flavor_sizes(database)


def _node(row: Mapping[str, Any], claimed: amounts.Amount) -> capacity.Node:
    """Return a node with what is free of it when claims are counted."""
    room = amounts.room(row, claimed)
    values = {name: row[name] for name in capacity.Node._fields}
    for name, free in (('free_ram_mb', room.memory_mb), ('free_disk_gb', room.disk_gb)):
        if values[name] is not None:
            values[name] = free
    if values['vcpus'] is not None and values['vcpus_used'] is not None:
        whole = int(values['vcpus'] * (values['cpu_allocation_ratio'] or 1.0))
        values['vcpus_used'] = whole - room.vcpus
    return capacity.Node(**values)
