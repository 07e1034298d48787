"""The stores of instances and what belongs to them, on each kind of database."""

import concurrent.futures
import datetime
import threading

import pytest
import sqlalchemy as sa

from cells import context, exceptions
from cells.compute import api as compute_api
from cells.db import (
    console_tokens,
    instance_actions,
    instance_migrations,
    instances,
    key_pairs,
    models,
)
from cells.db.instance_migrations import Filters
from cells.db.instances import ANY

ONE = '11111111-1111-4111-8111-111111111111'
TWO = '22222222-2222-4222-8222-222222222222'
#: Characters of one, two, three and four bytes in UTF-8.
UNICODE = 'aé漢😀'
MOMENT = datetime.datetime(2016, 3, 1, 12, 0, 0, 123456)


def create(database, uuid=ONE, metadata=None, **values):
    with database.write() as connection:
        return instances.instance_create(connection, {'uuid': uuid, **values}, metadata)


def get(database, uuid=ONE, **kwargs):
    with database.read() as connection:
        return instances.instance_get(connection, uuid, **kwargs)


def update(database, values, expected=None, uuid=ONE):
    with database.write() as connection:
        instances.instance_update(connection, uuid, values, expected)


def write(database, function, *args, **kwargs):
    with database.write() as connection:
        return function(connection, *args, **kwargs)


def in_parallel(number, function):
    """Call ``function(0..number - 1)`` at the same moment and return what came of each."""
    barrier = threading.Barrier(number)

    def run(index):
        barrier.wait(10)
        try:
            return function(index)
        except exceptions.WireError as error:
            return error

    with concurrent.futures.ThreadPoolExecutor(number) as pool:
        return list(pool.map(run, range(number)))


# -- instances --


def test_an_instance_comes_back_as_it_was_written(database):
    values = {
        'display_name': UNICODE,
        'project_id': 'p1',
        'cell_name': 'api!' + '!'.join('c' * 100 for _ in range(9)),
        'access_ip_v4': '10.0.0.1',
        'access_ip_v6': '2001:db8::1',
        'launched_at': MOMENT.replace(tzinfo=datetime.UTC),
        'locked': True,
        'memory_mb': 2048,
        'user_data': 'x' * 100_000,
    }
    number = create(database, metadata={'é': '😀', 'E': ''}, **values)
    found = get(database)
    assert found.id == number
    assert found.uuid == ONE
    assert found.metadata == {'é': '😀', 'E': ''}
    for name, value in values.items():
        stored = getattr(found, name)
        assert (str(stored) if name.startswith('access') else stored) == value
    assert found.vm_state is None
    assert found.cleaned is False
    assert found.deleted is False
    assert found.created_at is not None
    assert found.obj_what_changed() == set()
    columns = {column.name for column in models.Instance.__table__.columns}
    own = {'sync_epoch', 'sync_seq', 'inconsistent'}
    assert columns - own <= {name for name, _ in found.items()}


def test_an_instance_can_be_made_of_what_another_one_holds(database):
    create(database, access_ip_v4='10.0.0.1', launched_at=MOMENT, deleted=0)
    found = get(database)
    values = {
        name: value
        for name, value in found.items()
        if name not in ('id', 'uuid', 'metadata', 'deleted')
    }
    create(database, TWO, **values)
    assert get(database, TWO).access_ip_v4 == found.access_ip_v4
    assert get(database, TWO).launched_at == found.launched_at


def test_two_instances_of_one_uuid_are_refused_also_when_the_first_is_deleted(database):
    create(database)
    with pytest.raises(exceptions.InstanceExists) as caught:
        create(database)
    assert caught.value.kwargs['name'] == ONE
    write(database, instances.instance_destroy, ONE)
    with pytest.raises(exceptions.InstanceExists):
        create(database)


