"""What comes of orders: the states of the contract, faults, events; who moved on is left alone."""

import pytest

from cells import exceptions, messages
from cells.compute import host_ops, results
from cells.db import host_operations, instances, models
from cells.host import methods
from tests.unit.compute_cases import ADMIN, LAUNCHED, OWNER, SPEC, Cell, flavor, new_database

ACTIONS = SPEC['actions']
VOLUME = '99999999-9999-4999-8999-999999999999'

#: Action -> how it is ordered: (message, or None for a method that is called; arguments; what
#: the machine does afterwards; what the instance is then).
SIMPLE = {
    'start': ('start_instance', {}, 1, 'active'),
    'stop': ('stop_instance', {'clean_shutdown': False}, 4, 'stopped'),
    'reboot_soft': ('reboot_instance', {'reboot_type': 'SOFT'}, 1, 'active'),
    'reboot_hard': ('reboot_instance', {'reboot_type': 'HARD'}, 1, 'active'),
    'pause': ('pause_instance', {}, 3, 'paused'),
    'unpause': ('unpause_instance', {}, 1, 'active'),
    'suspend': ('suspend_instance', {}, 7, 'suspended'),
    'resume': ('resume_instance', {}, 1, 'active'),
    'soft_delete': ('soft_delete_instance', {}, 4, 'soft-delete'),
    'restore': (None, {}, 1, 'active'),
    'snapshot': ('snapshot_instance', {'image_id': 'i'}, 1, None),
    'backup': (
        'backup_instance',
        {'image_id': 'i', 'backup_type': 'daily', 'rotation': 1},
        1,
        None,
    ),
    'set_admin_password': ('set_admin_password', {'new_pass': 'secret'}, 1, None),
    'rescue': (None, {'rescue_password': 'secret'}, 1, 'rescued'),
    'unrescue': (None, {}, 1, 'active'),
    'rebuild': (
        'rebuild_instance',
        {'image_href': 'image-2', 'admin_password': 'secret'},
        1,
        'active',
    ),
    'trigger_crash_dump': (None, {}, None, None),
    'reset_network': ('reset_network', {}, None, None),
    'inject_network_info': ('inject_network_info', {}, None, None),
    'add_fixed_ip': (None, {'network_id': 'n'}, None, None),
    'remove_fixed_ip': (None, {'address': '10.0.0.1'}, None, None),
    'attach_interface': (None, {'network_id': 'n'}, None, None),
    'detach_interface': (None, {'port_id': 'p'}, None, None),
    'shelve_offload': (None, {}, 0, 'shelved_offloaded'),
}
#: What an instance is of which the operation failed, where that is another state.
FAILED = {
    'rebuild': 'error',
    'reboot_soft': 'error',
    'reboot_hard': 'error',
}


@pytest.fixture
def cell(workdir):
    database = new_database(workdir)
    cell = Cell(database)
    for host in ('h1', 'h2'):
        cell.host(host)
    yield cell
    database.dispose()


def make(cell, name, **values):
    allowed = ACTIONS[name]['preconditions']['vm_state']
    vm_state = 'active' if allowed == 'any' else allowed[0]
    return cell.instance(fields={'flavor': flavor('small')}, vm_state=vm_state, **values)


def order(cell, name, uuid, ctxt=OWNER, **more):
    message, kwargs, _, _ = SIMPLE[name]
    if message is None:
        return cell.call(name, uuid, ctxt=ctxt, answered=False, **kwargs, **more)
    return cell.send(message, uuid, ctxt, **kwargs, **more)


@pytest.mark.parametrize('name', SIMPLE)
def test_s7_an_action_gives_one_order_and_ends_in_the_states_of_the_table(cell, name):
    uuid = make(cell, name)
    was = cell.get(uuid)
    order(cell, name, uuid)
    assert len(cell.open(uuid)) == 1
    _, _, power_state, vm_state = SIMPLE[name]
    cell.end(uuid, power_state=power_state)
    found = cell.get(uuid)
    assert (found.vm_state, found.task_state) == (vm_state or was.vm_state, None)
    assert found.power_state == (was.power_state if power_state is None else power_state)
    if vm_state is not None:
        assert vm_state in ACTIONS[name]['resulting_vm_state']
    assert cell.open(uuid) == []
    assert cell.faults(uuid) == []
    for _, message, events in cell.history(uuid):
        assert message is None
        assert [result for _, result in events] == ['Success']


