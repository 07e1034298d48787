"""Volumes, images, rebuilds and the shelf; what changes of the network is kept (S11)."""

import pytest

from cells import exceptions
from cells.db import console_tokens, models
from tests.unit.compute_cases import LAUNCHED, Cell, flavor, new_database, new_uuid

VIF = {'id': 'port-1', 'address': 'fa:16:3e:00:00:01'}
OTHER_VIF = {'id': 'port-2', 'address': 'fa:16:3e:00:00:02'}
SHELVED = {'shelved_at', 'shelved_image_id', 'shelved_host'}


@pytest.fixture
def cell(workdir):
    database = new_database(workdir)
    cell = Cell(database)
    for host in ('h1', 'h2'):
        cell.host(host)
    yield cell
    database.dispose()


def make(cell, **values):
    return cell.instance(fields={'flavor': flavor('small')}, **values)


def boot_volume(cell, uuid):
    return cell.volume(uuid, boot_index=0, device_name='/dev/vda')


def volumes(cell, uuid):
    return [(one['volume_id'], one['device_name']) for one in cell.devices(uuid)]


# -- volumes --


def test_s10_who_attaches_a_volume_is_told_the_device_and_there_is_one_row(cell):
    uuid, volume = make(cell), new_uuid()
    cell.agents.answers['reserve_block_device_name'] = '/dev/vdb'
    assert cell.call('attach_volume', uuid, volume, None, 'virtio', 'disk') == '/dev/vdb'
    asked = {'instance_uuid': uuid, 'device': None, 'volume_id': volume}
    assert cell.agents.asked == [('h1', 'reserve_block_device_name', asked)]
    (device,) = cell.devices(uuid)
    assert (device['volume_id'], device['device_name']) == (volume, '/dev/vdb')
    assert (device['source_type'], device['destination_type']) == ('volume', 'volume')
    assert (device['disk_bus'], device['device_type']) == ('virtio', 'disk')
    operation = cell.end(uuid, 'attach_volume', power_state=1, device='/dev/vdc')
    assert operation['args'] == {
        'volume_id': volume,
        'device': '/dev/vdb',
        'disk_bus': 'virtio',
        'device_type': 'disk',
        'bdm_uuid': device['uuid'],
    }
    assert volumes(cell, uuid) == [(volume, '/dev/vdc')]  # the host has the last word
    (mark,) = [row for row in cell.rows(models.Dirty) if row['part'] == 'instance']
    assert mark['names'] == '*' or 'block_device_mapping' in mark['names'].split(',')


def test_a_volume_that_nobody_waits_for_is_attached_as_well(cell):
    uuid, volume = make(cell), new_uuid()
    assert cell.call('attach_volume', uuid, volume, answered=False) is None
    assert cell.agents.asked == []
    assert volumes(cell, uuid) == [(volume, None)]
    cell.end(uuid, 'attach_volume', device='/dev/vdb')
    assert volumes(cell, uuid) == [(volume, '/dev/vdb')]


def test_s10_a_volume_that_an_instance_has_is_not_attached_again(cell):
    uuid = make(cell)
    volume = cell.volume(uuid)
    cell.agents.answers['reserve_block_device_name'] = '/dev/vdc'
    for answered in (True, False):
        with pytest.raises(exceptions.InvalidVolume, match=volume):
            cell.call('attach_volume', uuid, volume, answered=answered)
    assert len(cell.devices(uuid)) == 1
    assert cell.agents.asked == []


def test_s10_of_two_who_attach_a_volume_at_a_time_one_does(cell):
    uuid, volume = make(cell), new_uuid()

    def reserve(kwargs):
        # While the first one waits for the host, another comes and is faster.
        cell.agents.answers['reserve_block_device_name'] = '/dev/vdb'
        assert cell.call('attach_volume', uuid, volume) == '/dev/vdb'
        return '/dev/vdc'

    cell.agents.answers['reserve_block_device_name'] = reserve
    with pytest.raises(exceptions.InvalidVolume):
        cell.call('attach_volume', uuid, volume)
    assert volumes(cell, uuid) == [(volume, '/dev/vdb')]
    assert len(cell.open(uuid)) == 1


