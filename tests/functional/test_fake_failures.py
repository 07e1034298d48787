"""Orders that come to nothing: known at the top, with the reason, and never silent."""

import dataclasses
import json
import time

import pytest
import sqlalchemy as sa

from cells import context, exceptions, failures, journal_worker, messages, paths, sweep
from cells.db import faults, instances, models
from cells.db import instance_actions as actions
from cells.db import instance_history as history
from cells.db import journal as db_journal
from cells.drivers import base, fake
from cells.messages import TargetedMessage
from cells.objects import base as objects_base
from cells.objects.instance import Instance
from cells.operations import Direction, Kind
from cells.state import CellState
from tests import deploy, fake_cells, plain_cell, replication

LINE = {'top': None, 'mid': 'top', 'leaf': 'mid'}
ONE = '11111111-1111-4111-8111-111111111111'
TWO = '22222222-2222-4222-8222-222222222222'
PATH = 'top!mid!leaf'
VALUES = {
    'user_id': 'u',
    'project_id': 'p',
    'vm_state': 'active',
    'host': 'h1',
    'launched_at': models.utcnow(),
}
INSTANCES = models.Instance.__table__


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(sweep, 'TURN_SECONDS', 0.2)


@pytest.fixture
def tree(workdir, quick):
    with fake_cells.FakeTree(workdir, LINE).running() as found:
        yield found


def create(tree, uuid=ONE, cell='leaf', path=PATH, **values):
    """Make an instance in a cell and wait until the top knows it."""
    if cell is None:
        with tree['top'].database.write() as connection:
            given = {**VALUES, **values, 'uuid': uuid, 'cell_name': path}
            instances.instance_create(connection, given)
        return
    with tree[cell].database.write() as connection:
        instances.instance_create(connection, {**VALUES, **values, 'uuid': uuid})
    tree[cell].wake()
    deploy.wait_until(
        lambda: replication.column(tree['top'].database, uuid, 'cell_name'), 15, 'it is known'
    )
    deploy.wait_until(
        lambda: not replication.Child(tree[cell].database).dirty(), 10, 'nothing is dirty'
    )


def task(tree, state, uuid=ONE):
    """Write what an API service shows while an order is on its way."""
    with tree['top'].database.write() as connection:
        connection.execute(
            sa.update(INSTANCES).where(INSTANCES.c.uuid == uuid).values(task_state=state)
        )


def shown(tree, name='task_state', uuid=ONE):
    return replication.column(tree['top'].database, uuid, name)


def user(**kwargs):
    return context.RequestContext('u', 'p', **kwargs)


def instance(uuid=ONE, path=PATH):
    return Instance(uuid=uuid, cell_name=path)


def stop(tree, ctxt=None, **kwargs):
    task(tree, 'powering-off')
    tree.api('top').stop_instance(ctxt or user(), instance(**kwargs))


def fault(tree, uuid=ONE, seconds=10):
    """Return the one fault that the top has of an instance."""
    [found] = deploy.wait_until(
        lambda: faults.fault_get_all(tree['top'].database, uuid), seconds, 'there is a fault'
    )
    return found


def failed_action(tree, ctxt, uuid=ONE):
    """Return the action and its one step at the top."""
    database = tree['top'].database
    deploy.wait_until(
        lambda: history.events_of_request(database, uuid, ctxt.request_id), 10, 'it has a step'
    )
    [event] = history.events_of_request(database, uuid, ctxt.request_id)
    [action] = actions.actions_get(database, uuid)
    assert (action['message'], event['result']) == ('Error', 'Error')
    assert action['finish_time'] is not None
    return action, event


# -- in the cell of the instance --


def _locked(tree):
    create(tree, locked=True, locked_by='admin')
    return 'Instance %s is locked' % ONE, 400


def _in_wrong_state(tree):
    create(tree, vm_state='suspended')
    return 'Instance %s in vm_state suspended. Cannot stop' % ONE, 400


def _with_a_task(tree):
    create(tree, task_state='rebuilding')
    return 'rebuilding', 400


def _on_no_host(tree):
    create(tree, host=None)
    return 'Instance %s is not ready' % ONE, 400


