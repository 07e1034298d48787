"""Actions and outcomes on each kind of database: of what happens at the same time, one wins."""

import concurrent.futures
import threading

import pytest
import sqlalchemy as sa

from cells import exceptions
from cells.compute import host_ops
from cells.db import engine, migration, models
from tests.functional import conftest
from tests.unit.compute_cases import ADMIN, Cell, flavor, new_uuid


@pytest.fixture(params=conftest.KINDS)
def cell(request, migrated_urls):
    """A cell on each kind of database; what happens to its instances is noted for those above."""
    url = migrated_urls.get(request.param) or conftest.new_database(request, request.param)
    database = engine.Database(url, replicates=True)
    migration.sync(database)
    if request.param != 'sqlite':
        migrated_urls[request.param] = url
        with database.write() as connection:
            for table in models.Base.metadata.tables.values():
                connection.execute(sa.delete(table))
    cell = Cell(database)
    for host in ('h1', 'h2', 'h3'):
        cell.host(host)
    cell.flavor('large', memory_mb=4096)
    yield cell
    database.dispose()


def at_once(*works):
    """Do all of these at the same moment; return what came of each, deadlocks tried again."""
    barrier = threading.Barrier(len(works))

    def run(work):
        barrier.wait(10)
        for left in reversed(range(10)):
            try:
                return work()
            except engine.ERRORS as error:
                # As the journal and the dispatcher do.
                if not left or not engine.is_transient(error):
                    raise
            except exceptions.WireError as error:
                return error
        return None

    with concurrent.futures.ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def make(cell, **values):
    return cell.instance(fields={'flavor': flavor('small')}, **values)


def errors(found):
    return [one for one in found if isinstance(one, Exception)]


ACTIONS = [
    ('pause_instance', {}),
    ('suspend_instance', {}),
    ('stop_instance', {}),
    ('reboot_instance', {'reboot_type': 'SOFT'}),
    ('snapshot_instance', {'image_id': 'i'}),
    ('resize_instance', {'flavor': {'flavorid': 'large'}}),
    ('rebuild_instance', {'image_href': 'i', 'admin_password': None}),
]


@pytest.mark.parametrize('second', range(len(ACTIONS)))
def test_s14_of_two_actions_on_one_instance_exactly_one_is_begun(cell, second):
    for first in range(len(ACTIONS)):
        uuid = make(cell)
        works = [
            lambda one=ACTIONS[index], uuid=uuid: cell.send(one[0], uuid, **one[1])
            for index in (first, second)
        ]
        found = at_once(*works)
        (error,) = errors(found)
        assert type(error) is exceptions.InstanceInvalidState
        assert len(cell.open(uuid)) == 1
        assert cell.states(uuid)[1] is not None


def test_s7_of_eight_copies_of_an_order_one_is_carried_out(cell):
    for operation, kwargs in [*ACTIONS, ('terminate_instance', {})]:
        uuid, message_uuid = make(cell), new_uuid()

        def send(operation=operation, kwargs=kwargs, uuid=uuid, message_uuid=message_uuid):
            return cell.send(operation, uuid, message_uuid=message_uuid, **kwargs)

        assert at_once(*[send] * 8) == [None] * 8
        assert len(cell.open(uuid)) == 1
        assert len(cell.history(uuid)) == 1


def test_a_deletion_and_an_action_at_once_end_in_a_deletion(cell):
    for operation, kwargs in ACTIONS:
        uuid = make(cell)
        at_once(
            lambda one=operation, kwargs=kwargs, uuid=uuid: cell.send(one, uuid, **kwargs),
            lambda uuid=uuid: cell.send('terminate_instance', uuid),
        )
        assert cell.states(uuid)[1] == 'deleting'
        while cell.open(uuid):
            cell.end(uuid, power_state=0)
        with pytest.raises(exceptions.InstanceNotFound):
            cell.get(uuid)
        assert cell.claims(uuid) == []


def test_an_outcome_and_a_deletion_at_once_leave_no_task_and_no_machine(cell):
    for _ in range(5):
        uuid = make(cell)
        cell.send('pause_instance', uuid)
        cell.accept(uuid)
        at_once(
            lambda uuid=uuid: cell.end(uuid, power_state=3),
            lambda uuid=uuid: cell.send('terminate_instance', uuid),
        )
        assert cell.states(uuid)[1] == 'deleting'
        assert [one['method'] for one in cell.open(uuid)] == ['terminate']
        cell.end(uuid, power_state=0)
        assert cell.faults(uuid) == []


