"""The tree of the demo: three levels, hosts in the four cells at the bottom, one process.

Every cell is what nova-cells runs and every host what nova-cells-compute runs,
with their own configuration, database (SQLite) and message bus (within the
process); only the drivers differ. One host is this machine as measured, which runs
no instances; the others pretend to.
"""

import pathlib
from typing import Final

from oslo_config import cfg

from cells import cell, configured, context, rpcapi, slots
from cells.db import engine, flavors, migration, neighbours
from cells.drivers import fake
from cells.host import agent

#: name -> parent
CELLS: Final = {
    'api': None,
    'region-1': 'api',
    'region-2': 'api',
    'cell-a': 'region-1',
    'cell-b': 'region-1',
    'cell-c': 'region-2',
    'cell-d': 'region-2',
}
LEAVES: Final = tuple(name for name in CELLS if name not in CELLS.values())
CALL_TIMEOUT: Final = 2
HOSTS: Final = 3
#: The host that is this machine, and its cell.
THIS_CELL: Final = 'cell-a'
THIS_HOST: Final = 'this-machine'

#: name, memory in MiB, disk in GiB, vCPUs
FLAVORS: Final = (('small', 2048, 20, 1), ('medium', 4096, 40, 2), ('large', 8192, 80, 4))


class Tree:
    """The cells and their hosts.

    :param directory: for databases, stores and locks.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory
        self._confs: dict[str, cfg.ConfigOpts] = {}
        self.cells = {name: self._cell(name) for name in CELLS}
        self._agents = {name: self._agents_of(name) for name in LEAVES}
        self.ctxt = context.RequestContext('demo', 'demo', is_admin=True)
        conf = self._conf('api')
        self.api = rpcapi.CellsAPI.from_conf(conf)
        self.ops = rpcapi.OpsAPI.from_conf(conf)
        self.records = rpcapi.InstancesAPI.from_conf(conf)

    @property
    def agents(self) -> list[agent.HostAgent]:
        """The agents of all hosts."""
        return [one for found in self._agents.values() for one in found]

    def start(self) -> None:
        """Start cells and hosts."""
        for one in self.cells.values():
            one.start()
        for host in self.agents:
            host.start()

    def stop(self) -> None:
        """Stop them, in mirrored order."""
        for host in reversed(self.agents):
            host.stop()
        for one in reversed(self.cells.values()):
            one.stop()

    def agents_of(self, name: str) -> list[agent.HostAgent]:
        """Return the agents of a cell."""
        return self._agents[name]

    def restart(self, name: str, number: int) -> None:
        """Start the agent of a host again, in place of the one that has ended."""
        self._agents[name][number] = agent.build(self._host_conf(name, number))
        self._agents[name][number].start()

    def ops_of(self, name: str) -> rpcapi.OpsAPI:
        """Return the operator's client of a cell."""
        return rpcapi.OpsAPI.from_conf(self._conf(name))

    def drain(self, name: str) -> None:
        """Let a cell take no new instances, as SIGHUP does after ``enabled = no`` is written."""
        self._confs[name].set_override('enabled', False, group='cells')
        self.cells[name].reload()

    @staticmethod
    def silence(name: str, silent: bool = True) -> None:
        """Make a cell silent, or let it hear again."""
        fake.hold(_address(name), silent)

    @staticmethod
    def path(name: str) -> str:
        """Return the path to a cell from the top."""
        parent = CELLS[name]
        return '%s!%s' % (Tree.path(parent), name) if parent else name

    def _conf(self, name: str, host: str | None = None) -> cfg.ConfigOpts:
        conf = cfg.ConfigOpts()
        configured.prepare(conf)
        conf([], project='cells', default_config_files=[])
        where = self._directory / (host or name)
        conf.set_override('host', host or name)
        conf.set_override('state_path', str(where))
        conf.set_override('transport_url', _address(name))
        # oslo's fake:// is one bus for the process; what keeps cells apart on it is this.
        conf.set_override('control_exchange', name)
        conf.set_override('shelved_offload_time', -1)
        database = 'sqlite:///%s.sqlite' % (self._directory / name)
        conf.set_override('connection', database, group='database')
        for option, value in (
            ('enable', True),
            ('name', name),
            ('cell_type', 'compute' if CELLS[name] else 'api'),
            ('driver', 'fake'),
            ('call_timeout', CALL_TIMEOUT),
        ):
            conf.set_override(option, value, group='cells')
        return conf

    def _cell(self, name: str) -> cell.Cell:
        conf = self._confs[name] = self._conf(name)
        database = engine.Database(conf.database.connection)
        migration.sync(database)
        for other, parent in CELLS.items():
            if parent == name or CELLS[name] == other:
                neighbours.cell_create(
                    database,
                    {
                        'name': other,
                        'transport_url': _address(other),
                        'is_parent': parent != name,
                    },
                )
        with database.write() as connection:
            for number, (flavor, memory_mb, root_gb, vcpus) in enumerate(FLAVORS):
                values = {'name': flavor, 'flavorid': str(number + 1), 'memory_mb': memory_mb}
                flavors.flavor_create(connection, {**values, 'root_gb': root_gb, 'vcpus': vcpus})
        database.dispose()
        return cell.Cell(conf, slots.WorkerSlot.take(conf.state_path))

    def _agents_of(self, name: str) -> list[agent.HostAgent]:
        return [agent.build(self._host_conf(name, number)) for number in range(HOSTS)]

    def _host_conf(self, name: str, number: int) -> cfg.ConfigOpts:
        real = name == THIS_CELL and number == 0
        conf = self._conf(name, THIS_HOST if real else '%s-host%d' % (name, number))
        if not real:
            images = str(self._directory / ('%s-shared' % name))
            for option, value in (
                ('virt_driver', 'fake'),
                ('fake_vcpus', 16 * (number + 1)),
                ('fake_memory_mb', 65536 * (number + 1)),
                ('fake_images_path', images),
                ('fake_delays', ['build:0.2', 'build:3@slow', 'terminate:0.05', '*:0.05-0.2']),
            ):
                conf.set_override(option, value, group='compute')
        return conf


def _address(name: str) -> str:
    return 'fake://%s' % name
