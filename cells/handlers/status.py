"""How this cell does."""

from collections.abc import Callable
from typing import Any, Final

from cells import context


class StatusHandlers:
    """Answers those who look at the whole tree.

    :param summary: see :meth:`cells.status.CellStatus.summary`.
    """

    OPERATIONS: Final = ('x_status',)

    def __init__(self, summary: Callable[[], dict[str, Any]]) -> None:
        self._summary = summary

    def x_status(self, ctxt: context.RequestContext) -> dict[str, Any]:
        """Return how this cell does, and the ways to its neighbours."""
        return self._summary()