@pytest.mark.needs_extensions('the history of an instance does not pass plain cells')
@pytest.mark.parametrize('prepare', [_locked, _in_wrong_state, _with_a_task, _on_no_host])
def test_t5_what_a_cell_refuses_is_seen_at_the_top_within_seconds(tree, prepare):
    text, code = prepare(tree)
    state = 'rebuilding' if prepare is _with_a_task else None
    ctxt = user()
    begun = time.monotonic()
    stop(tree, ctxt)
    found = fault(tree)
    assert time.monotonic() - begun < 10
    assert text in found['message']
    assert found['message'].endswith('(in cell top!mid!leaf)')
    assert found['code'] == code
    # What the record shows is what is so in the cell.
    deploy.wait_until(lambda: shown(tree) == state, 20, 'the true task state')
    action, event = failed_action(tree, ctxt)
    assert (action['action'], event['event']) == ('stop', 'compute_stop_instance')
    assert (action['user_id'], action['project_id']) == ('u', 'p')
    assert text in event['traceback']
    time.sleep(0.5)
    assert len(faults.fault_get_all(tree['top'].database, ONE)) == 1
    assert db_journal.counts(tree['leaf'].database)['inbox.failed'] == 1


@pytest.mark.needs_extensions('the history of an instance does not pass plain cells')
def test_t5_an_error_that_nobody_expected_shows_its_class_and_no_more(tree, monkeypatch, caplog):
    create(tree)

    def fail(*args, **kwargs):
        raise RuntimeError('a secret of the database')

    monkeypatch.setattr(tree['leaf'].runner._changes._dispatcher, 'change', fail)
    ctxt = user()
    stop(tree, ctxt)
    found = fault(tree)
    assert found['message'] == 'Unexpected error RuntimeError (in cell top!mid!leaf)'
    assert found['code'] == 500
    failed_action(tree, ctxt)
    deploy.wait_until(lambda: shown(tree) is None, 5, 'the task is over')
    assert 'a secret' not in json.dumps(found)


@pytest.mark.needs_extensions('the history of an instance does not pass plain cells')
def test_t5_the_methods_that_parents_send_are_reported_by_their_names(tree):
    create(tree, vm_state='suspended')
    task(tree, 'rescuing')
    ctxt = user()
    tree.api('top').cast_compute_api_method(ctxt, PATH, 'unrescue', ONE)
    assert 'Cannot unrescue' in fault(tree)['message']
    action, event = failed_action(tree, ctxt)
    assert (action['action'], event['event']) == ('unrescue', 'compute_unrescue_instance')


def test_t5_an_update_that_is_refused_is_taken_back_at_the_top(tree):
    create(tree, task_state='rebuilding')
    with tree['top'].database.write() as connection:
        connection.execute(sa.update(INSTANCES).values(display_name='new'))
    tree['top'].runner.change(
        user(),
        'instance_update_from_api',
        {
            'instance': _named('new'),
            'expected_vm_state': None,
            'expected_task_state': [None],
            'admin_state_reset': False,
        },
        paths.CellPath.parse(PATH),
    )
    deploy.wait_until(lambda: shown(tree, 'display_name') is None, 10, 'it is as it was')
    assert faults.fault_get_all(tree['top'].database, ONE) == []


def _named(name):
    return Instance(uuid=ONE, cell_name=PATH, display_name=name)


def test_s8_what_ends_in_time_lets_a_stop_through(tree, monkeypatch):
    """The lock goes while the stop is being tried: nobody hears of the refusal."""
    monkeypatch.setattr(journal_worker, 'REFUSED_SECONDS', 30.0)
    create(tree, locked=True, locked_by='owner')
    ctxt = user()
    stop(tree, ctxt)
    deploy.wait_until(
        lambda: tree['leaf'].stats.get('journal_refused_for_now') > 2, 20, 'it is refused'
    )
    with tree['leaf'].database.write() as connection:
        instances.instance_update(connection, ONE, {'locked': False, 'locked_by': None})
    deploy.wait_until(
        lambda: replication.column(tree['leaf'].database, ONE, 'task_state') == 'powering-off',
        20,
        'it is under way',
    )
    assert faults.fault_get_all(tree['top'].database, ONE) == []


# -- on the way --


@pytest.mark.needs_extensions('the history of an instance does not pass plain cells')
def test_r1_an_order_that_a_middle_cell_cannot_send_on_is_seen_at_the_top(tree):
    create(tree, cell=None, path='top!mid!gone')
    ctxt = user()
    stop(tree, ctxt, path='top!mid!gone')
    found = fault(tree)
    assert 'Unknown child when routing to top!mid!gone (in cell top!mid)' in found['message']
    failed_action(tree, ctxt)
    assert shown(tree) is None
    assert shown(tree, 'cell_name') == 'top!mid!gone'
    assert db_journal.counts(tree['mid'].database)['inbox.failed'] == 1


