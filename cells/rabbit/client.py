"""What a client needs of the driver's inside: stable ids, a first connection that ends."""

import contextlib
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib import parse

import amqp
import oslo_messaging
from oslo_messaging._drivers import amqp as rpc_amqp
from oslo_messaging._drivers import impl_rabbit
from oslo_messaging._metrics import client as metrics_client
from oslo_messaging._tracing import client as tracing_client
from oslo_utils import netutils

from cells.rabbit.refusals import refusal

#: Options that oslo.messaging registers on its global ConfigOpts and reads from any: by group.
OPTIONS_NOT_LISTED: Final = {
    'oslo_messaging_metrics': metrics_client.oslo_messaging_metrics,
    'oslo_messaging_tracing': tracing_client.oslo_messaging_tracing,
}


class _Keyed(dict[str, Any]):
    """A message that keeps its id when the driver wants to give it another."""

    def __init__(self, message: Mapping[str, Any], unique_id: str) -> None:
        super().__init__(message)
        self[rpc_amqp.UNIQUE_ID] = unique_id

    def update(self, *args: Any, **kwargs: Any) -> None:
        kept = self[rpc_amqp.UNIQUE_ID]
        super().update(*args, **kwargs)
        self[rpc_amqp.UNIQUE_ID] = kept


class OneCast:
    """Gives all attempts at one cast the same id, by which a server knows them as one.

    oslo.messaging makes an id per attempt. An attempt that failed, as far as its
    sender can tell, may have reached the queue all the same.

    :param client: a prepared RPC client; from now on its casts go through this.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._make = client._make_message
        self._local = threading.local()
        client._make_message = self._message

    @contextlib.contextmanager
    def attempts(self) -> Iterator[Any]:
        """Give the client; all casts with it in this block and thread count as one."""
        self._local.unique_id = uuid.uuid4().hex
        try:
            yield self._client
        finally:
            del self._local.unique_id

    def _message(self, ctxt: Any, method: str, args: Mapping[str, Any]) -> dict[str, Any]:
        message = self._make(ctxt, method, args)
        unique_id = getattr(self._local, 'unique_id', None)
        return message if unique_id is None else _Keyed(message, unique_id)


def is_rabbit(transport: Any) -> bool:
    """Tell whether a transport goes over RabbitMQ."""
    return isinstance(transport._driver, impl_rabbit.RabbitDriver)


class _Connection(impl_rabbit.Connection):
    """A connection whose user and password may have any sign in them (D12).

    The library leaves a slash as it is, which ends the address of the broker. And it lets
    out what amqp raises when a broker refuses the user, which nobody expects of it.
    """

    def ensure_connection(self) -> None:
        """Connect, and try again for as long as nobody answers.

        :raises MessageDeliveryFailure: a broker refuses the user; says what to look at.
        """
        try:
            super().ensure_connection()
        except (amqp.exceptions.AccessRefused, amqp.exceptions.NotAllowed) as error:
            where = self.connection
            raise oslo_messaging.MessageDeliveryFailure(
                '%s:%s: %s'
                % (where.hostname, where.port, refusal(error, where.userid, where.virtual_host))
            ) from None

    def _transform_transport_url(
        self,
        url: Any,
        host: Any,
        default_username: str = '',
        default_password: str = '',
        default_hostname: str = '',
    ) -> str:
        transport = url.transport.replace('kombu+', '').replace('rabbit', 'amqp')
        return '%s://%s:%s@%s:%s/%s' % (
            transport,
            parse.quote(host.username or default_username, safe=''),
            parse.quote(host.password or default_password, safe=''),
            netutils.escape_ipv6(host.hostname) or default_hostname,
            host.port or 5672,
            url.virtual_host or '',
        )


def quote_credentials(transport: Any) -> None:
    """Have a transport connect with any user and password."""
    if is_rabbit(transport):
        transport._driver._connection_pool.connection_cls = _Connection


def warm_up(transport: Any, timeout: float) -> bool:
    """Open what a first call needs, and wait for it no longer than ``timeout`` seconds.

    oslo.messaging opens the queue for replies inside the first call, without any
    limit in time, and holds all other calls up meanwhile.

    :returns: whether calls can be made now; a later attempt finds the queue made meanwhile.
    :raises MessageDeliveryFailure: the broker refuses the user.
    """
    driver = transport._driver
    if not isinstance(driver, impl_rabbit.RabbitDriver) or driver._reply_q is not None:
        return True
    waiting = getattr(driver, '_cells_warm_up', None)
    if waiting is None or not waiting.is_alive():
        driver._cells_refused = None
        waiting = threading.Thread(target=_open, args=(driver,), name='warm-up', daemon=True)
        driver._cells_warm_up = waiting
        waiting.start()
    until = time.monotonic() + timeout
    while driver._reply_q is None and waiting.is_alive() and time.monotonic() < until:
        waiting.join(min(0.05, timeout))
    refused: oslo_messaging.MessagingException | None = driver._cells_refused
    if refused is not None:
        raise refused
    return driver._reply_q is not None


def _open(driver: Any) -> None:
    try:
        driver._get_reply_q()
    except oslo_messaging.MessagingException as error:
        driver._cells_refused = error
