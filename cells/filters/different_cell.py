"""The hint ``different_cell``: a cell, or a list of them, that is not to take the instance.

What is named with its whole path is left out at whatever level it comes up, and with
a cell all that is below it (C16).
"""

from cells import candidates
from cells.filters import base


class DifferentCellFilter(base.CellFilter):
    """Leaves out the cells that the hint names."""

    def refusal(
        self, request: candidates.Request, cell: candidates.Cell, load: candidates.Load
    ) -> str | None:
        """Refuse what is named, or below what is named."""
        if not request.different:
            return None
        path = request.path_to(cell)
        for other in request.different:
            if path.starts_with(other):
                return 'different_cell names %s' % other
        return None
