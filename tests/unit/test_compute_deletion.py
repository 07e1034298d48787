"""The end of instances: no record without a machine, no machine without a record."""

import pytest

from cells import exceptions, messages
from cells.amounts import Amount
from cells.db import claims, console_tokens, dirty, instances, models
from tests.unit.compute_cases import ADMIN, OWNER, Cell, flavor, new_database, new_uuid


@pytest.fixture
def cell(workdir):
    database = new_database(workdir)
    cell = Cell(database)
    for host in ('h1', 'h2'):
        cell.host(host)
    cell.host('lost', up=False)
    yield cell
    database.dispose()


def delete(cell, uuid, ctxt=OWNER, delete_type='delete', **kwargs):
    return cell.send('terminate_instance', uuid, ctxt, delete_type=delete_type, **kwargs)


def is_destroyed(cell, uuid):
    with pytest.raises(exceptions.InstanceNotFound):
        cell.get(uuid)
    found = cell.get(uuid, read_deleted='only')
    assert (found.vm_state, found.task_state, found.power_state) == ('deleted', None, 0)
    assert found.terminated_at is not None
    assert found.deleted_at is not None
    assert cell.devices(uuid) == []
    assert cell.claims(uuid) == []
    assert cell.rows(models.ConsoleAuthToken, instance_uuid=uuid) == []
    marks = {row['part']: row['names'] for row in cell.rows(models.Dirty, instance_uuid=uuid)}
    assert '*' in marks[dirty.INSTANCE]
    assert dirty.CONSOLE in marks
    return True


# -- a host that is up --


@pytest.mark.parametrize('delete_type', ['delete', 'force_delete'])
def test_the_host_removes_the_machine_and_then_the_record_goes(cell, delete_type):
    uuid = cell.instance(progress=50)
    cell.volume(uuid)
    token = ('t', uuid, 'novnc', 'h1', 5900, 600.0)
    cell.write(console_tokens.token_create, *token)
    delete(cell, uuid, delete_type=delete_type)
    assert cell.states(uuid) == ('active', 'deleting')
    assert cell.get(uuid).progress == 0
    assert [one['method'] for one in cell.open(uuid)] == ['terminate']
    cell.end(uuid, power_state=0)
    assert is_destroyed(cell, uuid)
    assert cell.history(uuid) == [
        ('delete', None, [('compute_terminate_instance', 'Success')]),
    ]
    assert cell.strays() == []


def test_what_the_host_fails_at_is_an_error_that_can_be_deleted_again(cell):
    uuid = cell.instance()
    delete(cell, uuid)
    cell.end(uuid, error='DriverError', power_state=1)
    assert cell.states(uuid) == ('error', None)
    assert len(cell.faults(uuid)) == 1
    delete(cell, uuid)
    cell.end(uuid, power_state=0)
    assert is_destroyed(cell, uuid)


def test_what_the_host_never_began_leaves_the_instance_as_it_was(cell):
    uuid = cell.instance()
    delete(cell, uuid)
    cell.end(uuid, error='ComputeServiceUnavailable')
    assert cell.states(uuid) == ('active', None)
    assert len(cell.faults(uuid)) == 1


def test_a_deletion_under_way_is_not_ordered_again(cell):
    uuid = cell.instance()
    delete(cell, uuid)
    delete(cell, uuid)
    cell.send('soft_delete_instance', uuid)
    assert [one['method'] for one in cell.open(uuid)] == ['terminate']
    # Each order has an end that its user can see, the later ones at once.
    assert [one[:2] for one in cell.history(uuid)] == [('delete', None)] * 3


def test_s5_a_task_state_of_deletion_that_nothing_is_behind_does_not_stop_one(cell):
    uuid = cell.instance(task_state='deleting')
    delete(cell, uuid)
    cell.end(uuid, power_state=0)
    assert is_destroyed(cell, uuid)


def test_a_machine_that_is_gone_has_no_record_whatever_the_record_says(cell):
    uuid = cell.instance()
    delete(cell, uuid)
    cell.change(uuid, task_state=None, vm_state='error')
    cell.end(uuid, power_state=0)
    assert is_destroyed(cell, uuid)


def test_s7_ten_deletions_of_one_message_remove_it_once(cell):
    uuid, message_uuid = cell.instance(), messages.new_uuid()
    for _ in range(5):
        delete(cell, uuid, message_uuid=message_uuid)
    assert len(cell.open(uuid)) == 1
    cell.end(uuid, power_state=0)
    for _ in range(5):
        delete(cell, uuid, message_uuid=message_uuid)
    assert cell.open(uuid) == []
    assert len(cell.history(uuid)) == 1


def test_what_no_agent_has_heard_of_is_dropped_and_has_failed(cell):
    uuid = cell.instance()
    cell.send('pause_instance', uuid)
    delete(cell, uuid)
    assert [one['method'] for one in cell.open(uuid)] == ['terminate']
    (pause, _) = cell.history(uuid)
    assert pause == ('pause', 'Error', [('compute_pause_instance', 'Error')])
    cell.end(uuid, power_state=0)
    assert is_destroyed(cell, uuid)


