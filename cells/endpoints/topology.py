"""Neighbours of this cell and their capacities."""

from collections.abc import Mapping
from typing import Any

from cells import context, exceptions, neighbour_sources, rpc
from cells.db import engine, neighbours, rows
from cells.endpoints import base
from cells.state import CellState


class TopologyMethods(base.Endpoint):
    """What this cell answers by itself."""

    @rpc.served
    def get_cell_info_for_neighbors(self, ctxt: context.RequestContext) -> list[dict[str, Any]]:
        """Return what is known of each neighbour, children first."""
        topology = self._state.topology
        return [
            cell.info(self._state.sighting(cell.name).capabilities)
            for cell in (*topology.children.values(), *topology.parents.values())
        ]

    @rpc.served
    def get_capacities(
        self, ctxt: context.RequestContext, cell_name: str | None = None
    ) -> dict[str, Any]:
        """Return what is free in this cell and below, or in one child as last reported.

        :raises CellNotFound: there is no child of the name.
        """
        topology = self._state.topology
        if not cell_name or cell_name == topology.own_name:
            return self._reports.capacities()
        if not isinstance(cell_name, str) or cell_name not in topology.children:
            raise exceptions.CellNotFound(cell_name=cell_name)
        return dict(self._state.sighting(cell_name).capacities)

    @rpc.served
    def cell_get(self, ctxt: context.RequestContext, cell_name: str) -> dict[str, Any]:
        """Return a neighbour as a plain dictionary.

        :raises CellNotFound: there is none of the name.
        """
        cell = self._known(cell_name)
        if cell is None:
            # Perhaps another worker has just made it.
            self._state.refresh()
            cell = self._known(cell_name)
        if cell is None:
            raise exceptions.CellNotFound(cell_name=cell_name)
        return {
            **cell.info(self._state.sighting(cell.name).capabilities),
            'transport_url': cell.transport_url,
            'api_url': cell.api_url,
        }

    @rpc.served
    def cell_create(
        self, ctxt: context.RequestContext, values: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Add a neighbour and return its row.

        :raises CellExists: there is one of the name.
        :raises Invalid: a value is not allowed, or the name is an alias of another cell.
        """
        self._check_editable()
        with self.using_database() as database:
            checked = self._new_values(database, values, None)
            own_name = self._state.topology.own_name
            row = neighbours.cell_create(database, checked, own_name)
        self._state.refresh()
        return rows.plain(row)

    @rpc.served
    def cell_update(
        self, ctxt: context.RequestContext, cell_name: str, values: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Change a neighbour and return its row, None when it got another name.

        :raises CellNotFound: there is none of the name.
        :raises CellExists: the new name is taken.
        :raises Invalid: a value is not allowed.
        """
        self._check_editable()
        with self.using_database() as database:
            checked = self._new_values(database, values, str(cell_name))
            if not checked:
                raise exceptions.Invalid(reason='values is empty: nothing is to be changed')
            own_name = self._state.topology.own_name
            row = neighbours.cell_update(database, str(cell_name), checked, own_name)
        self._state.refresh()
        return None if row is None else rows.plain(row)

    @rpc.served
    def cell_delete(self, ctxt: context.RequestContext, cell_name: str) -> int:
        """Delete a neighbour and return how many rows that were."""
        self._check_editable()
        with self.using_database() as database:
            count = neighbours.cell_delete(database, str(cell_name))
        self._state.refresh()
        return count

    def _known(self, cell_name: object) -> CellState | None:
        return self._state.topology.get(cell_name) if isinstance(cell_name, str) else None

    def _check_editable(self) -> None:
        if not self._state.source.editable:
            raise exceptions.CellsUpdateUnsupported()

    def _new_values(
        self, database: engine.Database, values: Any, name: str | None
    ) -> dict[str, Any]:
        place = self._state.place
        # Not those in the topology: it keeps the last parent when that is deleted, and the
        # next one must be able to take its place.
        known = neighbours.cell_get_all(database)
        return neighbour_sources.new_values(
            values,
            own_name=place.name,
            is_top=place.is_top,
            parents={row['name'] for row in known if row['is_parent']} - {name},
            many_parents=place.many_parents,
            complete=name is None,
        )
