"""Builds in the cell that has the hosts, on each kind of database."""

import base64
import concurrent.futures
import datetime
import json
import threading
import time
import uuid as uuids

import pytest
import sqlalchemy as sa

from cells import context, exceptions, host_capacity
from cells.compute import build_ends, builds, host_ops, host_outcomes
from cells.db import (
    block_devices,
    claims,
    engine,
    faults,
    host_operations,
    host_reports,
    instance_actions,
    instances,
    models,
    placements,
    tombstones,
)
from cells.objects import base as objects_base
from cells.objects import block_device, flavor, keypair, network, numa, pci, plain
from cells.objects import instance as instance_objects

U1 = '11111111-1111-4111-8111-111111111111'
U2 = '22222222-2222-4222-8222-222222222222'
PORT = '33333333-3333-4333-8333-333333333333'
DEVICE = '44444444-4444-4444-8444-444444444444'
VOLUME = '55555555-5555-4555-8555-555555555555'
CTXT = context.RequestContext(
    'u', 'p', request_id='req-1', timestamp='2026-01-02T03:04:05.000006', auth_token='token'
)
DOWN_AFTER = 3600.0
SMALL = flavor.Flavor(
    id=1,
    name='m1.small',
    flavorid='2',
    memory_mb=2048,
    vcpus=1,
    root_gb=20,
    ephemeral_gb=5,
    swap=0,
    extra_specs={'hw:numa_nodes': '1'},
)


@pytest.fixture
def cell(database):
    """The database of a cell that has others above."""
    found = engine.Database(database.url, replicates=True)
    yield found
    found.dispose()


def report(database, host='h1', memory_mb=8192):
    node = {
        'hypervisor_hostname': 'node-' + host,
        'vcpus': 16,
        'vcpus_used': 0,
        'memory_mb': memory_mb,
        'memory_mb_used': 0,
        'free_ram_mb': memory_mb,
        'local_gb': 500,
        'local_gb_used': 0,
        'free_disk_gb': 500,
        'cpu_allocation_ratio': 1.0,
    }
    found = host_reports.HostReport(host, 'nova-compute', 'compute', 'm-' + host, [node], None)
    host_reports.host_report(database, found, DOWN_AFTER)


def instance(uuid=U1, name='größe', **values):
    """Return an instance as an API cell sends it."""
    return instance_objects.Instance(
        uuid=uuid,
        **{
            'id': 77,
            'display_name': name,
            'hostname': 'host-of-' + name,
            'user_id': 'u',
            'project_id': 'p',
            'memory_mb': 2048,
            'vcpus': 1,
            'root_gb': 20,
            'ephemeral_gb': 5,
            'image_ref': 'img-1',
            'vm_state': 'error',
            'task_state': 'scheduling',
            'host': 'above',
            'metadata': {'k-' + name: 'v'},
            'system_metadata': {'image_os': 'linux'},
            'created_at': datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
            **values,
        },
    )


def request(*given, **values):
    return {
        'instances': list(given),
        'image': {'id': 'img-1'},
        'filter_properties': {'instance_type': SMALL},
        'admin_password': 'geheim',
        'injected_files': [('/etc/motd', base64.b64encode(b'hello').decode())],
        'requested_networks': None,
        'security_groups': ['default', {'name': 'web'}],
        'block_device_mapping': [],
        **values,
    }


def build(cell, one=None, attempt=1, ctxt=CTXT, **values):
    """Build as the placer does."""
    one = one or instance()
    with cell.write() as connection:
        placed(connection, one.uuid, attempt)
        return builds.Builds(service_down_time=DOWN_AFTER).build_here(
            connection, ctxt, one, values.pop('given', None) or request(one, **values), attempt
        )


def placed(connection, uuid, attempt):
    placements.attempts_add(
        connection,
        [
            {
                'instance_uuid': uuid,
                'attempt': attempt,
                'request_uuid': 'r',
                'state': placements.PLACED,
            }
        ],
    )


def cancel(cell, uuid=U1, attempt=1):
    with cell.write() as connection:
        builds.Builds(service_down_time=DOWN_AFTER).cancel_build(connection, uuid, attempt)


def end(cell, op_id, outcome, host=None):
    outcomes = host_outcomes.HostOutcomes(
        database=cell,
        of_builds=build_ends.BuildEnds(service_down_time=DOWN_AFTER),
        finish=lambda *args: pytest.fail('a build is not for the others: %r' % (args,)),
        progress=lambda *args: pytest.fail('a build is not for the others: %r' % (args,)),
    )
    return outcomes.end(op_id, outcome, host)