def test_what_the_host_is_at_is_ended_before_the_machine_is_removed(cell):
    uuid = cell.instance()
    cell.send('snapshot_instance', uuid, image_id='i')
    cell.accept(uuid)
    delete(cell, uuid)
    assert [one['method'] for one in cell.open(uuid)] == ['snapshot', 'terminate']
    cell.end(uuid, 'snapshot', power_state=1)
    assert cell.states(uuid) == ('active', 'deleting')
    cell.end(uuid, 'terminate', power_state=0)
    assert is_destroyed(cell, uuid)


# -- no host to ask --


def test_what_is_on_no_host_goes_at_once(cell):
    uuid = cell.instance(host=None, node=None, vm_state='error', launched_at=None)
    delete(cell, uuid)
    assert is_destroyed(cell, uuid)
    assert cell.history(uuid) == [('delete', None, [])]
    assert cell.strays() == []


@pytest.mark.parametrize('host', ['lost', 'unknown'])
@pytest.mark.parametrize('order', ['delete', 'force_delete', 'soft'])
def test_s5_what_is_on_a_host_that_is_away_goes_at_once_and_the_host_is_told_later(
    cell, host, order
):
    uuid = cell.instance(host=host, node=host)
    cell.volume(uuid)
    if order == 'soft':
        cell.send('soft_delete_instance', uuid)
    else:
        delete(cell, uuid, delete_type=order)
    assert is_destroyed(cell, uuid)
    assert cell.history(uuid) == [('delete', None, [])]
    assert cell.strays() == [(host, uuid)]


def test_what_is_shelved_and_offloaded_goes_at_once(cell):
    uuid = cell.instance(host=None, node=None, vm_state='shelved_offloaded', power_state=4)
    delete(cell, uuid)
    assert is_destroyed(cell, uuid)
    assert cell.strays() == []


def test_s5_what_comes_back_from_the_shelf_while_it_is_deleted_leaves_nothing_behind(cell):
    uuid = cell.instance(
        host=None,
        node=None,
        vm_state='shelved_offloaded',
        fields={'system_metadata': {'shelved_image_id': 'i'}},
    )
    cell.call('unshelve', uuid)
    unshelve = cell.accept(uuid)
    delete(cell, uuid)
    assert is_destroyed(cell, uuid)
    assert cell.strays() == [(unshelve['host'], uuid)]
    cell.end(uuid, 'unshelve', power_state=1)
    # Told twice: whichever comes last finds the machine.
    assert set(cell.strays()) == {(unshelve['host'], uuid)}


def test_an_instance_that_must_not_be_deleted_is_not_and_the_cells_above_hear_so(cell):
    uuid = cell.instance(disable_terminate=True)
    before = cell.get(uuid)
    with cell.database.write() as connection:
        connection.execute(models.Dirty.__table__.delete())
    for ctxt, delete_type in ((OWNER, 'delete'), (ADMIN, 'force_delete')):
        delete(cell, uuid, ctxt, delete_type)
    cell.send('soft_delete_instance', uuid)
    assert cell.states(uuid) == (before.vm_state, before.task_state)
    assert cell.open(uuid) == []
    (mark,) = cell.rows(models.Dirty, instance_uuid=uuid, part='instance')
    assert {'vm_state', 'task_state'} <= set(mark['names'].split(','))


# -- an instance that is not here --


def test_what_is_deleted_already_is_told_again(cell):
    uuid = cell.instance(host=None, node=None)
    delete(cell, uuid)
    with cell.database.write() as connection:
        connection.execute(models.Dirty.__table__.delete())
    delete(cell, uuid)
    (mark,) = cell.rows(models.Dirty, instance_uuid=uuid)
    assert mark['names'] == '*'


def test_s5_what_was_never_here_is_told_to_be_gone(cell):
    uuid = new_uuid()
    delete(cell, uuid)
    found = cell.get(uuid, read_deleted='only')
    assert found.vm_state == 'deleted'
    assert {row['part'] for row in cell.rows(models.Dirty, instance_uuid=uuid)} >= {'instance'}


@pytest.mark.parametrize('operation', ['pause_instance', 'soft_delete_instance'])
def test_s4_an_order_for_what_is_not_here_is_an_error_and_changes_nothing(cell, operation):
    before = cell.everything()
    with pytest.raises(exceptions.InstanceNotFound):
        cell.send(operation, new_uuid())
    assert cell.everything() == before


def test_s4_a_method_called_for_what_is_not_here_is_an_error_and_changes_nothing(cell):
    before = cell.everything()
    for name in ('force_delete', 'restore'):
        with pytest.raises(exceptions.InstanceNotFound):
            cell.call(name, new_uuid())
    assert cell.everything() == before


# -- a resize that waits --


