"""How fast what happens to instances gets to the top of the tree.

    python -m benchmarks.sync [--number 10000] [--repetitions 3] [--in-process | --over-rabbit]

A dirty set of so many distinct instances is drained, and both sides count: who reads and sends,
and who writes at the top. Cases: one field of each has changed, and everything has.

In one process: a cell and the top over the fake driver and SQLite; asked is a rate on one
machine. Over RabbitMQ and PostgreSQL, each in a process of its own; what is asked is a ratio to
the rate of bare casts of oslo.messaging in the same run, sent by one thread and consumed by a
stock server, so that it says something on any machine. A plain parent is such a stock server
too, which reads the envelopes of a nova-cells.
Exit code 1 when what is asked is not reached.
"""

import argparse
import collections
import json
import logging
import pathlib
import statistics
import sys
import tempfile
import time
import uuid

import rich.console
import rich.table
import sqlalchemy as sa

from benchmarks import counter, skeleton
from benchmarks.__main__ import Processes
from cells.db import engine, instances, models, neighbours, unsent
from cells.objects import flavor
from cells.objects.instance import InstanceInfoCache
from tests import deploy, fake_cells, servers

#: Asked: instances a second in one process, and ratios to bare casts.
LEAST_RATE = 2000.0
LEAST_OURS = 1.0
LEAST_PLAIN = 0.25
#: What has changed; None for everything.
CASES = {'one field': ('vm_state', 'task_state'), 'everything': None}

_ROWS = models.Instance.__table__.c


def fill(database: engine.Database, number: int, synced: bool) -> None:
    """Write instances.

    :param synced: as if the top had them already.
    """
    uuids = [str(uuid.UUID(int=index)) for index in range(number)]
    fields = {
        'system_metadata': {'image_os': 'linux', 'image_base': str(uuid.uuid4())},
        'flavor': flavor.Flavor(id=1, name='m1.small', memory_mb=2048, vcpus=1, root_gb=20),
        'info_cache': InstanceInfoCache(
            instance_uuid=uuids[0],
            network_info=[{'id': str(uuid.uuid4()), 'address': 'fa:16:3e:00:00:01', 'type': 'ovs'}],
        ),
    }
    for start in range(0, number, 500):
        with database.write() as connection:
            for one in uuids[start : start + 500]:
                values = {
                    'uuid': one,
                    'project_id': uuid.uuid4().hex,
                    'user_id': uuid.uuid4().hex,
                    'display_name': 'vm-%s' % one[-6:],
                    'host': 'compute-1',
                    'node': 'compute-1',
                    'memory_mb': 2048,
                    'vcpus': 1,
                    'root_gb': 20,
                    'vm_state': 'building',
                    'image_ref': str(uuid.uuid4()),
                }
                instances.instance_create(connection, values, {'role': 'web'}, fields)
            if synced:
                connection.execute(sa.delete(models.Dirty))


def change(database: engine.Database, names: tuple[str, ...] | None, turn: int) -> None:
    """Change all instances, as one transaction of each would: the rows, the counts, the marks."""
    values = {'vm_state': 'state-%d' % turn, 'task_state': None}
    with database.write() as connection:
        connection.execute(sa.update(models.Instance).values(sync_seq=_ROWS.sync_seq + 1, **values))
        text = '*' if names is None else ','.join(names)
        marks = sa.select(
            _ROWS.uuid,
            sa.literal('instance'),
            sa.literal(''),
            sa.literal(text),
            _ROWS.sync_epoch,
            _ROWS.sync_seq,
            engine.now(),
            sa.literal(0),
            sa.literal(0.0),
        )
        columns = models.Dirty.__table__.c
        into = ('instance_uuid', 'part', 'key', 'names', 'epoch', 'seq', 'marked_at', 'attempts')
        connection.execute(sa.delete(models.Dirty))
        connection.execute(
            sa.insert(models.Dirty).from_select(
                [columns[name] for name in (*into, 'claimed_until')], marks
            )
        )


def some_left(database: engine.Database) -> bool:
    """Tell whether a dirty set is not empty; costs what is measured next to nothing."""
    query = sa.select(models.Dirty.instance_uuid).where(models.Dirty.part != unsent.CLOSING)
    with database.read() as connection:
        return connection.execute(query.limit(1)).first() is not None


