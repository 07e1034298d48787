"""The hint ``target_cell``: one cell that is to take the instance, or a cell below it.

At its source a request for that very cell is for its own hosts alone; one that came
to it from above goes on below it, as a message that nova sends to the path does.
"""

from cells import candidates
from cells.filters import base


class TargetCellFilter(base.CellFilter):
    """Leaves the cells on the way to the one that is asked for, and those below it."""

    def refusal(
        self, request: candidates.Request, cell: candidates.Cell, load: candidates.Load
    ) -> str | None:
        """Refuse what is neither on the way there nor below."""
        target = request.target
        if target is None:
            return None
        if target == request.path and len(target) == 1:
            return None if cell.is_own else 'target_cell is %s itself' % target
        path = request.path_to(cell)
        if cell.is_own:
            meant = path.starts_with(target)
        else:
            meant = target.starts_with(path) or path.starts_with(target)
        return None if meant else 'it is not on the way to target_cell %s' % target