RUNS = host_ops.Outcome(
    True, 1, {'network_info': [{'id': PORT, 'address': 'fa:16:3e:00:00:01'}], 'node': 'node-h1'}
)
FULL = host_ops.failed(exceptions.ComputeResourcesUnavailable(reason='no room here'))
BROKEN = host_ops.Outcome(False, None, {}, 'DriverError', 'the disk is broken')


def load(cell, uuid=U1, read_deleted='no'):
    with cell.read() as connection:
        return instances.instance_get(connection, uuid, read_deleted)


def ops(cell, uuid=U1, method='build'):
    with cell.read() as connection:
        return host_operations.ops_of(connection, uuid, method)


def strays(cell):
    return [(one['host'], one['instance']['uuid']) for one in ops(cell, '', 'terminate')]


def claimed(cell):
    with cell.read() as connection:
        return {
            host: tuple(amount) for (host, _), amount in claims.claimed_by_node(connection).items()
        }


def decided(cell, uuid=U1, attempt=1):
    """Return the state of an attempt, and the reason."""
    with cell.read() as connection:
        rows = placements.attempts_of(connection, [uuid], ['r'])
    [row] = [one for one in rows if one['attempt'] == attempt]
    return row['state'], placements.Reasons.of(row['reasons']).cells.get('')


def rows_of(cell, model):
    with cell.read() as connection:
        return [dict(row) for row in connection.execute(sa.select(model.__table__)).mappings()]


# -- what is written --


def test_a_build_writes_instance_action_claim_and_order_in_one_transaction(cell):
    report(cell)
    assert build(cell) is None
    found = load(cell)
    assert (found.vm_state, found.task_state, found.power_state) == ('building', 'scheduling', 0)
    assert (found.host, found.node, found.cell_name) == ('h1', 'node-h1', None)
    assert found.launched_at is None
    assert found.created_at.replace(tzinfo=None) == datetime.datetime(2026, 1, 2, 3, 4, 5)
    assert claimed(cell) == {'h1': (2048, 25, 1)}
    [action] = instance_actions.actions_get(cell, U1)
    assert (action['action'], action['request_id'], action['user_id']) == ('create', 'req-1', 'u')
    assert action['start_time'] == '2026-01-02T03:04:05.000006'
    [event] = instance_actions.action_events_get(cell, action['id'])
    assert event['event'] == 'compute__do_build_and_run_instance'
    assert event['finish_time'] is None
    [op] = ops(cell)
    assert (op['host'], op['method'], op['state']) == ('h1', 'build', host_operations.PENDING)
    assert op['deadline'] - op['created_at'] == pytest.approx(120.0)
    assert op['args'] == {
        'admin_password': 'geheim',
        'injected_files': [['/etc/motd', 'aGVsbG8=']],
        'networks': [],
        'block_devices': [],
        'metadata': {'k-größe': 'v'},
    }
    told = op['instance']
    assert (told['uuid'], told['display_name'], told['node']) == (U1, 'größe', 'node-h1')
    assert (told['memory_mb'], told['root_gb'], told['flavorid']) == (2048, 20, '2')
    parts = {(row['instance_uuid'], row['part']) for row in rows_of(cell, models.Dirty)}
    assert parts == {(U1, 'instance'), (U1, 'action'), (U1, 'event')}


def test_c11_each_instance_of_a_request_has_its_own_properties(cell):
    report(cell, memory_mb=2048 * 50)
    given = [
        instance(
            '%08d-1111-4111-8111-111111111111' % number,
            'vm-%d' % number,
            user_data='data %d' % number,
            key_name='key-%d' % number,
            launch_index=number,
            memory_mb=512 + number,
        )
        for number in range(15)
    ]
    asked = request(*given)
    with cell.write() as connection:
        for one in given:
            maker = builds.Builds(service_down_time=DOWN_AFTER)
            assert maker.build_here(connection, CTXT, one, asked, 1) is None
    for number, one in enumerate(given):
        found = load(cell, one.uuid)
        assert (found.display_name, found.hostname) == (
            'vm-%d' % number,
            'host-of-vm-%d' % number,
        )
        assert (found.user_data, found.key_name) == ('data %d' % number, 'key-%d' % number)
        assert (found.launch_index, found.memory_mb) == (number, 512 + number)
        assert found.metadata == {'k-vm-%d' % number: 'v'}
        [op] = ops(cell, one.uuid)
        assert op['instance']['hostname'] == 'host-of-vm-%d' % number


