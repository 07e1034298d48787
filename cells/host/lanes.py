"""Work in lanes: that of one lane is done one after the other, lanes beside each other."""

import collections
import threading
import time
from typing import Generic, TypeVar

T = TypeVar('T')


class Lanes(Generic[T]):
    """Queues by name, from each of which one item at a time is out.

    Any number of threads may put and take. What is taken must be given back by
    :meth:`finish` or :meth:`again`.

    :param held: whether :meth:`take` gives out nothing until :meth:`release`.
    """

    def __init__(self, held: bool = False) -> None:
        self._lanes: dict[str, collections.deque[tuple[float, T]]] = {}
        self._out: set[str] = set()
        self._held = held
        self._closed = False
        self._changed = threading.Condition(threading.Lock())

    def put(self, lane: str, item: T) -> None:
        """Put an item at the end of its lane."""
        with self._changed:
            self._lanes.setdefault(lane, collections.deque()).append((0.0, item))
            self._changed.notify()

    def take(self) -> tuple[str, T] | None:
        """Wait for an item and return it with its lane; None when it is closed."""
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                first: float | None = None
                if not self._held:
                    for lane, items in self._lanes.items():
                        if lane in self._out:
                            continue
                        due, item = items[0]
                        if due <= now:
                            self._out.add(lane)
                            items.popleft()
                            return lane, item
                        first = due if first is None else min(first, due)
                self._changed.wait(None if first is None else first - now)
            return None

    def finish(self, lane: str) -> None:
        """Give back what was taken from a lane: it is done."""
        with self._changed:
            self._give_back(lane)

    def again(self, lane: str, item: T, pause: float) -> None:
        """Give back what was taken from a lane: it is to be done after a pause, before the rest."""
        with self._changed:
            self._lanes[lane].appendleft((time.monotonic() + pause, item))
            self._give_back(lane)

    def _give_back(self, lane: str) -> None:
        self._out.discard(lane)
        items = self._lanes.pop(lane)
        if items:
            self._lanes[lane] = items  # behind the others: none is forgotten for another
        self._changed.notify()

    def load(self) -> dict[str, int]:
        """Return how many items wait, and how many are out."""
        with self._changed:
            waiting = sum(len(items) for items in self._lanes.values())
            return {'waiting': waiting, 'running': len(self._out)}

    def hold(self) -> None:
        """Give nothing out any more until :meth:`release`."""
        with self._changed:
            self._held = True

    def release(self) -> None:
        """Give out again."""
        with self._changed:
            self._held = False
            self._changed.notify_all()

    def hurry(self) -> None:
        """Let all pauses be over."""
        with self._changed:
            for items in self._lanes.values():
                if items:
                    items[0] = (0.0, items[0][1])
            self._changed.notify_all()

    def close(self) -> None:
        """Give nothing out any more; all who wait are let go."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
