"""Deletions that race with builds: neither a machine without a record, nor the other way (S5).

``CELLS_TEST_PAIRS`` sets how many pairs there are (10,000 in the nightly profile), and
``CELLS_TEST_SEED`` replays a run.
"""

import concurrent.futures
import os
import random
import threading
import time

import pytest
import sqlalchemy as sa

from cells import context, exceptions, messages, rpcapi
from cells.db import faults, flavors, instances, journal, models, placements
from cells.drivers import fake
from cells.objects.flavor import Flavor
from cells.objects.instance import Instance
from tests import building, deploy, fake_agents, fake_cells, replication
from tests.unit import builders

NIGHTLY = os.environ.get('CELLS_TEST_PROFILE') == 'nightly'
PAIRS = int(os.environ.get('CELLS_TEST_PAIRS', '10000' if NIGHTLY else '80'))
SEED = int(os.environ.get('CELLS_TEST_SEED', str(random.randrange(10**6))))
PARENTS = {'top': None, 'left': 'top', 'mid': 'top', 'right': 'mid'}
LEAVES = ('left', 'right')
INSTANCES = models.Instance.__table__
SMALL = Flavor(
    id=1, name='small', flavorid='1', memory_mb=512, root_gb=1, vcpus=1, ephemeral_gb=0, swap=0
)
ONE = '11111111-1111-4111-8111-111111111111'


def admin():
    return context.RequestContext('u1', 'p1', is_admin=True)


def new_instance(uuid=None):
    return Instance(
        uuid=uuid or messages.new_uuid(),
        display_name='vm',
        hostname='vm',
        project_id='p1',
        user_id='u1',
        image_ref='image-1',
        instance_type_id=1,
        memory_mb=512,
        vcpus=1,
        root_gb=1,
        ephemeral_gb=0,
        flavor=SMALL,
        metadata={},
        system_metadata={},
    )


class Cloud:
    """A tree with hosts in two cells, one of which is slow."""

    def __init__(self, workdir, tree) -> None:
        self.workdir = workdir
        self.tree = tree
        self.agents = {
            name: fake_agents.FakeAgents(
                workdir,
                name,
                fake_memory_mb=4 * 1024 * 1024,
                fake_local_gb=100_000,
                fake_vcpus=4096,
                fake_delays=['*:0.2-1.5' if name == 'right' else '*:0-0.1'],
            )
            for name in LEAVES
        }
        conf = fake_cells.conf_of(workdir, 'top', cell_type='api')
        self.api = rpcapi.CellsAPI.from_conf(conf)
        self.records = rpcapi.InstancesAPI.from_conf(conf)

    def start(self) -> None:
        for name in PARENTS:
            with self.tree[name].database.write() as connection:
                flavors.flavor_create(
                    connection,
                    {'name': 'small', 'flavorid': '1', 'memory_mb': 512, 'root_gb': 1, 'vcpus': 1},
                )
        for name, agents in self.agents.items():
            agents.start('%s-host' % name)
        deploy.wait_until(self._is_known, 30, 'the hosts are known at the top')

    def _is_known(self) -> bool:
        top = self.tree['top']
        return all(
            top.state.sighting(name).capacities.get('ram_free', {}).get('total_mb', 0) > 0
            for name in ('left', 'mid')
        )

    def stop(self) -> None:
        for agents in self.agents.values():
            for host in list(agents.running):
                agents.stop(host)

    def build(self, instance) -> None:
        self.api.build_instances(
            admin(),
            instances=[instance],
            image={},
            filter_properties={'instance_type': SMALL, 'scheduler_hints': {}},
            admin_password='secret',
            injected_files=[],
            requested_networks=None,
            security_groups=['default'],
            block_device_mapping=[],
        )

    def delete(self, uuid) -> None:
        """Delete an instance as an API service does."""
        try:
            found = self.records.get(admin(), uuid)
        except exceptions.InstanceNotFound:
            return
        if found.cell_name:
            self.records.save(admin(), uuid, {'task_state': 'deleting'})
            self.api.terminate_instance(admin(), found, [])
        else:
            self.api.instance_delete_everywhere(admin(), found, 'hard')

    def machines(self) -> set[str]:
        return {
            uuid
            for agents in self.agents.values()
            for host in agents.running
            for uuid in agents.power_states(host)
        }

    def living(self, name) -> dict[str, tuple[str, str]]:
        query = sa.select(INSTANCES.c.uuid, INSTANCES.c.vm_state, INSTANCES.c.task_state)
        with self.tree[name].database.read() as connection:
            found = connection.execute(query.where(INSTANCES.c.deleted == 0)).all()
        return {row.uuid: (row.vm_state, row.task_state) for row in found}

    def at_work(self) -> int:
        """Return how many builds are on their way."""
        number = 0
        for name in PARENTS:
            columns = models.Placement.__table__.c
            query = sa.select(sa.func.count()).where(columns.state.in_(placements.OPEN))
            with self.tree[name].database.read() as connection:
                number += connection.execute(query).scalar_one()
        return number