def test_a_deleted_instance_is_seen_by_who_asks_for_deleted_ones(database):
    create(database, metadata={'k': 'v'})
    create(database, TWO)
    write(database, instances.instance_destroy, ONE)
    with pytest.raises(exceptions.InstanceNotFound) as caught:
        get(database)
    assert caught.value.kwargs['instance_id'] == ONE
    found = get(database, read_deleted='yes')
    assert found.deleted is True
    assert found.deleted_at is not None
    assert get(database, read_deleted='only').uuid == ONE
    with pytest.raises(exceptions.InstanceNotFound):
        get(database, TWO, read_deleted='only')
    with pytest.raises(exceptions.InstanceNotFound):
        write(database, instances.instance_destroy, ONE)
    with pytest.raises(exceptions.InstanceNotFound):
        update(database, {'host': 'h'})


@pytest.mark.parametrize('uuid', [TWO, '', ONE.upper() + ' ', UNICODE, 'x' * 300])
def test_an_instance_that_is_not_there_is_not_found(database, uuid):
    create(database)
    with pytest.raises(exceptions.InstanceNotFound):
        get(database, uuid)
    with pytest.raises(exceptions.InstanceNotFound):
        update(database, {'host': 'h'}, uuid=uuid)


def test_a_change_is_stored_and_dated(database):
    create(database, vm_state='active')
    assert get(database).updated_at is None
    update(database, {'host': 'h1', 'access_ip_v4': get(database).access_ip_v4})
    found = get(database)
    assert (found.host, found.vm_state) == ('h1', 'active')
    assert found.updated_at is not None
    update(database, {})
    assert get(database).updated_at >= found.updated_at


# -- changes that say what they expect --

EXPECTATIONS = [
    ({'task_state': None}, None, True),
    ({'task_state': None}, 'rebooting', False),
    ({'task_state': ANY}, None, True),
    ({'task_state': ANY}, 'rebooting', True),
    ({'task_state': 'rebooting'}, 'rebooting', True),
    ({'task_state': 'rebooting'}, 'Rebooting', False),
    ({'task_state': 'rebooting'}, None, False),
    ({'task_state': ('rebooting', 'pausing')}, 'pausing', True),
    ({'task_state': ['rebooting', 'pausing']}, None, False),
    ({'task_state': {None, 'pausing'}}, None, True),
    ({'task_state': frozenset((None, 'pausing'))}, 'pausing', True),
    ({'task_state': (None, 'pausing')}, 'rebooting', False),
    ({'task_state': None, 'vm_state': 'active'}, None, True),
    ({'task_state': None, 'vm_state': 'stopped'}, None, False),
    ({'task_state': ANY, 'vm_state': ANY}, 'deleting', True),
    ({}, 'deleting', True),
    (None, 'deleting', True),
]


@pytest.mark.parametrize(('expected', 'is_now', 'goes'), EXPECTATIONS)
def test_s14_an_expectation_holds_as_it_is_written(database, expected, is_now, goes):
    create(database, vm_state='active', task_state=is_now)
    if goes:
        update(database, {'task_state': 'suspending'}, expected)
        assert get(database).task_state == 'suspending'
        return
    with pytest.raises(exceptions.InstanceUpdateConflict):
        update(database, {'task_state': 'suspending'}, expected)
    assert get(database).task_state == is_now


def test_s14_expecting_no_task_is_refused_while_one_runs(database):
    create(database, task_state='rebooting')
    with pytest.raises(exceptions.UnexpectedTaskStateError) as caught:
        update(database, {'task_state': 'suspending'}, {'task_state': None})
    assert caught.value.kwargs['expected'] == {'task_state': [None]}
    assert caught.value.kwargs['actual'] == {'task_state': 'rebooting'}
    assert caught.value.kwargs['instance_uuid'] == ONE
    update(database, {'task_state': 'deleting'})
    with pytest.raises(exceptions.UnexpectedDeletingTaskStateError):
        update(database, {'task_state': 'suspending'}, {'task_state': [None, 'rebooting']})
    assert get(database).task_state == 'deleting'


def test_a_conflict_of_another_column_is_told_as_one(database):
    create(database, vm_state='active', host='h1')
    with pytest.raises(exceptions.InstanceUpdateConflict) as caught:
        update(database, {'host': 'h2'}, {'host': None, 'vm_state': 'active'})
    assert type(caught.value) is exceptions.InstanceUpdateConflict
    assert caught.value.kwargs['actual'] == {'host': 'h1'}


