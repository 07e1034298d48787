"""Orders for instances on their way from a client to their cell, and those that are refused."""

import datetime
import json
import pathlib
import shutil
import time
import uuid

import pytest
from oslo_db import exception as db_exc
from oslo_messaging.rpc import dispatcher as rpc_dispatcher

from cells import context, exceptions, operations
from cells import handlers as cells_handlers
from cells.db import faults, instance_actions, instances
from cells.endpoints import orders
from cells.objects import base as objects_base
from cells.objects import block_device, flavor, instance
from tests import fake_cells
from tests.conftest import open_directory

PARENTS = {'api': None, 'region': 'api', 'leaf': 'region', 'other': 'region'}
LEAF = 'api!region!leaf'
CTXT = context.RequestContext('u1', 'p1', request_id='req-1')
GOLDEN = pathlib.Path(__file__).parents[1] / 'golden' / 'intercell-rocky-api.json'
MOMENT = datetime.datetime(2016, 3, 1, 12)

#: What is ordered for an instance; (method, arguments behind the instance).
PLAIN_ACTIONS = [
    'confirm_resize',
    'inject_network_info',
    'pause_instance',
    'reset_network',
    'resume_instance',
    'revert_resize',
    'soft_delete_instance',
    'start_instance',
    'suspend_instance',
    'unpause_instance',
]
REPORTS = [
    'bdm_destroy_at_top',
    'bdm_update_or_create_at_top',
    'bw_usage_update_at_top',
    'instance_destroy_at_top',
    'instance_fault_create_at_top',
    'instance_update_at_top',
]
OPERATIONS = {
    *operations.INSTANCE_ACTIONS,
    *REPORTS,
    'stop_instance',
    'build_instances',
    'instance_update_from_api',
    'instance_delete_everywhere',
}


class Arrivals:
    """Stands for the handlers of instances in all cells, and keeps what they get."""

    def __init__(self) -> None:
        self.found = []

    def handler(self, cell, operation):
        def handle(connection, message, **kwargs):
            self.found.append((cell, operation, message.ctxt['request_id'], kwargs))
            return 'done' if message.need_response else None

        return handle

    def of(self, request_id, number=1, seconds=10):
        """Wait for what a request has led to: cell, operation, arguments."""
        until = time.monotonic() + seconds
        while True:
            found = [(*one[:2], one[3]) for one in self.found if one[2] == request_id]
            if len(found) >= number or time.monotonic() > until:
                assert len(found) == number, found
                return found
            time.sleep(0.02)


ARRIVALS = Arrivals()


@pytest.fixture(scope='module')
def tree():
    """A top, a region and two leaves, whose handlers for instances only note what they get."""
    original = cells_handlers.handlers
    workdir = open_directory()

    def handlers(database, state, *rest, **more):
        found = original(database, state, *rest, **more)
        name = pathlib.Path(database.url).stem
        return {**found, **{one: ARRIVALS.handler(name, one) for one in OPERATIONS}}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells_handlers, 'handlers', handlers)
        found = fake_cells.FakeTree(workdir, PARENTS)
    with found.running():
        yield found
    shutil.rmtree(workdir, ignore_errors=True)


@pytest.fixture(scope='module')
def api(tree):
    return tree.api('api')


@pytest.fixture
def ctxt():
    """A context whose request nobody else has."""
    return context.RequestContext('u1', 'p1', request_id='req-%s' % uuid.uuid4())


def wanted(**values):
    """Return an Instance as an API service holds it."""
    return instance.Instance(
        **{'uuid': str(uuid.uuid4()), 'cell_name': LEAF, 'project_id': 'p1', **values}
    )


def record(tree, cell='api', **values):
    """Write a record into a cell and return its uuid."""
    values = {'uuid': str(uuid.uuid4()), 'project_id': 'p1', 'vm_state': 'active', **values}
    with tree[cell].database.write() as connection:
        instances.instance_create(connection, values)
    return values['uuid']


def load(tree, uuid, cell='api'):
    with tree[cell].database.read() as connection:
        return instances.instance_get(connection, uuid)


