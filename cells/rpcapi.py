"""The clients of a cell: :class:`CellsAPI`, nova's contract, and :class:`OpsAPI` beside it.

An API service makes one of each and keeps it::

    conf = cfg.ConfigOpts()
    conf(args, project='cells')
    api = rpcapi.CellsAPI.from_conf(conf)
    services = api.service_get_all(ctxt)

``ctxt`` is a request context: ours, nova's, or anything with ``to_dict()``.
Methods are thread-safe. A call returns within ``call_timeout`` + 5 seconds;
a cast returns when the broker has it.

This is a library: it loads no database and no eventlet and patches nothing.
"""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import oslo_messaging
import tenacity
from oslo_config import cfg

from cells import conf as cells_conf
from cells import rabbit, remote_errors, rpc, versions

LOG = logging.getLogger(__name__)

#: What the transport may take beyond the time that the cells take.
TRANSPORT_SECONDS = 5
#: How often a message is offered again to a broker that is away.
SEND_RETRIES = 3
#: How long a cast is repeated that no queue takes, as in a restart of the broker.
UNROUTABLE_SECONDS = 30


@contextlib.contextmanager
def _translated(method: str) -> Iterator[None]:
    """Raise oslo.messaging's error where a first connection lets that of kombu through."""
    try:
        yield
    except rpc.KombuError as error:
        raise oslo_messaging.MessageDeliveryFailure(
            'The message bus could not be reached; %s was not sent: %s' % (method, error)
        ) from None


class _Client:
    """What both clients share.

    :param transport: from ``oslo_messaging.get_rpc_transport``.
    :param topic: ``[cells] topic``.
    :param version_cap: an RPC version or a release name, ``[upgrade_levels] cells``.
    :param call_timeout: ``[cells] call_timeout`` of the cell, in seconds.
    """

    def __init__(
        self,
        transport: Any,
        *,
        topic: str = 'cells',
        version_cap: str | None = None,
        call_timeout: float = 60,
        namespace: str | None = None,
    ) -> None:
        self._transport = transport
        self._timeout = call_timeout + TRANSPORT_SECONDS
        self._clients: dict[str, Any] = {}
        self._casters: dict[str, rabbit.OneCast] = {}
        self._client = rpc.get_client(
            transport,
            topic,
            namespace=namespace,
            version_cap=versions.rpc_cap(version_cap),
            timeout=self._timeout,
            retry=SEND_RETRIES,
        )

    def close(self) -> None:
        """Close the connections. Only at the end of a process, or of a test."""
        self._transport.cleanup()

    def _prepared(self, version: str) -> Any:
        client = self._clients.get(version)
        if client is None:
            client = self._clients[version] = self._client.prepare(version=version)
        return client

    def _call(self, ctxt: Any, version: str, method: str, **kwargs: Any) -> Any:
        client = self._prepared(version)
        if not client.can_send_version():
            raise oslo_messaging.RPCVersionCapError(
                version=version, version_cap=self._client.version_cap
            )
        if not rabbit.warm_up(self._transport, self._timeout):
            raise oslo_messaging.MessagingTimeout(
                'The message bus could not be reached within %s seconds; %s was not sent'
                % (self._timeout, method)
            )
        try:
            with _translated(method):
                return client.call(ctxt, method, **kwargs)
        except oslo_messaging.RemoteError as error:
            raise remote_errors.rebuild(error.exc_type, error.value) from None

    def _cast(self, ctxt: Any, version: str, method: str, **kwargs: Any) -> None:
        caster = self._casters.get(version)
        if caster is None:
            caster = self._casters[version] = rabbit.OneCast(
                self._client.prepare(
                    version=version,
                    transport_options=oslo_messaging.TransportOptions(at_least_once=True),
                )
            )
        # Between a restart of the broker and the return of the servers no queue is bound.
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(oslo_messaging.MessageUndeliverable),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=2),
            stop=tenacity.stop_after_delay(UNROUTABLE_SECONDS),
            reraise=True,
        )
        with caster.attempts() as client, _translated(method):
            retrying(client.cast, ctxt, method, **kwargs)