@pytest.mark.parametrize('name', SIMPLE)
def test_t5_what_a_host_fails_at_leaves_a_fault_a_failed_event_and_no_task(cell, name):
    uuid = make(cell, name)
    was = cell.get(uuid)
    order(cell, name, uuid)
    cell.end(uuid, error=('ImageNotFound', 'Image x could not be found.'), power_state=4)
    assert cell.states(uuid) == (FAILED.get(name, was.vm_state), None)
    (fault,) = cell.faults(uuid)
    assert fault['message'] == 'Image x could not be found.'
    assert (fault['code'], fault['host']) == (404, 'h1')
    for _, message, events in cell.history(uuid):
        assert message == 'Error'
        assert [result for _, result in events] == ['Error']
    assert cell.open(uuid) == []


@pytest.mark.parametrize('name', SIMPLE)
def test_r3_the_same_message_twice_is_one_order_and_one_action(cell, name):
    uuid = make(cell, name)
    message_uuid = messages.new_uuid()
    order(cell, name, uuid, message_uuid=message_uuid)
    state = cell.states(uuid)
    assert order(cell, name, uuid, message_uuid=message_uuid) is None
    assert (len(cell.open(uuid)), cell.states(uuid)) == (1, state)
    cell.end(uuid, power_state=1)
    before = cell.everything()
    order(cell, name, uuid, message_uuid=message_uuid)
    assert cell.everything() == before


@pytest.mark.parametrize('name', SIMPLE)
@pytest.mark.parametrize('ok', [True, False])
def test_an_instance_that_is_being_deleted_meanwhile_is_left_alone(cell, name, ok):
    for task_state in ('deleting', 'soft-deleting'):
        if name == 'soft_delete' and task_state == 'soft-deleting':
            continue
        uuid = make(cell, name)
        order(cell, name, uuid)
        cell.change(uuid, task_state=task_state)
        before = cell.stored(uuid)
        cell.end(
            uuid,
            error=None if ok else 'DriverError',
            power_state=4,
            network_info=[{'id': 'new'}],
        )
        assert cell.stored(uuid) == before
        assert cell.faults(uuid) == []
        for action in cell.rows(models.InstanceAction, instance_uuid=uuid):
            assert action['finish_time'] is not None
            assert action['message'] == (None if ok else 'Error')


@pytest.mark.parametrize('name', SIMPLE)
@pytest.mark.parametrize('ok', [True, False])
def test_an_outcome_for_an_instance_that_is_gone_only_ends_the_action(cell, name, ok):
    uuid = make(cell, name)
    order(cell, name, uuid)
    cell.write(instances.instance_destroy, uuid)
    cell.end(uuid, error=None if ok else 'DriverError', power_state=1)
    for _, _, events in cell.history(uuid):
        assert [result for _, result in events] == ['Success' if ok else 'Error']
    assert cell.faults(uuid) == []


def test_a_hard_reboot_takes_over_from_a_soft_one_which_then_changes_nothing(cell):
    uuid = cell.instance()
    cell.send('reboot_instance', uuid, reboot_type='SOFT')
    cell.progress(uuid, 'reboot_started')
    cell.send('reboot_instance', uuid, reboot_type='HARD')
    assert cell.states(uuid) == ('active', 'rebooting_hard')
    cell.end(uuid, error='DriverError', power_state=4)
    assert cell.states(uuid) == ('active', 'rebooting_hard')
    assert cell.faults(uuid) == []
    cell.end(uuid, power_state=1)
    assert cell.states(uuid) == ('active', None)
    results_ = [[result for _, result in events] for _, _, events in cell.history(uuid)]
    assert results_ == [['Error'], ['Success']]


def test_a_reboot_that_failed_is_no_error_of_an_instance_that_runs(cell):
    uuid = cell.instance()
    cell.send('reboot_instance', uuid, reboot_type='SOFT')
    cell.end(uuid, error='DriverError', power_state=1)
    assert cell.states(uuid) == ('active', None)
    assert len(cell.faults(uuid)) == 1


def test_what_an_instance_was_before_it_was_suspended_is_what_it_is_when_resumed(cell):
    uuid = cell.instance()
    cell.send('suspend_instance', uuid)
    cell.end(uuid, power_state=4)
    assert cell.get(uuid).system_metadata == {'old_vm_state': 'active'}
    cell.change(uuid, fields={'system_metadata': {'old_vm_state': 'paused', 'k': 'v'}})
    cell.send('resume_instance', uuid)
    cell.end(uuid, power_state=1)
    assert cell.states(uuid) == ('paused', None)
    assert cell.get(uuid).system_metadata == {'k': 'v'}


def test_what_was_kept_of_a_shelved_instance_goes_when_it_is_started(cell):
    kept = {'shelved_at': 't', 'shelved_image_id': 'i', 'shelved_host': 'h', 'k': 'v'}
    uuid = cell.instance(fields={'system_metadata': kept}, vm_state='stopped')
    cell.send('start_instance', uuid)
    cell.end(uuid, power_state=1)
    assert cell.get(uuid).system_metadata == {'k': 'v'}


