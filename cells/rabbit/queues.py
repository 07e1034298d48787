"""The queues of a server: quorum queues on nova's transient exchange, and what reads them."""

import logging
from collections.abc import Mapping
from typing import Any, Final

import kombu
import oslo_messaging
from oslo_messaging._drivers import base as driver_base
from oslo_messaging._drivers import common as rpc_common
from oslo_messaging._drivers import impl_rabbit

from cells import exceptions
from cells.rabbit.intake import Body, LateAckListener
from cells.stats import Stats

LOG = logging.getLogger(__name__)

#: RabbitMQ refuses transient queues from here on.
NO_TRANSIENT_QUEUES: Final = (4, 3)

#: Seconds after which a queue of one worker, that does not come back, is dropped.
_OWN_QUEUE_TTL: Final = 600


class _Consumer(impl_rabbit.Consumer):
    """A consumer whose queue and exchange may differ in durability."""

    def __init__(self, *, exchange: kombu.Exchange, **kwargs: Any) -> None:
        super().__init__(
            exchange_name=exchange.name,
            type=exchange.type,
            exchange_auto_delete=exchange.auto_delete,
            **kwargs,
        )
        self.exchange = exchange

    def _callback(self, message: Any) -> None:
        convert = getattr(self.queue.channel, 'message_to_python', None)
        if convert:
            message = convert(message)
        body, reason = None, ''
        try:
            body = Body(message, self.callback.max_bytes)
        except exceptions.InvalidMessage as error:
            reason = error.kwargs['reason']
        # Not in the handler of the error, as oslo.log would add the error to the line.
        if body is None:
            self.callback.refused(self.queue_name, reason)
            message.reject()
        else:
            self.callback(body)


def listen(
    transport: Any,
    target: oslo_messaging.Target,
    *,
    prefetch: int,
    queue_type: str | None,
    worker: str,
    max_bytes: int,
    stats: Stats,
    server_queue: bool = True,
) -> driver_base.Listener:
    """Declare the queues of a server and return what reads them.

    :param prefetch: how many messages may be unsettled at a time.
    :param queue_type: of the queue that is shared under ``target.topic``: 'quorum' or
        'classic'; None for no such queue.
    :param worker: the name of this worker, the same after a restart, so that its queue for
        fan-outs is found again and none is left behind.
    :param max_bytes: of a message; what is longer is refused unread.
    :param stats: counts what is refused.
    :param server_queue: whether to have a queue for ``target.server`` alone.
    :returns: a listener, to be started with a callback. Of another transport than
        RabbitMQ it is that transport's own, which has nothing to settle.
    :raises ConfigurationError: a queue exists with another type.
    """
    driver = transport._driver
    if not isinstance(driver, impl_rabbit.RabbitDriver):
        return driver.listen(target, 1, None)
    context = driver._get_connection(rpc_common.PURPOSE_LISTEN)
    connection = context.connection
    connection.rabbit_qos_prefetch_count = prefetch
    with connection._connection_lock:
        connection._set_qos(connection.channel)
    listener = LateAckListener(driver, context, prefetch, max_bytes, stats)
    exchange = kombu.Exchange(
        driver._get_exchange(target),
        type='topic',
        durable=connection.durable,
        auto_delete=connection.amqp_auto_delete,
    )
    consumers = []
    if queue_type is not None:
        consumers.append(_shared_queue(connection, exchange, target.topic, queue_type, listener))
    if server_queue:
        name = '%s.%s' % (target.topic, target.server)
        consumers.append(_own_queue(connection, exchange, name, name, listener))
    fanout = _fanout_exchange(connection, target.topic)
    name = '%s_%s' % (fanout.name, worker)
    consumers.append(_own_queue(connection, fanout, name, target.topic, listener))
    try:
        for consumer in consumers:
            connection.declare_consumer(consumer)
    except oslo_messaging.MessageDeliveryFailure as error:
        context.close()
        if 'PRECONDITION_FAILED' in str(error):
            raise exceptions.ConfigurationError(
                reason=_conflict(target.topic, str(error))
            ) from None
        raise
    return listener


def _conflict(topic: str, error: str) -> str:
    return (
        'A queue or exchange for topic %s exists on the message bus with other properties than '
        'this configuration asks for (%s). Delete the queue when it is empty, or set [cells] '
        'queue_type to what is there.' % (topic, error.rpartition('PRECONDITION_FAILED - ')[2])
    )


def _shared_queue(
    connection: Any, exchange: kombu.Exchange, topic: str, queue_type: str, listener: Any
) -> _Consumer:
    quorum = queue_type == 'quorum' or _needs_quorum(connection)
    return _Consumer(
        exchange=exchange,
        queue_name=topic,
        routing_key=topic,
        durable=quorum or connection.durable,
        queue_auto_delete=not quorum and connection.amqp_auto_delete,
        callback=listener,
        rabbit_quorum_queue=quorum,
        rabbit_quorum_queue_config=connection.rabbit_quorum_queue_config,
    )


def _own_queue(
    connection: Any, exchange: kombu.Exchange, name: str, routing_key: str, listener: Any
) -> _Consumer:
    transient_quorum = _needs_quorum(connection)
    return _Consumer(
        exchange=exchange,
        queue_name=name,
        routing_key=routing_key,
        durable=transient_quorum,
        queue_auto_delete=False,
        callback=listener,
        rabbit_queue_ttl=_OWN_QUEUE_TTL,
        rabbit_quorum_queue=transient_quorum,
        rabbit_quorum_queue_config=connection.rabbit_quorum_queue_config,
    )


def _fanout_exchange(connection: Any, topic: str) -> kombu.Exchange:
    return kombu.Exchange(
        topic + '_fanout',
        type='fanout',
        durable=connection.rabbit_transient_quorum_queue,
        auto_delete=True,
    )


def _needs_quorum(connection: Any) -> bool:
    properties = connection.connection.connection.server_properties
    return connection.rabbit_transient_quorum_queue or version_of(properties) >= NO_TRANSIENT_QUEUES


def version_of(properties: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the version of a broker from what it says of itself, the first two numbers."""
    words = str(properties.get('version', '')).split('.')
    return tuple(int(word) for word in words[:2] if word.isdigit())


#: What is wrong with an RPC before a method has it.
