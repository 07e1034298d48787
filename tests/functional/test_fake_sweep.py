"""Tasks that nobody works on come to an end, and what is not known stays as it is."""

import json
import threading
import time

import pytest
import sqlalchemy as sa

from cells import context, heal, messages, sweep, sweep_top
from cells.db import engine, faults, host_operations, instances, models
from cells.db import instance_actions as actions
from cells.drivers import base
from cells.operations import Kind
from cells.state import CellState
from tests import deploy, fake_cells, plain_cell, replication

LINE = {'top': None, 'mid': 'top', 'leaf': 'mid'}
ONE = '11111111-1111-4111-8111-111111111111'
PATH = 'top!mid!leaf'
VALUES = {'user_id': 'u', 'project_id': 'p', 'vm_state': 'active', 'host': 'h1'}
INSTANCES = models.Instance.__table__


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(sweep, 'TURN_SECONDS', 0.2)
    monkeypatch.setattr(sweep, 'OLD_SECONDS', 1.0)
    monkeypatch.setattr(sweep, 'BUILD_OLD_SECONDS', 1.5)
    monkeypatch.setattr(sweep_top, 'SHORTEST_PAUSE', 0.2)
    # What is repaired here is not to be the healing's.
    monkeypatch.setattr(heal.Healing, '_turn', lambda self: 1.0)


@pytest.fixture
def tree(workdir, quick):
    with fake_cells.FakeTree(workdir, LINE).running() as found:
        yield found


def create(tree, cell='leaf', **values):
    with tree[cell].database.write() as connection:
        instances.instance_create(connection, {**VALUES, **values, 'uuid': ONE})
    tree[cell].wake()
    deploy.wait_until(lambda: shown(tree, 'cell_name'), 15, 'it is known')
    deploy.wait_until(
        lambda: not replication.Child(tree[cell].database).dirty(), 10, 'nothing is dirty'
    )


def record(tree, **values):
    """Make a record at the top alone."""
    with tree['top'].database.write() as connection:
        instances.instance_create(connection, {**VALUES, **values, 'uuid': ONE})


def write(cell, **values):
    """Change an instance behind the back of its cell, some time ago."""
    with cell.database.write() as connection:
        connection.execute(sa.update(INSTANCES).values(updated_at=models.utcnow(), **values))


def shown(tree, name='task_state'):
    return replication.column(tree['top'].database, ONE, name)


def faults_of(cell):
    return [one['message'] for one in faults.fault_get_all(cell.database, ONE)]


def busy(cell, state='pending'):
    """Have something ordered of a host that never answers."""
    with cell.database.write() as connection:
        connection.execute(
            sa.insert(models.HostOperation).values(
                op_id='op.1',
                instance_uuid=ONE,
                host='h1',
                method='snapshot',
                args='{}',
                instance='{}',
                notes='{}',
                ctxt='{}',
                state=state,
                attempts=0,
                due=engine.now() + 3600,
                deadline=engine.now() + 7200,
                created_at=engine.now() - 3600,
            )
        )


# -- the top --


@pytest.mark.needs_extensions('a plain cell is asked for the request, not what it works at')
def test_t5_a_task_that_its_cell_knows_nothing_of_is_over_within_the_bound(tree):
    """It was lost before it came into any journal: its API service died, say."""
    create(tree)
    with tree['top'].database.write() as connection:
        actions.action_create(
            connection, {'instance_uuid': ONE, 'action': 'stop', 'request_id': 'req-1'}
        )
    begun = time.monotonic()
    write(tree['top'], task_state='powering-off')
    deploy.wait_until(lambda: shown(tree) is None, 10, 'the task is over')
    assert 1 < time.monotonic() - begun < 20
    deploy.wait_until(lambda: faults_of(tree['top']), 10, 'there is a fault')
    assert faults_of(tree['top']) == [
        'The task powering-off came to nothing: cell %s has no work for it' % PATH
    ]
    [action] = actions.actions_get(tree['top'].database, ONE)
    assert action['message'] == 'Error'
    assert shown(tree, 'vm_state') == 'active'
    time.sleep(1.5)
    assert len(faults_of(tree['top'])) == 1


@pytest.mark.parametrize('state', ['pending', 'accepted'])
def test_a_task_that_takes_long_is_left_alone(tree, state):
    create(tree)
    busy(tree['leaf'], state)
    with tree['leaf'].database.write() as connection:
        instances.instance_update(connection, ONE, {'task_state': 'image_uploading'})
    tree['leaf'].wake()
    deploy.wait_until(lambda: shown(tree) == 'image_uploading', 10, 'it is under way')
    time.sleep(3)
    assert shown(tree) == 'image_uploading'
    assert replication.column(tree['leaf'].database, ONE, 'task_state') == 'image_uploading'
    assert faults_of(tree['top']) == []

    def known():
        found = tree['top'].sweep.status()
        return found['under_way'] == {PATH: 1} and found['unknown'] == {}

    deploy.wait_until(known, 20, 'its cell has said that it is under way')
    # As soon as it is done, it shows.
    with tree['leaf'].database.write() as connection:
        host_operations.op_end(connection, 'op.1', 'done', {})
        instances.instance_update(connection, ONE, {'task_state': None})
    tree['leaf'].wake()
    deploy.wait_until(lambda: shown(tree) is None, 10, 'it is over')