@pytest.mark.parametrize(
    'values', [{'task_state': 'deleting'}, {'vm_state': 'suspended'}, {'host': None}]
)
def test_an_instance_that_has_changed_while_the_host_was_asked_gets_no_volume(cell, values):
    uuid = make(cell)

    def reserve(kwargs):
        cell.change(uuid, **values)
        return '/dev/vdb'

    cell.agents.answers['reserve_block_device_name'] = reserve
    with pytest.raises(exceptions.Invalid):
        cell.call('attach_volume', uuid, new_uuid())
    assert cell.devices(uuid) == []
    assert cell.open(uuid) == []


def test_a_host_that_has_no_name_for_a_volume_is_told_to_the_caller(cell):
    uuid = make(cell)
    cell.agents.answers['reserve_block_device_name'] = exceptions.DevicePathInUse(path='/dev/vda')
    before = cell.everything()
    with pytest.raises(exceptions.DevicePathInUse):
        cell.call('attach_volume', uuid, new_uuid(), '/dev/vda')
    assert cell.everything() == before


@pytest.mark.parametrize(
    'device', ['vdb', '/dev/', '/dev/VDB', '/etc/passwd', '', '/dev/vdb;rm', 5, ['/dev/vdb'], 'é']
)
def test_a_device_that_is_none_is_an_error_of_the_table(cell, device):
    uuid = make(cell)
    with pytest.raises(exceptions.InvalidDevicePath) as caught:
        cell.call('attach_volume', uuid, new_uuid(), device)
    assert caught.value.code == 400


def test_a_volume_that_could_not_be_attached_has_no_row(cell):
    uuid, volume = make(cell), new_uuid()
    cell.call('attach_volume', uuid, volume, answered=False)
    cell.end(uuid, error='DriverError')
    assert cell.devices(uuid) == []
    assert len(cell.faults(uuid)) == 1
    assert cell.states(uuid) == ('active', None)


def test_an_instance_on_the_shelf_only_notes_its_volumes(cell):
    uuid = make(cell, vm_state='shelved_offloaded', host=None, node=None)
    volume = new_uuid()
    assert cell.call('attach_volume', uuid, volume, '/dev/vdb') == '/dev/vdb'
    assert volumes(cell, uuid) == [(volume, '/dev/vdb')]
    cell.call('detach_volume', uuid, {'id': volume})
    assert cell.devices(uuid) == []
    assert (cell.open(uuid), cell.agents.asked) == ([], [])


def test_a_volume_is_gone_when_the_host_has_let_it_go(cell):
    uuid = make(cell)
    volume, other = cell.volume(uuid), cell.volume(uuid, device_name='/dev/vdc')
    cell.call('detach_volume', uuid, {'id': volume, 'attachments': []}, answered=False)
    assert len(cell.devices(uuid)) == 2
    cell.end(uuid, 'detach_volume')
    assert volumes(cell, uuid) == [(other, '/dev/vdc')]
    cell.call('detach_volume', uuid, {'id': other})
    cell.end(uuid, error='DriverError')
    assert volumes(cell, uuid) == [(other, '/dev/vdc')]
    assert len(cell.faults(uuid)) == 1


def test_a_volume_that_an_instance_does_not_have_is_not_found(cell):
    uuid = make(cell)
    for method, args in (
        ('detach_volume', [{'id': new_uuid()}]),
        ('swap_volume', [{'id': new_uuid()}, {'id': new_uuid()}]),
    ):
        with pytest.raises(exceptions.VolumeBDMNotFound):
            cell.call(method, uuid, *args)


@pytest.mark.parametrize('volume', [None, 5, {}, {'id': None}, {'id': ''}, {'id': 'x' * 37}, []])
def test_what_is_no_volume_is_the_callers_error(cell, volume):
    uuid = make(cell)
    for method, args in (
        ('detach_volume', [volume]),
        ('swap_volume', [volume, {'id': new_uuid()}]),
        ('swap_volume', [{'id': new_uuid()}, volume]),
    ):
        with pytest.raises(exceptions.Invalid):
            cell.call(method, uuid, *args)


def test_o1_a_swapped_volume_takes_the_row_of_the_other(cell):
    uuid, new = make(cell), new_uuid()
    old = cell.volume(uuid)
    (before,) = cell.devices(uuid)
    cell.call('swap_volume', uuid, {'id': old, 'size': 1}, {'id': new, 'size': 2})
    operation = cell.end(uuid, 'swap_volume')
    assert operation['args'] == {'old_volume_id': old, 'new_volume_id': new}
    (after,) = cell.devices(uuid)
    assert (after['uuid'], after['volume_id']) == (before['uuid'], new)
    assert after['device_name'] == before['device_name']


