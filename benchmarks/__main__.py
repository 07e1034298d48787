"""The cost of a call: ours against a skeleton and against a bare call of oslo.messaging.

    python -m benchmarks [--queue-type quorum|classic] [--concurrency threading|eventlet]

starts a RabbitMQ of its own, all processes of the three, measures them in turn,
three times over, and prints ratios with their spread. Absolute times are shown
for orientation only: they are of this machine and this moment.
"""

import argparse
import collections
import datetime
import functools
import logging
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable

import rich.console
import rich.table

from benchmarks import measure, skeleton
from cells.db import task_log
from tests import deploy, servers

BEGIN, END = datetime.datetime(2016, 1, 1), datetime.datetime(2016, 2, 1)
WIDTHS = (1, 8, 32)
LINE = ('child', 'leaf', 'grand-top', 'grand-mid', 'grand-leaf')

Calls = dict[str, Callable[[], object]]


class Processes:
    """The processes under test."""

    def __init__(self, concurrency: str, log: pathlib.Path) -> None:
        self._env = {**os.environ, 'CELLS_CONCURRENCY': concurrency, 'PYTHONWARNINGS': 'ignore'}
        self._log = open(log, 'ab')  # noqa: SIM115 - lives as long as the processes
        self._running: list[subprocess.Popen[str]] = []

    def start(self, module: str, *args: str) -> None:
        """Start a module of this package and wait until it is ready."""
        process = subprocess.Popen(
            [sys.executable, '-m', 'benchmarks.entry', module, *args],
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._running.append(process)
        assert process.stdout is not None
        if process.stdout.readline() != 'ready\n':
            raise SystemExit('%s did not start; see %s' % (module, self._log.name))

    def stop(self) -> None:
        """Kill them all."""
        for process in self._running:
            process.kill()
            process.wait()
        self._running.clear()


def add_rows(deployed: deploy.DeployedCell) -> None:
    """Write the three rows that are asked for."""
    database = deployed.database()
    for row in skeleton.ROWS:
        task_log.task_log_begin(
            database,
            task_name=row['task_name'],
            state=row['state'],
            host=row['host'],
            period_beginning=BEGIN,
            period_ending=END,
            message='ok',
        )
    database.dispose()


class Bench:
    """Starts what is measured.

    :param directory: for databases and configurations.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        rabbit: servers.RabbitMQ,
        queue_type: str,
        processes: Processes,
    ) -> None:
        self._directory = directory
        self._rabbit = rabbit
        self._queue_type = queue_type
        self._processes = processes
        self._ctxt = deploy.admin()
        self._kwargs = {
            'task_name': 'audit',
            'period_beginning': str(BEGIN),
            'period_ending': str(END),
            'host': None,
            'state': None,
        }

    def lines(self) -> Calls:
        """A bare call; a child and a grandchild, of the skeleton and of ours."""
        urls = {name: self._rabbit.url('s-' + name) for name in LINE}
        self._rabbit.add_vhosts(['s-' + name for name in LINE])
        self._skeleton('leaves', urls['child'], urls['leaf'])
        self._skeleton('top', urls['child'], urls['leaf'])
        self._skeleton('leaves', urls['grand-mid'], urls['grand-leaf'])
        self._skeleton('middle', urls['grand-mid'], urls['grand-top'], urls['grand-leaf'])
        self._skeleton('top', urls['grand-top'], urls['grand-mid'])
        found = {
            'bare call': self._asker(urls['child'], 'bare'),
            'skeleton child': self._asker(urls['child'], 'ask'),
            'skeleton grandchild': self._asker(urls['grand-top'], 'ask'),
        }
        tree = self._tree('line', {'api': None, 'child': 'api', 'grandchild': 'child'})
        for deployed in tree.cells.values():
            self._processes.start('cells_process', str(deployed.conf_file))
        api = tree.api('api')
        for name, host in (
            ('local', 'api'),
            ('child', 'api!child'),
            ('grandchild', 'api!child!grandchild'),
        ):
            found['ours ' + name] = functools.partial(
                api.task_log_get_all, self._ctxt, 'audit', BEGIN, END, host=host
            )
        return found

    def broadcast(self, width: int) -> Calls:
        """A broadcast to so many children, of the skeleton and of ours."""
        top = 'w%d' % width
        names = ['%s-%d' % (top, number) for number in range(width)]
        self._rabbit.add_vhosts(['s-' + name for name in (top, *names)])
        urls = [self._rabbit.url('s-' + name) for name in names]
        self._skeleton('leaves', self._rabbit.url('s-' + top), *urls)
        self._skeleton('top', self._rabbit.url('s-' + top), *urls)
        tree = self._tree(top, {top: None, **dict.fromkeys(names, top)})
        self._processes.start('cells_process', *(str(tree[name].conf_file) for name in names))
        self._processes.start('cells_process', str(tree[top].conf_file))
        return {
            'skeleton broadcast %d' % width: self._asker(self._rabbit.url('s-' + top), 'ask'),
            'ours broadcast %d' % width: functools.partial(
                tree.api(top).task_log_get_all, self._ctxt, 'audit', BEGIN, END
            ),
        }

    def _skeleton(self, role: str, *urls: str) -> None:
        self._processes.start('skeleton', role, self._queue_type, *urls)

    def _asker(self, url: str, method: str) -> Callable[[], object]:
        client = skeleton.client(skeleton.requests(url, self._queue_type), method)
        return functools.partial(client.call, self._ctxt.to_dict(), method, message=self._kwargs)

    def _tree(self, name: str, cells: dict[str, str | None]) -> deploy.Tree:
        tree = deploy.Tree(
            self._directory / name,
            self._rabbit,
            deploy.sqlite(self._directory),
            cells,
            workers=1,
            prefix='ours-',
            options='queue_type = %s\n' % self._queue_type,
        )
        for deployed in tree.cells.values():
            add_rows(deployed)
        return tree


#: What is asked of a ratio: (name, in flight, ours, other, by, limit).
#: A ratio of p50 may be at most the limit, one of rates must be at least that.
ASKED = [
    ('child / skeleton', 1, 'ours child', 'skeleton child', 'p50', 1.25),
    ('child / bare call', 1, 'ours child', 'bare call', 'p50', 3.3),
    ('child / skeleton', 32, 'ours child', 'skeleton child', 'rate', 0.85),
    ('grandchild / skeleton', 1, 'ours grandchild', 'skeleton grandchild', 'p50', 1.25),
    ('grandchild / skeleton', 32, 'ours grandchild', 'skeleton grandchild', 'rate', None),
    ('local / bare call', 1, 'ours local', 'bare call', 'p50', None),
    ('local / bare call', 32, 'ours local', 'bare call', 'rate', None),
    ('skeleton / bare call', 1, 'skeleton child', 'bare call', 'p50', None),
    *(
        (
            'broadcast %d / skeleton' % width,
            1,
            'ours broadcast %d' % width,
            'skeleton broadcast %d' % width,
            'p50',
            1.3 if width == 32 else None,
        )
        for width in WIDTHS
    ),
    (
        'broadcast 32 / skeleton',
        32,
        'ours broadcast 32',
        'skeleton broadcast 32',
        'rate',
        None,
    ),
]


def main() -> int:
    """Measure; exit code 1 when a ratio misses what is asked of it."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks', description=__doc__)
    parser.add_argument('--queue-type', choices=('quorum', 'classic'), default='quorum')
    parser.add_argument('--concurrency', choices=('threading', 'eventlet'), default='threading')
    parser.add_argument('--repetitions', type=int, default=3)
    parser.add_argument('--seconds', type=float, default=3.0, help='length of one block of calls')
    parser.add_argument('--lines-only', action='store_true', help='leave the broadcasts out')
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)  # of the clients, when the broker goes at the end
    console = rich.console.Console()
    directory = pathlib.Path(tempfile.mkdtemp(prefix='cells-benchmark-'))
    directory.chmod(0o755)
    rabbit = servers.RabbitMQ(directory)
    processes = Processes(args.concurrency, directory / 'processes.log')
    results: dict[tuple[str, int], list[measure.Block]] = collections.defaultdict(list)
    try:
        rabbit.start()
        bench = Bench(directory, rabbit, args.queue_type, processes)
        phases = [bench.lines, *(functools.partial(bench.broadcast, width) for width in WIDTHS)]
        for phase in phases[: 1 if args.lines_only else None]:
            calls = phase()
            for call in calls.values():
                measure.block(call, 4, 0.5, 20)
            for _ in range(args.repetitions):
                for in_flight in (1, 32):
                    for name, call in calls.items():
                        results[name, in_flight].append(
                            measure.block(call, in_flight, args.seconds, 20)
                        )
            processes.stop()
    finally:
        processes.stop()
        rabbit.kill()
    return show(console, args, results)


