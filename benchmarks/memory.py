"""What a worker of nova-cells keeps in memory: after its start, and after many messages.

    python -m benchmarks.memory [--messages 100000] [--concurrency threading|eventlet]

starts a RabbitMQ and a line of three real daemons, one worker each, and asks the
last of them through the first. Measured is the worker in the middle, which
passes on every question and every answer. Resident memory is what the kernel
says; what is shared with the master process counts in it. At the end the same
is shown for what a worker imports, as that is most of it.
Exit code 1 when what is asked is not kept.
"""

import argparse
import datetime
import logging
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import rich.console
import rich.table

from tests import deploy, servers

BEGIN, END = datetime.datetime(2016, 1, 1), datetime.datetime(2016, 2, 1)
LINE = {'api': None, 'child': 'api', 'grandchild': 'child'}
MIDDLE = 'child'
TARGET = 'api!child!grandchild'
IN_FLIGHT = 16

#: Asked: resident megabytes of an idle worker, and by how much they may grow.
MOST_IDLE = 120.0
MOST_GROWTH = 0.10

#: What a worker imports, one upon the other.
IMPORTS = (
    '',
    'oslo_config.cfg',
    'oslo_log.log',
    'oslo_messaging',
    'oslo_messaging._drivers.impl_rabbit',
    'sqlalchemy',
    'oslo_db.sqlalchemy.enginefacade',
    'alembic',
    'cells.rpcapi',
    'cells.cell',
    'oslo_service.service',
    'cells.cmd.daemon',
)


def resident(pid: int) -> tuple[float, float]:
    """Return the resident memory of a process, and what of it is its alone, in megabytes."""
    rollup = pathlib.Path('/proc/%d/smaps_rollup' % pid).read_text()
    sizes: dict[str, int] = {}
    for line in rollup.splitlines()[1:]:
        key, size = line.split()[:2]
        sizes[key] = int(size)
    private = sizes['Private_Clean:'] + sizes['Private_Dirty:']
    return sizes['Rss:'] / 1024, private / 1024


class Load:
    """Asks until told to stop."""

    def __init__(self, tree: deploy.Tree) -> None:
        self._api = tree.api('api')
        self._ctxt = deploy.admin()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(IN_FLIGHT)]

    def start(self) -> None:
        """Begin to ask."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._api.task_log_get_all(self._ctxt, 'audit', BEGIN, END, host=TARGET)


def received(ops) -> int:
    """Return how many messages a worker has taken in from other cells."""
    counters = ops.status(deploy.admin())['counters']
    return sum(count for key, count in counters.items() if key.startswith('messages_received'))


def measure(tree: deploy.Tree, messages: int) -> list[tuple[str, float, float]]:
    """Return (after how many messages, resident, private) at some moments."""
    (pid,) = tree[MIDDLE].worker_pids()
    ops = tree.ops(MIDDLE)
    time.sleep(5)
    found = [('start', *resident(pid))]
    load = Load(tree)
    load.start()
    for part in (0.01, 0.1, 0.25, 0.5, 0.75, 1.0):
        while (seen := received(ops)) < part * messages:
            time.sleep(0.5)
        found.append(('%d messages' % seen, *resident(pid)))
    load.stop()
    time.sleep(5)
    found.append(('%d messages, idle' % received(ops), *resident(pid)))
    return found


def imports() -> list[tuple[str, float]]:
    """Return (module, resident megabytes once it and all before it are imported)."""
    found = []
    for last in range(len(IMPORTS)):
        names = [name for name in IMPORTS[: last + 1] if name]
        code = '\n'.join(
            [
                'import warnings; warnings.simplefilter("ignore")',
                *('import %s' % name for name in names),
                'print(open("/proc/self/statm").read().split()[1])',
            ]
        )
        done = subprocess.run(
            [sys.executable, '-c', code], capture_output=True, text=True, check=True
        )
        pages = int(done.stdout)
        found.append((IMPORTS[last] or 'Python', pages * os.sysconf('SC_PAGE_SIZE') / 2**20))
    return found


def main() -> int:
    """Measure; exit code 1 when a worker needs more than is asked of it."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.memory', description=__doc__)
    parser.add_argument('--messages', type=int, default=100_000)
    parser.add_argument('--concurrency', choices=('threading', 'eventlet'), default='threading')
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)  # of the clients, when the broker goes at the end
    directory = pathlib.Path(tempfile.mkdtemp(prefix='cells-benchmark-'))
    directory.chmod(0o755)
    rabbit = servers.RabbitMQ(directory)
    try:
        rabbit.start()
        tree = deploy.Tree(
            directory / 'tree',
            rabbit,
            deploy.sqlite(directory),
            LINE,
            concurrency=args.concurrency,
            workers=1,
        )
        with tree.running():
            found = measure(tree, args.messages)
    finally:
        rabbit.kill()
        shutil.rmtree(directory, ignore_errors=True)
    return show(rich.console.Console(), args.concurrency, found)


def show(
    console: rich.console.Console, concurrency: str, found: list[tuple[str, float, float]]
) -> int:
    """Print the tables and return the exit code."""
    table = rich.table.Table(title='a worker under %s' % concurrency)
    for title in ('after', 'resident MB', 'of it private'):
        table.add_column(title, justify='left' if title == 'after' else 'right')
    for when, whole, private in found:
        table.add_row(when, '%.1f' % whole, '%.1f' % private)
    console.print(table)
    idle, last = found[0][1], found[-1][1]
    growth = last / idle - 1
    good = idle <= MOST_IDLE and growth <= MOST_GROWTH
    console.print(
        'idle %.1f MB (asked: ≤ %.0f), at the end %+.1f %% (asked: ≤ %.0f %%): %s'
        % (idle, MOST_IDLE, growth * 100, MOST_GROWTH * 100, 'yes' if good else 'NO')
    )
    table = rich.table.Table(title='what it imports')
    for title in ('module, upon those before', 'resident MB', 'more'):
        table.add_column(title, justify='left' if title.startswith('module') else 'right')
    before = 0.0
    for name, whole in imports():
        table.add_row(name, '%.1f' % whole, '%+.1f' % (whole - before))
        before = whole
    console.print(table)
    return 0 if good else 1


if __name__ == '__main__':
    code = main()
    sys.stdout.flush()
    os._exit(code)  # the clients' threads still look for the broker