@pytest.fixture
def cloud(workdir):
    with fake_cells.FakeTree(workdir, PARENTS, call_timeout=10).running() as tree:
        found = Cloud(workdir, tree)
        try:
            found.start()
            yield found
        finally:
            found.stop()


@pytest.mark.timeout(300 + PAIRS)
def test_s5_pairs_of_create_and_delete_leave_nothing_behind(cloud, record_property, capsys):
    record_property('seed', SEED)
    with capsys.disabled():
        print(' seed %d' % SEED, end='')
    chance = random.Random(SEED)
    plans = [
        (chance.choice((0.0, 0.0, 0.02, 0.3, 2.0)), chance.random() < 0.15) for _ in range(PAIRS)
    ]
    over = threading.Event()

    def disturb():
        # The slow cell does not even hear, now and then.
        while not over.wait(1.0):
            fake.hold(fake_cells.address(cloud.workdir, 'right'))
            over.wait(0.7)
            fake.hold(fake_cells.address(cloud.workdir, 'right'), silent=False)

    def pair(plan):
        delay, reordered = plan
        instance = new_instance()
        cloud.records.create(admin(), [instance])
        if reordered:  # the deletion comes before the build that it is for
            cloud.delete(instance.uuid)
            time.sleep(delay)
            cloud.build(instance)
        else:
            cloud.build(instance)
            time.sleep(delay)
            cloud.delete(instance.uuid)

    disturbance = threading.Thread(target=disturb)
    disturbance.start()
    try:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(pair, plans))
    finally:
        over.set()
        disturbance.join()
        fake.hold(fake_cells.address(cloud.workdir, 'right'), silent=False)

    def nothing():
        return not (
            cloud.machines() or cloud.at_work() or any(cloud.living(name) for name in PARENTS)
        )

    try:
        # What is forgotten on the way is found by the sweep, see there.
        deploy.wait_until(nothing, 120 + PAIRS / 20, 'nothing is left')
    except AssertionError:
        raise AssertionError(
            'seed %d: machines %s, builds %d, %s'
            % (
                SEED,
                cloud.machines(),
                cloud.at_work(),
                {name: cloud.living(name) for name in PARENTS},
            )
        ) from None
    # And nothing comes back.
    time.sleep(2)
    assert nothing()


# -- what each cell does --


@pytest.fixture
def tree(workdir):
    with fake_cells.FakeTree(workdir, PARENTS).running() as found:
        yield found


def everywhere(tree, kind='hard', uuid=ONE, **ctxt):
    tree.api('top').instance_delete_everywhere(
        context.RequestContext('u1', 'p1', **ctxt), new_instance(uuid), kind
    )


def record(tree, name='top', **values):
    given = {'uuid': ONE, 'project_id': 'p1', 'user_id': 'u1', 'vm_state': 'building', **values}
    with tree[name].database.write() as connection:
        instances.instance_create(connection, given)
    tree[name].wake()