def test_s10_a_volume_that_came_while_it_was_swapped_in_has_one_row(cell):
    uuid, new = make(cell), new_uuid()
    old = cell.volume(uuid)
    cell.call('swap_volume', uuid, {'id': old}, {'id': new})
    cell.volume(uuid, new, device_name='/dev/vdx')
    cell.end(uuid, 'swap_volume')
    assert [one['volume_id'] for one in cell.devices(uuid)] == [new]


@pytest.mark.parametrize(
    ('old', 'new', 'error'),
    [
        ({'attach_status': 'detached'}, {}, exceptions.VolumeUnattached),
        ({}, {'attach_status': 'attached'}, exceptions.InvalidVolume),
        ({'size': 2}, {'size': 1}, exceptions.InvalidVolume),
        ({}, {'id': 'same'}, exceptions.InvalidVolume),
    ],
)
def test_volumes_that_cannot_be_swapped_are_refused(cell, old, new, error):
    uuid = make(cell)
    cell.volume(uuid, 'same')
    with pytest.raises(error):
        cell.call('swap_volume', uuid, {'id': 'same', **old}, {'id': 'other', **new})
    assert cell.open(uuid) == []


# -- images --


def test_a_snapshot_names_the_image_that_was_made_above(cell):
    uuid = make(cell)
    cell.send('snapshot_instance', uuid, image_id='image-9')
    assert cell.states(uuid) == ('active', 'image_snapshot_pending')
    operation = cell.end(uuid, 'snapshot', power_state=1)
    assert operation['args'] == {'image_id': 'image-9', 'name': 'vm'}
    assert [one[0] for one in cell.history(uuid)] == ['createImage']


def test_a_backup_says_how_many_are_kept(cell):
    uuid = make(cell)
    cell.send('backup_instance', uuid, image_id='i', backup_type='weekly', rotation=3)
    operation = cell.end(uuid, 'backup', power_state=1, deleted_images=['j'])
    assert operation['args'] == {'image_id': 'i', 'backup_type': 'weekly', 'rotation': 3}
    assert cell.states(uuid) == ('active', None)


@pytest.mark.parametrize('rotation', [-1, None, '2', True, 1.5, 10**9])
def test_a_rotation_that_is_no_number_is_the_callers_error(cell, rotation):
    uuid = make(cell)
    with pytest.raises(exceptions.Invalid, match='rotation'):
        cell.send('backup_instance', uuid, image_id='i', backup_type='d', rotation=rotation)
    assert cell.states(uuid) == ('active', None)


def test_an_instance_that_starts_from_a_volume_has_no_backups_and_is_not_rescued(cell):
    uuid = make(cell)
    boot_volume(cell, uuid)
    with pytest.raises(exceptions.InvalidRequest):
        cell.send('backup_instance', uuid, image_id='i', backup_type='d', rotation=1)
    with pytest.raises(exceptions.InstanceNotRescuable) as caught:
        cell.call('rescue', uuid)
    assert caught.value.code == 400
    assert cell.states(uuid) == ('active', None)


# -- rebuild --


def rebuild(cell, uuid, **kwargs):
    given = {'image_href': 'image-2', 'admin_password': 'secret', **kwargs}
    cell.send('rebuild_instance', uuid, **given)