@pytest.mark.needs_extensions('a plain cell is asked for the request, not what it works at')
def test_what_cannot_be_asked_for_is_shown_as_unknown_and_stays(tree):
    create(tree)
    tree['leaf'].stop()
    write(tree['top'], task_state='powering-off')
    deploy.wait_until(
        lambda: tree['top'].sweep.status()['unknown'] == {PATH: 1}, 20, 'it is unknown'
    )
    assert shown(tree) == 'powering-off'
    assert faults_of(tree['top']) == []
    ctxt = context.RequestContext('u', 'p')
    assert tree.ops('top').status(ctxt)['sweep']['under_way'] == {PATH: 1}
    tree.cells['leaf'] = fake_cells.build_again(tree.workdir, 'leaf')
    tree['leaf'].start()
    deploy.wait_until(lambda: shown(tree) is None, 20, 'the task is over')


@pytest.mark.needs_extensions('a plain cell is asked for the request, not what it works at')
def test_s4_a_task_of_an_instance_that_its_cell_does_not_have(tree):
    create(tree)
    with tree['leaf'].database.write() as connection:
        connection.execute(sa.delete(models.Instance))
    write(tree['top'], task_state='rebooting')
    deploy.wait_until(lambda: shown(tree) is None, 10, 'the task is over')
    assert PATH in shown(tree, 'inconsistent')
    assert not shown(tree, 'deleted')
    assert 'does not have the instance' in faults_of(tree['top'])[0]


@pytest.mark.needs_extensions('a plain cell is asked for the request, not what it works at')
def test_s5_a_deletion_of_what_its_cell_does_not_have_comes_to_its_end(tree):
    create(tree)
    with tree['leaf'].database.write() as connection:
        connection.execute(sa.delete(models.Instance))
    write(tree['top'], task_state='deleting')
    deploy.wait_until(lambda: shown(tree, 'deleted'), 10, 'it is gone')


@pytest.mark.needs_extensions('a plain cell is asked for the request, not what it works at')
def test_o13_a_deletion_that_is_done_below_and_not_known_above(tree):
    create(tree)
    write(tree['leaf'], deleted=INSTANCES.c.id, deleted_at=models.utcnow())
    write(tree['top'], task_state='deleting')
    deploy.wait_until(lambda: shown(tree, 'deleted'), 10, 'it is gone')


@pytest.mark.needs_extensions('a plain cell is asked for the request, not what it works at')
def test_an_order_that_is_on_its_way_is_not_asked_for(tree):
    create(tree)
    with tree['top'].database.write() as connection:
        connection.execute(
            sa.insert(models.Inbox).values(
                uuid='u1',
                operation='stop_instance',
                envelope='{}',
                state='done',
                attempts=1,
                claimed_until=0.0,
                received_at=engine.now(),
                ended_at=engine.now(),
                instance_uuid=ONE,
                ordering='1',
            )
        )
        connection.execute(
            sa.insert(models.Outbox).values(
                uuid='u1',
                neighbour='mid',
                kind='targeted',
                envelope='{}',
                state='sent',
                attempts=1,
                claimed_until=engine.now() + 3600,
                created_at=engine.now(),
                sent_at=engine.now(),
            )
        )
    write(tree['top'], task_state='powering-off')
    time.sleep(3)
    assert shown(tree) == 'powering-off'
    with tree['top'].database.write() as connection:
        connection.execute(sa.delete(models.Outbox))
    deploy.wait_until(lambda: shown(tree) is None, 10, 'the task is over')


def test_c9_a_build_that_no_cell_has_ends_in_an_error(tree):
    record(tree, vm_state='building', task_state='scheduling', host=None)
    deploy.wait_until(lambda: shown(tree, 'vm_state') == 'error', 10, 'it is in error')
    assert shown(tree) is None
    assert faults_of(tree['top']) == ['The build of the instance was lost: no cell has it']


def test_a_build_that_is_being_placed_is_left_alone(tree):
    record(tree, vm_state='building', task_state='scheduling', host=None)
    with tree['top'].database.write() as connection:
        connection.execute(
            sa.insert(models.Placement).values(
                instance_uuid=ONE,
                attempt=1,
                request_uuid='r1',
                next_cell='mid',
                state='placed',
                memory_mb=1,
                disk_gb=1,
                vcpus=1,
                created_at=engine.now(),
                expires=engine.now() + 3600,
            )
        )
    time.sleep(3)
    assert (shown(tree), shown(tree, 'vm_state')) == ('scheduling', 'building')


