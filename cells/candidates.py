"""What a cell for an instance is chosen from: requests, cells, and what is on its way to them.

Plain values. Filters (:mod:`cells.filters`) and weighers (:mod:`cells.weights`) get
them and keep nothing of them, so that the same request and the same cells lead to
the same choice, whatever came before (C5, C14).
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from cells import exceptions, json_text, paths

#: Names of hints, in ``filter_properties['scheduler_hints']``.
TARGET_CELL: Final = 'target_cell'
DIFFERENT_CELL: Final = 'different_cell'


class Load(NamedTuple):
    """What is on its way to a cell and may not show in its capacities yet."""

    builds: int = 0
    memory_mb: int = 0
    disk_gb: int = 0
    vcpus: int = 0

    def plus(self, request: 'Request') -> 'Load':
        """Return the load with one more instance."""
        return Load(
            self.builds + 1,
            self.memory_mb + request.memory_mb,
            self.disk_gb + request.disk_gb,
            self.vcpus + request.vcpus,
        )


NO_LOAD: Final = Load()


class Room:
    """What capacities say about sizes. Each answer is worked out once and kept.

    :param capacities: see :mod:`cells.capacity`; empty when nothing is known. They must not
        change any more.
    """

    def __init__(self, capacities: Mapping[str, Any]) -> None:
        self.capacities = capacities
        free = capacities.get('free')
        self._free = list(_parsed(free)) if isinstance(free, Mapping) else None
        self._units = {what: _units(capacities, what) for what in ('ram_free', 'disk_free')}
        self._hosts: dict[tuple[int, int, int], int] = {}
        self._least: dict[int, int] = {}

    def units(self, what: str, mb: int) -> int | None:
        """Return for how many instances of a size there is room; None when nobody has said.

        :param what: ``ram_free`` or ``disk_free``.
        :param mb: of one instance.
        """
        return self._units[what].get(mb)

    def hosts(self, memory_mb: int = 0, disk_gb: int = 0, vcpus: int = 0) -> int | None:
        """Return how many hosts may have room for one instance; None when nobody has said."""
        if self._free is None:
            return None
        size = (memory_mb, disk_gb, vcpus)
        found = self._hosts.get(size)
        if found is None:
            found = self._hosts[size] = sum(
                number
                for ram, disk, cpus, number in self._free
                # A host has less than twice what it is listed under.
                if memory_mb < max(1, 2 * ram)
                and disk_gb < max(1, 2 * disk)
                and vcpus < max(1, 2 * cpus)
            )
        return found

    def least_units(self, memory_mb: int) -> int:
        """Return for how many instances of a size that nobody lists there is surely memory."""
        found = self._least.get(memory_mb)
        if found is None:
            found = self._least[memory_mb] = sum(
                ram // memory_mb * number for ram, _, _, number in self._free or ()
            )
        return found


def _parsed(free: Mapping[str, Any]) -> Iterator[tuple[int, int, int, int]]:
    for key, number in free.items():
        parts = key.split(':')
        if len(parts) == 3 and all(part.isascii() and part.isdigit() for part in parts):
            ram, disk, cpus = map(int, parts)
            yield ram, disk, cpus, number


def _units(capacities: Mapping[str, Any], what: str) -> dict[int, int]:
    part = capacities.get(what)
    listed = part.get('units_by_mb') if isinstance(part, Mapping) else None
    if not isinstance(listed, Mapping):
        return {}
    return {int(size): int(number) for size, number in listed.items() if size.isdigit()}


NOTHING_KNOWN: Final = Room({})


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """A cell that could take an instance: the own one, or a child with all below it.

    :ivar is_mute: whether it has been silent for too long.
    :ivar is_drained: whether it takes no new instances (drained or not enabled).
    :ivar weight_offset: and ``weight_scale``: of its row in the table of neighbours.
    :ivar capabilities: values by name.
    """

    name: str
    is_own: bool = False
    is_mute: bool = False
    is_drained: bool = False
    weight_offset: float = 0.0
    weight_scale: float = 1.0
    capabilities: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    room: Room = NOTHING_KNOWN


@dataclasses.dataclass(frozen=True)
class Request:
    """What one instance needs.

    :ivar disk_gb: root and ephemeral disk together.
    :ivar path: of this cell, as the request came; hints name cells by such paths.
    :ivar hints: ``scheduler_hints``.
    :ivar image_properties: of its image.
    :ivar tried: names of cells that are not to be chosen (again).
    """

    memory_mb: int
    disk_gb: int
    vcpus: int
    path: paths.CellPath
    hints: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    image_properties: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tried: frozenset[str] = frozenset()

    @functools.cached_property
    def kind(self) -> tuple[Any, ...]:
        """What is equal for requests that are to be treated alike."""
        rest = json_text.dumps([self.hints, self.image_properties])
        return self.memory_mb, self.disk_gb, self.vcpus, self.path, self.tried, rest

    def path_to(self, cell: Cell) -> paths.CellPath:
        """Return the path of a candidate."""
        return self.path if cell.is_own else self.path.hopped(cell.name)

    @functools.cached_property
    def target(self) -> paths.CellPath | None:
        """The cell that is asked for, if any; from the same beginning as :attr:`path`.

        :raises Invalid: the hint is not a path.
        """
        text = self.hints.get(TARGET_CELL)
        return self._aligned(TARGET_CELL, text) if text else None

    @functools.cached_property
    def different(self) -> tuple[paths.CellPath, ...]:
        """The cells that are not to be chosen; from the same beginning as :attr:`path`.

        :raises Invalid: the hint is neither a path nor a list of paths.
        """
        given = self.hints.get(DIFFERENT_CELL) or ()
        texts = given if isinstance(given, list | tuple) else [given]
        return tuple(self._aligned(DIFFERENT_CELL, text) for text in texts)

    def _aligned(self, hint: str, text: Any) -> paths.CellPath:
        """Return the path of a hint; users see paths from the top on.

        A nova-cells on the way lets the path of a request begin anew with itself. As
        names are unique in a tree, the place of this cell in the hint is found all the same.
        """
        try:
            path = paths.CellPath.parse(text)
        except ValueError as error:
            raise exceptions.Invalid(reason='hint %s: %s' % (hint, error)) from None
        first = self.path.names[0]
        if first in path.names[1:]:
            return paths.CellPath(path.names[path.names.index(first) :])
        return path
