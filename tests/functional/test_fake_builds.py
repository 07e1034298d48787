"""Builds in whole trees in this process, over hosts that do as they are told.

Times are shortened; nothing but the hosts is replaced.
"""

import collections
import contextlib
import time

import pytest
import sqlalchemy as sa
from oslo_config import cfg

from cells import (
    build_choice,
    build_watch,
    cell,
    configured,
    context,
    exceptions,
    host_capacity,
    messages,
    parts,
    paths,
    reports,
    sightings,
    wire,
)
from cells.db import drains, engine, faults, migration, models, neighbours, tombstones
from cells.db import instances as db_instances
from cells.db import placements as db
from cells.drivers import fake
from cells.objects import base as objects_base
from cells.objects import flavor, instance, keypair, numa, pci
from tests import building, fake_agents, fake_cells
from tests.building import wanted
from tests.unit.builders import eventually

CTXT = context.RequestContext('u', 'p', is_admin=True, request_id='req-build')
USER = context.RequestContext('u', 'p', request_id='req-user')
PAIR = {'api': None, 'a': 'api', 'b': 'api'}
DEEP = {'api': None, 'mid': 'api', 'x': 'mid', 'y': 'mid', 'b': 'api'}
PREFERRED = 999999999999999.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    fake_cells.hurry(monkeypatch)
    monkeypatch.setattr(build_choice, 'SEND_SECONDS', 0.4)
    monkeypatch.setattr(build_watch, 'SOON', 0.1)
    monkeypatch.setattr(build_watch, 'LATER', 0.2)
    monkeypatch.setattr(build_watch, 'LATEST', 0.2)
    monkeypatch.setattr(build_watch, 'SILENCE_SECONDS', 0.3)


@pytest.fixture
def impatient(monkeypatch):
    """Builds are soon taken from cells that are mute or do not confirm them."""
    monkeypatch.setattr(build_watch, 'MUTE_SECONDS', 1.0)
    monkeypatch.setattr(build_watch, 'UNCONFIRMED_SECONDS', 3.0)


@pytest.fixture
def patient(monkeypatch):
    """A cell that has ended is not found to be mute before it was found not to be reached."""
    monkeypatch.setattr(sightings, 'MUTE_SECONDS', 60.0)


@pytest.fixture
def farm(monkeypatch):
    made = building.Farm()
    monkeypatch.setattr(parts.builds, 'Builds', lambda **options: made)
    return made


