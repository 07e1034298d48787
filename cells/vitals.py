"""How a worker does, as plain values: for operators, the health page and the metrics.

Only what it has in memory: nothing here waits for a database, a broker or another cell.
"""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from cells import published
from cells.state import CellStateManager
from cells.stats import Stats

#: Seconds that the thread of the state may take for a turn.
STATE_SECONDS: Final = 60.0


class Vitals:
    """Reads how one worker of a cell does.

    :param server: the server name of the worker.
    :param neighbours: the ways to them, see :meth:`cells.status.CellStatus.links`.
    :param silences: seconds since the message bus was there, for each part that listens to it.
    :param load: see :meth:`cells.messaging.MessageRunner.load`.
    :param enabled: whether new instances may be built in this cell.
    :param parents: see :meth:`cells.sync.UpSync.parents`.
    """

    def __init__(
        self,
        *,
        name: str,
        server: str,
        state: CellStateManager,
        stats: Stats,
        neighbours: Callable[[], list[dict[str, Any]]],
        silences: Callable[[], Mapping[str, float]],
        load: Callable[[], Mapping[str, int]],
        enabled: Callable[[], bool],
        parents: Callable[[], list[dict[str, Any]]],
    ) -> None:
        #: What the worker is doing: ``published.SERVES``, or what it waits for before it can.
        self.doing = 'starts'
        self._name = name
        self._server = server
        self._state = state
        self._neighbours = neighbours
        self._stats = stats
        self._silences = silences
        self._load = load
        self._enabled = enabled
        self._parents = parents
        self._started_at = time.time()

    def read(self) -> dict[str, Any]:
        """Return everything."""
        found = self._stats.export()
        late = found.pop('late')
        turned = time.monotonic() - self._state.turned_at
        serves = self.doing == published.SERVES
        if serves and turned > STATE_SECONDS:
            late['state'] = round(turned, 1)
        return {
            'kind': 'cell',
            'name': self._name,
            'id': self._state.cell_id,
            'worker': self._server,
            'pid': os.getpid(),
            'doing': self.doing,
            'started_at': self._started_at,
            'drained': not self._enabled(),
            'bus': {name: round(seconds, 1) for name, seconds in self._silences().items()},
            'database': self._state.trouble,
            'late': late,
            'load': dict(self._load()),
            'neighbours': self._neighbours(),
            'parents': self._parents(),
            **found,
        }