def test_c12_nothing_of_a_request_is_lost(cell):
    report(cell)
    extras = {
        'flavor': SMALL,
        'pci_requests': pci.InstancePCIRequests(
            instance_uuid=U1,
            requests=[pci.InstancePCIRequest(count=1, alias_name='gpu', spec=[{'vendor_id': 'x'}])],
        ),
        'numa_topology': numa.InstanceNUMATopology(
            instance_uuid=U1, cells=[numa.InstanceNUMACell(id=0, cpuset={0}, memory=2048)]
        ),
        'keypairs': keypair.KeyPairList(
            objects=[keypair.KeyPair(name='k', user_id='u', public_key='ssh-rsa AAAA', type='ssh')]
        ),
        'ec2_ids': objects_base.registered()['EC2Ids'](instance_id='i-1', ami_id='ami-1'),
        'key_name': 'k',
        'key_data': 'ssh-rsa AAAA',
        'access_ip_v4': '192.0.2.1',
        'locked': True,
        'locked_by': 'owner',
        'availability_zone': 'nova',
        'reservation_id': 'r-1',
        'config_drive': 'True',
        'root_device_name': '/dev/vda',
        'auto_disk_config': True,
        'os_type': 'linux',
    }
    asked = instance(**extras)
    before = plain.flatten(asked)
    assert build(cell, asked) is None
    assert plain.flatten(asked) == before  # R10
    found = load(cell)
    own = {'id', 'host', 'vm_state', 'fault', 'updated_at', 'created_at'}
    for name, value in asked.items():
        if name in own:
            continue
        kept = getattr(found, name)
        if hasattr(value, 'obj_to_primitive'):
            kept, value = (one.obj_to_primitive()['nova_object.data'] for one in (kept, value))
        assert json.dumps(kept, default=str) == json.dumps(value, default=str), name
    assert [one.name for one in found.security_groups] == ['default', 'web']
    assert found.info_cache.network_info == []


def test_what_an_instance_does_not_say_comes_from_the_flavor_of_the_request(cell):
    report(cell)
    asked = instance_objects.Instance(uuid=U1, display_name='x')
    given = request(asked, filter_properties={'instance_type': dict(SMALL.items())})
    assert build(cell, asked, given=given) is None
    found = load(cell)
    assert (found.memory_mb, found.vcpus, found.root_gb, found.ephemeral_gb) == (2048, 1, 20, 5)
    assert found.flavor.name == 'm1.small'
    assert ops(cell)[0]['instance']['flavorid'] == '2'


@pytest.mark.parametrize(
    ('values', 'text'),
    [
        ({'memory_mb': -1}, 'memory_mb of instance .* is -1'),
        ({'vcpus': None}, 'vcpus of instance .* is None'),
    ],
)
def test_a_size_that_cannot_be_is_refused_by_name(cell, values, text):
    report(cell)
    asked = instance(**values)
    with pytest.raises(exceptions.Invalid, match=text):
        build(cell, asked, given=request(asked, filter_properties={}))
    assert claimed(cell) == {}


def test_networks_of_a_request_go_to_the_agent_and_nowhere_else(cell):
    report(cell)
    wanted = network.NetworkRequestList(
        objects=[
            network.NetworkRequest(network_id='net', address='192.0.2.7', port_id=PORT, tag='t'),
            network.NetworkRequest(network_id='auto'),
        ]
    )
    assert build(cell, requested_networks=wanted) is None
    assert ops(cell)[0]['args']['networks'] == [
        {'address': '192.0.2.7', 'network_id': 'net', 'port_id': PORT, 'tag': 't'},
        {'network_id': 'auto'},
    ]
    one = instance(U2)
    assert build(cell, one, requested_networks=[('net', None, PORT)]) is None
    assert ops(cell, U2)[0]['args']['networks'] == [
        {'network_id': 'net', 'address': None, 'port_id': PORT}
    ]


def device(**values):
    return block_device.BlockDeviceMapping(
        source_type='volume', destination_type='volume', volume_id=VOLUME, **values
    )