def targeted(path, operation='stop_instance', uuid=None, **kwargs):
    fields = {
        'ctxt': user().to_dict(),
        'method_name': operation,
        'method_kwargs': objects_base.to_primitive({'instance': instance(path=path), **kwargs}),
        'direction': Direction.DOWN,
        'routing_path': paths.CellPath(('top',)),
        'uuid': uuid or messages.new_uuid(),
    }
    return TargetedMessage(target_cell=paths.CellPath.parse(path), **fields)


def test_r1_an_order_that_the_top_has_and_cannot_send_any_more_is_seen_there(tree):
    """The cell was there when the order came."""
    create(tree, cell=None, path='top!gone')
    task(tree, 'powering-off')
    top = tree['top']
    message = targeted('top!gone')
    top.runner._changes.order(top.journal, message)
    found = fault(tree)
    assert 'top!gone' in found['message']
    assert found['message'].endswith('(in cell top)')
    assert shown(tree) is None
    [action] = actions.actions_get(top.database, ONE)
    assert (action['action'], action['message']) == ('stop', 'Error')


def test_a_failure_leaves_the_task_of_another_order_alone(tree):
    create(tree, cell=None, path='top!gone')
    task(tree, 'rebuilding')
    top = tree['top']
    top.runner._changes.order(top.journal, targeted('top!gone'))
    fault(tree)
    assert shown(tree) == 'rebuilding'


def test_r1_an_order_for_a_cell_that_stays_away_is_reported_and_not_carried_out_later(
    workdir, quick
):
    with fake_cells.FakeTree(workdir, LINE, action_timeout=2).running() as tree:
        create(tree)
        tree['mid'].stop()
        ctxt = user()
        begun = time.monotonic()
        stop(tree, ctxt)
        # What deletes has no such bound: it waits.
        create(tree, TWO, cell=None)
        tree.api('top').terminate_instance(user(), instance(TWO), [])
        found = fault(tree, seconds=20)
        assert time.monotonic() - begun > 2
        assert 'Cell top!mid could not be reached for 2 seconds (in cell top)' in found['message']
        assert found['code'] == 404
        failed_action(tree, ctxt)
        assert shown(tree) is None
        waiting = db_journal.counts(tree['top'].database)
        assert waiting['outbox.pending'] == 1
        tree.cells['mid'] = fake_cells.build_again(workdir, 'mid', action_timeout=2)
        tree['mid'].start()
        deploy.wait_until(
            lambda: 'outbox.pending' not in db_journal.counts(tree['top'].database),
            30,
            'it is gone',
        )
        time.sleep(1)
        assert replication.column(tree['leaf'].database, ONE, 'task_state') is None
        assert len(faults.fault_get_all(tree['top'].database, ONE)) == 1


@pytest.mark.needs_extensions('a plain envelope does not say when it was sent')
def test_r1_an_order_that_lay_with_its_cell_for_too_long_is_not_carried_out(workdir, quick):
    with fake_cells.FakeTree(workdir, LINE, action_timeout=2).running() as tree:
        create(tree)
        address = fake_cells.address(workdir, 'leaf')
        fake.hold(address)
        ctxt = user()
        stop(tree, ctxt)
        deploy.wait_until(
            lambda: db_journal.counts(tree['mid'].database).get('outbox.sent'), 10, 'it is sent'
        )
        time.sleep(6)
        fake.hold(address, silent=False)
        found = fault(tree, seconds=20)
        assert 'was not carried out within 2 seconds' in found['message']
        assert found['message'].endswith('(in cell top!mid!leaf)')
        deploy.wait_until(lambda: shown(tree) is None, 5, 'the task is over')
        failed_action(tree, ctxt)
        assert replication.column(tree['leaf'].database, ONE, 'task_state') is None


# -- a cell that does not have the instance --


def lose(tree, uuid=ONE):
    """Restore the database of the leaf from a time before the instance."""
    with tree['leaf'].database.write() as connection:
        connection.execute(sa.delete(models.Instance).where(INSTANCES.c.uuid == uuid))