@pytest.mark.parametrize('nothing', [(), [], set(), (ANY, None)])
def test_an_expectation_that_nothing_can_fulfil_is_a_fault(database, nothing):
    create(database)
    with pytest.raises(ValueError, match='expects nothing'):
        update(database, {'host': 'h'}, {'task_state': nothing})


def test_of_many_who_want_an_instance_at_once_one_gets_it(database):
    for number in range(5):
        uuid = ONE[:-1] + str(number)
        create(database, uuid)
        results = in_parallel(
            6,
            lambda index, uuid=uuid: update(
                database, {'task_state': 'task-%d' % index}, {'task_state': None}, uuid
            ),
        )
        winners = [index for index, one in enumerate(results) if one is None]
        assert len(winners) == 1
        assert get(database, uuid).task_state == 'task-%d' % winners[0]
        for one in results:
            assert one is None or type(one) is exceptions.UnexpectedTaskStateError


def test_a_locked_instance_waits_for_the_one_who_has_it(database):
    create(database, metadata={'n': '0'})

    def add_one(index):
        with database.write() as connection:
            found = instances.instance_get(connection, ONE, lock=True)
            number = int(found.metadata['n']) + 1
            instances.metadata_set(connection, ONE, {'n': str(number)})

    assert in_parallel(6, add_one) == [None] * 6
    assert get(database).metadata == {'n': '6'}


# -- metadata --


def test_metadata_is_added_to_replaced_and_dropped(database):
    create(database, metadata={'a': '1', 'b': '2'})
    create(database, TWO, metadata={'a': 'other'})
    write(database, instances.metadata_set, ONE, {'b': '3', 'A': '4', 'ä': '5'})
    assert get(database).metadata == {'a': '1', 'b': '3', 'A': '4', 'ä': '5'}
    write(database, instances.metadata_delete, ONE, ['a', 'nosuch'])
    assert get(database).metadata == {'b': '3', 'A': '4', 'ä': '5'}
    write(database, instances.metadata_set, ONE, {UNICODE: UNICODE}, replace=True)
    assert get(database).metadata == {UNICODE: UNICODE}
    write(database, instances.metadata_set, ONE, {}, replace=True)
    assert get(database).metadata == {}
    assert get(database, TWO).metadata == {'a': 'other'}


def test_metadata_of_many_instances_is_changed_at_the_same_time(database):
    uuids = [ONE[:-1] + str(number) for number in range(8)]
    for uuid in uuids:
        create(database, uuid)

    def work(index):
        for number in range(5):
            with database.write() as connection:
                instances.instance_get(connection, uuids[index], lock=True)
                instances.metadata_set(connection, uuids[index], {'k%d' % number: 'v'})
                instances.metadata_delete(connection, uuids[index], ['k%d' % (number - 1)])

    assert in_parallel(8, work) == [None] * 8
    assert all(get(database, uuid).metadata == {'k4': 'v'} for uuid in uuids)


def test_metadata_that_many_change_at_once_loses_nothing(database):
    create(database, vm_state='active', launched_at=MOMENT)
    ctxt = context.RequestContext('u', 'p', is_admin=True)

    def add(index):
        with database.write() as connection:
            given = (ONE, {'k%d' % index: 'v'})
            return compute_api.run(connection, ctxt, 'update_instance_metadata', given, {})

    results = in_parallel(8, add)
    assert sorted(map(len, results)) == list(range(1, 9))
    assert get(database).metadata == {'k%d' % index: 'v' for index in range(8)}


# -- actions --

ACTION_KEYS = {
    'id',
    'action',
    'instance_uuid',
    'request_id',
    'user_id',
    'project_id',
    'start_time',
    'finish_time',
    'message',
    'created_at',
    'updated_at',
    'deleted_at',
    'deleted',
}
EVENT_KEYS = {
    'id',
    'event',
    'action_id',
    'start_time',
    'finish_time',
    'result',
    'traceback',
    'host',
    'details',
    'created_at',
    'updated_at',
    'deleted_at',
    'deleted',
}


