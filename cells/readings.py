"""What the monitor is told of a cell's database; agents, which have none, know no more of it."""

import dataclasses
from typing import Any, Protocol


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """What was read.

    :ivar values: see :func:`cells.db.figures.figures`; None when nothing could be read.
    :ivar error: why the database does not answer, without a password; None when it does.
    """

    values: dict[str, Any] | None = None
    error: str | None = None


class Reader(Protocol):
    """Reads the figures of a database, as :class:`cells.figures.FiguresReader` does."""

    def read(self) -> Reading:
        """Return figures that are no older than a few seconds, or why there are none."""

    def close(self) -> None:
        """Close the connections."""
