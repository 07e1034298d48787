"""On which host of this cell an instance has room, and the claim to it.

A host counts when it is up, enabled and not in maintenance. Of those with room the one
with the most free memory is chosen, so that instances are spread. When none has, the
reasons say of what there is too little, and how much there would be.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from cells import amounts
from cells.amounts import Amount
from cells.db import claims, models, services, statements

_INSTANCES: Final = models.Instance.__table__.c

#: The zone of hosts that are in none, as nova calls it.
DEFAULT_ZONE: Final = 'nova'
#: How many hosts are named in a reason.
MOST_NAMED: Final = 5

_UNITS: Final = {'memory_mb': 'MB RAM', 'disk_gb': 'GB disk', 'vcpus': 'VCPUs'}


class Wanted(NamedTuple):
    """Which hosts may be chosen.

    :ivar hosts: one of these; None for any.
    :ivar nodes: on one of these nodes; None for any.
    :ivar zone: an availability zone; hosts that are in none are in every one.
    """

    hosts: frozenset[str] | None = None
    nodes: frozenset[str] | None = None
    zone: str | None = None


ANYWHERE: Final = Wanted()


def wanted_of(filter_properties: Mapping[str, Any], availability_zone: str | None) -> Wanted:
    """Return which hosts a request leaves.

    :param filter_properties: ``force_hosts`` and ``force_nodes`` of them are lists of names.
    :param availability_zone: ``zone``, ``zone:host``, ``zone:host:node`` or ``zone::node``.
    """
    hosts = _names(filter_properties.get('force_hosts'))
    nodes = _names(filter_properties.get('force_nodes'))
    zone, *rest = (availability_zone or '').split(':', 2)
    if rest and rest[0]:
        hosts = frozenset({rest[0]}) if hosts is None else hosts & {rest[0]}
    if len(rest) > 1 and rest[1]:
        nodes = frozenset({rest[1]}) if nodes is None else nodes & {rest[1]}
    return Wanted(hosts, nodes, zone or None)


def _names(value: object) -> frozenset[str] | None:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple | set | frozenset) or not value:
        return None
    # As it came from an API of this release or another, cell and path may stand before it.
    return frozenset(re.sub('^.*@', '', str(one)) for one in value)


def choose_host(
    connection: sa.Connection,
    memory_mb: int,
    disk_gb: int,
    vcpus: int,
    exclude: Collection[str] = (),
    only: str | Collection[str] | None = None,
    *,
    service_down_time: float,
    nodes: Collection[str] | None = None,
    zone: str | None = None,
) -> tuple[str, str] | list[str]:
    """Return host and node with room for an instance; a list of reasons when there is none.

    Nothing is claimed.

    :param exclude: names of hosts that are not to be chosen.
    :param only: the host, or those, of which one is to be chosen.
    :param service_down_time: seconds without a report after which a host is down.
    :param nodes: names of nodes of which one is to be chosen.
    :param zone: an availability zone.
    """
    hosts = _names([only] if isinstance(only, str) else list(only or ()))
    wanted = Wanted(hosts, _names(list(nodes or ())), zone)
    amount = Amount(memory_mb, disk_gb, vcpus)
    return _choose(connection, amount, wanted, exclude, service_down_time)


def claim(
    connection: sa.Connection,
    instance_uuid: str,
    host: str,
    node: str,
    memory_mb: int,
    disk_gb: int,
    vcpus: int,
    kind: str = claims.INSTANCE,
) -> bool:
    """Claim a part of a host for an instance; False when it is not left.

    :param kind: ``instance`` or ``migration``.
    """
    amount = Amount(memory_mb, disk_gb, vcpus)
    return claims.claim_add(connection, instance_uuid, host, node, amount, kind)


def release(
    connection: sa.Connection, instance_uuid: str, host: str | None = None, kind: str | None = None
) -> None:
    """Give back what an instance has of all hosts, or of one."""
    claims.claims_drop(connection, instance_uuid, host, kind)


def place(
    connection: sa.Connection,
    instance_uuid: str,
    amount: Amount,
    *,
    service_down_time: float,
    wanted: Wanted = ANYWHERE,
    exclude: Collection[str] = (),
    kind: str = claims.INSTANCE,
) -> tuple[str, str] | list[str]:
    """Choose a host and claim what an instance needs; return host and node, or the reasons."""
    claims.lock(connection)
    full: set[str] = set()
    while True:
        found = _choose(connection, amount, wanted, {*exclude, *full}, service_down_time)
        if isinstance(found, list) or claims.claim_add(
            connection, instance_uuid, *found, amount, kind
        ):
            return found
        # On MySQL, what was chosen from may be how it was when the transaction began.
        full.add(found[0])


def belongs(connection: sa.Connection, instance_uuid: str, host: str) -> bool:
    """Tell whether an instance is, or may come to be, on a host; its row is locked."""
    query = sa.select(_INSTANCES.host, _INSTANCES.deleted).where(_INSTANCES.uuid == instance_uuid)
    found = statements.locked(connection, query, free_only=False)
    if not found or found[0]['deleted']:
        return False
    return found[0]['host'] == host or any(
        claim['host'] == host for claim in claims.claims_of(connection, instance_uuid)
    )


class _Node(NamedTuple):
    host: str
    node: str
    room: Amount


def _choose(
    connection: sa.Connection,
    amount: Amount,
    wanted: Wanted,
    exclude: Collection[str],
    down_after: float,
) -> tuple[str, str] | list[str]:
    rows = claims.nodes(connection, wanted.hosts)
    claimed = claims.claimed_by_node(connection)
    now = models.utcnow()
    out: dict[str, set[str]] = {}
    found = []
    for row in rows:
        reason = _unfit(row, wanted, exclude, services.is_up(row, down_after, now))
        if reason is None:
            room = amounts.room(row, claimed.get((row['host'], row['node']), amounts.NOTHING))
            found.append(_Node(row['host'], row['node'], room))
        else:
            out.setdefault(reason, set()).add(row['host'])
    fitting = [node for node in found if amount.fits(node.room)]
    if fitting:
        best = max(fitting, key=lambda node: (node.room.memory_mb, node.room.disk_gb))
        return best.host, best.node
    unknown = (wanted.hosts or frozenset()) - {row['host'] for row in rows}
    if unknown:
        out.setdefault('not known in this cell', set()).update(unknown)
    return _reasons(amount, found, out)


def _unfit(
    row: Mapping[str, Any], wanted: Wanted, exclude: Collection[str], is_up: bool
) -> str | None:
    """Return why a node is out of the question, whatever room it has."""
    if row['host'] in exclude:
        return 'out of the question after an earlier attempt'
    if wanted.nodes is not None and row['node'] not in wanted.nodes:
        return 'not the node that is asked for'
    zone = row['availability_zone']
    if wanted.zone is not None and zone is not None and zone != wanted.zone:
        return 'in another availability zone than %s' % wanted.zone
    if not is_up:
        return 'down'
    if row['disabled']:
        return 'disabled'
    return None


def _reasons(
    amount: Amount, nodes: Sequence[_Node], out: Mapping[str, Collection[str]]
) -> list[str]:
    reasons = []
    for index, name in enumerate(Amount._fields):
        best = max(nodes, key=lambda node: node.room[index], default=None)
        if best is not None and best.room[index] < amount[index]:
            reasons.append(
                'needs %d %s, at most %d free on host %s'
                % (amount[index], _UNITS[name], best.room[index], best.host)
            )
    if nodes and not reasons:
        parts = ['%d %s' % (amount[i], _UNITS[name]) for i, name in enumerate(Amount._fields)]
        reasons.append(
            'needs %s and %s, which no host has together' % (', '.join(parts[:-1]), parts[-1])
        )
    reasons += ['%s %s' % (_listed(hosts), reason) for reason, hosts in out.items()]
    return reasons or ['this cell has no hosts']


def _listed(hosts: Iterable[str]) -> str:
    names = sorted(hosts)
    if len(names) == 1:
        return 'host %s is' % names[0]
    if len(names) <= MOST_NAMED:
        return 'hosts %s and %s are' % (', '.join(names[:-1]), names[-1])
    return '%d hosts are' % len(names)
