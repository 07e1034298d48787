"""What a weigher is."""

import abc
from typing import ClassVar

from cells import candidates


class CellWeigher(abc.ABC):
    """Gives each cell that may take an instance a number: the more, the better.

    A weigher is made once and asked by several threads at a time. It keeps nothing,
    changes nothing that it is given, does not wait, and bears whatever other cells report.

    :param multiplier: what its numbers count; with a negative one the least is the best.
    """

    #: The option in ``[cells]`` that its multiplier is taken from; without one it is 1.
    option: ClassVar[str | None] = None
    #: Whether its numbers are brought to 0 .. 1, from the least to the most of those cells,
    #: before they count; else they count as they are, and ``weight_scale`` does not apply.
    normalised: ClassVar[bool] = True
    #: Whether a number can change with what is on its way to a cell.
    by_load: ClassVar[bool] = False

    def __init__(self, multiplier: float = 1.0) -> None:
        self.multiplier = multiplier

    @abc.abstractmethod
    def weight(
        self, request: candidates.Request, cell: candidates.Cell, load: candidates.Load
    ) -> float:
        """Return the number of a cell."""
