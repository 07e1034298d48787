"""Builds and their attempts in the store, on each kind of database."""

import threading
import time

import pytest
import sqlalchemy as sa

from cells import paths, placement
from cells.candidates import Load
from cells.db import (
    build_subjects,
    faults,
    instance_actions,
    instances,
    journal,
    models,
    tombstones,
)
from cells.db import placements as db
from cells.db.placements import Reasons
from tests import building

ONE = '11111111-1111-4111-8111-111111111111'
TWO = '22222222-2222-4222-8222-222222222222'
REQUEST = 'request-1'


def write(database, function, *args, **kwargs):
    with database.write() as connection:
        return function(connection, *args, **kwargs)


def add(database, *rows, request=REQUEST):
    with database.write() as connection:
        db.request_add(connection, request, 'envelope')
        db.attempts_add(
            connection,
            [{'instance_uuid': ONE, 'attempt': 1, 'request_uuid': request, **row} for row in rows],
        )


def rows(database):
    table = models.Placement.__table__
    with database.read() as connection:
        found = connection.execute(sa.select(table).order_by(table.c.id)).mappings()
        return [dict(row) for row in found]


def row(database, **values):
    (found,) = [one for one in rows(database) if all(one[key] == values[key] for key in values)]
    return found


def states(database):
    return [one['state'] for one in rows(database)]


def place(database, cell='a', message='message-1', seconds=-1.0, **values):
    (one,) = [found for found in rows(database) if found['state'] == db.WAITING]
    write(database, db.attempts_place, [(one['id'], cell, message, seconds, None)])
    return one['id']


# -- attempts --


def test_an_attempt_waits_until_it_is_placed(database):
    add(database, {'memory_mb': 512, 'disk_gb': 1, 'vcpus': 2, 'attempt_above': 7})
    assert db.states_due(database) == {db.WAITING}
    with database.write() as connection:
        (found,) = db.attempts_due(connection, [db.WAITING], 10)
        db.attempts_place(connection, [(found['id'], 'a', 'message-1', 3600.0, None)])
        now = db.time(connection)
    assert db.states_due(database) == set()
    kept = row(database)
    assert (kept['state'], kept['next_cell'], kept['message_uuid']) == (db.PLACED, 'a', 'message-1')
    assert (kept['memory_mb'], kept['disk_gb'], kept['vcpus'], kept['attempt_above']) == (
        512,
        1,
        2,
        7,
    )
    assert now + 3590 < kept['expires'] < now + 3610
    assert abs(now - time.time()) < 60


def test_an_attempt_that_is_there_stays_as_it_is(database):
    add(database, {'memory_mb': 512})
    add(database, {'memory_mb': 1024}, {'instance_uuid': TWO}, request='request-2')
    assert [
        (one['instance_uuid'], one['memory_mb'], one['request_uuid']) for one in rows(database)
    ] == [
        (ONE, 512, REQUEST),
        (TWO, 0, 'request-2'),
    ]


def test_many_attempts_are_added_at_once(database):
    uuids = ['00000000-0000-4000-8000-%012d' % number for number in range(120)]
    add(database, *({'instance_uuid': uuid} for uuid in uuids))
    with database.write() as connection:
        assert [
            one['instance_uuid'] for one in db.attempts_due(connection, [db.WAITING], 500)
        ] == uuids
        assert len(db.attempts_due(connection, [db.WAITING], 7)) == 7


def test_the_last_attempt_is_the_one_of_the_highest_number(database):
    add(database, {'attempt': 2}, {'attempt': 1}, {'instance_uuid': TWO})
    with database.read() as connection:
        found = db.attempts_last(connection, [ONE, TWO, 'x'])
    assert {uuid: one['attempt'] for uuid, one in found.items()} == {ONE: 2, TWO: 1}


