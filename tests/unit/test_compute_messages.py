"""Orders as messages (``spec/intercell.json``, ``methods``), and what an API may change."""

import inspect

import pytest

from cells import exceptions, operations
from cells.db import instances, models
from cells.objects import base as objects_base
from cells.objects import flavor as flavor_objects
from cells.objects import keypair
from cells.objects.instance import Instance
from tests.unit.compute_cases import (
    ADMIN,
    LARGE,
    OWNER,
    Cell,
    flavor,
    new_database,
    new_uuid,
)

#: Message -> its arguments beside the instance, and the task state that follows.
MESSAGES = {
    'backup_instance': (
        {'image_id': 'i', 'backup_type': 'daily', 'rotation': 1},
        'image_backup',
    ),
    'confirm_resize': ({}, None),
    'inject_network_info': ({}, None),
    'live_migrate_instance': (
        {'block_migration': False, 'disk_over_commit': False, 'host_name': None},
        'migrating',
    ),
    'pause_instance': ({}, 'pausing'),
    'reboot_instance': ({'reboot_type': 'SOFT'}, 'rebooting'),
    'rebuild_instance': (
        {
            'image_href': 'i',
            'admin_password': 'p',
            'files_to_inject': [],
            'preserve_ephemeral': False,
            'kwargs': {},
        },
        'rebuilding',
    ),
    'reset_network': ({}, None),
    'resize_instance': (
        {
            'flavor': {'flavorid': 'large'},
            'extra_instance_updates': {},
            'clean_shutdown': True,
        },
        'resize_prep',
    ),
    'resume_instance': ({}, 'resuming'),
    'revert_resize': ({}, 'resize_reverting'),
    'set_admin_password': ({'new_pass': None}, 'updating_password'),
    'snapshot_instance': ({'image_id': 'i'}, 'image_snapshot_pending'),
    'soft_delete_instance': ({}, 'soft-deleting'),
    'start_instance': ({}, 'powering-on'),
    'stop_instance': ({'clean_shutdown': True}, 'powering-off'),
    'suspend_instance': ({}, 'suspending'),
    'terminate_instance': ({'delete_type': 'delete'}, 'deleting'),
    'unpause_instance': ({}, 'unpausing'),
}
VM_STATES = {
    'confirm_resize': 'resized',
    'revert_resize': 'resized',
    'resume_instance': 'suspended',
    'start_instance': 'stopped',
    'unpause_instance': 'paused',
}


@pytest.fixture
def cell(workdir):
    database = new_database(workdir)
    cell = Cell(database)
    for host in ('h1', 'h2'):
        cell.host(host)
    cell.flavor('large', **LARGE)
    yield cell
    database.dispose()


def make(cell, operation):
    uuid = cell.instance(
        fields={'flavor': flavor('small')}, vm_state=VM_STATES.get(operation, 'active')
    )
    if 'resize' in operation:
        cell.migration(uuid)
    return uuid


def handle(cell, operation, instance, ctxt=OWNER, **kwargs):
    return cell.write(cell.handlers[operation], cell.message(operation, ctxt), instance, **kwargs)


def test_every_order_of_the_table_of_operations_has_a_handler(cell):
    wanted = {*operations.INSTANCE_ACTIONS, 'stop_instance', 'instance_update_from_api'}
    assert wanted <= set(cell.handlers)
    assert set(MESSAGES) | {'instance_update_from_api'} == wanted


@pytest.mark.parametrize('operation', MESSAGES)
def test_an_order_does_what_its_name_says(cell, operation):
    uuid = make(cell, operation)
    kwargs, task_state = MESSAGES[operation]
    handle(cell, operation, Instance(uuid=uuid), **kwargs)
    assert cell.get(uuid).task_state == task_state
    assert len(cell.open(uuid)) == 1


@pytest.mark.parametrize('operation', MESSAGES)
def test_s8_what_the_sender_knows_of_the_instance_does_not_count(cell, operation):
    """It is out of date: locked, elsewhere, in another state; only the uuid counts."""
    uuid = make(cell, operation)
    stale = Instance(
        uuid=uuid,
        locked=True,
        host='h9',
        vm_state='error',
        task_state='deleting',
        project_id='p9',
        launched_at=None,
        disable_terminate=True,
    )
    handle(cell, operation, stale, **MESSAGES[operation][0])
    found = cell.get(uuid)
    assert found.task_state == MESSAGES[operation][1]
    assert (found.host, found.project_id, found.locked) == ('h1', 'p1', False)


@pytest.mark.parametrize('operation', MESSAGES)
def test_an_order_may_come_with_a_dictionary_as_old_cells_send_it(cell, operation):
    uuid = make(cell, operation)
    handle(cell, operation, {'uuid': uuid, 'host': 'h9'}, **MESSAGES[operation][0])
    assert cell.get(uuid).task_state == MESSAGES[operation][1]