def add_action(database, request_id='req-1', uuid=ONE, **values):
    values = {'instance_uuid': uuid, 'request_id': request_id, 'action': 'reboot', **values}
    return write(database, instance_actions.action_create, values)


def test_actions_are_plain_and_newest_first(database):
    old = add_action(database, 'req-1', created_at=MOMENT, start_time=MOMENT)
    new = add_action(database, 'req-2', created_at=MOMENT + datetime.timedelta(seconds=1))
    same = add_action(database, 'req-3', created_at=MOMENT + datetime.timedelta(seconds=1))
    add_action(database, 'req-1', TWO)
    found = instance_actions.actions_get(database, ONE)
    assert [row['id'] for row in found] == [same, new, old]
    assert {frozenset(row) for row in found} == {frozenset(ACTION_KEYS)}
    assert found[-1]['start_time'] == found[-1]['created_at'] == '2016-03-01T12:00:00.123456'
    assert found[-1]['finish_time'] is None
    assert found[-1]['deleted'] == 0
    assert instance_actions.actions_get(database, UNICODE) == []


def test_an_action_from_below_shows_the_id_that_it_has_there(database):
    own = add_action(database, 'req-1')
    add_action(database, 'req-2', remote_id=2**40)
    found = instance_actions.actions_get(database, ONE)
    assert [row['id'] for row in found] == [2**40, own]
    assert {frozenset(row) for row in found} == {frozenset(ACTION_KEYS)}
    found = instance_actions.action_get_by_request_id(database, ONE, 'req-2')
    assert found['id'] == 2**40


def test_an_action_is_found_by_its_request(database):
    number = add_action(database, 'req-' + UNICODE)
    found = instance_actions.action_get_by_request_id(database, ONE, 'req-' + UNICODE)
    assert found['id'] == number
    assert set(found) == ACTION_KEYS
    assert instance_actions.action_get_by_request_id(database, ONE, 'REQ-' + UNICODE) is None
    assert instance_actions.action_get_by_request_id(database, TWO, 'req-' + UNICODE) is None


def test_steps_are_plain_newest_first_and_those_of_an_own_action(database):
    action = add_action(database)
    from_below = add_action(database, remote_id=77)
    events = [
        write(
            database,
            instance_actions.event_create,
            {
                'action_id': action,
                'event': 'compute_reboot_instance',
                'created_at': MOMENT + datetime.timedelta(seconds=number),
                'start_time': MOMENT,
                'traceback': 'x' * 70_000,
                'host': 'h1',
            },
        )
        for number in range(3)
    ]
    write(database, instance_actions.event_create, {'action_id': from_below, 'event': 'other'})
    found = instance_actions.action_events_get(database, action)
    assert [row['id'] for row in found] == events[::-1]
    assert {frozenset(row) for row in found} == {frozenset(EVENT_KEYS)}
    assert found[0]['start_time'] == '2016-03-01T12:00:00.123456'
    assert found[0]['action_id'] == action
    for number in (from_below, 77, 0, 2**63 - 1):
        assert instance_actions.action_events_get(database, number) == []


# -- migrations --


def add_migration(database, **values):
    return write(database, instance_migrations.migration_create, values)


def numbers(database, **filters):
    found = instance_migrations.migrations_get(database, Filters(**filters))
    return [one.id for one in found]


def test_migrations_are_objects_and_newest_first(database):
    one = add_migration(database, instance_uuid=ONE, source_compute=UNICODE, memory_total=2**40)
    two = add_migration(
        database, instance_uuid=TWO, old_instance_type_id=1, new_instance_type_id=2, hidden=True
    )
    found = instance_migrations.migrations_get(database, Filters())
    assert [row.id for row in found] == [two, one]
    assert [row.migration_type for row in found] == ['resize', 'migration']
    assert found[1].source_compute == UNICODE
    assert found[1].memory_total == 2**40
    assert found[1].deleted is False
    assert found[1].obj_what_changed() == set()
    assert found[0].uuid != found[1].uuid


