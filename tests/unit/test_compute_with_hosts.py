"""Actions against hosts that keep machines: what the cell orders is what the driver ``fake`` does.

Only the message bus between them is left out.
"""

import pytest

from cells import exceptions
from cells.compute import host_ops
from cells.db import host_operations
from cells.host import methods
from cells.host.virt.base import Task
from tests.unit.compute_cases import LARGE, Cell, flavor, new_database, new_uuid
from tests.unit.fake_hosts import Host

RUNNING, PAUSED, SHUTDOWN = 1, 3, 4


class Deployment(Cell):
    """A cell with hosts."""

    def __init__(self, directory):
        super().__init__(new_database(directory))
        self.directory = directory
        self.hosts = {}
        for name in ('h1', 'h2', 'h3'):
            self.host(name)
            (directory / name).mkdir()
            self.hosts[name] = Host(directory / name)
        self.flavor('small')
        self.flavor('large', **LARGE)

    def stop(self):
        for host in self.hosts.values():
            host.stop()
        self.database.dispose()

    def build(self, **values):
        """Return an instance that runs on h1."""
        uuid = self.instance(fields={'flavor': flavor('small')}, **values)
        told = host_ops.told(self.get(uuid))
        self.hosts['h1'].run('build', told, networks=[{'network_id': 'net'}])
        return uuid

    def work(self, uuid=host_operations.STRAY):
        """Have the hosts carry out all that is ordered; return the methods."""
        done = []
        while found := self.open(uuid):
            done.append(found[0]['method'])
            self.carry_out(found[0])
            assert len(done) < 20
        return done

    def carry_out(self, operation):
        driver = self.hosts[operation['host']].driver

        def progress(task_state, percent):
            self.write(
                self.outcomes.progress,
                operation['op_id'],
                operation['host'],
                task_state,
                percent,
            )

        task = Task(
            op_id=operation['op_id'],
            method=operation['method'],
            instance=operation['instance'],
            args=methods.arguments_of(operation['method'], operation['args']),
            progress=progress,
        )
        try:
            result = driver.operations()[operation['method']](task)
            outcome = host_ops.Outcome(True, result.power_state, dict(result.values))
        except exceptions.CellsError as error:
            uuid = operation['instance']['uuid']
            outcome = host_ops.Outcome(
                False, driver.power_state(uuid), {}, type(error).__name__, str(error)
            )
        assert self.outcomes.end(operation['op_id'], outcome, operation['host'])

    def machines(self, uuid):
        """Return the power states of an instance by host."""
        found = {name: host.driver.power_state(uuid) for name, host in self.hosts.items()}
        return {name: state for name, state in found.items() if state is not None}


@pytest.fixture
def cell(workdir):
    cell = Deployment(workdir)
    yield cell
    cell.stop()


def settled(cell, uuid, vm_state, power_state, host='h1'):
    found = cell.get(uuid)
    assert (found.vm_state, found.task_state, found.power_state) == (vm_state, None, power_state)
    assert found.host == host
    assert cell.faults(uuid) == []
    if host is not None:
        assert cell.machines(uuid)[host] == power_state
    for _, message, events in cell.history(uuid):
        assert message is None
        assert {result for _, result in events} <= {'Success'}
    return True


def test_the_power_of_a_machine(cell):
    uuid = cell.build()
    for operation, kwargs, vm_state, power_state in (
        ('stop_instance', {}, 'stopped', SHUTDOWN),
        ('start_instance', {}, 'active', RUNNING),
        ('reboot_instance', {'reboot_type': 'SOFT'}, 'active', RUNNING),
        ('reboot_instance', {'reboot_type': 'HARD'}, 'active', RUNNING),
        ('pause_instance', {}, 'paused', PAUSED),
        ('unpause_instance', {}, 'active', RUNNING),
    ):
        cell.send(operation, uuid, **kwargs)
        cell.work(uuid)
        assert settled(cell, uuid, vm_state, power_state), operation
    cell.send('suspend_instance', uuid)
    cell.work(uuid)
    assert cell.states(uuid) == ('suspended', None)
    cell.send('resume_instance', uuid)
    cell.work(uuid)
    assert settled(cell, uuid, 'active', RUNNING)
    cell.call('trigger_crash_dump', uuid)
    cell.work(uuid)
    assert settled(cell, uuid, 'active', RUNNING)