def test_s10_block_devices_keep_their_uuid_and_are_told_to_the_agent(cell):
    report(cell)
    given = block_device.BlockDeviceMappingList(
        objects=[device(uuid=DEVICE, device_name='/dev/vdb', instance_uuid=U1, boot_index=0)]
    )
    assert build(cell, block_device_mapping=given) is None
    with cell.read() as connection:
        [found] = block_devices.bdm_get_all(connection, U1)
    assert (found['uuid'], found['volume_id'], found['device_name']) == (DEVICE, VOLUME, '/dev/vdb')
    [told] = ops(cell)[0]['args']['block_devices']
    assert (told['uuid'], told['volume_id'], told['boot_index']) == (DEVICE, VOLUME, 0)


def test_block_devices_of_a_request_for_many_are_made_for_each(cell):
    report(cell)
    one, two = instance(U1, 'a'), instance(U2, 'b')
    blank = block_device.BlockDeviceMapping(
        source_type='blank', destination_type='local', uuid=DEVICE, instance_uuid=U1
    )
    asked = request(one, two, block_device_mapping=[blank])
    assert build(cell, one, given=asked) is None
    assert build(cell, two, given=asked) is None
    with cell.read() as connection:
        [first] = block_devices.bdm_get_all(connection, U1)
        [second] = block_devices.bdm_get_all(connection, U2)
    assert first['uuid'] == DEVICE != second['uuid']
    assert ops(cell, U2)[0]['args']['block_devices'][0]['uuid'] == second['uuid']


def test_block_devices_that_name_their_instances_stay_with_these(cell):
    report(cell)
    one, two = instance(U1, 'a'), instance(U2, 'b')
    asked = request(
        one,
        two,
        block_device_mapping=[
            device(instance_uuid=U1),
            {'instance_uuid': U2, 'volume_id': DEVICE, 'device_name': 'vdc', 'virtual_name': None},
        ],
    )
    assert build(cell, one, given=asked) is None
    assert build(cell, two, given=asked) is None
    with cell.read() as connection:
        [first] = block_devices.bdm_get_all(connection, U1)
        [second] = block_devices.bdm_get_all(connection, U2)
    assert (first['volume_id'], second['volume_id']) == (VOLUME, DEVICE)
    assert (second['source_type'], second['destination_type']) == ('volume', 'volume')


# -- once --


def test_r3_the_same_attempt_twice_changes_nothing(cell):
    report(cell)
    assert build(cell) is None
    before = [rows_of(cell, one) for one in (models.Instance, models.HostOperation, models.Claim)]
    assert build(cell) is None
    assert before == [
        rows_of(cell, one) for one in (models.Instance, models.HostOperation, models.Claim)
    ]
    assert end(cell, ops(cell)[0]['op_id'], RUNS)
    before = rows_of(cell, models.Instance)
    assert build(cell) is None
    assert rows_of(cell, models.Instance) == before
    assert load(cell).vm_state == 'active'
    assert len(ops(cell)) == 1


def test_r3_an_instance_that_runs_stays_as_it_is_whatever_attempt_comes(cell):
    report(cell)
    build(cell)
    end(cell, ops(cell)[0]['op_id'], RUNS)
    assert build(cell, attempt=2) is None
    assert load(cell).vm_state == 'active'
    assert len(ops(cell)) == 1
    assert decided(cell, attempt=2) == (placements.BUILT, None)


def test_a_later_attempt_at_what_is_being_built_gets_its_answer(cell):
    report(cell)
    build(cell)
    assert build(cell, attempt=2) is None
    end(cell, ops(cell)[0]['op_id'], RUNS)
    assert decided(cell, attempt=2) == (placements.BUILT, None)
    assert len(ops(cell)) == 1


def test_r3_copies_that_come_at_the_same_time_build_once(cell):
    report(cell, memory_mb=2048 * 16)
    start = threading.Barrier(6)

    def work():
        own = engine.Database(cell.url, replicates=True, pool_size=1)
        start.wait()
        try:
            for _ in range(20):
                try:
                    with own.write() as connection:
                        return builds.Builds(service_down_time=DOWN_AFTER).build_here(
                            connection, CTXT, instance(), request(instance()), 1
                        )
                except engine.ERRORS as error:
                    if not engine.is_transient(error):
                        raise
            raise AssertionError('never')
        finally:
            own.dispose()

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        found = [future.result() for future in [pool.submit(work) for _ in range(6)]]
    assert found == [None] * 6
    assert len(ops(cell)) == 1
    assert claimed(cell) == {'h1': (2048, 25, 1)}
    assert len(instance_actions.actions_get(cell, U1)) == 1


