"""Every action against ``spec/compute_api.json``: who may do it, in which states, what it sets.

The table here is a copy of the contract; nothing in these tests is told by the code.
"""

import dataclasses

import pytest

from cells import exceptions
from cells.compute import api, states
from cells.db import instances as db_instances
from cells.db import models
from tests.unit.compute_cases import ADMIN, OWNER, SPEC, STRANGER, Cell, flavor, new_database

ACTIONS = SPEC['actions']
RULES = SPEC['common_rules']
VOLUME = '99999999-9999-4999-8999-999999999999'
OTHER = '88888888-8888-4888-8888-888888888888'

#: What is given with an action, if not nothing.
ARGUMENTS = {
    'resize': {'flavor_id': 'large'},
    'live_migrate': {'block_migration': False, 'disk_over_commit': False, 'host_name': None},
    'rebuild': {'image_href': 'image-2', 'admin_password': 'secret'},
    'evacuate': {'host': 'h2', 'on_shared_storage': False},
    'snapshot': {'image_id': 'image-3'},
    'backup': {'image_id': 'image-3', 'backup_type': 'daily', 'rotation': 2},
    'attach_volume': {'volume_id': OTHER},
    'detach_volume': {'volume': {'id': VOLUME}},
    'swap_volume': {'old_volume': {'id': VOLUME}, 'new_volume': {'id': OTHER}},
    'add_fixed_ip': {'network_id': 'net-1'},
    'remove_fixed_ip': {'address': '10.0.0.1'},
    'attach_interface': {'network_id': 'net-1', 'port_id': None, 'requested_ip': None},
    'detach_interface': {'port_id': 'port-1'},
    'update_instance_metadata': {'metadata': {'k': 'new'}},
    'delete_instance_metadata': {'key': 'k'},
    'get_vnc_connect_info': {'console_type': 'novnc'},
    'get_spice_connect_info': {'console_type': 'spice-html5'},
    'get_rdp_connect_info': {'console_type': 'rdp-html5'},
    'get_serial_console_connect_info': {'console_type': 'serial'},
}
#: What actions are called that mitaka does not record, by later releases or by us.
LATER_NAMES = {
    'backup': 'createBackup',
    'inject_network_info': 'injectNetworkInfo',
    'reset_network': 'resetNetwork',
    'shelve_offload': 'shelveOffload',
    'snapshot': 'createImage',
}
#: Actions of which the check by the table is that of a method around them.
OUTER = {
    'reboot_soft': 'preconditions_outer_reboot',
    'reboot_hard': 'preconditions_outer_reboot',
}


@dataclasses.dataclass
class Rule:
    """When an action may be done."""

    policy: str | None
    lock: bool
    host: bool
    vm_states: frozenset | None
    task_states: frozenset | None
    launched: bool


def rule(name):
    found = [ACTIONS[name]['preconditions']]
    if name in OUTER:
        found.append(ACTIONS[name][OUTER[name]])
    return Rule(
        policy=next((one['policy'] for one in found if one['policy']), None),
        lock=any(one['lock_check'] for one in found),
        host=any(one['host_required'] for one in found),
        vm_states=_states(found[0]['vm_state']),
        task_states=_states(found[0]['task_state']),
        launched=any(one['must_have_launched'] for one in found),
    )


def _states(value):
    return None if value == 'any' else frozenset(value)


@pytest.fixture(scope='module')
def cell(tmp_path_factory):
    database = new_database(tmp_path_factory.mktemp('table'))
    cell = Cell(database)
    for host in ('h1', 'h2', 'h3'):
        cell.host(host)
    cell.host('lost', up=False)
    cell.flavor('small')
    cell.flavor('large', memory_mb=4096, vcpus=2, root_gb=40)
    yield cell
    database.dispose()


