"""What happens in a cell and what is known of it at the top, on each kind of database."""

import contextlib
import datetime
import threading

import pytest
import sqlalchemy as sa

from cells import exceptions, paths
from cells.db import (
    bandwidth,
    block_devices,
    console_tokens,
    dirty,
    engine,
    faults,
    instance_actions,
    instances,
    migration,
    models,
    path_aliases,
    placements,
    replicas,
    statements,
    tombstones,
    unsent,
)
from cells.objects import flavor
from cells.objects.instance import InstanceInfoCache
from tests import deploy, replication

ONE = '11111111-1111-4111-8111-111111111111'
TWO = '22222222-2222-4222-8222-222222222222'
VOLUME = '33333333-3333-4333-8333-333333333333'
MOMENT = datetime.datetime(2016, 3, 1, 12, 0, 0, 123456)
UNICODE = 'aé漢😀"\\'
PATH = 'top!leaf'

FIELDS = {
    'system_metadata': {'image_os': UNICODE, 'none': None},
    'flavor': flavor.Flavor(id=1, name=UNICODE, memory_mb=512, extra_specs={'k': 'v'}),
    'old_flavor': None,
    'info_cache': InstanceInfoCache(instance_uuid=ONE, network_info='[{"id": "n1"}]'),
}
VALUES = {
    'project_id': 'p1',
    'user_id': 'u1',
    'vm_state': 'active',
    'task_state': None,
    'display_name': UNICODE,
    'launched_at': MOMENT,
    'access_ip_v6': '2001:db8::1',
    'locked': True,
    'memory_mb': 512,
    'user_data': 'x' * 100_000,
    'host': 'h1',
}


@pytest.fixture
def top(database):
    return replication.Top(database)


@pytest.fixture
def child(workdir):
    found = engine.Database('sqlite:///%s' % (workdir / 'child.sqlite'), replicates=True)
    migration.sync(found)
    yield replication.Child(found)
    found.dispose()


@pytest.fixture
def store(database):
    """A cell below, on each kind of database."""
    found = engine.Database(database.url, replicates=True)
    yield replication.Child(found)
    found.dispose()


def create(child, uuid=ONE, fields=None, metadata=None, **values):
    with child.database.write() as connection:
        given = {**VALUES, **values, 'uuid': uuid}
        instances.instance_create(connection, given, metadata or {'é': '😀'}, fields or FIELDS)


def update(child, uuid=ONE, fields=None, **values):
    with child.database.write() as connection:
        return instances.instance_update(connection, uuid, values, fields=fields)


def same(child, top, uuid=ONE):
    here, there = (replication.record(one.database, uuid) for one in (child, top))
    assert here is not None
    assert there == here


# -- states --


def test_t10_all_that_an_instance_has_comes_to_the_top_as_it_is(child, top):
    create(child)
    with child.database.write() as connection:
        for number in range(3):
            block_devices.bdm_save(
                connection, ONE, {'volume_id': 'v%d' % number, 'connection_info': '{"a": "é"}'}
            )
    assert replication.bring(child, top) == 1
    same(child, top)
    assert replication.column(top.database, ONE, 'cell_name') == PATH
    with top.database.read() as connection:
        found = instances.instance_get(connection, ONE)
    assert found.flavor.extra_specs == {'k': 'v'}
    assert found.system_metadata == FIELDS['system_metadata']
    assert found.launched_at.replace(tzinfo=None) == MOMENT


def test_s3_a_record_that_was_deleted_by_hand_comes_back(child, top):
    create(child)
    replication.bring(child, top)
    with top.database.write() as connection:
        for model in (models.Instance, models.InstanceField, models.InstanceMetadata):
            connection.execute(sa.delete(model))
    update(child, task_state='rebooting')
    assert replication.bring(child, top) == 2  # only what changed first, then all
    same(child, top)
    assert replication.column(top.database, ONE, 'cell_name') == PATH
    assert replication.column(top.database, ONE, 'project_id') == 'p1'
    assert top.stats.get('replicas_restored') == 2
    assert child.stats.get('sync_told_anew') == 1


def test_p3_what_changes_nothing_marks_nothing_and_sends_nothing(store):
    create(store)
    batch, _ = store.claim()
    store.end(batch, {ONE: [0, 1]})
    assert update(store, vm_state='active', fields=FIELDS) == frozenset()
    with store.database.write() as connection:
        instances.metadata_set(connection, ONE, {'é': '😀'})
    assert store.dirty() == []