# -- not at all --


def test_s5_a_buried_instance_is_not_built(cell):
    report(cell)
    with cell.write() as connection:
        tombstones.tombstone_put(connection, U1)
    assert build(cell) == 'it is not to be built any more: deleted'
    assert rows_of(cell, models.Instance) == []
    assert claimed(cell) == {}


def test_s5_a_deletion_at_the_same_time_waits_or_is_seen(cell):
    """Whoever buries an instance while its row is being made finds the row afterwards."""
    report(cell)
    if cell.dialect == 'sqlite':
        pytest.skip('one writer at a time')
    inside, found = threading.Event(), []

    def bury():
        own = engine.Database(cell.url, pool_size=1)
        inside.wait(5)
        with own.write() as connection:
            tombstones.tombstone_put(connection, U1)
            query = sa.select(models.Instance.uuid).with_for_update()
            found.extend(connection.execute(query).scalars())
        own.dispose()

    thread = threading.Thread(target=bury)
    thread.start()
    with cell.write() as connection:
        maker = builds.Builds(service_down_time=DOWN_AFTER)
        assert maker.build_here(connection, CTXT, instance(), request(instance()), 1) is None
        inside.set()
        thread.join(0.5)
        assert thread.is_alive(), 'it did not wait'
    thread.join(5)
    assert found == [U1]
    assert build(cell, instance(U2)) is None


def test_an_instance_that_was_deleted_here_is_not_built_again(cell):
    report(cell)
    build(cell)
    with cell.write() as connection:
        instances.instance_destroy(connection, U1)
    assert build(cell, attempt=2) == 'it has been deleted in this cell'


def test_no_room_leaves_nothing_and_says_why(cell):
    assert build(cell) == 'this cell has no hosts'
    report(cell, memory_mb=1024)
    assert build(cell) == 'needs 2048 MB RAM, at most 1024 free on host h1'
    for model in (models.Instance, models.HostOperation, models.Claim, models.Dirty):
        assert rows_of(cell, model) == []
    assert tombstones_are_gone(cell)


def tombstones_are_gone(cell):
    return rows_of(cell, models.Tombstone) == []


def test_a_request_may_name_the_host(cell):
    report(cell, 'h1')
    report(cell, 'h2', memory_mb=4096)
    assert build(cell, filter_properties={'force_hosts': ['h2']}) is None
    assert load(cell).host == 'h2'
    assert build(cell, instance(U2, availability_zone='nova:h2')) is None
    assert load(cell, U2).host == 'h2'
    other = instance(str(uuids.uuid4()), availability_zone='nova:h2')
    assert build(cell, other) == 'needs 2048 MB RAM, at most 0 free on host h2'


# -- what comes of it --


def test_a_build_that_succeeds_makes_the_instance_active_and_tells_the_decider(cell):
    report(cell)
    build(cell)
    [op] = ops(cell)
    assert end(cell, op['op_id'], RUNS, 'h1')
    found = load(cell)
    assert (found.vm_state, found.task_state, found.power_state) == ('active', None, 1)
    assert (found.host, found.node, found.launched_on) == ('h1', 'node-h1', 'h1')
    assert found.launched_at is not None
    assert found.info_cache.network_info == [{'id': PORT, 'address': 'fa:16:3e:00:00:01'}]
    [action] = instance_actions.actions_get(cell, U1)
    assert (action['message'], action['finish_time'] is None) == (None, False)
    [event] = instance_actions.action_events_get(cell, action['id'])
    assert event['result'] == 'Success'
    assert decided(cell) == (placements.BUILT, None)
    assert claimed(cell) == {'h1': (2048, 25, 1)}


def test_x4_the_password_is_nowhere_once_a_build_has_ended(cell):
    report(cell, 'h1')
    report(cell, 'h2', memory_mb=4096)
    build(cell)
    end(cell, ops(cell)[0]['op_id'], FULL)
    assert 'geheim' not in str(rows_of(cell, models.Instance))
    assert 'geheim' not in str(ops(cell)[0])
    assert ops(cell)[1]['args']['admin_password'] == 'geheim'
    end(cell, ops(cell)[1]['op_id'], RUNS)
    for table in models.Base.metadata.tables.values():
        with cell.read() as connection:
            found = connection.execute(sa.select(table)).all()
        assert 'geheim' not in str(found), table.name
        assert 'aGVsbG8=' not in str(found), table.name