def make(cell, name, **values):
    """Return an instance with which an action can be done, but for what ``values`` say."""
    wanted = rule(name)
    vm_state = sorted(wanted.vm_states)[0] if wanted.vm_states else 'active'
    values = {'vm_state': vm_state, 'host': 'lost' if name == 'evacuate' else 'h1', **values}
    fields = {
        'flavor': flavor('small'),
        'old_flavor': flavor('small'),
        'new_flavor': flavor('small'),
        'system_metadata': {'shelved_image_id': 'image-4', 'old_vm_state': 'active'},
    }
    uuid = cell.instance({'k': 'v'}, fields, **values)
    cell.volume(uuid, VOLUME)
    if values['vm_state'] == 'resized' or 'resize' in name:
        cell.migration(uuid)
    return uuid


class _Undo(Exception):
    pass


def attempt(cell, name, uuid, ctxt=OWNER):
    """Do an action and undo it; return what it raised, and the instance as it was after it."""
    seen = None
    try:
        with cell.database.write() as connection:
            api.perform(
                connection,
                ctxt,
                name,
                uuid,
                ARGUMENTS.get(name, {}),
                means=cell.means,
                answered=True,
            )
            seen = db_instances.instance_get(connection, uuid, read_deleted='yes')
            raise _Undo
    except _Undo:
        return None, seen
    except exceptions.WireError as error:
        return error, None


def test_o1_every_action_of_the_contract_is_there():
    assert set(ACTIONS) <= set(api.ACTIONS)
    own = {'get_instance_metadata', 'update'}
    assert set(api.ACTIONS) - set(ACTIONS) == own


def test_the_states_are_those_of_the_contract():
    assert set(states.VM_STATES) == set(RULES['vm_states'])
    assert set(states.TASK_STATES) == set(RULES['task_states'])


@pytest.mark.parametrize('name', ACTIONS)
def test_an_action_is_done_in_the_vm_states_of_the_table_and_in_no_other(cell, name):
    wanted = rule(name)
    for vm_state in (*RULES['vm_states'], None, 'strange'):
        uuid = make(cell, name, vm_state=vm_state)
        error, _ = attempt(cell, name, uuid)
        if wanted.vm_states is None or vm_state in wanted.vm_states:
            assert error is None, vm_state
        else:
            assert_state(error, 'vm_state', vm_state, uuid, name)


@pytest.mark.parametrize('name', ACTIONS)
def test_s14_an_action_is_done_in_the_task_states_of_the_table_and_in_no_other(cell, name):
    wanted, action = rule(name), ACTIONS[name]
    expects = action['save_expects_task_state']
    for task_state in (*RULES['task_states'], None, 'strange'):
        uuid = make(cell, name, task_state=task_state)
        error, _ = attempt(cell, name, uuid)
        if wanted.task_states is not None and task_state not in wanted.task_states:
            assert_state(error, 'task_state', task_state, uuid, name)
        elif isinstance(expects, list) and task_state not in expects:
            assert type(error) is exceptions.UnexpectedTaskStateError, task_state
            assert error.kwargs['actual'] == {'task_state': task_state}
        else:
            assert error is None, task_state


@pytest.mark.parametrize('name', ACTIONS)
def test_an_action_is_done_with_what_has_run_if_the_table_says_so(cell, name):
    uuid = make(cell, name, launched_at=None)
    error, _ = attempt(cell, name, uuid)
    if rule(name).launched:
        assert_state(error, 'launched_at', None, uuid, name)
    else:
        assert error is None


@pytest.mark.parametrize('name', ACTIONS)
def test_an_action_is_refused_by_policy_lock_and_host_as_in_the_table(cell, name):
    wanted = rule(name)
    uuid = make(cell, name)
    error, _ = attempt(cell, name, uuid, STRANGER)
    if wanted.policy is None:
        assert error is None
    else:
        assert type(error) is exceptions.PolicyNotAuthorized
        assert error.kwargs['action'] == wanted.policy
    locked = make(cell, name, locked=True, locked_by='owner')
    error, _ = attempt(cell, name, locked, OWNER)
    assert type(error) is (exceptions.InstanceIsLocked if wanted.lock else type(None))
    assert attempt(cell, name, locked, ADMIN)[0] is None
    nowhere = make(cell, name, host=None, node=None)
    error, _ = attempt(cell, name, nowhere)
    if wanted.host:
        assert type(error) is exceptions.InstanceNotReady
        assert error.kwargs['instance_id'] == nowhere