def test_a_stop_that_is_done_counts_though_the_task_was_reset(cell):
    uuid = cell.instance(progress=70)
    cell.send('stop_instance', uuid)
    assert cell.get(uuid).progress == 0
    cell.change(uuid, task_state=None)
    cell.end(uuid, power_state=4)
    assert cell.states(uuid) == ('stopped', None)


def test_an_order_says_what_the_agent_needs(cell):
    uuid = cell.instance(metadata={'k': 'v'})
    cell.send('reboot_instance', uuid, reboot_type='anything')
    (operation,) = cell.open(uuid)
    assert (operation['host'], operation['method']) == ('h1', 'reboot')
    assert operation['args'] == {'type': 'HARD'}
    assert operation['instance']['uuid'] == uuid
    assert operation['instance']['metadata'] == {'k': 'v'}
    assert operation['ctxt']['request_id'] == OWNER.request_id


def test_an_action_is_recorded_with_who_ordered_it_when_and_by_which_request(cell):
    uuid = cell.instance()
    cell.send('pause_instance', uuid, ADMIN)
    (action,) = cell.rows(models.InstanceAction, instance_uuid=uuid)
    assert action['request_id'] == 'req-admin'
    assert (action['user_id'], action['project_id']) == ('boss', 'admins')
    assert action['start_time'].isoformat(timespec='microseconds') == ADMIN.timestamp
    assert action['finish_time'] is None
    cell.end(uuid, power_state=3)
    (action,) = cell.rows(models.InstanceAction, instance_uuid=uuid)
    assert action['finish_time'] is not None


# -- how far an operation is --


@pytest.mark.parametrize(
    ('message', 'kwargs', 'steps'),
    [
        (
            'snapshot_instance',
            {'image_id': 'i'},
            ['image_snapshot', 'image_pending_upload', 'image_uploading'],
        ),
        (
            'rebuild_instance',
            {'image_href': 'i', 'admin_password': None},
            ['rebuild_block_device_mapping', 'rebuild_spawning'],
        ),
        ('reboot_instance', {'reboot_type': 'SOFT'}, ['reboot_pending', 'reboot_started']),
        (
            'reboot_instance',
            {'reboot_type': 'HARD'},
            ['reboot_pending_hard', 'reboot_started_hard'],
        ),
        ('resize_instance', {'flavor': {'flavorid': 'small'}}, ['resize_migrating']),
    ],
)
def test_progress_goes_forward_along_the_steps_of_the_table_and_never_back(
    cell, message, kwargs, steps
):
    cell.flavor('small')
    uuid = cell.instance(fields={'flavor': flavor('small')})
    cell.send(message, uuid, **kwargs)
    first = cell.states(uuid)[1]
    for number, step in enumerate(steps):
        cell.progress(uuid, step, 10 * number)
        found = cell.get(uuid)
        assert (found.task_state, found.progress) == (step, 10 * number)
        for earlier in (first, *steps[:number], 'deleting', 'nonsense'):
            cell.progress(uuid, earlier, 99)
            found = cell.get(uuid)
            assert (found.task_state, found.progress) == (step, 10 * number)
    cell.end(uuid, power_state=1)


def test_progress_of_an_instance_that_has_moved_on_is_dropped(cell):
    uuid = cell.instance()
    cell.send('snapshot_instance', uuid, image_id='i')
    for task_state in ('deleting', None, 'powering-off'):
        cell.change(uuid, task_state=task_state)
        cell.progress(uuid, 'image_uploading')
        assert cell.states(uuid)[1] == task_state


def test_p3_progress_that_says_nothing_new_marks_nothing(cell):
    uuid = cell.instance()
    cell.send('snapshot_instance', uuid, image_id='i')
    cell.progress(uuid, 'image_snapshot', 20)
    before = cell.everything()
    cell.progress(uuid, 'image_snapshot', 20)
    assert cell.everything() == before


def test_a_shelve_and_an_evacuation_have_words_of_their_own_for_their_steps(cell):
    uuid = cell.instance()
    cell.call('shelve', uuid)
    cell.progress(uuid, 'image_uploading')
    assert cell.states(uuid)[1] == 'shelving_image_uploading'
    cell.host('lost', up=False)
    other = cell.instance(host='lost', node='lost')
    cell.call('evacuate', other, 'h2', False)
    cell.progress(other, 'networking')
    assert cell.states(other)[1] == 'rebuilding'
    cell.progress(other, 'spawning')
    assert cell.states(other)[1] == 'rebuild_spawning'


