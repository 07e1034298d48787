"""Cells that have been silent for too long are the last resort."""

from cells import candidates
from cells.weights import base


class MuteChildWeigher(base.CellWeigher):
    """Gives mute cells 1; ``mute_weight_multiplier`` is far below 0."""

    option = 'mute_weight_multiplier'

    def weight(
        self, request: candidates.Request, cell: candidates.Cell, load: candidates.Load
    ) -> float:
        """Return 1 for a mute cell, else 0."""
        return 1.0 if cell.is_mute else 0.0
