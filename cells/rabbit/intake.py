"""The thread that reads a connection, and messages that are settled late."""

import collections
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from oslo_messaging._drivers import amqpdriver
from oslo_messaging._drivers import base as driver_base
from oslo_messaging._drivers import common as rpc_common

from cells import rpc_body
from cells.stats import Stats

LOG = logging.getLogger(__name__)

#: How long to wait for the socket: short while acknowledgements may have to be
#: written, long when nothing but the socket can bring work.
_SHORTEST_WAIT: Final = 0.001
_LONGEST_WAIT: Final = 0.05
_IDLE_WAIT: Final = 1.0

_STOP_SECONDS: Final = 3.0

OnIncoming = Callable[[list['Incoming']], None]


class Incoming(amqpdriver.AMQPIncomingMessage):
    """An RPC that the broker keeps until :meth:`settle` is called.

    ``acknowledge()``, which oslo.messaging's server calls on receipt, does nothing.

    :ivar unique_id: the same when a client published the message twice.
    :ivar deliveries: how often it was delivered before and not settled, as quorum queues know.
    :ivar crowded: whether it was settled only when its turn came.
    :ivar expires: on the monotonic clock, when its sender stops to wait; None when not known.
    :ivar over: whether the handler has ended, so that no heartbeat is to say otherwise.
    """

    over = False
    deliveries = 0
    crowded = False
    expires: float | None = None

    def is_late(self) -> bool:
        """Tell whether its sender has stopped to wait for an answer since it came."""
        return self.expires is not None and time.monotonic() > self.expires

    def heartbeat(self) -> None:
        """Tell the caller that its call is being worked at.

        :raises LookupError: it is not. oslo.messaging goes on with it until something is raised.
        """
        if self.over:
            raise LookupError('the call has ended')
        super().heartbeat()

    def settle(self) -> None:
        """Let the broker forget the message. Any thread, any number of times."""
        self.listener.settle(self)


def _expiry(raw: Any) -> float | None:
    """Return when a message is worth nothing any more: what a call's timeout makes of it."""
    milliseconds = str(raw.properties.get('expiration') or '')
    return time.monotonic() + int(milliseconds) / 1000 if milliseconds.isdecimal() else None


def _earlier_deliveries(raw: Any) -> int:
    found = (raw.headers or {}).get('x-delivery-count')
    return found if isinstance(found, int) else 0


