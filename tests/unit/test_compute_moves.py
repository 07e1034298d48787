"""Instances on their way to another size or another host: states, claims, migrations."""

import pytest

from cells import exceptions
from cells.db import console_tokens, models
from tests.unit.compute_cases import LARGE, OWNER, SMALL, Cell, flavor, new_database

VIF = {'id': 'port-1', 'address': 'fa:16:3e:00:00:01', 'network': {'id': 'n'}}


@pytest.fixture
def cell(workdir):
    database = new_database(workdir)
    cell = Cell(database)
    for host in ('h1', 'h2'):
        cell.host(host)
    cell.flavor('small')
    cell.flavor('large', **LARGE)
    yield cell
    database.dispose()


def make(cell, **values):
    return cell.instance(fields={'flavor': flavor('small')}, **values)


def resize(cell, uuid, flavorid='large', **kwargs):
    cell.send('resize_instance', uuid, flavor={'flavorid': flavorid}, **kwargs)


def to_resized(cell, uuid, flavorid='large', **kwargs):
    resize(cell, uuid, flavorid, **kwargs)
    cell.end(uuid, 'resize_migrate', power_state=4)
    power = 4 if cell.get(uuid).system_metadata['old_vm_state'] == 'stopped' else 1
    cell.end(uuid, 'resize_finish', power_state=power, network_info=[VIF], node=None)


def sizes(cell, uuid):
    found = cell.get(uuid)
    return {name: getattr(found, name) for name in SMALL}


# -- resize --


def test_a_resize_goes_over_two_hosts_and_waits_to_be_confirmed(cell):
    uuid = make(cell, progress=30)
    resize(cell, uuid)
    found = cell.get(uuid)
    assert (found.task_state, found.progress, found.host) == ('resize_prep', 0, 'h1')
    assert cell.migrations(uuid) == ['migrating']
    assert cell.claims(uuid) == [('h1', 'instance', 1024), ('h2', 'migration', 4096)]
    (operation,) = cell.open(uuid)
    assert (operation['method'], operation['host']) == ('resize_migrate', 'h1')
    assert operation['args']['flavor']['memory_mb'] == 4096
    cell.progress(uuid, 'resize_migrating')
    cell.end(uuid, 'resize_migrate', power_state=4)
    found = cell.get(uuid)
    assert (found.task_state, found.host, found.power_state) == ('resize_migrated', 'h2', 4)
    assert cell.migrations(uuid) == ['post-migrating']
    (operation,) = cell.open(uuid)
    assert (operation['method'], operation['host']) == ('resize_finish', 'h2')
    assert operation['args']['power_on'] is True
    cell.progress(uuid, 'resize_finish')
    cell.end(uuid, 'resize_finish', power_state=1, network_info=[VIF])
    found = cell.get(uuid)
    assert (found.vm_state, found.task_state, found.power_state) == ('resized', None, 1)
    assert sizes(cell, uuid) == LARGE
    assert (found.flavor.flavorid, found.old_flavor.flavorid) == ('large', 'small')
    assert found.info_cache.network_info == [VIF]
    assert cell.migrations(uuid) == ['finished']
    ((name, message, events),) = cell.history(uuid)
    assert (name, message) == ('resize', None)
    assert events == [
        ('compute_resize_instance', 'Success'),
        ('compute_finish_resize', 'Success'),
    ]


@pytest.mark.parametrize(('power_state', 'vm_state'), [(1, 'active'), (4, 'stopped')])
def test_a_confirmed_resize_frees_the_source(cell, power_state, vm_state):
    uuid = make(cell)
    to_resized(cell, uuid)
    cell.change(uuid, power_state=power_state)
    cell.send('confirm_resize', uuid)
    assert cell.states(uuid) == ('resized', None)
    assert cell.migrations(uuid) == ['confirming']
    assert cell.end(uuid, 'resize_confirm', power_state=None)['host'] == 'h1'
    assert cell.states(uuid) == (vm_state, None)
    assert cell.migrations(uuid) == ['confirmed']
    assert cell.claims(uuid) == [('h2', 'instance', 4096)]
    found = cell.get(uuid)
    assert 'old_flavor' not in found or found.old_flavor is None
    assert 'old_vm_state' not in found.system_metadata


