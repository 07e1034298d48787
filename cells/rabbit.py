"""Late acknowledgement, and the other things oslo.messaging keeps to itself.

oslo.messaging acknowledges an RPC when it arrives: what a process held when
it was killed is gone. Here a message is *settled* by whoever has made it
safe, and until then the broker keeps it. How many may be unsettled is the
prefetch count, which thereby bounds the intake of a worker.

Three more things need the driver's inside: intake queues that are quorum
queues on the transient exchange that every nova declares, transient queues
that a new RabbitMQ accepts, and a first connection whose waiting ends.

This module is the only one that touches ``oslo_messaging._drivers``. It was
written against oslo.messaging 18.3.1; ``tests/functional/test_delivery.py``
pins what it relies on, with kill -9.
"""

import collections
import concurrent.futures
import contextlib
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import kombu
import oslo_messaging
from oslo_messaging._drivers import amqp as rpc_amqp
from oslo_messaging._drivers import amqpdriver, impl_rabbit
from oslo_messaging._drivers import base as driver_base
from oslo_messaging._drivers import common as rpc_common
from oslo_messaging._metrics import client as metrics_client
from oslo_messaging._tracing import client as tracing_client
from oslo_messaging.rpc import dispatcher as rpc_dispatcher
from oslo_messaging.rpc import server as rpc_server

from cells import exceptions, rpc_body
from cells.stats import Stats

LOG = logging.getLogger(__name__)

#: Options that oslo.messaging registers on its global ConfigOpts and reads from any: by group.
OPTIONS_NOT_LISTED: Final = {
    'oslo_messaging_metrics': metrics_client.oslo_messaging_metrics,
    'oslo_messaging_tracing': tracing_client.oslo_messaging_tracing,
}

#: RabbitMQ refuses transient queues from here on.
NO_TRANSIENT_QUEUES: Final = (4, 3)

#: How long to wait for the socket: short while acknowledgements may have to be
#: written, long when nothing but the socket can bring work.
_SHORTEST_WAIT: Final = 0.001
_LONGEST_WAIT: Final = 0.05
_IDLE_WAIT: Final = 1.0

_STOP_SECONDS: Final = 3.0

#: Seconds after which a queue of one worker, that does not come back, is dropped.
_OWN_QUEUE_TTL: Final = 600

OnIncoming = Callable[[list['Incoming']], None]


class Incoming(amqpdriver.AMQPIncomingMessage):
    """An RPC that the broker keeps until :meth:`settle` is called.

    ``acknowledge()``, which oslo.messaging's server calls on receipt, does nothing.

    :ivar unique_id: the same when a client published the message twice.
    :ivar deliveries: how often it was delivered before and not settled, as quorum queues know.
    :ivar over: whether the handler has ended, so that no heartbeat is to say otherwise.
    """

    over = False
    deliveries = 0

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

    def __call__(self, body: '_Body') -> None:
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
                wait = min(wait * 2, _LONGEST_WAIT) if self._unsettled else _IDLE_WAIT
            except Exception:  # noqa: BLE001 - the thread must outlive any surprise of the driver
                LOG.exception('Reading from the message bus failed, trying again')
                self._stopped.wait(1)
            else:
                self._read_on()
                wait = _SHORTEST_WAIT if self._unsettled else _IDLE_WAIT
        self._cancel()
        self._ident = None

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


class _Body:
    """A delivery with its decoded content."""

    def __init__(self, raw: Any, max_bytes: int) -> None:
        self.raw = raw
        self.content = rpc_body.content(raw.body, max_bytes)


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
            body = _Body(message, self.callback.max_bytes)
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
    return connection.rabbit_transient_quorum_queue or _version(connection) >= NO_TRANSIENT_QUEUES


def _version(connection: Any) -> tuple[int, ...]:
    properties: Mapping[str, Any] = connection.connection.connection.server_properties
    words = str(properties.get('version', '')).split('.')
    return tuple(int(word) for word in words[:2] if word.isdigit())


#: What is wrong with an RPC before a method has it.
_REFUSALS: Final = (
    oslo_messaging.NoSuchMethod,
    oslo_messaging.UnsupportedVersion,
    exceptions.Invalid,
)