def faults_of(tree, uuid, seconds=5):
    """Wait for a fault of an instance at the top, and return all."""
    until = time.monotonic() + seconds
    while not (found := faults.fault_get_all(tree['api'].database, uuid)):
        assert time.monotonic() < until, 'no fault of %s' % uuid
        time.sleep(0.02)
    return found


def manager(tree, name='api'):
    """Return what serves the clients of a cell, to be called without a bus."""
    return tree[name]._endpoints[0]


def recorded(operation, index=0):
    """Return the arguments with which nova's cells sent an operation, and whether they wait."""
    calls = [
        one
        for one in json.loads(GOLDEN.read_text(encoding='utf-8'))
        if one['method'] == operation and one['sent']
    ]
    envelope = calls[index]['sent'][0]['json']
    envelope = json.loads(envelope) if isinstance(envelope, str) else envelope
    return envelope['method_kwargs'], envelope['need_response']


# -- orders that arrive --


@pytest.mark.parametrize('operation', PLAIN_ACTIONS)
def test_an_order_with_nothing_but_an_instance_reaches_its_cell(tree, api, ctxt, operation):
    given = wanted(memory_mb=5)
    unused = {'confirm_resize': (None, None, None), 'revert_resize': (None, None, None)}
    getattr(api, operation)(ctxt, given, *unused.get(operation, ()))
    [(cell, name, kwargs)] = ARRIVALS.of(ctxt.request_id)
    assert (cell, name) == ('leaf', operation)
    assert kwargs.keys() == {'instance'} == recorded(operation)[0].keys()
    assert (kwargs['instance'].uuid, kwargs['instance'].memory_mb) == (given.uuid, 5)


@pytest.mark.parametrize(
    ('operation', 'args', 'arrives'),
    [
        ('stop_instance', (), {'clean_shutdown': True}),
        ('stop_instance', (True, False), {'clean_shutdown': False}),
        ('reboot_instance', ('unused', 'HARD'), {'reboot_type': 'HARD'}),
        ('terminate_instance', ([],), {'delete_type': 'delete'}),
        ('terminate_instance', ([], None, 'force_delete'), {'delete_type': 'force_delete'}),
        (
            'resize_instance',
            ({'auto_disk_config': True}, None, flavor.Flavor(flavorid='2', vcpus=4), None, False),
            {
                'flavor': {'flavorid': '2', 'vcpus': 4},
                'extra_instance_updates': {'auto_disk_config': True},
                'clean_shutdown': False,
            },
        ),
        (
            'live_migrate_instance',
            ('h2', True, False),
            {'host_name': 'h2', 'block_migration': True, 'disk_over_commit': False},
        ),
        (
            'live_migrate_instance',
            (LEAF + '@h2', None, 'auto'),
            {'host_name': 'h2', 'block_migration': None, 'disk_over_commit': None},
        ),
        ('snapshot_instance', ('img',), {'image_id': 'img'}),
        (
            'backup_instance',
            ('img', 'daily', 0),
            {'image_id': 'img', 'backup_type': 'daily', 'rotation': 0},
        ),
        (
            'rebuild_instance',
            ('pw', [['/a', 'Yg==']], 'img', None, None, None),
            {
                'image_href': 'img',
                'admin_password': 'pw',
                'files_to_inject': [['/a', 'Yg==']],
                'preserve_ephemeral': False,
                'kwargs': {},
            },
        ),
        ('set_admin_password', ('pw',), {'new_pass': 'pw'}),
        ('set_admin_password', (None,), {'new_pass': None}),
        (
            'instance_update_from_api',
            ('active', [None, 'rebooting'], False),
            {
                'expected_vm_state': 'active',
                'expected_task_state': [None, 'rebooting'],
                'admin_state_reset': False,
            },
        ),
    ],
)
def test_an_order_reaches_its_cell_with_its_arguments(tree, api, ctxt, operation, args, arrives):
    given = wanted()
    getattr(api, operation)(ctxt, given, *args)
    [(cell, name, kwargs)] = ARRIVALS.of(ctxt.request_id)
    assert (cell, name) == ('leaf', operation)
    assert kwargs.pop('instance').uuid == given.uuid
    assert kwargs == arrives
    assert {'instance', *kwargs} == recorded(operation)[0].keys()


