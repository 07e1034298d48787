"""How many actions on instances a tree carries out in a second, from the client back to the top.

    python -m benchmarks.actions [--actions N]

starts a RabbitMQ and a PostgreSQL of its own, an API cell, a middle cell and two compute cells
with two hosts each, two workers per cell: real processes. An action is over when the history at
the top says so: client -> child -> agent -> done -> top. Asked: at least 40 per second.
"""

import argparse
import pathlib
import shutil
import time

import rich.console
import rich.table
import sqlalchemy as sa

from cells.db import engine, models
from tests import deploy, servers, world
from tests.conftest import open_directory

INSTANCES = 48
ASKED = 40
SECONDS = 300


def over(database: engine.Database) -> int:
    """Return how many actions the top knows to be over, all without an error."""
    actions = models.InstanceAction.__table__.c
    with database.read() as connection:
        failed = sa.select(sa.func.count()).where(actions.message.is_not(None))
        assert not connection.execute(failed).scalar_one(), 'an action failed'
        done = sa.select(sa.func.count()).where(
            actions.finish_time.is_not(None), actions.action == 'reboot'
        )
        return connection.execute(done).scalar_one()


def measure(directory: pathlib.Path, number: int) -> tuple[float, float]:
    """Return the actions per second, and the builds per second on the way there."""
    rabbit, postgresql = servers.RabbitMQ(directory), servers.PostgreSQL(directory)
    rabbit.start()
    postgresql.start()
    cloud = world.World(
        directory,
        rabbit,
        postgresql.create_database,
        prefix='bench_',
        delays='',
    )
    try:
        cloud.start()
        begun = time.monotonic()
        uuids = [cloud.build('vm-%d' % index) for index in range(INSTANCES)]
        cloud.wait_settled(uuids, {'active'}, SECONDS)
        builds = INSTANCES / (time.monotonic() - begun)
        records = [cloud.record(uuid) for uuid in uuids]
        database = cloud.tree['api'].database()
        begun = time.monotonic()
        rounds = number // INSTANCES
        for _ in range(rounds):
            for record in records:
                cloud.api.reboot_instance(world.admin(), record, None, 'HARD')
        deploy.wait_until(lambda: over(database) >= rounds * INSTANCES, SECONDS, 'all are over')
        rate = rounds * INSTANCES / (time.monotonic() - begun)
        database.dispose()
    finally:
        cloud.stop()
        postgresql.stop()
        rabbit.stop()
    return rate, builds


def main() -> int:
    """Measure and print; exit code 0 if it is as asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--actions', type=int, default=480, help='how many (default: 480)')
    directory = open_directory()
    try:
        rate, builds = measure(directory, parser.parse_args().actions)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    table = rich.table.Table('what', 'per second', 'asked', title='from the client back to the top')
    table.add_row('builds', '%.1f' % builds, '')
    table.add_row('hard reboots', '%.1f' % rate, '≥ %d' % ASKED)
    rich.console.Console().print(table)
    return 0 if rate >= ASKED else 1


if __name__ == '__main__':
    raise SystemExit(main())
