"""How a cell reaches the agents on its hosts.

Nobody waits for a host without an end: a call ends in time, few calls wait for one
host and no more than ``waiting`` for all, and a message that no agent takes is refused.
"""

import collections
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

import oslo_messaging
import tenacity

from cells import context, exceptions, rabbit, remote_errors, rpc, versions

#: How often a message is offered again to a broker that is away.
SEND_RETRIES: Final = 2
#: How long a cast is repeated that no queue takes, as while an agent starts.
UNROUTABLE_SECONDS: Final = 5
#: How many calls may wait for one host.
WAITING_PER_HOST: Final = 4
#: What agents of the first version serve as well, to whom no later one may be named.
FIRST_VERSION: Final = '1.0'
FIRST_METHODS: Final = frozenset(
    (
        'get_host_uptime',
        'host_maintenance_mode',
        'host_power_action',
        'ping',
        'set_host_enabled',
        'validate_console_port',
    )
)


class HostClient:
    """Calls and casts to agents, over the transport of the cell.

    :param transport: returns the transport; asked at each use, as it comes with the start.
    :param topic: ``[DEFAULT] compute_topic``.
    :param timeout: seconds that a call takes at most.
    :param waiting: how many calls may wait at a time.
    """

    def __init__(
        self, transport: Callable[[], Any], topic: str, *, timeout: float, waiting: int
    ) -> None:
        self.topic = topic
        self._transport = transport
        self._timeout = timeout
        self._waiting = waiting
        self._waiting_for: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()
        self._made: tuple[Any, Any] | None = None

    def call(
        self,
        ctxt: context.RequestContext,
        host: str,
        method: str,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> Any:
        """Have an agent do something and return what came of it.

        :param timeout: seconds; no more than the client's own.
        :raises ComputeServiceUnavailable: it did not answer in time, is not there, or too
            many wait for it already.
        :raises WireError: what the agent answered.
        """
        seconds = self._timeout if timeout is None else min(timeout, self._timeout)
        with self._turn(host):
            client = self._client(host)
            with _translated(host, method, seconds):
                if not rabbit.warm_up(self._transport(), seconds):
                    raise _unavailable(host, 'the message bus of the cell cannot be reached')
                return client.prepare(
                    server=host,
                    version=_version(method),
                    timeout=seconds,
                    transport_options=oslo_messaging.TransportOptions(at_least_once=True),
                ).call(ctxt, method, **kwargs)

    def cast(self, ctxt: context.RequestContext, host: str, method: str, **kwargs: Any) -> None:
        """Have an agent do something; returns when the queue of the host has the message.

        :raises ComputeServiceUnavailable: it has no queue.
        """
        client = self._client(host).prepare(
            server=host,
            version=_version(method),
            transport_options=oslo_messaging.TransportOptions(at_least_once=True),
        )
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(oslo_messaging.MessageUndeliverable),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=1),
            stop=tenacity.stop_after_delay(UNROUTABLE_SECONDS),
            reraise=True,
        )
        with _translated(host, method, self._timeout):
            retrying(client.cast, ctxt, method, **kwargs)

    def _client(self, host: str) -> Any:
        transport = self._transport()
        if transport is None:
            raise _unavailable(host, 'the cell is not connected')
        with self._lock:
            if self._made is None or self._made[0] is not transport:
                client = rpc.get_client(
                    transport,
                    self.topic,
                    version=versions.AGENT_VERSION,
                    timeout=self._timeout,
                    retry=SEND_RETRIES,
                )
                self._made = (transport, client)
            return self._made[1]

    @contextlib.contextmanager
    def _turn(self, host: str) -> Iterator[None]:
        with self._lock:
            if self._waiting_for[host] >= WAITING_PER_HOST:
                raise _unavailable(host, '%d calls wait for it already' % WAITING_PER_HOST)
            if self._waiting_for.total() >= self._waiting:
                raise _unavailable(host, '%d calls wait for hosts already' % self._waiting)
            self._waiting_for[host] += 1
        try:
            yield
        finally:
            with self._lock:
                self._waiting_for[host] -= 1
                if not self._waiting_for[host]:
                    del self._waiting_for[host]


def _version(method: str) -> str:
    return FIRST_VERSION if method in FIRST_METHODS else versions.AGENT_VERSION


@contextlib.contextmanager
def _translated(host: str, method: str, seconds: float) -> Iterator[None]:
    try:
        yield
    except oslo_messaging.RemoteError as error:
        raise remote_errors.rebuild(error.exc_type, error.value) from None
    except oslo_messaging.MessagingTimeout:
        raise _unavailable(
            host, 'it did not answer to %s within %.1f seconds' % (method, seconds)
        ) from None
    except oslo_messaging.MessageUndeliverable:
        raise _unavailable(host, 'no agent listens there') from None
    except rpc.SEND_ERRORS as error:
        raise _unavailable(
            host, '%s was not sent: %s: %s' % (method, type(error).__name__, error)
        ) from None


def _unavailable(host: str, reason: str) -> exceptions.ComputeServiceUnavailable:
    return exceptions.ComputeServiceUnavailable(
        'Compute service of %s is unavailable at this time: %s' % (host, reason), host=host
    )