def test_a_stop_that_is_waited_for_returns_what_its_cell_says(tree, api, ctxt):
    assert api.stop_instance(ctxt, wanted(), do_cast=False) == 'done'
    [(cell, _, kwargs)] = ARRIVALS.of(ctxt.request_id)
    assert (cell, kwargs['clean_shutdown']) == ('leaf', True)
    assert recorded('stop_instance', 1)[1]


def test_t6_an_instance_without_a_cell_goes_where_the_record_says(tree, api, ctxt):
    uuid = record(tree, cell_name=LEAF)
    api.start_instance(ctxt, instance.Instance(uuid=uuid, cell_name=None))
    assert ARRIVALS.of(ctxt.request_id)[0][0] == 'leaf'
    assert api.stop_instance(ctxt, instance.Instance(uuid=uuid), do_cast=False) == 'done'


def test_an_instance_on_a_host_of_the_own_cell_needs_no_path(tree, api, ctxt):
    uuid = record(tree, host='h1')
    api.start_instance(ctxt, instance.Instance(uuid=uuid))
    assert ARRIVALS.of(ctxt.request_id)[0][0] == 'api'


def test_a_delete_everywhere_reaches_all_cells_and_the_own(tree, api, ctxt):
    given = wanted(cell_name=None)
    api.instance_delete_everywhere(ctxt, given, 'hard')
    found = ARRIVALS.of(ctxt.request_id, 4)
    assert {cell for cell, _, _ in found} == set(PARENTS)
    assert {kwargs['delete_type'] for _, _, kwargs in found} == {'hard'}
    assert {kwargs['instance'].uuid for _, _, kwargs in found} == {given.uuid}


def test_a_delete_everywhere_of_a_client_before_objects_is_understood(tree, ctxt):
    row = {'uuid': str(uuid.uuid4()), 'deleted': 0, 'cleaned': 0, 'memory_mb': 5, 'metadata': []}
    old = tree.api('api')
    old = type(old)(old._transport, version_cap='havana')
    old.instance_delete_everywhere(ctxt, row, 'soft')
    for _, _, kwargs in ARRIVALS.of(ctxt.request_id, 4):
        assert (kwargs['instance'].uuid, kwargs['instance'].memory_mb) == (row['uuid'], 5)


def test_a_build_goes_to_the_own_cell_first(tree, api, ctxt):
    given = wanted(cell_name=None, memory_mb=64)
    size = flavor.Flavor(flavorid='2', memory_mb=64, vcpus=1, root_gb=1)
    devices = block_device.BlockDeviceMappingList(objects=[])
    api.build_instances(
        ctxt,
        instances=[given],
        image={'id': 'i'},
        filter_properties={'instance_type': size, 'scheduler_hints': {}},
        block_device_mapping=devices,
        admin_password='pw',
        injected_files=[],
        requested_networks=None,
        security_groups=['default'],
        legacy_bdm=False,
    )
    [(cell, name, kwargs)] = ARRIVALS.of(ctxt.request_id)
    assert (cell, name) == ('api', 'build_instances')
    found = kwargs['build_inst_kwargs']
    assert [one.uuid for one in found['instances']] == [given.uuid]
    assert found['filter_properties']['instance_type'].memory_mb == 64
    assert {*found} == recorded('build_instances')[0]['build_inst_kwargs'].keys()


@pytest.mark.parametrize('cap', ['havana', 'juno', 'kilo', '1.31'])
def test_a_build_of_an_older_client_comes_to_the_same(tree, ctxt, cap):
    api = tree.api('api')
    old = type(api)(api._transport, version_cap=cap)
    given = wanted(cell_name=None, memory_mb=64, metadata={'a': 'b'}, system_metadata={'c': 'd'})
    size = flavor.Flavor(flavorid='2', memory_mb=64, vcpus=1, created_at=MOMENT)
    old.build_instances(
        ctxt, instances=[given], image={}, filter_properties={'instance_type': size}
    )
    [(_, _, kwargs)] = ARRIVALS.of(ctxt.request_id)
    found = kwargs['build_inst_kwargs']
    [made] = found['instances']
    assert (made.uuid, made.metadata, made.system_metadata) == (
        given.uuid,
        {'a': 'b'},
        {'c': 'd'},
    )
    made = found['filter_properties']['instance_type']
    assert (made.flavorid, made.vcpus) == ('2', 1)
    assert made.created_at == MOMENT.replace(tzinfo=datetime.UTC)