def test_a_rebuild_stores_the_image_and_what_comes_with_it(cell):
    uuid = cell.instance(
        {'old': 'v'},
        {'system_metadata': {'image_min_disk': '1', 'k': 'v', 'image_os': 'x'}},
        kernel_id='k-old',
        progress=9,
    )
    rebuild(
        cell,
        uuid,
        files_to_inject=[['/etc/motd', 'aGk=']],
        preserve_ephemeral=True,
        kwargs={
            'display_name': 'new name',
            'access_ip_v4': '10.0.0.9',
            'kernel_id': 'k-new',
            'metadata': {'new': 'v'},
        },
    )
    found = cell.get(uuid)
    assert (found.image_ref, found.kernel_id, found.ramdisk_id) == ('image-2', 'k-new', '')
    assert (found.display_name, str(found.access_ip_v4)) == ('new name', '10.0.0.9')
    assert (found.progress, found.metadata) == (0, {'new': 'v'})
    assert found.system_metadata == {'k': 'v', 'image_base_image_ref': 'image-2'}
    operation = cell.end(uuid, 'rebuild', power_state=1, network_info=[VIF])
    assert operation['args'] == {
        'image_ref': 'image-2',
        'admin_password': 'secret',
        'files': [['/etc/motd', 'aGk=']],
    }
    assert operation['instance']['image_ref'] == 'image-2'
    assert operation['instance']['metadata'] == {'new': 'v'}
    found = cell.get(uuid)
    assert (found.vm_state, found.task_state) == ('active', None)
    assert found.info_cache.network_info == [VIF]
    assert found.launched_at.replace(tzinfo=None) > LAUNCHED


def test_an_instance_that_was_stopped_is_stopped_after_a_rebuild(cell):
    uuid = cell.instance(vm_state='stopped', power_state=4)
    rebuild(cell, uuid)
    assert cell.open(uuid)[0]['instance']['vm_state'] == 'stopped'
    cell.end(uuid, 'rebuild', power_state=1)
    assert cell.states(uuid) == ('active', 'powering-off')
    cell.end(uuid, 'stop', power_state=4)
    assert cell.states(uuid) == ('stopped', None)
    ((name, message, events),) = cell.history(uuid)
    assert (name, message) == ('rebuild', None)
    assert [result for _, result in events] == ['Success', 'Success']


def test_a_rebuild_that_was_never_begun_leaves_the_old_image(cell):
    uuid = cell.instance(fields={'system_metadata': {'image_os': 'x'}}, kernel_id='k')
    rebuild(cell, uuid)
    cell.end(uuid, error='ComputeServiceUnavailable')
    found = cell.get(uuid)
    assert (found.vm_state, found.task_state) == ('active', None)
    assert (found.image_ref, found.kernel_id) == ('image-1', 'k')
    assert found.system_metadata == {'image_os': 'x'}
    assert len(cell.faults(uuid)) == 1


@pytest.mark.parametrize(
    'given',
    [
        {'kwargs': {'host': 'h2'}},
        {'kwargs': {'nonsense': 1}},
        {'kwargs': {'metadata': {'k': 5}}},
        {'kwargs': {'display_name': 'x' * 300}},
        {'kwargs': {'access_ip_v4': 'here'}},
        {'kwargs': 'text'},
        {'image_href': None},
        {'admin_password': 5},
        {'files_to_inject': 'text'},
        {'preserve_ephemeral': 'maybe'},
    ],
)
def test_what_a_rebuild_does_not_take_is_the_callers_error(cell, given):
    uuid = make(cell)
    before = cell.everything()
    with pytest.raises(exceptions.Invalid):
        rebuild(cell, uuid, **given)
    assert cell.everything() == before


def test_what_may_be_null_in_a_rebuild_may(cell):
    uuid = make(cell)
    rebuild(cell, uuid, kwargs=None, files_to_inject=None, admin_password=None)
    assert cell.open(uuid)[0]['args']['files'] == []


# -- the shelf --


@pytest.mark.parametrize('vm_state', ['active', 'stopped', 'paused', 'suspended'])
def test_a_shelved_instance_becomes_an_image_and_gives_its_host_back(cell, vm_state):
    uuid = make(cell, vm_state=vm_state)
    cell.write(console_tokens.token_create, 't', uuid, 'novnc', 'h1', 5900, 600.0)
    cell.call('shelve', uuid, clean_shutdown=True, answered=False)
    operation = cell.end(uuid, 'shelve', power_state=4)
    image = operation['args']['image_id']
    assert cell.states(uuid) == ('shelved', 'shelving_offloading')
    system = cell.get(uuid).system_metadata
    assert set(system) == SHELVED
    assert (system['shelved_image_id'], system['shelved_host']) == (image, 'h1')
    cell.end(uuid, 'shelve_offload', power_state=0)
    found = cell.get(uuid)
    assert (found.vm_state, found.task_state) == ('shelved_offloaded', None)
    assert (found.host, found.node, found.power_state) == (None, None, 0)
    assert cell.claims(uuid) == []
    assert cell.rows(models.ConsoleAuthToken, instance_uuid=uuid) == []  # X5
    ((name, message, events),) = cell.history(uuid)
    assert (name, message) == ('shelve', None)
    assert [event for event, _ in events] == [
        'compute_shelve_instance',
        'compute_shelve_offload_instance',
    ]