def test_p3_many_changes_are_one_mark(store, top, child):
    create(child)
    for number in range(100):
        update(child, progress=number)
    assert child.dirty() == [(ONE, 'instance')]
    _, items = child.claim()
    assert [item['values']['progress'] for item in items] == [99]
    assert items[0]['at'] == (0, 101)


def test_only_what_has_changed_is_sent(child, top):
    create(child)
    replication.bring(child, top)
    update(child, vm_state='stopped', fields={'system_metadata': {'a': 'b'}})
    _, [item] = child.claim()
    assert item == {
        'uuid': ONE,
        'at': (0, 2),
        'values': {'vm_state': 'stopped'},
        'fields': {'system_metadata': {'a': 'b'}},
    }


def test_a_field_that_has_no_value_any_more_has_none_at_the_top(child, top):
    create(child)
    replication.bring(child, top)
    update(child, fields={'info_cache': None})
    replication.bring(child, top)
    same(child, top)
    with top.database.read() as connection:
        assert 'info_cache' not in instances.instance_get(connection, ONE)


def test_metadata_and_devices_that_are_gone_are_gone_at_the_top(child, top):
    create(child, metadata={'a': '1', 'b': '2'})
    with child.database.write() as connection:
        for volume in ('v1', 'v2'):
            block_devices.bdm_save(connection, ONE, {'volume_id': volume, 'device_name': volume})
    replication.bring(child, top)
    with child.database.write() as connection:
        instances.metadata_set(connection, ONE, {'b': '3'}, replace=True)
        instances.instance_touch(connection, ONE, [instances.METADATA])
        block_devices.bdm_destroy(connection, ONE, volume_id='v1')
        block_devices.bdm_save(connection, ONE, {'volume_id': 'v3', 'device_name': 'v1'})
    replication.bring(child, top)
    same(child, top)
    with child.database.write() as connection:
        block_devices.bdm_save(connection, ONE, {'volume_id': 'v1', 'device_name': 'v9'})
    replication.bring(child, top)
    same(child, top)


def test_many_instances_with_different_changes_are_taken_together(child, top):
    uuids = ['%08d-0000-4000-8000-000000000000' % number for number in range(60)]
    for number, uuid in enumerate(uuids):
        create(child, uuid, host='h%d' % number)
    assert replication.bring(child, top) == 1
    for number, uuid in enumerate(uuids):
        update(
            child,
            uuid,
            vm_state='stopped' if number % 2 else 'paused',
            launched_at=MOMENT if number % 3 else None,
            access_ip_v4=None if number % 5 else '10.0.0.%d' % number,
            locked=number % 7 == 0,
        )
    assert replication.bring(child, top) == 1
    for uuid in uuids:
        same(child, top, uuid)


# -- late and twice --


def test_s2_what_is_late_or_comes_twice_does_not_count(child, top):
    create(child)
    replication.bring(child, top)
    update(child, vm_state='stopped', power_state=4)
    _, older = child.claim(seconds=-1)  # nobody waits for the answer
    update(child, vm_state='active')
    newer, items = child.claim()
    child.end(newer, top.take(items))
    same(child, top)
    assert top.take(older) == {ONE: [0, 3]}
    assert top.take(items) == {ONE: [0, 3]}
    same(child, top)
    assert top.stats.get('replicas_dropped', reason='old') == 2
    assert child.dirty() == []


def test_what_is_marked_again_while_it_is_sent_is_sent_again(child, top):
    create(child)
    batch, items = child.claim()
    update(child, vm_state='error')
    child.end(batch, top.take(items))
    assert child.dirty() == [(ONE, 'instance')]
    assert replication.bring(child, top) == 1
    same(child, top)


def test_what_is_marked_again_while_it_is_put_off_does_not_wait_for_the_claim_to_end(child):
    create(child)
    batch, _ = child.claim()
    update(child, vm_state='error')
    with child.database.write() as connection:
        assert not unsent.release(connection, batch.token, [ONE], 3.0)
        unsent.release_marked(connection, [ONE], 3.0)
    assert list(child.claim()[0].marks) == []
    deploy.wait_until(lambda: list(child.claim()[0].marks) == [ONE], 20, 'it is free again')


