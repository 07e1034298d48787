"""Neighbours of the own cell and their capacities."""

from typing import Any

from cells.client import base


class TopologyCalls(base.Client):
    """What is asked of the own cell alone."""

    _enabled: bool

    def get_cell_info_for_neighbors(self, ctxt: Any) -> list[dict[str, Any]]:
        """Return name, capabilities and place in the tree of each neighbour of the own cell.

        Of the broker of a neighbour only host, port and user are shown.
        """
        if not self._enabled:
            return []
        return self._call(ctxt, '1.1', 'get_cell_info_for_neighbors')
