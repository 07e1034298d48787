"""Carries out what has been ordered: each instance's in order, instances beside each other.

What a process that died had begun comes first in its lane at the next start. The driver
is asked whether it was done after all; if not, what is half done is removed, and it is
run anew where that is safe and still in time, else reported as interrupted.
"""

import dataclasses
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from cells import exceptions, logs
from cells.host import lanes, methods, orders, outcomes
from cells.host.virt import base

LOG = logging.getLogger(__name__)

#: The errors under which an agent reports by itself what was not carried out.
LATE: Final = 'DeadlinePassed'
INTERRUPTED: Final = 'Interrupted'

#: Seconds until something is tried again that the store did not take, as when a disk is full.
STORE_PAUSE: Final = 2.0

OnProgress = Callable[[orders.Order, str, int], None]


class Runner:
    """Runs orders; held until :meth:`release`, as nothing must run before the cell was asked.

    :param book: where the orders are; open.
    :param threads: how many are run at a time.
    :param on_progress: called with an order, a task state and a percentage.
    :param on_end: called with an order that has a result.
    """

    def __init__(
        self,
        *,
        host: str,
        driver: base.VirtDriver,
        book: orders.Orders,
        threads: int,
        on_progress: OnProgress,
        on_end: Callable[[orders.Order], None],
    ) -> None:
        self._host = host
        self._driver = driver
        self._operations = driver.operations()
        self._book = book
        self._on_progress = on_progress
        self._on_end = on_end
        self._lanes: lanes.Lanes[orders.Order] = lanes.Lanes(held=True)
        self._threads = [
            threading.Thread(target=self._work, name='operations-%d' % number, daemon=True)
            for number in range(threads)
        ]

    def start(self, waiting: Iterable[orders.Order]) -> None:
        """Take over what was waiting when the agent ended, and be ready for more."""
        for order in waiting:
            self.put(order)
        for thread in self._threads:
            thread.start()

    def put(self, order: orders.Order) -> None:
        """Run an order when those before it are through."""
        self._lanes.put(order.instance_uuid, order)

    def release(self) -> None:
        """Begin to run, or go on."""
        self._lanes.release()

    def load(self) -> dict[str, int]:
        """Return how many orders wait, and how many are being carried out."""
        return self._lanes.load()

    def hold(self) -> None:
        """Begin nothing more until :meth:`release`."""
        self._lanes.hold()

    def stop(self, seconds: float) -> bool:
        """Begin nothing more and wait for what is under way; tell whether it has ended."""
        self._lanes.close()
        until = time.monotonic() + seconds
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (taken := self._lanes.take()) is not None:
            lane, order = taken
            try:
                with logs.scope(order.request_id):
                    self._carry_out(order)
            except exceptions.AgentStopped:
                return  # the next process takes it from here
            except sqlite3.Error as error:
                LOG.error('Host %s: %s waits for the store: %s', self._host, _shown(order), error)
                self._again(lane, order)
            except Exception:  # noqa: BLE001 - without its threads a host would do nothing more
                LOG.exception('Host %s: %s met what is not known', self._host, _shown(order))
                self._again(lane, order)
            else:
                self._lanes.finish(lane)

    def _again(self, lane: str, order: orders.Order) -> None:
        again = dataclasses.replace(order, state=orders.BEGUN)  # as far as is known
        self._lanes.again(lane, again, STORE_PAUSE)

    def _carry_out(self, order: orders.Order) -> None:
        result = self._resume(order) if order.state == orders.BEGUN else self._begin(order)
        if result is None or not self._book.end(order.op_id, result):
            LOG.info('Host %s: %s was cancelled by the cell', self._host, _shown(order))
            return
        if result['ok']:
            LOG.info('Host %s: %s is done', self._host, _shown(order))
        else:
            LOG.warning(
                'Host %s: %s failed: %s: %s',
                self._host,
                _shown(order),
                result['error']['type'],
                result['error']['message'],
            )
        self._on_end(order)

    def _begin(self, order: orders.Order) -> dict[str, Any] | None:
        """Run an order; return what is reported, None when it was cancelled."""
        late = self._late(order)
        if late is not None:
            return late
        return self._run(order) if self._book.begin(order.op_id) else None

    def _resume(self, order: orders.Order) -> dict[str, Any] | None:
        """Bring to an end what a process that died had begun."""
        found = self._book.find(order.op_id)
        task = self._task(order)
        try:
            done = self._driver.finished(order.op_id)
            if done is not None:
                return _report(done)
            self._driver.clean_up(task)
        except exceptions.AgentStopped:
            raise
        except Exception as error:  # noqa: BLE001 - where a result becomes a report
            return self._failure(order, error)
        if found is None or found.state == orders.CANCELLED:
            return None
        late = self._late(order)
        if methods.METHODS[order.method].repeats and late is None:
            LOG.info('Host %s: running %s anew', self._host, _shown(order))
            return self._run(order)
        return outcomes.failed(
            INTERRUPTED,
            'The agent on host %s ended while %s was under way' % (self._host, order.method),
            self._driver.power_state(order.instance_uuid),
        )

    def _late(self, order: orders.Order) -> dict[str, Any] | None:
        over = time.time() - order.deadline
        if over <= 0:
            return None
        return outcomes.failed(
            LATE,
            '%s could not be begun on host %s in time: it is %.1f seconds late'
            % (order.method, self._host, over),
            self._driver.power_state(order.instance_uuid),
        )

    def _run(self, order: orders.Order) -> dict[str, Any]:
        operation = self._operations.get(order.method)
        if operation is None:  # it was accepted while there was another driver
            return outcomes.failed(
                exceptions.Invalid.__name__,
                'The driver of host %s cannot %s' % (self._host, order.method),
                self._driver.power_state(order.instance_uuid),
            )
        try:
            return _report(operation(self._task(order)))
        except exceptions.AgentStopped:
            raise
        except Exception as error:  # noqa: BLE001 - where a result becomes a report
            return self._failure(order, error)

    def _failure(self, order: orders.Order, error: Exception) -> dict[str, Any]:
        if not isinstance(error, exceptions.CellsError):
            LOG.exception('Host %s: the driver has a fault: %s', self._host, _shown(order))
        try:
            self._driver.clean_up(self._task(order))
        except exceptions.AgentStopped:
            raise
        except Exception:  # noqa: BLE001 - the operation failed for another reason, which is told
            LOG.exception('Host %s: %s left something behind', self._host, _shown(order))
        return outcomes.failed_by(error, self._driver.power_state(order.instance_uuid))

    def _task(self, order: orders.Order) -> base.Task:
        return base.Task(
            op_id=order.op_id,
            method=order.method,
            instance={**order.instance, 'uuid': order.instance_uuid},
            args=order.args,
            progress=lambda task_state, percent: self._on_progress(order, task_state, percent),
        )


def _report(result: base.Result) -> dict[str, Any]:
    report = outcomes.done(result)
    orders.written(report)  # what cannot be told is a fault of the driver
    return report


def _shown(order: orders.Order) -> str:
    """Return an order for the log; its arguments are not shown, they may hold a password."""
    return '%s of instance %s (%s, request %s)' % (
        order.method,
        order.instance_uuid,
        order.op_id,
        order.request_id,
    )