# -- reports that arrive --


@pytest.mark.parametrize('cap', [None, 'kilo', 'havana'])
def test_reports_of_a_cell_arrive_at_the_top_and_nowhere_else(tree, cap):
    base = tree.api('leaf')
    leaf = type(base)(base._transport, version_cap=cap)
    uuid = 'uuid-%s' % cap
    given = instance.Instance(uuid=uuid, task_state=None, metadata={'a': 'b'})
    cache = instance.InstanceInfoCache(instance_uuid=uuid, network_info=[])
    fault = instance.InstanceFault(instance_uuid=uuid, code=500, message='boom', created_at=MOMENT)
    device = block_device.BlockDeviceMapping(
        instance_uuid=uuid, volume_id='v', device_name='/dev/vdb', created_at=MOMENT
    )
    reports = {
        'instance_update_at_top': (given,),
        'instance_destroy_at_top': (given,),
        'instance_info_cache_update_at_top': (cache,),
        'instance_fault_create_at_top': (fault,),
        'bw_usage_update_at_top': (uuid, 'aa:bb', MOMENT, 1, 2, 3, 4),
        'bdm_update_or_create_at_top': (device, True),
        'bdm_destroy_at_top': (uuid, None, 'v'),
    }
    for number, (method, args) in enumerate(reports.items()):
        ctxt = context.RequestContext(request_id='req-%s-%d-%s' % (cap, number, uuid))
        getattr(leaf, method)(ctxt, *args)
        [(cell, name, kwargs)] = ARRIVALS.of(ctxt.request_id)
        assert cell == 'api'
        assert name == method.replace('info_cache_', '')
        if 'instance' in kwargs:
            made = kwargs['instance']
            assert isinstance(made, instance.Instance)
            assert made.uuid == uuid
            if 'info_cache' in method:
                assert made.info_cache.network_info == []
                assert 'info_cache' in made.obj_what_changed()
            else:
                assert 'task_state' in made.obj_what_changed()
        elif 'bdm' in kwargs:
            assert (kwargs['bdm']['volume_id'], kwargs['create']) == ('v', True)
            assert not objects_base.is_envelope(kwargs['bdm'])
        elif 'instance_fault' in kwargs:
            assert kwargs['instance_fault']['message'] == 'boom'
        elif 'bw_update_info' in kwargs:
            assert kwargs['bw_update_info']['start_period'] == '2016-03-01 12:00:00'
        else:
            assert kwargs == {'instance_uuid': uuid, 'device_name': None, 'volume_id': 'v'}


# -- what is refused --


def call(tree, operation, *args, **kwargs):
    """Call what serves a client, and return the error that it would get."""
    with pytest.raises(rpc_dispatcher.ExpectedException) as caught:
        getattr(manager(tree), operation)(CTXT, *args, **kwargs)
    return caught.value.exc_info[1]


NO_INSTANCES = [None, 5, 'uuid', [], {}, {'uuid': None}, {'uuid': 'x' * 37}, {'memory_mb': 1}]

REST = {
    'backup_instance': {'image_id': 'i', 'backup_type': 'daily', 'rotation': 1},
    'instance_delete_everywhere': {'delete_type': 'soft'},
    'instance_update_from_api': {
        'expected_vm_state': None,
        'expected_task_state': None,
        'admin_state_reset': False,
    },
    'live_migrate_instance': {
        'block_migration': True,
        'disk_over_commit': True,
        'host_name': None,
    },
    'reboot_instance': {'reboot_type': 'SOFT'},
    'rebuild_instance': {
        'image_href': 'i',
        'admin_password': None,
        'files_to_inject': [],
        'preserve_ephemeral': False,
        'kwargs': {},
    },
    'resize_instance': {'flavor': {'flavorid': '1'}, 'extra_instance_updates': {}},
    'set_admin_password': {'new_pass': None},
    'snapshot_instance': {'image_id': 'i'},
}
WITH_INSTANCE = sorted(
    OPERATIONS
    - {
        'build_instances',
        'bdm_destroy_at_top',
        'bdm_update_or_create_at_top',
        'bw_usage_update_at_top',
        'instance_fault_create_at_top',
    }
)


