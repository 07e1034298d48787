"""The whole state of instances, and the marks for the cells above, on each kind of database."""

import concurrent.futures

import pytest
import sqlalchemy as sa

from cells import exceptions
from cells.db import block_devices, engine, faults, instance_actions, instances, models
from cells.objects import flavor, instance, pci

ONE = '11111111-1111-4111-8111-111111111111'
VOLUME = '33333333-3333-4333-8333-333333333333'


@pytest.fixture
def replicating(database):
    """The same database as that of a cell with others above."""
    made = engine.Database(database.url, replicates=True)
    yield made
    made.dispose()


def write(database, function, *args, **kwargs):
    with database.write() as connection:
        return function(connection, *args, **kwargs)


def get(database):
    with database.read() as connection:
        return instances.instance_get(connection, ONE)


def marks(database):
    columns = models.Dirty.__table__.c
    with database.read() as connection:
        found = connection.execute(sa.select(columns.part, columns.names, columns.seq))
        return {row.part: (set(row.names.split(',')), row.seq) for row in found}


def clean(database):
    with database.write() as connection:
        connection.execute(sa.delete(models.Dirty))


def test_fields_that_are_no_columns_come_back(database):
    size = flavor.Flavor(id=1, name='m1', flavorid='1', memory_mb=512, vcpus=1, root_gb=1)
    requests = pci.InstancePCIRequests(instance_uuid=ONE, requests=[])
    cache = instance.InstanceInfoCache(instance_uuid=ONE, network_info='[{"id": "é"}]')
    write(
        database,
        instances.instance_create,
        {'uuid': ONE, 'flavor': size, 'system_metadata': {'image_x': None, 'y': '😀'}},
        fields={'pci_requests': requests, 'info_cache': cache},
    )
    found = get(database)
    assert found.flavor.flavorid == '1'
    assert found.system_metadata == {'image_x': None, 'y': '😀'}
    assert found.pci_requests.instance_uuid == ONE
    assert found.info_cache.network_info == cache.network_info
    assert found.obj_what_changed() == set()

    changed = write(
        database, instances.instance_update, ONE, {'pci_requests': None, 'flavor': size}
    )
    assert changed == {'pci_requests'}
    assert 'pci_requests' not in get(database)


def test_p3_a_save_that_changes_nothing_is_not_noted(replicating):
    write(replicating, instances.instance_create, {'uuid': ONE, 'vm_state': 'active'})
    assert marks(replicating) == {'instance': ({'*'}, 1)}
    clean(replicating)

    same = {'vm_state': 'active', 'system_metadata': {'a': '1'}}
    assert write(replicating, instances.instance_update, ONE, same) == {'system_metadata'}
    clean(replicating)
    assert write(replicating, instances.instance_update, ONE, same) == frozenset()
    assert marks(replicating) == {}


def test_changes_are_counted_and_their_names_gathered(replicating):
    write(replicating, instances.instance_create, {'uuid': ONE})
    clean(replicating)
    write(replicating, instances.instance_update, ONE, {'vm_state': 'active'})
    write(replicating, instances.instance_update, ONE, {'host': 'h1', 'power_state': 1})
    write(replicating, instances.instance_update, ONE, {'progress': 5}, sync=False)
    assert marks(replicating) == {'instance': ({'vm_state', 'host', 'power_state'}, 3)}
    write(replicating, instances.instance_destroy, ONE)
    names, seq = marks(replicating)['instance']
    assert '*' in names
    assert seq == 4


def test_the_top_notes_nothing(database):
    write(database, instances.instance_create, {'uuid': ONE})
    write(database, instances.instance_update, ONE, {'vm_state': 'active'})
    write(database, faults.fault_create, ONE, 'broken')
    assert marks(database) == {}


def test_what_is_undone_leaves_no_mark(replicating):
    write(replicating, instances.instance_create, {'uuid': ONE})
    clean(replicating)

    def fail(connection):
        instances.instance_update(connection, ONE, {'vm_state': 'error'})
        raise ValueError('undone')

    with pytest.raises(ValueError, match='undone'):
        write(replicating, fail)
    assert marks(replicating) == {}
    assert get(replicating).vm_state is None