def test_an_instance_is_on_its_way_once_at_a_time(store):
    create(store)
    assert list(store.claim()[0].marks) == [ONE]
    update(store, vm_state='error')
    assert list(store.claim()[0].marks) == []


def test_what_a_dead_worker_had_claimed_is_free_when_it_is_back(store):
    create(store)
    store.claim()
    assert list(store.claim()[0].marks) == []
    with store.database.write() as connection:
        unsent.release_all(connection, 'other')
    assert list(store.claim()[0].marks) == []
    with store.database.write() as connection:
        unsent.release_all(connection, 'w')
    assert list(store.claim()[0].marks) == [ONE]


def test_a_claim_that_nobody_ends_is_over_in_time(store):
    create(store)
    store.claim(seconds=-0.001)
    assert unsent.due(store.database)
    assert list(store.claim()[0].marks) == [ONE]
    assert not unsent.due(store.database)


def test_two_workers_never_claim_the_same(store):
    for number in range(200):
        create(store, '%08d-0000-4000-8000-000000000000' % number)
    found: list[list[str]] = [[], []]

    def work(index):
        for number in range(1000):
            with store.database.write() as connection:
                rows = unsent.claim(connection, 'w%d#%d' % (index, number), 60, 7)
            found[index] += [row['instance_uuid'] for row in rows]
            if not rows and not unsent.due(store.database):
                return

    threads = [threading.Thread(target=work, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found[0]) + len(found[1]) == 200
    assert not set(found[0]) & set(found[1])


def test_a_mark_does_not_grow_without_end(store):
    create(store)
    with store.database.write() as connection:
        for number in range(2, 500):
            dirty.mark(connection, ONE, ['vm_state', 'task_state'], 0, number)
        columns = models.Dirty.__table__.c
        assert len(connection.execute(sa.select(columns.names)).scalar()) < 2000
    batch, items = store.claim()
    assert batch.marks[ONE].whole
    assert items[0]['at'] == (0, 499)


def test_what_a_plain_parent_is_told_once_more_does_not_grow_without_end(store):
    create(store)
    for _ in range(300):
        with store.database.write() as connection:
            unsent.close_later(connection, [(ONE, 'task_state,updated_at', 0, 2)], 5.0)
    columns = models.Dirty.__table__.c
    with store.database.read() as connection:
        [names] = connection.execute(
            sa.select(columns.names).where(columns.part == unsent.CLOSING)
        ).scalars()
    assert len(names) < 2000
    assert '*' in names.split(',')


def test_what_plain_parents_are_told_once_more_is_written_for_many_at_once(store):
    uuids = [ONE, *(ONE[:-1] + digit for digit in 'ab')]
    with store.database.write() as connection:
        unsent.close_later(connection, [(uuids[0], 'host', 0, 2)], 50.0)
        dirt = sa.update(models.Dirty).where(models.Dirty.part == unsent.CLOSING)
        connection.execute(dirt.values(claimed_by='somebody#1'))
        told = [(uuid, 'vm_state', 1, 3 + number) for number, uuid in enumerate(uuids)]
        unsent.close_later(connection, told, 5.0)
    columns = models.Dirty.__table__.c
    with store.database.read() as connection:
        query = sa.select(models.Dirty.__table__).where(columns.part == unsent.CLOSING)
        rows = {row.instance_uuid: row for row in connection.execute(query)}
        waits = unsent.closing_in(connection, uuids)
    assert {uuid: (row.epoch, row.seq) for uuid, row in rows.items()} == {
        uuid: (1, 3 + number) for number, uuid in enumerate(uuids)
    }
    assert {uuid: row.names for uuid, row in rows.items()} == {
        uuids[0]: 'host,vm_state',
        uuids[1]: 'vm_state',
        uuids[2]: 'vm_state',
    }
    assert {row.claimed_by for row in rows.values()} == {None}
    assert {row.attempts for row in rows.values()} == {0}
    assert all(0 < left <= 5 for left in waits.values())


def test_s2_a_cell_that_is_restored_from_a_backup_comes_to_be_believed(child, top):
    create(child)
    for number in range(5):
        update(child, progress=number)
    replication.bring(child, top)
    with child.database.write() as connection:  # as it was a while ago
        connection.execute(sa.update(models.Instance).values(sync_seq=2, progress=1, host='h0'))
    update(child, vm_state='stopped')
    replication.bring(child, top)
    same(child, top)
    assert replication.column(top.database, ONE, 'sync_epoch') == 1
    assert child.stats.get('sync_behind') == 1
    update(child, vm_state='active')
    assert replication.bring(child, top) == 1
    same(child, top)


# -- the end of instances --


def test_s6_a_record_that_is_deleted_never_comes_back(child, top):
    create(child)
    replication.bring(child, top)
    with top.database.write() as connection:
        instances.instance_destroy(connection, ONE)
    before = replication.record(top.database, ONE)
    for number in range(3):
        update(child, progress=number, vm_state='error')
        batch, items = child.claim()
        answer = top.take(items)
        assert answer == {ONE: 'gone'}
        child.end(batch, answer)
        assert child.dirty() == []
    assert replication.record(top.database, ONE) == before
    [(operation, kwargs, target)] = top.orders  # once in a minute
    assert (operation, kwargs['instance'].uuid, target) == ('terminate_instance', ONE, PATH)
    assert top.stats.get('replicas_dropped', reason='gone') == 3


def test_s6_the_order_to_terminate_is_repeated_after_its_time(database):
    with database.write() as connection:
        assert replicas.tell_once(connection, ONE, -1.0)
    with database.write() as connection:
        assert replicas.tell_once(connection, ONE, 100.0)
        assert not replicas.tell_once(connection, ONE, 100.0)
        assert replicas.tell_once(connection, TWO, 100.0)


def test_s6_the_order_to_terminate_is_not_taken_for_an_attempt_that_was_given_up(database):
    with database.write() as connection:
        assert replicas.tell_once(connection, ONE, 100.0)
        assert tombstones.tombstone_check(connection, ONE, 1) is None
        for attempt in (1, 2):
            own = tombstones.of_own_attempt(attempt)
            tombstones.tombstone_put(connection, TWO, own, 'it was cancelled')
        assert replicas.tell_once(connection, TWO, 100.0)


def test_what_is_deleted_in_its_cell_is_deleted_at_the_top(child, top):
    create(child)
    replication.bring(child, top)
    with child.database.write() as connection:
        instances.instance_update(connection, ONE, {'terminated_at': MOMENT, 'vm_state': 'deleted'})
        instances.instance_destroy(connection, ONE)
    replication.bring(child, top)
    same(child, top)
    with top.database.read() as connection, pytest.raises(exceptions.InstanceNotFound):
        instances.instance_get(connection, ONE)
    with child.database.write() as connection:
        faults.fault_create(connection, ONE, 'said after its end')
    assert replication.bring(child, top) == 1
    assert [row['message'] for row in faults.fault_get_all(top.database, ONE)] == [
        'said after its end'
    ]
    assert top.orders == []


def test_an_instance_that_was_never_known_and_is_gone_needs_no_record(child, top):
    create(child)
    with child.database.write() as connection:
        instances.instance_destroy(connection, ONE)
    assert replication.bring(child, top) == 1
    assert replication.record(top.database, ONE) is None


# -- owners --


def test_x1_another_cell_cannot_change_destroy_or_take_over_an_instance(child, top):
    create(child)
    replication.bring(child, top)
    before = replication.record(top.database, ONE)
    update(child, vm_state='error')
    with child.database.write() as connection:
        faults.fault_create(connection, ONE, 'forged')
        instances.instance_destroy(connection, ONE)
    batch, items = child.claim()
    answer = top.take(items, 'evil!top')
    assert answer[ONE] == 'refused: it belongs to cell top!leaf'
    assert replication.record(top.database, ONE) == before
    assert replication.column(top.database, ONE, 'cell_name') == PATH
    assert faults.fault_get_all(top.database, ONE) == []
    assert top.stats.get('replicas_refused', operation='x_instances_update_at_top') == 1
    child.end(batch, answer)
    assert len(child.dirty()) == 2  # kept, and tried again much later
    assert not unsent.due(child.database)
    assert child.stats.get('sync_refused') == 1


def test_x1_what_is_refused_is_said_once_and_counted_always(child, top, caplog):
    create(child)
    replication.bring(child, top)
    update(child, vm_state='error')
    _, items = child.claim()
    for _ in range(5):
        top.take(items, 'evil!top')
    assert caplog.text.count('is refused: it belongs to cell top!leaf') == 1
    assert top.stats.get('replicas_refused', operation='x_instances_update_at_top') == 5


def placed(database, cell, state='placed', attempt=1):
    with database.write() as connection:
        placements.attempts_add(
            connection,
            [
                {
                    'instance_uuid': ONE,
                    'attempt': attempt,
                    'request_uuid': 'r',
                    'next_cell': cell,
                    'state': state,
                }
            ],
        )


def test_x1_a_build_belongs_to_the_cell_that_it_was_given_to(child, top):
    with top.database.write() as connection:
        instances.instance_create(connection, {'uuid': ONE, 'vm_state': 'building'})
    placed(top.database, 'leaf')
    create(child, vm_state='building', task_state='spawning', launched_at=None)
    _, items = child.claim()
    assert top.take(items, 'other!top')[ONE].startswith('refused')
    assert [target for _, _, target in top.orders] == ['top!other']
    assert replication.column(top.database, ONE, 'cell_name') is None
    assert top.take(items, 'deeper!leaf!top') == {ONE: [0, 1]}
    assert replication.column(top.database, ONE, 'cell_name') == 'top!leaf!deeper'


def test_a_build_that_moves_on_takes_its_record_along(child, top, workdir):
    with top.database.write() as connection:
        instances.instance_create(connection, {'uuid': ONE, 'vm_state': 'building'})
    placed(top.database, 'mid')
    building = {'vm_state': 'building', 'task_state': 'spawning', 'launched_at': None}
    create(child, host='first', **building)
    for number in range(5):
        update(child, progress=number)
    replication.bring(child, top, 'a!mid!top')
    assert replication.column(top.database, ONE, 'cell_name') == 'top!mid!a'
    second = engine.Database('sqlite:///%s' % (workdir / 'second.sqlite'), replicates=True)
    migration.sync(second)
    other = replication.Child(second)
    create(other, host='second', **building)  # its count begins anew
    replication.bring(other, top, 'b!mid!top')
    assert replication.column(top.database, ONE, 'host') == 'second'
    assert replication.column(top.database, ONE, 'cell_name') == 'top!mid!b'
    same(other, top)
    update(other, vm_state='active', task_state=None, launched_at=MOMENT)
    replication.bring(other, top, 'b!mid!top')
    same(other, top)
    update(child, host='late')
    _, items = child.claim()
    assert top.take(items, 'a!mid!top')[ONE].startswith('refused')
    same(other, top)
    second.dispose()


def test_r12_instances_of_a_cell_that_was_renamed_or_moved_are_known_by_their_old_paths(
    child, top, database
):
    create(child)
    replication.bring(child, top, 'leaf!top')
    update(child, vm_state='stopped')
    _, items = child.claim()
    assert top.take(items, 'leaf!region!top')[ONE].startswith('refused')
    with database.write() as connection:
        old, new = paths.CellPath.parse('top!leaf'), paths.CellPath.parse('top!region!leaf')
        path_aliases.alias_create(connection, old, new)
    top.state.aliases = path_aliases.aliases(database)
    assert top.take(items, 'leaf!region!top') == {ONE: [0, 2]}
    same(child, top)


# -- one that is wrong --


@pytest.mark.parametrize(
    'broken',
    [
        {'values': {'vm_state': 17}},
        {'values': {'memory_mb': 'much'}},
        {'values': {'launched_at': 'yesterday'}},
        {'values': {'vm_state': 'x' * 300}},
        {'values': {'memory_mb': 2**63}},
        {'values': 'all'},
        {'fields': {'flavor': {'nova_object.name': 'Nonsense'}}},
        {'fields': {'info_cache': 'text'}},
        {'metadata': {'a': 1}},
        {'devices': [{'volume_id': 'v'}]},
        {'at': [1]},
        {'at': [-1, 5]},
        {'rows': {'fault': [{}]}},
        {'rows': {'event': [{'uuid': TWO}]}},
        {'rows': []},
        # What only a database finds.
        {'values': {'display_name': 'nul\0'}, 'metadata': {'k' * 300: 'v' * 300}},
    ],
)
def test_one_that_cannot_be_taken_costs_only_itself(child, top, broken):
    create(child)
    create(child, TWO)
    replication.bring(child, top)
    before = replication.record(top.database, ONE)
    good = {'uuid': TWO, 'at': [0, 9], 'values': {'vm_state': 'error'}}
    answer = top.take([{'uuid': ONE, 'at': [0, 9], **broken}, good, 'rubbish', {'uuid': 5}])
    assert answer[TWO] == [0, 9]
    assert replication.column(top.database, TWO, 'vm_state') == 'error'
    if top.database.dialect == 'sqlite' and 'display_name' in broken.get('values', ()):
        return  # it takes everything
    assert answer[ONE].startswith('refused')
    assert replication.record(top.database, ONE) == before


def test_a_list_of_items_that_is_none_is_the_senders_error(top):
    for items in ('text', {'a': 1}, [{}] * 201):
        with pytest.raises(exceptions.Invalid):
            top.take(items)


# -- what belongs to an instance --


def test_s16_the_history_of_an_instance_is_at_the_top_under_its_own_ids(child, top):
    create(child)
    replication.bring(child, top)
    with child.database.write() as connection:
        instance_actions.action_create(connection, {'instance_uuid': TWO, 'action': 'other'})
        number = instance_actions.action_create(
            connection,
            {
                'uuid': VOLUME,
                'instance_uuid': ONE,
                'action': 'reboot',
                'request_id': 'req-1',
                'start_time': MOMENT,
            },
        )
        instance_actions.event_create(
            connection, {'uuid': TWO, 'action_id': number, 'event': 'compute_reboot'}
        )
    replication.bring(child, top)
    [action] = instance_actions.actions_get(top.database, ONE)
    assert action['id'] == number
    assert (action['action'], action['request_id']) == ('reboot', 'req-1')
    assert action['finish_time'] is None
    older = child.claim()[1]
    with child.database.write() as connection:
        instance_actions.event_end(connection, TWO, instance_actions.ERROR, 'it broke')
        instance_actions.action_end(connection, VOLUME, instance_actions.ERROR)
    replication.bring(child, top)
    [action] = instance_actions.actions_get(top.database, ONE)
    assert action['message'] == 'Error'
    assert action['finish_time'] is not None
    columns = models.InstanceActionEvent.__table__.c
    with top.database.read() as connection:
        [event] = connection.execute(sa.select(*columns)).mappings().all()
        found = instance_actions.action_find(connection, VOLUME)
    assert (event['event'], event['result'], event['traceback']) == (
        'compute_reboot',
        'Error',
        'it broke',
    )
    assert event['action_id'] == found['id']
    top.take(older)  # late: it is over all the same
    assert instance_actions.actions_get(top.database, ONE) == [action]


def test_x1_the_history_of_an_instance_is_not_written_by_the_cell_of_another(child, top, workdir):
    create(child)
    with child.database.write() as connection:
        number = instance_actions.action_create(
            connection, {'uuid': VOLUME, 'instance_uuid': ONE, 'action': 'reboot'}
        )
        instance_actions.event_create(
            connection, {'uuid': ONE, 'action_id': number, 'event': 'compute_reboot'}
        )
    replication.bring(child, top)
    before = (
        rows(top.database, models.InstanceAction),
        rows(top.database, models.InstanceActionEvent),
    )
    evil = replication.Child(
        engine.Database('sqlite:///%s' % (workdir / 'evil.sqlite'), replicates=True)
    )
    migration.sync(evil.database)
    create(evil, TWO)
    with evil.database.write() as connection:
        number = instance_actions.action_create(
            connection, {'uuid': VOLUME, 'instance_uuid': TWO, 'action': 'forged'}
        )
        instance_actions.event_create(
            connection, {'uuid': ONE, 'action_id': number, 'event': 'forged'}
        )
        instance_actions.event_end(connection, ONE, instance_actions.ERROR, 'forged')
        instance_actions.action_end(connection, VOLUME, instance_actions.ERROR)
    assert replication.bring(evil, top, 'evil!top') == 1
    evil.database.dispose()
    after = (
        rows(top.database, models.InstanceAction),
        rows(top.database, models.InstanceActionEvent),
    )
    assert after == before


def test_s16_the_history_of_an_instance_goes_up_again_while_it_goes_up(child, top):
    create(child)
    replication.bring(child, top)
    with child.database.write() as connection:
        instance_actions.action_create(
            connection, {'uuid': VOLUME, 'instance_uuid': ONE, 'action': 'reboot'}
        )
    batch, items = child.claim()
    with child.database.write() as connection:
        instance_actions.action_end(connection, VOLUME)
    child.end(batch, top.take(items))
    replication.bring(child, top)
    [action] = instance_actions.actions_get(top.database, ONE)
    assert action['finish_time'] is not None


def usage(**values):
    return {
        'uuid': ONE,
        'mac': 'fa:16',
        'start_period': MOMENT,
        'bw_in': 1,
        'bw_out': 2,
        'last_ctr_in': 3,
        'last_ctr_out': 2**40,
        'last_refreshed': MOMENT,
        **values,
    }


def test_p3_bandwidth_that_has_not_changed_is_not_sent(store):
    with store.database.write() as connection:
        assert bandwidth.bw_usage_update(connection, usage())
    batch, _ = store.claim()
    store.end(batch, {ONE: [0, 0]})
    with store.database.write() as connection:
        assert not bandwidth.bw_usage_update(connection, usage())
        assert not bandwidth.bw_usage_update(
            connection, usage(bw_in=9, last_refreshed=MOMENT - datetime.timedelta(1))
        )
    assert store.dirty() == []
    with store.database.write() as connection:
        assert bandwidth.bw_usage_update(connection, usage(bw_in=9))
    assert store.dirty() == [(ONE, 'bw')]


def rows(database, model):
    columns = model.__table__.c
    with database.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(columns.id.table)).scalar()


