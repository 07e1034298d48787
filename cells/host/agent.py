"""The life of an agent: it reports to its cell, and serves once the cell has taken it.

It carries out what the cell orders, once it has found out what the cell has given up
meanwhile, and tells what came of it. A host whose name another machine has is refused
by the cell; it does not serve and carries nothing out.
"""

import fcntl
import logging
import pathlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, Final

from oslo_config import cfg

from cells import exceptions, rpc
from cells.host import (
    acceptance,
    answering,
    cell_client,
    instance_endpoint,
    orders,
    progress,
    reconciling,
    reports,
    resources,
    runner,
    vitals,
)
from cells.host.endpoint import POWER_ACTIONS, AgentManager
from cells.host.store import Store
from cells.host.virt import base, loading
from cells.stats import Stats

LOG = logging.getLogger(__name__)

LOCK_FILE: Final = 'nova-cells-compute.lock'

#: Seconds that an answer of the cell is waited for, at most and at least.
LONGEST_WAIT: Final = 10.0
SHORTEST_WAIT: Final = 2.0
#: Requests that are served at a time.
THREADS: Final = 8
#: Power states in which a machine has its consoles.
_ON: Final = (base.PowerState.RUNNING, base.PowerState.PAUSED)
#: Seconds that requests and operations under way get at the end.
DRAIN_SECONDS: Final = 5.0


def lock(state_path: str) -> IO[str]:
    """Take the lock of a directory, which one agent may use; closing the file gives it back.

    :raises ConfigurationError: another agent has it, or the directory cannot be used.
    """
    path = pathlib.Path(state_path) / LOCK_FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        found = open(path, 'a+')  # noqa: SIM115 - held as long as the agent lives
    except OSError as error:
        raise exceptions.ConfigurationError(
            reason='[DEFAULT] state_path = %s cannot be used: %s' % (state_path, error)
        ) from None
    try:
        fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        found.close()
        raise exceptions.ConfigurationError(
            reason='[DEFAULT] state_path = %s is used by another nova-cells-compute' % state_path
        ) from None
    return found


