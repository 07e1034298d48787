"""The driver over oslo.messaging: three topics on the bus of each cell.

``<queue_base>.targeted``, ``.broadcast`` and ``.response`` are kept apart so
that answers do not queue behind questions. Messages for a neighbour are cast
onto *its* bus, over a transport that its sender's thread makes and keeps.
Questions are settled and answers handed on in the thread that reads.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import oslo_messaging

from cells import exceptions, operations, rabbit, rpc, versions
from cells.drivers import base, sender
from cells.drivers.settings import DriverSettings
from cells.state import CellState

LOG = logging.getLogger(__name__)

METHOD: Final = 'process_message'
#: By how much the text of an envelope may grow where it stands inside of two other texts.
ESCAPING: Final = 8
#: A routing key, of which this is a part, has at most 255.
MAX_SERVER_BYTES: Final = 180


class _Arrived:
    """A message from the bus."""

    __slots__ = ('_settle', 'deliveries', 'text')

    def __init__(self, text: str, deliveries: int, settle: Any) -> None:
        self.text = text
        self.deliveries = deliveries
        self._settle = settle

    def settle(self) -> None:
        """Let the broker forget it."""
        if self._settle is not None:
            self._settle()


class RPCDriver(base.CellsDriver):
    """Carries envelopes over oslo.messaging."""

    def __init__(self, settings: DriverSettings) -> None:
        self._settings = settings
        self._senders = sender.Senders(self._new_sender)
        self._transport: Any = None
        self._listeners: dict[operations.Kind, Any] = {}
        self._receive: base.Receive | None = None

    def start(self, receive: base.Receive) -> None:
        """Listen on the three topics."""
        self._receive = receive
        self._transport = rpc.get_transport(self._settings.conf, self._settings.transport_url)
        for kind in (
            operations.Kind.RESPONSE,
            operations.Kind.BROADCAST,
            operations.Kind.TARGETED,
        ):
            answers = kind is operations.Kind.RESPONSE
            listener = rabbit.listen(
                self._transport,
                oslo_messaging.Target(topic=self._topic(kind), server=self._settings.server),
                prefetch=self._settings.prefetch,
                # An answer is worth as much as who waits for it: it need not outlive a broker.
                queue_type='classic' if answers else self._settings.queue_type,
                worker=self._settings.server,
                max_bytes=ESCAPING * self._settings.max_message_bytes,
                stats=self._settings.stats,
                server_queue=answers,
            )
            self._listeners[kind] = listener
            listener.start(self._arrived)

    def stop(self) -> None:
        """Take in no more questions."""
        _each(
            listener.stop
            for kind, listener in self._listeners.items()
            if kind is not operations.Kind.RESPONSE
        )

    def close(self) -> None:
        """Take in nothing more and release everything."""
        _each(listener.stop for listener in self._listeners.values())
        self._senders.close()
        _each(listener.cleanup for listener in self._listeners.values())
        self._listeners.clear()
        if self._transport is not None:
            self._transport.cleanup()
            self._transport = None

    def send(self, neighbour: CellState, outgoing: base.Outgoing) -> None:
        """Take a message for a neighbour."""
        self._senders.to(neighbour.name, neighbour.transport_url).put(outgoing)

    def heard(self, name: str) -> None:
        """End the back-off towards a neighbour."""
        self._senders.heard(name)

    @property
    def bus_silence(self) -> float:
        """Seconds since the broker answered the intake that it answered longest ago."""
        now = time.monotonic()
        seen = [getattr(one, 'alive_at', now) for one in list(self._listeners.values())]
        return max((now - at for at in seen), default=0.0)

    def link(self, name: str) -> base.LinkState:
        """Return how the way to a neighbour does."""
        return self._senders.link(name)

    def forget(self, keep: frozenset[str]) -> None:
        """Close the transports of neighbours that are gone."""
        self._senders.forget(keep)

    def _topic(self, kind: operations.Kind) -> str:
        return '%s.%s' % (self._settings.queue_base, kind.value)

    def _arrived(self, incoming: list[Any]) -> None:
        message = incoming[0]
        settle = getattr(message, 'settle', None)
        content = message.message
        text = content.get('args', {}).get('message')
        version = str(content.get('version', '1.0'))
        if content.get('method') != METHOD or not isinstance(text, str):
            reason = 'method %.40r with arguments %.80s' % (
                content.get('method'),
                ', '.join(sorted(content.get('args', {}))[:5]),
            )
        elif version.split('.')[0] != versions.INTERCELL_VERSION.split('.')[0]:
            reason = 'it is of version %.20s' % version
        else:
            assert self._receive is not None
            self._receive(_Arrived(text, getattr(message, 'deliveries', 0), settle))
            return
        LOG.warning('Refused a message from an unknown sender on a queue between cells: %s', reason)
        self._settings.stats.count('messages_refused', reason='rubbish')
        if settle is not None:
            settle()

    def _new_sender(self, name: str, url: str) -> sender.Sender:
        link = _Link(name, url, self._settings, self._topic)
        return sender.Sender(name, link.deliver, link.release, self._settings.send_queue_length)


class _Link:
    """The transport to the bus of a neighbour; lives in its sender's thread."""

    def __init__(self, name: str, url: str, settings: DriverSettings, topic: Any) -> None:
        self._name = name
        self._url = url
        self._conf = settings.conf
        self._version_cap = settings.version_cap
        self._topic = topic
        self._transport: Any = None
        self._clients: dict[tuple[operations.Kind, bool, str | None], Any] = {}

    def deliver(self, outgoing: base.Outgoing) -> None:
        """Cast a message once.

        :raises NotSent: the broker did not take it, or has no queue for it.
        """
        try:
            try:
                self._cast(outgoing)
            except oslo_messaging.MessageDeliveryFailure:
                # Perhaps only this connection is dead, from a restart of the broker.
                self._cast(outgoing)
        except oslo_messaging.MessageUndeliverable:
            if outgoing.server is not None:
                raise exceptions.Unroutable(
                    cell_name=self._name, reason='worker %s is not there' % outgoing.server
                ) from None
            raise exceptions.NotSent(
                cell_name=self._name, reason='no nova-cells listens on its message bus'
            ) from None
        except rpc.SEND_ERRORS as error:
            self._begin_anew()
            raise exceptions.NotSent(
                cell_name=self._name, reason='%s: %s' % (type(error).__name__, error)
            ) from None
        except exceptions.ConfigurationError as error:
            raise exceptions.NotSent(cell_name=self._name, reason=str(error)) from None
        except ValueError:
            # What it says would show a piece of the password.
            raise exceptions.NotSent(
                cell_name=self._name, reason='its transport_url cannot be used'
            ) from None

    def _cast(self, outgoing: base.Outgoing) -> None:
        self._client(outgoing).cast(outgoing.ctxt, METHOD, message=outgoing.text)

    def _begin_anew(self) -> None:
        """Leave the connections behind; closing them may take long.

        Without retries kombu keeps a dead channel of a living connection, and gives it to each
        message that follows.
        """
        transport, self._transport = self._transport, None
        self._clients.clear()
        if transport is not None:
            threading.Thread(target=transport.cleanup, name='link-cleanup', daemon=True).start()

    def release(self) -> None:
        """Close the transport."""
        if self._transport is not None:
            self._transport.cleanup()

    def _client(self, outgoing: base.Outgoing) -> Any:
        if outgoing.server is not None and len(outgoing.server.encode()) > MAX_SERVER_BYTES:
            raise exceptions.Unroutable(cell_name=self._name, reason='no worker has so long a name')
        key = (outgoing.kind, outgoing.fanout, outgoing.server)
        client = self._clients.get(key)
        if client is not None:
            return client
        if self._transport is None:
            self._transport = rpc.get_transport(self._conf, self._url)
        if len(self._clients) > 200:  # one for each worker that ever waited for an answer
            self._clients.clear()
        target = oslo_messaging.Target(
            topic=self._topic(outgoing.kind),
            version=versions.INTERCELL_VERSION,
            fanout=outgoing.fanout or None,
            server=outgoing.server,
        )
        client = oslo_messaging.get_rpc_client(
            self._transport,
            target,
            version_cap=self._version_cap,
            retry=0,
            transport_options=oslo_messaging.TransportOptions(at_least_once=True),
        )
        self._clients[key] = client
        return client


def _each(steps: Iterable[Callable[[], None]]) -> None:
    """Do several things that wait at the same time."""
    threads = [threading.Thread(target=step) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