def test_what_is_in_a_machine(cell):
    uuid = cell.build()
    cell.send('set_admin_password', uuid, new_pass='secret')
    cell.call('update_instance_metadata', uuid, {'k': 'v'})
    cell.send('reset_network', uuid)
    cell.send('inject_network_info', uuid)
    cell.work(uuid)
    assert settled(cell, uuid, 'active', RUNNING)
    assert cell.hosts['h1'].machine({'uuid': uuid}).metadata == {'k': 'v'}
    cell.send('rebuild_instance', uuid, image_href='image-2', admin_password='other')
    cell.work(uuid)
    assert settled(cell, uuid, 'active', RUNNING)
    cell.call('rescue', uuid, rescue_password='secret')
    cell.work(uuid)
    assert settled(cell, uuid, 'rescued', RUNNING)
    cell.call('unrescue', uuid)
    cell.work(uuid)
    assert settled(cell, uuid, 'active', RUNNING)


def test_a_machine_that_is_stopped_is_so_after_a_rebuild(cell):
    uuid = cell.build()
    cell.send('stop_instance', uuid)
    cell.work(uuid)
    cell.send('rebuild_instance', uuid, image_href='image-2', admin_password=None)
    assert cell.work(uuid) == ['rebuild', 'stop']
    assert settled(cell, uuid, 'stopped', SHUTDOWN)


def test_images_of_a_machine(cell):
    uuid = cell.build()
    cell.send('snapshot_instance', uuid, image_id=new_uuid())
    cell.work(uuid)
    for _ in range(3):
        cell.send('backup_instance', uuid, image_id=new_uuid(), backup_type='daily', rotation=1)
        cell.work(uuid)
    assert settled(cell, uuid, 'active', RUNNING)


def test_volumes_of_a_machine(cell):
    uuid, one, two = cell.build(), new_uuid(), new_uuid()
    driver = cell.hosts['h1'].driver
    cell.agents.answers['reserve_block_device_name'] = lambda given: driver.reserve_device(
        given['instance_uuid'], given['device'], given['volume_id']
    )
    device = cell.call('attach_volume', uuid, one)
    cell.work(uuid)
    ((volume_id, name),) = [(row['volume_id'], row['device_name']) for row in cell.devices(uuid)]
    assert (volume_id, name) == (one, device)
    cell.call('attach_volume', uuid, two, answered=False)
    cell.work(uuid)
    names = [row['device_name'] for row in cell.devices(uuid)]
    assert None not in names
    assert len(set(names)) == 2
    cell.call('detach_volume', uuid, {'id': two})
    cell.work(uuid)
    cell.call('swap_volume', uuid, {'id': one}, {'id': two})
    cell.work(uuid)
    assert [row['volume_id'] for row in cell.devices(uuid)] == [two]
    assert settled(cell, uuid, 'active', RUNNING)


def test_the_network_of_a_machine(cell):
    uuid = cell.build()
    cell.call('attach_interface', uuid, 'net-2', None, None, answered=False)
    cell.work(uuid)
    found = cell.get(uuid).info_cache.network_info
    assert len(found) == 2
    cell.call('detach_interface', uuid, found[1]['id'])
    cell.call('add_fixed_ip', uuid, 'net')
    cell.work(uuid)
    (vif,) = cell.get(uuid).info_cache.network_info
    addresses = [ip['address'] for subnet in vif['network']['subnets'] for ip in subnet['ips']]
    assert len(addresses) == 2
    cell.call('remove_fixed_ip', uuid, addresses[1])
    cell.work(uuid)
    (vif,) = cell.get(uuid).info_cache.network_info
    left = [ip['address'] for subnet in vif['network']['subnets'] for ip in subnet['ips']]
    assert left == addresses[:1]
    assert settled(cell, uuid, 'active', RUNNING)