class LateAckServer(rpc_server.RPCServer):
    """An RPC server that settles a call on receipt and a cast when its method has returned.

    A method that returns from a cast says thereby that the work is safe. One that
    raises :class:`~cells.exceptions.JournalUnavailable` leaves it to the broker.

    Give it to ``get_rpc_server`` as ``server_cls`` with :func:`functools.partial`.
    """

    def __init__(
        self,
        transport: Any,
        target: oslo_messaging.Target,
        dispatcher: Any,
        executor: str | None = None,
        *,
        prefetch: int,
        queue_type: str | None,
        worker: str,
        delivery_id_key: str,
        max_bytes: int,
        stats: Stats,
        most_deliveries: int,
        on_dead: Callable[[str, str, Callable[[], None]], None],
    ) -> None:
        super().__init__(transport, target, dispatcher, executor)
        # The library's own keeps statistics of each task under a lock, which costs more
        # than the rest of handing a message over.
        self._executor_cls = concurrent.futures.ThreadPoolExecutor
        self._prefetch = prefetch
        self._queue_type = queue_type
        self._worker = worker
        self._delivery_id_key = delivery_id_key
        self._most_deliveries = most_deliveries
        self._on_dead = on_dead
        self._max_bytes = max_bytes
        self._stats = stats

    def _create_listener(self) -> driver_base.Listener:
        return listen(
            self.transport,
            self._target,
            prefetch=self._prefetch,
            queue_type=self._queue_type,
            worker=self._worker,
            max_bytes=self._max_bytes,
            stats=self._stats,
        )

    def _on_incoming(self, incoming: list[Any]) -> None:
        super()._on_incoming(incoming)
        message = incoming[0]
        if isinstance(message, Incoming) and message.orig_msg_id:
            message.settle()

    def _process_incoming(self, incoming: list[Any]) -> None:
        message = incoming[0]
        if not isinstance(message, Incoming):
            super()._process_incoming(incoming)
        elif message.orig_msg_id:
            message.ctxt.pop(self._delivery_id_key, None)
            self._call(message)
        elif message.deliveries >= self._most_deliveries:
            text = json.dumps(message.message, default=repr)
            self._on_dead(str(message.message.get('method')), text, message.settle)
        else:
            message.ctxt[self._delivery_id_key] = message.unique_id
            self._cast(message)

    def _call(self, message: Incoming) -> None:
        result = failure = refusal = None
        try:
            result = self.dispatcher.dispatch(message)
        except rpc_dispatcher.ExpectedException as error:
            failure = error.exc_info
        except _REFUSALS as error:
            refusal = error
            failure = (type(error), error, None)
        except Exception as error:  # noqa: BLE001 - the end of a handler; its caller is told
            LOG.exception('A call of %.40s failed', message.message.get('method'))
            failure = (type(error), error, None)
        finally:
            message.over = True
        if refusal is not None:
            self._refused(message, refusal)
        try:
            message.reply(result, failure=failure)
        except Exception as error:  # noqa: BLE001 - whatever a broken connection raises
            LOG.warning(
                'The answer to a call of %.40s is lost: %s: %s',
                message.message.get('method'),
                type(error).__name__,
                error,
            )

    def _cast(self, message: Incoming) -> None:
        refusal: Any = None
        try:
            self.dispatcher.dispatch(message)
        except exceptions.JournalUnavailable as error:
            LOG.warning('A cast stays with the broker: %s', error)
            return
        except _REFUSALS as error:
            refusal = error
        except rpc_dispatcher.ExpectedException as error:
            refusal = error.exc_info[1]
        except Exception:  # noqa: BLE001 - the end of a handler; there is nobody to raise to
            LOG.exception('A cast of %.40s failed', message.message.get('method'))
        finally:
            message.over = True
        if refusal is not None:
            self._refused(message, refusal)
        message.settle()

    def _refused(self, message: Incoming, error: Exception) -> None:
        sender = message.ctxt.get('user_id') or 'an unknown sender'
        LOG.warning('Refused %.40r from %.60s: %s', message.message.get('method'), sender, error)
        self._stats.count('messages_refused', reason=type(error).__name__)


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


def warm_up(transport: Any, timeout: float) -> bool:
    """Open what a first call needs, and wait for it no longer than ``timeout`` seconds.

    oslo.messaging opens the queue for replies inside the first call, without any
    limit in time, and holds all other calls up meanwhile.

    :returns: whether calls can be made now; a later attempt finds the queue made meanwhile.
    """
    driver = transport._driver
    if not isinstance(driver, impl_rabbit.RabbitDriver) or driver._reply_q is not None:
        return True
    waiting = getattr(driver, '_cells_warm_up', None)
    if waiting is None or not waiting.is_alive():
        waiting = threading.Thread(target=driver._get_reply_q, name='warm-up', daemon=True)
        driver._cells_warm_up = waiting
        waiting.start()
    until = time.monotonic() + timeout
    while driver._reply_q is None and waiting.is_alive() and time.monotonic() < until:
        waiting.join(min(0.05, timeout))
    return driver._reply_q is not None
