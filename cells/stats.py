"""What a worker counts and measures, by name, and which of its threads still turn.

A counter is named by a word and labels, as Prometheus has it, so that the
metrics page can show it without a table in between:
``stats.count('messages_refused', reason='too large')``.
"""

import bisect
import threading
import time
from collections import defaultdict
from typing import Any, Final

Key = tuple[str, tuple[tuple[str, str], ...]]

#: Upper bounds of the classes of a histogram, in seconds.
BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Stats:
    """Thread-safe counters and histograms that only grow, and signs of life of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: defaultdict[Key, int] = defaultdict(int)
        self._histograms: dict[Key, list[float]] = {}
        self._beats: dict[str, tuple[float, float]] = {}

    def count(self, name: str, /, by: int = 1, **labels: str) -> None:
        """Add ``by`` to the counter of this name and these labels."""
        key = (name, tuple(sorted(labels.items())))
        with self._lock:
            self._counts[key] += by

    def observe(self, name: str, /, seconds: float, **labels: str) -> None:
        """Put a measured time into the histogram of this name and these labels."""
        key = (name, tuple(sorted(labels.items())))
        place = bisect.bisect_left(BOUNDS, seconds)
        with self._lock:
            found = self._histograms.setdefault(key, [0.0] * (len(BOUNDS) + 2))
            found[place] += 1
            found[-1] += seconds

    def beat(self, name: str, /, within: float = 60.0) -> None:
        """Say that a thread turns.

        :param within: seconds within which it says so again, as long as all is well.
        """
        self._beats[name] = (time.monotonic(), within)

    def rest(self, name: str, /) -> None:
        """Say that a thread waits for work: until :meth:`beat` nothing is expected of it."""
        self._beats.pop(name, None)

    def get(self, name: str, /, **labels: str) -> int:
        """Return the value of one counter, 0 when it never counted."""
        with self._lock:
            return self._counts.get((name, tuple(sorted(labels.items()))), 0)

    def snapshot(self) -> dict[str, int]:
        """Return all counters as ``{'name{label="value"}': count}``."""
        with self._lock:
            items = list(self._counts.items())
        return {_written(key): value for key, value in sorted(items)}

    def export(self) -> dict[str, Any]:
        """Return everything as JSON can have it.

        :returns: ``counters``, a list of (name, labels, value); ``histograms``, a list of (name,
            labels, number in each class of :data:`BOUNDS` and above, sum of all); ``late``, the
            seconds since each thread turned that is late with it.
        """
        now = time.monotonic()
        with self._lock:
            counts = sorted(self._counts.items())
            histograms = sorted((key, list(found)) for key, found in self._histograms.items())
        beats = dict(self._beats)
        return {
            'counters': [(name, dict(labels), value) for (name, labels), value in counts],
            'histograms': [
                (name, dict(labels), [int(number) for number in found[:-1]], found[-1])
                for (name, labels), found in histograms
            ],
            'late': {
                name: round(now - at, 1)
                for name, (at, within) in sorted(beats.items())
                if now - at > within
            },
        }


def _written(key: Key) -> str:
    name, labels = key
    if not labels:
        return name
    return '%s{%s}' % (name, ','.join('%s="%s"' % pair for pair in labels))