def test_s7_a_resize_is_confirmed_once(cell):
    uuid = make(cell)
    to_resized(cell, uuid)
    cell.send('confirm_resize', uuid)
    for operation in ('confirm_resize', 'revert_resize'):
        with pytest.raises(exceptions.MigrationNotFoundByStatus):
            cell.send(operation, uuid)
    assert len(cell.open(uuid)) == 1


def test_a_confirmation_that_failed_can_be_made_again(cell):
    uuid = make(cell)
    to_resized(cell, uuid)
    cell.send('confirm_resize', uuid)
    cell.end(uuid, error='DriverError')
    assert cell.states(uuid) == ('resized', None)
    assert cell.migrations(uuid) == ['finished']
    assert len(cell.faults(uuid)) == 1
    cell.send('confirm_resize', uuid)
    cell.end(uuid, 'resize_confirm')
    assert cell.states(uuid) == ('active', None)


def test_a_reverted_resize_is_again_what_it_was(cell):
    uuid = make(cell)
    to_resized(cell, uuid)
    cell.send('revert_resize', uuid)
    assert cell.states(uuid) == ('resized', 'resize_reverting')
    assert cell.migrations(uuid) == ['reverting']
    assert cell.end(uuid, 'resize_revert_destroy')['host'] == 'h2'
    assert cell.get(uuid).host == 'h1'
    operation = cell.end(uuid, 'resize_revert_finish', power_state=1)
    assert (operation['host'], operation['args']) == ('h1', {'power_on': True})
    assert cell.states(uuid) == ('active', None)
    assert sizes(cell, uuid) == SMALL
    assert cell.get(uuid).flavor.flavorid == 'small'
    assert cell.migrations(uuid) == ['reverted']
    assert cell.claims(uuid) == [('h1', 'instance', 1024)]
    assert cell.history(uuid)[-1] == (
        'revertResize',
        None,
        [('compute_revert_resize', 'Success'), ('compute_finish_revert_resize', 'Success')],
    )


def test_what_was_stopped_before_a_resize_is_stopped_after_it_was_reverted(cell):
    uuid = make(cell, vm_state='stopped', power_state=4)
    resize(cell, uuid)
    cell.end(uuid, 'resize_migrate', power_state=4)
    assert cell.end(uuid, 'resize_finish', power_state=4)['args']['power_on'] is False
    cell.send('revert_resize', uuid)
    cell.end(uuid, 'resize_revert_destroy')
    assert cell.end(uuid, 'resize_revert_finish', power_state=4)['args'] == {'power_on': False}
    assert cell.states(uuid) == ('active', 'powering-off')
    cell.end(uuid, 'stop', power_state=4)
    assert cell.states(uuid) == ('stopped', None)
    assert cell.history(uuid)[-1][1] is None


def test_a_migration_is_a_resize_to_the_same_size(cell):
    uuid = make(cell)
    resize(cell, uuid, 'small')
    (migration,) = cell.rows(models.Migration, instance_uuid=uuid)
    assert migration['migration_type'] == 'migration'
    assert [one[0] for one in cell.history(uuid)] == ['migrate']
    cell.end(uuid, 'resize_migrate', power_state=4)
    cell.end(uuid, 'resize_finish', power_state=1)
    assert (cell.states(uuid), cell.get(uuid).host) == (('resized', None), 'h2')


def test_an_instance_that_fits_on_no_other_host_is_resized_on_its_own(cell):
    cell.host('h2', up=False)
    uuid = make(cell)
    resize(cell, uuid)
    assert cell.claims(uuid) == [('h1', 'instance', 4096)]
    (claim,) = cell.rows(models.Claim, instance_uuid=uuid)
    assert (claim['disk_gb'], claim['vcpus']) == (50, 2)  # both disks, the larger machine
    cell.end(uuid, 'resize_migrate', power_state=4)
    cell.end(uuid, 'resize_finish', power_state=1)
    assert cell.get(uuid).host == 'h1'
    cell.send('revert_resize', uuid)
    cell.end(uuid, 'resize_revert_destroy')
    cell.end(uuid, 'resize_revert_finish', power_state=1)
    (claim,) = cell.rows(models.Claim, instance_uuid=uuid)
    assert (claim['memory_mb'], claim['disk_gb'], claim['kind']) == (1024, 10, 'instance')
    to_resized(cell, uuid)
    cell.send('confirm_resize', uuid)
    cell.end(uuid, 'resize_confirm', power_state=1)
    (claim,) = cell.rows(models.Claim, instance_uuid=uuid)
    assert (claim['memory_mb'], claim['disk_gb'], claim['kind']) == (4096, 40, 'instance')