CHANGES = {
    'instances': lambda c: instances.instance_update(c, ONE, {'vm_state': 'error'}),
    'instance_fields': lambda c: instances.instance_update(
        c, ONE, {}, fields={'system_metadata': {'new': 'one'}}
    ),
    'instance_metadata': lambda c: (
        instances.metadata_set(c, ONE, {'new': 'one'}),
        instances.instance_touch(c, ONE, [instances.METADATA]),
    ),
    'block_device_mapping': lambda c: block_devices.bdm_save(c, ONE, {'volume_id': VOLUME}),
    'instance_faults': lambda c: faults.fault_create(
        c, ONE, UNICODE * 100, code=404, host='h', details='d'
    ),
    'instance_actions': lambda c: instance_actions.action_create(
        c, {'instance_uuid': ONE, 'action': 'stop', 'start_time': MOMENT}
    ),
    'instance_actions_events': lambda c: instance_actions.event_create(
        c,
        {
            'action_id': instance_actions.action_create(c, {'instance_uuid': ONE}),
            'event': 'e',
            'host': 'h',
            'details': UNICODE,
        },
    ),
    'bw_usage_cache': lambda c: bandwidth.bw_usage_update(c, usage()),
    'console_auth_tokens': lambda c: console_tokens.tokens_delete(c, ONE),
}
#: Of the rows that belong to an instance, what is its own in each cell.
LOCAL = ('id', 'remote_id', 'action_id', 'created_at', 'updated_at')