@pytest.mark.parametrize('operation', [*MESSAGES, 'instance_update_from_api'])
@pytest.mark.parametrize(
    'instance', [None, 5, 'text', [], {}, {'uuid': None}, {'uuid': 'x' * 37}, Instance()]
)
def test_an_instance_without_a_uuid_is_the_callers_error(cell, operation, instance):
    kwargs = MESSAGES.get(operation, ({},))[0]
    with pytest.raises(exceptions.Invalid, match='instance'):
        handle(cell, operation, instance, **kwargs)


@pytest.mark.parametrize('operation', MESSAGES)
def test_v2_an_argument_that_nobody_knows_is_an_error_that_names_it(cell, operation):
    uuid = make(cell, operation)
    before = cell.everything()
    handler = cell.handlers[operation]
    kwargs = {**MESSAGES[operation][0], 'unheard_of': 1}
    takes_all = any(
        one.kind is inspect.Parameter.VAR_KEYWORD
        for one in inspect.signature(handler).parameters.values()
    )
    # The dispatcher binds arguments to signatures before it calls.
    with pytest.raises(exceptions.Invalid if takes_all else TypeError, match='unheard_of'):
        handle(cell, operation, Instance(uuid=uuid), **kwargs)
    assert cell.everything() == before


def test_any_reboot_that_is_not_soft_is_hard(cell):
    for kind in ('HARD', 'hard', 'whatever'):
        uuid = cell.instance()
        handle(cell, 'reboot_instance', Instance(uuid=uuid), reboot_type=kind)
        assert cell.states(uuid) == ('active', 'rebooting_hard')


def test_a_flavor_may_be_an_object(cell):
    uuid = make(cell, 'pause_instance')
    wanted = flavor_objects.Flavor(flavorid='large', memory_mb=1, vcpus=1, root_gb=1)
    handle(cell, 'resize_instance', Instance(uuid=uuid), flavor=wanted)
    assert cell.get(uuid).new_flavor.memory_mb == LARGE['memory_mb']


def test_what_older_releases_leave_out_has_a_default(cell):
    for operation, kwargs in (
        ('stop_instance', {}),
        ('terminate_instance', {}),
        ('resize_instance', {'flavor': {'flavorid': 'large'}, 'extra_instance_updates': {}}),
    ):
        uuid = make(cell, 'pause_instance')
        handle(cell, operation, Instance(uuid=uuid), **kwargs)
        assert cell.get(uuid).task_state == MESSAGES[operation][1]


# -- what is the API's and what is the cell's --


def update(cell, uuid, changed, ctxt=OWNER, **kwargs):
    """Send what has changed of an instance above, over the wire and back."""
    instance = Instance(uuid=uuid, vm_state='other', host='h1')
    instance.obj_reset_changes()
    for name, value in changed.items():
        setattr(instance, name, value)
    arrived = objects_base.from_primitive(objects_base.to_primitive(instance))
    assert arrived.obj_what_changed() == set(changed)
    return handle(cell, 'instance_update_from_api', arrived, ctxt, **kwargs)


def test_s12_what_is_the_apis_is_stored_and_what_is_the_cells_is_not(cell):
    uuid = cell.instance({'k': 'v'}, {'system_metadata': {'s': 'm'}})
    before = cell.get(uuid)
    update(
        cell,
        uuid,
        {
            'display_name': 'new',
            'access_ip_v4': '10.0.0.9',
            'locked': True,
            'locked_by': 'owner',
            'disable_terminate': True,
            'host': 'h9',
            'node': 'n9',
            'vm_state': 'error',
            'task_state': 'deleting',
            'power_state': 4,
            'cell_name': 'api!leaf',
            'memory_mb': 1,
            'image_ref': 'image-9',
            'project_id': 'p9',
            'metadata': {'other': 'x'},
            'system_metadata': {'other': 'x'},
        },
    )
    found = cell.get(uuid)
    assert (found.display_name, str(found.access_ip_v4)) == ('new', '10.0.0.9')
    assert (found.locked, found.locked_by, found.disable_terminate) == (True, 'owner', True)
    for name in (
        'host',
        'node',
        'vm_state',
        'task_state',
        'power_state',
        'cell_name',
        'memory_mb',
        'image_ref',
        'project_id',
        'metadata',
        'system_metadata',
    ):
        assert getattr(found, name) == getattr(before, name), name


def test_s11_what_came_from_above_is_not_sent_up_again(cell):
    uuid = cell.instance()
    before = cell.rows(models.Dirty)
    sequence = cell.rows(models.Instance, uuid=uuid)[0]['sync_seq']
    update(cell, uuid, {'display_name': 'new'})
    assert cell.rows(models.Dirty) == before
    assert cell.rows(models.Instance, uuid=uuid)[0]['sync_seq'] == sequence


