"""What instances have, or are about to have, of the hosts of this cell.

A claim is written before anything is ordered of a host, and goes when the instance has
gone from it. Who writes or drops one holds the counter of changes of hosts until the end
of the transaction (:func:`lock`): so one comes after the other in a cell, nothing is given
twice, and the change shows at once in what the cells above are told.
"""

from collections.abc import Collection
from typing import Any, Final

import sqlalchemy as sa

from cells import amounts
from cells.amounts import Amount
from cells.db import changes, engine, models, services, statements

_CLAIMS: Final = models.Claim.__table__.c
_NODES: Final = models.ComputeNode.__table__.c
_SERVICES: Final = models.Service.__table__.c
_SIZES: Final = [_CLAIMS[name] for name in Amount._fields]

INSTANCE: Final = 'instance'
#: Of an instance that has gone to another host, or is about to come from one.
MIGRATION: Final = 'migration'


def lock(connection: sa.Connection) -> None:
    """Have nobody else write or drop claims until the transaction ends."""
    changes.bump(connection, changes.HOSTS)


def claimed_by_node(connection: sa.Connection) -> dict[tuple[str, str], Amount]:
    """Return what is claimed of each node, by host and name of the node."""
    query = sa.select(_CLAIMS.host, _CLAIMS.node, *(sa.func.sum(size) for size in _SIZES)).group_by(
        _CLAIMS.host, _CLAIMS.node
    )
    return {
        (host, node): Amount(*(int(size) for size in sizes))
        for host, node, *sizes in connection.execute(query)
    }


def nodes(connection: sa.Connection, hosts: Collection[str] | None = None) -> list[dict[str, Any]]:
    """Return the nodes of this cell, those of hosts that are down or disabled as well.

    :param hosts: only theirs.
    :returns: ``host``, ``node``, the columns of :mod:`cells.amounts`, and of the service of
        the host what tells whether it is up and takes instances.
    """
    query = (
        sa.select(
            _NODES.host,
            _NODES.hypervisor_hostname.label('node'),
            *(_NODES[name] for name in amounts.COLUMNS),
            _SERVICES.disabled,
            _SERVICES.disabled_reason,
            _SERVICES.forced_down,
            _SERVICES.last_seen_up,
            _SERVICES.availability_zone,
        )
        .join_from(
            models.ComputeNode.__table__,
            models.Service.__table__,
            _SERVICES.host == _NODES.host,
        )
        .where(_NODES.deleted == 0, _SERVICES.deleted == 0, _SERVICES.binary == services.COMPUTE)
        .order_by(_NODES.id)
    )
    if hosts is not None:
        query = query.where(_NODES.host.in_(sorted(hosts)))
    return [dict(row) for row in connection.execute(query).mappings()]


def claim_add(
    connection: sa.Connection,
    instance_uuid: str,
    host: str,
    node: str,
    amount: Amount,
    kind: str = INSTANCE,
) -> bool:
    """Claim a part of a node for an instance, if it is left; else return False.

    What the instance has of this node already is replaced.
    """
    lock(connection)
    query = sa.select(*(_NODES[name] for name in amounts.COLUMNS)).where(
        _NODES.host == host, _NODES.hypervisor_hostname == node, _NODES.deleted == 0
    )
    found = connection.execute(query).mappings().first()
    if found is None:
        return False
    # Locked, as without that MySQL would show how it was when the transaction began.
    others = statements.locked(
        connection,
        sa.select(*_SIZES).where(
            _CLAIMS.host == host, _CLAIMS.node == node, _CLAIMS.instance_uuid != instance_uuid
        ),
        free_only=False,
    )
    claimed = amounts.NOTHING
    for other in others:
        claimed = claimed.plus(Amount(**other))
    if not amount.fits(amounts.room(dict(found), claimed)):
        return False
    values = {'kind': kind, **amount._asdict()}
    statements.insert_or_update(
        connection,
        models.Claim,
        {
            'instance_uuid': instance_uuid,
            'host': host,
            'node': node,
            'created_at': engine.now(),
            **values,
        },
        values,
    )
    return True


def claims_of(connection: sa.Connection, instance_uuid: str) -> list[dict[str, Any]]:
    """Return the claims of an instance, values by column."""
    query = sa.select(models.Claim.__table__).where(_CLAIMS.instance_uuid == instance_uuid)
    return [dict(row) for row in connection.execute(query).mappings()]


def claims_on(connection: sa.Connection, host: str) -> set[str]:
    """Return the instances that have a claim on a host."""
    query = sa.select(_CLAIMS.instance_uuid).where(_CLAIMS.host == host)
    return set(connection.execute(query.distinct()).scalars())


def claims_drop(
    connection: sa.Connection,
    instance_uuid: str,
    host: str | None = None,
    kind: str | None = None,
) -> int:
    """Give back what an instance has; return how many claims those were.

    :param host: only there.
    :param kind: only claims of this kind.
    """
    lock(connection)
    which = [_CLAIMS.instance_uuid == instance_uuid]
    if host is not None:
        which.append(_CLAIMS.host == host)
    if kind is not None:
        which.append(_CLAIMS.kind == kind)
    return connection.execute(sa.delete(models.Claim).where(*which)).rowcount


def claim_turn(connection: sa.Connection, instance_uuid: str, host: str, kind: str) -> None:
    """Make the claim of an instance on a host one of another kind."""
    lock(connection)
    connection.execute(
        sa.update(models.Claim)
        .where(_CLAIMS.instance_uuid == instance_uuid, _CLAIMS.host == host)
        .values(kind=kind)
    )


def claim_resize(
    connection: sa.Connection, instance_uuid: str, host: str, node: str, amount: Amount
) -> None:
    """Let an instance have so much of a node, as its own, without a look at what is left.

    The caller has looked, or it is less than before.
    """
    lock(connection)
    values = {'kind': INSTANCE, **amount._asdict()}
    statements.insert_or_update(
        connection,
        models.Claim,
        {
            'instance_uuid': instance_uuid,
            'host': host,
            'node': node,
            'created_at': engine.now(),
            **values,
        },
        values,
    )