def contents(database, table):
    columns = models.Base.metadata.tables[table].c
    with database.read() as connection:
        found = [dict(row) for row in connection.execute(sa.select(*columns)).mappings()]
    found = [{key: one for key, one in row.items() if key not in LOCAL} for row in found]
    return sorted(found, key=str)


@pytest.mark.parametrize('table', CHANGES)
def test_s18_what_happens_to_each_table_is_known_at_the_top(child, top, table):
    create(child)
    replication.bring(child, top)
    with top.database.write() as connection:
        console_tokens.token_create(connection, 't', ONE, 'novnc', 'h', 1, 100)
    with child.database.write() as connection:
        CHANGES[table](connection)
    assert child.dirty()
    replication.bring(child, top)
    assert child.dirty() == []
    if table == 'instances':
        same(child, top)
        return
    assert contents(top.database, table) == contents(child.database, table)
    if table != 'console_auth_tokens':
        assert contents(top.database, table)


def test_s18_every_table_of_instances_goes_up():
    of_instances = {
        table.name
        for table in models.Base.metadata.tables.values()
        if {'instance_uuid', 'instance_id'} & set(table.c.keys())
    }
    kept_here = {
        'claims',
        'dirty',
        'host_operations',
        'inbox',
        'migrations',
        'outbox',
        'placements',
        'tombstones',
    }
    assert of_instances - kept_here - CHANGES.keys() == set()