def test_each_filter_shows_what_it_says(database):
    one = add_migration(
        database, source_compute='h1', dest_compute='h2', status='finished', instance_uuid=ONE
    )
    two = add_migration(
        database,
        source_compute='h2',
        dest_compute='h3',
        status='error',
        migration_type='live-migration',
        hidden=True,
    )
    assert numbers(database, host='h2') == [two, one]
    assert numbers(database, host='h1') == [one]
    assert numbers(database, host='H1') == []
    assert numbers(database, source_compute='h2') == [two]
    assert numbers(database, dest_compute='h2') == [one]
    assert numbers(database, status=('finished', 'error')) == [two, one]
    assert numbers(database, status=('error',)) == [two]
    assert numbers(database, status=()) == []
    assert numbers(database, migration_type='live-migration') == [two]
    assert numbers(database, hidden=True) == [two]
    assert numbers(database, hidden=False) == [one]
    assert numbers(database, instance_uuid=ONE) == [one]
    assert numbers(database, instance_uuid=ONE, hidden=True) == []
    assert numbers(database, uuid=UNICODE) == []
    assert numbers(database, host='h2', status=('error',), hidden=True) == [two]


def test_changed_migrations_are_shown_with_deleted_ones_among_them(database):
    old = add_migration(database, created_at=MOMENT)
    changed = add_migration(
        database, created_at=MOMENT, updated_at=MOMENT + datetime.timedelta(hours=2), deleted=1
    )
    new = add_migration(database, created_at=MOMENT + datetime.timedelta(hours=1))
    since = MOMENT + datetime.timedelta(hours=1)
    assert numbers(database, changed_since=since) == [new, changed]
    assert numbers(database) == [new, old]


# -- key pairs --


def test_a_key_pair_is_found_by_its_exact_name(database):
    values = {'user_id': 'u1', 'name': UNICODE, 'public_key': 'ssh-rsa x', 'fingerprint': 'f'}
    number = write(database, key_pairs.key_pair_create, values)
    found = key_pairs.key_pair_get(database, 'u1', UNICODE)
    assert (found.id, found.type, found.public_key) == (number, 'ssh', 'ssh-rsa x')
    assert found.deleted is False
    assert key_pairs.key_pair_get(database, 'u1', UNICODE.upper()) is None
    assert key_pairs.key_pair_get(database, 'U1', UNICODE) is None


def test_a_name_of_a_key_pair_is_free_again_when_it_is_deleted(database):
    values = {'user_id': 'u1', 'name': 'k'}
    for _ in range(2):
        write(database, key_pairs.key_pair_create, values)
        with pytest.raises(exceptions.KeyPairExists):
            write(database, key_pairs.key_pair_create, values)
        write(database, key_pairs.key_pair_destroy, 'u1', 'k')
        assert key_pairs.key_pair_get(database, 'u1', 'k') is None
    with pytest.raises(exceptions.KeypairNotFound):
        write(database, key_pairs.key_pair_destroy, 'u1', 'k')


# -- rights to use consoles --


def add_token(database, token, uuid=ONE, seconds=600.0):
    write(database, console_tokens.token_create, token, uuid, 'novnc', '10.0.0.1', 5900, seconds)


def test_a_token_gives_a_right_until_it_expires_and_is_not_kept_itself(database):
    add_token(database, 'secret-' + UNICODE)
    add_token(database, 'old', seconds=-1.0)
    found = console_tokens.token_get(database, 'secret-' + UNICODE)
    assert (found['instance_uuid'], found['host'], found['port']) == (ONE, '10.0.0.1', 5900)
    assert console_tokens.token_get(database, 'old') is None
    assert console_tokens.token_get(database, 'nosuch') is None
    with database.read() as connection:
        kept = connection.execute(sa.select(*models.ConsoleAuthToken.__table__.c)).all()
    assert 'secret' not in str(kept)


def test_x5_the_tokens_of_an_instance_are_dead_once_they_are_deleted(database):
    add_token(database, 'a')
    add_token(database, 'b')
    add_token(database, 'other', TWO)
    assert write(database, console_tokens.tokens_delete, ONE) == 2
    assert write(database, console_tokens.tokens_delete, ONE) == 0
    assert console_tokens.token_get(database, 'a') is None
    assert console_tokens.token_get(database, 'other') is not None
