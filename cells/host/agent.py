"""The life of an agent: it reports to its cell, and serves once the cell has taken it.

A report says that the host lives, what it has and whether it takes instances. It goes
out each ``report_interval``, and at once when something has changed noticeably. While
the cell cannot be reached it is tried again without an end; what is logged is the
change. A host whose name another machine has is refused by the cell and does not serve.
"""

import fcntl
import logging
import pathlib
import random
import shlex
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, Final

import oslo_messaging
from oslo_config import cfg

from cells import context, exceptions, rabbit, remote_errors, rpc, versions
from cells.host import resources
from cells.host.endpoint import POWER_ACTIONS, AgentManager
from cells.host.store import Store
from cells.stats import Stats

LOG = logging.getLogger(__name__)

BINARY: Final = 'nova-compute'
LOCK_FILE: Final = 'nova-cells-compute.lock'

#: How often a report is offered again to a broker that is away, before it counts as failed.
SEND_RETRIES: Final = 1
#: Seconds that a report is waited for, at most and at least.
LONGEST_WAIT: Final = 10.0
SHORTEST_WAIT: Final = 2.0
#: Seconds until the first attempt after one that failed; then twice as many, and so on.
FIRST_PAUSE: Final = 0.5
#: Least seconds between two looks at the host, however much changes.
SHORTEST_PAUSE: Final = 0.01
#: Requests that are served at a time.
THREADS: Final = 8
#: Seconds that requests under way get at the end.
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
    settings = resources.Settings(
        instances_path=conf.compute.instances_path,
        reserved_memory_mb=conf.compute.reserved_memory_mb,
        reserved_disk_gb=conf.compute.reserved_disk_gb,
        cpu_allocation_ratio=conf.compute.cpu_allocation_ratio,
    )
    return lambda: resources.measure(settings)


def build(conf: cfg.ConfigOpts, measure: Callable[[], list[dict[str, Any]]]) -> 'HostAgent':
    """Return the agent that a configuration describes.

    :param measure: :func:`measuring`, or what tells of other nodes.
    :raises ConfigurationError: it can never work.
    """
    return HostAgent(
        host=conf.host,
        transport=lambda: rpc.get_transport(conf),
        cell_topic=conf.cells.topic,
        compute_topic=conf.compute_topic,
        store=Store(conf.state_path),
        measure=measure,
        report_interval=conf.report_interval,
        check_interval=conf.compute.check_interval,
        power_commands=power_commands(conf.compute.power_commands),
    )


