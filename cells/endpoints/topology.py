"""Neighbours of this cell and their capacities."""

from typing import Any

from cells import context, rpc
from cells.endpoints import base


class TopologyMethods(base.Endpoint):
    """What this cell answers by itself."""

    @rpc.served
    def get_cell_info_for_neighbors(self, ctxt: context.RequestContext) -> list[dict[str, Any]]:
        """Return what is known of each neighbour, children first."""
        topology = self._state.topology
        return [cell.info() for cell in (*topology.children.values(), *topology.parents.values())]