def test_a_resize_that_no_host_has_room_for_says_why_and_changes_nothing(cell):
    cell.flavor('huge', memory_mb=10**6)
    uuid = make(cell)
    before = cell.everything()
    with pytest.raises(exceptions.NoValidHost, match='1000000 MB RAM'):
        resize(cell, uuid, 'huge')
    assert cell.everything() == before


@pytest.mark.parametrize(
    ('given', 'error'),
    [
        ({'flavorid': 'nosuch'}, exceptions.FlavorNotFound),
        ({'flavorid': 'gone'}, exceptions.FlavorNotFound),
        ({'flavorid': 'diskless'}, exceptions.CannotResizeDisk),
        ({'flavorid': None}, exceptions.Invalid),
        ({}, exceptions.Invalid),
        ({'flavorid': 'new', **SMALL, 'memory_mb': -1}, exceptions.Invalid),
        ({'flavorid': 'new', **SMALL, 'vcpus': 'two'}, exceptions.Invalid),
        ('large', exceptions.Invalid),
    ],
)
def test_a_flavor_that_cannot_be_had_is_an_error_of_the_table(cell, given, error):
    cell.flavor('gone', disabled=True)
    cell.flavor('diskless', root_gb=0)
    uuid = make(cell)
    before = cell.everything()
    with pytest.raises(error):
        cell.send('resize_instance', uuid, flavor=given)
    assert cell.everything() == before


def test_d4_a_flavor_that_only_the_cell_above_knows_is_one_as_well(cell):
    uuid = make(cell)
    cell.send('resize_instance', uuid, flavor={'flavorid': 'new', 'name': 'New', **LARGE, 'id': 9})
    cell.end(uuid, 'resize_migrate', power_state=4)
    cell.end(uuid, 'resize_finish', power_state=1)
    assert sizes(cell, uuid) == LARGE
    assert cell.get(uuid).instance_type_id == 9


def test_what_comes_with_a_resize_is_stored_if_it_is_the_apis(cell):
    uuid = make(cell)
    resize(cell, uuid, extra_instance_updates={'auto_disk_config': True})
    assert cell.get(uuid).auto_disk_config is True
    other = make(cell)
    with pytest.raises(exceptions.Invalid, match='host'):
        resize(cell, other, extra_instance_updates={'host': 'h9'})


@pytest.mark.parametrize(
    ('error', 'power_state', 'vm_state'),
    [
        ('DriverError', 1, 'active'),
        ('ComputeServiceUnavailable', None, 'active'),
        ('DriverError', 4, 'error'),
        ('Interrupted', None, 'error'),
    ],
)
def test_a_source_that_cannot_let_go_keeps_the_instance(cell, error, power_state, vm_state):
    uuid = make(cell)
    resize(cell, uuid)
    cell.end(uuid, 'resize_migrate', error=error, power_state=power_state)
    assert cell.states(uuid) == (vm_state, None)
    assert cell.get(uuid).host == 'h1'
    assert cell.claims(uuid) == [('h1', 'instance', 1024)]
    assert cell.migrations(uuid) == ['error']
    assert len(cell.faults(uuid)) == 1
    assert sizes(cell, uuid) == SMALL
    assert cell.open(uuid) == []
    if vm_state == 'active':
        to_resized(cell, uuid)


def test_what_the_destination_cannot_finish_goes_on_at_the_source(cell):
    uuid = make(cell)
    resize(cell, uuid)
    cell.end(uuid, 'resize_migrate', power_state=4)
    cell.end(uuid, 'resize_finish', error='DriverError', power_state=None)
    assert cell.states(uuid) == ('active', 'resize_reverting')
    assert cell.end(uuid, 'resize_revert_destroy')['host'] == 'h2'
    assert cell.end(uuid, 'resize_revert_finish', power_state=1)['host'] == 'h1'
    assert cell.states(uuid) == ('active', None)
    assert (cell.get(uuid).host, sizes(cell, uuid)) == ('h1', SMALL)
    assert cell.claims(uuid) == [('h1', 'instance', 1024)]
    assert cell.migrations(uuid) == ['error']
    assert len(cell.faults(uuid)) == 1
    ((name, message, events),) = cell.history(uuid)
    assert (name, message) == ('resize', 'Error')
    assert [result for _, result in events] == ['Success', 'Error', 'Success', 'Success']