class HostAgent:
    """An agent.

    :param host: ``[DEFAULT] host``, its name in the cell.
    :param transport: makes the transport to the bus of the cell; called by :meth:`start`.
    :param cell_topic: ``[cells] topic``, where the cell takes reports.
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
        measure: Callable[[], list[dict[str, Any]]],
        report_interval: float,
        check_interval: float,
        power_commands: Mapping[str, Sequence[str]],
    ) -> None:
        self.host = host
        self._new_transport = transport
        self._cell_topic = cell_topic
        self._compute_topic = compute_topic
        self._store = store
        self._measure = measure
        self._report_interval = report_interval
        self._check_interval = check_interval
        self._manager = AgentManager(
            host=host,
            store=store,
            uptime=resources.uptime,
            power_commands=power_commands,
            on_change=self.wake,
        )
        self._transport: Any = None
        self._client: Any = None
        self._server: Any = None
        self._reported: dict[str, Any] | None = None
        self._link: str | None = None
        self._measurable = True
        self._nodes: list[dict[str, Any]] = []
        self._due = 0.0
        self._wanted = False
        self._pause = FIRST_PAUSE
        self._stopped = threading.Event()
        self._awake = threading.Event()
        self._thread = threading.Thread(target=self._run, name='host-report', daemon=True)

    def start(self) -> None:
        """Begin to report; does not wait for the cell.

        :raises ConfigurationError: it will never work as it is configured.
        """
        self._store.open()
        self._transport = self._new_transport()
        self._client = rpc.get_client(
            self._transport,
            self._cell_topic,
            version=versions.HOST_VERSION,
            namespace=versions.HOST_NAMESPACE,
            timeout=min(LONGEST_WAIT, max(SHORTEST_WAIT, self._report_interval)),
            retry=SEND_RETRIES,
        )
        self._thread.start()

    def wake(self) -> None:
        """Measure now, and report in any case."""
        self._wanted = True
        self._awake.set()

    def stop(self) -> None:
        """Stop to serve and to report; requests under way are finished."""
        self._stopped.set()
        self._awake.set()
        if self._thread.is_alive():
            self._thread.join(DRAIN_SECONDS + LONGEST_WAIT)
        self._serve_no_more()
        if self._transport is not None:
            self._transport.cleanup()
        self._store.close()
        LOG.info('Host %s: the agent has stopped', self.host)

    # -- reports --

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._turn()
            except Exception:  # noqa: BLE001 - without this thread the host would be down
                LOG.exception('Host %s could not report, going on', self.host)
                self._due = time.monotonic() + self._report_interval
            pause = min(self._check_interval, self._due - time.monotonic())
            self._awake.wait(max(SHORTEST_PAUSE, pause))
            self._awake.clear()

    def _turn(self) -> None:
        """Measure, and report if it is time or something has changed."""
        self._nodes = self._look(self._nodes)
        if not self._measurable and self._reported is None:
            # An empty report would delete what the cell knows of the host.
            self._due = time.monotonic() + self._check_interval
            return
        wanted, self._wanted = self._wanted, False
        values = self._values(self._nodes)
        changed = wanted or values != self._reported
        # While the cell is away, a change is no reason to try more often.
        if time.monotonic() >= self._due or (changed and self._pause == FIRST_PAUSE):
            self._due = time.monotonic() + self._report(values)

    def _look(self, before: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the resources, and the ones from before while the difference does not matter."""
        try:
            after = self._measure()
        except OSError as error:
            if self._measurable:
                LOG.error('Host %s cannot be measured: %s', self.host, error)
            self._measurable = False
            return before
        self._measurable = True
        return after if resources.noticeable(before, after) else before

    def _values(self, nodes: list[dict[str, Any]]) -> dict[str, Any]:
        flags = self._store.flags()
        return {
            'host': self.host,
            'binary': BINARY,
            'topic': self._compute_topic,
            'machine_id': self._store.machine_id,
            'resources': nodes,
            'enabled': flags.enabled,
            'maintenance': flags.maintenance,
        }

    def _report(self, values: dict[str, Any]) -> float:
        """Report and return the seconds until the next report."""
        problem = self._send(values)
        if problem is None:
            self._reported = values
            problem = self._serve()
        if problem is None:
            self._note('', 'Host %s: reports to its cell' % self.host)
            self._pause = FIRST_PAUSE
            return self._report_interval
        kind, reason = problem
        if kind == exceptions.HostNameInUse.__name__:
            self._serve_no_more()
        self._note(
            kind,
            'Host %s: the cell does not take its reports, trying until it does: %s'
            % (self.host, reason),
        )
        pause = min(self._pause, self._report_interval)
        self._pause = min(self._pause * 2, 2 * self._report_interval + FIRST_PAUSE)
        return pause * random.uniform(0.8, 1.2)

    def _send(self, values: dict[str, Any]) -> tuple[str, str] | None:
        """Send a report; return what kind of problem there was, and its text."""
        timeout = self._client.timeout or LONGEST_WAIT
        try:
            if not rabbit.warm_up(self._transport, timeout):
                return 'bus', 'the message bus cannot be reached'
            self._client.call(context.RequestContext(is_admin=True), 'report', **values)
        except oslo_messaging.RemoteError as error:
            found = remote_errors.rebuild(error.exc_type, error.value)
            return type(found).__name__, str(found)
        except exceptions.WireError as error:  # within a process it comes as it is
            return type(error).__name__, str(error)
        except oslo_messaging.MessagingTimeout:
            return 'silence', 'no answer within %.1f seconds' % timeout
        except rpc.SEND_ERRORS as error:
            return 'bus', '%s: %s' % (type(error).__name__, error)
        return None

    def _note(self, link: str, text: str) -> None:
        """Log a change of the link to the cell, once."""
        if link != self._link:
            (LOG.warning if link else LOG.info)('%s', text)
        self._link = link

    # -- serving --

    def _serve(self) -> tuple[str, str] | None:
        """Serve, if that is not so yet; return what kind of problem there was, and its text."""
        if self._server is not None:
            return None
        server = rpc.get_server(
            self._transport,
            self._compute_topic,
            self.host,
            [self._manager],
            prefetch=THREADS,
            queue_type=None,
            worker=self.host,
            stats=Stats(),
        )
        try:
            server.start(override_pool_size=THREADS)
        except rpc.SEND_ERRORS as error:
            return 'bus', '%s: %s' % (type(error).__name__, error)
        self._server = server
        LOG.info('Host %s: the agent serves', self.host)
        return None

    def _serve_no_more(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        server.stop()
        # An answer is offered to a broker that is away without an end.
        waiting = threading.Thread(target=server.wait, name='server-wait', daemon=True)
        waiting.start()
        waiting.join(DRAIN_SECONDS)
