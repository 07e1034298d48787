"""How a client calls and casts: time limits, one id for all attempts at a cast."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import oslo_messaging
import tenacity
from oslo_config import cfg

from cells import conf as cells_conf
from cells import rabbit, remote_errors, rpc

#: What the transport may take beyond the time that the cells take.
TRANSPORT_SECONDS = 5
#: How often a message is offered again to a broker that is away.
SEND_RETRIES = 3
#: How long a message is repeated that no queue takes, as in a restart of the broker.
UNROUTABLE_SECONDS = 30
#: What an answer gets even if a queue was there at the last moment only.
LEAST_SECONDS = 1.0
#: Have the broker say so when it has no queue for a message.
_AT_LEAST_ONCE = oslo_messaging.TransportOptions(at_least_once=True)


class NobodyListens(oslo_messaging.MessageDeliveryFailure):
    """No queue takes what was to be sent: no daemon serves, or has since the queues were lost."""


@contextlib.contextmanager
def _translated(method: str, topic: str) -> Iterator[None]:
    """Raise oslo.messaging's error where it lets that of kombu through, or one without words."""
    try:
        yield
    except oslo_messaging.MessageUndeliverable:
        raise NobodyListens(
            'No nova-cells listens at topic %s of this message bus; %s was not sent'
            % (topic, method)
        ) from None
    except rpc.KombuError as error:
        raise oslo_messaging.MessageDeliveryFailure(
            'The message bus could not be reached; %s was not sent: %s' % (method, error)
        ) from None


class Client:
    """What all clients of a cell share.

    :param transport: from ``oslo_messaging.get_rpc_transport``.
    :param topic: ``[cells] topic``.
    :param call_timeout: ``[cells] call_timeout`` of the cell, in seconds.
    """

    def __init__(
        self,
        transport: Any,
        *,
        topic: str = 'cells',
        call_timeout: float = 60,
        namespace: str | None = None,
    ) -> None:
        self._transport = transport
        self._topic = topic
        self._timeout = call_timeout + TRANSPORT_SECONDS
        self._clients: dict[str, Any] = {}
        self._casters: dict[str, rabbit.OneCast] = {}
        self._client = rpc.get_client(
            transport,
            topic,
            namespace=namespace,
            timeout=self._timeout,
            retry=SEND_RETRIES,
        )

    def close(self) -> None:
        """Close the connections. Only at the end of a process, or of a test."""
        self._transport.cleanup()

    def _prepared(self, version: str) -> Any:
        client = self._clients.get(version)
        if client is None:
            client = self._clients[version] = self._client.prepare(
                version=version, transport_options=_AT_LEAST_ONCE
            )
        return client

    def _call(self, ctxt: Any, version: str, method: str, **kwargs: Any) -> Any:
        return self._call_within(None, ctxt, version, method, **kwargs)

    def _call_within(
        self, seconds: float | None, ctxt: Any, version: str, method: str, **kwargs: Any
    ) -> Any:
        """Call a method that does no more than ``seconds`` of work, None for the usual limit."""
        client = self._prepared(version)
        if seconds is not None:
            # The inner limit comes first, so that the caller learns what took so long (T4).
            client = client.prepare(timeout=min(seconds + TRANSPORT_SECONDS, self._timeout))
        if not rabbit.warm_up(self._transport, self._timeout):
            raise oslo_messaging.MessagingTimeout(
                'The message bus could not be reached within %s seconds; %s was not sent'
                % (self._timeout, method)
            )
        try:
            with _translated(method, self._topic):
                return _insisting(client.timeout)(
                    self._call_once, client, time.monotonic() + client.timeout, ctxt, method, kwargs
                )
        except oslo_messaging.RemoteError as error:
            raise remote_errors.rebuild(error.exc_type, error.value) from None

    def _call_once(
        self, client: Any, until: float, ctxt: Any, method: str, kwargs: dict[str, Any]
    ) -> Any:
        # The attempts share the time that the first one had.
        left = max(until - time.monotonic(), LEAST_SECONDS)
        return client.prepare(timeout=left).call(ctxt, method, **kwargs)

    def _cast(self, ctxt: Any, version: str, method: str, **kwargs: Any) -> None:
        caster = self._casters.get(version)
        if caster is None:
            caster = self._casters[version] = rabbit.OneCast(
                self._client.prepare(version=version, transport_options=_AT_LEAST_ONCE)
            )
        with caster.attempts() as client, _translated(method, self._topic):
            _insisting(UNROUTABLE_SECONDS)(client.cast, ctxt, method, **kwargs)


def _insisting(seconds: float) -> tenacity.Retrying:
    """Return what repeats a message that no queue takes, at most so long.

    Between a restart of the broker and the return of the servers no queue may be bound.
    """
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(oslo_messaging.MessageUndeliverable),
        wait=tenacity.wait_fixed(0.05) + tenacity.wait_random_exponential(multiplier=0.1, max=2),
        stop=tenacity.stop_after_delay(min(seconds, UNROUTABLE_SECONDS)),
        reraise=True,
    )


def transport_of(conf: cfg.ConfigOpts, transport: Any = None) -> Any:
    """Return the transport that a configuration describes; our options are registered on it."""
    cells_conf.register_opts(conf)
    if transport is None:
        rpc.prepare(conf)
        transport = rpc.get_transport(conf)
    return transport
