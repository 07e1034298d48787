"""The driver within one process: what the demo and the tests of whole trees run on.

As with oslo's ``fake://``, there is one bus for a process; a cell listens under
its own transport URL and is reached under it. It is no laxer than a broker:
only text goes over it, a cell that does not listen is not reached, a message
that is not settled is delivered again after the cell comes back.
"""

import collections
import logging
import threading
from collections.abc import Callable
from typing import Final

from cells import exceptions, operations
from cells.drivers import base, sender
from cells.drivers.settings import DriverSettings
from cells.state import CellState

LOG = logging.getLogger(__name__)


class _Arrived:
    """A message from the bus; goes back to it unless it is settled."""

    __slots__ = ('_port', 'deliveries', 'text')

    def __init__(self, text: str, port: '_Port') -> None:
        self.text = text
        self.deliveries = 0
        self._port = port

    def settle(self) -> None:
        """Let the bus forget it."""
        self._port.unsettled.pop(self, None)


class _Port:
    """One listening worker: a thread that hands on what comes."""

    def __init__(self, receive: base.Receive) -> None:
        self.receive = receive
        self.unsettled: dict[_Arrived, None] = {}
        self.queue: collections.deque[str] = collections.deque()
        self._wakeup = threading.Condition(threading.Lock())
        self._open = True
        self._held = False
        self._thread = threading.Thread(target=self._run, name='fake-intake', daemon=True)
        self._thread.start()

    def put(self, text: str) -> None:
        """Hand over a message."""
        with self._wakeup:
            self.queue.append(text)
            self._wakeup.notify()

    def close(self) -> list[str]:
        """Stop and return what was not settled, oldest first."""
        with self._wakeup:
            self._open = False
            self._wakeup.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join(5)
        return [arrived.text for arrived in self.unsettled] + list(self.queue)

    def hold(self, silent: bool) -> None:
        """Hand nothing on for a while."""
        with self._wakeup:
            self._held = silent
            self._wakeup.notify()

    def _run(self) -> None:
        while True:
            with self._wakeup:
                while self._open and (self._held or not self.queue):
                    self._wakeup.wait()
                if not self._open:
                    return
                arrived = _Arrived(self.queue.popleft(), self)
                self.unsettled[arrived] = None
            self.receive(arrived)


class _Bus:
    """All queues of the process, by address, topic and server name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ports: dict[tuple[str, operations.Kind], dict[str, _Port]] = {}
        self._kept: collections.defaultdict[tuple[str, operations.Kind], list[str]] = (
            collections.defaultdict(list)
        )
        self._next = 0

    def listen(self, address: str, kind: operations.Kind, server: str, port: _Port) -> None:
        """Open a port; what was kept for this address comes first."""
        with self._lock:
            self._ports.setdefault((address, kind), {})[server] = port
            for text in self._kept.pop((address, kind), ()):
                port.put(text)

    def leave(self, address: str, kind: operations.Kind, server: str, port: _Port) -> None:
        """Close a port and keep what it has not settled for the next one."""
        with self._lock:
            self._ports.get((address, kind), {}).pop(server, None)
        left = port.close()
        if kind is operations.Kind.RESPONSE:
            return
        with self._lock:
            others = list(self._ports.get((address, kind), {}).values())
            for text in left:
                if others:
                    others[0].put(text)
                else:
                    self._kept[address, kind].append(text)

    def hold(self, address: str, silent: bool) -> None:
        """Make all ports of an address silent, or let them hear again."""
        with self._lock:
            for (other, _), ports in self._ports.items():
                if other == address:
                    for port in ports.values():
                        port.hold(silent)

    def deliver(self, address: str, outgoing: base.Outgoing) -> None:
        """Give a message to whom it is for.

        :raises LookupError: nobody listens there.
        """
        with self._lock:
            ports = self._ports.get((address, outgoing.kind)) or {}
            if not ports:
                raise LookupError('nobody listens on %s' % address)
            if outgoing.fanout:
                chosen = list(ports.values())
            elif outgoing.server is not None:
                if outgoing.server not in ports:
                    raise LookupError('no worker %s on %s' % (outgoing.server, address))
                chosen = [ports[outgoing.server]]
            else:
                self._next += 1
                chosen = [list(ports.values())[self._next % len(ports)]]
            for port in chosen:
                port.put(outgoing.text)


_BUS: Final = _Bus()


class FakeDriver(base.CellsDriver):
    """Carries envelopes within the process."""

    def __init__(self, settings: DriverSettings) -> None:
        if settings.transport_url is None:
            raise exceptions.ConfigurationError(
                reason='the fake driver needs a [DEFAULT] transport_url of its own for each cell'
            )
        self._address = settings.transport_url
        self._server = settings.server
        self._ports: dict[operations.Kind, _Port] = {}
        self._senders = sender.Senders(
            lambda name, url: sender.Sender(
                name, _deliverer(name, url), lambda: None, settings.send_queue_length
            )
        )

    def start(self, receive: base.Receive) -> None:
        """Listen on the bus of the process."""
        for kind in operations.Kind:
            port = _Port(receive)
            self._ports[kind] = port
            _BUS.listen(self._address, kind, self._server, port)

    def stop(self) -> None:
        """Take in no more questions."""
        for kind in (operations.Kind.TARGETED, operations.Kind.BROADCAST):
            self._leave(kind)

    def close(self) -> None:
        """Take in nothing more."""
        for kind in list(self._ports):
            self._leave(kind)
        self._senders.close()

    def _leave(self, kind: operations.Kind) -> None:
        port = self._ports.pop(kind, None)
        if port is not None:
            _BUS.leave(self._address, kind, self._server, port)

    def send(self, neighbour: CellState, outgoing: base.Outgoing) -> None:
        """Take a message for a neighbour."""
        if not isinstance(outgoing.text, str):
            raise TypeError('an envelope is a text, not %s' % type(outgoing.text).__name__)
        self._senders.to(neighbour.name, neighbour.transport_url).put(outgoing)

    def heard(self, name: str) -> None:
        """End the back-off towards a neighbour."""
        self._senders.heard(name)

    def link(self, name: str) -> base.LinkState:
        """Return how the way to a neighbour does."""
        return self._senders.link(name)

    def forget(self, keep: frozenset[str]) -> None:
        """Close the senders of neighbours that are gone."""
        self._senders.forget(keep)


def _deliverer(name: str, address: str) -> Callable[[base.Outgoing], None]:
    def deliver(outgoing: base.Outgoing) -> None:
        try:
            _BUS.deliver(address, outgoing)
        except LookupError as error:
            if outgoing.server is not None:
                raise exceptions.Unroutable(cell_name=name, reason=str(error)) from None
            raise exceptions.NotSent(
                cell_name=name, reason='no nova-cells listens on its message bus'
            ) from None

    return deliver


def hold(address: str, silent: bool = True) -> None:
    """Make a cell silent, or let it hear again: what is sent to it waits unread meanwhile.

    For demonstrations and tests of what happens to the others.
    """
    _BUS.hold(address, silent)
