"""The driver fake: what its operations do to a machine, and what it remembers."""

import json
import stat

import pytest

from cells import exceptions
from cells.endpoints import agents
from cells.host import methods
from cells.host.virt import base, loading, none
from cells.host.virt.fake import driver as fake_driver
from cells.host.virt.fake import machine as machines
from cells.host.virt.fake import store
from cells.host.virt.fake.shared import Shared
from tests.unit.fake_hosts import Host, configured, instance

RUNNING, PAUSED, SHUTDOWN, SUSPENDED = (
    base.PowerState.RUNNING,
    base.PowerState.PAUSED,
    base.PowerState.SHUTDOWN,
    base.PowerState.SUSPENDED,
)


@pytest.fixture
def host(workdir):
    found = Host(workdir / 'h1')
    yield found
    found.stop()


@pytest.fixture
def pair(workdir):
    """Two hosts of a cell."""
    found = Host(workdir / 'h1'), Host(workdir / 'h2')
    yield found
    for one in found:
        one.stop()


# -- drivers --


def test_o1_a_driver_is_found_by_its_name_or_its_path(workdir):
    assert loading.find('none') is none.NoDriver
    assert loading.find('fake') is fake_driver.FakeDriver
    assert loading.find('cells.host.virt.none.NoDriver') is none.NoDriver


@pytest.mark.parametrize('name', ['libvirt', 'cells.host.virt.none', 'no.such', 'json.dumps', ''])
def test_an_unknown_driver_is_refused_with_those_that_there_are(name):
    with pytest.raises(exceptions.ConfigurationError, match=r'\[compute\] virt_driver') as raised:
        loading.find(name)
    if '.' not in name:
        assert 'fake, none' in str(raised.value)


def test_the_fake_driver_does_everything_that_can_be_ordered(host):
    assert host.driver.operations().keys() == methods.METHODS.keys()


def test_without_a_driver_no_instance_is_taken_and_none_is_there(workdir):
    found = loading.load(configured(workdir / 'h1', compute={'virt_driver': 'none'}))
    found.start()
    assert found.nodes()[0]['hypervisor_type'] == 'none'
    with pytest.raises(exceptions.ComputeResourcesUnavailable, match='virt_driver = none'):
        found.admit(base.Demand('u', 'vm', None, 1, 1, 1), [])
    with pytest.raises(exceptions.InstanceNotFound):
        found.diagnostics('u')
    assert found.power_states() == {}
    assert found.operations().keys() == {'terminate'}
    found.stop()


