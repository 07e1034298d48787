"""Who waits for answers: threads, how many of them for whom, and the clock for the rest."""

import collections
import threading
import time
from collections.abc import Sequence
from typing import Final

from cells import replies

#: How many broadcasts are remembered, to know a second copy of one.
MOST_RECENT: Final = 2000


class Waiter:
    """The thread of a client's call, until the answers are there."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self.parts: replies.Parts = {}

    def complete(self, parts: replies.Parts) -> None:
        self.parts = parts
        self._done.set()

    def wait(self, seconds: float) -> bool:
        return self._done.wait(max(0.0, seconds))


class Waiting:
    """How many threads wait for each neighbour, so that one cannot take them all (P8)."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}

    def enter(self, names: Sequence[str]) -> Sequence[str]:
        """Return those of the names that one more thread may wait for."""
        with self._lock:
            admitted = [name for name in names if self._counts.get(name, 0) < self._most]
            for name in admitted:
                self._counts[name] = self._counts.get(name, 0) + 1
            return admitted

    def leave(self, names: Sequence[str]) -> None:
        with self._lock:
            for name in names:
                self._counts[name] -= 1


class Recent:
    """The broadcasts that came lately, each with the neighbour that it came from first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: collections.OrderedDict[str, str] = collections.OrderedDict()

    def put(self, uuid: str, neighbour: str) -> str | None:
        """Remember a broadcast; returns who brought it before, None when it is new."""
        with self._lock:
            first = self._seen.get(uuid)
            if first is None:
                self._seen[uuid] = neighbour
                if len(self._seen) > MOST_RECENT:
                    self._seen.popitem(last=False)
            return first


class Clock:
    """Ends the aggregates of a middle cell when their time is over."""

    def __init__(self, pending: replies.PendingReplies) -> None:
        self._pending = pending
        self._wakeup = threading.Condition(threading.Lock())
        self._next: float | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name='deadlines', daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._wakeup:
            self._stopped = True
            self._wakeup.notify()
        if self._thread.is_alive():
            self._thread.join(5)

    def watch(self, deadline: float) -> None:
        with self._wakeup:
            if self._next is None or deadline < self._next:
                self._next = deadline
                self._wakeup.notify()

    def _run(self) -> None:
        while True:
            with self._wakeup:
                if self._stopped:
                    return
                wait = None if self._next is None else max(0.0, self._next - time.monotonic())
                if wait is None or wait > 0:
                    self._wakeup.wait(wait)
                    continue
                self._next = None
            self._pending.expire(time.monotonic())
            following = self._pending.next_deadline(time.monotonic())
            if following is not None:
                self.watch(following)
