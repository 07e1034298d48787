"""A tree of cells made of real processes, as an operator would set it up.

Each cell has a directory with its configuration, a database, a virtual host on
a broker, and a daemon that can be started, killed and started again.
"""

import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from oslo_config import cfg

from cells import configured, context, rpcapi
from cells.db import engine, migration, neighbours
from tests import mixed, servers, waiting

BIN = pathlib.Path(sys.executable).parent
START_SECONDS = 120


def wait_until(true: Callable[[], Any], seconds: float, what: str) -> Any:
    """Return the first true value of a function that is asked again and again."""
    until = waiting.deadline(seconds)
    while True:
        found = true()
        if found:
            return found
        if time.monotonic() > until:
            raise AssertionError('not within %s seconds: %s' % (seconds, what))
        time.sleep(0.05)


@dataclasses.dataclass
class DeployedCell:
    """One cell with its daemon."""

    name: str
    directory: pathlib.Path
    transport_url: str
    database_url: str
    concurrency: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def conf_file(self) -> pathlib.Path:
        return self.directory / 'cells.conf'

    @property
    def log_file(self) -> pathlib.Path:
        return self.directory / 'nova-cells.log'

    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ''

    def database(self) -> engine.Database:
        return engine.Database(self.database_url, pool_size=2)

    def start(self, wait: bool = True) -> None:
        """Start the daemon and wait until all workers serve."""
        served = self.log().count(' serves')
        log = open(self.log_file, 'ab')  # noqa: SIM115 - the process owns it
        self.process = subprocess.Popen(
            [str(BIN / 'nova-cells'), '--config-file', str(self.conf_file)],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env={
                **os.environ,
                'CELLS_CONCURRENCY': self.concurrency,
                'PYTHONWARNINGS': 'ignore',
            },
            start_new_session=True,
        )
        if wait:
            try:
                wait_until(
                    lambda: self.log().count(' serves') >= served + self.workers or self.ended(),
                    START_SECONDS,
                    '%s serves' % self.name,
                )
            except AssertionError as error:
                raise AssertionError('%s; its log:\n%s' % (error, self.log()[-6000:])) from None
            assert not self.ended(), self.log()[-3000:]

    @property
    def workers(self) -> int:
        return int(self.conf_file.read_text().partition('\nworkers = ')[2].split()[0])

    def ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def worker_pids(self) -> list[int]:
        """The processes of the workers, without their master."""
        assert self.process is not None
        return descendants(self.process.pid)

    def kill(self) -> None:
        """Kill the daemon and all its workers with -9."""
        assert self.process is not None
        for pid in [self.process.pid, *self.worker_pids()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def stop(self, seconds: float = 30) -> int:
        """Stop the daemon in order and return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


def descendants(pid: int) -> list[int]:
    """Return the processes below one."""
    found = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


def children(pid: int) -> list[int]:
    found = []
    # Each thread of a process has its own list.
    try:
        lists = list(pathlib.Path('/proc/%d/task' % pid).glob('*/children'))
    except (FileNotFoundError, ProcessLookupError):  # it ends just now
        return found
    for listed in lists:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += [int(word) for word in listed.read_text().split()]
    return found


class Tree:
    """A tree of deployed cells.

    :param databases: makes the URL of an empty database from a name.
    :param cells: name -> name of its parent, None for the top.
    :param options: further lines for the group ``cells``.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        rabbit: servers.RabbitMQ,
        databases: Callable[[str], str],
        cells: dict[str, str | None],
        *,
        concurrency: str = 'threading',
        workers: int = 2,
        prefix: str = '',
        options: str = '',
        debug: bool = False,
    ) -> None:
        self.directory = directory
        self._clients: list[rpcapi.CellsAPI | rpcapi.OpsAPI] = []
        self.cells: dict[str, DeployedCell] = {}
        rabbit.add_vhosts([prefix + name for name in cells])
        for name, parent in cells.items():
            where = directory / name
            where.mkdir(parents=True)
            deployed = DeployedCell(
                name, where, rabbit.url(prefix + name), databases(prefix + name), concurrency
            )
            self.cells[name] = deployed
            deployed.conf_file.write_text(
                CONF
                % {
                    'url': deployed.transport_url,
                    'state_path': where,
                    'database': deployed.database_url,
                    'name': name,
                    'cell_type': 'compute' if parent else 'api',
                    'workers': workers,
                    'options': options + _plain(bool(parent), name in cells.values()),
                    'debug': debug,
                }
            )
            migration.sync(deployed.database())
        for name, parent in cells.items():
            if parent:
                self.connect(parent, name)

    def connect(self, parent: str, child: str) -> None:
        """Make two cells known to each other."""
        for here, there, is_parent in ((parent, child, False), (child, parent, True)):
            url = self.cells[there].transport_url
            values = {'name': there, 'transport_url': url, 'is_parent': is_parent}
            neighbours.cell_create(self.cells[here].database(), values)

    def __getitem__(self, name: str) -> DeployedCell:
        return self.cells[name]

    def start(self) -> None:
        """Start all daemons."""
        for deployed in self.cells.values():
            deployed.start(wait=False)
        for deployed in self.cells.values():
            wait_until(
                lambda deployed=deployed: deployed.log().count(' serves') >= deployed.workers,
                START_SECONDS,
                '%s serves; see %s' % (deployed.name, deployed.log_file),
            )

    def stop(self) -> None:
        """Close the clients and kill whatever runs."""
        clients, self._clients = self._clients, []
        with concurrent.futures.ThreadPoolExecutor(32) as pool:  # each waits for its connections
            list(pool.map(lambda client: client.close(), clients))
        for deployed in self.cells.values():
            if deployed.process is not None and not deployed.ended():
                deployed.kill()

    @contextlib.contextmanager
    def running(self) -> Iterator['Tree']:
        """Run all daemons for the length of a block."""
        try:
            self.start()
            yield self
        finally:
            self.stop()

    def conf(self, name: str, *overrides: tuple[str, Any, str | None]) -> cfg.ConfigOpts:
        """Return the configuration of a cell, as its API service would read it."""
        conf = cfg.ConfigOpts()
        configured.prepare(conf)
        conf(['--config-file', str(self[name].conf_file)], project='cells')
        for option, value, group in overrides:
            conf.set_override(option, value, group=group)
        return conf

    def api(self, name: str, *overrides: tuple[str, Any, str | None]) -> rpcapi.CellsAPI:
        """Return a client of a cell."""
        client = rpcapi.CellsAPI.from_conf(self.conf(name, *overrides))
        self._clients.append(client)
        return client

    def ops(self, name: str, *overrides: tuple[str, Any, str | None]) -> rpcapi.OpsAPI:
        """Return an operator's client of a cell."""
        client = rpcapi.OpsAPI.from_conf(self.conf(name, *overrides))
        self._clients.append(client)
        return client


def _plain(has_parent: bool, has_children: bool) -> str:
    """Return lines of the configuration of a cell as :mod:`tests.mixed` wants it."""
    found = mixed.options(has_parent, has_children)
    return ''.join('\n%s = %s' % option for option in found.items())


CONF = """\
[DEFAULT]
transport_url = %(url)s
host = testhost
state_path = %(state_path)s
debug = %(debug)s
shelved_offload_time = -1

[database]
connection = %(database)s

[cells]
enable = true
name = %(name)s
cell_type = %(cell_type)s
workers = %(workers)s
%(options)s
"""


def sqlite(directory: pathlib.Path) -> Callable[[str], str]:
    """Return a maker of SQLite databases in a directory."""
    return lambda name: 'sqlite:///%s' % (directory / ('%s.sqlite' % name))


def admin() -> context.RequestContext:
    """Return the context of an administrator."""
    return context.RequestContext('u1', 'p1', is_admin=True, roles=['admin'])