@pytest.mark.parametrize('stopped', [False, True])
@pytest.mark.parametrize('end', ['confirm_resize', 'revert_resize'])
def test_a_machine_of_another_size_on_another_host(cell, stopped, end):
    uuid = cell.build()
    if stopped:
        cell.send('stop_instance', uuid)
        cell.work(uuid)
    cell.send('resize_instance', uuid, flavor={'flavorid': 'large'})
    cell.work(uuid)
    there = cell.get(uuid).host
    assert there != 'h1'
    power_state = SHUTDOWN if stopped else RUNNING
    assert settled(cell, uuid, 'resized', power_state, there)
    cell.send(end, uuid)
    cell.work(uuid)
    host = there if end == 'confirm_resize' else 'h1'
    assert settled(cell, uuid, 'stopped' if stopped else 'active', power_state, host)
    assert list(cell.machines(uuid)) == [host]
    size = LARGE if host == there else {'memory_mb': 1024}
    assert cell.claims(uuid) == [(host, 'instance', size['memory_mb'])]


def test_a_machine_goes_to_another_host_while_it_runs(cell):
    uuid = cell.build()
    for vm_state, power_state in (('active', RUNNING), ('paused', PAUSED)):
        cell.send(
            'live_migrate_instance',
            uuid,
            block_migration=False,
            disk_over_commit=False,
            host_name=None,
        )
        before = cell.get(uuid).host
        assert cell.work(uuid) == ['migrate_in', 'migrate_out']
        host = cell.get(uuid).host
        assert host != before
        assert settled(cell, uuid, vm_state, power_state, host)
        assert list(cell.machines(uuid)) == [host]
        if vm_state == 'active':
            cell.send('pause_instance', uuid)
            cell.work(uuid)


def test_a_machine_of_a_lost_host_is_made_anew_and_the_old_one_removed(cell):
    uuid = cell.build()
    cell.host('h1', up=False)
    cell.call('evacuate', uuid, 'h2', False)
    cell.work(uuid)
    assert settled(cell, uuid, 'active', RUNNING, 'h2')
    assert set(cell.machines(uuid)) == {'h1', 'h2'}
    cell.work()  # h1 is back
    assert set(cell.machines(uuid)) == {'h2'}


def test_a_machine_goes_to_the_shelf_and_comes_back(cell):
    uuid = cell.build()
    cell.call('shelve', uuid)
    assert cell.work(uuid) == ['shelve', 'shelve_offload']
    assert cell.states(uuid) == ('shelved_offloaded', None)
    assert cell.machines(uuid) == {}
    cell.call('unshelve', uuid)
    cell.work(uuid)
    host = cell.get(uuid).host
    assert settled(cell, uuid, 'active', RUNNING, host)


def test_a_machine_that_is_deleted_is_gone(cell):
    uuid = cell.build()
    cell.send('soft_delete_instance', uuid)
    cell.work(uuid)
    assert cell.states(uuid) == ('soft-delete', None)
    cell.call('restore', uuid)
    cell.work(uuid)
    assert settled(cell, uuid, 'active', RUNNING)
    cell.send('terminate_instance', uuid)
    cell.work(uuid)
    assert cell.machines(uuid) == {}
    assert cell.get(uuid, read_deleted='only').vm_state == 'deleted'


@pytest.mark.parametrize('steps', range(4))
def test_s5_a_machine_that_is_deleted_while_it_moves_is_on_no_host(cell, steps):
    uuid = cell.build()
    cell.send('resize_instance', uuid, flavor={'flavorid': 'large'})
    for _ in range(min(steps, 2)):
        cell.carry_out(cell.open(uuid)[0])
    if steps == 3:
        cell.send('revert_resize', uuid)
        cell.carry_out(cell.open(uuid)[0])
    cell.send('terminate_instance', uuid)
    cell.work()
    cell.work(uuid)
    cell.work()
    assert cell.machines(uuid) == {}
    assert cell.get(uuid, read_deleted='only').vm_state == 'deleted'
    assert cell.claims(uuid) == []


def test_s5_a_machine_whose_host_is_away_is_removed_when_it_is_back(cell):
    uuid = cell.build()
    cell.host('h1', up=False)
    cell.send('terminate_instance', uuid)
    assert cell.get(uuid, read_deleted='only').vm_state == 'deleted'
    assert cell.machines(uuid) == {'h1': RUNNING}
    cell.work()
    assert cell.machines(uuid) == {}
