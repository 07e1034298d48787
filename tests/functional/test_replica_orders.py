"""Updates that come late, twice, in any order or not at all: the newest state wins (S2)."""

import itertools
import random

import hypothesis
import pytest
import sqlalchemy as sa
from hypothesis import strategies as st

from cells import messages, wire
from cells.db import block_devices, engine, instances, migration, models
from cells.objects import flavor
from cells.objects.instance import Instance, InstanceInfoCache
from tests import replication
from tests.unit import builders

ONE = '11111111-1111-4111-8111-111111111111'
SEEDS = 1000


@pytest.fixture(scope='module')
def databases():
    found = [engine.Database('sqlite://', replicates=below) for below in (True, False)]
    for database in found:
        migration.sync(database)
    yield found
    for database in found:
        database.dispose()


@pytest.fixture
def pair(databases):
    """A cell and the top, both without anything."""
    return fresh(databases)


def fresh(databases):
    for database in databases:
        with database.write() as connection:
            for table in models.Base.metadata.tables.values():
                if table.name != 'cell_identity':
                    connection.execute(sa.delete(table))
    return replication.Child(databases[0]), replication.Top(databases[1])


def create(child):
    values = {'uuid': ONE, 'project_id': 'p', 'vm_state': 'building', 'host': 'h'}
    with child.database.write() as connection:
        fields = {'system_metadata': {'image_os': 'linux'}}
        instances.instance_create(connection, values, fields=fields)


def change(child, chance):
    """Change something of the instance, as its life may bring it."""
    with child.database.write() as connection:
        kind = chance.randrange(5)
        if kind == 0:
            state = chance.choice(('active', 'stopped', 'paused', 'building'))
            instances.instance_update(connection, ONE, {'vm_state': state})
        elif kind == 1:
            state = chance.choice(('resize_prep', 'resize_finish', 'deleting', None))
            instances.instance_update(
                connection, ONE, {'task_state': state, 'progress': chance.randrange(100)}
            )
        elif kind == 2:
            cache = InstanceInfoCache(
                instance_uuid=ONE, network_info='[{"id": "%s"}]' % chance.random()
            )
            instances.instance_update(connection, ONE, {}, fields={'info_cache': cache})
        elif kind == 3:
            instances.metadata_set(connection, ONE, {'k': str(chance.random())})
            instances.instance_touch(connection, ONE, [instances.METADATA])
        else:
            volume = 'v%d' % chance.randrange(3)
            if not block_devices.bdm_destroy(connection, ONE, volume_id=volume):
                block_devices.bdm_save(connection, ONE, {'volume_id': volume})


def live(child, top, seed):
    """Let an instance live, and what is told of it go astray; then let all come to rest."""
    chance = random.Random(seed)
    create(child)
    under_way: list = []
    for _ in range(chance.randrange(5, 15)):
        kind = chance.random()
        if kind < 0.4:
            change(child, chance)
        elif kind < 0.7:
            # Claims that end at once: several workers may send the same.
            batch, items = child.claim(seconds=chance.choice((-1, 60)))
            if items:
                under_way.append((batch, items))
        elif under_way:
            batch, items = chance.choice(under_way)
            answer = top.take(items)
            if chance.random() < 0.7:
                child.end(batch, answer)
            if chance.random() < 0.5:
                under_way.remove((batch, items))
    release(child)
    chance.shuffle(under_way)
    for _, items in under_way[::2]:
        top.take(items)
    replication.bring(child, top)
    for _, items in under_way:
        top.take(items)


def release(child):
    """Let all claims be over, as they are in time."""
    with child.database.write() as connection:
        connection.execute(sa.update(models.Dirty).values(claimed_by=None, claimed_until=0.0))


def test_s2_whatever_goes_astray_the_top_comes_to_what_the_cell_has(databases):
    for seed in range(SEEDS):
        child, top = fresh(databases)
        live(child, top, seed)
        found = replication.record(top.database, ONE)
        assert found == replication.record(child.database, ONE), 'seed %d' % seed
        assert child.dirty() == []


TEXTS = st.text(st.characters(exclude_categories=('Cs',), exclude_characters='\0'), max_size=20)
KEYS = st.text(st.characters(exclude_categories=('Cs',), exclude_characters='\0'), min_size=1)


