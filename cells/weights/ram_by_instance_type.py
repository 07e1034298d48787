"""Cells with memory for many instances of the size come first, or last to fill them one by one.

What is on its way to a cell counts as taken (C4). For a size that a cell does not
list, the least that its hosts have for sure counts (D4).
"""

from cells import candidates
from cells.weights import base


class RamByInstanceTypeWeigher(base.CellWeigher):
    """Gives the number of instances of the size that there is memory for."""

    option = 'ram_weight_multiplier'
    by_load = True

    def weight(
        self, request: candidates.Request, cell: candidates.Cell, load: candidates.Load
    ) -> float:
        """Return the number, less what is on its way; for an unknown cell that is below 0."""
        size = request.memory_mb
        if size <= 0:
            return float(-load.builds)
        found = cell.room.units('ram_free', size)
        if found is None:
            found = cell.room.least_units(size)
        return found - load.memory_mb / size
