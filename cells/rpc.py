"""oslo.messaging as this project uses it: transports, clients, servers, the serialiser."""

import dataclasses
import functools
import inspect
import logging
import threading
from collections.abc import Callable
from typing import Any, Final

import oslo_messaging
from oslo_config import cfg
from oslo_messaging import opts as messaging_opts
from oslo_messaging.rpc import dispatcher as rpc_dispatcher
from oslo_versionedobjects import exception as versioned

from cells import context, exceptions, logs, rabbit, remote_errors
from cells.objects import base as objects_base
from cells.objects import proxy
from cells.stats import Stats

LOG = logging.getLogger(__name__)

#: Seconds without a sign of life after which a connection counts as dead; the
#: library's 60 would hide a black-holed broker for a minute.
HEARTBEAT_SECONDS: Final = 15
#: On which nova's services meet.
EXCHANGE: Final = 'nova'
#: As a number of deliveries.
NEVER: Final = 2**31

#: Takes a cast that is not tried any more: (method, text, settle).
OnDead = Callable[[str, str, Callable[[], None]], None]

MAX_BYTES: Final = 8 * 1024 * 1024

#: What a sender may see when a broker does not take a message.
SEND_ERRORS: Final = (
    oslo_messaging.MessagingException,
    OSError,
    rabbit.kombu.exceptions.KombuError,
)
KombuError: Final = rabbit.kombu.exceptions.KombuError


def prepare(conf: cfg.ConfigOpts) -> None:
    """Make a ConfigOpts of our own fit for oslo.messaging.

    The library registers the groups for metrics and tracing on its global object
    alone and fails with any other; nova's exchange is the default.
    """
    for group, options in (*messaging_opts.list_opts(), *rabbit.OPTIONS_NOT_LISTED.items()):
        conf.register_opts(options, group=group)
    conf.set_default('control_exchange', EXCHANGE)
    conf.set_default(
        'heartbeat_timeout_threshold', HEARTBEAT_SECONDS, group='oslo_messaging_rabbit'
    )


def get_transport(conf: cfg.ConfigOpts, url: str | None = None) -> Any:
    """Return the transport for a URL, by default that of this cell.

    :raises ConfigurationError: the URL is not one. It is not shown: it holds a password.
    """
    try:
        transport = oslo_messaging.get_rpc_transport(conf, url, allowed_remote_exmods=[])
    except (
        oslo_messaging.InvalidTransportURL,
        oslo_messaging.DriverLoadFailure,
        ImportError,
        ValueError,
    ) as error:
        raise exceptions.ConfigurationError(
            reason='transport_url is not valid (%s). It has the form '
            'rabbit://user:password@host:port/virtual_host' % type(error).__name__
        ) from None
    rabbit.quote_credentials(transport)
    return transport


@dataclasses.dataclass(frozen=True, slots=True)
class Unread:
    """An argument with an object in it that cannot be read, see :func:`served`.

    :ivar given: as it came.
    :ivar reason: why it cannot be read.
    """

    given: Any
    reason: str


class Serializer(oslo_messaging.Serializer):
    """Contexts and objects to and from what the message bus carries.

    :param with_proxies: whether an object that says which cell it is from comes
        behind a proxy (a client's view) or bare (a server's).
    """

    def __init__(self, with_proxies: bool = False) -> None:
        self._of_client = with_proxies
        self._rebuild: Callable[[dict[str, Any]], Any] = (
            proxy.from_envelope if with_proxies else objects_base.from_primitive
        )

    def serialize_entity(self, ctxt: Any, entity: Any) -> Any:
        """Return a value with objects as envelopes."""
        return objects_base.to_primitive(entity)

    def deserialize_entity(self, ctxt: Any, entity: Any) -> Any:
        """Return a value with envelopes as objects; at a server, what is none as :class:`Unread`.

        :raises oslo_versionedobjects.exception.VersionedObjectsException: at a client, the
            answer has an object that is none.
        """
        try:
            return objects_base.transform(entity, self._rebuild)
        except versioned.VersionedObjectsException as error:
            if self._of_client:
                raise
            return Unread(entity, str(error))

    def serialize_context(self, ctxt: Any) -> dict[str, Any]:
        """Return a context as a dictionary; anything with ``to_dict()`` will do."""
        return ctxt.to_dict() if hasattr(ctxt, 'to_dict') else dict(ctxt)

    def deserialize_context(self, ctxt: dict[str, Any]) -> context.RequestContext:
        """Return the context of a dictionary."""
        return context.RequestContext.from_wire(ctxt)