@pytest.mark.parametrize('name', ACTIONS)
def test_the_rules_are_looked_at_in_the_order_of_the_contract(cell, name):
    """Policy, lock, host, vm_state, task_state, launched_at: the first that fails counts."""
    wanted = rule(name)
    faults = [
        (wanted.policy, {}, exceptions.PolicyNotAuthorized, None),
        (wanted.lock, {'locked': True}, exceptions.InstanceIsLocked, None),
        (wanted.host, {'host': None, 'node': None}, exceptions.InstanceNotReady, None),
        (wanted.vm_states, {'vm_state': 'strange'}, exceptions.InstanceInvalidState, 'vm_state'),
        (
            wanted.task_states,
            {'task_state': 'strange'},
            exceptions.InstanceInvalidState,
            'task_state',
        ),
        (
            wanted.launched,
            {'launched_at': None},
            exceptions.InstanceInvalidState,
            'launched_at',
        ),
    ]
    held = [one for one in faults if one[0]]
    for first in range(len(held)):
        values = {}
        for _, fault, _, _ in held[first:]:
            values.update(fault)
        ctxt = STRANGER if held[first][2] is exceptions.PolicyNotAuthorized else OWNER
        error, _ = attempt(cell, name, make(cell, name, **values), ctxt)
        assert type(error) is held[first][2]
        assert error.kwargs.get('attr') == held[first][3]


@pytest.mark.parametrize('name', ACTIONS)
def test_an_action_sets_the_task_state_of_the_table(cell, name):
    action, wanted = ACTIONS[name], rule(name)
    for vm_state in wanted.vm_states or ('active',):
        uuid = make(cell, name, vm_state=vm_state)
        before = cell.get(uuid)
        error, after = attempt(cell, name, uuid)
        assert error is None
        assert after.task_state == (action['task_state_set'] or before.task_state)
        assert after.vm_state == before.vm_state


#: Of actions that nova of mitaka records not at all: who orders one is to see what became of it.
OWN_NAMES = {
    'backup': 'createBackup',
    'inject_network_info': 'injectNetworkInfo',
    'reset_network': 'resetNetwork',
    'shelve_offload': 'shelveOffload',
    'snapshot': 'createImage',
}


@pytest.mark.parametrize('name', ACTIONS)
def test_s16_an_action_is_recorded_under_the_name_of_the_table(cell, name):
    uuid = make(cell, name)
    with cell.database.write() as connection:
        api.perform(
            connection,
            OWNER,
            name,
            uuid,
            ARGUMENTS.get(name, {}),
            means=cell.means,
        )
    found = cell.history(uuid)
    if name.startswith('get_'):
        assert found == []  # what only asks leaves no trace
        return
    wanted = ACTIONS[name]['instance_action'] or LATER_NAMES.get(name, name)
    ((recorded, message, events),) = found
    assert (recorded, message) == (wanted, None)
    if cell.open(uuid):
        # One step has begun and has no result yet.
        ((event, result),) = events
        assert (event[:8], result) == ('compute_', None)
    else:
        (row,) = cell.rows(models.InstanceAction, instance_uuid=uuid)
        assert row['finish_time'] is not None
    assert len(cell.open(uuid)) <= 1


@pytest.mark.parametrize('name', ACTIONS)
def test_what_is_refused_changes_nothing(cell, name):
    wanted = rule(name)
    if wanted.policy:
        uuid, ctxt = make(cell, name), STRANGER
    elif wanted.vm_states:
        uuid, ctxt = make(cell, name, vm_state='strange'), OWNER
    else:
        uuid, ctxt = make(cell, name, host=None, node=None), OWNER
    before = cell.everything()
    with pytest.raises(exceptions.WireError):
        with cell.database.write() as connection:
            api.perform(connection, ctxt, name, uuid, ARGUMENTS.get(name, {}), means=cell.means)
    assert cell.everything() == before


