"""What nova-cells-demo shows: the tree, answers from all of it, and one cell fallen silent.

Every cell is what nova-cells runs, with its own configuration, database
(SQLite) and message bus (within the process); only the drivers differ.
"""

import datetime
import logging
import pathlib
import tempfile
import time
from typing import Any, Final

import rich.console
import rich.table
import rich.tree
from oslo_config import cfg

from cells import cell, context, rpcapi, slots
from cells.db import engine, migration, neighbours, services, task_log
from cells.drivers import fake

#: name -> parent
CELLS: Final = {
    'api': None,
    'region-1': 'api',
    'region-2': 'api',
    'cell-a': 'region-1',
    'cell-b': 'region-1',
    'cell-c': 'region-2',
}
SILENT: Final = 'cell-b'
CALL_TIMEOUT: Final = 2
BEGIN: Final = datetime.datetime(2026, 1, 1)
END: Final = datetime.datetime(2026, 2, 1)
HOSTS: Final = 2


class Demo:
    """The tree and what is done with it.

    :param directory: for databases and locks.
    """

    def __init__(self, directory: pathlib.Path, console: rich.console.Console) -> None:
        self._directory = directory
        self._console = console
        self._cells = {name: self._build(name) for name in CELLS}
        self._failures: list[str] = []
        self._ctxt = context.RequestContext('demo', 'demo', is_admin=True)
        conf = self._conf('api')
        self._api = rpcapi.CellsAPI.from_conf(conf)
        self._ops = rpcapi.OpsAPI.from_conf(conf)

    def run(self) -> list[str]:
        """Show everything and return what came out wrong."""
        try:
            for one in self._cells.values():
                one.start()
            self._show_tree()
            self._show_services()
            self._show_task_logs()
            self._show_sync()
            self._show_silence()
        finally:
            for one in reversed(self._cells.values()):
                one.stop()
        return self._failures

    def _check(self, good: bool, what: str) -> None:
        self._console.print('  [green]✔[/] %s' % what if good else '  [red]✘[/] %s' % what)
        if not good:
            self._failures.append(what)

    # -- building --

    def _conf(self, name: str) -> cfg.ConfigOpts:
        conf = cfg.ConfigOpts()
        cell.prepare(conf)
        conf([], project='cells', default_config_files=[])
        where = self._directory / name
        conf.set_override('host', name)
        conf.set_override('state_path', str(where))
        conf.set_override('transport_url', _address(name))
        # oslo's fake:// is one bus for the process; what keeps cells apart on it is this.
        conf.set_override('control_exchange', name)
        database = 'sqlite:///%s.sqlite' % where
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

    def _build(self, name: str) -> cell.Cell:
        conf = self._conf(name)
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
        if name.startswith('cell-'):
            self._fill(database, name)
        database.dispose()
        return cell.Cell(conf, slots.WorkerSlot.take(conf.state_path))

    @staticmethod
    def _fill(database: engine.Database, name: str) -> None:
        for number in range(HOSTS):
            host = '%s-host%d' % (name, number)
            services.service_report(database, host, 'nova-compute', 'compute')
            task_log.task_log_begin(
                database,
                task_name='instance_usage_audit',
                state='DONE',
                host=host,
                period_beginning=BEGIN,
                period_ending=END,
                message='%d instances audited' % (10 + number),
                task_items=10 + number,
            )

    # -- showing --

    def _show_tree(self) -> None:
        nodes: dict[str, Any] = {}
        for name, parent in CELLS.items():
            label = '[bold]%s[/]' % name
            nodes[name] = nodes[parent].add(label) if parent else rich.tree.Tree(label)
        self._console.rule('The tree')
        self._console.print(nodes['api'])
        info = self._api.get_cell_info_for_neighbors(self._ctxt)
        names = sorted(cell_info['name'] for cell_info in info)
        self._check(names == ['region-1', 'region-2'], 'api knows its neighbours: %s' % names)

    def _show_services(self) -> None:
        self._console.rule('CellsAPI.service_get_all: a broadcast to all cells')
        found = self._api.service_get_all(self._ctxt, {'binary': 'nova-compute'})
        self._print_services(found)
        self._check(len(found) == 3 * HOSTS, '%d services of 3 compute cells' % len(found))

    def _print_services(self, found: list[Any]) -> None:
        table = rich.table.Table('id', 'host', 'binary')
        for one in sorted(found, key=lambda one: one.host):
            table.add_row(one.id, one.host, one.binary)
        self._console.print(table)

    def _show_task_logs(self) -> None:
        target = 'api!region-1!cell-a'
        self._console.rule('CellsAPI.task_log_get_all: a question to %s' % target)
        found = self._api.task_log_get_all(
            self._ctxt, 'instance_usage_audit', BEGIN, END, host=target
        )
        table = rich.table.Table('host', 'state', 'message')
        for row in found:
            table.add_row(row['host'], row['state'], row['message'])
        self._console.print(table)
        self._check(len(found) == HOSTS, '%d rows, three levels down' % len(found))

    def _show_sync(self) -> None:
        self._console.rule('CellsAPI.sync_instances: a change, journaled in every cell')
        self._api.sync_instances(self._ctxt, project_id='demo')
        table = rich.table.Table('cell', 'ordered for project', 'came by')
        until = time.monotonic() + 10
        below = [name for name in CELLS if name != 'api']
        found: dict[str, list[dict[str, Any]]] = {}
        while len(found) < len(below) and time.monotonic() < until:
            for name in below:
                ops = rpcapi.OpsAPI.from_conf(self._conf(name))
                orders = ops.sync_status(self._ctxt)
                if orders:
                    found[name] = orders
        for name, orders in sorted(found.items()):
            for order in orders:
                table.add_row(name, order['project_id'], order['requested_by'])
        self._console.print(table)
        self._check(
            sorted(found) == sorted(below) and all(len(orders) == 1 for orders in found.values()),
            'the order reached each of the %d cells below, once' % len(below),
        )

    def _show_silence(self) -> None:
        self._console.rule('%s falls silent' % SILENT)
        fake.hold(_address(SILENT))
        begun = time.monotonic()
        answer = self._ops.query(
            self._ctxt, 'service_get_all', {'filters': {'binary': 'nova-compute'}}
        )
        elapsed = time.monotonic() - begun
        table = rich.table.Table('cell', 'answer')
        for one in answer['answers']:
            table.add_row(one['cell'], '%d services' % len(one['value']))
        for one in answer['missing']:
            table.add_row('[red]%s[/]' % one['cell'], one['reason'])
        self._console.print(table)
        missing = [one['cell'] for one in answer['missing']]
        self._check(
            missing == ['api!region-1!' + SILENT], 'the missing cell is named: %s' % missing
        )
        self._check(
            elapsed <= CALL_TIMEOUT,
            'answered after %.1f seconds, %d were allowed' % (elapsed, CALL_TIMEOUT),
        )
        found = self._api.service_get_all(self._ctxt, {'binary': 'nova-compute'})
        self._check(
            len(found) == 2 * HOSTS, 'CellsAPI returns the %d services of the others' % len(found)
        )
        fake.hold(_address(SILENT), False)
        found = self._api.service_get_all(self._ctxt, {'binary': 'nova-compute'})
        self._check(len(found) == 3 * HOSTS, '%s is back: %d services again' % (SILENT, len(found)))


def _address(name: str) -> str:
    return 'fake://%s' % name


def run() -> int:
    """Run the demo and return the exit code."""
    logging.basicConfig(level=logging.ERROR)
    console = rich.console.Console()
    with tempfile.TemporaryDirectory(prefix='nova-cells-demo-') as directory:
        failures = Demo(pathlib.Path(directory), console).run()
    console.rule()
    for failure in failures:
        console.print('[red]Wrong: %s[/]' % failure)
    if not failures:
        console.print('All as it should be.')
    return 1 if failures else 0
