"""The life of a worker process under oslo.service."""

import threading
import time
from typing import Final

import oslo_messaging
from oslo_config import cfg
from oslo_service import service

from cells import cell, exceptions, meditation, outcome, published, slots
from cells.db import engine

#: Seconds between two reports that a worker lives.
REPORT_SECONDS: Final = 10.0
#: Seconds between two looks at the message bus.
LOOK_SECONDS: Final = 2.0


class CellsService(service.ServiceBase):
    """A worker. oslo.service makes one, forks, and starts it in the child.

    So nothing is opened before :meth:`start`: a connection must not cross a fork.
    """

    def __init__(
        self, conf: cfg.ConfigOpts, outcome: outcome.Outcome, report: meditation.Meditation
    ) -> None:
        self._conf = conf
        self._outcome = outcome
        self._meditation = report
        self._cell: cell.Cell | None = None
        self._publisher: published.Publisher | None = None
        self._stopped = threading.Event()
        self._reporter: threading.Thread | None = None

    def start(self) -> None:
        """Build the cell and serve. A configuration that cannot work ends the process."""
        try:
            slot = slots.WorkerSlot.take(self._conf.state_path)
            self._cell = cell.Cell(self._conf, slot)
            self._meditation.watch(self._cell.meditation())
            if self._conf.monitoring.port:
                self._publisher = published.Publisher(
                    self._conf.state_path, 'worker-%d' % slot.number, self._cell.vitals.read
                )
                self._publisher.start()
            self._cell.start()
        except exceptions.ConfigurationError as error:
            reason = str(error)
        except oslo_messaging.MessageDeliveryFailure as error:
            reason = 'The message bus cannot be used (%s): correct [DEFAULT] transport_url' % error
        except engine.ERRORS as error:
            reason = 'The database cannot be used (%s): correct it, or [database] connection' % (
                engine.brief(error)
            )
        else:
            self._reporter = threading.Thread(target=self._report, name='report', daemon=True)
            self._reporter.start()
            self._outcome.served()
            return
        self._outcome.refuse('A worker of nova-cells', reason, self._stopped)

    def stop(self, graceful: bool = True) -> None:
        """Drain and end."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        if self._cell is not None and self._reporter is not None:
            self._cell.stop()
        if self._publisher is not None:
            self._publisher.stop()

    def wait(self) -> None:
        """Return when the worker has ended."""
        self._stopped.wait()

    def reset(self) -> None:
        """Read again what can be read again: SIGHUP."""
        if self._cell is not None:
            self._cell.reload()

    def _report(self) -> None:
        assert self._cell is not None
        due = time.monotonic() + REPORT_SECONDS
        while not self._stopped.wait(LOOK_SECONDS):
            self._cell.look_at_bus()
            if time.monotonic() >= due:
                due = time.monotonic() + REPORT_SECONDS
                self._cell.report()