@pytest.mark.needs_extensions('past a plain cell, that one was not found would delete it')
def test_s4_a_cell_that_does_not_find_an_instance_costs_nobody_the_record(tree, caplog):
    create(tree)
    lose(tree)
    task(tree, 'rebooting')
    ctxt = user()
    tree.api('top').reboot_instance(ctxt, instance(), None, 'SOFT')
    found = fault(tree)
    assert found['message'] == 'Instance %s could not be found (in cell top!mid!leaf)' % ONE
    assert found['code'] == 404
    assert not shown(tree, 'deleted')
    assert shown(tree, 'vm_state') == 'active'
    assert shown(tree) is None
    assert 'top!mid!leaf' in shown(tree, 'inconsistent')
    failed_action(tree, ctxt)
    alarms = [one for one in caplog.records if 'does not have instance' in one.getMessage()]
    assert [one.levelname for one in alarms] == ['ERROR']
    assert tree['top'].stats.get('replicas_inconsistent') == 1
    # The alarm is raised once, however often that is tried.
    tree.api('top').reboot_instance(user(), instance(), None, 'HARD')
    deploy.wait_until(lambda: tree['top'].stats.get('replicas_inconsistent') == 2, 10, 'once more')
    alarms = [one for one in caplog.records if 'does not have instance' in one.getMessage()]
    assert len(alarms) == 1


def test_s4_a_record_that_is_being_deleted_goes_when_its_cell_does_not_find_it(tree):
    create(tree)
    lose(tree)
    task(tree, 'deleting')
    tree.api('top').terminate_instance(user(), instance(), [])
    deploy.wait_until(lambda: shown(tree, 'deleted'), 10, 'it is gone')


@pytest.mark.parametrize(
    ('route', 'counts'),
    [('leaf!mid!top', True), ('mid!top', True), ('other!top', False), ('other!mid!top', False)],
)
def test_x1_a_failure_counts_along_the_way_to_the_cell_of_the_instance(tree, route, counts):
    create(tree, cell=None)
    task(tree, 'powering-off')
    failed = failures.Failed(
        uuid='u1',
        instance_uuid=ONE,
        operation='stop_instance',
        reason='no',
        code=400,
        cell='top!mid',
        target=PATH,
    )
    message = messages.BroadcastMessage(
        ctxt={},
        method_name='x_action_failed',
        method_kwargs=failures.to_kwargs(failed),
        direction=Direction.UP,
        routing_path=paths.CellPath.parse(route),
        hop_count=len(route.split('!')),
        uuid='m1',
    )
    top = tree['top']
    for _ in range(2):
        with top.database.write() as connection:
            top.runner._changes._dispatcher.change(connection, message)
    assert (shown(tree) is None) is counts
    assert len(faults.fault_get_all(top.database, ONE)) == counts
    assert len(actions.actions_get(top.database, ONE)) == counts


def test_a_second_report_of_a_failure_changes_nothing(tree):
    create(tree, cell=None)
    failed = failures.Failed('u1', ONE, 'stop_instance', 'no', 400, 'top', PATH, request_id='req-1')
    for _ in range(3):
        with tree['top'].database.write() as connection:
            failures.note(connection, failed)
    assert len(faults.fault_get_all(tree['top'].database, ONE)) == 1
    assert len(actions.actions_get(tree['top'].database, ONE)) == 1
    assert len(history.events_of_request(tree['top'].database, ONE, 'req-1')) == 1


def test_an_action_that_is_known_already_is_the_one_that_failed(tree):
    create(tree, cell=None, path='top!gone')
    top = tree['top']
    message = targeted('top!gone')
    with top.database.write() as connection:
        actions.action_create(
            connection,
            {
                'instance_uuid': ONE,
                'action': 'stop',
                'request_id': message.ctxt['request_id'],
            },
        )
    top.runner._changes.order(top.journal, message)
    fault(tree)
    [action] = actions.actions_get(top.database, ONE)
    assert action['message'] == 'Error'


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('uuid', None),
        ('instance_uuid', 'x' * 40),
        ('operation', 7),
        ('reason', ''),
        ('code', 'x'),
        ('code', 10**9),
        ('cell', None),
        ('target', 'a!!b'),
        ('request_id', ['x']),
    ],
)
def test_a_report_that_cannot_be_read_is_refused_by_name(name, value):
    given = {
        'uuid': 'u',
        'instance_uuid': ONE,
        'operation': 'stop_instance',
        'reason': 'no',
        'code': 400,
        'cell': 'top',
        'target': PATH,
    }
    assert failures.from_kwargs(given).instance_uuid == ONE
    with pytest.raises(exceptions.Invalid, match=name):
        failures.from_kwargs({**given, name: value})