def test_a_destination_that_never_began_has_nothing_to_destroy(cell):
    uuid = make(cell)
    resize(cell, uuid)
    cell.end(uuid, 'resize_migrate', power_state=4)
    cell.end(uuid, 'resize_finish', error='ComputeResourcesUnavailable')
    assert cell.end(uuid, 'resize_revert_finish', power_state=1)['host'] == 'h1'
    assert cell.states(uuid) == ('active', None)
    assert cell.claims(uuid) == [('h1', 'instance', 1024)]


@pytest.mark.parametrize('step', ['resize_revert_destroy', 'resize_revert_finish'])
def test_a_revert_that_failed_cannot_be_undone(cell, step):
    uuid = make(cell)
    to_resized(cell, uuid)
    cell.send('revert_resize', uuid)
    if step == 'resize_revert_finish':
        cell.end(uuid, 'resize_revert_destroy')
    cell.end(uuid, step, error='DriverError')
    assert cell.states(uuid) == ('error', None)
    assert cell.migrations(uuid) == ['error']
    assert len(cell.faults(uuid)) == 1


def test_a_resize_whose_task_was_reset_still_knows_where_the_machine_is(cell):
    uuid = make(cell)
    resize(cell, uuid)
    cell.change(uuid, task_state=None)
    cell.end(uuid, 'resize_migrate', power_state=4)
    assert cell.get(uuid).host == 'h2'
    cell.change(uuid, task_state=None)
    cell.end(uuid, 'resize_finish', power_state=1)
    assert (cell.states(uuid), cell.get(uuid).host) == (('resized', None), 'h2')


def test_a_second_resize_that_comes_to_nothing_takes_no_room_from_the_first(cell):
    cell.host('h3')
    uuid = make(cell)
    resize(cell, uuid)
    cell.accept(uuid)
    cell.change(uuid, task_state=None)  # as an administrator does
    resize(cell, uuid)
    first = cell.end(uuid, 'resize_migrate', power_state=4)
    assert first['host'] == 'h1'
    there = cell.get(uuid).host
    cell.end(uuid, 'resize_migrate', power_state=4)  # of the second
    cell.end(uuid, 'resize_finish', power_state=1)
    assert (cell.states(uuid), cell.get(uuid).host) == (('resized', None), there)
    assert cell.claims(uuid) == [('h1', 'instance', 1024), (there, 'migration', 4096)]


def test_without_a_migration_that_waits_nothing_is_confirmed_or_reverted(cell):
    uuid = make(cell, vm_state='resized')
    cell.migration(uuid, status='confirmed')
    for operation in ('confirm_resize', 'revert_resize'):
        with pytest.raises(exceptions.MigrationNotFoundByStatus) as caught:
            cell.send(operation, uuid)
        assert caught.value.kwargs['status'] == 'finished'
        assert caught.value.code == 404


# -- live migration --


def live_migrate(cell, uuid, host=None, **kwargs):
    cell.send(
        'live_migrate_instance',
        uuid,
        block_migration=False,
        disk_over_commit=False,
        host_name=host,
        **kwargs,
    )


@pytest.mark.parametrize('host', [None, 'h2', 'leaf@h2', 'api!region!leaf@h2'])
def test_r15_a_live_migration_goes_to_the_host_that_is_named_or_to_any(cell, host):
    uuid = make(cell, progress=10)
    cell.write(console_tokens.token_create, 't', uuid, 'novnc', 'h1', 5900, 600.0)
    live_migrate(cell, uuid, host)
    assert (cell.states(uuid), cell.get(uuid).progress) == (('active', 'migrating'), 0)
    assert cell.claims(uuid) == [('h1', 'instance', 1024), ('h2', 'migration', 1024)]
    operation = cell.end(uuid, 'migrate_in', power_state=1, node='h2', network_info=[VIF])
    assert (operation['host'], operation['args']) == ('h2', {'power_state': 1})
    found = cell.get(uuid)
    assert (found.vm_state, found.task_state, found.host, found.node) == (
        'active',
        None,
        'h2',
        'h2',
    )
    assert cell.rows(models.ConsoleAuthToken, instance_uuid=uuid) == []  # X5
    assert cell.end(uuid, 'migrate_out')['host'] == 'h1'
    assert cell.claims(uuid) == [('h2', 'instance', 1024)]
    assert cell.migrations(uuid) == ['completed']
    assert cell.history(uuid)[0][:2] == ('live-migration', None)