@pytest.mark.parametrize('operation', WITH_INSTANCE)
def test_what_is_no_instance_is_refused(tree, operation):
    for given in [*NO_INSTANCES, instance.Instance(), flavor.Flavor(flavorid='1')]:
        error = call(tree, operation, instance=given, **REST.get(operation, {}))
        assert isinstance(error, exceptions.Invalid), given
        assert 'instance' in str(error) or 'uuid' in str(error)


@pytest.mark.parametrize(
    'operation', sorted({*WITH_INSTANCE} - {*REPORTS, 'instance_delete_everywhere'})
)
def test_an_order_for_an_unreachable_cell_is_refused(tree, operation):
    for path in ('api!nowhere', 'other', 'a!!b', 'api!region@leaf'):
        given = wanted(cell_name=path)
        error = call(tree, operation, instance=given, **REST.get(operation, {}))
        assert isinstance(error, exceptions.CellRoutingInconsistency), path


BAD_ARGUMENTS = [
    ('reboot_instance', {'reboot_type': 'MEDIUM'}, "'MEDIUM', not one of SOFT, HARD"),
    ('reboot_instance', {'reboot_type': None}, 'reboot_type is None'),
    ('terminate_instance', {'delete_type': 'soft_delete'}, "delete_type is 'soft_delete'"),
    ('instance_delete_everywhere', {'delete_type': 'delete'}, 'not one of soft, hard'),
    ('backup_instance', {'rotation': -1}, 'rotation is -1'),
    ('backup_instance', {'rotation': True}, 'rotation is True'),
    ('backup_instance', {'rotation': '3'}, "rotation is '3'"),
    ('backup_instance', {'backup_type': ''}, "backup_type is ''"),
    ('backup_instance', {'image_id': None}, 'image_id is None'),
    ('snapshot_instance', {'image_id': 5}, 'image_id is 5'),
    ('stop_instance', {'clean_shutdown': 'yes'}, "clean_shutdown is 'yes'"),
    ('stop_instance', {'do_cast': 1}, 'do_cast is 1'),
    ('resize_instance', {'flavor': None}, 'flavor is None'),
    ('resize_instance', {'flavor': {}}, 'flavor.flavorid is None'),
    ('resize_instance', {'extra_instance_updates': [1]}, 'extra_instance_updates is [1]'),
    ('resize_instance', {'clean_shutdown': None}, 'clean_shutdown is None'),
    ('live_migrate_instance', {'block_migration': 'yes'}, "block_migration is 'yes'"),
    ('live_migrate_instance', {'host_name': ''}, "host_name is ''"),
    ('live_migrate_instance', {'host_name': 5}, 'host_name is 5'),
    ('live_migrate_instance', {'host_name': 'api!region!other@h1'}, 'not in cell ' + LEAF),
    ('live_migrate_instance', {'host_name': 'a b@h1'}, "host_name is 'a b@h1'"),
    ('rebuild_instance', {'image_href': None}, 'image_href is None'),
    ('rebuild_instance', {'files_to_inject': 'x'}, 'files_to_inject is a str'),
    ('rebuild_instance', {'preserve_ephemeral': 'no'}, "preserve_ephemeral is 'no'"),
    ('rebuild_instance', {'kwargs': 5}, 'kwargs is 5'),
    ('instance_update_from_api', {'expected_vm_state': 5}, 'expected_vm_state is 5'),
    ('instance_update_from_api', {'expected_task_state': [5]}, 'expected_task_state is 5'),
    ('instance_update_from_api', {'admin_state_reset': None}, 'admin_state_reset is None'),
]