def drained(database: engine.Database, seconds: float = 300.0) -> float:
    """Wait until a dirty set is empty; return instances a second from the first that was gone."""
    first = None
    until = time.monotonic() + seconds
    number = unsent.summary(database)['rows']
    while first is None or some_left(database):
        if first is None and (left := unsent.summary(database)['rows']) < number:
            first = (left, time.monotonic())
        if time.monotonic() > until:
            raise SystemExit('some instances are still not told of')
        time.sleep(0.02)
    return first[0] / max(time.monotonic() - first[1], 1e-9)


def in_process(number: int, repetitions: int) -> dict[str, list[float]]:
    """Measure in one process; return rates by case."""
    rates: dict[str, list[float]] = collections.defaultdict(list)
    with tempfile.TemporaryDirectory(prefix='cells-benchmark-') as directory:
        tree = fake_cells.FakeTree(pathlib.Path(directory), {'top': None, 'leaf': 'top'})
        with tree.running():
            database = tree['leaf'].database
            fill(database, number, synced=False)
            tree['leaf'].wake()
            while some_left(database):
                time.sleep(0.1)
            for turn in range(repetitions):
                for case, names in CASES.items():
                    change(database, names, turn)
                    begun = time.monotonic()
                    tree['leaf'].wake()
                    while some_left(database):
                        time.sleep(0.02)
                    rates['in process, ' + case].append(number / (time.monotonic() - begun))
                    _check(tree['top'].database, number, turn)
    return rates


def _check(top: engine.Database, number: int, turn: int) -> None:
    with top.read() as connection:
        query = sa.select(sa.func.count()).where(_ROWS.vm_state == 'state-%d' % turn)
        found = connection.execute(query).scalar()
    if found != number:
        raise SystemExit('the top has the newest state of %d instances of %d' % (found, number))


class OverRabbit:
    """A cell below the top, and one below a plain parent, over RabbitMQ and PostgreSQL."""

    def __init__(self, directory: pathlib.Path, number: int) -> None:
        self._number = number
        self._rabbit = servers.RabbitMQ(directory)
        self._postgresql = servers.PostgreSQL(directory)
        self._processes = Processes('threading', directory / 'processes.log')
        self._directory = directory

    def __enter__(self) -> 'OverRabbit':
        self._rabbit.start()
        self._postgresql.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._processes.stop()
        self._rabbit.kill()
        self._postgresql.kill()

    def _tree(self, name: str, cells: dict[str, str | None]) -> deploy.Tree:
        return deploy.Tree(
            self._directory / name,
            self._rabbit,
            self._postgresql.create_database,
            cells,
            workers=1,
            prefix=name + '_',
        )

    def _start(self, deployed: deploy.DeployedCell) -> None:
        self._processes.start('cells_process', str(deployed.conf_file))

    def casts(self, queue_type: str, size: int, repetitions: int) -> list[float]:
        """Return rates of bare casts, sent and consumed."""
        vhost = 'bare-' + queue_type
        self._rabbit.add_vhosts([vhost])
        url = self._rabbit.url(vhost)
        self._processes.start('counter', url, queue_type, 'bare', 'bare')
        transport = counter.transport(url, queue_type, 'bare')
        bare = skeleton.client(transport, 'bare')
        text = json.dumps({'text': 'x' * size})
        rates = []
        for _ in range(repetitions):
            before = self._counted(transport)
            begun = time.monotonic()
            for _ in range(self._number):
                bare.cast({}, 'process_message', message=text)
            while self._counted(transport) < before + self._number:
                time.sleep(0.02)
            rates.append(self._number / (time.monotonic() - begun))
        transport.cleanup()
        self._processes.stop()
        return rates

    def _counted(self, transport) -> int:
        return skeleton.client(transport, counter.COUNT_TOPIC).call({}, 'counted')

    def ours(self, repetitions: int) -> dict[str, list[float]]:
        """Return rates to a parent of our kind, by case."""
        tree = self._tree('ours', {'top': None, 'leaf': 'top'})
        below, above = (
            engine.Database(tree[name].database_url, replicates=name == 'leaf')
            for name in ('leaf', 'top')
        )
        fill(below, self._number, synced=False)
        self._start(tree['top'])
        self._start(tree['leaf'])
        rates: dict[str, list[float]] = collections.defaultdict(list)
        deploy.wait_until(lambda: not unsent.summary(below)['rows'], 300, 'all is at the top')
        for turn in range(repetitions):
            for case, names in CASES.items():
                change(below, names, turn)
                rates['to ours, ' + case].append(drained(below))
                _check(above, self._number, turn)
        self._processes.stop()
        return rates

    def plain(self, repetitions: int) -> dict[str, list[float]]:
        """Return rates to a plain parent, by case."""
        tree = self._tree('plain', {'top': None, 'leaf': 'top'})
        url = tree['top'].transport_url
        self._processes.start('counter', url, 'classic', 'nova', 'cells.intercell.broadcast')
        below = engine.Database(tree['leaf'].database_url, replicates=True)
        fill(below, self._number, synced=True)
        seen = {
            'name': 'top',
            'protocol': 0,
            'plain_in_a_row': 1,
            'last_plain_at': time.time(),
            'last_seen': time.time(),
            'cell_id': None,
            'clock_offset': None,
        }
        neighbours.reports_save(below, [seen])
        self._start(tree['leaf'])
        transport = counter.transport(url, 'classic', 'nova')
        rates: dict[str, list[float]] = collections.defaultdict(list)
        for turn in range(repetitions):
            for case, names in CASES.items():
                change(below, names, turn)
                before = self._counted(transport)
                first = None
                while (came := self._counted(transport) - before) < self._number:
                    if first is None and came:
                        first = (came, time.monotonic())
                    time.sleep(0.02)
                assert first is not None
                seconds = time.monotonic() - first[1]
                rates['to a plain one, ' + case].append((self._number - first[0]) / seconds)
        transport.cleanup()
        return rates