def test_a_paused_instance_is_paused_on_the_other_host(cell):
    uuid = make(cell, vm_state='paused', power_state=3)
    live_migrate(cell, uuid)
    operation = cell.end(uuid, 'migrate_in', power_state=3)
    assert operation['args'] == {'power_state': 3}
    assert cell.states(uuid) == ('paused', None)
    assert cell.get(uuid).power_state == 3


@pytest.mark.parametrize('host', ['other@h2', 'api!region!other@h2', '!@h2', 'leaf!@h2'])
def test_c18_r15_a_host_of_another_cell_is_refused_and_said_why(cell, host):
    lost = make(cell, host='lost', node='lost')
    uuid = make(cell)
    before = cell.everything()
    for order in (
        lambda: live_migrate(cell, uuid, host),
        lambda: cell.call('evacuate', lost, host, False),
    ):
        with pytest.raises(exceptions.Invalid) as caught:
            order()
        assert 'h2' in str(caught.value)
    assert cell.everything() == before


def test_c18_the_refusal_names_both_cells(cell):
    uuid = make(cell)
    with pytest.raises(exceptions.Invalid, match='in cell leaf and cannot move .*api!other'):
        live_migrate(cell, uuid, 'api!other@h2')


@pytest.mark.parametrize(
    ('host', 'error'),
    [
        ('nosuch', exceptions.ComputeHostNotFound),
        ('h1', exceptions.UnableToMigrateToSelf),
        ('lost', exceptions.ComputeServiceUnavailable),
        ('small', exceptions.NoValidHost),
        ('', exceptions.Invalid),
        (5, exceptions.Invalid),
        ('leaf@', exceptions.Invalid),
    ],
)
def test_a_host_that_cannot_be_had_is_an_error_before_anything_is_changed(cell, host, error):
    cell.host('lost', up=False)
    cell.host('small', memory_mb=10)
    uuid = make(cell)
    before = cell.everything()
    with pytest.raises(error):
        live_migrate(cell, uuid, host)
    assert cell.everything() == before


def test_a_live_migration_needs_the_host_that_it_comes_from(cell):
    cell.host('lost', up=False)
    uuid = make(cell, host='lost', node='lost')
    with pytest.raises(exceptions.ComputeServiceUnavailable):
        live_migrate(cell, uuid)


def test_a_live_migration_that_failed_leaves_the_instance_where_it_is(cell):
    uuid = make(cell)
    live_migrate(cell, uuid, 'h2')
    cell.end(uuid, 'migrate_in', error='DriverError')
    found = cell.get(uuid)
    assert (found.vm_state, found.task_state, found.host) == ('active', None, 'h1')
    assert cell.claims(uuid) == [('h1', 'instance', 1024)]
    assert cell.migrations(uuid) == ['error']
    assert len(cell.faults(uuid)) == 1


def test_a_host_that_refuses_is_followed_by_another_unless_it_was_named(cell):
    cell.host('h3')
    uuid = make(cell)
    live_migrate(cell, uuid)
    first = cell.end(uuid, 'migrate_in', error='ComputeResourcesUnavailable')
    second = cell.end(uuid, 'migrate_in', power_state=1)
    assert {first['host'], second['host']} == {'h2', 'h3'}
    assert cell.get(uuid).host == second['host']
    (migration,) = cell.rows(models.Migration, instance_uuid=uuid)
    assert migration['dest_compute'] == second['host']
    cell.end(uuid, 'migrate_out')
    assert cell.claims(uuid) == [(second['host'], 'instance', 1024)]
    named = make(cell)
    live_migrate(cell, named, 'h3')
    cell.end(named, 'migrate_in', error='ComputeResourcesUnavailable')
    assert cell.states(named) == ('active', None)
    assert len(cell.faults(named)) == 1


def test_s5_what_is_deleted_goes_to_no_other_host_when_one_refuses(cell):
    cell.host('h3')
    uuid = make(cell)
    live_migrate(cell, uuid)
    cell.accept(uuid)
    cell.send('terminate_instance', uuid)
    cell.end(uuid, 'migrate_in', error='ComputeResourcesUnavailable')
    assert [one['method'] for one in cell.open(uuid)] == ['terminate']
    cell.end(uuid, 'terminate')
    assert cell.claims(uuid) == []
    assert cell.states(uuid) == ('deleted', None)


