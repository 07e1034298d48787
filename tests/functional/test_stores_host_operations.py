"""What agents are to do, on each kind of database."""

import concurrent.futures
import json
import threading

import pytest
import sqlalchemy as sa

from cells import context, exceptions
from cells.compute import build_ends, host_ops, host_outcomes
from cells.db import engine, host_operations, instance_actions, instances, models

U1 = '11111111-1111-4111-8111-111111111111'
U2 = '22222222-2222-4222-8222-222222222222'
CTXT = context.RequestContext('u', 'p', request_id='req-1', auth_token='token')


def order(database, op_id, uuid=U1, host='h1', method='start', **kwargs):
    with database.write() as connection:
        return host_ops.order(
            connection,
            op_id=op_id,
            host=host,
            method=method,
            instance={'uuid': uuid, 'display_name': 'größe'},
            ctxt=CTXT,
            **kwargs,
        )


def claim(database, host='h1', worker='w1', seconds=30.0, limit=16):
    with database.write() as connection:
        return [
            row['op_id']
            for row in host_operations.ops_claim(connection, worker, host, seconds, limit)
        ]


def accepted(database, *op_ids):
    with database.write() as connection:
        host_operations.ops_accepted(connection, op_ids)


def end(database, op_id, state=host_operations.DONE):
    with database.write() as connection:
        return host_operations.op_end(connection, op_id, state, {'ok': True})


def find(database, op_id):
    with database.read() as connection:
        return host_operations.op_find(connection, op_id)


def change(database, op_id, **values):
    with database.write() as connection:
        ops = models.HostOperation.__table__
        connection.execute(sa.update(ops).where(ops.c.op_id == op_id).values(**values))


def test_an_operation_is_ordered_once(database):
    assert order(database, 'a.1', args={'password': 'pässword'}, notes={'then': [1]}, deadline=60.0)
    assert not order(database, 'a.1', method='stop')
    found = find(database, 'a.1')
    assert (found['method'], found['host'], found['instance_uuid']) == ('start', 'h1', U1)
    assert found['args'] == {'password': 'pässword'}
    assert found['instance'] == {'uuid': U1, 'display_name': 'größe'}
    assert found['notes'] == {'then': [1]}
    assert found['ctxt']['request_id'] == 'req-1'
    assert 'token' not in json.dumps(found['ctxt'])
    assert found['deadline'] - found['created_at'] == pytest.approx(60.0)
    assert (found['state'], found['attempts']) == (host_operations.PENDING, 0)


def test_what_is_ordered_in_a_transaction_that_fails_is_not(database):
    with database.write() as connection:
        host_ops.order(
            connection, op_id='a.1', host='h1', method='start', instance={'uuid': U1}, args={}
        )
        connection.rollback()
    assert find(database, 'a.1') is None
    assert claim(database) == []


def test_operations_of_an_instance_go_one_after_the_other_in_their_order(database):
    with database.write() as connection:
        for op_id in ('z.1', 'a.2', 'm.3'):
            host_ops.order(
                connection, op_id=op_id, host='h1', method='start', instance={'uuid': U1}
            )
    order(database, 'b.1', U2)
    assert claim(database) == ['z.1', 'b.1']
    assert claim(database) == []
    accepted(database, 'z.1', 'b.1')
    assert claim(database) == []
    assert end(database, 'z.1')
    assert claim(database) == ['a.2']
    assert end(database, 'a.2', host_operations.FAILED)
    assert claim(database) == ['m.3']


def test_an_operation_waits_for_one_on_another_host(database):
    order(database, 'a.1', host='h1')
    order(database, 'a.2', host='h2')
    assert claim(database, 'h2') == []
    assert end(database, 'a.1')
    assert claim(database, 'h2') == ['a.2']


def test_a_stray_machine_waits_for_nothing_and_holds_nobody_up(database):
    order(database, 'a.1', host='h2')
    with database.write() as connection:
        host_ops.order_stray_terminate(connection, 'a.0', 'h1', {'uuid': U1})
        host_ops.order_stray_terminate(connection, 'a.0', 'h1', {'uuid': U1})
        host_ops.order_stray_terminate(connection, 'b.0', 'h1', {'uuid': U2})
    assert claim(database, 'h1') == ['a.0.stray', 'b.0.stray']
    assert claim(database, 'h2') == ['a.1']
    assert find(database, 'a.0.stray')['instance'] == {'uuid': U1}


def test_a_claim_ends_by_itself_and_another_worker_goes_on(database):
    order(database, 'a.1')
    assert claim(database, seconds=0.0) == ['a.1']
    assert claim(database, worker='w2') == ['a.1']
    assert claim(database, worker='w3') == []
    found = find(database, 'a.1')
    assert (found['claimed_by'], found['attempts']) == ('w2', 2)


