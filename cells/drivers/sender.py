"""One thread and one bounded queue for each neighbour, so that a slow one slows nobody (P8).

When a sending fails, questions in the queue fail at once; the sender then waits
(0.2 to 10 seconds, with jitter) before it tries the neighbour again, and all
that comes meanwhile fails at once too. The log has one line for each change
of the state of a link, not one for each message.
"""

import collections
import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Final

from cells import exceptions
from cells.drivers.base import LinkState, Outgoing

LOG = logging.getLogger(__name__)

SHORTEST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 10.0
FLUSH_SECONDS: Final = 2.0


class Sender:
    """Sends to one neighbour.

    :param deliver: gives one message to the neighbour's broker; called in the thread
        of this sender only; raises :class:`~cells.exceptions.NotSent` when the broker
        did not take it, and anything else for a message that can never be sent.
    :param release: frees what ``deliver`` has made, called in that thread at the end.
    """

    def __init__(
        self,
        name: str,
        deliver: Callable[[Outgoing], None],
        release: Callable[[], None],
        length: int,
    ) -> None:
        self.name = name
        self._deliver = deliver
        self._release = release
        self._length = length
        self._queue: collections.deque[Outgoing] = collections.deque()
        self._wakeup = threading.Condition(threading.Lock())
        self._closing_at: float | None = None
        self._up: bool | None = None
        self._error: str | None = None
        self._failures = 0
        self._not_before = 0.0
        self._sent = self._failed = 0
        self._thread = threading.Thread(target=self._run, name='send-' + name, daemon=True)
        self._thread.start()

    def put(self, outgoing: Outgoing) -> None:
        """Take a message; returns at once.

        :raises NotSent: too many wait already, or the neighbour is known to be away.
        """
        with self._wakeup:
            if self._closing_at is not None:
                raise exceptions.NotSent(cell_name=self.name, reason='this worker is stopping')
            if self._up is False and time.monotonic() < self._not_before:
                raise exceptions.NotSent(cell_name=self.name, reason=self._error)
            if len(self._queue) >= self._length:
                raise exceptions.NotSent(
                    cell_name=self.name, reason='%d messages wait for it already' % self._length
                )
            self._queue.append(outgoing)
            self._wakeup.notify()

    def heard(self) -> None:
        """Try the neighbour again at once: it lives."""
        self._not_before = 0.0

    def link(self) -> LinkState:
        """Return how the link does."""
        return LinkState(self._up, len(self._queue), self._sent, self._failed, self._error)

    def close(self, wait: bool = True) -> None:
        """Send what waits, for a while, and end."""
        with self._wakeup:
            if self._closing_at is None:
                self._closing_at = time.monotonic() + FLUSH_SECONDS
            self._wakeup.notify()
        if wait:
            self._thread.join(FLUSH_SECONDS + 1)

    def _run(self) -> None:
        while True:
            with self._wakeup:
                while not self._queue and self._closing_at is None:
                    self._wakeup.wait()
                if not self._queue:
                    break
                outgoing = self._queue.popleft()
                closing_at = self._closing_at
            if closing_at is not None and time.monotonic() > closing_at:
                self._end(outgoing, exceptions.NotSent(cell_name=self.name, reason='stopping'))
                continue
            self._send(outgoing)
        self._release()

    def _send(self, outgoing: Outgoing) -> None:
        down: exceptions.NotSent | None = None
        try:
            self._deliver(outgoing)
        except exceptions.Unroutable as error:
            self._end(outgoing, error)  # says nothing about the link
        except exceptions.NotSent as error:
            down = error
        except Exception as error:  # noqa: BLE001 - one message must not end the thread of all
            LOG.exception('A message to cell %s could not be sent at all', self.name)
            self._end(outgoing, exceptions.NotSent(cell_name=self.name, reason=str(error)))
        else:
            self._sent += 1
            if self._up is not True:
                LOG.info('Cell %s: link up', self.name)
                self._up, self._error, self._failures = True, None, 0
            self._end(outgoing, None)
        # Not in the handler of the error, as oslo.log would add the error to the line.
        if down is not None:
            self._went_down(down)
            self._end(outgoing, down)
            with self._wakeup:
                waiting, self._queue = self._queue, collections.deque()
            for other in waiting:
                self._end(other, down)

    def _went_down(self, error: exceptions.NotSent) -> None:
        self._error = str(error.kwargs.get('reason'))
        if self._up is not False:
            LOG.warning('Cell %s: link down: %s', self.name, self._error)
        pause = min(LONGEST_PAUSE, SHORTEST_PAUSE * 2**self._failures)
        self._not_before = time.monotonic() + pause * random.uniform(0.5, 1)  # noqa: S311
        self._failures = min(self._failures + 1, 16)
        self._up = False

    def _end(self, outgoing: Outgoing, error: Exception | None) -> None:
        if error is not None:
            self._failed += 1
        if outgoing.on_sent is None:
            return
        try:
            outgoing.on_sent(error)
        except Exception:  # noqa: BLE001 - one message must not end the thread of all
            LOG.exception('Cell %s: what was to happen after a sending failed', self.name)


class Senders:
    """The senders of one worker, by neighbour and the address under which it is reached."""

    def __init__(self, make: Callable[[str, str], Sender]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._senders: dict[str, tuple[str, Sender]] = {}
        self._closed = False

    def to(self, name: str, address: str) -> Sender:
        """Return the sender for a neighbour, made anew when its address has changed.

        :raises NotSent: all are closed.
        """
        with self._lock:
            if self._closed:
                raise exceptions.NotSent(cell_name=name, reason='this worker is stopping')
            known = self._senders.get(name)
            if known is not None and known[0] == address:
                return known[1]
            sender = self._make(name, address)
            self._senders[name] = (address, sender)
        if known is not None:
            known[1].close(wait=False)
        return sender

    def heard(self, name: str) -> None:
        """End the back-off towards a neighbour."""
        known = self._senders.get(name)
        if known is not None:
            known[1].heard()

    def link(self, name: str) -> LinkState:
        """Return how the way to a neighbour does."""
        with self._lock:
            known = self._senders.get(name)
        return known[1].link() if known else LinkState(None, 0, 0, 0)

    def forget(self, keep: frozenset[str]) -> None:
        """Close the senders for all but these neighbours."""
        with self._lock:
            gone = [self._senders.pop(name) for name in list(self._senders) if name not in keep]
        for _, sender in gone:
            sender.close(wait=False)

    def close(self) -> None:
        """Close all."""
        with self._lock:
            self._closed = True
            senders = [sender for _, sender in self._senders.values()]
        for sender in senders:
            sender.close(wait=False)
        for sender in senders:
            sender.close()