# -- paths that cells had --


def alias(database, old, new):
    with database.write() as connection:
        path_aliases.alias_create(connection, paths.CellPath.parse(old), paths.CellPath.parse(new))


def resolved(database, path):
    return str(path_aliases.aliases(database).resolve(paths.CellPath.parse(path)))


def test_r12_the_longest_path_that_is_known_counts(database):
    alias(database, 'top!a', 'top!b')
    alias(database, 'top!a!x', 'top!y')
    assert resolved(database, 'top!a!x!z') == 'top!y!z'
    assert resolved(database, 'top!a!w') == 'top!b!w'
    assert resolved(database, 'top!c') == 'top!c'
    assert resolved(database, 'top') == 'top'


def test_r12_a_cell_can_be_renamed_again_and_back(database):
    alias(database, 'top!a', 'top!b')
    alias(database, 'top!b', 'top!c')
    assert resolved(database, 'top!a!x') == resolved(database, 'top!b!x') == 'top!c!x'
    assert path_aliases.alias_get_all(database) == [('top!a', 'top!c'), ('top!b', 'top!c')]
    alias(database, 'top!c', 'top!a')
    assert resolved(database, 'top!b') == resolved(database, 'top!c') == 'top!a'
    assert resolved(database, 'top!a') == 'top!a'


