"""Counters of what a cell did, by name.

A counter is named by a word and labels, as Prometheus has it, so that the
metrics page can show it without a table in between:
``stats.count('messages_refused', reason='too large')``.
"""

import threading
from collections import defaultdict

Key = tuple[str, tuple[tuple[str, str], ...]]


class Stats:
    """Thread-safe counters that only grow."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: defaultdict[Key, int] = defaultdict(int)

    def count(self, name: str, /, by: int = 1, **labels: str) -> None:
        """Add ``by`` to the counter of this name and these labels."""
        key = (name, tuple(sorted(labels.items())))
        with self._lock:
            self._counts[key] += by

    def get(self, name: str, /, **labels: str) -> int:
        """Return the value of one counter, 0 when it never counted."""
        with self._lock:
            return self._counts.get((name, tuple(sorted(labels.items()))), 0)

    def snapshot(self) -> dict[str, int]:
        """Return all counters as ``{'name{label="value"}': count}``."""
        with self._lock:
            items = list(self._counts.items())
        return {_written(key): value for key, value in sorted(items)}


def _written(key: Key) -> str:
    name, labels = key
    if not labels:
        return name
    return '%s{%s}' % (name, ','.join('%s="%s"' % pair for pair in labels))
