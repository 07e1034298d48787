"""Instances in a whole cloud: real processes, RabbitMQ and PostgreSQL, and faults at random.

An API cell, a middle cell and two compute cells with two hosts each, two workers per cell. All
is built, everything is done with it, and afterwards the top is what the cells are, nothing is
left over and of each order somebody can tell what became of it.

``CELLS_TEST_SEED`` replays a run, ``CELLS_TEST_INSTANCES`` sets how many instances there are.
"""

import concurrent.futures
import os
import shutil
import time

import pytest

from cells.cmd import demo_actions
from tests import chaos, deploy, world
from tests.conftest import open_directory

INSTANCES = int(os.environ.get('CELLS_TEST_INSTANCES', '60'))
TIMES = 5
#: Seconds within which all is in order again after the last fault, whatever it was.
BOUND = 180.0


@pytest.fixture(scope='module')
def cloud(rabbit, postgresql):
    directory = open_directory()
    found = world.World(directory, rabbit, postgresql.create_database, prefix='instances_')
    try:
        found.start()
        yield found
    finally:
        found.stop()
        shutil.rmtree(directory, ignore_errors=True)


def in_order(cloud, seconds):
    """Wait until nothing is wrong any more; return how long that took."""
    begun = time.monotonic()
    wrong = []

    def fine():
        wrong[:] = cloud.differences() + cloud.unaccounted()
        return not wrong

    try:
        deploy.wait_until(fine, seconds, 'all is in order')
    except AssertionError:
        raise AssertionError('%d are wrong:\n%s' % (len(wrong), '\n'.join(wrong[:40]))) from None
    return time.monotonic() - begun


def test_everything_is_done_and_known_through_faults_at_random(
    cloud, rabbit, postgresql, record_property, capsys
):
    seed = chaos.seed()
    record_property('seed', seed)

    def say(line):
        with capsys.disabled():
            print('\n  [seed %d] %s' % (seed, line), end='', flush=True)

    say('%d instances' % INSTANCES)
    begun = time.monotonic()
    outcomes = []
    with chaos.Chaos(
        seed,
        cells=list(cloud.tree.cells.values()),
        agents=cloud.all_agents,
        broker=rabbit,
        database=postgresql,
        pause=(2, 6),
        log=say,
    ) as faults:
        uuids = [cloud.build('vm-%d' % number) for number in range(INSTANCES)]
        cloud.wait_settled(uuids, {'active'}, BOUND)
        say('built after %.0f s' % (time.monotonic() - begun))
        plan = world.plan(seed, uuids, demo_actions.courses(world.LARGE), TIMES)

        def live(uuid):
            found = []
            for course in plan[uuid]:
                found.append((course.name, cloud.run_course(uuid, course, BOUND)))
                if found[-1][1] != 'done':
                    cloud.recover(uuid, BOUND)
            return found

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            for found in pool.map(live, uuids):
                outcomes += found
        for name, outcome in outcomes:
            if outcome != 'done':
                say('%s: %s' % (name, outcome))
        say('all courses run after %.0f s' % (time.monotonic() - begun))
    chaos.wait_for_life(list(cloud.tree.cells.values()))
    hung = [one for one in outcomes if 'no end after' in one[1]]
    assert not hung, hung
    done = [one for one in outcomes if one[1] == 'done']
    say('%d of %d courses to their end, %d faults' % (len(done), len(outcomes), len(faults.faults)))
    assert len(done) >= len(outcomes) * 0.5, [one for one in outcomes if one[1] != 'done']
    say('in order after %.0f s more' % in_order(cloud, BOUND))

    for uuid in uuids:
        record = cloud.record(uuid)
        cloud.order(
            'delete', uuid, lambda ctxt, r=record: cloud.api.terminate_instance(ctxt, r, None)
        )
    deploy.wait_until(
        lambda: not world.patiently(lambda: cloud.records.list(world.admin(), limit=1000)),
        BOUND,
        'all are gone',
    )
    in_order(cloud, BOUND)
    assert not [uuid for agent in cloud.all_agents for uuid in world.machines_of(agent)]
    for one in cloud.tree.cells.values():
        assert 'Traceback' not in one.log(), one.log()[one.log().index('Traceback') - 2000 :][:6000]