def test_r12_a_rename_above_one_that_was_renamed_leads_to_both(database):
    alias(database, 'top!a!x', 'top!a!y')
    alias(database, 'top!a', 'top!b')
    assert resolved(database, 'top!a!x') == 'top!b!y'
    alias(database, 'top!b!y', 'top!b!z')
    assert resolved(database, 'top!a!x!w') == 'top!b!z!w'


@pytest.mark.parametrize(
    ('old', 'new', 'reason'),
    [
        ('top!a', 'top!a', 'is a part of'),
        ('top!a', 'top!a!b', 'is a part of'),
        ('top!' + 'a' * 255 + '!' + 'b' * 255 + '!c', 'top!x', 'at most 512'),
    ],
)
def test_r12_what_leads_nowhere_is_refused(database, old, new, reason):
    with pytest.raises(exceptions.Invalid, match=reason):
        alias(database, old, new)
    assert path_aliases.alias_get_all(database) == []


def test_r12_circles_are_refused(database):
    alias(database, 'top!a', 'top!b!x')
    with pytest.raises(exceptions.Invalid, match='round in circles'):
        alias(database, 'top!b', 'top!a!y')
    assert path_aliases.alias_get_all(database) == [('top!a', 'top!b!x')]


def test_an_alias_is_forgotten_when_it_is_deleted(database):
    alias(database, 'top!a', 'top!b')
    with database.write() as connection:
        assert path_aliases.alias_delete(connection, paths.CellPath.parse('top!a')) == 1
        assert path_aliases.alias_delete(connection, paths.CellPath.parse('top!a')) == 0
    assert resolved(database, 'top!a') == 'top!a'