def show(console: rich.console.Console, args, results) -> int:
    """Print the tables and return the exit code."""
    table = rich.table.Table(
        title='%s queues, %s, %d repetitions'
        % (args.queue_type, args.concurrency, args.repetitions)
    )
    for title in ('case', 'in flight', 'p50 ms', 'p95 ms', 'calls/s'):
        table.add_column(title, justify='left' if title == 'case' else 'right')
    for (name, in_flight), blocks in results.items():
        middle = sorted(blocks, key=lambda block: block.p50)[len(blocks) // 2]
        table.add_row(
            name,
            str(in_flight),
            '%.2f' % (middle.p50 * 1000),
            '%.2f' % (middle.p95 * 1000),
            '%.0f' % middle.rate,
        )
    console.print(table)
    table = rich.table.Table(title='ratios: median of the repetitions (lowest to highest)')
    for title in ('ratio', 'in flight', 'of', 'found', 'asked'):
        table.add_column(title)
    missed = 0
    for title, in_flight, ours, other, by, limit in ASKED:
        if (ours, in_flight) not in results:
            continue
        found = measure.ratio(
            [getattr(block, by) for block in results[ours, in_flight]],
            [getattr(block, by) for block in results[other, in_flight]],
        )
        asked = ''
        if limit is not None:
            good = found.median <= limit if by == 'p50' else found.median >= limit
            missed += not good
            sign = '≤' if by == 'p50' else '≥'
            asked = '%s %.2f %s' % (sign, limit, 'yes' if good else 'NO')
        table.add_row(title, str(in_flight), by, str(found), asked)
    console.print(table)
    return 1 if missed else 0


if __name__ == '__main__':
    code = main()
    sys.stdout.flush()
    os._exit(code)  # the clients' threads still look for the broker