def buried(tree, name, uuid=ONE):
    with tree[name].database.read() as connection:
        return building.tombstone(connection, uuid)


def test_s5_a_deletion_of_what_no_cell_has_leaves_a_tombstone_in_each(tree):
    record(tree, task_state='scheduling')
    everywhere(tree)
    for name in PARENTS:
        deploy.wait_until(lambda name=name: buried(tree, name), 10, '%s knows' % name)
    assert replication.column(tree['top'].database, ONE, 'deleted')
    assert replication.column(tree['top'].database, ONE, 'vm_state') == 'deleted'
    assert replication.column(tree['top'].database, ONE, 'task_state') is None
    # It comes twice, and changes nothing.
    everywhere(tree)
    time.sleep(0.5)
    assert 'inbox.failed' not in {key for name in PARENTS for key in _counts(tree[name])}


def _counts(cell):
    return journal.counts(cell.database)


def test_a_soft_deletion_keeps_the_record_at_the_top(tree):
    record(tree)
    everywhere(tree, 'soft')
    deploy.wait_until(
        lambda: replication.column(tree['top'].database, ONE, 'vm_state') == 'soft-delete',
        10,
        'it is soft-deleted',
    )
    assert not replication.column(tree['top'].database, ONE, 'deleted')


def test_s5_a_deletion_finds_the_instance_in_whatever_cell_it_is(tree):
    """The record at the top does not say where it is."""
    record(tree, 'right', vm_state='active')
    deploy.wait_until(
        lambda: replication.column(tree['top'].database, ONE, 'cell_name'), 10, 'it is known'
    )
    with tree['top'].database.write() as connection:
        connection.execute(sa.update(INSTANCES).values(cell_name=None))
    everywhere(tree)
    deploy.wait_until(
        lambda: replication.column(tree['right'].database, ONE, 'deleted'), 10, 'it is deleted'
    )
    deploy.wait_until(
        lambda: replication.column(tree['top'].database, ONE, 'deleted'), 10, 'also at the top'
    )


def test_a_record_whose_cell_is_known_goes_when_the_cell_says_so(tree):
    record(tree, 'left', vm_state='active')
    deploy.wait_until(
        lambda: replication.column(tree['top'].database, ONE, 'cell_name'), 10, 'it is known'
    )
    everywhere(tree)
    deploy.wait_until(
        lambda: replication.column(tree['top'].database, ONE, 'deleted'), 10, 'it is gone'
    )
    assert replication.column(tree['left'].database, ONE, 'deleted')


def test_t5_a_deletion_that_a_cell_refuses_is_seen_at_the_top_and_goes_on_to_the_others(tree):
    record(tree, 'left', vm_state='active', locked=True, locked_by='admin')
    deploy.wait_until(
        lambda: replication.column(tree['top'].database, ONE, 'cell_name'), 10, 'it is known'
    )
    everywhere(tree)
    found = deploy.wait_until(lambda: faults_at_top(tree), 10, 'there is a fault')
    assert 'is locked (in cell top!left)' in found[0]['message']
    assert not replication.column(tree['left'].database, ONE, 'deleted')
    for name in ('mid', 'right'):
        deploy.wait_until(lambda name=name: buried(tree, name), 10, '%s knows' % name)


def faults_at_top(tree):
    return faults.fault_get_all(tree['top'].database, ONE)


@pytest.mark.parametrize('instance', [None, 'x', 7, {}, {'uuid': 5}, {'uuid': 'x' * 40}])
def test_a_deletion_of_nothing_is_refused_by_name(tree, instance):
    dispatcher = tree['top'].runner._changes._dispatcher
    message = builders.broadcast(
        'top',
        'down',
        method_name='instance_delete_everywhere',
        method_kwargs={'instance': instance},
    )
    with (
        pytest.raises(exceptions.Invalid, match='instance'),
        tree['top'].database.write() as connection,
    ):
        dispatcher.change(connection, message)