# -- statements --


def test_many_rows_are_changed_each_in_its_own_way(database):
    with database.write() as connection:
        for number in range(5):
            instances.instance_create(connection, {'uuid': '%036d' % number})
        ids = connection.execute(sa.select(models.Instance.id)).scalars().all()
        values = [
            {
                'id': row_id,
                'host': None if row_id % 2 else 'h',
                'launched_at': MOMENT,
                'locked': True,
            }
            for row_id in ids[:4]
        ]
        statements.update_many(
            connection, models.Instance, ['host', 'launched_at', 'locked'], values
        )
        statements.update_many(connection, models.Instance, ['host'], [])
    columns = models.Instance.__table__.c
    with database.read() as connection:
        found = connection.execute(
            sa.select(columns.id, columns.host, columns.launched_at, columns.locked)
        ).all()
    for row in found:
        if row.id == ids[4]:
            assert (row.host, row.launched_at, row.locked) == (None, None, False)
        else:
            expected = (None if row.id % 2 else 'h', MOMENT, True)
            assert (row.host, row.launched_at, row.locked) == expected


def test_what_waits_is_shown(store):
    assert unsent.summary(store.database) == {'rows': 0, 'oldest_seconds': None, 'failing': 0}
    create(store)
    batch, _ = store.claim()
    found = unsent.summary(store.database)
    assert (found['rows'], found['failing']) == (1, 0)
    assert 0 <= found['oldest_seconds'] < 10
    with store.database.write() as connection:
        unsent.release(connection, batch.token, [ONE], failed=True)
    assert unsent.summary(store.database)['failing'] == 1
    with contextlib.suppress(exceptions.CellsError):
        store.end(batch, None)