def test_s7_the_image_of_a_shelved_instance_is_the_same_for_each_copy_of_the_order(cell):
    one, two = make(cell), make(cell)
    message = new_uuid()
    cell.call('shelve', one, message_uuid=message, answered=False)
    cell.call('shelve', one, message_uuid=message, answered=False)
    cell.call('shelve', two, answered=False)
    (first,), (second,) = cell.open(one), cell.open(two)
    assert first['args']['image_id'] != second['args']['image_id']


def test_a_shelved_instance_stays_on_its_host_if_the_cell_wants_that(workdir):
    database = new_database(workdir)
    cell = Cell(database, shelved_offload_time=-1)
    cell.host('h1')
    uuid = make(cell)
    cell.call('shelve', uuid)
    cell.end(uuid, 'shelve', power_state=4)
    assert (cell.states(uuid), cell.get(uuid).host) == (('shelved', None), 'h1')
    cell.call('shelve_offload', uuid)
    cell.end(uuid, 'shelve_offload', power_state=0)
    assert cell.states(uuid) == ('shelved_offloaded', None)
    assert [one[0] for one in cell.history(uuid)] == ['shelve', 'shelveOffload']
    database.dispose()


def test_an_instance_that_starts_from_a_volume_needs_no_image_on_the_shelf(cell):
    uuid = make(cell)
    boot_volume(cell, uuid)
    cell.call('shelve', uuid)
    cell.end(uuid, 'shelve_offload', power_state=0)
    assert cell.states(uuid) == ('shelved_offloaded', None)
    assert set(cell.get(uuid).system_metadata) == SHELVED - {'shelved_image_id'}
    cell.call('unshelve', uuid)
    assert cell.open(uuid)[0]['args'] == {'image_id': None}
    cell.end(uuid, 'unshelve', power_state=1)
    assert cell.states(uuid) == ('active', None)


def test_a_shelve_that_failed_leaves_what_was(cell):
    uuid = make(cell)
    cell.call('shelve', uuid)
    cell.end(uuid, 'shelve', error='DriverError', power_state=4)
    assert cell.states(uuid) == ('active', None)
    cell.call('shelve', uuid)
    cell.end(uuid, 'shelve', power_state=4)
    cell.end(uuid, 'shelve_offload', error='DriverError')
    assert (cell.states(uuid), cell.get(uuid).host) == (('shelved', None), 'h1')
    assert len(cell.faults(uuid)) == 2


def shelved(cell, vm_state='shelved_offloaded', **system):
    away = vm_state == 'shelved_offloaded'
    return cell.instance(
        vm_state=vm_state,
        power_state=4,
        host=None if away else 'h1',
        node=None if away else 'h1',
        fields={'flavor': flavor('small'), 'system_metadata': {'k': 'v', **system}},
    )


def test_an_instance_comes_back_from_the_shelf_to_whatever_host_has_room(cell):
    cell.host('h1', up=False)
    uuid = shelved(cell, shelved_image_id='i', shelved_at='t', shelved_host='h1')
    cell.call('unshelve', uuid, answered=False)
    assert cell.states(uuid) == ('shelved_offloaded', 'unshelving')
    assert cell.claims(uuid) == [('h2', 'instance', 1024)]
    cell.progress(uuid, 'spawning')
    operation = cell.end(uuid, 'unshelve', power_state=1, network_info=[VIF], node='h2')
    assert (operation['host'], operation['args']) == ('h2', {'image_id': 'i'})
    found = cell.get(uuid)
    assert (found.vm_state, found.task_state, found.host, found.node) == (
        'active',
        None,
        'h2',
        'h2',
    )
    assert found.system_metadata == {'k': 'v'}
    assert found.info_cache.network_info == [VIF]


def test_a_host_that_refuses_what_comes_from_the_shelf_is_followed_by_another(cell):
    uuid = shelved(cell, shelved_image_id='i')
    cell.call('unshelve', uuid)
    first = cell.end(uuid, 'unshelve', error='ComputeResourcesUnavailable')
    second = cell.end(uuid, 'unshelve', power_state=1)
    assert {first['host'], second['host']} == {'h1', 'h2'}
    assert cell.get(uuid).host == second['host']
    assert cell.claims(uuid) == [(second['host'], 'instance', 1024)]