@pytest.mark.parametrize(('operation', 'bad', 'text'), BAD_ARGUMENTS)
def test_t5_a_wrong_argument_is_named_and_noted_on_the_instance(tree, operation, bad, text):
    uuid = record(tree, cell_name=LEAF)
    given = instance.Instance(uuid=uuid, cell_name=LEAF)
    error = call(tree, operation, instance=given, **{**REST.get(operation, {}), **bad})
    assert isinstance(error, exceptions.Invalid)
    assert text in str(error)
    if bad.get('do_cast') is None:
        [fault] = faults_of(tree, uuid)
        assert text in fault['message']
        assert fault['code'] == 400


@pytest.mark.parametrize('operation', ['rebuild_instance', 'set_admin_password'])
def test_x4_a_password_is_not_in_the_error(tree, operation):
    name = {'rebuild_instance': 'admin_password', 'set_admin_password': 'new_pass'}[operation]
    for value in (['geheim'], 'geheim' * 1000, 'geheim\0'):
        rest = {**REST[operation], name: value}
        error = call(tree, operation, instance=wanted(), **rest)
        assert isinstance(error, exceptions.Invalid)
        assert name in str(error)
        assert 'geheim' not in str(error)


BAD_REPORTS = [
    ('instance_fault_create_at_top', {'instance_fault': 5}, 'instance_fault is 5'),
    ('instance_fault_create_at_top', {'instance_fault': {}}, 'instance_uuid is None'),
    ('bw_usage_update_at_top', {'bw_update_info': None}, 'bw_update_info is None'),
    ('bw_usage_update_at_top', {'bw_update_info': {'uuid': 'u'}}, 'mac is None'),
    (
        'bw_usage_update_at_top',
        {'bw_update_info': {'uuid': 'u', 'mac': 'm', 'start_period': 'soon'}},
        "start_period is 'soon'",
    ),
    (
        'bw_usage_update_at_top',
        {'bw_update_info': {'uuid': 'u', 'mac': 'm', 'start_period': str(MOMENT), 'bw_in': -1}},
        'bw_in is -1',
    ),
    ('bdm_update_or_create_at_top', {'bdm': 5}, 'bdm is 5'),
    ('bdm_update_or_create_at_top', {'bdm': {}}, 'bdm.instance_uuid is None'),
    (
        'bdm_update_or_create_at_top',
        {'bdm': {'instance_uuid': 'u'}, 'create': 'yes'},
        "create is 'yes'",
    ),
    ('bdm_destroy_at_top', {'instance_uuid': 5}, 'instance_uuid is 5'),
    ('bdm_destroy_at_top', {'instance_uuid': 'u'}, 'neither device_name nor volume_id'),
    ('bdm_destroy_at_top', {'instance_uuid': 'u', 'volume_id': 5}, 'volume_id is 5'),
]


@pytest.mark.parametrize(('operation', 'given', 'text'), BAD_REPORTS)
def test_a_report_of_nonsense_is_refused_and_logged(tree, caplog, operation, given, text):
    error = call(tree, operation, **given)
    assert isinstance(error, exceptions.Invalid)
    assert text in str(error)
    assert any('req-1' in one.getMessage() for one in caplog.records)


def test_t5_an_order_that_cannot_go_anywhere_is_seen_at_its_instance(tree, api, ctxt, caplog):
    uuid = record(tree, cell_name='api!gone', task_state='powering-off')
    api.stop_instance(ctxt, instance.Instance(uuid=uuid, cell_name='api!gone'))
    [fault] = faults_of(tree, uuid)
    assert 'Inconsistency in cell routing' in fault['message']
    [action] = instance_actions.actions_get(tree['api'].database, uuid)
    assert (action['action'], action['message']) == ('stop', 'Error')
    assert (action['request_id'], action['user_id']) == (ctxt.request_id, 'u1')
    [event] = instance_actions.action_events_get(tree['api'].database, action['id'])
    assert event['result'] == 'Error'
    assert 'Inconsistency in cell routing' in event['traceback']
    assert load(tree, uuid).task_state is None
    assert any(ctxt.request_id in one.getMessage() for one in caplog.records)


def test_a_refused_order_leaves_the_task_of_another_alone(tree, api, ctxt):
    uuid = record(tree, cell_name=LEAF, task_state='rebuilding')
    given = instance.Instance(uuid=uuid, cell_name=LEAF)
    api.backup_instance(ctxt, given, 'i', 'daily', -5)
    faults_of(tree, uuid)
    assert load(tree, uuid).task_state == 'rebuilding'