@pytest.mark.parametrize('outcome', [FULL, BROKEN], ids=['refused', 'broken'])
def test_c2_the_next_host_is_tried_when_one_does_not_build(cell, outcome):
    for host, memory_mb in (('h1', 8192), ('h2', 4096), ('h3', 3000)):
        report(cell, host, memory_mb)
    build(cell)
    for number, host in enumerate(('h1', 'h2', 'h3')):
        found = load(cell)
        assert (found.host, found.node, found.vm_state) == (host, 'node-' + host, 'building')
        assert claimed(cell) == {host: (2048, 25, 1)}
        op = ops(cell)[number]
        assert (op['host'], op['instance']['node']) == (host, 'node-' + host)
        assert op['args']['metadata'] == {'k-größe': 'v'}
        assert end(cell, op['op_id'], RUNS if host == 'h3' else outcome, host)
    assert load(cell).vm_state == 'active'
    assert decided(cell) == (placements.BUILT, None)
    [action] = instance_actions.actions_get(cell, U1)
    assert (action['message'], action['finish_time'] is None) == (None, False)
    events = instance_actions.action_events_get(cell, action['id'])
    assert [one['result'] for one in events] == ['Success', 'Error', 'Error']
    assert events[-1]['traceback'] == outcome.error_message


def test_c2_when_no_host_is_left_nothing_is_and_the_decider_gets_the_reasons(cell):
    report(cell, 'h1', 8192)
    report(cell, 'h2', 4096)
    build(cell, block_device_mapping=[device(instance_uuid=U1)])
    end(cell, ops(cell)[0]['op_id'], FULL)
    end(cell, ops(cell)[1]['op_id'], BROKEN)
    assert decided(cell) == (
        placements.REFUSED,
        'host h1: Insufficient compute resources: no room here.; '
        'host h2: the disk is broken; '
        'no other host: hosts h1 and h2 are out of the question after an earlier attempt',
    )
    for model in (
        models.Instance,
        models.InstanceField,
        models.InstanceMetadata,
        models.InstanceAction,
        models.InstanceActionEvent,
        models.BlockDeviceMapping,
        models.Claim,
        models.Dirty,
    ):
        assert rows_of(cell, model) == [], model
    assert build(cell, attempt=2) is None
    assert load(cell).host == 'h1'


def test_c2_no_more_than_so_many_hosts_are_tried(cell):
    for number in range(5):
        report(cell, 'h%d' % number)
    build(cell)
    for number in range(3):
        assert end(cell, ops(cell)[number]['op_id'], BROKEN)
    assert len(ops(cell)) == 3
    state, reason = decided(cell)
    assert state == placements.REFUSED
    assert reason.endswith('no other host: 3 hosts are tried at most')


def test_a_forced_host_is_the_only_one_that_is_tried(cell):
    report(cell, 'h1')
    report(cell, 'h2')
    build(cell, filter_properties={'force_hosts': ['h2']})
    end(cell, ops(cell)[0]['op_id'], BROKEN)
    state, reason = decided(cell)
    assert state == placements.REFUSED
    assert 'host h2: the disk is broken' in reason
    assert rows_of(cell, models.Instance) == []


def test_progress_of_a_build_shows_until_it_is_over(cell):
    report(cell)
    build(cell)
    [op] = ops(cell)
    outcomes = build_ends.BuildEnds(service_down_time=DOWN_AFTER)
    with cell.write() as connection:
        outcomes.progress(connection, op, 'networking', 10)
    assert (load(cell).task_state, load(cell).progress) == ('networking', 10)
    with cell.write() as connection:
        outcomes.progress(connection, op, 'spawning', None)
        outcomes.progress(connection, op, 'powering-off', 99)
    assert (load(cell).task_state, load(cell).progress) == ('spawning', 10)
    end(cell, op['op_id'], RUNS)
    with cell.write() as connection:
        outcomes.progress(connection, op, 'networking', 20)
    assert load(cell).task_state is None


# -- while it is deleted --


def delete(cell):
    with cell.write() as connection:
        instances.instance_update(connection, U1, {'task_state': 'deleting'})


def test_a_build_that_ends_while_the_instance_is_deleted_leaves_the_deletion_alone(cell):
    report(cell)
    build(cell)
    delete(cell)
    end(cell, ops(cell)[0]['op_id'], RUNS)
    assert (load(cell).vm_state, load(cell).task_state) == ('active', 'deleting')