# -- what a host sees by itself --

SYNC = [
    ('active', None, 4, ('stopped', None), 4),
    ('active', None, 6, ('stopped', None), 6),
    ('paused', None, 4, ('stopped', None), 4),
    ('active', None, 3, ('active', None), 3),
    ('stopped', None, 1, ('stopped', 'powering-off'), 1),
    ('stopped', None, 6, ('stopped', None), 6),
    ('rescued', None, 4, ('rescued', None), 4),
    ('resized', None, 4, ('resized', None), 4),
    ('soft-delete', None, 4, ('soft-delete', None), 4),
    ('active', 'powering-off', 4, ('active', 'powering-off'), 1),
    ('active', 'deleting', 4, ('active', 'deleting'), 1),
]


@pytest.mark.parametrize(('vm_state', 'task_state', 'seen', 'then', 'power_state'), SYNC)
def test_what_a_host_sees_of_an_idle_instance_is_noted(
    cell, vm_state, task_state, seen, then, power_state
):
    uuid = cell.instance(vm_state=vm_state, task_state=task_state)
    cell.write(results.power_sync, uuid, seen)
    assert cell.states(uuid) == then
    assert cell.get(uuid).power_state == power_state
    wanted = ['stop'] if then[1] == 'powering-off' and task_state is None else []
    assert [one['method'] for one in cell.open(uuid)] == wanted


def test_an_instance_that_runs_though_it_is_stopped_is_stopped_again(cell):
    uuid = cell.instance(vm_state='stopped', power_state=4)
    cell.write(results.power_sync, uuid, 1)
    cell.end(uuid, 'stop', power_state=4)
    assert cell.states(uuid) == ('stopped', None)
    assert cell.history(uuid) == []


def test_what_is_seen_of_an_instance_that_is_gone_is_dropped(cell):
    cell.write(results.power_sync, messages.new_uuid(), 1)
    nowhere = cell.instance(host=None, node=None)
    cell.write(results.power_sync, nowhere, 4)
    assert cell.states(nowhere) == ('active', None)


# -- oddities --


def test_an_outcome_that_nothing_follows_on_ends_its_row_alone(cell):
    uuid = cell.instance()

    def strange(connection):
        host_ops.order(
            connection,
            op_id='strange.0',
            host='h1',
            method='pause',
            instance=instances.instance_get(connection, uuid),
            notes={'then': 'nonsense'},
        )

    cell.write(strange)
    before = cell.stored(uuid)
    cell.end(uuid, power_state=3)
    assert cell.stored(uuid) == before


def test_every_method_of_the_agent_has_something_that_follows():
    known = set(results.COMPLETIONS) | {'build', 'reboot'}
    assert set(methods.METHODS) <= known


def test_a_password_is_made_up_when_none_is_given(cell):
    uuid = cell.instance()
    cell.send('set_admin_password', uuid, new_pass=None)
    (operation,) = cell.open(uuid)
    assert len(operation['args']['password']) >= 12
    other = cell.instance()
    cell.call('rescue', other)
    (operation,) = cell.open(other)
    assert len(operation['args']['password']) >= 12
    assert operation['args']['image_ref'] is None


def test_a_rescued_instance_was_launched_anew(cell):
    uuid = cell.instance()
    cell.call('rescue', uuid)
    cell.end(uuid, power_state=1)
    assert cell.get(uuid).launched_at.replace(tzinfo=None) > LAUNCHED


def test_x4_what_was_ordered_is_not_kept_after_its_end(cell):
    uuid = cell.instance()
    cell.send('set_admin_password', uuid, new_pass='very-secret')
    operation = cell.end(uuid, power_state=1)
    with cell.database.read() as connection:
        row = host_operations.op_find(connection, operation['op_id'])
    assert 'very-secret' not in str(row)


def test_an_error_of_a_class_that_is_not_known_is_a_fault_all_the_same(cell):
    uuid = cell.instance()
    cell.send('pause_instance', uuid)
    cell.end(uuid, error=('Interrupted', 'x' * 1000))
    (fault,) = cell.faults(uuid)
    assert fault['code'] == 500
    assert fault['message'] == 'x' * 255
    assert 'x' * 1000 in fault['details']
    assert cell.states(uuid) == ('active', None)


def test_an_instance_on_no_host_is_not_ready_where_an_agent_is_needed(cell):
    uuid = cell.instance(host=None, node=None)
    for name in ('pause_instance', 'reset_network', 'inject_network_info'):
        with pytest.raises(exceptions.InstanceNotReady):
            cell.send(name, uuid)
    assert cell.states(uuid) == ('active', None)
    assert cell.history(uuid) == []