def test_workers_share_what_is_due(database):
    for number in range(60):
        order(database, 'a%02d.1' % number, '%036d' % number, host='h%d' % (number % 3))
    found: list[str] = []
    lock = threading.Lock()

    def work(worker):
        own = engine.Database(database.url, pool_size=1)
        while True:
            try:
                rows = [
                    one for host in ('h0', 'h1', 'h2') for one in claim(own, host, worker, 30, 3)
                ]
            except engine.ERRORS as error:
                if not engine.is_transient(error):
                    raise
                continue
            with lock:
                found.extend(rows)
            if not rows and not host_operations.hosts_due(own):
                break
        own.dispose()

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(work, 'w%d' % one) for one in range(4)]:
            future.result()
    assert sorted(found) == ['a%02d.1' % number for number in range(60)]


def test_the_time_of_an_operation_begins_when_it_can_be_sent(database):
    order(database, 'a.1', deadline=100.0)
    order(database, 'a.2', deadline=100.0)
    before = find(database, 'a.2')['deadline']
    change(database, 'a.1', created_at=0.0, deadline=1.0)
    change(database, 'a.2', created_at=1.0, deadline=101.0)
    assert [row['op_id'] for row in host_operations.ops_overdue(database, 10)] == ['a.1']
    end(database, 'a.1')
    with database.write() as connection:
        [row] = host_operations.ops_claim(connection, 'w1', 'h1', 30.0, 1)
    assert row['deadline'] == pytest.approx(before, abs=20)
    stored = find(database, 'a.2')
    assert stored['deadline'] == pytest.approx(row['deadline'], abs=1)
    change(database, 'a.2', due=0.0)
    claim(database)
    assert find(database, 'a.2')['deadline'] == stored['deadline']


def test_what_is_not_taken_is_offered_again_later_and_keeps_the_reason(database):
    order(database, 'a.1')
    claim(database)
    with database.write() as connection:
        host_operations.ops_postpone(connection, ['a.1'], 60.0, 'nobody there')
    assert claim(database) == []
    assert host_operations.hosts_due(database) == []
    change(database, 'a.1', due=0.0, deadline=1.0)
    assert host_operations.hosts_due(database) == ['h1']
    [row] = host_operations.ops_overdue(database, 10)
    assert row['result'] == {'reason': 'nobody there'}


def test_an_offer_under_way_is_not_given_up(database):
    order(database, 'a.1')
    claim(database)
    change(database, 'a.1', deadline=1.0)
    assert host_operations.ops_overdue(database, 10) == []
    accepted(database, 'a.1')
    assert [row['state'] for row in host_operations.ops_overdue(database, 10)] == ['accepted']


def test_an_operation_ends_once_and_its_secrets_are_wiped(database):
    order(database, 'a.1', args={'admin_password': 'geheim'})
    assert end(database, 'a.1')
    assert not end(database, 'a.1', host_operations.FAILED)
    found = find(database, 'a.1')
    assert (found['state'], found['args']) == (host_operations.DONE, {})
    accepted(database, 'a.1')
    with database.write() as connection:
        host_operations.ops_postpone(connection, ['a.1'], 0.0, 'x')
        host_operations.ops_offer_again(connection, ['a.1'])
    assert find(database, 'a.1')['state'] == host_operations.DONE


def test_what_was_never_offered_can_be_cancelled(database):
    order(database, 'a.1')
    order(database, 'a.2')
    order(database, 'b.1', U2)
    assert claim(database, limit=1) == ['a.1']
    with database.write() as connection:
        gone = host_operations.ops_cancel_unsent(connection, U1)
    assert [one['op_id'] for one in gone] == ['a.2']
    assert find(database, 'a.2')['state'] == host_operations.CANCELLED
    assert find(database, 'a.1')['state'] == host_operations.PENDING
    assert claim(database) == ['b.1']


def test_old_operations_go_and_failed_and_kept_ones_stay_longer(database):
    for number, method in enumerate(('start', 'build', 'start', 'build', 'start')):
        order(database, 'a%d.1' % number, '%036d' % number, method=method)
    end(database, 'a0.1')
    end(database, 'a1.1')
    end(database, 'a2.1', host_operations.FAILED)
    end(database, 'a3.1', host_operations.FAILED)
    now = find(database, 'a0.1')['ended_at']

    def purge(age):
        for number in range(4):
            change(database, 'a%d.1' % number, ended_at=now - age)
        with database.write() as connection:
            host_operations.ops_purge(connection, 100.0, 10, kept=['build'])
        return [n for n in range(5) if find(database, 'a%d.1' % n) is not None]

    assert purge(50) == [0, 1, 2, 3, 4]
    assert purge(500) == [1, 2, 3, 4]
    assert purge(5000) == [4]


