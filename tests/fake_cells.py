"""Cells in this process, over the fake driver: for what is hard to bring about with daemons."""

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from oslo_config import cfg

from cells import (
    cell,
    configured,
    leases,
    messages,
    operations,
    paths,
    remote_errors,
    reports,
    rpcapi,
    sightings,
    slots,
    state,
)
from cells.db import engine, migration, neighbours
from tests import mixed

CALL_TIMEOUT = 6


def hurry(monkeypatch: Any) -> None:
    """Have cells meet, report and hear of changes within moments."""
    for module, name, seconds in (
        (sightings, 'PING_SECONDS', 0.4),
        (sightings, 'MUTE_SECONDS', 2.0),
        (reports, 'TURN_SECONDS', 0.05),
        (reports, 'LEAST_SECONDS', 0.1),
        (reports, 'COUNT_SECONDS', 0.1),
        (reports, 'LEAST_COUNT', 0.05),
        (state, 'POLL_SECONDS', 0.05),
        (leases, 'ATTEMPT', 0.2),
    ):
        monkeypatch.setattr(module, name, seconds)


def address(workdir, name: str) -> str:
    return 'fake://%s-%s' % (workdir.name, name)


def conf_of(workdir, name: str, **options: Any) -> cfg.ConfigOpts:
    """Return the configuration of a cell; ``options`` are of the group ``cells``."""
    conf = cfg.ConfigOpts()
    configured.prepare(conf)
    conf([], project='cells', default_config_files=[])
    conf.set_override('host', name)
    conf.set_override('state_path', str(workdir / name))
    conf.set_override('transport_url', address(workdir, name))
    conf.set_override('control_exchange', address(workdir, name))
    conf.set_override('connection', database_url(workdir, name), group='database')
    options = {
        'enable': True,
        'name': name,
        'driver': 'fake',
        'call_timeout': CALL_TIMEOUT,
        'rpc_threads': 16,
        **options,
    }
    for option, value in options.items():
        conf.set_override(option, value, group='cells')
    return conf


def database_url(workdir, name: str) -> str:
    return 'sqlite:///%s' % (workdir / ('%s.sqlite' % name))


def build(workdir, name: str, others: Mapping[str, bool], **options: Any) -> cell.Cell:
    """Return a cell; ``others`` are its neighbours and whether they are its parent."""
    options = {**mixed.options(any(others.values()), not all(others.values())), **options}
    options.setdefault('cell_type', 'compute' if any(others.values()) else 'api')
    conf = conf_of(workdir, name, **options)
    database = engine.Database(database_url(workdir, name))
    migration.sync(database)
    for other, is_parent in others.items():
        values = {'name': other, 'transport_url': address(workdir, other), 'is_parent': is_parent}
        neighbours.cell_create(database, values)
    database.dispose()
    return cell.Cell(conf, slots.WorkerSlot.take(conf.state_path))


def build_again(workdir, name: str, **options: Any) -> cell.Cell:
    """Return another worker of a cell that was built before, with the database that it has."""
    database = engine.Database(database_url(workdir, name))
    sides = [row['is_parent'] for row in neighbours.cell_get_all(database)]
    database.dispose()
    conf = conf_of(workdir, name, **{**mixed.options(any(sides), not all(sides)), **options})
    return cell.Cell(conf, slots.WorkerSlot.take(conf.state_path))


def api(one: cell.Cell) -> rpcapi.CellsAPI:
    """Return a client of a cell."""
    return rpcapi.CellsAPI.from_conf(one._conf)


def ops(one: cell.Cell) -> rpcapi.OpsAPI:
    """Return an operator's client of a cell."""
    return rpcapi.OpsAPI.from_conf(one._conf)


def connected(cells: Iterable[cell.Cell], seconds: float = 90) -> None:
    """Wait until all cells reach their neighbours: who starts first meets nobody."""
    until = time.monotonic() + seconds
    for one in cells:
        for name in one.state.topology.names:
            path = paths.CellPath((one.name, name))
            while not _reaches(one.runner.ping(path, 5.0)):
                assert time.monotonic() < until, '%s does not reach %s' % (one.name, name)
                time.sleep(0.05)


def met(one: cell.Cell, name: str) -> bool:
    """Tell whether a cell knows of which kind a neighbour is."""
    seen = one.state.sighting(name)
    return seen.is_ours or (mixed.mode() is not None and bool(seen.last_seen))


def _reaches(answer: messages.Response) -> bool:
    """Tell whether a cell has answered a ping; a plain one says that it knows none."""
    return answer.failure is None or remote_errors.is_unknown_operation(
        answer.failure, operations.PING
    )


class FakeTree:
    """A tree of cells in this process.

    :param parents: name -> name of its parent, None for the top.
    """

    def __init__(self, workdir, parents: Mapping[str, str | None], **options: Any) -> None:
        self.workdir = workdir
        self.options = options
        self.cells = {
            name: build(
                workdir,
                name,
                {
                    other: parent != name
                    for other, parent in parents.items()
                    if parent == name or parents[name] == other
                },
                **options,
            )
            for name in parents
        }

    def __getitem__(self, name: str) -> cell.Cell:
        return self.cells[name]

    def api(self, name: str) -> rpcapi.CellsAPI:
        return rpcapi.CellsAPI.from_conf(conf_of(self.workdir, name, **self.options))

    def ops(self, name: str) -> rpcapi.OpsAPI:
        return rpcapi.OpsAPI.from_conf(conf_of(self.workdir, name, **self.options))

    @contextlib.contextmanager
    def running(self) -> Iterator['FakeTree']:
        """Run all cells for the length of a block."""
        try:
            for one in self.cells.values():
                one.start()
            connected(self.cells.values())
            yield self
        finally:
            for one in self.cells.values():
                one.stop()