def over_rabbit(number: int, repetitions: int) -> dict[str, list[float]]:
    """Measure over RabbitMQ and PostgreSQL; return rates by case."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix='cells-benchmark-'))
    directory.chmod(0o755)
    rates: dict[str, list[float]] = {}
    with OverRabbit(directory, number) as bench:
        for queue_type in ('quorum', 'classic'):
            rates['bare casts, ' + queue_type] = bench.casts(queue_type, 500, repetitions)
        rates.update(bench.ours(repetitions))
        rates.update(bench.plain(repetitions))
    return rates


def main() -> int:
    """Measure; exit code 1 when something misses what is asked of it."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.sync', description=__doc__)
    parser.add_argument('--number', type=int, default=10_000, help='how many instances')
    parser.add_argument('--repetitions', type=int, default=3)
    parser.add_argument('--in-process', action='store_true', help='only that')
    parser.add_argument('--over-rabbit', action='store_true', help='only that')
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    rates: dict[str, list[float]] = {}
    if not args.over_rabbit:
        rates.update(in_process(args.number, args.repetitions))
    if not args.in_process:
        rates.update(over_rabbit(args.number, args.repetitions))
    table = rich.table.Table(title='%d instances, median of %d' % (args.number, args.repetitions))
    for title in ('case', 'per second', 'lowest to highest', 'of bare casts', 'asked'):
        table.add_column(title)
    medians = {case: statistics.median(found) for case, found in rates.items()}
    missed = 0
    for case, found in rates.items():
        ratio, asked = None, ''
        if case.startswith('in process'):
            asked, missed = _asked(medians[case], LEAST_RATE, '%.0f', missed)
        elif case.startswith('to'):
            plain = case.startswith('to a plain')
            ratio = medians[case] / medians['bare casts, ' + ('classic' if plain else 'quorum')]
            asked, missed = _asked(ratio, LEAST_PLAIN if plain else LEAST_OURS, '%.2f', missed)
        table.add_row(
            case,
            '%.0f' % medians[case],
            '%.0f to %.0f' % (min(found), max(found)),
            '' if ratio is None else '%.2f' % ratio,
            asked,
        )
    rich.console.Console(width=110).print(table)
    return 1 if missed else 0


def _asked(found: float, least: float, form: str, missed: int) -> tuple[str, int]:
    reached = found >= least
    return '≥ %s %s' % (form % least, 'yes' if reached else 'NO'), missed + (not reached)


if __name__ == '__main__':
    sys.exit(main())
