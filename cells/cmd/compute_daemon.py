"""What nova-cells-compute does once the kind of concurrency is settled."""

import threading
from typing import IO

from oslo_config import cfg
from oslo_log import log
from oslo_service import service as oslo_service

from cells import conf as cells_conf
from cells import exceptions, meditation, published, rpc
from cells import outcome as outcomes
from cells.cmd import launch, option_values
from cells.host import agent


def read_conf(args: list[str] | None = None) -> cfg.ConfigOpts:
    """Return the parsed configuration of the agent.

    :raises oslo_config.cfg.Error: it cannot be parsed.
    """
    conf = cfg.ConfigOpts()
    log.register_options(conf)
    cells_conf.register_opts(conf)
    rpc.prepare(conf)
    launch.parse(conf, args, 'nova-cells-compute')
    return conf


def check(conf: cfg.ConfigOpts) -> None:
    """Refuse, before the agent is forked, what it could not work with.

    :raises ConfigurationError: the text says what, and what is allowed.
    """
    option_values.check(conf)
    rpc.get_transport(conf).cleanup()
    agent.check(conf)


class AgentService(oslo_service.ServiceBase):
    """The agent under oslo.service, which forks before it calls :meth:`start`."""

    def __init__(
        self, conf: cfg.ConfigOpts, outcome: outcomes.Outcome, report: meditation.Meditation
    ) -> None:
        self._conf = conf
        self._outcome = outcome
        self._meditation = report
        self._publisher: published.Publisher | None = None
        self._lock: IO[str] | None = None
        self._agent: agent.HostAgent | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        """Report and serve. A configuration that cannot work ends the process."""
        try:
            self._lock = agent.lock(self._conf.state_path)
            found = agent.build(self._conf)
            self._meditation.watch({'Host': found.vitals.read})
            if self._conf.monitoring.port:
                self._publisher = published.Publisher(
                    self._conf.state_path, 'nova-cells-compute', found.vitals.read
                )
                self._publisher.start()
            found.start()
        except exceptions.ConfigurationError as error:
            reason = str(error)
        else:
            self._agent = found
            self._outcome.served()
            return
        self._outcome.refuse('nova-cells-compute', reason, self._stopped)

    def stop(self, graceful: bool = True) -> None:
        """Finish what is under way and end."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        if self._agent is not None:
            self._agent.stop()
        if self._publisher is not None:
            self._publisher.stop()
        if self._lock is not None:
            self._lock.close()

    def wait(self) -> None:
        """Return when the agent has ended."""
        self._stopped.wait()

    def reset(self) -> None:
        """Measure and report anew: SIGHUP."""
        if self._agent is not None:
            self._agent.wake()


def run() -> int:
    """Run the daemon and return its exit code."""
    return launch.run(
        'nova-cells-compute',
        read_conf,
        check,
        lambda conf, outcome, report: (AgentService(conf, outcome, report), 1),
        name=lambda conf: conf.host,
    )
