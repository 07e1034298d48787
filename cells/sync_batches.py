"""What is sent upwards together, and what came of it: values in, values out.

A parent of our kind answers for each instance; of a plain one it is known only that its broker
has taken a message. What several parents said of an instance counts as the worst of it.
"""

import enum
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from cells import remote_errors
from cells.db.snapshots import Marks
from cells.messages import Response

#: Instances that one message tells of at most.
SIZE: Final = 50
#: After so many attempts in vain an instance is sent alone.
FIRST_ALONE: Final = SIZE.bit_length() - 1

#: Failures that say nothing of what was sent: a cell further up, or its database, is away.
_ABSENT: Final = frozenset(
    (
        'CellMaxHopCountReached',
        'CellRoutingInconsistency',
        'CellTimeout',
        'CellsError',  # it has too much to do
        'DatabaseUnavailable',
    )
)
OPERATION: Final = 'x_instances_update_at_top'
#: What a database counts to, with room to count on.
_MOST_COUNT: Final = 2**62


class Kind(enum.IntEnum):
    """What came of telling of an instance; the worst is the largest."""

    CONFIRMED = 0
    #: It is deleted above.
    GONE = 1
    #: Everything is to be told.
    MISSING = 2
    #: More is known above than here.
    AHEAD = 3
    #: Nobody has it; that is not its fault.
    NOT_SENT = 4
    #: It failed, and that may be its fault.
    FAILED = 5
    REFUSED = 6
    #: It cannot be sent at all.
    POISONOUS = 7


class Outcome(NamedTuple):
    """What came of telling of an instance.

    :ivar reason: for people.
    :ivar known: the pair that is known above.
    """

    kind: Kind
    reason: str = ''
    known: tuple[int, int] | None = None


CONFIRMED: Final = Outcome(Kind.CONFIRMED)
NOT_SENT: Final = Outcome(Kind.NOT_SENT)


class Reply(enum.Enum):
    """What a parent said to a whole batch."""

    ANSWERED = 'answered'
    #: It, or a cell above it, is a plain one.
    UNSUPPORTED = 'unsupported'
    #: It, or a cell above it, is away.
    ABSENT = 'absent'
    SILENT = 'silent'
    FAILED = 'failed'


class Batch:
    """Instances that are told of together.

    :param token: under which they are claimed.
    :param parents: that are told, and whether each is a plain one.
    :param on_end: called once, by whoever brings the last news.
    """

    def __init__(
        self,
        token: str,
        marks: Mapping[str, Marks],
        parents: Mapping[str, bool],
        on_end: Callable[['Batch'], None],
    ) -> None:
        self.token = token
        self.marks = marks
        self.parents = parents
        self.replies: dict[str, tuple[Reply, str]] = {}
        self.outcomes: dict[str, Outcome] = {}
        #: When it was made, on the monotonic clock.
        self.begun = time.monotonic()
        #: For how many seconds a parent is left alone, known at the end.
        self.pause = 0.0
        self._on_end = on_end
        self._waiting = set(parents)
        self._lock = threading.Lock()

    def report(
        self, parent: str, reply: Reply, outcomes: Mapping[str, Outcome], reason: str = ''
    ) -> None:
        """Take what came of telling a parent. Any thread."""
        with self._lock:
            if parent not in self._waiting:
                return
            self._waiting.discard(parent)
            self.replies[parent] = (reply, reason)
            for uuid in self.marks:
                found = outcomes.get(uuid, NOT_SENT)
                known = self.outcomes.get(uuid)
                if known is None or found.kind > known.kind:
                    self.outcomes[uuid] = found
            over = not self._waiting
        if over:
            self._on_end(self)

    def of_kind(self, *kinds: Kind) -> list[str]:
        """Return the instances of which one of these came."""
        return [uuid for uuid, outcome in self.outcomes.items() if outcome.kind in kinds]

    def all(self, outcome: Outcome) -> dict[str, Outcome]:
        """Return the same for all instances."""
        return dict.fromkeys(self.marks, outcome)


def read_answer(
    marks: Mapping[str, Marks], responses: Sequence[Response] | None
) -> tuple[Reply, dict[str, Outcome], str]:
    """Return what a parent of our kind, and those above it, said of instances.

    :param responses: None when nothing came.
    """
    if responses is None:
        return Reply.SILENT, dict.fromkeys(marks, NOT_SENT), 'no answer in time'
    answers = [one.value for one in responses if isinstance(one.value, dict)]
    if answers:
        merged: dict[str, Outcome] = {}
        for answer in answers:
            for uuid, one in marks.items():
                found = _outcome(one, answer.get(uuid))
                if uuid not in merged or found.kind > merged[uuid].kind:
                    merged[uuid] = found
        return Reply.ANSWERED, merged, ''
    for response in responses:
        if response.failure is None:
            continue
        reason = '%s: %s' % (response.cell_name, response.failure.message)
        if remote_errors.is_unknown_operation(response.failure, OPERATION):
            return Reply.UNSUPPORTED, dict.fromkeys(marks, NOT_SENT), reason
        if response.failure.name in _ABSENT:
            return Reply.ABSENT, dict.fromkeys(marks, NOT_SENT), reason
        return Reply.FAILED, dict.fromkeys(marks, Outcome(Kind.FAILED, reason)), reason
    return Reply.ABSENT, dict.fromkeys(marks, NOT_SENT), 'no cell above is the top of the tree'


def _outcome(marks: Marks, answer: Any) -> Outcome:
    if answer == 'missing':
        return Outcome(Kind.MISSING)
    if answer == 'gone':
        return Outcome(Kind.GONE)
    if isinstance(answer, str) and answer.startswith('refused'):
        return Outcome(Kind.REFUSED, answer)
    if (
        isinstance(answer, list)
        and [type(one) for one in answer] == [int, int]
        and all(abs(one) < _MOST_COUNT for one in answer)
    ):
        known = (answer[0], answer[1])
        if marks.at is not None and known > marks.at:
            return Outcome(Kind.AHEAD, known=known)
        return CONFIRMED
    return Outcome(Kind.FAILED, 'the answer is %.60s' % ascii(answer))


def groups(marks: Mapping[str, Marks], sizes: Mapping[str, int], most: int) -> Iterator[list[str]]:
    """Divide instances into batches.

    One that failed goes with others that did, and with fewer each time: what it is the fault of
    comes to be alone.

    :param sizes: of what is told of each, in bytes.
    :param most: bytes of a batch.
    """
    by_attempts: dict[int, list[str]] = {}
    for uuid in sizes:
        by_attempts.setdefault(marks[uuid].attempts, []).append(uuid)
    for attempts, uuids in by_attempts.items():
        group: list[str] = []
        room, size = room_for(attempts), 0
        for uuid in uuids:
            if group and (len(group) >= room or size + sizes[uuid] > most):
                yield group
                group, size = [], 0
            group.append(uuid)
            size += sizes[uuid]
        if group:
            yield group


def room_for(attempts: int) -> int:
    """Return how many go together that were sent in vain so often."""
    return max(1, SIZE >> min(attempts, 16))


def is_alone(marks: Mapping[str, Marks], uuids: Collection[str]) -> bool:
    """Tell whether what failed has nobody else to blame."""
    return len(uuids) == 1 and all(room_for(marks[uuid].attempts) == 1 for uuid in uuids)