def test_s14_expecting_null_is_no_way_past_a_running_task(replicating):
    write(replicating, instances.instance_create, {'uuid': ONE, 'task_state': 'rebooting'})
    with pytest.raises(exceptions.UnexpectedTaskStateError):
        write(
            replicating,
            instances.instance_update,
            ONE,
            {'task_state': 'powering-off'},
            {'task_state': None},
        )
    # Also when there is nothing to write: the expectation comes first.
    with pytest.raises(exceptions.UnexpectedTaskStateError):
        write(
            replicating,
            instances.instance_update,
            ONE,
            {'task_state': 'rebooting'},
            {'task_state': None},
        )


def test_of_those_who_expect_the_same_one_wins_and_each_change_is_counted(replicating):
    write(replicating, instances.instance_create, {'uuid': ONE})

    def begin(number):
        try:
            write(
                replicating,
                instances.instance_update,
                ONE,
                {'task_state': 'task-%d' % number},
                {'task_state': None},
            )
        except exceptions.UnexpectedTaskStateError:
            return False
        return True

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(begin, range(8))) == 1
    assert marks(replicating)['instance'][1] == 2

    def note(number):
        write(replicating, instances.instance_touch, ONE, [instances.METADATA])

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(note, range(16)))
    assert marks(replicating)['instance'][1] == 18


def test_s10_a_volume_has_one_row_whoever_brings_it(replicating):
    write(replicating, instances.instance_create, {'uuid': ONE})

    def attach(number):
        return write(
            replicating,
            block_devices.bdm_save,
            ONE,
            {'volume_id': VOLUME, 'device_name': None if number % 2 else '/dev/vdb'},
        )

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(attach, range(8)))) == 1
    with replicating.read() as connection:
        assert len(block_devices.bdm_get_all(connection, ONE)) == 1
    assert instances.BLOCK_DEVICES in marks(replicating)['instance'][0]
    assert write(replicating, block_devices.bdm_destroy, ONE, volume_id=VOLUME)
    assert not write(replicating, block_devices.bdm_destroy, ONE, volume_id=VOLUME)
    # Attached again, it is a new row beside the deleted one.
    attach(0)
    with replicating.read() as connection:
        assert len(block_devices.bdm_get_all(connection, ONE)) == 1


def test_a_fault_is_noted_once_and_what_is_long_is_kept(replicating):
    write(replicating, instances.instance_create, {'uuid': ONE})
    clean(replicating)
    for _ in range(2):
        write(replicating, faults.fault_create, ONE, 'x' * 300, uuid=VOLUME)
    found = faults.fault_get_all(replicating, ONE)
    assert [(len(one['message']), one['details']) for one in found] == [(255, 'x' * 300)]
    assert set(marks(replicating)) == {'fault'}


def test_an_action_ends_once(replicating):
    write(replicating, instances.instance_create, {'uuid': ONE})
    number = write(
        replicating,
        instance_actions.action_create,
        {'instance_uuid': ONE, 'action': 'stop', 'request_id': 'r1', 'uuid': VOLUME},
    )
    write(
        replicating,
        instance_actions.event_create,
        {'action_id': number, 'event': 'compute_stop_instance', 'uuid': ONE},
    )
    clean(replicating)
    write(replicating, instance_actions.event_end, ONE, instance_actions.ERROR, 'host is down')
    write(replicating, instance_actions.action_end, VOLUME, 'Error')
    write(replicating, instance_actions.action_end, VOLUME, None)
    assert set(marks(replicating)) == {'action', 'event'}
    (action,) = instance_actions.actions_get(replicating, ONE)
    assert (action['message'], 'uuid' in action) == ('Error', False)
    (event,) = instance_actions.action_events_get(replicating, number)
    assert (event['result'], event['traceback']) == ('Error', 'host is down')


def test_r12_what_was_put_aside_is_tried_again_soon_when_it_is_marked_anew(replicating):
    write(replicating, instances.instance_create, {'uuid': ONE})
    columns = models.Dirty.__table__.c

    def wait(seconds):
        with replicating.write() as connection:
            connection.execute(sa.update(models.Dirty).values(claimed_until=engine.now() + seconds))
        write(replicating, instances.instance_touch, ONE, [instances.METADATA])
        with replicating.read() as connection:
            left = sa.select(columns.claimed_until - engine.now())
            return float(connection.execute(left).scalar_one())

    assert wait(3600) <= 30
    assert 50 < wait(60) <= 60  # somebody sends it just now
