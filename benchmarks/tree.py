"""What a tree does when something changes or fails: times until it is seen, and who else feels it.

    python -m benchmarks.tree [--seconds N] [--changes N]

starts a RabbitMQ of its own and real daemons on SQLite. Asked: a killed cell is named within
30 s; a change of capacity two levels below is seen at the top within 2 s (p95); with one of
twenty children black-holed, calls to the others keep 1.3 times their p95 at most.
"""

import argparse
import contextlib
import functools
import itertools
import logging
import os
import pathlib
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator

import rich.console
import rich.table

from benchmarks import measure
from benchmarks.__main__ import BEGIN, END, Processes, add_rows
from cells import rpc, versions
from cells.db import flavors
from tests import deploy, servers

CHILDREN = 20
IN_FLIGHT = 32
CALL_TIMEOUT = 60
HOST = 'bench-host'


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """Give the port of a server that takes connections and never says anything."""
    with socket.create_server(('127.0.0.1', 0), backlog=64) as server:
        taken = []

        def take() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(server.accept()[0])

        threading.Thread(target=take, daemon=True).start()
        yield server.getsockname()[1]


class Bench:
    """Starts trees and breaks them."""

    def __init__(self, directory: pathlib.Path, rabbit: servers.RabbitMQ) -> None:
        self._directory = directory
        self._rabbit = rabbit
        self._ctxt = deploy.admin()

    def killed(self) -> tuple[float, float]:
        """Return seconds until a question names a cell killed under it, and until it is mute."""
        tree = self._tree('kill', {'top': None, 'mid': 'top', 'victim': 'mid'})
        with tree.running():
            ops = tree.ops('top')
            deploy.wait_until(lambda: not self._missing(ops), 30, 'all answer')
            time.sleep(8)  # until all have been pinged
            tree['victim'].kill()
            begun = time.monotonic()
            missing = self._missing(ops)
            named = time.monotonic() - begun
            assert missing == ['top!mid!victim'], missing

            def mute() -> bool:
                states = tree.ops('mid').status(self._ctxt)['neighbours']
                return any(one['mute'] for one in states)

            deploy.wait_until(mute, 60, 'it is mute')
            return named, time.monotonic() - begun

    def changed(self, times: int) -> list[float]:
        """Return seconds until the top sees a change of capacity two levels below, sorted."""
        tree = self._tree('change', {'top': None, 'mid': 'top', 'leaf': 'mid'})
        database = tree['leaf'].database()
        with database.write() as connection:
            flavors.flavor_create(
                connection, {'name': 'f', 'flavorid': '1', 'memory_mb': 1024, 'vcpus': 1}
            )
        found = []
        with tree.running():
            top = tree.api('top')
            agent = self._agent(tree)
            deploy.wait_until(lambda: self._room(top) > 0, 30, 'the top knows')
            for number in range(times):
                memory_mb = 4096 + 1024 * number
                agent(memory_mb)
                begun = time.monotonic()
                while self._room(top) != memory_mb:
                    assert time.monotonic() - begun < 30
                    time.sleep(0.01)
                found.append(time.monotonic() - begun)
                time.sleep(0.7 + 0.37 * (number % 3))
        return sorted(found)

    def slow(self, seconds: float, processes: Processes) -> tuple[measure.Block, measure.Block]:
        """Measure calls to nineteen children, without and with a black-holed twentieth."""
        names = ['c%d' % number for number in range(CHILDREN - 1)]
        tree = self._tree('slow', {'wide': None, **dict.fromkeys(names, 'wide')}, workers=1)
        for deployed in tree.cells.values():
            add_rows(deployed)
        half = len(names) // 2
        for some in (names[:half], names[half:], ['wide']):
            processes.start('cells_process', *(str(tree[name].conf_file) for name in some))
        api = tree.api('wide')
        turns = itertools.cycle(names)

        def ask(host: str | None = None) -> None:
            name = host or next(turns)
            api.task_log_get_all(self._ctxt, 'audit', BEGIN, END, host='wide!' + name)

        for name in names:
            deploy.wait_until(functools.partial(self._answers, ask, name), 30, name)
        measure.block(ask, IN_FLIGHT, 1.0, 200)
        without = measure.block(ask, IN_FLIGHT, seconds, 500)
        with black_hole() as port:
            url = 'rabbit://u:p@127.0.0.1:%d/x' % port
            api.cell_create(self._ctxt, {'name': 'hole', 'transport_url': url})
            over = threading.Event()

            def fall() -> None:
                while not over.is_set():
                    with contextlib.suppress(Exception):
                        ask('hole')

            threads = [threading.Thread(target=fall, daemon=True) for _ in range(8)]
            for thread in threads:
                thread.start()
            time.sleep(1)
            with_it = measure.block(ask, IN_FLIGHT, seconds, 500)
            over.set()
        return without, with_it

    def _answers(self, ask, name: str) -> bool:
        with contextlib.suppress(Exception):
            ask(name)
            return True
        return False

    def _missing(self, ops) -> list[str]:
        found = ops.query(self._ctxt, 'service_get_all', {'filters': None})
        return [one['cell'] for one in found['missing']]

    def _room(self, api) -> int:
        return api.get_capacities(self._ctxt).get('ram_free', {}).get('total_mb', 0)

    def _agent(self, tree: deploy.Tree):
        """Return what reports as an agent would: how much memory there is."""
        client = rpc.get_client(
            rpc.get_transport(tree.conf('leaf')),
            'cells',
            version=versions.HOST_VERSION,
            namespace=versions.HOST_NAMESPACE,
            timeout=10,
            retry=2,
        )
        node = {
            'hypervisor_hostname': HOST,
            'hypervisor_type': 'none',
            'hypervisor_version': 0,
            'vcpus': 64,
            'vcpus_used': 0,
            'memory_mb_used': 0,
            'local_gb': 100,
            'local_gb_used': 0,
            'free_disk_gb': 100,
            'cpu_allocation_ratio': 1.0,
            'ram_allocation_ratio': 1.0,
            'disk_allocation_ratio': 1.0,
        }

        def report(memory_mb: int) -> None:
            client.call(
                self._ctxt,
                'report',
                host=HOST,
                binary='nova-compute',
                topic='compute',
                machine_id='bench',
                resources=[{**node, 'memory_mb': memory_mb, 'free_ram_mb': memory_mb}],
            )

        report(2048)
        return report

    def _tree(self, name: str, cells: dict[str, str | None], workers: int = 2) -> deploy.Tree:
        return deploy.Tree(
            self._directory / name,
            self._rabbit,
            deploy.sqlite(self._directory),
            cells,
            workers=workers,
            prefix=name + '-',
            options='call_timeout = %d\nreserve_percent = 0' % CALL_TIMEOUT,
        )


