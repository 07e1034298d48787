"""What operators prefer: ``weight_offset`` in the table of neighbours.

It counts as it is (C6): 999999999999999 makes a cell the first choice as long as it
has room and lives, and a few points weigh against the 10 that memory gives at most.
"""

from cells import candidates
from cells.weights import base


class WeightOffsetWeigher(base.CellWeigher):
    """Gives the offset of the neighbour's row, and 0 to the own cell."""

    option = 'offset_weight_multiplier'
    normalised = False

    def weight(
        self, request: candidates.Request, cell: candidates.Cell, load: candidates.Load
    ) -> float:
        """Return the offset; what is preferred must live."""
        return min(cell.weight_offset, 0.0) if cell.is_mute else cell.weight_offset