def assert_state(error, attribute, state, uuid, name):
    assert type(error) is exceptions.InstanceInvalidState, (state, error)
    assert error.kwargs['attr'] == attribute
    assert error.kwargs['state'] == state
    assert error.kwargs['instance_uuid'] == uuid
    assert error.kwargs['method'] == ACTIONS[name]['compute_api_method']
    assert error.code == SPEC['errors']['InstanceInvalidState']


def test_the_errors_of_the_table_have_its_codes():
    missing = {'note', 'InstanceInfoCacheNotFound', 'TooManyInstances', 'CannotResizeToSameFlavor'}
    for name, code in SPEC['errors'].items():
        if name not in missing:
            assert getattr(exceptions, name).code == code, name
    assert issubclass(exceptions.InstanceIsLocked, exceptions.InstanceInvalidState)


# -- what may be named through run_compute_api_method --

NAMED = SPEC['run_compute_api_method']
#: Operations that nova's cells dropped without a word (O1).
DROPPED = {
    'attach_interface',
    'detach_interface',
    'swap_volume',
    'trigger_crash_dump',
    'volume_snapshot_create',
    'volume_snapshot_delete',
    'quiesce_instance',
    'unquiesce_instance',
    'live_migrate_abort',
    'live_migrate_force_complete',
    'get_mks_console',
    'external_instance_event',
}


def test_o1_every_operation_of_any_release_is_done_or_refused_with_a_reason():
    known = {
        *NAMED['used_by_api_cell_mitaka'],
        *NAMED['used_by_other_releases_only'],
        *DROPPED,
    }
    assert known <= set(api.METHODS) | set(api.REFUSED)
    assert not set(api.METHODS) & set(api.REFUSED)
    exists = {
        name
        for name, facts in NAMED['used_by_api_cell_mitaka'].items()
        if facts['exists_in_child_compute_api']
    }
    assert exists <= set(api.METHODS)
    really = {'attach_interface', 'detach_interface', 'swap_volume', 'trigger_crash_dump'}
    assert really <= set(api.METHODS)


@pytest.mark.parametrize('name', sorted(api.REFUSED))
def test_o1_what_is_not_done_is_refused_before_anything_is_changed(cell, name):
    uuid = make(cell, 'pause')
    before = cell.everything()
    with pytest.raises(exceptions.CellServiceAPIMethodNotFound) as caught:
        cell.call(name, uuid, 'an argument', another=1)
    assert api.REFUSED[name] in str(caught.value)
    assert caught.value.code == 404
    assert cell.everything() == before


@pytest.mark.parametrize('name', sorted(NAMED['used_by_api_cell_mitaka']))
def test_what_a_parent_sends_fits_what_is_taken(cell, name):
    """By position or by name, as ``arguments_after_instance_uuid`` says."""
    if name in api.REFUSED:
        return
    names = [
        one.strip().partition(' ')[0]
        for one in NAMED['used_by_api_cell_mitaka'][name]['arguments_after_instance_uuid'].split(
            ','
        )
        if one.strip()
    ]
    given = {**ARGUMENTS.get(name, {})}
    by_name = {one.removesuffix('='): None for one in names if one.endswith('=')}
    by_name = {key: given.get(key, True) for key in by_name if key != 'rescue_image_ref'}
    by_name.pop('rescue_password', None)
    if 'delete' in by_name:
        by_name['delete'] = False
    values = [given.get(one) for one in names if not one.endswith('=')]
    uuid = make(cell, name)
    with cell.database.write() as connection:
        api.run(connection, OWNER, name, (uuid, *values), by_name, means=cell.means)
