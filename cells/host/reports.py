"""The reports of an agent: that the host lives, what it has, whether it takes instances.

A report goes out each ``report_interval``, and at once when something has changed
noticeably. While the cell cannot be reached it is tried again without an end; what is
logged is the change.
"""

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from cells import exceptions
from cells.host import cell_client, resources
from cells.host.store import Store

LOG = logging.getLogger(__name__)

BINARY: Final = 'nova-compute'

#: Seconds until the first attempt after one that failed; then twice as many, and so on.
FIRST_PAUSE: Final = 0.5
#: Least seconds between two looks at the host, however much changes.
SHORTEST_PAUSE: Final = 0.01


class Reports:
    """Reports of a host to its cell.

    :param topic: where the agent serves.
    :param client: returns what reaches the cell; asked at each use, as it comes with the start.
    :param measure: returns the compute nodes of the host.
    :param check_interval: seconds between two calls of it.
    :param on_taken: called after each report that the cell has taken; told whether it is the first
        after others that it did not take. Raises NoAnswer while the agent cannot serve.
    :param on_refused: called when another machine has the name of this host.
    """

    def __init__(
        self,
        *,
        host: str,
        topic: str,
        client: Callable[[], cell_client.CellClient],
        store: Store,
        measure: Callable[[], list[dict[str, Any]]],
        report_interval: float,
        check_interval: float,
        on_taken: Callable[[bool], None],
        on_refused: Callable[[], None],
    ) -> None:
        self._host = host
        self._topic = topic
        self._client = client
        self._store = store
        self._measure = measure
        self._report_interval = report_interval
        self._check_interval = check_interval
        self._on_taken = on_taken
        self._on_refused = on_refused
        self._reported: dict[str, Any] | None = None
        self._link: str | None = None
        #: Why the cell does not take reports; None when it does.
        self.problem: str | None = 'nothing has been reported yet'
        self._measurable = True
        self._nodes: list[dict[str, Any]] = []
        self._due = 0.0
        self._wanted = False
        self._pause = FIRST_PAUSE
        self._stopped = threading.Event()
        self._awake = threading.Event()
        self._thread = threading.Thread(target=self._run, name='host-report', daemon=True)

    def start(self) -> None:
        """Begin to report; does not wait for the cell."""
        self._thread.start()

    def look(self) -> None:
        """Measure now, and report what has changed."""
        self._awake.set()

    def wake(self) -> None:
        """Measure now, and report in any case."""
        self._wanted = True
        self._awake.set()

    def stop(self, seconds: float) -> None:
        """Report no more."""
        self._stopped.set()
        self._awake.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._turn()
            except Exception:  # noqa: BLE001 - without this thread the host would be down
                if self._stopped.is_set():
                    return
                LOG.exception('Host %s could not report, going on', self._host)
                self.problem = 'a report failed, see the log'
                self._due = time.monotonic() + self._report_interval
            pause = min(self._check_interval, self._due - time.monotonic())
            self._awake.wait(max(SHORTEST_PAUSE, pause))
            self._awake.clear()

    def _turn(self) -> None:
        """Measure, and report if it is time or something has changed."""
        self._nodes = self._look(self._nodes)
        if not self._measurable and self._reported is None:
            # An empty report would delete what the cell knows of the host.
            self._due = time.monotonic() + self._check_interval
            return
        wanted, self._wanted = self._wanted, False
        values = self._values(self._nodes)
        changed = wanted or values != self._reported
        # While the cell is away, a change is no reason to try more often.
        if time.monotonic() >= self._due or (changed and self._pause == FIRST_PAUSE):
            self._due = time.monotonic() + self._report(values)

    def _look(self, before: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the resources, and the ones from before while the difference does not matter."""
        try:
            after = self._measure()
        except OSError as error:
            if self._measurable:
                LOG.error('Host %s cannot be measured: %s', self._host, error)
            self._measurable = False
            return before
        self._measurable = True
        return after if resources.noticeable(before, after) else before

    def _values(self, nodes: list[dict[str, Any]]) -> dict[str, Any]:
        flags = self._store.flags()
        return {
            'binary': BINARY,
            'topic': self._topic,
            'resources': nodes,
            'enabled': flags.enabled,
            'maintenance': flags.maintenance,
        }

    def _report(self, values: dict[str, Any]) -> float:
        """Report and return the seconds until the next report."""
        problem: exceptions.NoAnswer | None = None
        try:
            self._client().report(values)
            self._reported = values
            self._on_taken(self._link != '')
        except exceptions.NoAnswer as error:
            problem = error
        if problem is not None:
            return self._after(problem)
        self.problem = None
        self._note('', 'Host %s: reports to its cell' % self._host)
        self._pause = FIRST_PAUSE
        return self._report_interval

    def _after(self, error: exceptions.NoAnswer) -> float:
        """Return the seconds until the next report after one that was not taken."""
        kind, self.problem = error.kwargs['kind'], str(error.kwargs['reason'])
        if kind == exceptions.HostNameInUse.__name__:
            self._on_refused()
        self._note(
            kind,
            'Host %s: the cell does not take its reports, trying until it does: %s'
            % (self._host, error.kwargs['reason']),
        )
        pause = min(self._pause, self._report_interval)
        self._pause = min(self._pause * 2, 2 * self._report_interval + FIRST_PAUSE)
        return pause * random.uniform(0.8, 1.2)

    def _note(self, link: str, text: str) -> None:
        """Log a change of the link to the cell, once."""
        if link != self._link:
            (LOG.warning if link else LOG.info)('%s', text)
        self._link = link