@pytest.fixture
def own(monkeypatch):
    """What each cell reports to have free, in MiB, by its name; hosts with much for others."""
    found = {}

    def count(database, *args):
        name = database.url.rpartition('/')[2].partition('.')[0]
        mb = found.get(name, 0 if name in ('api', 'mid') else 10_000_000)
        if name in ('api', 'mid'):
            return {}
        return {
            'ram_free': {'total_mb': mb, 'units_by_mb': {'512': mb // 512}},
            'disk_free': {'total_mb': mb, 'units_by_mb': {'1024': mb // 512}},
        }

    monkeypatch.setattr(host_capacity, 'own_capacities', count)
    return found


@pytest.fixture
def stack():
    with contextlib.ExitStack() as found:
        yield found


@pytest.fixture
def tree_of(workdir, stack, farm, own):
    """Make a tree and run it until the end of the test; ``prefer`` a child of the top."""

    def make(parents, prefer=None, running=True, **options):
        tree = fake_cells.FakeTree(workdir, parents, **options)
        if prefer is not None:
            with tree['api'].database.write() as connection:
                connection.execute(
                    sa.update(models.Cell)
                    .where(models.Cell.name == prefer)
                    .values(weight_offset=PREFERRED)
                )
        if not running:
            return tree
        stack.enter_context(tree.running())
        reported(tree)
        return tree

    return make


def reported(tree):
    """Wait until all parents know what their children have, and that they are of our kind."""
    for one in tree.cells.values():
        for name in one.state.topology.children:
            eventually(
                lambda one=one, name=name: (
                    fake_cells.met(one, name) and one.state.sighting(name).capacities
                ),
                60,
            )


def attempts(one, uuid=None):
    table = models.Placement.__table__
    query = sa.select(table).order_by(table.c.instance_uuid, table.c.attempt)
    with one.database.read() as connection:
        found = [dict(row) for row in connection.execute(query).mappings()]
    return [row for row in found if uuid is None or row['instance_uuid'] == uuid]


def outcome(one, uuid):
    return [(row['next_cell'], row['state']) for row in attempts(one, uuid)]


def requests(one):
    with one.database.read() as connection:
        return connection.execute(
            sa.select(sa.func.count()).select_from(models.BuildRequest.__table__)
        ).scalar_one()


def record(one, uuid):
    with one.database.read() as connection:
        try:
            return db_instances.instance_get(connection, uuid)
        except exceptions.InstanceNotFound:
            return None


def over(one, *uuids, number=None, seconds=10):
    """Wait until builds of a cell are over, and nothing is kept that they needed.

    :param number: of all builds that are waited for when no uuids are given.
    """

    def is_over():
        last = {row['instance_uuid']: row['state'] for row in attempts(one)}
        wanted = uuids or last
        if not uuids and len(last) != number:
            return False
        return all(last.get(uuid) in db.OVER for uuid in wanted) and not requests(one)

    eventually(is_over, seconds)


def fault_of(one, uuid):
    (found,) = faults.fault_get_all(one.database, uuid)
    return found


def failed(tree, uuid, seconds=10):
    """Wait until an instance is in error at the top and return the lines of its fault."""
    eventually(
        lambda: (record(tree['api'], uuid) or instance.Instance(vm_state='')).vm_state == 'error',
        seconds,
    )
    found = record(tree['api'], uuid)
    assert (found.vm_state, found.task_state) == ('error', None)
    over(tree['api'], uuid)
    return fault_of(tree['api'], uuid)


# -- the way down --


def test_a_build_gets_to_a_host_and_the_record_at_the_top_to_life(tree_of, farm):
    tree = tree_of(PAIR)
    one = wanted()
    building.order(tree['api'], CTXT, one)
    over(tree['api'], one.uuid)
    assert farm.cells() == ['a']
    assert outcome(tree['api'], one.uuid) == [('a', db.DONE)]
    assert outcome(tree['a'], one.uuid) == [('a', db.DONE)]
    eventually(lambda: record(tree['api'], one.uuid).vm_state == 'active')
    found = record(tree['api'], one.uuid)
    assert (found.cell_name, found.host, found.task_state) == ('api!a', 'a-host', None)
    assert found.metadata == {'number': '0'}
    for name in PAIR:
        assert requests(tree[name]) == 0


@pytest.mark.needs_extensions('a plain cell does not say what becomes of a build')
def test_x4_passwords_are_gone_when_a_build_is_over(tree_of, farm):
    tree = tree_of(DEEP, prefer='mid')
    one = wanted()
    building.order(tree['api'], CTXT, one, admin_password='geheim-123')
    over(tree['api'], one.uuid)
    for name in DEEP:
        eventually(lambda name=name: not requests(tree[name]))
        with tree[name].database.read() as connection:
            for table in (models.Placement, models.BuildRequest, models.Instance):
                for row in connection.execute(sa.select(table.__table__)):
                    assert 'geheim-123' not in str(row)


def test_c11_fifty_of_one_request_are_all_themselves(tree_of, farm):
    tree = tree_of(PAIR)
    many = [wanted(number, launch_index=number) for number in range(50)]
    building.order(tree['api'], CTXT, *many)
    over(tree['api'], number=50)
    got = {one.uuid: one for _, one, _, _ in farm.begun}
    assert got.keys() == {one.uuid for one in many}
    for one in many:
        for name in ('display_name', 'hostname', 'launch_index', 'metadata'):
            assert getattr(got[one.uuid], name) == getattr(one, name)


def test_c4_one_request_is_split_over_cells(tree_of, farm):
    tree = tree_of({'api': None, **dict.fromkeys('abcde', 'api')})
    building.order(tree['api'], CTXT, *(wanted(number) for number in range(100)))
    over(tree['api'], number=100)
    assert collections.Counter(farm.cells()) == dict.fromkeys('abcde', 20)


@pytest.mark.needs_extensions('a plain cell does not say what becomes of a build')
def test_c12_c13_the_leaf_gets_exactly_what_the_api_accepted(tree_of, farm):
    tree = tree_of(DEEP, prefer='mid')
    kind = flavor.Flavor(
        **{
            **dict(building.SMALL.items()),
            'extra_specs': {'hw:numa_nodes': '2', 'pci_passthrough:alias': 'gpu:1'},
        }
    )
    one = wanted(
        flavor=kind,
        key_name='key',
        key_data='ssh-rsa ä',
        keypairs=keypair.KeyPairList(objects=[keypair.KeyPair(name='key', public_key='ssh-rsa')]),
        ec2_ids=instance.EC2Ids(instance_id='i-1', ami_id='ami-1'),
        pci_requests=pci.InstancePCIRequests(
            requests=[pci.InstancePCIRequest(count=1, spec=[{'vendor_id': '8086'}])]
        ),
        numa_topology=numa.InstanceNUMATopology(
            cells=[numa.InstanceNUMACell(id=0, cpuset={0, 1}, memory=256)]
        ),
    )
    given = {
        'image': {'id': 'img', 'properties': {'hw_größe': 'x', 'deep': {'list': [1, None]}}},
        'filter_properties': {
            'instance_type': kind,
            'scheduler_hints': {'group': 'g1', 'own': ['a', 'b']},
            'force_hosts': ['h1'],
            'pci_requests': {'x': 1},
        },
        'injected_files': [['/etc/x', 'aGk=']],
        'requested_networks': [['net-1', '10.0.0.1', None]],
        'security_groups': ['default', 'größe'],
        'admin_password': 'secret',
    }
    building.order(tree['api'], CTXT, one, **given)
    over(tree['api'], one.uuid)
    ((name, got, kwargs, _),) = farm.begun
    assert name in ('x', 'y')

    def wired(value):
        return objects_base.to_primitive(value, 'liberty')

    assert wired(got) == wired(one)
    assert wired(kwargs.pop('instances')) == [wired(one)]
    properties = kwargs['filter_properties']
    assert properties.pop('cells.placement') == {one.uuid: 1}
    expected = {**given, 'block_device_mapping': None}
    assert wired(kwargs) == wired(expected)


# -- to the next cell --


@pytest.mark.needs_extensions('a plain cell does not say what becomes of a build')
def test_c2_a_cell_that_refuses_though_it_had_room_costs_only_its_try(tree_of, farm):
    tree = tree_of(PAIR, prefer='a')
    farm.full['a'] = 'no host has room'
    one = wanted()
    building.order(tree['api'], CTXT, one)
    over(tree['api'], one.uuid)
    assert farm.cells() == ['b']
    assert outcome(tree['api'], one.uuid) == [('a', db.FAILED), ('b', db.DONE)]
    assert record(tree['a'], one.uuid) is None
    eventually(lambda: record(tree['api'], one.uuid).vm_state == 'active')
    assert record(tree['api'], one.uuid).cell_name == 'api!b'
    assert faults.fault_get_all(tree['api'].database, one.uuid) == []


@pytest.mark.needs_extensions('a plain cell does not say what becomes of a build')
def test_c2_a_build_that_ends_badly_later_goes_to_the_next_cell(tree_of, farm):
    tree = tree_of(PAIR, prefer='a')
    farm.slow = {'a'}
    one = wanted()
    building.order(tree['api'], CTXT, one)
    eventually(lambda: farm.cells() == ['a'])
    assert outcome(tree['api'], one.uuid) == [('a', db.PLACED)]
    eventually(lambda: record(tree['api'], one.uuid).host == 'a-host')
    farm.slow.add('b')
    farm.finish(tree['a'], one.uuid, reason='host h1: it burns')
    eventually(lambda: farm.cells() == ['a', 'b'])
    eventually(lambda: record(tree['api'], one.uuid).host == 'b-host')
    farm.finish(tree['b'], one.uuid)
    over(tree['api'], one.uuid)
    eventually(lambda: record(tree['api'], one.uuid).vm_state == 'active')
    assert record(tree['api'], one.uuid).cell_name == 'api!b'
    assert record(tree['a'], one.uuid) is None


@pytest.mark.needs_extensions('a plain cell does not say what becomes of a build')
def test_c2_when_the_last_one_ends_badly_later_the_record_ends_in_error(tree_of, farm):
    tree = tree_of(PAIR)
    farm.slow, farm.full = {'a'}, {'b': 'b is full'}
    one = wanted()
    building.order(tree['api'], CTXT, one)
    eventually(lambda: farm.cells() == ['a'])
    eventually(lambda: record(tree['api'], one.uuid).host == 'a-host')
    farm.finish(tree['a'], one.uuid, reason='host h1: it burns')
    fault = failed(tree, one.uuid)
    assert fault['details'].splitlines()[1:] == ['api!a: host h1: it burns', 'api!b: b is full']
    found = record(tree['api'], one.uuid)
    assert (found.host, found.cell_name) == (None, None)


@pytest.mark.needs_extensions('a plain cell does not say what becomes of a build')
def test_c2_a_middle_cell_tries_all_below_it_before_it_refuses(tree_of, farm):
    tree = tree_of(DEEP, prefer='mid')
    farm.full = {'x': 'x is full', 'y': 'y is full'}
    one = wanted()
    building.order(tree['api'], CTXT, one)
    over(tree['api'], one.uuid)
    assert farm.cells() == ['b']
    assert [state for _, state in outcome(tree['mid'], one.uuid)] == [db.FAILED] * 3
    assert outcome(tree['api'], one.uuid) == [('mid', db.FAILED), ('b', db.DONE)]


@pytest.mark.needs_extensions('a plain cell does not say what becomes of a build')
def test_c2_c9_when_all_have_refused_the_fault_has_the_reason_of_each_cell(tree_of, farm):
    tree = tree_of(DEEP)
    farm.full = {'x': 'x is full', 'y': 'y is full', 'b': 'b is full'}
    one = wanted()
    building.order(tree['api'], CTXT, one)
    fault = failed(tree, one.uuid)
    assert fault['code'] == 500
    assert fault['details'].splitlines() == [
        'No cell could take the instance:',
        'api!b: b is full',
        'api!mid!x: x is full',
        'api!mid!y: y is full',
    ]
    assert farm.cells() == []
    for name in DEEP:
        eventually(lambda name=name: not requests(tree[name]))


@pytest.mark.needs_extensions('a plain cell does not say what becomes of a build')
def test_c1_a_cell_that_cannot_be_reached_costs_seconds(tree_of, farm, patient):
    tree = tree_of(PAIR, prefer='a')
    tree['a'].stop()
    one = wanted()
    building.order(tree['api'], CTXT, one)
    over(tree['api'], one.uuid)
    assert farm.cells() == ['b']
    (first, _) = attempts(tree['api'], one.uuid)
    assert first['next_cell'] == 'a'
    assert 'cannot be reached' in first['reasons']
    with tree['api'].database.read() as connection:
        left = connection.execute(sa.select(models.Outbox.neighbour, models.Outbox.kind)).all()
    assert [row for row in left if row[0] == 'a'] == [], 'nothing waits to be built there one day'


def test_c1_when_no_cell_can_be_reached_the_fault_says_so(tree_of, farm, patient):
    tree = tree_of(PAIR, scheduler_retries=1, scheduler_retry_delay=1)
    for name in ('a', 'b'):
        tree[name].stop()
    one = wanted()
    building.order(tree['api'], CTXT, one)
    lines = failed(tree, one.uuid)['details'].splitlines()
    assert len(lines) == 3
    assert all('cannot be reached: no nova-cells listens' in line for line in lines[1:])


@pytest.mark.needs_extensions('a plain cell does not say what becomes of a build')
def test_c1_a_cell_that_could_not_be_reached_is_tried_again_when_no_other_is_left(
    tree_of, workdir, farm, stack
):
    """A message bus that is restarted must not make instances errors."""
    tree = tree_of({'api': None, 'a': 'api'}, scheduler_retries=60, scheduler_retry_delay=1)
    tree['a'].stop()
    one = wanted()
    building.order(tree['api'], CTXT, one)

    def tried():
        return [row for row in attempts(tree['api'], one.uuid) if row['state'] == 'failed']

    eventually(lambda: len(tried()) >= 2, 30)
    assert record(tree['api'], one.uuid).vm_state == 'building'
    tree.cells['a'] = fake_cells.build_again(workdir, 'a')
    tree['a'].start()
    stack.callback(tree['a'].stop)
    over(tree['api'], one.uuid, seconds=60)
    assert farm.cells() == ['a']


@pytest.mark.needs_extensions('a plain cell does not say what becomes of a build')
@pytest.mark.parametrize('how', ['mute', 'deaf'])
def test_a_cell_that_falls_silent_with_a_build_is_told_to_drop_it(
    tree_of, workdir, farm, how, impatient
):
    # a deaf cell goes on to report, but confirms nothing
    tree = tree_of(PAIR, prefer='a')
    fake.hold(fake_cells.address(workdir, 'a'), True)
    if how == 'mute':
        tree['a'].pings.stop()
        tree['a'].reports.stop()
    one = wanted()
    building.order(tree['api'], CTXT, one)
    over(tree['api'], one.uuid, seconds=20)
    assert farm.cells() == ['b']
    fake.hold(fake_cells.address(workdir, 'a'), False)
    eventually(lambda: outcome(tree['a'], one.uuid), 20)

    def dropped():
        with tree['a'].database.read() as connection:
            return building.tombstone(connection, one.uuid, 1)

    eventually(dropped, 20)
    eventually(lambda: record(tree['a'], one.uuid) is None)
    # begun in a or not, as the two messages were carried out in this or that order
    if farm.cells() != ['b']:
        eventually(lambda: ('a', one.uuid, 1) in farm.cancelled)
    assert outcome(tree['api'], one.uuid)[-1] == ('b', db.DONE)
    eventually(lambda: record(tree['api'], one.uuid).cell_name == 'api!b')


@pytest.mark.needs_extensions('a plain cell does not say what becomes of a build')
def test_what_was_built_in_a_cell_that_was_given_up_is_taken_back(tree_of, farm):
    tree = tree_of(PAIR, prefer='a')
    farm.slow = {'a'}
    one = wanted()
    building.order(tree['api'], CTXT, one)
    eventually(lambda: farm.cells() == ['a'])
    with tree['api'].database.write() as connection:
        (row,) = attempts(tree['api'], one.uuid)
        db.attempts_set(connection, [row['id']], db.REFUSED, reasons=db.Reasons({'api!a': 'x'}))
    tree['api'].wake()
    eventually(lambda: farm.cells() == ['a', 'b'])
    # news of it may have come up already, and then it is gone
    with contextlib.suppress(exceptions.InstanceNotFound):
        farm.finish(tree['a'], one.uuid)
    eventually(lambda: ('a', one.uuid, 1) in farm.cancelled)
    eventually(lambda: record(tree['a'], one.uuid) is None)
    eventually(lambda: record(tree['api'], one.uuid).cell_name == 'api!b')
    assert record(tree['b'], one.uuid).vm_state == 'active'


# -- who may have it --


def test_c3_a_cell_without_slots_is_never_sent_a_build(tree_of, farm, own):
    own.update(a=0, b=256)
    tree = tree_of(PAIR, scheduler_retry_delay=60)
    one = wanted()
    begun = time.monotonic()
    building.order(tree['api'], CTXT, one)
    fault = failed(tree, one.uuid, 30)
    assert time.monotonic() - begun < 30, 'nothing is waited for'
    assert fault['details'].splitlines()[1:] == [
        'api!a: no room: memory for none of 512 MB; disk for none of 1024 MB',
        'api!b: no room: memory for none of 512 MB; disk for none of 1024 MB',
    ]
    assert [row['next_cell'] for row in attempts(tree['api'])] == ['']
    for name in ('a', 'b'):
        assert attempts(tree[name]) == []


@pytest.mark.needs_extensions('a plain cell does not say what becomes of a build')
def test_a_cell_full_of_builds_on_their_way_is_waited_for_and_tried_then(tree_of, farm, own):
    own.update(a=1024, b=0)
    farm.slow = {'a'}
    tree = tree_of(PAIR, scheduler_retries=1, scheduler_retry_delay=5)
    many = [wanted(number) for number in range(3)]
    building.order(tree['api'], CTXT, *many)
    eventually(lambda: len(farm.cells()) == 2)
    time.sleep(0.5)
    assert sorted(row['state'] for row in attempts(tree['api'])) == [
        db.PLACED,
        db.PLACED,
        db.WAITING,
    ]
    # its report may be newer than what is counted on top of it: the cell itself decides
    eventually(lambda: len(farm.cells()) == 3)
    assert farm.cells() == ['a'] * 3


def test_c4_500_single_builds_spread_over_equal_cells(tree_of, farm):
    tree = tree_of({'api': None, **dict.fromkeys('abcde', 'api')})
    for number in range(500):
        building.order(tree['api'], CTXT, wanted(number))
    over(tree['api'], number=500, seconds=60)
    shares = collections.Counter(farm.cells())
    assert sum(shares.values()) == 500
    assert max(shares.values()) / min(shares.values()) <= 1.5, shares


def test_c7_a_drained_cell_takes_no_builds_and_all_else_goes_on(tree_of, farm):
    tree = tree_of(PAIR, prefer='a')
    old = wanted(1)
    building.order(tree['api'], CTXT, old)
    over(tree['api'], old.uuid)
    assert farm.cells() == ['a']
    tree['a'].enabled = False
    eventually(lambda: 'a' in tree['api'].reports.capabilities().get(reports.DRAINING, ()), 10)
    total = tree['b'].reports.capacities()['ram_free']
    eventually(lambda: tree['api'].reports.capacities()['ram_free'] == total)
    assert tree['a'].reports.capacities()['ram_free'] == total, 'it shows what it has'
    for number in range(5):
        building.order(tree['api'], CTXT, wanted(number))
    over(tree['api'], number=6)
    assert farm.cells() == ['a'] + ['b'] * 5
    # what is there goes on
    with tree['a'].database.write() as connection:
        db_instances.instance_update(connection, old.uuid, {'vm_state': 'stopped'})
    tree['a'].wake()
    eventually(lambda: record(tree['api'], old.uuid).vm_state == 'stopped')
    tree['b'].enabled = False
    eventually(lambda: set(tree['api'].reports.capabilities()[reports.DRAINING]) == {'a', 'b'})
    last = wanted()
    building.order(tree['api'], CTXT, last)
    assert 'it takes no new instances' in failed(tree, last.uuid)['details']
    for name in ('a', 'b'):
        tree[name].enabled = True
    eventually(lambda: reports.DRAINING not in tree['api'].reports.capabilities())


def test_c7_a_child_drained_by_its_parent_gets_no_builds_though_it_knows_nothing_of_it(
    tree_of, farm
):
    tree = tree_of(PAIR, prefer='a')
    for name in ('a', 'b'):
        with tree['api'].database.write() as connection:
            drains.drain_create(connection, name, 'a test')
        eventually(lambda name=name: name in tree['api'].state.drained)
        one = wanted()
        building.order(tree['api'], CTXT, one)
        if name == 'a':
            over(tree['api'], one.uuid)
            assert farm.cells() == ['b']
            room = tree['b'].reports.capacities()['ram_free']
            eventually(lambda room=room: tree['api'].reports.capacities()['ram_free'] == room)
        else:
            assert 'it is drained' in failed(tree, one.uuid)['details']
    with tree['api'].database.write() as connection:
        assert drains.drain_delete(connection, 'a') == 1
    eventually(lambda: tree['api'].state.drained == {'b'})
    last = wanted()
    building.order(tree['api'], CTXT, last)
    over(tree['api'], last.uuid)
    assert farm.cells()[-1] == 'a'


def test_c7_a_drained_cell_refuses_what_comes_all_the_same(tree_of, farm):
    tree = tree_of(DEEP, prefer='mid')
    tree['mid'].enabled = False
    one = wanted()
    building.order(tree['api'], CTXT, one)
    over(tree['api'], one.uuid)
    assert farm.cells() == ['b']
    tree['api'].enabled = False
    other = wanted()
    building.order(tree['api'], CTXT, other)
    assert 'api: it takes no new instances' in failed(tree, other.uuid)['details']


def test_c7_one_line_of_the_configuration_drains_a_cell_that_runs(workdir, stack, farm, own):
    path = workdir / 'cells.conf'
    address = fake_cells.address(workdir, 'leaf')
    lines = [
        '[DEFAULT]',
        'transport_url = %s' % address,
        'control_exchange = %s' % address,
        'state_path = %s' % (workdir / 'leaf'),
        '[database]',
        'connection = %s' % fake_cells.database_url(workdir, 'leaf'),
        '[cells]',
        'name = leaf',
        'driver = fake',
        'standalone = yes',
    ]
    path.write_text('\n'.join(lines))
    conf = cfg.ConfigOpts()
    configured.prepare(conf)
    conf(['--config-file', str(path)], project='cells')
    migration.sync(engine.Database(fake_cells.database_url(workdir, 'leaf')))
    one = cell.Cell(conf, cell.slots.WorkerSlot.take(conf.state_path))
    one.start()
    stack.callback(one.stop)
    for line, drained in (('enabled = no', ['leaf']), ('enabled = yes', None)):
        path.write_text('\n'.join([*lines, line]))
        one.reload()  # what SIGHUP does
        assert one.reports.capabilities().get(reports.DRAINING) == drained
        asked = wanted()
        building.order(one, CTXT, asked)
        over(one, asked.uuid)
        assert (asked.uuid in [found.uuid for _, found, _, _ in farm.begun]) is not bool(drained)


# -- hints --


@pytest.mark.parametrize('target', ['api!mid!y', 'api!b'])
def test_a_target_is_reached_at_any_depth(tree_of, farm, target):
    tree = tree_of(DEEP)
    many = [wanted(number) for number in range(4)]
    building.order(tree['api'], CTXT, *many, hints={'target_cell': target})
    over(tree['api'], number=4)
    assert set(farm.cells()) == {target.rpartition('!')[2]}
    assert len(farm.cells()) == 4


def test_a_target_in_the_middle_stands_for_all_below_it(tree_of, farm):
    tree = tree_of(DEEP)
    many = [wanted(number) for number in range(4)]
    building.order(tree['api'], CTXT, *many, hints={'target_cell': 'api!mid'})
    over(tree['api'], number=4)
    assert set(farm.cells()) == {'x', 'y'}


@pytest.mark.needs_extensions('a plain cell does not say what becomes of a build')
@pytest.mark.parametrize(
    ('target', 'where'),
    [
        ('api!nowhere', 'api'),
        ('api!mid!nowhere', 'api!mid'),
        ('other!mid', 'api'),
        ('api!b!c', 'api!b'),
    ],
)
def test_c8_a_target_that_is_not_there_is_an_error_within_seconds(tree_of, farm, target, where):
    tree = tree_of(DEEP)
    one = wanted()
    building.order(tree['api'], CTXT, one, hints={'target_cell': target})
    fault = failed(tree, one.uuid, seconds=5)
    assert "Cell %s doesn't exist." % target in fault['details']
    if where == 'api':
        assert fault['code'] == 404
    else:
        assert '%s: Cell' % where in fault['details']
    assert farm.cells() == []


def test_c8_a_hint_that_a_user_may_not_give_is_refused(tree_of, farm):
    tree = tree_of(PAIR)
    one = wanted()
    building.order(tree['api'], USER, one, hints={'target_cell': 'api!a'})
    fault = failed(tree, one.uuid)
    assert fault['code'] == 403
    assert fault['message'] == (
        "Policy doesn't allow cells_scheduler_filter:TargetCellFilter to be performed."
    )
    assert farm.cells() == []


def test_c16_different_cells_are_avoided_at_any_depth(tree_of, farm):
    tree = tree_of(DEEP)
    many = [wanted(number) for number in range(6)]
    hints = {'different_cell': ['api!mid!x', 'api!b']}
    building.order(tree['api'], USER, *many, hints=hints)
    over(tree['api'], number=6)
    assert farm.cells() == ['y'] * 6
    one = wanted()
    building.order(tree['api'], USER, one, hints={'different_cell': ['api!mid', 'api!b']})
    assert len(failed(tree, one.uuid)['details'].splitlines()) == 3


# -- what is wrong with a request --


@pytest.mark.parametrize(
    ('values', 'code', 'text'),
    [
        ({'filter_properties': {'instance_type': flavor.Flavor(flavorid='no')}}, 404, 'Flavor no'),
        ({'filter_properties': {}}, 404, 'Flavor'),
        (
            {
                'filter_properties': {
                    'instance_type': flavor.Flavor(
                        flavorid='1', name='m', memory_mb=-1, vcpus=1, root_gb=1, ephemeral_gb=0
                    )
                }
            },
            400,
            'memory_mb of flavor m is -1',
        ),
        ({'hints': {'target_cell': 'a b'}}, 400, 'hint target_cell'),
        ({'image': 'img'}, 400, 'image'),
    ],
)
def test_what_is_wrong_becomes_a_fault_of_the_instance(tree_of, farm, values, code, text):
    tree = tree_of({'api': None, 'a': 'api'})
    one = wanted()
    with tree['api'].database.write() as connection:
        values_of = {'uuid': one.uuid, 'vm_state': 'building', 'task_state': 'scheduling'}
        db_instances.instance_create(connection, values_of)
    building.order(tree['api'], CTXT, one, **values)
    fault = failed(tree, one.uuid)
    assert fault['code'] == code
    assert text in fault['message']
    assert farm.cells() == []


def test_an_instance_without_uuid_costs_the_others_a_fault_and_nothing_hangs(tree_of, farm):
    tree = tree_of({'api': None, 'a': 'api'})
    one = wanted()
    with tree['api'].database.write() as connection:
        db_instances.instance_create(connection, {'uuid': one.uuid, 'vm_state': 'building'})
    building.order(tree['api'], CTXT, one, instance.Instance(display_name='no uuid'))
    assert 'instance 1 of the request has no uuid' in failed(tree, one.uuid)['message']
    next_one = wanted()
    building.order(tree['api'], CTXT, next_one)
    over(tree['api'], next_one.uuid)
    assert farm.cells() == ['a']


# -- once --


def keep_builds(one):
    """Have the database of a cell keep what the journal wipes at the end, for its passwords."""
    with one.database.write() as connection:
        connection.exec_driver_sql('CREATE TABLE kept (envelope TEXT)')
        connection.exec_driver_sql(
            "CREATE TRIGGER keep AFTER INSERT ON inbox WHEN NEW.operation = 'build_instances' "
            'BEGIN INSERT INTO kept VALUES (NEW.envelope); END'
        )


def again(one, uuid=None):
    """Deliver the build that a cell got once more, possibly as another message."""
    with one.database.read() as connection:
        text = connection.exec_driver_sql('SELECT envelope FROM kept').scalars().first()
    message = wire.decode(text)
    if uuid is not None:
        text = text.replace(message.uuid, uuid)

    class Arrived:
        deliveries = 0
        settled = False

        def __init__(self, text):
            self.text = text

        def settle(self):
            self.settled = True

    arrived = Arrived(text)
    one.runner.receive(arrived)
    eventually(lambda: arrived.settled)
    time.sleep(0.5)


@pytest.mark.needs_extensions('a plain cell does not say what becomes of a build')
@pytest.mark.parametrize('uuid', [None, '99999999-9999-4999-8999-999999999999'])
@pytest.mark.parametrize('where', ['mid', 'x'])
def test_r3_a_build_that_comes_twice_is_one(tree_of, farm, where, uuid):
    tree = tree_of({'api': None, 'mid': 'api', 'x': 'mid'})
    keep_builds(tree[where])
    one = wanted()
    building.order(tree['api'], CTXT, one)
    over(tree['api'], one.uuid)
    eventually(lambda: record(tree['api'], one.uuid).vm_state == 'active')
    before = {name: attempts(tree[name]) for name in ('api', 'mid', 'x')}
    again(tree[where], uuid)
    assert farm.cells() == ['x']
    assert {name: attempts(tree[name]) for name in before} == before
    assert record(tree['api'], one.uuid).vm_state == 'active'
    assert record(tree['x'], one.uuid).vm_state == 'active'
    for name in before:
        assert requests(tree[name]) == 0


def test_r3_a_client_that_orders_again_gets_no_second_instance(tree_of, farm):
    tree = tree_of(PAIR)
    one = wanted()
    for _ in range(3):
        building.order(tree['api'], CTXT, one)
    over(tree['api'], one.uuid)
    building.order(tree['api'], CTXT, one)
    time.sleep(0.5)
    assert farm.cells() == ['a']


@pytest.mark.needs_extensions('a plain cell does not say what becomes of a build')
def test_r3_a_failed_build_can_be_ordered_again(tree_of, farm):
    tree = tree_of(PAIR)
    farm.full = {'a': 'full', 'b': 'full'}
    one = wanted()
    building.order(tree['api'], CTXT, one)
    failed(tree, one.uuid)
    farm.full.clear()
    building.order(tree['api'], CTXT, one)
    eventually(lambda: farm.cells() == ['a'])
    eventually(lambda: record(tree['api'], one.uuid).vm_state == 'active')


# -- deleted meanwhile --


def test_s5_what_is_deleted_before_it_is_placed_is_not_built(tree_of, farm):
    tree = tree_of(PAIR)
    one, other = wanted(1), wanted(2)
    with tree['api'].database.write() as connection:
        db_instances.instance_create(connection, {'uuid': one.uuid, 'vm_state': 'building'})
        db_instances.instance_destroy(connection, one.uuid)
    building.order(tree['api'], CTXT, one, other)
    over(tree['api'], other.uuid)
    assert farm.cells(one.uuid) == []
    assert farm.cells(other.uuid) != []
    assert record(tree['api'], one.uuid) is None


def test_s5_a_tombstone_in_a_child_ends_the_build_and_the_search(tree_of, farm):
    tree = tree_of(PAIR, prefer='a')
    one = wanted()
    for name in ('a', 'b'):
        with tree[name].database.write() as connection:
            tombstones.tombstone_put(connection, one.uuid)
    building.order(tree['api'], CTXT, one)
    over(tree['api'], one.uuid)
    assert farm.cells() == []


# -- plain cells --


@pytest.fixture
def plain(tree_of, workdir, stack, farm, own):
    """A top with a cell of ours, b, and a nova-cells, p, which comes first."""

    def make(**options):
        tree = fake_cells.FakeTree(workdir, {'api': None, 'b': 'api'}, **options)
        neighbours.cell_create(
            tree['api'].database,
            {
                'name': 'p',
                'transport_url': fake_cells.address(workdir, 'p'),
                'is_parent': False,
                'weight_offset': PREFERRED,
            },
        )
        child = building.PlainChild(workdir, 'p', 'api')
        for one in tree.cells.values():
            one.start()
        stack.callback(lambda: [one.stop() for one in tree.cells.values()])
        child.start()
        stack.callback(child.stop)
        eventually(lambda: tree['api'].state.sighting('p').protocol == 0, 10)
        eventually(lambda: fake_cells.met(tree['api'], 'b'), 10)
        return tree, child

    return make


def test_a_plain_cell_gets_what_nova_would_send(plain):
    tree, child = plain()
    one = wanted()
    hints = {'target_cell': 'api!p', 'group': 'g'}
    building.order(tree['api'], CTXT, one, hints=hints)
    (got,) = eventually(lambda: child.orders('build_instances'))
    assert got['target_cell'] == 'api!p'
    assert got['routing_path'] == 'api'
    kwargs = got['method_kwargs']['build_inst_kwargs']
    assert kwargs['filter_properties'].keys() == {'instance_type', 'scheduler_hints'}
    assert kwargs['filter_properties']['scheduler_hints'] == {'group': 'g'}
    assert kwargs['instances'][0]['nova_object.data']['uuid'] == one.uuid


def test_a_target_below_a_plain_cell_is_sent_straight_there(plain):
    tree, child = plain()
    building.order(tree['api'], CTXT, wanted(), hints={'target_cell': 'api!p!q'})
    (got,) = eventually(lambda: child.orders('build_instances'))
    assert got['target_cell'] == 'api!p!q'


def test_a_plain_cell_that_builds_keeps_the_instance(plain, farm):
    tree, child = plain()
    one = wanted()
    building.order(tree['api'], CTXT, one)
    eventually(lambda: child.orders('build_instances'))
    child.update(uuid=one.uuid, vm_state='building', task_state='spawning', host='n1')
    over(tree['api'], one.uuid)
    assert outcome(tree['api'], one.uuid) == [('p', db.DONE)]
    child.update(uuid=one.uuid, vm_state='error', task_state=None, host='n1')
    eventually(lambda: record(tree['api'], one.uuid).vm_state == 'error')
    assert outcome(tree['api'], one.uuid) == [('p', db.DONE)], 'its own error, not ours to mend'
    assert farm.cells() == []


def test_c2_a_plain_cell_that_ends_in_error_without_a_host_is_told_to_drop_it(plain, farm):
    tree, child = plain()
    one = wanted()
    building.order(tree['api'], CTXT, one)
    eventually(lambda: child.orders('build_instances'))
    child.update(uuid=one.uuid, vm_state='error', task_state=None)
    over(tree['api'], one.uuid)
    assert farm.cells() == ['b']
    (got,) = eventually(lambda: child.orders('terminate_instance'))
    assert got['target_cell'] == 'api!p'
    assert got['method_kwargs']['instance']['nova_object.data']['uuid'] == one.uuid
    eventually(lambda: record(tree['api'], one.uuid).vm_state == 'active')
    # late news of it do not count, and it is told again
    child.update(uuid=one.uuid, vm_state='active', task_state=None, host='n1')
    time.sleep(0.5)
    found = record(tree['api'], one.uuid)
    assert (found.cell_name, found.host) == ('api!b', 'b-host')


def test_a_plain_cell_that_is_away_costs_seconds(plain, farm, patient):
    tree, child = plain()
    child.stop()
    one = wanted()
    building.order(tree['api'], CTXT, one)
    over(tree['api'], one.uuid)
    assert outcome(tree['api'], one.uuid) == [('p', db.FAILED), ('b', db.DONE)]


def test_a_plain_cell_that_never_says_anything_ends_in_a_fault(plain, farm, monkeypatch):
    monkeypatch.setattr(build_watch, 'PLAIN_SECONDS', 0.5)
    tree, child = plain(build_timeout=1.0)
    one = wanted()
    building.order(tree['api'], CTXT, one)
    eventually(lambda: child.orders('build_instances'))
    fault = failed(tree, one.uuid)
    assert 'api!p: it has not said anything in' in fault['details']
    assert farm.cells() == [], 'it may be built there: a second one must not be'


def test_below_a_plain_parent_a_refusal_goes_up_as_novas_does(workdir, stack, farm, own):
    """The parent is a nova-cells: a driver that keeps what it gets."""
    one = fake_cells.build(workdir, 'leaf', {'p': True})
    parent = building.PlainChild(workdir, 'p', 'leaf')
    parent._driver.start(parent._take)
    stack.callback(parent.stop)
    one.start()
    stack.callback(one.stop)
    farm.full['leaf'] = 'leaf is full'
    asked = wanted()
    kwargs = {
        'instances': [asked],
        'image': {},
        'filter_properties': {'instance_type': building.SMALL},
    }
    envelope = {
        'message_type': 'targeted',
        'ctxt': {'request_id': 'req-1', 'project_id': 'p', 'user_id': 'u', 'is_admin': False},
        'method_name': 'build_instances',
        'method_kwargs': {'build_inst_kwargs': objects_base.to_primitive(kwargs, 'liberty')},
        'direction': 'down',
        'need_response': False,
        'fanout': False,
        'uuid': messages.new_uuid(),
        'routing_path': 'p',
        'hop_count': 1,
        'max_hop_count': 10,
        'target_cell': 'p!leaf',
    }
    parent.send(envelope)
    (update,) = eventually(lambda: parent.orders('instance_update_at_top'))
    data = update['method_kwargs']['instance']['nova_object.data']
    assert (data['uuid'], data['vm_state'], data['task_state']) == (asked.uuid, 'error', None)
    (fault,) = eventually(lambda: parent.orders('instance_fault_create_at_top'))
    columns = fault['method_kwargs']['instance_fault']
    assert columns['instance_uuid'] == asked.uuid
    assert 'p!leaf: leaf is full' in columns['message']
    over(one, asked.uuid)


# -- bad days --


class OneBadHost(building.Farm):
    """Hosts that fall over one instance, in a way that nobody has thought of."""

    bad = None

    def build_here(self, connection, ctxt, asked, request_kwargs, attempt):
        if asked.uuid == self.bad:
            raise RuntimeError('nobody has thought of that')
        return super().build_here(connection, ctxt, asked, request_kwargs, attempt)


def test_one_build_that_cannot_be_dealt_with_does_not_keep_the_others(
    workdir, stack, own, monkeypatch
):
    made = OneBadHost()
    monkeypatch.setattr(parts.builds, 'Builds', lambda **options: made)
    tree = fake_cells.FakeTree(workdir, {'api': None, 'a': 'api'})
    stack.enter_context(tree.running())
    reported(tree)
    many = [wanted(number) for number in range(5)]
    made.bad = many[2].uuid
    building.order(tree['api'], CTXT, *many)
    rest = [one.uuid for one in many if one.uuid != made.bad]
    eventually(lambda: {one.uuid for _, one, _, _ in made.begun} == set(rest), 10)
    for uuid in rest:
        eventually(lambda uuid=uuid: record(tree['api'], uuid).vm_state == 'active')
    later = wanted()
    building.order(tree['api'], CTXT, later)
    eventually(lambda: outcome(tree['api'], later.uuid) == [('a', db.DONE)], 10)


def test_c10_a_database_that_is_away_for_a_while_delays_and_loses_nothing(
    tree_of, farm, monkeypatch
):
    tree = tree_of({'api': None, 'a': 'api'})
    away = {'a': 4}
    real = farm.build_here

    def build_here(connection, *args):
        if away['a']:
            away['a'] -= 1
            raise engine.db_exc.DBConnectionError(RuntimeError('gone away'))
        return real(connection, *args)

    monkeypatch.setattr(farm, 'build_here', build_here)
    one = wanted()
    building.order(tree['api'], CTXT, one)
    over(tree['api'], one.uuid, seconds=20)
    assert farm.cells() == ['a']
    assert away['a'] == 0


def test_two_workers_give_out_each_build_once(tree_of, farm):
    tree = tree_of(PAIR)
    other = fake_cells.build_again(tree.workdir, 'api', cell_type='api')
    other.start()
    try:
        for number in range(60):
            building.order((tree['api'], other)[number % 2], CTXT, wanted(number))
        over(tree['api'], number=60, seconds=30)
    finally:
        other.stop()
    assert len(farm.begun) == 60
    shares = collections.Counter(farm.cells())
    assert max(shares.values()) / min(shares.values()) <= 1.5


def test_the_path_of_a_build_is_whole_in_every_cell(tree_of, farm):
    tree = tree_of(DEEP, prefer='mid')
    farm.slow = {'x', 'y'}
    one = wanted()
    building.order(tree['api'], CTXT, one)
    eventually(lambda: farm.begun)
    ((leaf, _, _, _),) = farm.begun
    with tree[leaf].database.read() as connection:
        (envelope,) = connection.execute(sa.select(models.BuildRequest.envelope)).scalars()
    assert wire.decode(envelope).routing_path == paths.CellPath(('api', 'mid', leaf))


@pytest.mark.needs_extensions('a plain cell does not say what becomes of a build')
def test_c2_with_real_agents_a_cell_whose_hosts_fail_is_left_for_the_next(workdir, stack):
    tree = fake_cells.FakeTree(workdir, DEEP)
    with tree['api'].database.write() as connection:
        preferred = sa.update(models.Cell).where(models.Cell.name == 'b')
        connection.execute(preferred.values(weight_offset=PREFERRED))
    stack.enter_context(tree.running())
    hosts = [
        (fake_agents.FakeAgents(workdir, 'b', fake_failures=['build:always']), 'bad'),
        (fake_agents.FakeAgents(workdir, 'x'), 'good'),
    ]
    for agents, host in hosts:
        agents.start(host)
        stack.callback(agents.stop, host)

    def hosts_known():
        return sum(tree['api'].reports.capacities().get('free', {}).values())

    eventually(lambda: hosts_known() == len(hosts), 20)
    many = [wanted(number) for number in range(4)]
    building.order(tree['api'], CTXT, *many)
    for one in many:
        eventually(lambda one=one: record(tree['api'], one.uuid), 10)
        eventually(lambda one=one: record(tree['api'], one.uuid).vm_state == 'active', 20)
        found = record(tree['api'], one.uuid)
        assert (found.cell_name, found.host) == ('api!mid!x', 'good')
        assert [cell for cell, _ in outcome(tree['api'], one.uuid)] == ['b', 'mid']
        assert record(tree['b'], one.uuid) is None


@pytest.mark.needs_extensions('a plain cell does not say what becomes of a build')
@pytest.mark.parametrize('state', [db.WAITING, db.PLACED, db.BUILT])
def test_a_build_of_which_cannot_be_read_what_it_was_to_be_is_given_up(tree_of, farm, state):
    farm.slow = {'a', 'b'}
    tree = tree_of(PAIR)
    one = wanted()
    building.order(tree['api'], CTXT, one)
    eventually(farm.cells)
    eventually(lambda: outcome(tree['api'], one.uuid)[0][1] == db.PLACED)
    with tree['api'].database.write() as connection:
        connection.execute(sa.update(models.BuildRequest).values(envelope='{bad'))
        connection.execute(sa.update(models.Placement).values(state=state, expires=0.0))
    tree['api'].wake()
    over(tree['api'], one.uuid)
    found = record(tree['api'], one.uuid)
    if state == db.BUILT:
        assert found.vm_state == 'building'
        assert outcome(tree['api'], one.uuid)[0][1] == db.DONE
        return
    assert (found.vm_state, found.task_state) == ('error', None)
    assert 'cannot be read' in fault_of(tree['api'], one.uuid)['details']
    if state == db.PLACED:
        eventually(lambda: farm.cancelled == [(farm.cells()[0], one.uuid, 1)])
