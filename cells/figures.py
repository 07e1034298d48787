"""The figures of a cell's database, read when somebody looks, and never waited for long."""

import threading
import time
from typing import Final

from cells.db import engine
from cells.db import figures as db_figures
from cells.readings import Reading

#: Seconds for which figures are good, and which somebody who looks waits for fresh ones.
KEEP_SECONDS: Final = 5.0
WAIT_SECONDS: Final = 2.0


class FiguresReader:
    """Reads in threads of its own, one at a time: a database that hangs holds nobody up."""

    def __init__(self, database: engine.Database, service_down_time: float) -> None:
        self._database = database
        self._service_down_time = service_down_time
        self._lock = threading.Lock()
        self._reading: threading.Thread | None = None
        self._begun = 0.0
        self._read_at: float | None = None
        self._last = Reading()

    def read(self) -> Reading:
        """Return figures that are no older than a few seconds, or why there are none."""
        with self._lock:
            if self._read_at is not None and time.monotonic() - self._read_at < KEEP_SECONDS:
                return self._last
            reading = self._reading
            if reading is None or not reading.is_alive():
                self._begun = time.monotonic()
                reading = threading.Thread(target=self._read, name='figures', daemon=True)
                self._reading = reading
                reading.start()
        reading.join(WAIT_SECONDS)
        with self._lock:
            if not reading.is_alive():
                return self._last
            waited = time.monotonic() - self._begun
        return Reading(error='it has not answered for %.0f seconds' % waited)

    def close(self) -> None:
        """Close the connections."""
        self._database.dispose()

    def _read(self) -> None:
        try:
            found = Reading(db_figures.figures(self._database, self._service_down_time))
        except engine.ERRORS as error:
            found = Reading(error=engine.brief(error))
        with self._lock:
            self._last, self._read_at = found, time.monotonic()