# -- below a plain cell --


@pytest.fixture
def plain_top(workdir):
    found = plain_cell.PlainCell(workdir, 'top')
    found.start()
    yield found
    found.stop()


def below(workdir, plain_top, **cells):
    made = {name: fake_cells.build(workdir, name, others) for name, others in cells.items()}
    for one in made.values():
        one.start()
    for name, others in cells.items():
        if 'top' in others:
            plain_top.say(name, 'announce_capacities', 'down')
            deploy.wait_until(
                lambda name=name: made[name].state.sighting('top').protocol == 0, 10, 'it is plain'
            )
    return made


def reports(plain_top):
    return {
        one['method_name']: one
        for one in plain_top.of(
            'instance_fault_create_at_top', 'instance_update_at_top', 'instance_destroy_at_top'
        )
    }


@pytest.fixture
def say_to(plain_top, workdir):
    """A function that sends an order of the plain top to a cell further down."""

    def say(path, operation, **kwargs):
        names = path.split('!')
        envelope = {
            'message_type': 'targeted',
            'ctxt': user().to_dict(),
            'method_name': operation,
            'method_kwargs': {
                'instance': objects_base.to_primitive(instance(path=path), 'liberty'),
                **kwargs,
            },
            'direction': 'down',
            'need_response': False,
            'fanout': False,
            'uuid': messages.new_uuid(),
            'routing_path': 'top',
            'hop_count': 1,
            'max_hop_count': 10,
            'target_cell': path,
        }
        address = fake_cells.address(workdir, names[1])
        plain_top._driver.send(
            CellState(names[1], False, address),
            base.Outgoing(kind=Kind.TARGETED, text=json.dumps(envelope), ctxt={}),
        )

    return say


@pytest.mark.parametrize('path', ['top!mid!gone', 'top!mid!leaf'])
def test_t5_a_plain_top_is_told_of_a_failure_in_the_name_of_the_cell(
    workdir, plain_top, say_to, path
):
    """It takes the sender for the owner: so the middle cell speaks for the one below it."""
    made = below(workdir, plain_top, mid={'top': True, 'leaf': False}, leaf={'mid': True})
    try:
        fake_cells.connected([made['leaf']])
        say_to(path, 'reboot_instance', reboot_type='SOFT')
        found = deploy.wait_until(
            lambda: len(reports(plain_top)) == 2 and reports(plain_top), 15, 'it is told'
        )
        fault = found['instance_fault_create_at_top']
        assert fault['method_kwargs']['instance_fault']['instance_uuid'] == ONE
        assert '(in cell %s' % path.rsplit('!', 1)[0] in str(fault) or path in str(fault)
        update = found['instance_update_at_top']
        last = path.rsplit('!', 1)[1]
        assert update['routing_path'] == '%s!mid' % last
        told = update['method_kwargs']['instance']
        assert told['nova_object.data']['task_state'] is None
        assert told['nova_object.changes'] == ['task_state']
        assert told['nova_object.version'] == '2.0'
        assert plain_top.of('x_action_failed') == []
    finally:
        for one in made.values():
            one.stop()


def test_o13_a_plain_top_hears_that_what_it_deletes_is_not_there(workdir, plain_top, say_to):
    made = below(workdir, plain_top, leaf={'top': True})
    try:
        say_to('top!leaf', 'soft_delete_instance')
        found = deploy.wait_until(lambda: reports(plain_top), 15, 'it is told')
        assert list(found) == ['instance_destroy_at_top']
    finally:
        made['leaf'].stop()


# -- builds --


def test_t5_a_build_that_fails_as_nobody_expected_ends_in_an_error(tree, monkeypatch):
    create(tree, cell=None, path=None, vm_state='building', task_state='scheduling', host=None)
    top = tree['top']

    def fail(*args, **kwargs):
        raise RuntimeError('no')

    monkeypatch.setattr(top.runner._changes._dispatcher, 'change', fail)
    message = targeted('top', 'build_instances', build_inst_kwargs={'instances': [instance()]})
    kwargs = {'build_inst_kwargs': message.method_kwargs['build_inst_kwargs']}
    top.runner._changes.order(top.journal, dataclasses.replace(message, method_kwargs=kwargs))
    assert 'Unexpected error RuntimeError' in fault(tree)['message']
    assert (shown(tree), shown(tree, 'vm_state')) == (None, 'error')
