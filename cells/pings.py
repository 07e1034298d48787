"""Pings: every few seconds each neighbour of our kind is asked who it is and what time it has.

One worker of a cell does it, the holder of the lease ``reports``. The answer,
as any envelope, shows that the neighbour lives; the time in it gives the
offset of its clock.
"""

import logging
import threading
import time
from typing import Any, Final

from cells import leases, sightings, wire
from cells.messages import Response
from cells.messaging import MessageRunner
from cells.state import CellStateManager

LOG = logging.getLogger(__name__)

#: Seconds that an answer may take.
ANSWER_SECONDS: Final = 4.0


class Pings:
    """Pings the neighbours of a cell, for one worker."""

    def __init__(
        self, *, state: CellStateManager, runner: MessageRunner, lease: leases.Lease
    ) -> None:
        self._state = state
        self._runner = runner
        self._lease = lease
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name='pings', daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def _run(self) -> None:
        while not self._stopped.wait(sightings.PING_SECONDS if self._lease.held else 1.0):
            for name in sorted(self._state.topology.names):
                try:
                    if self._lease.held and self._state.sighting(name).is_ours:
                        self._ping(name)
                    self._state.sightings.is_mute(name)  # says so in the log
                except Exception:  # noqa: BLE001 - the others are to be pinged all the same
                    LOG.exception('Cell %s could not be pinged, going on', name)

    def _ping(self, name: str) -> None:
        sent, begun = time.time(), time.monotonic()

        def on_complete(response: Response | None) -> None:
            if response is None or response.failure is not None:
                return
            value: Any = response.value
            told = value.get('time') if isinstance(value, dict) else None
            if isinstance(told, bool) or not isinstance(told, int | float):
                return
            if 0 <= told <= wire.LATEST:
                # It was told at some moment of the way there and back.
                half = (time.monotonic() - begun) / 2
                self._state.sightings.measured(name, told - (sent + half), half)

        self._runner.ping_later(name, ANSWER_SECONDS, on_complete)
