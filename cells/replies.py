"""Answers that are waited for, by the id of the question.

A cell that asks its neighbours keeps one :class:`Pending` per message: who is
expected, what has come, until when. It is the same for a source whose caller
waits and for a middle cell that merges; they differ in what is done at the
end, which is the ``on_complete`` that they give.

Answers are identified by neighbour, so a second copy counts for nothing (T7),
and who did not answer in time is named (T1, T8). Time comes in as an
argument, nothing here waits or sends.
"""

import dataclasses
import math
import threading
from collections.abc import Callable, Iterable, Mapping

from cells.messages import Response

#: neighbour -> what it answered, None for the silent
Parts = Mapping[str, 'tuple[Response, ...] | None']


@dataclasses.dataclass(slots=True)
class Pending:
    """One question that waits for the answers of neighbours.

    :ivar deadline: on the monotonic clock, in seconds.
    :ivar doubtful: neighbours that are not waited for after ``patience``.
    :ivar next_door: whether the neighbours themselves must answer, as to a broadcast; nobody
        behind one of them may do so in its place (X1).
    :ivar begun: when it was asked, on the clock of the deadline.
    :ivar on_complete: called once, with what came, by whoever completes it.
    """

    uuid: str
    parts: dict[str, tuple[Response, ...] | None]
    deadline: float
    on_complete: Callable[[Parts], None]
    doubtful: frozenset[str] = frozenset()
    patience: float = math.inf
    next_door: bool = False
    begun: float = 0.0

    def is_over(self, now: float) -> bool:
        """Tell whether nothing is waited for any more."""
        if now >= self.deadline:
            return True
        missing = {name for name, part in self.parts.items() if part is None}
        return not missing or (now >= self.patience and missing <= self.doubtful)

    @property
    def next_look(self) -> float:
        """When it may be over without another answer."""
        return min(self.deadline, self.patience) if self.doubtful else self.deadline


class PendingReplies:
    """All questions of one worker. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: dict[str, Pending] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def expect(
        self,
        uuid: str,
        neighbours: Iterable[str],
        deadline: float,
        on_complete: Callable[[Parts], None],
        doubtful: frozenset[str] = frozenset(),
        patience: float = math.inf,
        next_door: bool = False,
        begun: float = 0.0,
    ) -> bool:
        """Wait for the answers of these neighbours; call before the question is sent.

        :param doubtful: those of them that are waited for until ``patience`` only.
        :param next_door: see :class:`Pending`.
        :returns: False when the same question is pending already; then nothing is changed.
        """
        pending = Pending(
            uuid,
            dict.fromkeys(neighbours),
            deadline,
            on_complete,
            doubtful,
            patience,
            next_door,
            begun,
        )
        with self._lock:
            return self._pending.setdefault(uuid, pending) is pending

    def open(self, now: float) -> list[dict[str, object]]:
        """Return what is waited for: uuid, who has not answered, seconds left."""
        with self._lock:
            found = [(one, dict(one.parts)) for one in self._pending.values()]
        return [
            {
                'uuid': one.uuid,
                'missing': sorted(name for name, part in parts.items() if part is None),
                'seconds_left': round(one.deadline - now, 1),
            }
            for one, parts in found
        ]

    def begun(self, uuid: str) -> float | None:
        """Return when a question was asked that waits for answers; None when it does not."""
        pending = self._pending.get(uuid)
        return None if pending is None else pending.begun

    def put(
        self,
        uuid: str,
        neighbour: str,
        responses: Iterable[Response],
        now: float = -math.inf,
        passed_on: bool = False,
    ) -> bool:
        """Take the answer of a neighbour.

        :param passed_on: whether it is from a cell behind that neighbour.
        :returns: False when nobody waits for it: too late, a second copy, from a
            neighbour that was not asked, or from who may not answer for it.
        """
        with self._lock:
            pending = self._pending.get(uuid)
            if pending is None or pending.parts.get(neighbour, ()) is not None:
                return False
            if passed_on and pending.next_door:
                return False
            pending.parts[neighbour] = tuple(responses)
            if not pending.is_over(now):
                return True
            del self._pending[uuid]
        pending.on_complete(pending.parts)
        return True

    def doubt(self, neighbour: str, patience: float) -> None:
        """Wait for a neighbour no longer than until ``patience``, in whatever waits for it."""
        with self._lock:
            for pending in self._pending.values():
                if pending.parts.get(neighbour, ()) is None:
                    pending.doubtful |= {neighbour}
                    pending.patience = min(pending.patience, patience)

    def give_up(self, uuid: str) -> None:
        """Complete a question with what has come so far; nothing when it is complete."""
        with self._lock:
            pending = self._pending.pop(uuid, None)
        if pending is not None:
            pending.on_complete(pending.parts)

    def expire(self, now: float) -> int:
        """Complete all that need not be waited for any more and return how many those were."""
        with self._lock:
            late = [pending for pending in self._pending.values() if pending.is_over(now)]
            for pending in late:
                del self._pending[pending.uuid]
        for pending in late:
            pending.on_complete(pending.parts)
        return len(late)

    def next_deadline(self, now: float = -math.inf) -> float | None:
        """Return when to look next, None when nothing is waited for."""
        with self._lock:
            looks = [
                pending.next_look if pending.next_look > now else pending.deadline
                for pending in self._pending.values()
            ]
        return min(looks, default=None)
