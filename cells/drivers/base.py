"""The contract between the runner, which decides, and a driver, which carries."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

from cells import operations
from cells.state import CellState


class Incoming(Protocol):
    """A message that arrived."""

    @property
    def text(self) -> str:
        """The envelope, as it was sent."""

    @property
    def deliveries(self) -> int:
        """How often it was delivered before and not settled, as far as the bus knows."""

    def settle(self) -> None:
        """Let the broker forget the message. Does not wait; any thread, any number of times."""


#: Takes what arrives. Called in the thread that reads: it must not wait and must not raise.
Receive = Callable[[Incoming], None]

#: Told once how a sending ended: None, or why it failed. Called in a sender's thread.
OnSent = Callable[[Exception | None], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be sent.

    :ivar kind: which of the three topics it goes to.
    :ivar text: the envelope.
    :ivar ctxt: the context of the bus, a few keys that name the request.
    :ivar fanout: to every worker of the neighbour instead of any one of them.
    :ivar server: to the worker of this server name.
    :ivar on_sent: told how it ended.
    """

    kind: operations.Kind
    text: str
    ctxt: dict[str, Any]
    fanout: bool = False
    server: str | None = None
    on_sent: OnSent | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class LinkState:
    """How the way to a neighbour does.

    :ivar up: whether the last sending succeeded; None before the first.
    :ivar waiting: messages that wait to be sent.
    :ivar error: why the last sending failed, without a password.
    """

    up: bool | None
    waiting: int
    sent: int
    failed: int
    error: str | None = None


class CellsDriver(abc.ABC):
    """Carries envelopes between neighbours. It knows nothing of what is in them.

    Third parties add one under the entry points ``cells.drivers``; it is made with
    the arguments of :class:`~cells.drivers.settings.DriverSettings`.
    """

    @abc.abstractmethod
    def start(self, receive: Receive) -> None:
        """Begin to take in what is sent to this cell.

        Blocks until messages can arrive; when the broker is away it says so in the
        log and goes on trying.

        :raises ConfigurationError: it will never work.
        """

    @abc.abstractmethod
    def stop(self) -> None:
        """Take in no more requests. Answers are still taken in until :meth:`close`."""

    @abc.abstractmethod
    def close(self) -> None:
        """Take in nothing more, send what waits for at most two seconds, release everything.

        What was taken in and not settled stays with the broker.
        """

    @abc.abstractmethod
    def send(self, neighbour: CellState, outgoing: Outgoing) -> None:
        """Take a message for a neighbour.

        Returns at once, whatever the state of the neighbour: each has a sender of its
        own, with a bounded queue (P8). Messages that one thread gives for one neighbour
        are sent in that order. ``on_sent(None)`` means that the neighbour's broker has
        it in a queue; it says nothing about its being read. Everything that is taken
        gets its ``on_sent``.

        :raises NotSent: the queue of this neighbour is full, or the driver is closed;
            then ``on_sent`` is not called.
        """

    def heard(self, name: str) -> None:
        """Take note that a neighbour lives: what waits to try it again need not wait longer.

        Called in the thread that reads, with each message: it must cost next to nothing.
        """
        return

    @property
    def bus_silence(self) -> float:
        """Seconds since the bus of this cell was there; 0 where there is nothing to be away."""
        return 0.0

    @abc.abstractmethod
    def link(self, name: str) -> LinkState:
        """Return how the way to a neighbour does."""

    @abc.abstractmethod
    def forget(self, keep: frozenset[str]) -> None:
        """Release what belongs to neighbours that are no longer there.

        :param keep: the names of those that are.
        """