def power_commands(given: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the commands of ``[compute] power_commands``, split into words.

    :raises ConfigurationError: there is no such action, or no such command line.
    """
    found = {}
    for action, command in given.items():
        try:
            found[action] = shlex.split(command)
        except ValueError as error:
            raise exceptions.ConfigurationError(
                reason='[compute] power_commands: %s: %s' % (action, error)
            ) from None
        if action not in POWER_ACTIONS or not found[action]:
            raise exceptions.ConfigurationError(
                reason='[compute] power_commands has %r; it takes %s, each with a command'
                % (action, ', '.join(POWER_ACTIONS))
            )
    return found


def measuring(conf: cfg.ConfigOpts) -> Callable[[], list[dict[str, Any]]]:
    """Return what measures this machine as a configuration says."""
    settings = resources.settings(conf)
    return lambda: resources.measure(settings)


def check(conf: cfg.ConfigOpts) -> None:
    """Refuse a configuration with which no agent can work; nothing stays open.

    :raises ConfigurationError: the text says what, and what is allowed.
    """
    build(conf)
    driver = loading.load(conf)
    held = lock(conf.state_path)
    try:
        driver.start()
        driver.nodes()
    except OSError as error:
        raise exceptions.ConfigurationError(
            reason='[compute] instances_path = %s cannot be measured: %s'
            % (conf.compute.instances_path, error)
        ) from None
    finally:
        driver.stop()
        held.close()


def build(
    conf: cfg.ConfigOpts, measure: Callable[[], list[dict[str, Any]]] | None = None
) -> 'HostAgent':
    """Return the agent that a configuration describes.

    :param measure: what tells of the nodes instead of the driver.
    :raises ConfigurationError: it can never work.
    """
    driver = loading.load(conf)
    return HostAgent(
        host=conf.host,
        transport=lambda: rpc.get_transport(conf),
        cell_topic=conf.cells.topic,
        compute_topic=conf.compute_topic,
        store=Store(conf.state_path),
        driver=driver,
        measure=measure or driver.nodes,
        report_interval=conf.report_interval,
        check_interval=conf.compute.check_interval,
        reconcile_interval=conf.compute.reconcile_interval,
        operation_threads=conf.compute.operation_threads,
        power_commands=power_commands(conf.compute.power_commands),
    )


class HostAgent:
    """An agent.

    :param host: ``[DEFAULT] host``, its name in the cell.
    :param transport: makes the transport to the bus of the cell; called by :meth:`start`.
    :param cell_topic: ``[cells] topic``, where the cell takes what agents tell.
    :param compute_topic: ``[DEFAULT] compute_topic``, where the agent serves.
    :param measure: returns the compute nodes of the host.
    :param check_interval: seconds between two calls of it.
    :param power_commands: see :class:`cells.host.endpoint.AgentManager`.
    """

    def __init__(
        self,
        *,
        host: str,
        transport: Callable[[], Any],
        cell_topic: str,
        compute_topic: str,
        store: Store,
        driver: base.VirtDriver,
        measure: Callable[[], list[dict[str, Any]]],
        report_interval: float,
        check_interval: float,
        reconcile_interval: float,
        operation_threads: int,
        power_commands: Mapping[str, Sequence[str]],
    ) -> None:
        self.host = host
        self._new_transport = transport
        self._cell_topic = cell_topic
        self._compute_topic = compute_topic
        self._store = store
        self._driver = driver
        self._timeout = min(LONGEST_WAIT, max(SHORTEST_WAIT, report_interval))
        self._book = orders.Orders(store.file)
        self._reports = reports.Reports(
            host=host,
            topic=compute_topic,
            client=self._cell,
            store=store,
            measure=measure,
            report_interval=report_interval,
            check_interval=check_interval,
            on_taken=self._taken,
            on_refused=self._refused,
        )
        self._answering = answering.Answering(host=host, client=self._cell, book=self._book)
        self._progress = progress.Progress(self._cell)
        self._runner = runner.Runner(
            host=host,
            driver=driver,
            book=self._book,
            threads=operation_threads,
            on_progress=self._progress.note,
            on_end=self._ended,
        )
        self._reconciler = reconciling.Reconciler(
            host=host,
            client=self._cell,
            driver=driver,
            book=self._book,
            runner=self._runner,
            interval=reconcile_interval,
        )
        self._endpoints = [
            AgentManager(
                host=host,
                store=store,
                uptime=resources.uptime,
                power_commands=power_commands,
                on_change=self.wake,
            ),
            instance_endpoint.InstanceEndpoint(
                store=store,
                driver=driver,
                acceptance=acceptance.Acceptance(
                    host=host,
                    driver=driver,
                    book=self._book,
                    on_order=self._runner.put,
                    on_repeat=self._answering.put,
                ),
            ),
        ]
        self._transport: Any = None
        self._client: cell_client.CellClient | None = None
        self._server: Any = None
        self._stats = Stats()
        self.vitals = vitals.HostVitals(
            host=host,
            stats=self._stats,
            bus_silence=lambda: getattr(self._server, 'bus_silence', 0.0),
            cell_problem=lambda: self._reports.problem,
            load=self._runner.load,
        )

    def start(self) -> None:
        """Begin to report; does not wait for the cell.

        :raises ConfigurationError: it will never work as it is configured.
        """
        self._store.open()
        self._book.open()
        self._driver.start()
        states = self._driver.power_states()
        self._store.consoles_keep({uuid for uuid, state in states.items() if state in _ON})
        self._transport = self._new_transport()
        self._client = cell_client.CellClient(
            self._transport,
            self._cell_topic,
            host=self.host,
            machine_id=self._store.machine_id,
            timeout=self._timeout,
        )
        self._progress.start()
        self._answering.start(self._book.unreported())
        self._runner.start(self._book.waiting())
        self._reconciler.start()
        self._reports.start()

    @property
    def machines(self) -> int:
        """How many instances have anything on this host."""
        return len(self._driver.power_states())

    @property
    def at_work(self) -> int:
        """How many operations are accepted, or begun."""
        return len(self._book.waiting())

    def wake(self) -> None:
        """Measure now, and report in any case."""
        self._reports.wake()

    def stop(self) -> None:
        """Stop to serve, to report and to carry out.

        Requests and operations under way have some time. What takes longer is left as it is, and
        is brought to an end at the next start.
        """
        self._reports.stop(DRAIN_SECONDS + self._timeout)
        self._serve_no_more()
        self._reconciler.stop(self._timeout)
        if not self._runner.stop(DRAIN_SECONDS):
            LOG.warning('Host %s: operations are left under way', self.host)
        self._driver.stop()
        self._runner.stop(DRAIN_SECONDS)
        self._answering.stop(self._timeout)
        self._progress.stop(self._timeout)
        if self._transport is not None:
            self._transport.cleanup()
        self._store.close()
        LOG.info('Host %s: the agent has stopped', self.host)

    def _cell(self) -> cell_client.CellClient:
        assert self._client is not None, 'the agent has not been started'
        return self._client

    def _ended(self, order: orders.Order) -> None:
        """Take note of an operation that has ended."""
        self._progress.ended(order)
        try:
            if self._driver.power_state(order.instance_uuid) not in _ON:
                self._store.consoles_delete(order.instance_uuid)
        except exceptions.AgentStopped:
            raise
        except Exception:  # noqa: BLE001 - the operation is over, and is told all the same
            LOG.exception('Host %s: ports of %s stay noted', self.host, order.instance_uuid)
        if not order.own:
            self._answering.put(order)
        self._reports.look()

    # -- serving --

    def _taken(self, again: bool) -> None:
        """Serve, now that the cell has taken a report.

        :param again: it had not taken the one before.
        :raises NoAnswer: that is not possible.
        """
        self._serve()
        if again:
            self._reconciler.connected()
            self._answering.hurry()

    def _serve(self) -> None:
        if self._server is not None:
            return
        server = rpc.get_server(
            self._transport,
            self._compute_topic,
            self.host,
            self._endpoints,
            prefetch=THREADS,
            queue_type=None,
            worker=self.host,
            stats=self._stats,
        )
        try:
            server.start(override_pool_size=THREADS)
        except rpc.SEND_ERRORS as error:
            raise exceptions.NoAnswer(
                kind='bus', reason='%s: %s' % (type(error).__name__, error)
            ) from None
        self._server = server
        LOG.info('Host %s: the agent serves', self.host)

    def _refused(self) -> None:
        """Keep still: another machine is this host."""
        self._reconciler.refused()
        self._serve_no_more()

    def _serve_no_more(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        server.stop()
        rpc.wait_for_end(server, DRAIN_SECONDS)