def test_c4_what_is_on_its_way_is_summed_by_cell(database):
    sizes = {'memory_mb': 512, 'disk_gb': 10, 'vcpus': 2}
    for attempt, (cell, state) in enumerate(
        [
            ('a', db.PLACED),
            ('a', db.BUILT),
            ('a', db.DONE),
            ('a', db.FAILED),
            ('a', db.CANCELLED),
            ('b', db.PLACED),
            ('b', db.TOLD),
            ('', db.WAITING),
        ]
    ):
        add(database, {**sizes, 'attempt': attempt, 'next_cell': cell, 'state': state})
        found = row(database, attempt=attempt)
        write(database, db.attempts_set, [found['id']], state, seconds=100.0)
    with database.read() as connection:
        found = db.loads(connection)
    # what was built just now does not show in capacities yet
    assert found == {'a': Load(3, 1536, 30, 6), 'b': Load(1, 512, 10, 2)}
    done = row(database, state=db.DONE)
    write(database, db.attempts_set, [done['id']], db.DONE, seconds=-db.SETTLE_SECONDS - 1)
    with database.read() as connection:
        assert db.loads(connection)['a'].builds == 2


def test_a_request_goes_with_its_last_open_attempt(database):
    add(database, {}, {'instance_uuid': TWO})
    first, second = rows(database)
    write(database, db.attempts_set, [first['id']], db.DONE)
    write(database, db.requests_drop, [REQUEST])
    with database.read() as connection:
        assert db.requests_get(connection, [REQUEST, 'x']) == {REQUEST: 'envelope'}
    write(database, db.attempts_set, [second['id']], db.FAILED)
    write(database, db.requests_drop, [REQUEST])
    with database.read() as connection:
        assert db.requests_get(connection, [REQUEST]) == {}


@pytest.mark.parametrize('state', db.OVER)
def test_what_is_over_is_kept_for_a_while_and_purged_then(database, state):
    add(database, {}, {'instance_uuid': TWO})
    first, second = rows(database)
    write(database, db.attempts_set, [first['id']], state)
    write(database, db.attempts_set, [second['id']], state, seconds=-db.KEEP_SECONDS - 1)
    assert db.states_due(database) == set()
    assert write(database, db.attempts_purge, 10) == 1
    assert [one['instance_uuid'] for one in rows(database)] == [ONE]


def test_one_that_cannot_be_dealt_with_is_put_aside(database):
    add(database, {}, {'instance_uuid': TWO})
    assert write(database, db.attempt_put_aside, [db.WAITING], 60.0) == ONE
    with database.write() as connection:
        assert [one['instance_uuid'] for one in db.attempts_due(connection, [db.WAITING], 9)] == [
            TWO
        ]
    assert write(database, db.attempt_put_aside, [db.PLACED], 60.0) is None