def test_fields_that_are_no_columns_come_along_if_they_are_the_apis(cell):
    uuid = cell.instance()
    keys = keypair.KeyPairList(objects=[keypair.KeyPair(name='k', user_id='u')])
    update(cell, uuid, {'keypairs': keys, 'old_flavor': flavor('small')})
    found = cell.get(uuid)
    assert found.keypairs.objects[0].name == 'k'
    assert 'old_flavor' not in found or found.old_flavor is None


def test_an_administrator_resets_the_states(cell):
    uuid = cell.instance(vm_state='error', task_state='rebuilding')
    changed = {'vm_state': 'active', 'task_state': None}
    update(cell, uuid, changed, ADMIN, admin_state_reset=False)
    assert cell.states(uuid) == ('error', 'rebuilding')
    update(cell, uuid, changed, ADMIN, admin_state_reset=True)
    assert cell.states(uuid) == ('active', None)


@pytest.mark.parametrize(
    ('expected', 'is_now', 'goes'),
    [
        (None, 'deleting', True),
        ([], 'deleting', True),
        ([None], None, True),
        ([None], 'deleting', False),
        ('pausing', 'pausing', True),
        ('pausing', None, False),
        (['pausing', None], None, True),
        (['pausing', None], 'rebooting', False),
    ],
)
def test_s14_what_is_expected_above_holds_here(cell, expected, is_now, goes):
    uuid = cell.instance(task_state=is_now)
    changed = {'display_name': 'new'}
    if goes:
        update(cell, uuid, changed, expected_task_state=expected)
        assert cell.get(uuid).display_name == 'new'
        return
    with pytest.raises(exceptions.UnexpectedTaskStateError):
        update(cell, uuid, changed, expected_task_state=expected)
    assert cell.get(uuid).display_name == 'vm'


def test_s14_the_vm_state_that_is_expected_holds_as_well(cell):
    uuid = cell.instance()
    with pytest.raises(exceptions.InstanceUpdateConflict):
        update(cell, uuid, {'display_name': 'new'}, expected_vm_state=['stopped'])
    update(cell, uuid, {'display_name': 'new'}, expected_vm_state='active')
    assert cell.get(uuid).display_name == 'new'


@pytest.mark.parametrize('value', [5, {}, [5], ['x', {}]])
def test_an_expectation_that_is_none_is_the_callers_error(cell, value):
    uuid = cell.instance()
    for name in ('expected_vm_state', 'expected_task_state'):
        with pytest.raises(exceptions.Invalid, match=name):
            update(cell, uuid, {'display_name': 'new'}, **{name: value})


@pytest.mark.parametrize(
    'changed',
    [{'display_name': 'x' * 300}, {'display_name': 'a\0b'}, {'user_data': 'a\0b'}],
)
def test_a_value_that_cannot_be_stored_is_the_callers_error(cell, changed):
    uuid = cell.instance()
    with pytest.raises(exceptions.Invalid, match=next(iter(changed))):
        update(cell, uuid, changed)


def test_an_update_of_what_is_not_here_is_an_error_and_changes_nothing(cell):
    before = cell.everything()
    with pytest.raises(exceptions.InstanceNotFound):
        update(cell, new_uuid(), {'display_name': 'new'})
    uuid = cell.instance()
    cell.write(instances.instance_destroy, uuid)
    with pytest.raises(exceptions.InstanceNotFound):
        update(cell, uuid, {'display_name': 'new'})
    assert set(before) == set(cell.everything())


def test_p3_an_update_that_changes_nothing_writes_nothing(cell):
    uuid = cell.instance()
    before = cell.everything()
    update(cell, uuid, {'display_name': 'vm', 'vm_state': 'error', 'metadata': {'a': 'b'}})
    update(cell, uuid, {})
    assert cell.everything() == before


def test_s8_an_instance_that_was_unlocked_above_is_stopped(cell):
    """As the API does it: the lock comes down first, then the order."""
    uuid = cell.instance(locked=True, locked_by='owner')
    with pytest.raises(exceptions.InstanceIsLocked):
        handle(cell, 'stop_instance', Instance(uuid=uuid))
    update(cell, uuid, {'locked': False, 'locked_by': None})
    handle(cell, 'stop_instance', Instance(uuid=uuid))
    cell.end(uuid, power_state=4)
    assert cell.states(uuid) == ('stopped', None)


def test_parents_up_to_juno_change_names_by_a_method(cell):
    uuid = cell.instance()
    cell.call('update', uuid, display_name='new', access_ip_v4=None)
    assert cell.get(uuid).display_name == 'new'
    for wrong in ({'host': 'h9'}, {'vm_state': 'error'}, {'display_name': 5 * ['x']}):
        with pytest.raises(exceptions.Invalid):
            cell.call('update', uuid, **wrong)
    assert cell.states(uuid) == ('active', None)