@pytest.mark.parametrize(
    ('option', 'value'),
    [
        ('fake_subnet', '10.0.0.1'),
        ('fake_subnet', '10.0.0.0/31'),
        ('fake_subnet', 'fe80::/64'),
        ('fake_subnet', '10.0.0.5/24'),
        ('fake_delays', ['build']),
        ('fake_delays', ['build:-1']),
        ('fake_delays', ['build:3-1']),
        ('fake_delays', ['accept:1']),
        ('fake_failures', ['build:sometimes']),
        ('fake_failures', ['build:1.5']),
        ('fake_failures', ['explode:always']),
        ('fake_images_path', '/proc/no'),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_its_name(workdir, option, value):
    with pytest.raises(exceptions.ConfigurationError, match=option):
        Host(workdir / 'h1', **{option: value})


# -- room --


def test_a_host_reports_what_it_has_and_what_its_machines_take(host):
    [node] = agents.nodes_of(host.driver.nodes())
    assert (node['memory_mb'], node['free_ram_mb'], node['running_vms']) == (65536, 65536, 0)
    vm = host.build(memory_mb=2048, root_gb=20, ephemeral_gb=5, vcpus=2)
    [node] = agents.nodes_of(host.driver.nodes())
    assert (node['memory_mb_used'], node['free_ram_mb']) == (2048, 63488)
    assert (node['local_gb_used'], node['free_disk_gb']) == (25, 975)
    assert (node['vcpus_used'], node['running_vms']) == (2, 1)
    host.run('stop', vm)
    assert host.driver.nodes()[0]['free_ram_mb'] == 63488
    host.run('terminate', vm)
    assert host.driver.nodes()[0]['free_ram_mb'] == 65536


@pytest.mark.parametrize(
    ('sizes', 'words'),
    [
        ({'memory_mb': 65537}, 'MiB of memory'),
        ({'root_gb': 900, 'ephemeral_gb': 101}, 'GiB of disk'),
        ({'vcpus': 257}, 'virtual CPUs'),
    ],
)
def test_what_does_not_fit_is_refused(host, sizes, words):
    vm = instance(**sizes)
    with pytest.raises(exceptions.ComputeResourcesUnavailable, match=words):
        host.admit(vm)
    with pytest.raises(exceptions.ComputeResourcesUnavailable, match=words):
        host.run('build', vm)
    assert host.driver.power_states() == {}


def test_what_is_on_its_way_takes_room_once(host):
    half = [instance(memory_mb=32768) for _ in range(3)]
    host.admit(half[0])
    host.admit(half[1], half[0])
    with pytest.raises(exceptions.ComputeResourcesUnavailable):
        host.admit(half[2], half[0], half[1])
    host.run('build', half[0])
    host.admit(half[1], half[0])
    with pytest.raises(exceptions.ComputeResourcesUnavailable):
        host.admit(half[2], half[0], half[1])


def test_a_host_may_have_several_nodes(workdir):
    host = Host(workdir / 'h1', fake_nodes=2, fake_memory_mb=4096)
    assert [one['hypervisor_hostname'] for one in host.driver.nodes()] == ['h1-1', 'h1-2']
    vm = instance(memory_mb=3000, node='h1-2')
    assert host.run('build', vm).values['node'] == 'h1-2'
    with pytest.raises(exceptions.ComputeResourcesUnavailable, match='h1-2'):
        host.admit(instance(memory_mb=3000, node='h1-2'))
    other = instance(memory_mb=3000, node='a node of another host')
    assert host.run('build', other).values['node'] == 'h1-1'
    host.stop()


# -- power --


def test_power_goes_from_state_to_state(host):
    vm = host.build()
    for method, state in (
        ('pause', PAUSED),
        ('pause', PAUSED),
        ('unpause', RUNNING),
        ('unpause', RUNNING),
        ('suspend', SUSPENDED),
        ('suspend', SUSPENDED),
        ('resume', RUNNING),
        ('resume', RUNNING),
        ('stop', SHUTDOWN),
        ('stop', SHUTDOWN),
        ('start', RUNNING),
        ('start', RUNNING),
        ('reboot', RUNNING),
        ('crash_dump', RUNNING),
        ('soft_delete', SHUTDOWN),
        ('restore', RUNNING),
    ):
        assert host.run(method, vm).power_state == state, method
        assert host.state(vm) == state


@pytest.mark.parametrize(
    ('before', 'method'),
    [
        ('stop', 'pause'),
        ('stop', 'unpause'),
        ('stop', 'suspend'),
        ('stop', 'resume'),
        ('stop', 'crash_dump'),
        ('pause', 'resume'),
        ('pause', 'start'),
        ('suspend', 'pause'),
    ],
)
def test_a_state_that_does_not_allow_it_is_named(host, before, method):
    vm = host.build()
    host.run(before, vm)
    state = host.state(vm)
    with pytest.raises(exceptions.InstanceInvalidState) as raised:
        host.run(method, vm)
    assert raised.value.kwargs['attr'] == 'power_state'
    assert host.state(vm) == state


def test_a_reboot_boots_what_is_off_as_well_and_tells_so(host):
    vm = host.build()
    boots = host.machine(vm).boots
    host.run('reboot', vm, type='SOFT')
    assert host.machine(vm).boots == boots + 1
    host.run('stop', vm)
    host.run('reboot', vm, type='HARD')
    assert (host.state(vm), host.machine(vm).boots) == (RUNNING, boots + 2)
    assert 'reboot, SOFT' in host.console(vm)
    assert 'reboot, HARD' in host.console(vm)
    assert host.seen[-4:] == [
        'reboot_pending',
        'reboot_started',
        'reboot_pending_hard',
        'reboot_started_hard',
    ]


NEEDS = {
    'set_admin_password': {'password': 'x'},
    'attach_volume': {'volume_id': 'v'},
    'detach_volume': {'volume_id': 'v'},
    'swap_volume': {'old_volume_id': 'v', 'new_volume_id': 'w'},
    'snapshot': {'image_id': 'i'},
    'backup': {'image_id': 'i', 'backup_type': 'daily', 'rotation': 1},
    'shelve': {'image_id': 'i'},
    'change_metadata': {'metadata': {}},
    'detach_interface': {'port_id': 'p'},
    'remove_fixed_ip': {'address': '10.0.0.1'},
    'resize_migrate': {'flavor': {'memory_mb': 1, 'vcpus': 1, 'root_gb': 1}},
}
#: What may find that an instance is gone, or makes it.
MAY_BE_GONE = {
    'terminate',
    'shelve_offload',
    'resize_confirm',
    'resize_revert_destroy',
    'migrate_out',
}


@pytest.mark.parametrize('method', sorted(methods.METHODS.keys() - MAY_BE_GONE))
def test_an_instance_that_is_not_here_is_not_found(host, method):
    if methods.METHODS[method].creates:
        return
    with pytest.raises(exceptions.InstanceNotFound):
        host.run(method, instance(), **NEEDS.get(method, {}))


@pytest.mark.parametrize('method', sorted(MAY_BE_GONE))
def test_what_is_to_go_may_be_gone(host, method):
    vm = host.build()
    for _ in range(2):
        result = host.run(method, vm)
        assert host.driver.finished('nothing') is None
        assert result.power_state in (0, None, SHUTDOWN, RUNNING)


def test_what_was_done_is_known_by_its_id_also_after_a_restart(host):
    vm = host.build()
    done = host.run('attach_volume', vm, op_id='the one', volume_id='v1')
    assert host.driver.finished('the one') == done
    again = host.again()
    assert again.driver.finished('the one') == done
    assert again.driver.finished('another') is None
    again.stop()


# -- life --


def test_a_build_gives_a_machine_with_disk_and_address(host):
    vm = instance(metadata={'a': '1'})
    result = host.run(
        'build',
        vm,
        admin_password='secret',
        injected_files=[['/etc/motd', 'hello']],
        metadata={'b': '2'},
        networks=[{'network_id': 'n1'}, {'network_id': 'n2', 'address': '192.0.2.7'}],
        block_devices=[
            {'volume_id': 'v1', 'device_name': '/dev/vdc'},
            {'source_type': 'image', 'volume_id': None, 'boot_index': 0},
        ],
    )
    machine = host.machine(vm)
    assert machine.root['size_gb'] == 10
    assert machine.metadata == {'a': '1', 'b': '2'}
    assert [one.split()[0] for one in machine.files] == ['/etc/motd']
    assert [(one['volume_id'], one['device']) for one in machine.volumes] == [('v1', '/dev/vdc')]
    assert machines.is_password('secret', machine.password)
    assert not machines.is_password('wrong', machine.password)
    first, second = result.values['network_info']
    assert first['network']['id'] == 'n1'
    assert second['network']['subnets'][0]['ips'][0]['address'] == '192.0.2.7'
    assert first['address'] != second['address']
    assert host.seen == ['networking', 'block_device_mapping', 'spawning']


def test_a_machine_may_boot_from_a_volume(host):
    vm = instance(image_ref='')
    devices = [{'volume_id': 'v1', 'boot_index': 0}, {'volume_id': 'v2', 'boot_index': None}]
    host.run('build', vm, block_devices=devices)
    machine = host.machine(vm)
    assert [(one['volume_id'], one['device']) for one in machine.volumes] == [
        ('v1', '/dev/vda'),
        ('v2', '/dev/vdb'),
    ]
    assert machine.root['content'] == 'volume v1'


def test_no_password_is_in_any_file(host):
    vm = instance()
    host.run('build', vm, admin_password='correct horse')
    host.run('set_admin_password', vm, password='battery staple')
    host.run('rescue', vm, password='second horse')
    assert machines.is_password('battery staple', host.machine(vm).password)
    for path in host.directory.parent.rglob('*'):
        if path.is_file():
            text = path.read_bytes()
            assert b'horse' not in text, path
            assert b'staple' not in text, path


def test_the_files_are_for_the_agent_alone(host):
    host.build()
    mode = stat.S_IMODE((host.directory / store.FILE).stat().st_mode)
    assert mode == 0o600


def test_a_second_machine_of_an_instance_is_not_made(host):
    vm = host.build()
    content = host.machine(vm).root['content']
    with pytest.raises(exceptions.InstanceExists):
        host.run('build', vm)
    host.driver.clean_up(host.task('build', vm))
    assert host.machine(vm).root['content'] == content


def test_a_missing_image_is_not_found(workdir):
    host = Host(workdir / 'h1', fake_missing_images=['gone'])
    with pytest.raises(exceptions.ImageNotFound, match='gone'):
        host.run('build', instance(image_ref='gone'))
    vm = host.build()
    for method in ('rebuild', 'rescue'):
        with pytest.raises(exceptions.ImageNotFound, match='gone'):
            host.run(method, vm, image_ref='gone')
    assert host.state(vm) == RUNNING
    host.stop()


def test_a_rebuild_replaces_the_disk_and_keeps_what_is_plugged_in(host):
    vm = instance(ephemeral_gb=3)
    network_info = host.run('build', vm, admin_password='one').values['network_info']
    host.run('attach_volume', vm, volume_id='v1')
    before = host.machine(vm)
    result = host.run('rebuild', vm, image_ref='image-2', admin_password='two', files=[['/a', 'b']])
    after = host.machine(vm)
    assert after.root['image'] == 'image-2'
    assert after.root['content'] != before.root['content']
    assert after.volumes == before.volumes
    assert result.values['network_info'] == network_info
    assert machines.is_password('two', after.password)
    host.run('rebuild', vm)
    assert host.machine(vm).root['content'] != after.root['content']
    assert host.machine(vm).root['image'] == 'image-2'


def test_a_rebuild_of_what_was_stopped_leaves_it_off(host):
    vm = host.build()
    host.run('stop', vm)
    assert host.run('rebuild', {**vm, 'vm_state': 'stopped'}).power_state == SHUTDOWN
    assert host.run('rebuild', {**vm, 'vm_state': 'error'}).power_state == RUNNING


def test_a_rescue_keeps_the_original_disk(host):
    vm = host.build()
    content = host.machine(vm).root['content']
    assert host.run('rescue', vm, image_ref='rescuer').power_state == RUNNING
    machine = host.machine(vm)
    assert machine.rescue['image'] == 'rescuer'
    assert machine.root['content'] == content
    assert machine.rescue['content'] in host.console(vm)
    assert host.run('unrescue', vm).power_state == RUNNING
    machine = host.machine(vm)
    assert (machine.rescue, machine.root['content']) == (None, content)


def test_soft_delete_keeps_everything_and_terminate_nothing(host):
    vm = host.build()
    content = host.machine(vm).root['content']
    assert host.run('soft_delete', vm).power_state == SHUTDOWN
    assert host.machine(vm).soft_deleted
    host.run('restore', vm)
    assert not host.machine(vm).soft_deleted
    assert host.machine(vm).root['content'] == content
    assert host.run('terminate', vm).power_state == 0
    assert host.state(vm) is None
    assert host.driver.power_states() == {}
    assert list((host.directory.parent / 'shared' / 'machines').iterdir()) == []


# -- images --


def images_of(host):
    found = {}
    for path in (host.directory.parent / 'shared' / 'images').iterdir():
        values = json.loads(path.read_text())
        found[values['id']] = values
    return found


def test_a_snapshot_is_an_image_with_the_content_of_the_disk(host):
    vm = host.build()
    assert host.run('snapshot', vm, image_id='image/with ../signs', name='nightly').power_state == 1
    [image] = images_of(host).values()
    assert (image['id'], image['name']) == ('image/with ../signs', 'nightly')
    assert (image['kind'], image['status'], image['instance_uuid']) == (
        'snapshot',
        'active',
        vm['uuid'],
    )
    assert image['content'] == host.machine(vm).root['content']
    host.run('rebuild', vm)
    host.run('rebuild', vm, image_ref='image/with ../signs')
    assert host.machine(vm).root['content'] == image['content']


def test_backups_are_rotated_by_their_type(host):
    vm, other = host.build(), host.build()
    host.run('backup', vm, image_id='w1', backup_type='weekly', rotation=1)
    host.run('backup', other, image_id='o1', backup_type='daily', rotation=1)
    host.run('snapshot', vm, image_id='s1')
    deleted = [
        host.run('backup', vm, image_id='d%d' % number, backup_type='daily', rotation=2).values[
            'deleted_images'
        ]
        for number in range(4)
    ]
    assert deleted == [[], [], ['d0'], ['d1']]
    assert images_of(host).keys() == {'w1', 'o1', 's1', 'd2', 'd3'}
    done = host.run('backup', vm, image_id='d9', backup_type='daily', rotation=0)
    assert done.values['deleted_images'] == ['d2', 'd3', 'd9']
    assert images_of(host).keys() == {'w1', 'o1', 's1'}


def test_a_shelved_instance_comes_back_on_another_host_as_it_was(pair):
    here, there = pair
    vm = instance()
    network_info = here.run('build', vm, admin_password='secret').values['network_info']
    here.run('attach_volume', vm, volume_id='v1')
    content = here.machine(vm).root['content']
    assert here.run('shelve', vm, image_id='shelf').power_state == SHUTDOWN
    assert here.seen[-3:] == [
        'shelving',
        'shelving_image_pending_upload',
        'shelving_image_uploading',
    ]
    assert here.run('shelve_offload', vm).power_state == SHUTDOWN
    assert here.driver.nodes()[0]['memory_mb_used'] == 0
    result = there.run('unshelve', vm, image_id='shelf')
    assert result.power_state == RUNNING
    assert result.values['node'] == 'h2'
    [one] = result.values['network_info']
    [before] = network_info
    assert (one['id'], one['address']) == (before['id'], before['address'])
    found = there.machine(vm)
    assert found.root['content'] == content
    assert machines.is_password('secret', found.password)
    assert [volume['volume_id'] for volume in found.volumes] == ['v1']


def test_what_is_not_shared_begins_anew_elsewhere(workdir):
    here = Host(workdir / 'a' / 'h1', fake_images_path=str(workdir / 'one'))
    there = Host(workdir / 'b' / 'h2', fake_images_path=str(workdir / 'two'))
    vm = here.build()
    here.run('shelve', vm, image_id='shelf')
    here.run('shelve_offload', vm)
    assert there.run('unshelve', vm, image_id='shelf').power_state == RUNNING
    here.stop()
    there.stop()


def test_an_image_that_is_only_half_there_is_not_found(workdir):
    host = Host(workdir / 'h1', fake_failures=['snapshot:always'])
    vm = host.build()
    with pytest.raises(exceptions.DriverError, match='fake_failures'):
        host.run('snapshot', vm, op_id='half', image_id='i1')
    with pytest.raises(exceptions.ImageNotFound, match='still being saved'):
        host.run('rebuild', vm, image_ref='i1')
    host.driver.clean_up(host.task('snapshot', vm, op_id='another', image_id='i1'))
    assert images_of(host).keys() == {'i1'}
    host.driver.clean_up(host.task('snapshot', vm, op_id='half', image_id='i1'))
    assert images_of(host) == {}
    host.stop()


# -- what is in it --


def test_metadata_is_all_of_it_or_a_difference(host):
    vm = host.build(metadata={'a': '1', 'b': '2'})
    host.run('change_metadata', vm, metadata={'a': ['-'], 'c': ['+', '3']})
    assert host.machine(vm).metadata == {'b': '2', 'c': '3'}
    host.run('change_metadata', vm, metadata={'d': '4'})
    assert host.machine(vm).metadata == {'d': '4'}
    host.run('change_metadata', vm, metadata={})
    assert host.machine(vm).metadata == {}


def test_a_password_is_set_in_what_runs(host):
    vm = host.build()
    host.run('stop', vm)
    with pytest.raises(exceptions.InstanceInvalidState):
        host.run('set_admin_password', vm, password='x')


def test_volumes_come_and_go_under_their_names(host):
    vm = host.build()
    reserve = host.driver.reserve_device
    assert reserve(vm['uuid'], None, 'v1') == '/dev/vdb'
    assert reserve(vm['uuid'], None, 'v1') == '/dev/vdb'
    assert reserve(vm['uuid'], None, 'v2') == '/dev/vdc'
    assert reserve(vm['uuid'], '/dev/sdf', 'v3') == '/dev/vdf'
    with pytest.raises(exceptions.DevicePathInUse):
        reserve(vm['uuid'], '/dev/vdb', 'v4')
    with pytest.raises(exceptions.DevicePathInUse):
        reserve(vm['uuid'], '/dev/vda', 'v4')
    assert host.run('attach_volume', vm, volume_id='v1').values == {'device': '/dev/vdb'}
    assert host.run('attach_volume', vm, volume_id='v2', device='/dev/vdd').values == {
        'device': '/dev/vdd'
    }
    assert reserve(vm['uuid'], None, 'v5') == '/dev/vdc'
    host.run('swap_volume', vm, old_volume_id='v1', new_volume_id='v9')
    with pytest.raises(exceptions.DriverError, match='v1 is not attached'):
        host.run('detach_volume', vm, volume_id='v1')
    with pytest.raises(exceptions.DriverError, match='v2 is attached .* already'):
        host.run('swap_volume', vm, old_volume_id='v9', new_volume_id='v2')
    assert [
        (one['volume_id'], one['device'])
        for one in host.machine(vm).volumes
        if 'reserved_at' not in one
    ] == [('v9', '/dev/vdb'), ('v2', '/dev/vdd')]
    host.run('detach_volume', vm, volume_id='v9')
    assert reserve(vm['uuid'], None, 'v6') == '/dev/vdb'


def test_a_name_that_was_kept_for_nothing_is_free_again(host, monkeypatch):
    vm = host.build()
    assert host.driver.reserve_device(vm['uuid'], None, 'v1') == '/dev/vdb'
    monkeypatch.setattr('cells.host.virt.fake.volumes.RESERVED_SECONDS', -1.0)
    assert host.driver.reserve_device(vm['uuid'], None, 'v2') == '/dev/vdb'


@pytest.mark.parametrize(
    'path', ['', '/dev/', '/dev/vd1', 'sofa', '/dev/vdb1', '/etc/vdb', '../vdb']
)
def test_a_path_that_names_no_disk_is_invalid(host, path):
    vm = host.build()
    with pytest.raises(exceptions.InvalidDevicePath):
        host.driver.reserve_device(vm['uuid'], path, 'v1')
    if path:
        with pytest.raises(exceptions.InvalidDevicePath):
            host.run('attach_volume', vm, volume_id='v1', device=path)


# -- network --


def addresses(network_info):
    return [
        ip['address']
        for vif in network_info
        for subnet in vif['network']['subnets']
        for ip in subnet['ips']
    ]


def test_addresses_are_of_the_subnet_and_of_one_machine_each(workdir):
    host = Host(workdir / 'h1', fake_subnet='192.0.2.0/28')
    found = []
    for _ in range(13):
        vm = instance(memory_mb=1)
        found += addresses(host.run('build', vm).values['network_info'])
    assert found == ['192.0.2.%d' % number for number in range(2, 15)]
    with pytest.raises(exceptions.DriverError, match=r'all 13 addresses of 192\.0\.2\.0/28'):
        host.run('build', instance(memory_mb=1))
    host.run('terminate', vm)
    other = instance(memory_mb=1)
    assert addresses(host.run('build', other).values['network_info']) == ['192.0.2.14']
    with pytest.raises(exceptions.DriverError, match=r'192\.0\.2\.3 is used'):
        host.run('attach_interface', other, requested_ip='192.0.2.3')
    with pytest.raises(exceptions.DriverError, match='not an address'):
        host.run('attach_interface', other, requested_ip='house')
    host.stop()


def test_hosts_have_subnets_of_their_own_without_a_setting(pair):
    here, there = pair
    first, second = (
        addresses(one.run('build', instance()).values['network_info'])[0] for one in pair
    )
    assert first.rpartition('.')[0] != second.rpartition('.')[0]


def test_interfaces_and_addresses_come_and_go(host):
    vm = host.build()
    found = host.run('attach_interface', vm, network_id='n2', port_id='p2').values['network_info']
    assert len(addresses(found)) == 2
    with pytest.raises(exceptions.DriverError, match='p2 is attached'):
        host.run('attach_interface', vm, port_id='p2')
    found = host.run('add_fixed_ip', vm, network_id='n2').values['network_info']
    assert [len(addresses([one])) for one in found] == [1, 2]
    with pytest.raises(exceptions.DriverError, match='no interface to network n7'):
        host.run('add_fixed_ip', vm, network_id='n7')
    gone = addresses(found)[1]
    found = host.run('remove_fixed_ip', vm, address=gone).values['network_info']
    assert gone not in addresses(found)
    with pytest.raises(exceptions.DriverError, match='does not have address'):
        host.run('remove_fixed_ip', vm, address=gone)
    found = host.run('detach_interface', vm, port_id='p2').values['network_info']
    assert len(found) == 1
    with pytest.raises(exceptions.DriverError, match='p2 is not attached'):
        host.run('detach_interface', vm, port_id='p2')


def test_networking_of_the_guest_is_reset_and_injected(host):
    vm = host.build()
    host.run('reset_network', vm)
    host.run('inject_network_info', vm)
    machine = host.machine(vm)
    assert machine.network_resets == 1
    assert machine.guest_network[0]['id'] == machine.interfaces[0]['port_id']
    host.run('inject_network_info', vm, network_info=[{'id': 'x'}])
    assert host.machine(vm).guest_network == ({'id': 'x'},)


# -- moving --

LARGER = {'memory_mb': 4096, 'vcpus': 4, 'root_gb': 40, 'ephemeral_gb': 5}


def test_a_resize_takes_the_disk_to_the_other_host(pair):
    here, there = pair
    vm = here.build()
    before = here.machine(vm)
    assert here.run('resize_migrate', vm, flavor=LARGER).power_state == SHUTDOWN
    assert here.driver.power_states() == {vm['uuid']: SHUTDOWN}
    assert here.driver.nodes()[0]['memory_mb_used'] == 1024
    result = there.run('resize_finish', vm, flavor=LARGER)
    assert (result.power_state, result.values['node']) == (RUNNING, 'h2')
    after = there.machine(vm)
    assert after.root['content'] == before.root['content']
    assert (after.memory_mb, after.root['size_gb'], len(after.disks)) == (4096, 40, 2)
    assert after.interfaces == before.interfaces
    assert here.run('resize_confirm', vm).power_state is None
    assert here.driver.power_states() == {}
    assert there.state(vm) == RUNNING
    assert there.driver.nodes()[0]['memory_mb_used'] == 4096


@pytest.mark.parametrize(('power_on', 'state'), [(True, RUNNING), (False, SHUTDOWN)])
def test_a_resize_is_reverted_to_what_was(pair, power_on, state):
    here, there = pair
    vm = here.build()
    before = here.machine(vm)
    here.run('resize_migrate', vm, flavor=LARGER)
    assert there.run('resize_finish', vm, flavor=LARGER, power_on=power_on).power_state == state
    assert there.run('resize_revert_destroy', vm).power_state is None
    assert there.driver.power_states() == {}
    result = here.run('resize_revert_finish', vm, power_on=power_on)
    assert (result.power_state, result.values['node']) == (state, 'h1')
    after = here.machine(vm)
    assert (after.disks, after.memory_mb) == (before.disks, 1024)
    here.run('terminate', vm)
    assert not list((here.directory.parent / 'shared' / 'machines').iterdir())


def test_a_resize_may_stay_on_the_host(host):
    vm = host.build()
    host.run('resize_migrate', vm, flavor=LARGER)
    host.run('resize_finish', vm, flavor=LARGER)
    assert host.driver.nodes()[0]['memory_mb_used'] == 1024 + 4096
    assert host.run('resize_confirm', vm).power_state == RUNNING
    assert host.driver.nodes()[0]['memory_mb_used'] == 4096
    host.run('resize_migrate', vm, flavor=LARGER)
    host.run('resize_finish', vm, flavor={**LARGER, 'memory_mb': 512, 'ephemeral_gb': 0})
    host.run('resize_revert_destroy', vm)
    assert host.run('resize_revert_finish', vm).power_state == RUNNING
    assert host.machine(vm).memory_mb == 4096


@pytest.mark.parametrize('state', [RUNNING, PAUSED])
def test_a_live_migration_takes_the_machine_as_it_is(pair, state):
    here, there = pair
    vm = here.build()
    if state == PAUSED:
        here.run('pause', vm)
    before = here.machine(vm)
    result = there.run('migrate_in', vm, power_state=int(state))
    assert (result.power_state, result.values['node']) == (state, 'h2')
    assert here.run('migrate_out', vm).power_state is None
    after = there.machine(vm)
    assert (after.booted_at, after.boots, after.disks) == (
        before.booted_at,
        before.boots,
        before.disks,
    )
    assert here.driver.power_states() == {}
    # What the source forgets must not take with it what the other host has.
    here.run('terminate', vm)
    there.run('shelve', vm, image_id='x')
    there.run('shelve_offload', vm)
    assert here.run('unshelve', vm, image_id='x').values['network_info']
    assert here.machine(vm).disks[0]['content'] == before.root['content']


def test_a_host_that_comes_back_does_not_say_what_has_left_it_is_there(pair):
    here, there = pair
    vm = here.build()
    there.run('migrate_in', vm)
    there.run('attach_volume', vm, volume_id='v1')
    again = here.again()
    again.run('migrate_out', vm)
    again.stop()
    there.run('terminate', vm)
    assert list((here.directory.parent / 'shared' / 'machines').iterdir()) == []


def test_an_evacuated_instance_keeps_its_addresses(pair):
    here, there = pair
    vm = instance(metadata={'a': '1'})
    before = here.run('build', vm).values['network_info']
    after = there.run('build', vm).values['network_info']
    assert addresses(after) == addresses(before)
    here.run('terminate', vm)
    assert there.state(vm) == RUNNING


# -- looking --


def test_counters_grow_while_it_runs(host, monkeypatch):
    vm = host.build(vcpus=2, metadata={})
    now = host.machine(vm).booted_at
    monkeypatch.setattr('cells.host.virt.fake.host.time.time', lambda: now + 10)
    first, standard = (
        host.driver.diagnostics(vm['uuid']),
        host.driver.instance_diagnostics(vm['uuid']),
    )
    monkeypatch.setattr('cells.host.virt.fake.host.time.time', lambda: now + 30)
    second = host.driver.diagnostics(vm['uuid'])
    assert (first['uptime'], second['uptime']) == (10, 30)
    assert second['cpu1_time'] > first['cpu1_time'] > 0
    assert second['vda_read'] > first['vda_read']
    assert (standard['state'], standard['driver'], standard['uptime']) == ('running', 'fake', 10)
    assert len(standard['cpu_details']) == 2
    assert standard['disk_details'][0]['id'] == '/dev/vda'
    assert standard['nic_details'][0]['mac_address'] == host.machine(vm).interfaces[0]['mac']


def test_what_does_not_run_has_no_counters(host):
    vm = host.build()
    host.run('pause', vm)
    for ask in (host.driver.diagnostics, host.driver.instance_diagnostics):
        with pytest.raises(exceptions.InstanceInvalidState) as raised:
            ask(vm['uuid'])
        assert raised.value.kwargs['attr'] == 'power_state'
        assert raised.value.kwargs['state'] == 'paused'


def test_the_console_shows_what_happened(host):
    vm = host.build('web')
    assert host.console(vm).endswith('web login:\n')
    host.run('stop', vm)
    assert host.driver.console_output(vm['uuid'], 1) == '-- power off --\n'
    assert host.driver.console_output(vm['uuid'], 0) == ''
    with pytest.raises(exceptions.InstanceNotFound):
        host.driver.console_output('unknown', None)


def test_a_console_does_not_grow_without_an_end(host, monkeypatch):
    monkeypatch.setattr('cells.host.virt.fake.store.MOST_LINES', 10)
    vm = host.build()
    for _ in range(10):
        host.run('reboot', vm)
    assert len(host.console(vm).splitlines()) == 10


def test_a_console_has_a_port_of_its_own_while_the_machine_is_on(host):
    first, second = host.build(), host.build()
    ports = {
        host.driver.console(vm['uuid'], kind, 't').port
        for vm in (first, second)
        for kind in ('novnc', 'serial')
    }
    assert ports == {5900, 5901, 5902, 5903}
    again = host.driver.console(first['uuid'], 'novnc', 'token')
    assert again.port == 5900
    assert again.access_url == 'http://127.0.0.1:6080/vnc_auto.html?token=token'
    host.run('stop', first)
    with pytest.raises(exceptions.InstanceNotReady):
        host.driver.console(first['uuid'], 'novnc', 't')
    with pytest.raises(exceptions.ConsoleTypeInvalid):
        host.driver.console(second['uuid'], 'teletype', 't')


# -- restarts --


def test_machines_run_on_while_the_agent_is_away(host):
    vm, off = host.build(), host.build()
    host.run('stop', off)
    before = host.machine(vm)
    again = host.again()
    assert again.machine(vm) == before
    assert again.driver.power_states() == {vm['uuid']: RUNNING, off['uuid']: SHUTDOWN}
    again.stop()


def test_a_reboot_of_the_host_finds_machines_switched_off(host):
    running, paused, suspended, off = (host.build() for _ in range(4))
    host.run('pause', paused)
    host.run('suspend', suspended)
    host.run('stop', off)
    again = host.again(fake_host_reboot=True)
    assert again.driver.power_states() == {
        running['uuid']: SHUTDOWN,
        paused['uuid']: SHUTDOWN,
        suspended['uuid']: SUSPENDED,
        off['uuid']: SHUTDOWN,
    }
    assert 'the host has been rebooted' in again.console(running)
    again.stop()


def test_what_is_shared_is_mended_when_it_was_lost(host):
    vm = host.build()
    [path] = (host.directory.parent / 'shared' / 'machines').iterdir()
    path.unlink()
    again = host.again()
    shared = Shared(host.directory.parent / 'shared', 'h9', frozenset())
    assert shared.machine(vm['uuid']) == again.machine(vm)
    again.stop()


def test_a_build_that_died_is_cleaned_up_and_run_again(workdir):
    host = Host(workdir / 'h1', fake_failures=['build:always'])
    vm = instance()
    with pytest.raises(exceptions.DriverError):
        host.run('build', vm, op_id='b1')
    assert host.state(vm) == 0
    assert host.driver.nodes()[0]['memory_mb_used'] == 1024
    again = host.again(fake_failures=[])
    again.driver.clean_up(again.task('build', vm, op_id='b1'))
    assert again.driver.power_states() == {}
    assert again.run('build', vm, op_id='b1').power_state == RUNNING
    again.stop()
