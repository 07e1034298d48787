"""What the large questions of a cell to its database cost, as a ratio to the same ones of a small.

    python -m benchmarks.stores

starts a PostgreSQL of its own and asks it and SQLite. A claim of the journal among 100,000
changes is compared with one among 1,000 (P1), the capacities of 10,000 hosts with those of
1,000. Exit code 1 when a ratio is over what is asked.
"""

import functools
import pathlib
import shutil
import statistics
import time
from collections.abc import Callable

import rich.console
import rich.table
import sqlalchemy as sa

from cells import host_capacity
from cells.db import claims, engine, inbox, migration, models
from tests import servers
from tests.conftest import open_directory

TIMES = 5
FEW, MANY = 1_000, 100_000
HOSTS_FEW, HOSTS_MANY = 1_000, 10_000
#: The instances that the changes are for, and how much a claim among MANY may cost.
SPREADS = ((20_000, 10.0), (100, 20.0), (1, 200.0))
HOSTS_ASKED = 15.0


def plan(database: engine.Database, number: int, instances: int) -> None:
    """Fill the inbox with so many changes of so many instances."""
    values = [
        {
            'uuid': 'u%06d' % one,
            'operation': 'start_instance',
            'envelope': '{}',
            'state': 'received',
            'attempts': 0,
            'claimed_until': 0.0,
            'received_at': 0.0,
            'instance_uuid': 'i%06d' % (one % instances),
            'ordering': '%09d' % one,
        }
        for one in range(number)
    ]
    table = models.Inbox.__table__
    with database.write() as connection:
        connection.execute(sa.delete(table))
        connection.execute(sa.insert(table), values)
    analyse(database)


def hosts(database: engine.Database, number: int) -> None:
    """Let the cell have so many hosts, each with one instance on it."""
    now = models.utcnow()
    names = ['h%d' % one for one in range(number)]
    service = {'binary': 'nova-compute', 'topic': 'compute', 'last_seen_up': now}
    node = {
        'hypervisor_hostname': 'n1',
        'hypervisor_type': 'fake',
        'hypervisor_version': 1,
        'vcpus': 16,
        'vcpus_used': 0,
        'memory_mb': 16384,
        'memory_mb_used': 0,
        'free_ram_mb': 16384,
        'local_gb': 100,
        'local_gb_used': 0,
        'free_disk_gb': 100,
        'cpu_info': '{}',
        'stats': '{}',
    }
    claim = {
        'node': 'n1',
        'kind': claims.INSTANCE,
        'memory_mb': 1024,
        'disk_gb': 1,
        'vcpus': 1,
        'created_at': 0.0,
    }
    with database.write() as connection:
        for table in (models.Service, models.ComputeNode, models.Claim):
            connection.execute(sa.delete(table))
        connection.execute(sa.insert(models.Service), [{**service, 'host': one} for one in names])
        connection.execute(
            sa.insert(models.ComputeNode), [{**node, 'host': one, 'uuid': one} for one in names]
        )
        connection.execute(
            sa.insert(models.Claim), [{**claim, 'host': one, 'instance_uuid': one} for one in names]
        )
    analyse(database)


def analyse(database: engine.Database) -> None:
    """Let the database count what it has, as it does by itself after a while."""
    with database.engine.connect() as connection:
        connection.execution_options(isolation_level='AUTOCOMMIT').exec_driver_sql('ANALYZE')


def seconds(ask: Callable[[], object]) -> float:
    """Return the median time of a question that has been asked once before."""
    ask()
    found = []
    for _ in range(TIMES):
        begun = time.perf_counter()
        ask()
        found.append(time.perf_counter() - begun)
    return statistics.median(found)


def claim(database: engine.Database) -> None:
    """Claim a batch as a worker does, and give it back."""
    with database.write() as connection:
        found = inbox.inbox_claim(connection, 'w', 30, 16)
        inbox.inbox_release(connection, [row['id'] for row in found], 'w')


def main() -> int:
    """Measure and print; exit code 0 if all is as asked."""
    directory = open_directory()
    table = rich.table.Table('what', 'database', 'ms', 'ratio', 'asked', title='large questions')
    postgresql = servers.PostgreSQL(directory)
    missed = False
    try:
        postgresql.start()
        urls = (
            'sqlite:///%s' % (pathlib.Path(directory) / 'cells.sqlite'),
            postgresql.create_database('bench'),
        )
        for url in urls:
            database = engine.Database(url)
            migration.sync(database)
            lines = []
            for instances, asked in SPREADS:
                plan(database, FEW, instances)
                base = seconds(functools.partial(claim, database))
                plan(database, MANY, instances)
                took = seconds(functools.partial(claim, database))
                lines.append(('claim, %d instances' % instances, base, took, asked))
            count = functools.partial(host_capacity.own_capacities, database, 0.0, 60)
            hosts(database, HOSTS_FEW)
            base = seconds(count)
            hosts(database, HOSTS_MANY)
            lines.append(('capacities', base, seconds(count), HOSTS_ASKED))
            for what, base, took, asked in lines:
                missed |= took / base > asked
                table.add_row(
                    what,
                    database.dialect,
                    '%.1f' % (took * 1000),
                    '%.1f' % (took / base),
                    '≤ %g' % asked,
                )
            database.dispose()
    finally:
        postgresql.stop()
        shutil.rmtree(directory, ignore_errors=True)
    rich.console.Console().print(table)
    return 1 if missed else 0


if __name__ == '__main__':
    raise SystemExit(main())