def main() -> int:
    """Measure; exit code 1 when something misses what is asked of it."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.tree', description=__doc__)
    parser.add_argument('--seconds', type=float, default=5.0, help='length of one block of calls')
    parser.add_argument('--changes', type=int, default=40, help='changes of capacity')
    parser.add_argument('--concurrency', choices=('threading', 'eventlet'), default='threading')
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    directory = pathlib.Path(tempfile.mkdtemp(prefix='cells-benchmark-'))
    directory.chmod(0o755)
    rabbit = servers.RabbitMQ(directory)
    processes = Processes(args.concurrency, directory / 'processes.log')
    try:
        rabbit.start()
        bench = Bench(directory, rabbit)
        named, mute = bench.killed()
        changes = bench.changed(args.changes)
        without, with_it = bench.slow(args.seconds, processes)
    finally:
        processes.stop()
        rabbit.kill()
    late = changes[int(len(changes) * 0.95)]
    ratio = with_it.p95 / without.p95
    table = rich.table.Table('case', 'found', 'asked', '')
    for title, found, limit, unit in (
        ('a question under way names a killed cell', named, 30, 's'),
        ('the cell above knows that it is mute', mute, 30, 's'),
        ('a change of capacity is seen at the top, p95', late, 2, 's'),
        ('p95 of the others with one of 20 black-holed / without', ratio, 1.3, ''),
    ):
        table.add_row(title, '%.2f %s' % (found, unit), '≤ %s' % limit, str(found <= limit))
    rich.console.Console().print(table)
    print(
        'capacity p50 %.2f s; p95 without %.1f ms, with %.1f ms; calls/s %.0f and %.0f'
        % (
            changes[len(changes) // 2],
            without.p95 * 1000,
            with_it.p95 * 1000,
            without.rate,
            with_it.rate,
        )
    )
    return 0 if named <= 30 and mute <= 30 and late <= 2 and ratio <= 1.3 else 1


if __name__ == '__main__':
    code = main()
    sys.stdout.flush()
    os._exit(code)  # the clients' threads still look for the broker
