"""Faults at random, from a seed: what goes wrong, in which order and for how long is replayed."""

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence

from tests import deploy, deploy_hosts, servers

#: Name of the variable with the seed of a run that is to be done again.
SEED = 'CELLS_TEST_SEED'


def seed() -> int:
    """Return the seed of this run: the one that is asked for, or a new one."""
    return int(os.environ.get(SEED) or random.SystemRandom().randrange(10**6))


class Chaos:
    """Breaks things, one at a time, and puts each right again.

    :param number: the seed.
    :param pause: seconds between two faults, at least and at most.
    :param log: takes a line for each fault.
    """

    def __init__(
        self,
        number: int,
        *,
        cells: Sequence[deploy.DeployedCell],
        agents: Sequence[deploy_hosts.Agent],
        broker: servers.RabbitMQ,
        database: servers.Database,
        pause: tuple[float, float],
        log: Callable[[str], None],
    ) -> None:
        self._random = random.Random(number)
        self._cells = cells
        self._agents = agents
        self._broker = broker
        self._database = database
        self._pause = pause
        self._log = log
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name='chaos', daemon=True)
        self.problem: BaseException | None = None
        self.faults: list[str] = []

    def __enter__(self) -> 'Chaos':
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """End, with everything put right."""
        self._over.set()
        self._thread.join(120)
        if self.problem is not None:
            raise self.problem

    def _run(self) -> None:
        kinds = [
            self._kill_cell,
            self._kill_worker,
            self._kill_agent,
            self._stop_for_a_while,
            self._restart_broker,
            self._restart_database,
        ]
        order: list[Callable[[], str]] = []
        try:
            while not self._over.wait(self._random.uniform(*self._pause)):
                if not order:  # each kind before any comes again
                    order = self._random.sample(kinds, len(kinds))
                begun = time.monotonic()
                what = order.pop()()
                self.faults.append(what)
                self._log('%s, %.1f s' % (what, time.monotonic() - begun))
        except BaseException as error:  # noqa: BLE001 - the test must hear of it
            self.problem = error

    def _kill_cell(self) -> str:
        one = self._random.choice(list(self._cells))
        one.kill()
        self._wait(0.5, 3)
        one.start()
        return 'kill -9 of all of %s' % one.name

    def _kill_worker(self) -> str:
        one = self._random.choice(list(self._cells))
        pids = one.worker_pids()
        if pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._random.choice(sorted(pids)), signal.SIGKILL)
        return 'kill -9 of a worker of %s' % one.name

    def _kill_agent(self) -> str:
        one = self._random.choice(list(self._agents))
        one.kill()
        self._wait(0.5, 3)
        one.start(wait=False)
        return 'kill -9 of the agent of %s' % one.host

    def _stop_for_a_while(self) -> str:
        processes = [one for cell in self._cells for one in cell.worker_pids()]
        processes += [pid for agent in self._agents for pid in agent.pids()]
        pid = self._random.choice(sorted(processes))
        with contextlib.suppress(ProcessLookupError):  # it may be one that was just killed
            os.kill(pid, signal.SIGSTOP)
            try:
                time.sleep(5)
            finally:
                os.kill(pid, signal.SIGCONT)
        return 'SIGSTOP of process %d for 5 s' % pid

    def _restart_broker(self) -> str:
        self._broker.restart()
        return 'restart of RabbitMQ'

    def _restart_database(self) -> str:
        self._database.restart()
        return 'restart of PostgreSQL'

    def _wait(self, least: float, most: float) -> None:
        time.sleep(self._random.uniform(least, most))


def wait_for_life(cells: Sequence[deploy.DeployedCell]) -> None:
    """Wait until every daemon has all of its workers."""
    for one in cells:
        deploy.wait_until(
            lambda one=one: len(one.worker_pids()) >= one.workers,
            deploy.START_SECONDS,
            'all workers of %s run' % one.name,
        )