def test_t6_an_order_for_an_instance_in_no_cell_is_seen_at_its_instance(tree, api, ctxt):
    uuid = record(tree, vm_state='building', task_state='powering-on')
    api.start_instance(ctxt, instance.Instance(uuid=uuid))
    [fault] = faults_of(tree, uuid)
    assert 'Cell is not known' in fault['message']
    assert fault['code'] == 404
    assert load(tree, uuid).task_state is None
    assert load(tree, uuid).vm_state == 'building'


def test_t6_a_call_for_an_instance_in_no_cell_says_so(tree, api, ctxt):
    for given in (record(tree, vm_state='building'), str(uuid.uuid4())):
        with pytest.raises(exceptions.InstanceUnknownCell):
            api.stop_instance(ctxt, instance.Instance(uuid=given), do_cast=False)
        assert faults.fault_get_all(tree['api'].database, given) == []


def test_c9_a_build_that_cannot_be_meant_ends_in_an_error_that_says_why(tree, api, ctxt):
    uuids = [
        record(tree, vm_state='building', task_state='scheduling'),
        record(tree, vm_state='active', host='h1', cell_name=LEAF),
    ]
    api.build_instances(
        ctxt,
        instances=[instance.Instance(uuid=one, memory_mb=-5) for one in uuids],
        image={'id': 'i'},
    )
    [fault] = faults_of(tree, uuids[0])
    assert 'memory_mb is -5' in fault['message']
    found = load(tree, uuids[0])
    assert (found.vm_state, found.task_state) == ('error', None)
    [action] = instance_actions.actions_get(tree['api'].database, uuids[0])
    assert (action['action'], action['message']) == ('create', 'Error')
    assert load(tree, uuids[1]).vm_state == 'active'
    assert faults.fault_get_all(tree['api'].database, uuids[1]) == []


def test_an_order_that_is_refused_twice_is_noted_once(tree):
    uuid = record(tree, cell_name=LEAF)
    ctxt = context.RequestContext('u1', 'p1', delivery_id='delivery-%s' % uuid)
    for _ in range(2):
        with pytest.raises(rpc_dispatcher.ExpectedException):
            manager(tree).reboot_instance(
                ctxt, instance=instance.Instance(uuid=uuid), reboot_type='MEDIUM'
            )
    assert len(faults_of(tree, uuid)) == 1
    assert len(instance_actions.actions_get(tree['api'].database, uuid)) == 1


# -- without the database --


class Away:
    """Stands for a database that does not answer a number of times."""

    def __init__(self, database, times):
        self._database, self.times = database, times

    def read(self):
        self.times -= 1
        if self.times >= 0:
            raise db_exc.DBConnectionError()
        return self._database.read()


def test_an_order_waits_for_the_database_that_knows_the_cell(tree, ctxt, monkeypatch):
    uuid = record(tree, cell_name=LEAF)
    served = manager(tree)
    away = Away(tree['api'].database, 2)
    monkeypatch.setattr(served, '_database', away)
    monkeypatch.setattr(orders, 'PAUSE', 0.01)
    served.start_instance(ctxt, instance=instance.Instance(uuid=uuid))
    assert away.times == -1
    assert ARRIVALS.of(ctxt.request_id)[0][0] == 'leaf'


def test_an_order_that_waits_stays_with_the_broker_when_the_worker_stops(tree, monkeypatch):
    served = manager(tree)
    monkeypatch.setattr(served, '_database', Away(tree['api'].database, 100))

    def stopping():
        raise exceptions.JournalUnavailable(reason='this worker is stopping')

    monkeypatch.setattr(tree['api'].runner, 'check_running', stopping)
    with pytest.raises(exceptions.JournalUnavailable):
        served.start_instance(CTXT, instance=instance.Instance(uuid='u'))


def test_a_call_does_not_wait_for_the_database(tree, monkeypatch):
    monkeypatch.setattr(manager(tree), '_database', Away(tree['api'].database, 100))
    error = call(tree, 'stop_instance', instance=instance.Instance(uuid='u'), do_cast=False)
    assert isinstance(error, exceptions.DatabaseUnavailable)