# -- what comes of it --


@pytest.fixture
def ended():
    return []


@pytest.fixture
def outcomes(database, ended):
    return host_outcomes.HostOutcomes(
        database=database,
        of_builds=build_ends.BuildEnds(service_down_time=60.0),
        finish=lambda connection, operation, outcome: ended.append((operation, outcome)),
        progress=lambda connection, operation, state, percent: ended.append((state, percent)),
    )


OK = host_ops.Outcome(True, 1, {'device': '/dev/vdb'})
BAD = host_ops.Outcome(False, None, {}, 'DriverError', 'kaputt')


def test_an_outcome_is_taken_once_with_what_the_operation_was_ordered_with(
    database, outcomes, ended
):
    order(database, 'a.1', args={'password': 'x'}, notes={'then': 'y'}, action_uuid='act')
    assert outcomes.end('a.1', OK, 'h1')
    assert not outcomes.end('a.1', OK, 'h1')
    assert not outcomes.end('a.1', BAD, 'h1')
    [(operation, outcome)] = ended
    assert outcome == OK
    assert (operation['args'], operation['notes']) == ({'password': 'x'}, {'then': 'y'})
    assert operation['action_uuid'] == 'act'
    found = find(database, 'a.1')
    assert (found['state'], found['args']) == (host_operations.DONE, {})
    assert found['result'] == {'ok': True, 'power_state': 1, 'error': None}


def test_an_unknown_operation_is_taken_and_dropped(outcomes, ended):
    assert not outcomes.end('a.1', OK, 'h1')
    assert ended == []


def test_only_the_host_that_it_is_for_ends_an_operation(database, outcomes, ended):
    order(database, 'a.1')
    with pytest.raises(exceptions.Invalid, match='of host h1, not of h2'):
        outcomes.end('a.1', OK, 'h2')
    assert ended == []
    assert find(database, 'a.1')['state'] == host_operations.PENDING


def test_an_outcome_that_cannot_be_noted_ends_the_operation_all_the_same(database):
    def finish(connection, operation, outcome):
        connection.execute(sa.delete(models.HostOperation))
        raise exceptions.InstanceNotFound(instance_id=U1)

    with database.write() as connection:
        instances.instance_create(connection, {'uuid': U1})
        action = instance_actions.action_create(
            connection, {'uuid': U2, 'instance_uuid': U1, 'action': 'start', 'request_id': 'req-1'}
        )
    order(database, 'a.1', action_uuid=U2, event='compute_start_instance')
    order(database, 'b.1', U2)
    outcomes = host_outcomes.HostOutcomes(
        database=database,
        of_builds=build_ends.BuildEnds(service_down_time=60.0),
        finish=finish,
        progress=finish,
    )
    assert outcomes.end('a.1', BAD, 'h1')
    assert find(database, 'a.1')['state'] == host_operations.FAILED
    assert find(database, 'b.1') is not None  # what finish did is undone
    [event] = instance_actions.action_events_get(database, action)
    assert (event['event'], event['result']) == ('compute_start_instance', 'Error')
    assert event['traceback'] == 'kaputt'


def test_outcomes_from_many_sides_count_once(database, outcomes, ended):
    for number in range(10):
        order(database, 'a%d.1' % number, '%036d' % number)
    start = threading.Barrier(6)

    def work():
        start.wait()
        return sum(outcomes.end('a%d.1' % number, OK, 'h1') for number in range(10))

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        counts = [future.result() for future in [pool.submit(work) for _ in range(6)]]
    assert sum(counts) == 10
    assert sorted(one['op_id'] for one, _ in ended) == ['a%d.1' % number for number in range(10)]


def test_progress_counts_while_an_operation_is_open(database, outcomes, ended):
    order(database, 'a.1')
    with database.write() as connection:
        assert outcomes.progress(connection, 'a.1', 'h1', 'image_uploading', 50)
        assert not outcomes.progress(connection, 'a.1', 'h2', 'image_uploading', 60)
        assert not outcomes.progress(connection, 'a.2', 'h1', 'image_uploading', 70)
    outcomes.end('a.1', OK)
    with database.write() as connection:
        assert not outcomes.progress(connection, 'a.1', 'h1', 'image_uploading', 80)
    assert ended[0] == ('image_uploading', 50)
    assert len(ended) == 2
