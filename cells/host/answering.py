"""Tells the cell what came of operations: each again and again until the cell has it.

What has not been told survives a restart of the agent. The results of one instance go
up in their order, those of different instances do not wait for each other.
"""

import logging
import random
import sqlite3
import threading
from collections.abc import Callable, Iterable
from typing import Final

from cells import exceptions
from cells.host import cell_client, lanes, orders

LOG = logging.getLogger(__name__)

THREADS: Final = 4
#: Seconds until a result is told again, at first and at most.
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0


class Answering:
    """Sends the results of an agent.

    :param client: returns what reaches the cell; asked at each use, as it comes with the start.
    """

    def __init__(
        self, *, host: str, client: Callable[[], cell_client.CellClient], book: orders.Orders
    ) -> None:
        self._host = host
        self._client = client
        self._book = book
        self._lanes: lanes.Lanes[tuple[str, float]] = lanes.Lanes()
        self._silent = False
        self._threads = [
            threading.Thread(target=self._work, name='answers-%d' % number, daemon=True)
            for number in range(THREADS)
        ]

    def start(self, unreported: Iterable[orders.Order]) -> None:
        """Begin with what had not been told when the agent ended."""
        for order in unreported:
            self.put(order)
        for thread in self._threads:
            thread.start()

    def put(self, order: orders.Order) -> None:
        """Tell what came of an order; its result is in the store."""
        self._lanes.put(order.instance_uuid, (order.op_id, FIRST_PAUSE))

    def hurry(self) -> None:
        """Try again now: the cell has been heard of."""
        self._lanes.hurry()

    def stop(self, seconds: float) -> None:
        """Send nothing more; what is being sent has some time."""
        self._lanes.close()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(seconds)

    def _work(self) -> None:
        while (taken := self._lanes.take()) is not None:
            lane, (op_id, pause) = taken
            try:
                told = self._tell(op_id)
            except exceptions.AgentStopped:
                return  # the next process tells it
            except sqlite3.Error as error:
                LOG.error('Host %s: what came of %s stays untold: %s', self._host, op_id, error)
                told = False
            except Exception:  # noqa: BLE001 - without its threads the cell would hear of nothing
                LOG.exception('Host %s: what came of %s stays untold', self._host, op_id)
                told = False
            if told:
                self._lanes.finish(lane)
            else:
                longer = min(LONGEST_PAUSE, 2 * pause)
                self._lanes.again(lane, (op_id, longer), pause * random.uniform(0.8, 1.2))

    def _tell(self, op_id: str) -> bool:
        order = self._book.find(op_id)
        if order is None or order.state != orders.ENDED or order.result is None:
            return True
        reason: str | None = None
        try:
            self._client().done(op_id, order.result, order.request_id)
        except exceptions.NoAnswer as error:
            reason = error.kwargs['reason']
        if reason is not None:
            if not self._silent:
                LOG.warning(
                    'Host %s: the cell does not take what came of %s, trying until it does: %s',
                    self._host,
                    op_id,
                    reason,
                )
            self._silent = True
            return False
        if self._silent:
            LOG.info('Host %s: the cell takes results again', self._host)
        self._silent = False
        self._book.reported(op_id)
        return True