@hypothesis.settings(
    deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(
    name=TEXTS | st.none(),
    number=st.integers(-(2**31), 2**31 - 1) | st.none(),
    locked=st.booleans(),
    moment=st.datetimes() | st.none(),
    metadata=st.dictionaries(KEYS, TEXTS, max_size=3),
    system_metadata=st.dictionaries(KEYS, TEXTS | st.none(), max_size=3),
    extra_specs=st.dictionaries(KEYS, TEXTS, max_size=3),
    network=st.lists(st.dictionaries(KEYS, builders.JSON, max_size=3), max_size=2),
    device=TEXTS | st.none(),
)
def test_t10_whatever_an_instance_has_is_the_same_at_the_top(
    databases, name, number, locked, moment, metadata, system_metadata, extra_specs, network, device
):
    child, top = fresh(databases)
    values = {
        'uuid': ONE,
        'project_id': 'p',
        'display_name': name,
        'power_state': number,
        'locked': locked,
        'launched_at': moment,
    }
    fields = {
        'system_metadata': system_metadata,
        'flavor': flavor.Flavor(name='é', extra_specs=extra_specs),
        'info_cache': InstanceInfoCache(instance_uuid=ONE, network_info=network),
    }
    with child.database.write() as connection:
        instances.instance_create(connection, values, metadata, fields)
        block_devices.bdm_save(connection, ONE, {'volume_id': 'v', 'connection_info': device})
    replication.bring(child, top)
    assert replication.record(top.database, ONE) == replication.record(child.database, ONE)
    with top.database.read() as connection:
        there = instances.instance_get(connection, ONE)
    with child.database.read() as connection:
        here = instances.instance_get(connection, ONE)
    for field in ('flavor', 'info_cache'):
        assert there[field].obj_to_primitive() == here[field].obj_to_primitive()
    assert (there.metadata, there.system_metadata) == (metadata, system_metadata)


# -- over a plain cell: one message for each change --


def life(child, number=6):
    """Return the messages of a life, with the one at its end, and what they end in."""
    chance = random.Random(number)
    create(child)
    told = []
    for _ in range(number):
        batch, reports = child.claim(plain=True)
        told += reports
        child.told(batch)
        change(child, chance)
    for _ in range(2):  # what is left, and the last one
        with child.database.write() as connection:
            connection.execute(sa.update(models.Dirty).values(claimed_until=0.0))
        batch, reports = child.claim(plain=True)
        told += reports
        child.told(batch)
    assert child.dirty() == []
    return [
        (one.operation, one.kwargs, wire.counted_uuid(messages.new_uuid(), one.pair))
        for one in told
        if one.operation == 'instance_update_at_top'
    ]


def test_s2_what_comes_through_plain_cells_in_any_order_ends_in_the_newest_state(databases):
    child, top = fresh(databases)
    told = life(child)
    final = replication.record(child.database, ONE)
    assert len(told) > 3
    for seed in range(SEEDS):
        chance = random.Random(seed)
        with top.database.write() as connection:
            for table in models.Base.metadata.tables.values():
                connection.execute(sa.delete(table))
        # The first makes the record; the others come in any order, some of them twice.
        some = [*told[1:], *chance.choices(told, k=3)]
        chance.shuffle(some)
        for operation, kwargs, uuid in [told[0], *some]:
            top.hear(operation, kwargs, 'leaf!mid!top', uuid=uuid)
        found = replication.record(top.database, ONE)
        for name in (*instances.STATE_COLUMNS, 'instance_fields'):
            if name != 'cell_name':
                assert found[name] == final[name], (seed, name)


# -- from plain cells, which count nothing --


def instance(changes=(), **values):
    made = Instance(uuid=ONE, **values)
    made.obj_reset_changes()
    made._changed_fields = set(changes)
    return made


def known(top, **values):
    values = {'uuid': ONE, 'project_id': 'p', 'cell_name': 'top!leaf', **values}
    with top.database.write() as connection:
        instances.instance_create(connection, values)


RULES = [
    # incoming, stored, whether it counts
    ({'vm_state': 'building'}, {'vm_state': 'active'}, False),
    ({'vm_state': 'building'}, {'vm_state': 'building'}, True),
    ({'vm_state': 'building'}, {'vm_state': None}, True),
    ({'vm_state': 'active'}, {'vm_state': 'error'}, True),
    ({'task_state': 'resize_finish'}, {'task_state': None}, False),
    ({'task_state': 'resize_finish'}, {'task_state': 'resize_migrated'}, True),
    ({'task_state': 'resize_migrating'}, {'task_state': 'resize_migrated'}, False),
    ({'task_state': 'rebuild_spawning'}, {'task_state': 'rebuilding'}, True),
    ({'task_state': 'rebuild_block_device_mapping'}, {'task_state': 'rebuild_spawning'}, False),
    ({'task_state': None}, {'task_state': 'deleting'}, True),
    ({'task_state': 'powering-off'}, {'task_state': None}, True),
]


@pytest.mark.parametrize(('incoming', 'stored', 'counts'), RULES)
def test_s2_the_rules_for_states_of_plain_cells(pair, incoming, stored, counts):
    _, top = pair
    known(top, **stored)
    top.hear(
        'instance_update_at_top',
        {'instance': instance(('power_state',), power_state=1, **incoming)},
    )
    assert replication.column(top.database, ONE, 'power_state') == (1 if counts else None)
    assert top.stats.get('replicas_dropped', reason='state') == (not counts)
    # Only what has changed is taken, whatever else is told.
    [name] = stored
    assert replication.column(top.database, ONE, name) == stored[name]


def test_an_update_that_says_nothing_of_what_has_changed_is_all_of_it(pair):
    _, top = pair
    known(top, vm_state='error', host='old')
    top.hear('instance_update_at_top', {'instance': instance(vm_state='active', host='new')})
    assert replication.column(top.database, ONE, 'vm_state') == 'active'
    assert replication.column(top.database, ONE, 'host') == 'new'


def test_what_an_older_release_tells_as_a_dictionary_is_taken(pair):
    _, top = pair
    known(top)
    told = {
        'uuid': ONE,
        'id': 77,
        'vm_state': 'active',
        'launched_at': '2016-03-01T12:00:00.000000',
        'metadata': [{'key': 'a', 'value': 'b'}],
        'system_metadata': [{'key': 'image_os', 'value': 'linux'}],
        'info_cache': {'instance_uuid': ONE, 'network_info': '[]'},
        'name': 'instance-0000004d',
        'security_groups': [],
        'nonsense': 1,
        'deleted': 0,
    }
    top.hear('instance_update_at_top', {'instance': told})
    with top.database.read() as connection:
        found = instances.instance_get(connection, ONE)
    assert found.vm_state == 'active'
    assert found.system_metadata == {'image_os': 'linux'}
    assert found.info_cache.network_info == []
    assert found.launched_at is not None
    assert found.metadata == {}
    assert found.id != 77


def test_s12_metadata_and_security_groups_of_plain_cells_do_not_count(pair):
    _, top = pair
    known(top)
    told = instance(('metadata', 'cell_name', 'vm_state'), metadata={'a': 'b'}, vm_state='active')
    top.hear('instance_update_at_top', {'instance': told})
    with top.database.read() as connection:
        found = instances.instance_get(connection, ONE)
    assert (found.metadata, found.vm_state, found.cell_name) == ({}, 'active', 'top!leaf')


def test_s3_a_plain_cell_has_a_missing_record_made(pair):
    _, top = pair
    told = instance(id=5, project_id='p', user_id='u', vm_state='active', metadata={'a': 'b'})
    top.hear('instance_update_at_top', {'instance': told}, 'leaf!mid!top')
    with top.database.read() as connection:
        found = instances.instance_get(connection, ONE)
    assert (found.project_id, found.cell_name) == ('p', 'top!mid!leaf')
    assert found.metadata == {'a': 'b'}
    top.hear('instance_destroy_at_top', {'instance': told}, 'leaf!mid!top')
    assert replication.column(top.database, ONE, 'deleted') != 0
    top.hear('instance_update_at_top', {'instance': told}, 'leaf!mid!top')
    assert replication.column(top.database, ONE, 'deleted') != 0
    assert [order[0] for order in top.orders] == ['terminate_instance']


def test_s3_what_tells_too_little_makes_no_record(pair):
    _, top = pair
    top.hear('instance_update_at_top', {'instance': instance(vm_state='error')})
    assert replication.record(top.database, ONE) is None
    assert top.stats.get('replicas_dropped', reason='missing') == 1


def test_s4_a_cell_that_does_not_find_an_instance_does_not_delete_it(pair, caplog):
    _, top = pair
    known(top, vm_state='active')
    for _ in range(2):
        top.hear('instance_destroy_at_top', {'instance': instance(('uuid',))})
    assert replication.column(top.database, ONE, 'deleted') == 0
    assert 'top!leaf did not find it' in replication.column(top.database, ONE, 'inconsistent')
    assert top.stats.get('replicas_inconsistent') == 2
    assert caplog.text.count('marked as inconsistent') == 1
    top.hear('instance_update_at_top', {'instance': instance(('vm_state',), vm_state='stopped')})
    assert replication.column(top.database, ONE, 'inconsistent') is None


@pytest.mark.parametrize('task_state', ['deleting', 'soft-deleting'])
def test_s4_it_is_deleted_when_it_is_being_deleted(pair, task_state):
    _, top = pair
    known(top, task_state=task_state)
    top.hear('instance_destroy_at_top', {'instance': instance(('uuid',))})
    assert replication.column(top.database, ONE, 'deleted') != 0


OPERATIONS = {
    'instance_update_at_top': {'instance': instance(('vm_state',), vm_state='error')},
    'instance_destroy_at_top': {'instance': instance(vm_state='error')},
    'instance_fault_create_at_top': {'instance_fault': {'instance_uuid': ONE, 'code': 500}},
    'bdm_update_or_create_at_top': {'bdm': {'instance_uuid': ONE, 'volume_id': 'v'}},
    'bdm_destroy_at_top': {'instance_uuid': ONE, 'volume_id': 'kept'},
    'bw_usage_update_at_top': {
        'bw_update_info': {'uuid': ONE, 'mac': 'm', 'start_period': '2016-03-01 12:00:00'}
    },
}


@pytest.mark.parametrize('operation', OPERATIONS)
def test_x1_no_other_cell_is_heard(pair, operation):
    _, top = pair
    known(top, vm_state='active')
    with top.database.write() as connection:
        block_devices.bdm_save(connection, ONE, {'volume_id': 'kept'})
    before = replication.record(top.database, ONE)
    top.hear(operation, OPERATIONS[operation], 'evil!top')
    top.hear(operation, OPERATIONS[operation], 'below!leaf!top')
    assert replication.record(top.database, ONE) == before
    with top.database.read() as connection:
        for model in (models.InstanceFault, models.BandwidthUsage):
            assert connection.execute(sa.select(sa.func.count(model.id))).scalar() == 0
    assert top.stats.get('replicas_refused', operation=operation) == 2


@pytest.mark.parametrize('operation', OPERATIONS)
def test_what_comes_twice_is_there_once(pair, operation):
    _, top = pair
    known(top, vm_state='active')
    for _ in range(2):
        top.hear(operation, OPERATIONS[operation])
    with top.database.read() as connection:
        for model in (models.InstanceFault, models.BandwidthUsage, models.BlockDeviceMapping):
            assert connection.execute(sa.select(sa.func.count(model.id))).scalar() in (0, 1)


DEVICES = [
    ('bdm_update_or_create_at_top', {'create': True}, {'device_name': None}),
    ('bdm_update_or_create_at_top', {'create': None}, {'device_name': '/dev/vdb'}),
    ('bdm_update_or_create_at_top', {'create': False}, {'device_name': '/dev/vdb'}),
    ('bdm_update_or_create_at_top', {'create': True}, {'device_name': '/dev/vdb'}),
]


@pytest.mark.parametrize('order', itertools.permutations(range(len(DEVICES))))
def test_s10_a_volume_has_one_row_in_whatever_order_it_is_told_of(pair, order):
    _, top = pair
    known(top)
    for index in order:
        operation, kwargs, values = DEVICES[index]
        row = {'instance_uuid': ONE, 'volume_id': 'v', 'id': index, **values}
        top.hear(operation, {'bdm': row, **kwargs})
    with top.database.read() as connection:
        found = block_devices.bdm_get_all(connection, ONE)
    assert [row['volume_id'] for row in found] == ['v']
    top.hear('bdm_destroy_at_top', {'instance_uuid': ONE, 'volume_id': 'v'})
    with top.database.read() as connection:
        assert block_devices.bdm_get_all(connection, ONE) == []


def test_s10_a_volume_of_a_plain_cell_and_of_ours_is_one(pair):
    child, top = pair
    create(child)
    with child.database.write() as connection:
        block_devices.bdm_save(connection, ONE, {'volume_id': 'v', 'device_name': '/dev/vdb'})
    _, items = child.claim()
    row = {'instance_uuid': ONE, 'volume_id': 'v', 'device_name': '/dev/vdc'}
    top.take(items)
    with top.database.write() as connection:
        connection.execute(sa.delete(models.BlockDeviceMapping))
    top.hear('bdm_update_or_create_at_top', {'bdm': row, 'create': True})
    with child.database.write() as connection:
        instances.instance_touch(connection, ONE, [instances.BLOCK_DEVICES])
    with child.database.write() as connection:
        connection.execute(sa.update(models.Dirty).values(claimed_until=0.0))
    replication.bring(child, top)
    assert replication.record(top.database, ONE) == replication.record(child.database, ONE)