def resized(cell, source='h2', dest='h1'):
    uuid = cell.instance(
        vm_state='resized',
        host=dest,
        node=dest,
        fields={'flavor': flavor('small'), 'old_flavor': flavor('small')},
    )
    cell.migration(uuid, source_compute=source, source_node=source, dest_compute=dest)
    cell.write(claims.claim_resize, uuid, source, source, Amount(1024, 10, 1))
    return uuid


def test_a_resize_that_waits_is_confirmed_first(cell):
    uuid = resized(cell)
    delete(cell, uuid)
    assert cell.migrations(uuid) == ['confirmed']
    assert cell.strays() == [('h2', uuid)]
    assert [one['host'] for one in cell.open(uuid)] == ['h1']
    assert [one[0] for one in cell.history(uuid)] == ['confirmResize', 'delete']
    cell.end(uuid, power_state=0)
    assert is_destroyed(cell, uuid)


@pytest.mark.parametrize('stage', ['source', 'destination'])
def test_s5_a_resize_under_way_leaves_nothing_on_either_host(cell, stage):
    cell.flavor('large', memory_mb=4096)
    uuid = cell.instance(fields={'flavor': flavor('small')})
    cell.send('resize_instance', uuid, flavor={'flavorid': 'large'})
    if stage == 'destination':
        cell.end(uuid, 'resize_migrate', power_state=4)
    under_way = cell.accept(uuid)
    delete(cell, uuid)
    here, there = ('h1', 'h2') if stage == 'source' else ('h2', 'h1')
    assert cell.strays() == [(there, uuid)]
    cell.end(uuid, under_way['method'], power_state=4)
    assert [(one['method'], one['host']) for one in cell.open(uuid)] == [('terminate', here)]
    cell.end(uuid, 'terminate', power_state=0)
    assert is_destroyed(cell, uuid)
    assert cell.migrations(uuid) == ['error']


# -- what only an administrator may --


@pytest.mark.parametrize(
    'values',
    [
        {'task_state': 'deleting'},
        {'task_state': 'spawning', 'vm_state': 'building'},
        {'vm_state': 'error'},
        {'vm_state': 'error', 'host': None, 'node': None, 'launched_at': None},
        {'vm_state': None, 'task_state': 'strange'},
        {'task_state': 'resize_prep', 'locked': True},
    ],
)
def test_o13_an_administrator_can_purge_any_record_and_it_is_noted_who_did(cell, values, caplog):
    uuid = cell.instance(**values)
    delete(cell, uuid, ADMIN, 'force_delete')
    assert is_destroyed(cell, uuid)
    assert cell.strays() == ([('h1', uuid)] if values.get('host', 'h1') else [])
    (action,) = cell.rows(models.InstanceAction, instance_uuid=uuid)
    assert (action['action'], action['user_id']) == ('delete', 'boss')
    assert 'purged by user boss' in caplog.text


def test_o13_an_owner_cannot_purge_what_is_in_use(cell):
    uuid = cell.instance(task_state='spawning')
    with pytest.raises(exceptions.InstanceInvalidState):
        delete(cell, uuid, OWNER, 'force_delete')
    assert cell.states(uuid) == ('active', 'spawning')


# -- deletions that can be undone --


def test_a_soft_deleted_instance_says_when_and_comes_back(cell):
    uuid = cell.instance()
    cell.send('soft_delete_instance', uuid)
    assert cell.get(uuid).deleted_at is not None
    cell.end(uuid, 'soft_delete', power_state=4)
    assert cell.states(uuid) == ('soft-delete', None)
    assert cell.get(uuid).deleted is False
    cell.call('restore', uuid)
    assert cell.get(uuid).deleted_at is None
    assert cell.states(uuid) == ('soft-delete', 'restoring')
    cell.end(uuid, 'restore', power_state=1)
    assert cell.states(uuid) == ('active', None)


def test_a_soft_deleted_instance_on_no_host_is_restored_at_once(cell):
    uuid = cell.instance(vm_state='soft-delete', host=None, node=None)
    cell.call('restore', uuid)
    assert cell.states(uuid) == ('active', None)
    assert cell.open(uuid) == []
    ((name, message, events),) = cell.history(uuid)
    assert (name, message, events) == ('restore', None, [])


def test_a_soft_deleted_instance_can_be_deleted(cell):
    uuid = cell.instance(vm_state='soft-delete', power_state=4)
    delete(cell, uuid)
    cell.end(uuid, power_state=0)
    assert is_destroyed(cell, uuid)


@pytest.mark.parametrize('kind', ['Delete', '', 'soft', None, 5])
def test_a_type_of_deletion_that_there_is_not_is_the_callers_error(cell, kind):
    uuid = cell.instance()
    with pytest.raises(exceptions.Invalid, match='delete_type'):
        delete(cell, uuid, delete_type=kind)


def test_a_record_that_is_destroyed_stays_so(cell):
    uuid = cell.instance()
    delete(cell, uuid)
    cell.write(instances.instance_destroy, uuid)
    cell.end(uuid, power_state=0)
    with pytest.raises(exceptions.InstanceNotFound):
        cell.get(uuid)