def get_client(
    transport: Any,
    topic: str,
    *,
    version: str = '1.0',
    namespace: str | None = None,
    timeout: float,
    retry: int,
) -> Any:
    """Return an RPC client.

    :param timeout: seconds to wait for the answer to a call.
    :param retry: how often to try again to give a message to the broker.
    """
    target = oslo_messaging.Target(topic=topic, version=version, namespace=namespace)
    return oslo_messaging.get_rpc_client(
        transport,
        target,
        timeout=timeout,
        serializer=Serializer(with_proxies=True),
        retry=retry,
    )


def get_server(
    transport: Any,
    topic: str,
    server: str,
    endpoints: list[Any],
    *,
    prefetch: int,
    queue_type: str | None,
    worker: str,
    stats: Stats,
    max_bytes: int = MAX_BYTES,
    most_deliveries: int = NEVER,
    on_dead: OnDead = lambda method, text, settle: settle(),
) -> Any:
    """Return an RPC server that acknowledges late and offers only exposed methods.

    :param queue_type: of the queue that all servers of the topic share; None for no such queue.
    :param stats: counts what is refused.
    :param max_bytes: of a message; what is longer is refused unread.
    :param most_deliveries: a cast that was delivered so often and never settled is not tried again.
    :param on_dead: gets such a cast: (method, text, what settles it).
    """
    return oslo_messaging.get_rpc_server(
        transport,
        oslo_messaging.Target(topic=topic, server=server),
        endpoints,
        serializer=Serializer(),
        access_policy=oslo_messaging.ExplicitRPCAccessPolicy,
        server_cls=functools.partial(
            rabbit.LateAckServer,
            prefetch=prefetch,
            queue_type=queue_type,
            worker=worker,
            delivery_id_key=context.DELIVERY_ID,
            max_bytes=max_bytes,
            stats=stats,
            most_deliveries=most_deliveries,
            on_dead=on_dead,
        ),
    )


def wait_for_end(server: Any, seconds: float) -> None:
    """Give a server that was stopped time to answer what it had taken in.

    :param seconds: at most, as a reply is offered to a broker that is away without an end.
    """
    waiting = threading.Thread(target=server.wait, name='server-wait', daemon=True)
    waiting.start()
    waiting.join(seconds)


def served(method: Callable[..., Any]) -> Callable[..., Any]:
    """Offer a method of an endpoint to clients. A decorator.

    Errors go to the caller without a traceback (X6); those that are not of the
    contract are logged here with theirs, under the request id. Arguments that the method does
    not have, and objects that cannot be read, are refused before it is called (V2); an
    endpoint with a method ``note_refusal`` is told of that.
    """

    signature = inspect.signature(method)

    def check(self: Any, ctxt: context.RequestContext, kwargs: dict[str, Any]) -> None:
        try:
            signature.bind(self, ctxt, **kwargs)
        except TypeError as error:
            raise exceptions.Invalid(reason='%s: %s' % (method.__name__, error)) from None
        for name, value in kwargs.items():
            if isinstance(value, Unread):
                raise exceptions.Invalid(
                    reason='%s: %s: %s' % (method.__name__, name, value.reason)
                )

    @oslo_messaging.expose
    @functools.wraps(method)
    def endpoint(self: Any, ctxt: context.RequestContext, /, **kwargs: Any) -> Any:
        with logs.scope(ctxt.request_id):
            return answer(self, ctxt, kwargs)

    def answer(self: Any, ctxt: context.RequestContext, kwargs: dict[str, Any]) -> Any:
        try:
            try:
                check(self, ctxt, kwargs)
            except exceptions.Invalid as error:
                if hasattr(self, 'note_refusal'):
                    self.note_refusal(ctxt, method.__name__, _as_given(kwargs), error)
                raise
            return method(self, ctxt, **kwargs)
        except exceptions.JournalUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - where a result becomes a reply
            if not isinstance(error, exceptions.WireError):
                LOG.exception('%s failed (request %s)', method.__name__, ctxt.request_id)
                if '\n' in str(error):
                    text = remote_errors.first_line(error)
                    error = remote_errors.RemoteFailure(name=type(error).__name__, text=text)
            error.__cause__ = error.__context__ = None
            expected = rpc_dispatcher.ExpectedException()
            expected.exc_info = (type(error), error, None)
            raise expected from None

    return endpoint


def _as_given(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.given if isinstance(value, Unread) else value for name, value in kwargs.items()
    }
