"""How many instances of each size a cell has room for, and how cells are added up.

``{'ram_free': {'total_mb', 'units_by_mb'}, 'disk_free': {…}, 'free': {…}}``, as in
``spec/config.json`` (``capacity``). ``units_by_mb`` has the sizes of the flavors that
a cell knows. ``free`` is ours, for sizes that it does not know: the number of hosts by
what one instance could at most get on them, ``<ram_mb>:<disk_gb>:<vcpus>``, after the
reserve and each rounded down to a power of two, so that a cell of like hosts has few keys.
"""

import collections
import fractions
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

#: How deep capacities may be nested; what lies deeper is left out.
_MOST_LEVELS: Final = 8


class Node(NamedTuple):
    """A compute node of a host that counts, as it stands in the database.

    A null leaves memory (or disk, or processors) of the node out; a value below 0 is 0.
    """

    host: str
    free_ram_mb: int | None
    memory_mb: int | None
    free_disk_gb: int | None
    local_gb: int | None
    vcpus: int | None
    vcpus_used: int | None
    cpu_allocation_ratio: float | None


class _Host:
    """The sums over the nodes of a host."""

    __slots__ = ('disk_free', 'disk_total', 'ram_free', 'ram_total', 'vcpus')

    def __init__(self) -> None:
        self.ram_free = self.ram_total = self.disk_free = self.disk_total = self.vcpus = 0

    def add(self, node: Node) -> None:
        free, total = _both(node.free_ram_mb, node.memory_mb)
        self.ram_free += free
        self.ram_total += total
        free, total = _both(node.free_disk_gb, node.local_gb)
        self.disk_free += free * 1024
        self.disk_total += total * 1024
        cpus, used = _both(node.vcpus, node.vcpus_used)
        # 0 is nova's way to say that a host has no opinion.
        self.vcpus += max(0, int(cpus * (node.cpu_allocation_ratio or 1.0)) - used)


def _both(one: int | None, other: int | None) -> tuple[int, int]:
    if one is None or other is None:
        return 0, 0
    return max(0, one), max(0, other)


def count(
    nodes: Iterable[Node], sizes: Iterable[tuple[int, int]], reserve_percent: float
) -> dict[str, Any]:
    """Return the capacities of the hosts that these nodes belong to.

    :param nodes: of hosts that are up and not disabled; others count for nothing.
    :param sizes: memory and disk of each flavor, in MiB; equal ones count once (D3).
    :param reserve_percent: of the whole memory and disk of a host, kept back.
    :returns: an empty dictionary when there are no hosts.
    """
    hosts: dict[str, _Host] = collections.defaultdict(_Host)
    for node in nodes:
        hosts[node.host].add(node)
    if not hosts:
        return {}
    # Whole numbers: a float can miss the last unit.
    reserve = fractions.Fraction(str(reserve_percent)) / 100
    scale, kept = reserve.denominator, reserve.numerator
    ram_usable: collections.Counter[int] = collections.Counter()
    disk_usable: collections.Counter[int] = collections.Counter()
    free: collections.Counter[tuple[int, int, int]] = collections.Counter()
    for host in hosts.values():
        ram = max(0, host.ram_free * scale - host.ram_total * kept)
        disk = max(0, host.disk_free * scale - host.disk_total * kept)
        ram_usable[ram] += 1
        disk_usable[disk] += 1
        key = (step(ram // scale), step(disk // scale // 1024), step(host.vcpus))
        if key[0] and key[2]:
            free[key] += 1
    ram_sizes, disk_sizes = set(), set()
    for ram_size, disk_size in sizes:
        ram_sizes.add(ram_size)
        disk_sizes.add(disk_size)
    return {
        'ram_free': {
            'total_mb': sum(host.ram_free for host in hosts.values()),
            'units_by_mb': _units(ram_usable, ram_sizes, scale),
        },
        'disk_free': {
            'total_mb': sum(host.disk_free for host in hosts.values()),
            'units_by_mb': _units(disk_usable, disk_sizes, scale),
        },
        'free': {'%d:%d:%d' % key: number for key, number in sorted(free.items())},
    }


def _units(usable: Mapping[int, int], sizes: set[int], scale: int) -> dict[str, int]:
    return {
        str(size): (
            sum(room // (size * scale) * number for room, number in usable.items())
            if size > 0
            else 0
        )
        for size in sorted(sizes)
    }


def step(value: int) -> int:
    """Return the largest power of two that is not above a value, 0 for none."""
    return 1 << (value.bit_length() - 1) if value > 0 else 0


def hosts_for(free: Mapping[str, int], ram_mb: int, disk_gb: int, vcpus: int) -> tuple[int, int]:
    """Return how many hosts surely, and how many perhaps, have room for one instance of a size.

    A host of key ``k`` has at least ``k`` and less than twice ``k`` of each. So there
    is no room for sure only where the second number is 0.

    :param free: as in capacities; keys that are not of this form do not count.
    """
    surely = perhaps = 0
    wanted = (ram_mb, disk_gb, vcpus)
    for key, number in free.items():
        parts = key.split(':')
        if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
            continue
        have = [int(part) for part in parts]
        if all(want <= has for want, has in zip(wanted, have, strict=True)):
            surely += number
        if all(want < max(1, 2 * has) for want, has in zip(wanted, have, strict=True)):
            perhaps += number
    return surely, perhaps


def merge(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the sum of capacities: numbers are added key by key, at any depth.

    What is neither a number nor a dictionary is left out; where one cell has a number
    and another a dictionary, the dictionary stays. The order of the parts does not matter.
    """
    merged: dict[str, Any] = {}
    for part in parts:
        _add(merged, part, _MOST_LEVELS)
    return merged


def _add(into: dict[str, Any], part: Mapping[str, Any], levels: int) -> None:
    for key, value in part.items():
        have = into.get(key)
        if isinstance(value, Mapping):
            if levels > 1:
                if not isinstance(have, dict):
                    have = into[key] = {}
                _add(have, value, levels - 1)
        elif _is_number(value) and not isinstance(have, dict):
            into[key] = (have or 0) + value


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
