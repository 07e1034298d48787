"""What nova-cells-demo shows, and what it checks on the way."""

import logging
import pathlib
import tempfile
import time
from collections.abc import Callable
from typing import Any, Final

import rich.console
import rich.table
import rich.tree

from cells import capacity, exceptions
from cells.cmd import demo_instances
from cells.cmd.demo_tree import (
    CALL_TIMEOUT,
    CELLS,
    FLAVORS,
    HOSTS,
    LEAVES,
    THIS_CELL,
    THIS_HOST,
    Tree,
)

SILENT: Final = 'cell-b'
#: Seconds until something has gone up the tree.
SOON: Final = 20.0
#: How often a cell that is silent is waited for, on a machine that is too busy for the others.
TRIES: Final = 3

COMPUTE: Final = {'binary': 'nova-compute'}


class Demo:
    """What is done with the tree, and what came of it."""

    def __init__(self, tree: Tree, console: rich.console.Console) -> None:
        self._tree = tree
        self._console = console
        self._failures: list[str] = []

    def run(self) -> list[str]:
        """Show everything and return what came out wrong."""
        try:
            self._tree.start()
            self._show_capacities()
            self._show_services()
            self._show_compute_nodes()
            self._show_question()
            self._show_sync()
            self._show_silence()
            demo_instances.InstancesDemo(self._tree, self._console, self._check).run()
        finally:
            self._tree.stop()
        return self._failures

    def _check(self, good: bool, what: str) -> None:
        self._console.print('  [green]✔[/] %s' % what if good else '  [red]✘[/] %s' % what)
        if not good:
            self._failures.append(what)

    def _wait(self, true: Callable[[], Any]) -> Any:
        until = time.monotonic() + SOON
        while True:
            found = true()
            if found or time.monotonic() > until:
                return found
            time.sleep(0.1)

    def _all_of(self, ask: Callable[[], list[Any]], expected: int) -> list[Any]:
        """Ask until so many answer, should the machine be too busy for all to do so in time."""
        found: list[Any] = []

        def complete() -> bool:
            found[:] = ask()
            return len(found) == expected

        self._wait(complete)
        return found

    def _show_capacities(self) -> None:
        self._console.rule('The tree, and what is free in it')
        sizes = str(FLAVORS[0][1])
        api, ctxt = self._tree.api, self._tree.ctxt
        self._wait(lambda: len(self._hosts()) == len(LEAVES) * HOSTS)

        def settled() -> bool:
            below = [self._free(name) for name in LEAVES]
            return all(below) and api.get_capacities(ctxt) == capacity.merge(below)

        arrived = self._wait(settled)
        nodes: dict[str, Any] = {}
        for name, parent in CELLS.items():
            free = self._free(name).get('ram_free', {})
            label = '[bold]%s[/]  %s MiB free, room for %s of %s MiB' % (
                name,
                free.get('total_mb', 0),
                free.get('units_by_mb', {}).get(sizes, 0),
                sizes,
            )
            nodes[name] = nodes[parent].add(label) if parent else rich.tree.Tree(label)
        self._console.print(nodes['api'])
        names = sorted(one['name'] for one in api.get_cell_info_for_neighbors(ctxt))
        self._check(names == ['region-1', 'region-2'], 'api knows its neighbours: %s' % names)
        self._check(bool(arrived), 'what is free in api is the sum of the cells below')

    def _hosts(self) -> list[Any]:
        return self._tree.api.service_get_all(self._tree.ctxt, COMPUTE)

    def _free(self, name: str) -> dict[str, Any]:
        return self._tree.ops_of(name).status(self._tree.ctxt)['capacities']

    def _show_services(self) -> None:
        self._console.rule('CellsAPI.service_get_all: a broadcast to all cells')
        expected = len(LEAVES) * HOSTS
        found = self._all_of(self._hosts, expected)
        table = rich.table.Table('id', 'host', 'binary')
        for one in sorted(found, key=lambda one: one.host):
            table.add_row(one.id, one.host, one.binary)
        self._console.print(table)
        self._check(len(found) == expected, '%d services of %d cells' % (len(found), len(LEAVES)))

    def _show_compute_nodes(self) -> None:
        self._console.rule('CellsAPI.compute_node_get_all')
        api, ctxt = self._tree.api, self._tree.ctxt
        found = self._all_of(lambda: api.compute_node_get_all(ctxt), len(LEAVES) * HOSTS)
        table = rich.table.Table('cell', 'host', 'vCPUs', 'MiB', 'free', 'GiB', 'free')
        for node in sorted(found, key=lambda node: node.host):
            numbers = (
                node.vcpus,
                node.memory_mb,
                node.free_ram_mb,
                node.local_gb,
                node.free_disk_gb,
            )
            table.add_row(*node.host.split('@'), *map(str, numbers))
        self._console.print(table)
        memory = sum(node.memory_mb for node in found)
        expected = {'count': len(found), 'memory_mb': memory}.items()
        added = self._wait(lambda: expected <= api.compute_node_stats(ctxt).items())
        self._check(
            bool(added),
            'CellsAPI.compute_node_stats adds them up: %d nodes, %d MiB' % (len(found), memory),
        )

    def _show_question(self) -> None:
        host = '%s@%s' % (Tree.path(THIS_CELL), THIS_HOST)
        self._console.rule('CellsAPI.get_host_uptime: a question three levels down')
        try:
            uptime = self._tree.api.get_host_uptime(self._tree.ctxt, host)
        except exceptions.CellsError as error:
            self._check(False, '%s: %s' % (host, error))
            return
        self._console.print('  %s: %s' % (host, uptime.strip()), highlight=False)
        self._check('up' in uptime, 'its agent answered: this machine, as it is')

    def _show_sync(self) -> None:
        self._console.rule('CellsAPI.sync_instances: a change, journaled in every cell')
        self._tree.api.sync_instances(self._tree.ctxt, project_id='demo')
        below = [name for name in CELLS if name != 'api']
        found: dict[str, list[dict[str, Any]]] = {}

        def everywhere() -> bool:
            for name in below:
                orders = self._tree.ops_of(name).sync_status(self._tree.ctxt)
                if orders:
                    found[name] = orders
            return len(found) == len(below)

        self._wait(everywhere)
        table = rich.table.Table('cell', 'ordered for project', 'came by')
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
        tree, others = self._tree, (len(LEAVES) - 1) * HOSTS
        tree.silence(SILENT)
        for _ in range(TRIES):
            begun = time.monotonic()
            answer = tree.ops.query(tree.ctxt, 'service_get_all', {'filters': COMPUTE})
            elapsed = time.monotonic() - begun
            if len(answer['missing']) == 1 and elapsed <= CALL_TIMEOUT:
                break
        table = rich.table.Table('cell', 'answer')
        for one in answer['answers']:
            table.add_row(one['cell'], '%d services' % len(one['value']))
        for one in answer['missing']:
            table.add_row('[red]%s[/]' % one['cell'], one['reason'])
        self._console.print(table)
        missing = [one['cell'] for one in answer['missing']]
        self._check(missing == [Tree.path(SILENT)], 'the missing cell is named: %s' % missing)
        self._check(
            elapsed <= CALL_TIMEOUT,
            'answered after %.1f seconds, %d were allowed' % (elapsed, CALL_TIMEOUT),
        )
        found = self._wait(lambda: len(self._hosts()) == others)
        self._check(bool(found), 'CellsAPI returns the %d services of the others' % others)
        tree.silence(SILENT, False)
        found = self._wait(lambda: len(self._hosts()) == others + HOSTS)
        self._check(bool(found), '%s is back: %d services again' % (SILENT, others + HOSTS))


def run() -> int:
    """Run the demo and return the exit code."""
    logging.basicConfig(level=logging.ERROR)
    console = rich.console.Console()
    with tempfile.TemporaryDirectory(prefix='nova-cells-demo-') as directory:
        failures = Demo(Tree(pathlib.Path(directory)), console).run()
    console.rule()
    for failure in failures:
        console.print('[red]Wrong: %s[/]' % failure)
    if not failures:
        console.print('All as it should be.')
    return 1 if failures else 0