class LateAckListener(driver_base.Listener):
    """One thread that reads a connection and hands on what comes.

    ``on_incoming`` is called in that thread and must not wait. Acknowledgements
    are written by that thread too, as a connection is not thread-safe.
    """

    def __init__(
        self, driver: Any, connection: Any, prefetch: int, max_bytes: int, stats: Stats
    ) -> None:
        super().__init__(1, None, prefetch)
        self.max_bytes = max_bytes
        self._stats = stats
        self.driver = driver
        self._connection = connection
        self._obsolete = amqpdriver.ObsoleteReplyQueuesCache()
        self._to_settle: collections.deque[Incoming] = collections.deque()
        self._unsettled = 0
        #: When the broker was there last, on the monotonic clock.
        self.alive_at = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name='intake', daemon=True)
        self._ident: int | None = None

    def start(self, on_incoming_callback: OnIncoming) -> None:
        """Begin to read."""
        super().start(on_incoming_callback)
        self._thread.start()

    def stop(self) -> None:
        """Read no more; what was handed on can still be settled until :meth:`cleanup`."""
        self._stopped.set()
        self._connection.stop_consuming()
        # A thread that looks for a broker that is away does not hear of it.
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    def cleanup(self) -> None:
        """Write the last acknowledgements and close; the broker takes back what is not settled."""
        if self._thread.is_alive():
            return  # it has the connection, and ends with the process
        self._settle_all()
        try:
            self._connection.close()
        except Exception as error:  # noqa: BLE001 - whatever a broken connection raises
            LOG.info('Closing a connection failed, which frees it as well: %s', error)

    def settle(self, incoming: Incoming) -> None:
        """Acknowledge a message, now or when the reading thread comes to it."""
        if threading.get_ident() == self._ident:
            self._acknowledge(incoming)
        else:
            self._to_settle.append(incoming)

    def refused(self, queue: str, reason: str) -> None:
        """Note that something in a queue is no RPC."""
        LOG.warning('Refused rubbish from an unknown sender on queue %s: %s', queue, reason)
        self._stats.count('messages_refused', reason='rubbish')

    def __call__(self, body: 'Body') -> None:
        message = body.content
        ctxt = {
            key[len('_context_') :]: message.pop(key)
            for key in [key for key in message if key.startswith('_context_')]
        }
        incoming = Incoming(
            self,
            ctxt,
            message,
            message.pop(rpc_body.UNIQUE_ID, None),
            message.pop(rpc_body.MSG_ID, None),
            message.pop(rpc_body.REPLY_QUEUE, None),
            message.pop(rpc_body.TIMEOUT, None),
            self._obsolete,
            None,
        )
        incoming.delivery = body.raw
        incoming.deliveries = _earlier_deliveries(body.raw)
        incoming.expires = _expiry(body.raw)
        self._unsettled += 1
        assert self.on_incoming_callback is not None
        self.on_incoming_callback([incoming])

    def _acknowledge(self, incoming: Incoming) -> None:
        delivery, incoming.delivery = incoming.delivery, None
        if delivery is None:
            return
        self._unsettled -= 1
        try:
            delivery.ack()
        except Exception as error:  # noqa: BLE001 - whatever a broken connection raises
            # The broker delivers it again; the journal knows it by its id.
            LOG.info('A message could not be acknowledged and will come again: %s', error)

    def _settle_all(self) -> None:
        while self._to_settle:
            self._acknowledge(self._to_settle.popleft())

    def _run(self) -> None:
        self._ident = threading.get_ident()
        wait = _SHORTEST_WAIT
        while not self._stopped.is_set():
            self._settle_all()
            try:
                self._connection.consume(timeout=wait)
            except rpc_common.Timeout:
                self._look_alive()
                wait = min(wait * 2, _LONGEST_WAIT) if self._unsettled else _IDLE_WAIT
            except Exception:  # noqa: BLE001 - the thread must outlive any surprise of the driver
                LOG.exception('Reading from the message bus failed, trying again')
                self._stopped.wait(1)
            else:
                self._look_alive()
                self._read_on()
                wait = _SHORTEST_WAIT if self._unsettled else _IDLE_WAIT
        self._cancel()
        self._ident = None

    def _look_alive(self) -> None:
        """Note that the broker is there, if it is: a wait for one that is away ends as well."""
        connection = self._connection.connection
        if connection.connection.connected and not connection._new_tags:
            self.alive_at = time.monotonic()

    def _cancel(self) -> None:
        """Have the broker send nothing more, so that other workers get it."""
        connection = self._connection.connection
        try:
            with connection._connection_lock:
                for consumer, tag in connection._consumers.items():
                    consumer.cancel(tag)
        except Exception as error:  # noqa: BLE001 - whatever a broken connection raises
            LOG.info('A consumer could not be cancelled and ends with its connection: %s', error)

    def _read_on(self) -> None:
        """Take what has arrived meanwhile.

        ``consume()`` returns after each message and costs more than the message does.
        """
        connection = self._connection.connection
        with connection._connection_lock:
            for _ in range(self.prefetch_size):
                try:
                    connection.connection.drain_events(timeout=0)
                except TimeoutError:
                    return
                except Exception:  # noqa: BLE001 - consume() meets it again, and mends it
                    return


class Body:
    """A delivery with its decoded content."""

    def __init__(self, raw: Any, max_bytes: int) -> None:
        self.raw = raw
        self.content = rpc_body.content(raw.body, max_bytes)
