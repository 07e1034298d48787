"""What a filter is."""

import abc
from typing import ClassVar

from cells import candidates


class CellFilter(abc.ABC):
    """Says which cells may take an instance.

    A filter is made once, without arguments, and asked by several threads at a time. It
    keeps nothing, changes nothing that it is given, does not wait, and bears whatever
    other cells report: what it cannot read counts as not known, and passes.
    """

    #: Whether the answer can change with what is on its way to a cell.
    by_load: ClassVar[bool] = False

    @abc.abstractmethod
    def refusal(
        self, request: candidates.Request, cell: candidates.Cell, load: candidates.Load
    ) -> str | None:
        """Return why a cell may not take an instance, for users to read; None when it may."""
