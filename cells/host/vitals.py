"""How an agent does, as plain values: for operators, the health page and the metrics."""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from cells import published
from cells.stats import Stats


class HostVitals:
    """Reads how an agent does.

    :param host: the name of the host.
    :param bus_silence: seconds since the message bus was there.
    :param cell_problem: why the cell does not take reports; None when it does.
    :param load: how many operations wait, and are under way.
    """

    def __init__(
        self,
        *,
        host: str,
        stats: Stats,
        bus_silence: Callable[[], float],
        cell_problem: Callable[[], str | None],
        load: Callable[[], Mapping[str, int]],
    ) -> None:
        self._host = host
        self._stats = stats
        self._bus_silence = bus_silence
        self._cell_problem = cell_problem
        self._load = load
        self._started_at = time.time()

    def read(self) -> dict[str, Any]:
        """Return everything."""
        found = self._stats.export()
        late = found.pop('late')
        problem = self._cell_problem()
        return {
            'kind': 'host',
            'name': self._host,
            'worker': self._host,
            'pid': os.getpid(),
            'doing': published.SERVES if problem is None else 'waits for its cell',
            'started_at': self._started_at,
            'bus': {'compute': round(self._bus_silence(), 1)},
            'cell': problem,
            'late': late,
            'load': dict(self._load()),
            **found,
        }
