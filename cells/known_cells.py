"""The cells that a build may go to from here, as this worker knows them now."""

from collections.abc import Callable, Mapping
from typing import Any

from cells import candidates, sightings, state
from cells.reports import DRAINING


class KnownCells:
    """Tells what there is to choose from.

    :param own_capacities: returns what is free on the hosts of this cell.
    :param own_capabilities: what this cell can do itself.
    """

    def __init__(
        self,
        *,
        state: state.CellStateManager,
        own_capacities: Callable[[], Mapping[str, Any]],
        own_capabilities: Mapping[str, list[str]],
    ) -> None:
        self._state = state
        self._own_capacities = own_capacities
        self._own_capabilities = own_capabilities
        self._rooms: dict[str, candidates.Room] = {}

    @property
    def own_name(self) -> str:
        """The name of this cell."""
        return self._state.topology.own_name

    @property
    def is_top(self) -> bool:
        """Whether this cell is the top of the tree."""
        return self._state.topology.is_top

    @property
    def parents(self) -> frozenset[str]:
        """The names of the cells above."""
        return frozenset(self._state.topology.parents)

    def all(self) -> list[candidates.Cell]:
        """Return the children, by name, and this cell if it has hosts, or no children."""
        children = self._state.topology.children
        mute = self._state.mute()
        found = [
            self._child(child, child.name in mute, self._state.sighting(child.name))
            for _, child in sorted(children.items())
        ]
        own = self._own_capacities()
        if own or not children:
            found.append(
                candidates.Cell(
                    self.own_name,
                    is_own=True,
                    capabilities=self._own_capabilities,
                    room=self._room(self.own_name, own),
                )
            )
        return found

    def is_plain(self, name: str) -> bool:
        """Tell whether a child is known to be a nova-cells, which does not say what it builds."""
        return self._state.sighting(name).protocol == 0

    def is_mute(self, name: str) -> bool:
        """Tell whether a child has been silent for too long."""
        return name in self._state.mute()

    def is_child(self, name: str) -> bool:
        """Tell whether a cell is a child of this one (still)."""
        return name in self._state.topology.children

    def _child(
        self, child: state.CellState, mute: bool, seen: sightings.Sighting
    ) -> candidates.Cell:
        known = seen.capacities
        if seen.protocol == 0:
            # What is below a nova-cells is in its sums, but not all of it says this.
            known = {key: value for key, value in known.items() if key != 'free'}
        return candidates.Cell(
            child.name,
            is_mute=mute,
            is_drained=child.name in self._state.drained
            or child.name in seen.capabilities.get(DRAINING, ()),
            weight_offset=child.weight_offset,
            weight_scale=child.weight_scale,
            capabilities=seen.capabilities,
            room=self._room(child.name, known),
        )

    def _room(self, name: str, known: Mapping[str, Any]) -> candidates.Room:
        room = self._rooms.get(name)
        if room is None or room.capacities != known:
            room = self._rooms[name] = candidates.Room(known)
        return room