def test_an_instance_that_is_on_the_shelf_and_on_its_host_is_started_there(cell):
    uuid = shelved(cell, 'shelved', shelved_image_id='i')
    cell.call('unshelve', uuid)
    assert cell.states(uuid) == ('shelved', 'unshelving')
    assert cell.end(uuid, 'start', power_state=1)['host'] == 'h1'
    assert cell.states(uuid) == ('active', None)
    assert cell.get(uuid).system_metadata == {'k': 'v'}


def test_an_instance_whose_image_is_missing_is_in_error_and_says_so(cell):
    unknown = shelved(cell)
    cell.call('unshelve', unknown)
    assert cell.states(unknown) == ('error', None)
    assert cell.open(unknown) == []
    assert cell.history(unknown) == [('unshelve', 'Error', [])]
    gone = shelved(cell, shelved_image_id='i')
    cell.call('unshelve', gone)
    cell.end(gone, error=('ImageNotFound', 'Image i could not be found.'))
    assert cell.states(gone) == ('error', None)
    assert cell.claims(gone) == []
    for uuid in (unknown, gone):
        assert len(cell.faults(uuid)) == 1


def test_an_instance_that_no_host_can_take_stays_on_the_shelf(cell):
    uuid = shelved(cell, shelved_image_id='i')
    for host in ('h1', 'h2'):
        cell.host(host, up=False)
    before = cell.everything()
    with pytest.raises(exceptions.NoValidHost):
        cell.call('unshelve', uuid)
    assert {**cell.everything(), 'changes': None} == {**before, 'changes': None}
    cell.host('h1')
    cell.call('unshelve', uuid)
    cell.end(uuid, error='DriverError')
    assert (cell.states(uuid), cell.get(uuid).host) == (('shelved_offloaded', None), None)
    assert cell.claims(uuid) == []


# -- the network --


@pytest.mark.parametrize(
    ('method', 'args', 'wanted'),
    [
        ('add_fixed_ip', ['net'], {'network_id': 'net'}),
        ('remove_fixed_ip', ['2001:DB8::1'], {'address': '2001:db8::1'}),
        (
            'attach_interface',
            ['net', None, '10.0.0.5'],
            {'network_id': 'net', 'port_id': None, 'requested_ip': '10.0.0.5'},
        ),
        ('detach_interface', ['port-1'], {'port_id': 'port-1'}),
    ],
)
def test_s11_what_the_host_says_of_the_network_is_kept_and_goes_up(cell, method, args, wanted):
    uuid = make(cell)
    cell.call(method, uuid, *args, answered=False)
    with cell.database.write() as connection:
        connection.execute(models.Dirty.__table__.delete())
    operation = cell.end(uuid, method, network_info=[VIF, OTHER_VIF])
    assert operation['args'] == wanted
    assert cell.get(uuid).info_cache.network_info == [VIF, OTHER_VIF]
    (mark,) = cell.rows(models.Dirty, instance_uuid=uuid, part='instance')
    assert mark['names'] == 'info_cache'
    assert cell.states(uuid) == ('active', None)


def test_a_guest_is_told_of_the_network_that_is_known(cell):
    uuid = make(cell)
    cell.call('add_fixed_ip', uuid, 'net', answered=False)
    cell.end(uuid, network_info=[VIF])
    cell.send('inject_network_info', uuid)
    assert cell.open(uuid)[0]['args'] == {'network_info': [VIF]}


@pytest.mark.parametrize(
    ('method', 'args'),
    [
        ('remove_fixed_ip', ['10.0.0']),
        ('remove_fixed_ip', [None]),
        ('attach_interface', ['net', None, 'everywhere']),
        ('attach_interface', [5]),
        ('detach_interface', [None]),
        ('add_fixed_ip', ['']),
        ('add_fixed_ip', []),
        ('add_fixed_ip', ['a', 'b']),
    ],
)
def test_what_is_no_network_is_the_callers_error(cell, method, args):
    uuid = make(cell)
    with pytest.raises(exceptions.Invalid):
        cell.call(method, uuid, *args)
    assert cell.open(uuid) == []
