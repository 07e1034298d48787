"""What an instance needs of a host, and what is left on one.

Two sources tell what of a node is taken. An agent measures: ``free_ram_mb`` and so on,
which covers instances that it has and whatever else runs there. The cell remembers what it
has promised: claims, which cover instances that it has, and those that are on their way. An
instance stands in both as soon as the agent has it, and counts once: an agent says in the
``stats`` of a node how much of it instances have (:data:`OF_INSTANCES`).
"""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple


class Amount(NamedTuple):
    """Memory in MiB, disk in GiB, virtual processors."""

    memory_mb: int
    disk_gb: int
    vcpus: int

    def plus(self, other: 'Amount') -> 'Amount':
        """Return the sum."""
        return Amount(
            self.memory_mb + other.memory_mb,
            self.disk_gb + other.disk_gb,
            self.vcpus + other.vcpus,
        )

    def fits(self, room: 'Amount') -> bool:
        """Tell whether there is room for it."""
        return all(wanted <= have for wanted, have in zip(self, room, strict=True))


NOTHING: Final = Amount(0, 0, 0)

#: Keys in the ``stats`` of a node for what of it the instances have that its agent counts.
OF_INSTANCES: Final = ('instances_memory_mb', 'instances_disk_gb', 'instances_vcpus')

#: Columns of a node from which its room is told.
COLUMNS: Final = (
    'memory_mb',
    'free_ram_mb',
    'local_gb',
    'free_disk_gb',
    'vcpus',
    'vcpus_used',
    'ram_allocation_ratio',
    'disk_allocation_ratio',
    'cpu_allocation_ratio',
    'stats',
)


def stats_of(counted: Amount) -> dict[str, str]:
    """Return what an agent puts into the ``stats`` of a node."""
    return {key: str(value) for key, value in zip(OF_INSTANCES, counted, strict=True)}


def room(node: Mapping[str, Any], claimed: Amount) -> Amount:
    """Return what is left on a node for further instances; never below 0.

    A null of the agent leaves none.

    :param node: :data:`COLUMNS`, as they are stored.
    :param claimed: what the cell has promised of it.
    """
    counted = _counted(node['stats'])
    return Amount(
        _left(
            node['memory_mb'],
            _used(node['memory_mb'], node['free_ram_mb']),
            node['ram_allocation_ratio'],
            claimed.memory_mb,
            counted and counted.memory_mb,
        ),
        _left(
            node['local_gb'],
            _used(node['local_gb'], node['free_disk_gb']),
            node['disk_allocation_ratio'],
            claimed.disk_gb,
            counted and counted.disk_gb,
        ),
        _left(
            node['vcpus'],
            node['vcpus_used'],
            node['cpu_allocation_ratio'],
            claimed.vcpus,
            counted and counted.vcpus,
        ),
    )


def _used(total: int | None, free: int | None) -> int | None:
    return None if total is None or free is None else total - free


def _left(
    total: int | None,
    used: int | None,
    ratio: float | None,
    claimed: int,
    counted: int | None,
) -> int:
    if total is None or used is None:
        return 0
    if counted is None:
        # Nobody says: take it that what is used are the instances, as far as that can be.
        counted = claimed
    counted = min(counted, max(0, used))
    others = used - counted
    # 0 is nova's way to say that a host has no opinion.
    return max(0, int(total * (ratio or 1.0)) - others - max(claimed, counted))


def _counted(stats: str | None) -> Amount | None:
    if not stats:
        return None
    try:
        found = json.loads(stats)
        return Amount(*(max(0, int(found[key])) for key in OF_INSTANCES))
    except (KeyError, TypeError, ValueError):
        return None