def test_a_source_that_cannot_forget_is_told_again_later(cell):
    uuid = make(cell)
    live_migrate(cell, uuid)
    cell.end(uuid, 'migrate_in', power_state=1)
    cell.end(uuid, 'migrate_out', error='ComputeServiceUnavailable')
    assert cell.strays() == [('h1', uuid)]
    assert cell.claims(uuid) == [('h2', 'instance', 1024)]
    assert cell.states(uuid) == ('active', None)


@pytest.mark.parametrize('end', ['done', 'failed'])
def test_an_instance_that_returns_to_a_host_that_has_not_let_go_has_its_room_there(cell, end):
    uuid = make(cell)
    live_migrate(cell, uuid)
    cell.end(uuid, 'migrate_in', power_state=1)
    live_migrate(cell, uuid)
    cell.end(uuid, 'migrate_out')  # of the first
    assert cell.claims(uuid) == [('h1', 'migration', 1024), ('h2', 'instance', 1024)]
    if end == 'done':
        cell.end(uuid, 'migrate_in', power_state=1)
        cell.end(uuid, 'migrate_out')
    else:
        cell.end(uuid, 'migrate_in', error='DriverError')
    host = 'h1' if end == 'done' else 'h2'
    assert cell.get(uuid).host == host
    assert cell.claims(uuid) == [(host, 'instance', 1024)]


def test_a_resize_to_a_host_that_has_not_let_go_keeps_its_room_there(cell):
    uuid = make(cell)
    live_migrate(cell, uuid)
    cell.end(uuid, 'migrate_in', power_state=1)
    resize(cell, uuid)
    cell.end(uuid, 'migrate_out')
    assert cell.claims(uuid) == [('h1', 'migration', 4096), ('h2', 'instance', 1024)]


def test_after_a_revert_and_a_move_that_failed_an_instance_has_room_where_it_is(cell):
    uuid = make(cell)
    to_resized(cell, uuid)
    cell.send('revert_resize', uuid)
    cell.end(uuid, 'resize_revert_destroy', error='DriverError')
    cell.send('reboot_instance', uuid, reboot_type='HARD')
    cell.end(uuid, 'reboot', power_state=1)
    cell.host('h3')
    live_migrate(cell, uuid, 'h3')
    cell.end(uuid, 'migrate_in', error='DriverError')
    assert cell.get(uuid).host == 'h2'
    assert {host for host, _, _ in cell.claims(uuid)} == {'h1', 'h2'}


def test_s5_a_machine_that_comes_to_a_host_while_it_is_deleted_is_removed(cell):
    uuid = make(cell)
    live_migrate(cell, uuid, 'h2')
    cell.accept(uuid)
    cell.send('terminate_instance', uuid)
    cell.end(uuid, 'migrate_in', power_state=1)
    assert set(cell.strays()) == {('h2', uuid)}
    cell.end(uuid, 'terminate', power_state=0)
    assert cell.claims(uuid) == []


# -- evacuation --


def test_r15_an_instance_of_a_lost_host_runs_on_the_one_that_is_named(cell):
    cell.host('lost', up=False)
    uuid = make(cell, host='lost', node='lost', vm_state='error', power_state=0)
    volume = cell.volume(uuid)
    cell.write(console_tokens.token_create, 't', uuid, 'novnc', 'lost', 5900, 600.0)
    cell.call('evacuate', uuid, 'api!leaf@h2', False, 'secret', ctxt=OWNER, answered=False)
    assert cell.states(uuid) == ('error', 'rebuilding')
    assert cell.migrations(uuid) == ['accepted']
    (migration,) = cell.rows(models.Migration, instance_uuid=uuid)
    assert migration['migration_type'] == 'evacuation'
    (operation,) = cell.open(uuid)
    assert (operation['method'], operation['host']) == ('build', 'h2')
    assert operation['args']['admin_password'] == 'secret'
    assert [one['volume_id'] for one in operation['args']['block_devices']] == [volume]
    cell.end(uuid, 'build', power_state=1, network_info=[VIF], node='h2')
    found = cell.get(uuid)
    assert (found.vm_state, found.task_state, found.host) == ('active', None, 'h2')
    assert cell.claims(uuid) == [('h2', 'instance', 1024)]
    assert cell.migrations(uuid) == ['done']
    assert cell.strays() == [('lost', uuid)]  # when it is back it removes what it has
    assert cell.rows(models.ConsoleAuthToken, instance_uuid=uuid) == []
    assert cell.history(uuid) == [
        ('evacuate', None, [('compute_rebuild_instance', 'Success')]),
    ]


