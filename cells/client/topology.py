"""Neighbours of the own cell and their capacities."""

from collections.abc import Mapping
from typing import Any

from cells.client import contract


class TopologyCalls(contract.ContractClient):
    """What is asked of the own cell alone."""

    _enabled: bool

    def get_cell_info_for_neighbors(self, ctxt: Any) -> list[dict[str, Any]]:
        """Return name, capabilities and place in the tree of each neighbour of the own cell.

        Of the broker of a neighbour only host, port and user are shown.
        """
        if not self._enabled:
            return []
        return self._ask(ctxt, 'get_cell_info_for_neighbors')

    def get_capacities(self, ctxt: Any, cell_name: str | None = None) -> dict[str, Any]:
        """Return what is free in the own cell and all below, or in one child and below it.

        :returns: ``{'ram_free': {'total_mb', 'units_by_mb': {<MiB>: <slots>}}, 'disk_free':
            {...}}``, and ``free`` from cells of our kind; empty when there are no hosts.
        :raises CellNotFound: there is no child of the name.
        """
        return self._ask(ctxt, 'get_capacities', cell_name=cell_name)

    def cell_create(self, ctxt: Any, values: Mapping[str, Any]) -> dict[str, Any]:
        """Add a neighbour to the own cell and return its row.

        :param values: name, transport_url, is_parent, weight_offset, weight_scale, api_url.
        :raises CellExists: there is one of the name.
        :raises Invalid: a value is not allowed.
        :raises CellsUpdateUnsupported: the neighbours are written in a file.
        """
        return self._ask(ctxt, 'cell_create', values=dict(values))

    def cell_update(
        self, ctxt: Any, cell_name: str, values: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Change a neighbour and return its row, None when it got another name.

        :raises CellNotFound: there is none of the name.
        """
        return self._ask(ctxt, 'cell_update', cell_name=cell_name, values=dict(values))

    def cell_delete(self, ctxt: Any, cell_name: str) -> int:
        """Delete a neighbour and return how many rows that were, 0 for an unknown name."""
        return self._ask(ctxt, 'cell_delete', cell_name=cell_name)

    def cell_get(self, ctxt: Any, cell_name: str) -> dict[str, Any]:
        """Return a neighbour, with its transport URL.

        :raises CellNotFound: there is none of the name.
        """
        return self._ask(ctxt, 'cell_get', cell_name=cell_name)
