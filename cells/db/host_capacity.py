"""What the own capacities are counted from."""

import sqlalchemy as sa

from cells import capacity
from cells.db import engine, flavors, models, services

_NODES = models.ComputeNode.__table__.c
_SERVICES = models.Service.__table__.c


def host_capacities(
    database: engine.Database, down_after: float
) -> tuple[list[capacity.Node], list[tuple[int, int]]]:
    """Return the nodes of the hosts that count, and the sizes of all flavors.

    A host counts when it has a compute service that is up and not disabled (D2).

    :param down_after: seconds without a report after which a host is down.
    """
    query = (
        sa.select(*(_NODES[name] for name in capacity.Node._fields))
        .join_from(
            models.ComputeNode.__table__,
            models.Service.__table__,
            _SERVICES.host == _NODES.host,
        )
        .where(_NODES.deleted == 0, services.up_condition(down_after))
    )
    with database.read() as connection:
        nodes = [capacity.Node._make(row) for row in connection.execute(query)]
    return nodes, flavors.flavor_sizes(database)