def test_an_evacuation_chooses_a_host_if_none_is_named(cell):
    cell.host('lost', up=False)
    uuid = make(cell, host='lost', node='lost')
    cell.call('evacuate', uuid)
    first = cell.end(uuid, 'build', error='ComputeResourcesUnavailable')
    second = cell.end(uuid, 'build', power_state=1)
    assert {first['host'], second['host']} == {'h1', 'h2'}
    assert cell.get(uuid).host == second['host']


def test_an_instance_is_not_evacuated_from_a_host_that_is_up(cell):
    uuid = make(cell)
    with pytest.raises(exceptions.ComputeServiceInUse) as caught:
        cell.call('evacuate', uuid, 'h2', False)
    assert (caught.value.kwargs['host'], caught.value.code) == ('h1', 500)
    assert cell.states(uuid) == ('active', None)


def test_an_evacuation_that_failed_can_be_tried_again(cell):
    cell.host('lost', up=False)
    uuid = make(cell, host='lost', node='lost')
    cell.call('evacuate', uuid, 'h2', False)
    cell.end(uuid, 'build', error='DriverError')
    assert (cell.states(uuid), cell.get(uuid).host) == (('active', None), 'lost')
    assert cell.claims(uuid) == [('lost', 'instance', 1024)]
    cell.call('evacuate', uuid, 'h1', False)
    cell.end(uuid, 'build', power_state=1)
    assert cell.get(uuid).host == 'h1'


def test_what_a_lost_host_was_to_do_does_not_keep_an_instance_from_leaving_it(cell):
    uuid = make(cell, host='h2', node='h2')
    live_migrate(cell, uuid, 'h1')
    cell.end(uuid, 'migrate_in', power_state=1)
    cell.send('reset_network', uuid)
    cell.accept(uuid)  # h2 has heard that it is to forget the machine, h1 of nothing
    cell.host('h1', up=False)
    cell.host('h3')
    cell.call('evacuate', uuid, 'h3', False)
    assert [one['method'] for one in cell.open(uuid)] == ['migrate_out', 'build']
    cell.end(uuid, 'migrate_out')
    cell.end(uuid, 'build', power_state=1)
    assert cell.claims(uuid) == [('h3', 'instance', 1024)]
    assert cell.strays() == [('h1', uuid)]
    history = {name: message for name, message, _ in cell.history(uuid)}
    assert history == {'live-migration': None, 'resetNetwork': 'Error', 'evacuate': None}


def test_an_instance_that_is_soft_deleted_still_leaves_the_host_that_it_came_from(cell):
    uuid = make(cell)
    live_migrate(cell, uuid, 'h2')
    cell.end(uuid, 'migrate_in', power_state=1)
    cell.send('soft_delete_instance', uuid)
    assert [one['method'] for one in cell.open(uuid)] == ['migrate_out', 'soft_delete']
    cell.end(uuid, 'migrate_out')
    cell.end(uuid, 'soft_delete', power_state=4)
    assert cell.claims(uuid) == [('h2', 'instance', 1024)]
    assert cell.states(uuid) == ('soft-delete', None)


def test_an_instance_that_is_to_leave_its_host_does_so_though_there_is_more_room(cell):
    cell.host('h2', memory_mb=2048)
    cell.host('lost', up=False)
    running, lost = make(cell), make(cell, host='lost', node='lost')
    live_migrate(cell, running)
    assert [one['host'] for one in cell.open(running)] == ['h2']
    cell.call('evacuate', lost)
    cell.host('lost', up=True)
    assert [one['host'] for one in cell.open(lost)] == ['h1']
    resizing = make(cell)
    resize(cell, resizing, 'small')
    assert cell.migrations(resizing) == ['migrating']
    (migration,) = cell.rows(models.Migration, instance_uuid=resizing)
    assert migration['dest_compute'] == 'lost'
