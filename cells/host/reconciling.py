"""Compares what an agent has with what its cell knows: at each start, and now and then.

An agent may have been away for long. Before it carries anything out it asks the cell,
which has cancelled what was not begun in time, and may have deleted instances that are
still on the host. While the cell does not answer, nothing is carried out.
"""

import logging
import math
import random
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Final

from cells import exceptions
from cells.host import cell_client, orders
from cells.host.runner import Runner
from cells.host.virt import base

LOG = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0


class Reconciler:
    """Reconciles an agent with its cell, and lets its runner go once that is done.

    :param client: returns what reaches the cell; asked at each use, as it comes with the start.
    :param interval: seconds between two comparisons.
    """

    def __init__(
        self,
        *,
        host: str,
        client: Callable[[], cell_client.CellClient],
        driver: base.VirtDriver,
        book: orders.Orders,
        runner: Runner,
        interval: float,
    ) -> None:
        self._host = host
        self._client = client
        self._driver = driver
        self._book = book
        self._runner = runner
        self._interval = interval
        self._first = True
        self._known = False
        self._problem: str | None = None
        self._pause = FIRST_PAUSE
        self._due = 0.0
        self._connected = False
        self._changed = threading.Condition(threading.Lock())
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name='reconcile', daemon=True)

    def start(self) -> None:
        """Begin; nothing happens until :meth:`connected`."""
        self._thread.start()

    def connected(self) -> None:
        """Take it that the cell answers again, or for the first time."""
        with self._changed:
            self._connected = True
            if not self._known or self._problem is not None:
                self._due = 0.0
            self._changed.notify()

    def refused(self) -> None:
        """Take it that the host is another machine: carry nothing out until that is over."""
        with self._changed:
            self._connected = False
            self._known = False
        self._runner.hold()

    def stop(self, seconds: float) -> None:
        """Compare nothing more."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _work(self) -> None:
        while self._wait():
            try:
                problem = self._reconcile()
            except exceptions.AgentStopped:
                return
            except (sqlite3.Error, OSError) as error:
                problem = '%s: %s' % (type(error).__name__, error)
            except Exception as error:  # noqa: BLE001 - without this thread nothing is carried out
                LOG.exception('Host %s could not be compared with its cell, going on', self._host)
                problem = '%s: %s' % (type(error).__name__, error)
            self._note(problem)

    def _wait(self) -> bool:
        with self._changed:
            while not self._stopped:
                left = self._due - time.monotonic()
                if self._connected and left <= 0:
                    return True
                self._changed.wait(left if self._connected else None)
            return False

    def _reconcile(self) -> str | None:
        """Reconcile; return why that was not possible."""
        found = self._driver.power_states()
        try:
            cancel, destroy = self._client().reconcile(self._book.open_ids(), found)
        except exceptions.NoAnswer as error:
            return str(error.kwargs['reason'])
        self._cancel(cancel)
        self._destroy(one for one in destroy if one in found)
        self._book.forget()
        return None

    def _cancel(self, op_ids: Iterable[str]) -> None:
        for op_id in op_ids:
            # What an earlier life of this agent had begun cannot run before the first answer.
            if self._book.cancel(op_id, begun=self._first):
                LOG.warning('Host %s: the cell has cancelled %s', self._host, op_id)

    def _destroy(self, uuids: Iterable[str]) -> None:
        for instance_uuid in uuids:
            if self._book.has_waiting(instance_uuid):
                continue  # the cell has ordered something meanwhile; the next answer tells
            LOG.warning(
                'Host %s: the cell says that instance %s does not belong here: destroying it',
                self._host,
                instance_uuid,
            )
            order = orders.Order(
                op_id='reconcile-%s' % uuid.uuid4(),
                instance_uuid=instance_uuid,
                method='terminate',
                instance={'uuid': instance_uuid},
                args={},
                deadline=math.inf,
                own=True,
            )
            self._book.add(order)
            self._runner.put(order)

    def _note(self, problem: str | None) -> None:
        with self._changed:
            if problem is None:
                self._due = time.monotonic() + self._interval
                self._pause = FIRST_PAUSE
            else:
                self._due = time.monotonic() + self._pause * random.uniform(0.8, 1.2)
                self._pause = min(LONGEST_PAUSE, 2 * self._pause)
            begins = problem is None and self._connected and not self._known
            if begins:
                self._known = True
                self._first = False
        if problem is not None and self._problem is None:
            LOG.warning(
                'Host %s: it cannot be compared with its cell%s, trying until it can: %s',
                self._host,
                '' if self._known else ', so nothing is carried out',
                problem,
            )
        self._problem = problem
        if begins:
            LOG.info('Host %s: agrees with its cell, carrying out what it orders', self._host)
            self._runner.release()