def test_an_outcome_counts_once_however_often_it_comes(cell):
    uuid = make(cell)
    cell.send('rebuild_instance', uuid, image_href='i', admin_password=None)
    (operation,) = cell.open(uuid)
    outcome = host_ops.Outcome(False, 4, {}, 'DriverError', 'it broke')
    found = at_once(
        *[lambda: cell.outcomes.end(operation['op_id'], outcome, 'h1')] * 6,
    )
    assert sorted(found) == [False] * 5 + [True]
    assert cell.states(uuid) == ('error', None)
    assert len(cell.faults(uuid)) == 1


def test_s10_of_eight_who_attach_a_volume_one_does(cell):
    uuid, volume = make(cell), new_uuid()
    cell.agents.answers['reserve_block_device_name'] = '/dev/vdb'
    works = [lambda: cell.call('attach_volume', uuid, volume)] * 4
    works += [lambda: cell.call('attach_volume', uuid, volume, answered=False)] * 4
    found = at_once(*works)
    assert len(errors(found)) == 7
    assert {type(error) for error in errors(found)} == {exceptions.InvalidVolume}
    assert len(cell.devices(uuid)) == 1
    assert len(cell.open(uuid)) == 1


def test_resizes_of_many_at_once_promise_no_more_than_there_is(cell):
    for host in ('h1', 'h3'):
        cell.host(host, up=False)
    cell.host('h2', memory_mb=3 * 4096)
    uuids = [make(cell) for _ in range(6)]
    found = at_once(
        *[
            lambda uuid=uuid: cell.send('resize_instance', uuid, flavor={'flavorid': 'large'})
            for uuid in uuids
        ]
    )
    refused = errors(found)
    assert len(refused) == 3
    assert {type(error) for error in refused} == {exceptions.NoValidHost}
    for uuid, outcome in zip(uuids, found, strict=True):
        if outcome is None:
            assert ('h2', 'migration', 4096) in cell.claims(uuid)
        else:
            assert cell.claims(uuid) == [('h1', 'instance', 1024)]
            assert cell.states(uuid) == ('active', None)


@pytest.mark.parametrize('purge', [False, True])
def test_a_whole_life_leaves_nothing_behind(cell, purge):
    """Every step on each kind of database: statements that one of them spells differently."""
    uuid = make(cell)
    cell.volume(uuid)
    cell.call('update_instance_metadata', uuid, {'k': 'v'})
    cell.end(uuid, 'change_metadata')
    cell.send('resize_instance', uuid, flavor={'flavorid': 'large'})
    cell.progress(uuid, 'resize_migrating', 10)
    cell.end(uuid, 'resize_migrate', power_state=4)
    cell.end(uuid, 'resize_finish', power_state=1, network_info=[{'id': 'p'}])
    cell.send('revert_resize', uuid)
    cell.end(uuid, 'resize_revert_destroy')
    cell.end(uuid, 'resize_revert_finish', power_state=1)
    cell.send(
        'live_migrate_instance',
        uuid,
        block_migration=False,
        disk_over_commit=False,
        host_name='h3',
    )
    cell.end(uuid, 'migrate_in', power_state=1)
    cell.end(uuid, 'migrate_out')
    cell.call('shelve', uuid)
    cell.end(uuid, 'shelve', power_state=4)
    cell.end(uuid, 'shelve_offload', power_state=0)
    cell.call('unshelve', uuid)
    cell.end(uuid, 'unshelve', power_state=1)
    cell.send('suspend_instance', uuid)
    cell.end(uuid, 'suspend', power_state=4)
    cell.send('resume_instance', uuid)
    if purge:
        cell.send('terminate_instance', uuid, ADMIN, delete_type='force_delete')
        assert len(cell.strays()) == 1
    else:
        cell.end(uuid, 'resume', error='DriverError')
        assert cell.states(uuid) == ('suspended', None)
        cell.send('terminate_instance', uuid)
        cell.end(uuid, 'terminate', power_state=0)
    assert cell.get(uuid, read_deleted='only').vm_state == 'deleted'
    assert (cell.open(uuid), cell.claims(uuid), cell.devices(uuid)) == ([], [], [])