def test_a_build_that_fails_while_the_instance_is_deleted_goes_nowhere_else(cell):
    report(cell, 'h1')
    report(cell, 'h2')
    build(cell)
    delete(cell)
    end(cell, ops(cell)[0]['op_id'], BROKEN)
    assert len(ops(cell)) == 1
    assert load(cell).task_state == 'deleting'
    assert decided(cell) == (placements.BUILT, None)


def test_a_machine_whose_instance_is_gone_when_it_comes_up_is_removed(cell):
    report(cell)
    build(cell)
    with cell.write() as connection:
        instances.instance_destroy(connection, U1)
    end(cell, ops(cell)[0]['op_id'], RUNS)
    assert strays(cell) == [('h1', U1)]
    assert load(cell, read_deleted='yes').vm_state == 'building'


# -- late --


def test_a_machine_that_comes_up_on_a_host_that_was_given_up_is_removed(cell):
    report(cell, 'h1', 8192)
    report(cell, 'h2', 4096)
    build(cell)
    [op] = ops(cell)
    down = exceptions.ComputeServiceUnavailable(host='h1')
    end(cell, op['op_id'], host_ops.failed(down))
    assert load(cell).host == 'h2'
    assert not end(cell, op['op_id'], RUNS, 'h1')
    assert strays(cell) == [('h1', U1)]
    assert not end(cell, op['op_id'], RUNS, 'h1')
    assert strays(cell) == [('h1', U1)]
    end(cell, ops(cell)[1]['op_id'], RUNS)
    assert (load(cell).host, load(cell).vm_state) == ('h2', 'active')
    assert end(cell, '%s.late.stray' % op['op_id'], host_ops.Outcome(True, 0))
    assert load(cell).vm_state == 'active'


def test_what_fails_late_is_dropped(cell):
    report(cell, 'h1', 8192)
    report(cell, 'h2', 4096)
    build(cell)
    end(cell, ops(cell)[0]['op_id'], FULL)
    assert not end(cell, ops(cell)[0]['op_id'], BROKEN)
    assert len(ops(cell)) == 2
    assert strays(cell) == []


def test_a_machine_that_belongs_to_its_host_again_is_not_removed(cell):
    """Given up on the only host, and built there by the next attempt."""
    report(cell)
    build(cell)
    end(cell, ops(cell)[0]['op_id'], BROKEN)
    assert build(cell, attempt=2) is None
    assert not end(cell, ops(cell)[0]['op_id'], RUNS)
    assert strays(cell) == []


# -- cancelled --


def sent(cell, op_id):
    with cell.write() as connection:
        host_operations.ops_claim(connection, 'w', 'h1', 30.0, 10)
        host_operations.ops_accepted(connection, [op_id])


def gone(cell):
    return (
        rows_of(cell, models.Instance) == []
        and claimed(cell) == {}
        and rows_of(cell, models.Dirty) == []
    )


def test_a_cancelled_attempt_that_no_host_has_is_just_forgotten(cell):
    report(cell)
    build(cell)
    cancel(cell)
    assert gone(cell)
    assert strays(cell) == []
    assert ops(cell)[0]['state'] == host_operations.CANCELLED
    assert build(cell) == 'it is not to be built any more: the attempt was cancelled'
    assert build(cell, attempt=2) is None


def test_a_cancelled_attempt_that_a_host_has_is_removed_there(cell):
    report(cell)
    build(cell)
    [op] = ops(cell)
    sent(cell, op['op_id'])
    cancel(cell)
    cancel(cell)
    assert gone(cell)
    assert strays(cell) == [('h1', U1)]
    # It had come up before the agent was told, or just after: whichever comes last finds it.
    assert not end(cell, op['op_id'], RUNS)
    assert strays(cell) == [('h1', U1)] * 2


def test_a_cancelled_attempt_that_runs_is_removed_and_nobody_above_is_told(cell):
    report(cell)
    build(cell)
    end(cell, ops(cell)[0]['op_id'], RUNS)
    with cell.write() as connection:
        instances.instance_update(connection, U1, {'host': 'h2'})
    cancel(cell)
    assert gone(cell)
    assert strays(cell) == [('h1', U1), ('h2', U1)]


