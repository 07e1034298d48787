"""Tells the cell how far operations are, as well as can be: what gets lost is not missed.

The cell is told only of what takes a while, and then only the last that is known.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from cells import exceptions
from cells.host import cell_client, orders

LOG = logging.getLogger(__name__)

#: Seconds that something must be as it is to be told.
LEAST_SECONDS: Final = 0.05
#: Seconds without a try after one that failed.
PAUSE: Final = 5.0


class Progress:
    """What is under way, and how far.

    :param client: returns what reaches the cell; asked at each use, as it comes with the start.
    """

    def __init__(self, client: Callable[[], cell_client.CellClient]) -> None:
        self._client = client
        self._known: dict[str, tuple[orders.Order, str, int]] = {}
        self._under_way: set[str] = set()
        self._changed = threading.Condition(threading.Lock())
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name='progress', daemon=True)

    def start(self) -> None:
        """Begin to tell."""
        self._thread.start()

    def note(self, order: orders.Order, task_state: str, percent: int) -> None:
        """Take it that an operation is so far. Returns at once."""
        with self._changed:
            self._under_way.add(order.op_id)
            self._known[order.op_id] = (order, task_state, percent)
            self._changed.notify()

    def ended(self, order: orders.Order) -> None:
        """Take it that an operation has ended. Returns at once."""
        with self._changed:
            self._under_way.discard(order.op_id)
            self._known.pop(order.op_id, None)

    def stop(self, seconds: float) -> None:
        """Tell nothing more."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _work(self) -> None:
        while self._wait():
            time.sleep(LEAST_SECONDS)
            with self._changed:
                news, self._known = list(self._known.values()), {}
            if not all(self._tell(*one) for one in news):
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped, PAUSE)

    def _tell(self, order: orders.Order, task_state: str, percent: int) -> bool:
        if self._stopped or order.op_id not in self._under_way:
            return True
        try:
            self._client().progress(order.op_id, task_state, percent, order.request_id)
        except exceptions.NoAnswer as error:
            LOG.debug('Nobody was told how far %s is: %s', order.op_id, error)
            return False
        except Exception:  # noqa: BLE001 - without this thread nobody would be told any more
            LOG.exception('Nobody was told how far %s is', order.op_id)
            return False
        return True

    def _wait(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._known or self._stopped)
            return not self._stopped