def test_workers_give_out_one_after_the_other(database):
    """The second sees what the first has given out, as it waits for its end."""
    add(database, {'memory_mb': 512})
    seen, entered, go_on = [], threading.Event(), threading.Event()

    def first():
        with database.write() as connection:
            db.lock(connection)
            entered.set()
            assert go_on.wait(10)
            (found,) = db.attempts_due(connection, [db.WAITING], 9)
            db.attempts_place(connection, [(found['id'], 'a', 'm', 60.0, None)])

    def second():
        assert entered.wait(10)
        with database.write() as connection:
            db.lock(connection)
            seen.append(db.loads(connection))
            seen.append(db.attempts_due(connection, [db.WAITING], 9))

    threads = [threading.Thread(target=one) for one in (first, second)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    assert seen == []
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert seen == [{'a': Load(1, 512, 0, 0)}, []]


# -- what came of them --


def test_an_answer_counts_once_and_only_from_the_cell_that_was_given_the_attempt(database):
    add(database, {})
    place(database, 'a')
    reasons = {'api!a': 'no room', 'api!a!ü': 'größer'}
    write(database, placement.answered, 'b', ONE, 1, False, reasons)
    write(database, placement.answered, 'a', ONE, 2, False, reasons)
    write(database, placement.answered, 'a', TWO, 1, False, reasons)
    assert states(database) == [db.PLACED]
    write(database, placement.answered, 'a', ONE, 1, False, reasons)
    assert states(database) == [db.REFUSED]
    assert Reasons.of(row(database)['reasons']) == Reasons(reasons, 500)
    write(database, placement.answered, 'a', ONE, 1, True, {})
    assert states(database) == [db.REFUSED]


@pytest.mark.parametrize(
    ('accepted', 'state'), [(True, db.BUILT), (False, db.REFUSED), (None, db.PASSED)]
)
def test_what_a_child_says_is_noted(database, accepted, state):
    add(database, {})
    place(database, 'a')
    write(database, placement.answered, 'a', ONE, 1, accepted, {})
    assert states(database) == [state]
    assert db.states_due(database) == {state}


@pytest.mark.parametrize('over', [db.FAILED, db.CANCELLED])
def test_what_was_built_after_all_is_cancelled_once_a_minute(database, over):
    add(database, {})
    place(database, 'a')
    identity = row(database)['id']
    write(database, db.attempts_set, [identity], over, seconds=-3600.0)
    write(database, placement.answered, 'a', ONE, 1, True, {})
    assert states(database) == [db.CANCEL]
    write(database, db.attempts_set, [identity], db.CANCELLED)
    write(database, placement.answered, 'a', ONE, 1, True, {})
    assert states(database) == [db.CANCELLED]
    route = paths.CellPath.parse('api!a!x')
    assert write(database, placement.stray, ONE, route)
    assert states(database) == [db.CANCELLED]
    assert not write(database, placement.stray, ONE, paths.CellPath.parse('api!b'))
    write(database, db.attempts_set, [identity], db.CANCELLED, seconds=-61.0)
    assert write(database, placement.stray, ONE, route)
    assert states(database) == [db.CANCEL]
    assert 'api!a!x' in Reasons.of(row(database)['reasons']).cells


@pytest.mark.parametrize(
    ('reason', 'state', 'reasons'),
    [(None, db.BUILT, {}), ('no host', db.REFUSED, {'': 'no host'})],
)
def test_a_build_in_the_own_cell_ends(database, reason, state, reasons):
    add(database, {})
    place(database, 'api', message=None)
    assert not write(database, placement.build_over, ONE, 2, reason)
    assert write(database, placement.build_over, ONE, 1, reason)
    assert states(database) == [state]
    assert Reasons.of(row(database)['reasons']).cells == reasons
    assert not write(database, placement.build_over, ONE, 1, reason)


def test_the_own_cell_cannot_end_what_a_child_has(database):
    add(database, {})
    place(database, 'a')
    assert not write(database, placement.build_over, ONE, 1, None)
    assert states(database) == [db.PLACED]


@pytest.mark.parametrize('state', [*db.OPEN, db.DONE])
def test_a_cancelled_attempt_is_dropped_whatever_has_become_of_it(database, state):
    add(database, {'attempt_above': 3, 'state': state}, {'instance_uuid': TWO, 'state': state})
    write(database, placement.cancelled_above, ONE, 3)
    assert states(database) == [db.CANCEL, state]
    with database.read() as connection:
        assert building.tombstone(connection, ONE, 3)
        assert building.tombstone(connection, ONE, 4) is None


def test_s5_an_instance_that_is_buried_is_not_built_any_more(database):
    add(
        database,
        {'state': db.WAITING},
        {'attempt': 2, 'state': db.PLACED},
        {'attempt': 3, 'state': db.DONE},
    )
    write(database, placement.bury, ONE)
    assert states(database) == [db.CANCEL, db.CANCEL, db.DONE]
    with database.read() as connection:
        assert building.tombstone(connection, ONE, 99)


def test_s5_attempts_at_what_is_deleted_or_given_up_are_known(database):
    uuids = ['00000000-0000-4000-8000-%012d' % number for number in range(6)]
    add(database, *({'instance_uuid': uuid, 'attempt_above': 5} for uuid in uuids))
    with database.write() as connection:
        tombstones.tombstone_put(connection, uuids[0])
        tombstones.tombstone_put(connection, uuids[1], 5, 'elsewhere')
        tombstones.tombstone_put(connection, uuids[2], 4, 'another attempt')
        for uuid in uuids[3:]:
            instances.instance_create(connection, {'uuid': uuid})
        instances.instance_update(connection, uuids[3], {'task_state': 'deleting'})
        instances.instance_destroy(connection, uuids[4])
    with database.read() as connection:
        found = build_subjects.buried(connection, rows(database))
    by_uuid = {one['id']: one['instance_uuid'] for one in rows(database)}
    assert {by_uuid[number]: reason for number, reason in found.items()} == {
        uuids[0]: 'deleted',
        uuids[1]: 'elsewhere',
        uuids[3]: 'deleted',
        uuids[4]: 'deleted',
    }


# -- at the top: what comes up from plain cells, and by which route --


def route(text):
    return paths.CellPath.parse(text)


def test_x1_an_update_counts_only_along_the_route_of_the_current_attempt(database):
    def allows(text):
        return write(database, placement.current_route_allows, ONE, route(text))

    assert allows('api!a')
    add(database, {})
    assert not allows('api!a')
    place(database, 'a')
    assert allows('api!a')
    assert allows('api!a!x')
    assert not allows('api!b')
    for state in (db.BUILT, db.DONE, db.TOLD):
        write(database, db.attempts_set, [row(database)['id']], state)
        assert allows('api!a!x')
    for state in (db.REFUSED, db.FAILED, db.CANCEL, db.CANCELLED):
        write(database, db.attempts_set, [row(database)['id']], state)
        assert not allows('api!a!x')
    add(database, {'attempt': 2})
    place(database, 'b')
    assert allows('api!b')
    assert not allows('api!a')


def test_an_error_of_a_plain_cell_is_that_of_the_attempt_it_has(database):
    add(database, {})
    assert not write(database, placement.plain_error, ONE, route('api!a'))
    place(database, 'a')
    assert not write(database, placement.plain_error, ONE, route('api!b'))
    assert write(database, placement.plain_error, ONE, route('api!a!x'))
    assert states(database) == [db.ERRORED]
    assert list(Reasons.of(row(database)['reasons']).cells) == ['api!a!x']
    assert not write(database, placement.plain_error, ONE, route('api!a!x'))


@pytest.mark.parametrize('state', [db.PLACED, db.TOLD])
def test_a_host_in_a_plain_cell_ends_the_search(database, state):
    add(database, {})
    place(database, 'a')
    write(database, db.attempts_set, [row(database)['id']], state)
    write(database, placement.plain_built, ONE, route('api!b'))
    assert states(database) == [state]
    write(database, placement.plain_built, ONE, route('api!a'))
    assert states(database) == [db.BUILT]


# -- when no cell is left --


def record(database, **values):
    with database.write() as connection:
        instances.instance_create(
            connection,
            {'uuid': ONE, 'vm_state': 'building', 'task_state': 'scheduling', **values},
        )


def state_of(database):
    with database.read() as connection:
        found = instances.instance_get(connection, ONE)
    return found.vm_state, found.task_state


def test_c9_a_record_ends_in_error_with_a_fault_and_a_failed_action(database):
    record(database)
    with database.write() as connection:
        instance_actions.action_create(
            connection, {'instance_uuid': ONE, 'action': 'create', 'request_id': 'req-1'}
        )
    reasons = Reasons({'api!b': 'it cannot be reached', 'api!a': 'no room: größer'})
    for _ in range(2):
        assert write(database, placement.fail_at_top, ONE, 3, reasons, 'req-1')
    assert state_of(database) == ('error', None)
    (fault,) = faults.fault_get_all(database, ONE)
    assert fault['code'] == 500
    assert fault['message'].splitlines() == [
        'No cell could take the instance:',
        'api!a: no room: größer',
        'api!b: it cannot be reached',
    ]
    action = instance_actions.action_get_by_request_id(database, ONE, 'req-1')
    assert action['message'] == 'Error'
    (event,) = instance_actions.action_events_get(database, action['id'])
    assert (event['event'], event['result']) == (placement.EVENT, 'Error')
    assert 'api!b: it cannot be reached' in event['traceback']


def test_reasons_of_a_hundred_cells_are_in_the_details(database):
    record(database)
    cells = {'api!%03d' % number: 'no room' for number in range(100)}
    write(database, placement.fail_at_top, ONE, 1, Reasons(cells), None)
    (fault,) = faults.fault_get_all(database, ONE)
    assert len(fault['message']) <= 255
    assert len(fault['details'].splitlines()) == 101


@pytest.mark.parametrize(
    'values', [{'task_state': 'deleting'}, {'task_state': 'soft-deleting'}, {'host': 'h1'}]
)
def test_what_is_being_deleted_or_has_a_host_is_left_alone(database, values):
    record(database, **values)
    before = state_of(database)
    assert not write(database, placement.fail_at_top, ONE, 1, Reasons({}), None)
    assert state_of(database) == before
    assert faults.fault_get_all(database, ONE) == []


def test_without_a_record_nothing_is_noted(database):
    assert not write(database, placement.fail_at_top, ONE, 1, Reasons({}), None)
    assert faults.fault_get_all(database, ONE) == []


# -- taking a message back --


def letter(database, uuid='m1'):
    write(database, journal.outbox_add, [(uuid, 'a', 'targeted', 'text')])


def withdraw(database, uuid='m1', **kwargs):
    return write(database, journal.outbox_withdraw, uuid, 'a', **kwargs)


def outbox(database):
    with database.read() as connection:
        return journal.outbox_known(connection, ['m1'])


def test_a_message_that_did_not_get_out_is_taken_back(database):
    letter(database)
    assert withdraw(database) == journal.PENDING, 'it is to be tried first'
    (claimed,) = write(database, journal.outbox_claim, 'w1', 'a', 60.0, 9)
    assert withdraw(database, untried=True) == journal.CLAIMED
    assert outbox(database) == {'m1'}
    write(database, journal.outbox_not_sent, [claimed['id']], 60.0)
    assert withdraw(database) == journal.WITHDRAWN
    assert outbox(database) == set()
    assert withdraw(database) == journal.DONE


def test_one_that_nobody_has_tried_to_send_is_taken_back_in_the_end(database):
    letter(database)
    assert withdraw(database, untried=True) == journal.WITHDRAWN
    assert outbox(database) == set()


def test_one_that_a_broker_may_have_is_not_taken_back(database):
    letter(database)
    write(database, journal.outbox_claim, 'w1', 'a', -60.0, 9)
    assert withdraw(database, untried=True) == journal.SENT, 'a worker died with it'
    (claimed,) = write(database, journal.outbox_claim, 'w1', 'a', 60.0, 9)
    write(database, journal.outbox_sent, [claimed['id']], -60.0)
    assert withdraw(database) == journal.SENT
    write(database, journal.outbox_overdue, 'a', plain=False)
    (claimed,) = write(database, journal.outbox_claim, 'w1', 'a', 60.0, 9)
    write(database, journal.outbox_not_sent, [claimed['id']], 60.0)
    assert withdraw(database, untried=True) == journal.SENT, 'an earlier copy was sent'
    assert outbox(database) == {'m1'}


def test_of_a_sender_and_one_who_takes_back_one_wins(database):
    """Both at the same time, many times: never both, never none."""
    for number in range(20):
        uuid = 'm%d' % number
        letter(database, uuid)
        (claimed,) = write(database, journal.outbox_claim, 'w1', 'a', 60.0, 9)
        write(database, journal.outbox_not_sent, [claimed['id']], -60.0)
        barrier, results = threading.Barrier(2), {}

        def send(barrier=barrier, results=results):
            barrier.wait(10)
            results['sent'] = len(write(database, journal.outbox_claim, 'w1', 'a', 60.0, 9))

        def take(barrier=barrier, results=results, uuid=uuid):
            barrier.wait(10)
            results['fate'] = withdraw(database, uuid)

        threads = [threading.Thread(target=one) for one in (send, take)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        gone = results['fate'] == journal.WITHDRAWN
        assert gone is not bool(results['sent']), results
        with database.write() as connection:
            connection.execute(sa.delete(models.Outbox))
