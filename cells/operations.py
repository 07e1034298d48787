"""What cells can ask of each other: one row for each operation.

Routing, journaling, the wire and the start-up check read this table; adding
an operation is a row here, a handler, a client method and a manager method.
A message that names anything else is refused: no attribute of anything is
callable because a message names it (``spec/intercell.json``, ``methods``).
"""

import dataclasses
import enum
from typing import Final


class Kind(enum.Enum):
    """The three kinds of messages; the value is its word on the wire and in its topic."""

    TARGETED = 'targeted'
    BROADCAST = 'broadcast'
    RESPONSE = 'response'


class Direction(enum.Enum):
    """Towards the parents or towards the children."""

    UP = 'up'
    DOWN = 'down'

    @property
    def opposite(self) -> 'Direction':
        """The way an answer takes."""
        return Direction.DOWN if self is Direction.UP else Direction.UP


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """One operation.

    :ivar name: ``method_name`` on the wire.
    :ivar kinds: how it may travel.
    :ivar direction: the way it takes; None for both.
    :ivar replies: whether its source waits for an answer.
    :ivar changes: whether it changes anything: then it is journaled and runs once, and is
        never answered; else it is a read, which may run twice and may be lost with its asker.
    :ivar runs_at_source: a broadcast that its source takes part in.
    :ivar extension: known to our cells only; it is never sent to a plain nova-cells.
    """

    name: str
    kinds: frozenset[Kind]
    direction: Direction | None
    replies: bool = False
    changes: bool = False
    runs_at_source: bool = False
    extension: bool = False


_T = frozenset({Kind.TARGETED})
_B = frozenset({Kind.BROADCAST})

#: Says which changes a neighbour has safely in its journal.
RECEIPT: Final = 'x_receipt'

_ROWS = (
    Operation('service_get_all', _B, Direction.DOWN, replies=True, runs_at_source=True),
    Operation('sync_instances', _B, Direction.DOWN, changes=True),
    Operation('task_log_get_all', _T | _B, Direction.DOWN, replies=True, runs_at_source=True),
    Operation(RECEIPT, _T, None, extension=True),
)

OPERATIONS: Final[dict[str, Operation]] = {row.name: row for row in _ROWS}

#: Operations that the runner itself consumes, without a handler.
CONSUMED: Final = frozenset({RECEIPT})