def test_a_cancellation_that_comes_first_is_remembered(cell):
    report(cell)
    cancel(cell)
    assert build(cell) == 'it is not to be built any more: the attempt was cancelled'
    assert build(cell, attempt=2) is None


def test_a_cancellation_does_nothing_to_what_a_later_attempt_has_built(cell):
    report(cell)
    build(cell)
    build(cell, attempt=2)
    end(cell, ops(cell)[0]['op_id'], RUNS)
    cancel(cell, attempt=1)
    assert load(cell).vm_state == 'active'
    assert strays(cell) == []


def test_attempts_that_the_cell_above_cancels_are_others_than_the_own(cell):
    report(cell)
    with cell.write() as connection:
        tombstones.tombstone_put(connection, U1, 1, 'given to another cell')
    assert build(cell, attempt=1) is None


# -- in a cell with an API, which has the record already --


def test_a_record_of_the_api_is_built_where_it_is(database):
    report(database)
    with database.write() as connection:
        instances.instance_create(
            connection,
            {'uuid': U1, 'display_name': 'x', 'vm_state': 'building', 'task_state': 'scheduling'},
        )
    assert build(database) is None
    assert (load(database).host, load(database).vm_state) == ('h1', 'building')
    assert build(database) is None
    [op] = ops(database)
    end(database, op['op_id'], BROKEN)
    found = load(database)
    assert (found.host, found.vm_state, found.task_state) == (None, 'building', 'scheduling')
    assert claimed(database) == {}
    assert decided(database)[0] == placements.REFUSED
    assert build(database, attempt=2) is None
    end(database, ops(database)[1]['op_id'], RUNS)
    assert load(database).vm_state == 'active'


# -- other operations that look for a host --


def unshelve(cell, elsewhere=True):
    with cell.write() as connection:
        instances.instance_create(connection, {'uuid': U1, 'vm_state': 'shelved_offloaded'})
        claims.claim_add(connection, U1, 'h1', 'node-h1', claims.Amount(2048, 25, 1))
        host_ops.order(
            connection,
            op_id='%s.1' % U2,
            host='h1',
            method='unshelve',
            instance={'uuid': U1, 'node': 'node-h1'},
            args={'image_id': 'img'},
            notes={'elsewhere': elsewhere, 'demand': [2048, 25, 1], 'mine': 7},
        )


def finishing(cell):
    found = []
    outcomes = host_outcomes.HostOutcomes(
        database=cell,
        of_builds=build_ends.BuildEnds(service_down_time=DOWN_AFTER),
        finish=lambda connection, operation, outcome: found.append((operation, outcome)),
        progress=lambda *args: None,
    )
    return outcomes, found


def test_what_may_go_elsewhere_does_and_takes_its_claim_along(cell):
    report(cell, 'h1')
    report(cell, 'h2')
    unshelve(cell)
    outcomes, found = finishing(cell)
    assert outcomes.end('%s.1' % U2, FULL)
    assert found == []
    assert claimed(cell) == {'h2': (2048, 25, 1)}
    first, second = ops(cell, method='unshelve')
    assert (second['host'], second['instance']['node']) == ('h2', 'node-h2')
    assert (second['args'], second['notes']['mine']) == ({'image_id': 'img'}, 7)
    assert outcomes.end(second['op_id'], BROKEN)
    assert [one[1] for one in found] == [BROKEN]


@pytest.mark.parametrize(('elsewhere', 'outcome'), [(False, FULL), (True, BROKEN)])
def test_what_may_not_go_elsewhere_or_has_begun_has_failed(cell, elsewhere, outcome):
    report(cell, 'h1')
    report(cell, 'h2')
    unshelve(cell, elsewhere)
    outcomes, found = finishing(cell)
    assert outcomes.end('%s.1' % U2, outcome)
    assert [one[1] for one in found] == [outcome]
    assert len(ops(cell, method='unshelve')) == 1


# -- how fast --


def test_builds_are_quick(cell):
    report(cell, memory_mb=2048 * 100)
    begun = time.thread_time()  # of this thread: for the databases see benchmarks.stores
    for number in range(50):
        one = instance('%08d-1111-4111-8111-111111111111' % number)
        one.vcpus = one.root_gb = 0
        assert build(cell, one) is None
    assert time.thread_time() - begun < 5.0
    assert host_capacity.own_capacities(cell, 0.0, DOWN_AFTER)['ram_free']['total_mb'] == 2048 * 50
    assert faults.fault_get_all(cell, U1) == []