# -- the cell --


@pytest.mark.needs_extensions('a plain cell tells nobody above of actions')
@pytest.mark.parametrize(('before', 'after'), [('active', 'active'), ('building', 'error')])
def test_t5_a_task_that_nobody_works_on_ends_in_its_cell(tree, before, after):
    create(tree, vm_state=before)
    with tree['leaf'].database.write() as connection:
        actions.action_create(
            connection, {'instance_uuid': ONE, 'action': 'pause', 'request_id': 'req-1'}
        )
        instances.instance_update(connection, ONE, {'task_state': 'pausing'})
    tree['leaf'].wake()
    deploy.wait_until(lambda: faults_of(tree['top']), 15, 'there is a fault')
    deploy.wait_until(lambda: shown(tree) is None, 10, 'the task is over')
    assert shown(tree, 'vm_state') == after
    assert faults_of(tree['top']) == [
        'The task pausing came to nothing: nobody works on it any more'
    ]
    deploy.wait_until(
        lambda: (
            [one['message'] for one in actions.actions_get(tree['top'].database, ONE)] == ['Error']
        ),
        10,
        'the action has failed',
    )


def test_s5_a_deletion_that_nobody_works_on_goes_on(tree):
    create(tree, host=None)
    write(tree['leaf'], task_state='deleting')
    deploy.wait_until(lambda: shown(tree, 'deleted'), 15, 'it is gone')
    assert replication.column(tree['leaf'].database, ONE, 'deleted')


def test_one_worker_sweeps_at_a_time(workdir, quick):
    top = fake_cells.build(workdir, 'top', {})
    other = fake_cells.build_again(workdir, 'top', cell_type='api')
    for one in (top, other):
        one.start()
    try:
        deploy.wait_until(
            lambda: top.sweep._lease.held or other.sweep._lease.held, 10, 'one has the lease'
        )
        assert [top.sweep._lease.held, other.sweep._lease.held].count(True) == 1
    finally:
        top.stop()
        other.stop()


# -- a plain cell --


def answer(workdir, plain, value):
    """Answer each question of the top whether a request is known."""
    answered = set()
    while not plain.stopped.wait(0.05):
        for one in plain.of('action_get_by_request_id'):
            if one['uuid'] in answered:
                continue
            answered.add(one['uuid'])
            response = {'cell_name': 'top!plain', 'value': value, 'failure': False}
            envelope = {
                'message_type': 'response',
                'ctxt': one['ctxt'],
                'method_name': 'parse_responses',
                'method_kwargs': {'orig_message': '{}', 'responses': [json.dumps(response)]},
                'direction': 'up',
                'need_response': False,
                'fanout': True,
                'uuid': messages.new_uuid(),
                'routing_path': 'plain',
                'hop_count': 1,
                'max_hop_count': 10,
                'target_cell': 'plain!top',
                'response_uuid': one['uuid'],
            }
            plain._driver.send(
                CellState('top', True, fake_cells.address(workdir, 'top')),
                base.Outgoing(kind=Kind.RESPONSE, text=json.dumps(envelope), ctxt={}, fanout=True),
            )


@pytest.mark.parametrize('known', [True, False])
def test_t5_a_plain_cell_is_asked_for_the_request(workdir, quick, known):
    plain = plain_cell.PlainCell(workdir, 'plain')
    plain.stopped = threading.Event()
    plain.start()
    top = fake_cells.build(workdir, 'top', {'plain': False})
    top.start()
    value = {'id': 1, 'request_id': 'req-1'} if known else None
    thread = threading.Thread(target=answer, args=(workdir, plain, value))
    thread.start()
    tree = {'top': top}
    try:
        for _ in range(3):
            plain.say('top', 'update_capabilities', 'up', cell_name='plain', capabilities={})
        record(tree, cell_name='top!plain')
        with top.database.write() as connection:
            actions.action_create(
                connection, {'instance_uuid': ONE, 'action': 'stop', 'request_id': 'req-1'}
            )
        write(top, task_state='powering-off')
        if known:
            deploy.wait_until(
                lambda: top.sweep.status()['unknown'] == {'top!plain': 1}, 20, 'it is not known'
            )
            assert shown(tree) == 'powering-off'
        else:
            deploy.wait_until(lambda: shown(tree) is None, 20, 'the task is over')
            assert faults_of(top) == ['The request req-1 never came to cell top!plain']
        assert plain.of('x_instances_state') == []
    finally:
        plain.stopped.set()
        thread.join(5)
        top.stop()
        plain.stop()
