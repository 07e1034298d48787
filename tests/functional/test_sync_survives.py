"""What happens to instances gets to the top whoever dies on the way, and however much it is."""

import os
import random
import signal
import sys
import time
import tracemalloc

import orjson
import pytest

from cells import sightings, sync
from cells.db import (
    engine,
    instances,
    migration,
    unsent,
)
from cells.messages import Response
from cells.stats import Stats
from tests import deploy, replication
from tests.sync_tree import VALUES, numbered


class Direct:
    """Stands for the runner and all between a cell and the top."""

    def __init__(self, top, before=lambda: None, after=lambda: None):
        self.top = top
        self.before = before
        self.after = after

    def ask_above(self, operation, parent, kwargs, seconds, on_complete):
        self.before()
        items = orjson.loads(orjson.dumps(kwargs['items']))
        answer = self.top.take(items)
        self.after()
        on_complete([Response('leaf!top', answer)])


class OneParent:
    """Stands for what a cell knows of its place."""

    class Topology:
        parents = {'top': None}

    class Sightings:
        @staticmethod
        def is_plain(name):
            return False

    topology, sightings = Topology, Sightings

    @staticmethod
    def sighting(name):
        return sightings.Sighting(heard=time.monotonic())


def up_sync(database, runner):
    return sync.UpSync(
        database=database,
        worker='w',
        runner=runner,
        state=OneParent,
        stats=Stats(),
        object_release='liberty',
        max_message_bytes=8 * 1024 * 1024,
    )


def below(workdir, name='child'):
    database = engine.Database('sqlite:///%s' % (workdir / (name + '.sqlite')), replicates=True)
    migration.sync(database)
    return database


def above(workdir):
    database = engine.Database('sqlite:///%s' % (workdir / 'top.sqlite'))
    migration.sync(database)
    return database


def test_p6_memory_does_not_grow_with_what_waits(workdir):
    peaks = []
    for number in (500, 5000):
        (workdir / str(number)).mkdir()
        child = below(workdir / str(number))
        top = replication.Top(above(workdir / str(number)))
        with child.write() as connection:
            for index in range(number):
                values = {**VALUES, 'uuid': numbered(index), 'user_data': 'x' * 2000}
                instances.instance_create(connection, values)
        one = up_sync(child, Direct(top))
        tracemalloc.start()
        one.start()
        deploy.wait_until(lambda child=child: not unsent.summary(child)['rows'], 120, 'all is told')
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        one.stop()
        child.dispose()
        top.database.dispose()
    assert peaks[1] < peaks[0] * 1.3


@pytest.mark.skipif(sys.platform != 'linux', reason='it forks')
def test_s13_a_process_that_is_killed_a_hundred_times_loses_nothing(workdir):
    child, top = below(workdir), above(workdir)
    uuids = [numbered(number) for number in range(20)]
    with child.write() as connection:
        for uuid in uuids:
            instances.instance_create(connection, {**VALUES, 'uuid': uuid})
    chance = random.Random(13)
    ends = []
    for _ in range(100):
        child.dispose()
        top.dispose()
        seed = chance.random()
        pid = os.fork()
        if not pid:
            _live_and_die(workdir, seed, uuids)
        ends.append(os.waitpid(pid, 0)[1])
    assert ends == [signal.SIGKILL] * 100
    left = replication.Child(child).dirty()
    assert left  # or nothing was lost on the way
    one = up_sync(child, Direct(replication.Top(top)))
    one.start()
    deploy.wait_until(lambda: not unsent.summary(child)['rows'], 30, 'all is told')
    one.stop()
    for uuid in uuids:
        found = replication.record(child, uuid)
        assert found is not None
        assert found == replication.record(top, uuid)
    assert {replication.column(child, uuid, 'progress') for uuid in uuids} != {None}
    child.dispose()
    top.dispose()


def _live_and_die(workdir, seed, uuids):
    """Change instances, begin to tell of it, and be killed at some point of that."""
    chance = random.Random(seed)

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    child = below(workdir)
    for uuid in chance.sample(uuids, 5):
        with child.write() as connection:
            values = {'progress': chance.randrange(1000), 'vm_state': chance.choice('abcd')}
            instances.instance_update(connection, uuid, values)
    where = chance.randrange(4)
    if where == 0:
        die()
    top = replication.Top(above(workdir))
    runner = Direct(top, die if where == 1 else lambda: None, die if where == 2 else lambda: None)
    one = up_sync(child, runner)
    one.start()
    time.sleep(0.05 + chance.random() * 0.1)
    die()
