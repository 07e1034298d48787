"""Whether a message bus can be used: a connection of its own to each broker of a URL, once.

The driver of oslo.messaging tries for ever; who asks whether a URL is right wants to know now.
"""

import dataclasses
import socket
import ssl
from collections.abc import Iterable, Mapping
from typing import Any, Final

import amqp
import kombu
import oslo_messaging
from oslo_config import cfg

from cells.rabbit.queues import NO_TRANSIENT_QUEUES, version_of
from cells.rabbit.refusals import refusal

#: Properties in which a classic queue differs from a quorum queue, which has no choice there.
_OF_CLASSIC: Final = ("'x-queue-type'", "'durable'", "'auto_delete'", "'exclusive'")

DEFAULT_PORT: Final = 5672


@dataclasses.dataclass(frozen=True, slots=True)
class Broker:
    """What came of a connection to one broker.

    :ivar address: host and port.
    :ivar error: why it cannot be used, with what to look at; None when it can. No password.
    :ivar version: of its software.
    :ivar consumers: how many read each of the queues that were asked for; None: not there.
    :ivar conflicts: queues that are there with other properties than were asked for.
    """

    address: str
    error: str | None = None
    version: str = ''
    consumers: Mapping[str, int | None] = dataclasses.field(default_factory=dict)
    conflicts: tuple[str, ...] = ()


def brokers(
    conf: cfg.ConfigOpts,
    transport_url: str,
    *,
    seconds: float,
    queues: Iterable[str] = (),
    queue_types: Mapping[str, str] | None = None,
) -> list[Broker]:
    """Connect to each broker of a transport URL, one after the other.

    :param conf: says how connections are encrypted (``[oslo_messaging_rabbit] ssl*``).
    :param seconds: that each of them gets.
    :param queues: to be looked at.
    :param queue_types: quorum or classic by queue, which one that is there is to have.
    :raises ValueError: it is not a transport URL; what the parser says is not passed on.
    """
    try:
        url = oslo_messaging.TransportURL.parse(cfg.ConfigOpts(), transport_url)
    except (oslo_messaging.InvalidTransportURL, ValueError):
        raise ValueError('not a transport URL') from None
    return [
        _broker(host, url.virtual_host or '/', _tls(conf), seconds, queues, queue_types or {})
        for host in url.hosts
    ]


def _broker(
    host: Any,
    virtual_host: str,
    tls: Any,
    seconds: float,
    queues: Iterable[str],
    queue_types: Mapping[str, str],
) -> Broker:
    address = '%s:%d' % (host.hostname, host.port or DEFAULT_PORT)
    connection = kombu.Connection(
        hostname=host.hostname,
        port=host.port or DEFAULT_PORT,
        userid=host.username or 'guest',
        password=host.password or 'guest',
        virtual_host=virtual_host,
        ssl=tls,
        connect_timeout=seconds,
        transport='pyamqp',
        transport_options={'read_timeout': seconds, 'write_timeout': seconds},
    )
    try:
        raw = connection.transport.establish_connection()
    except Exception as error:  # noqa: BLE001 - whatever the network does, it is an answer
        return Broker(address, error=_reason(error, host, virtual_host, seconds))
    try:
        consumers = {name: _consumers(raw, name) for name in queues}
        conflicts = tuple(
            name
            for name, kind in queue_types.items()
            if consumers.get(name) is not None
            and _is_quorum(raw, name) != (kind == 'quorum' or _only_quorum(raw))
        )
        version = str(raw.server_properties.get('version', ''))
        return Broker(address, version=version, consumers=consumers, conflicts=conflicts)
    except (amqp.exceptions.AMQPError, OSError) as error:
        return Broker(address, error=_reason(error, host, virtual_host, seconds))
    finally:
        connection.transport.close_connection(raw)


def _consumers(raw: Any, queue: str) -> int | None:
    channel = raw.channel()
    try:
        found = channel.queue_declare(queue, passive=True)
    except amqp.exceptions.NotFound:
        return None
    channel.close()
    return int(found.consumer_count)


def _only_quorum(raw: Any) -> bool:
    """Tell whether the broker is so new that all queues of ours are quorum queues."""
    return version_of(raw.server_properties) >= NO_TRANSIENT_QUEUES


def _is_quorum(raw: Any, queue: str) -> bool:
    """Tell whether a queue that is there is a quorum queue: declared as one, the broker agrees."""
    channel = raw.channel()
    try:
        channel.queue_declare(
            queue, durable=True, auto_delete=False, arguments={'x-queue-type': 'quorum'}
        )
    except amqp.exceptions.PreconditionFailed as error:
        # In other properties, such as limits, a quorum queue may differ.
        return not any(word in str(error) for word in _OF_CLASSIC)
    channel.close()
    return True


def _tls(conf: cfg.ConfigOpts) -> Any:
    options = conf.oslo_messaging_rabbit
    if not options.ssl:
        return False
    found: dict[str, Any] = {'cert_reqs': ssl.CERT_NONE}
    if options.ssl_ca_file:
        found = {'ca_certs': options.ssl_ca_file, 'cert_reqs': ssl.CERT_REQUIRED}
    if options.ssl_cert_file:
        found.update(certfile=options.ssl_cert_file, keyfile=options.ssl_key_file)
    return found


def _reason(error: Exception, host: Any, virtual_host: str, seconds: float) -> str:
    refused = refusal(error, host.username or 'guest', virtual_host)
    if refused is not None:
        return refused
    if isinstance(error, ConnectionRefusedError):
        return 'nothing listens there: start the broker, or correct the port'
    if isinstance(error, socket.gaierror):
        return 'there is no host of this name'
    if isinstance(error, TimeoutError):
        return 'it does not answer within %g seconds' % seconds
    if isinstance(error, ssl.SSLError):
        return 'TLS fails: %s' % error.reason
    if isinstance(error, ConnectionError):
        return 'it closes the connection: it is no RabbitMQ, or wants TLS where there is none'
    return ' '.join(('%s: %s' % (type(error).__name__, error)).split())[:200]