class CellsAPI(_Client):
    """What API services ask of the cells, as in nova (``spec/rpc_client.json``).

    Calls raise the errors of :mod:`cells.exceptions` that the cells report;
    ``oslo_messaging.MessagingTimeout`` when the own cell does not answer,
    ``oslo_messaging.RPCVersionCapError``, before anything is sent, when the cap
    forbids the method, and ``oslo_messaging.MessageDeliveryFailure`` when the
    broker does not take the message.

    :param enabled: ``[cells] enable``; with False, what needs no cell is answered here.
    """

    def __init__(self, transport: Any, *, enabled: bool = True, **kwargs: Any) -> None:
        super().__init__(transport, **kwargs)
        self._enabled = enabled

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts, transport: Any = None) -> 'CellsAPI':
        """Return the client that a configuration describes; ours is registered on it."""
        cells_conf.register_opts(conf)
        if transport is None:
            rpc.prepare(conf)
            transport = rpc.get_transport(conf)
        return cls(
            transport,
            enabled=conf.cells.enable,
            topic=conf.cells.topic,
            version_cap=conf.upgrade_levels.cells,
            call_timeout=conf.cells.call_timeout,
        )

    def get_cell_info_for_neighbors(self, ctxt: Any) -> list[dict[str, Any]]:
        """Return name, capabilities and place in the tree of each neighbour of the own cell.

        Of the broker of a neighbour only host, port and user are shown.
        """
        if not self._enabled:
            return []
        return self._call(ctxt, '1.1', 'get_cell_info_for_neighbors')

    def sync_instances(
        self,
        ctxt: Any,
        project_id: str | None = None,
        updated_since: str | None = None,
        deleted: bool = False,
    ) -> None:
        """Order all cells below to send the state of their instances up again.

        :param project_id: only those of this project.
        :param updated_since: only those changed since then, ISO 8601.
        :param deleted: deleted ones as well.
        """
        self._cast(
            ctxt,
            '1.1',
            'sync_instances',
            project_id=project_id,
            updated_since=updated_since,
            deleted=deleted,
        )

    def service_get_all(self, ctxt: Any, filters: Mapping[str, Any] | None = None) -> list[Any]:
        """Return the services of all cells as ``ServiceProxy``.

        A cell that does not answer is left out, or raises: ``[cells]
        partial_results`` of the own cell. :meth:`OpsAPI.query` names it.

        :param filters: ``disabled``, and any attribute of a service with the value it must have.
        """
        return self._call(ctxt, '1.2', 'service_get_all', filters=filters)

    def task_log_get_all(
        self,
        ctxt: Any,
        task_name: str,
        period_beginning: Any,
        period_ending: Any,
        host: str | None = None,
        state: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return the logs of a task over a period, ``id`` and ``host`` with their cell.

        :param period_beginning: and ``period_ending``: datetimes, or texts of them.
        :param host: ``path@host`` or ``path`` of the one cell that is asked; None for all.
        """
        return self._call(
            ctxt,
            '1.3',
            'task_log_get_all',
            task_name=task_name,
            period_beginning=str(period_beginning),
            period_ending=str(period_ending),
            host=host,
            state=state,
        )


class OpsAPI(_Client):
    """What operators ask of a cell; its answers name the cells that did not answer."""

    def __init__(self, transport: Any, **kwargs: Any) -> None:
        super().__init__(transport, namespace=versions.OPS_NAMESPACE, **kwargs)

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts, transport: Any = None) -> 'OpsAPI':
        """Return the client that a configuration describes; ours is registered on it."""
        cells_conf.register_opts(conf)
        if transport is None:
            rpc.prepare(conf)
            transport = rpc.get_transport(conf)
        return cls(transport, topic=conf.cells.topic, call_timeout=conf.cells.call_timeout)

    def status(self, ctxt: Any) -> dict[str, Any]:
        """Return name, neighbours with their links, journal and counters of the serving worker."""
        return self._call(ctxt, versions.OPS_VERSION, 'status')

    def query(
        self, ctxt: Any, operation: str, args: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Ask all cells below, and the own one, something that has an answer.

        :param operation: the name of a listing, such as ``service_get_all``.
        :param args: its arguments.
        :returns: ``{'answers': [{'cell', 'value'}], 'missing': [{'cell', 'reason'}]}``.
        """
        return self._call(
            ctxt, versions.OPS_VERSION, 'query', operation=operation, args=dict(args or {})
        )

    def sync_status(self, ctxt: Any) -> list[dict[str, Any]]:
        """Return the orders to sync that reached the own cell, newest first."""
        return self._call(ctxt, versions.OPS_VERSION, 'sync_status')
