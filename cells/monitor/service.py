"""The life of the monitor under oslo.service: one more process beside the workers."""

import logging
import os
import threading
from collections.abc import Callable
from typing import Final

from oslo_service import service

from cells import exceptions, published
from cells.monitor import http
from cells.monitor.pages import Pages
from cells.readings import Reader

LOG = logging.getLogger(__name__)

#: Seconds until a port is tried again that another process took since the daemon started.
RETRY_SECONDS: Final = 5.0


class MonitorService(service.ServiceBase):
    """Serves the pages of a daemon. Nothing is opened before :meth:`start`.

    :param expected: how many workers there should be.
    :param database: makes what reads the database of the cell; None for an agent.
    :param begun: is called in the process of the monitor.
    """

    def __init__(
        self,
        *,
        address: str,
        port: int,
        state_path: str,
        expected: int,
        wedged_after: float,
        database: Callable[[], Reader] | None,
        begun: Callable[[], None],
    ) -> None:
        self._address = address
        self._port = port
        self._state_path = state_path
        self._expected = expected
        self._wedged_after = wedged_after
        self._make_reader = database
        self._begun = begun
        self._reader: Reader | None = None
        self._server: http.Server | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        """Serve; a port that is in use is waited for."""
        self._begun()
        self._reader = self._make_reader() if self._make_reader is not None else None
        master = os.getppid()
        pages = Pages(
            read_workers=lambda: published.read(self._state_path, master),
            expected=self._expected,
            wedged_after=self._wedged_after,
            database=self._reader,
        )
        said = False
        while not self._stopped.is_set():
            try:
                self._server = http.Server(self._address, self._port, pages.by_path())
            except exceptions.ConfigurationError as error:
                if not said:
                    LOG.error('No health page and no metrics, trying until it works: %s', error)
                said = True
                self._stopped.wait(RETRY_SECONDS)
            else:
                self._server.start()
                LOG.info('Health and metrics on http://%s:%d', self._address, self._server.port)
                return

    def stop(self, graceful: bool = True) -> None:
        """End."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        if self._server is not None:
            self._server.stop()
        if self._reader is not None:
            self._reader.close()

    def wait(self) -> None:
        """Return when it has ended."""
        self._stopped.wait()

    def reset(self) -> None:
        """Go on: nothing of it changes while it runs."""
        LOG.debug('The monitor goes on as it is')
