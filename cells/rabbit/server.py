"""An RPC server that acknowledges a cast when its work is safe."""

import concurrent.futures
import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import oslo_messaging
from oslo_messaging._drivers import base as driver_base
from oslo_messaging.rpc import dispatcher as rpc_dispatcher
from oslo_messaging.rpc import server as rpc_server

from cells import exceptions
from cells.rabbit.intake import Incoming
from cells.rabbit.queues import listen
from cells.stats import Stats

LOG = logging.getLogger(__name__)

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
        self._lock = threading.Lock()
        self._queued = 0

    @property
    def bus_silence(self) -> float:
        """Seconds since the broker was there; 0 before the start and where nothing is known."""
        alive_at = getattr(self.listener, 'alive_at', None)
        return 0.0 if alive_at is None else time.monotonic() - alive_at

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
        message = incoming[0]
        crowded = False
        if isinstance(message, Incoming) and message.orig_msg_id:
            with self._lock:
                self._queued += 1
                # Calls that wait for a thread are held by the broker, not by this process.
                crowded = message.crowded = self._queued > self._prefetch
        super()._on_incoming(incoming)
        if isinstance(message, Incoming) and message.orig_msg_id and not crowded:
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
        with self._lock:
            self._queued -= 1
        if message.crowded:
            message.settle()
        if message.is_late():
            method = message.message.get('method')
            LOG.warning('A call of %.40r waited for a thread until nobody waited for it', method)
            self._stats.count('calls_late')
            return
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
