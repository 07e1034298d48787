"""What clients of every version send, through a real manager to the cell that it is for.

Two kinds of clients: nova's, of which the recorded messages are sent as they are, and ours
under each cap. The handlers of all cells only note what they get; that their real
counterparts would take it is looked at as well.
"""

import concurrent.futures
import copy
import datetime
import inspect
import pathlib
import re
import shutil
import uuid

import oslo_messaging
import pytest

from cells import context, exceptions, rpc, rpcapi, versions
from cells import handlers as cells_handlers
from cells.client import forms
from cells.db import faults
from cells.db import instances as db_instances
from cells.objects import base as objects_base
from cells.objects import compute_node, instance, migration, plain, service
from cells.operations import OPERATIONS
from tests import deploy, fake_cells
from tests.conftest import open_directory
from tests.unit.test_contract import CALLS, RECORDED, SENT_BELOW, read

UNKNOWN = (oslo_messaging.NoSuchMethod, oslo_messaging.UnsupportedVersion)
NODE_UUID = '33333333-3333-4333-8333-333333333333'
#: What the handlers answer, where not nothing.
ANSWERS = {
    'compute_node_get': lambda: compute_node.ComputeNode(id=1, uuid=NODE_UUID, host='h'),
    'compute_node_get_all': lambda: [compute_node.ComputeNode(id=1, host='h')],
    'compute_node_stats': lambda: {'count': 1},
    'get_host_uptime': lambda: 'up 5 days',
    'get_migrations': lambda: migration.MigrationList(objects=[migration.Migration(id=4)]),
    'proxy_rpc_to_manager': lambda: 'pong',
    'service_get_all': lambda: [service.Service(id=3, host='h')],
    'service_get_by_compute_host': lambda: service.Service(id=3, host='h'),
    'service_update': lambda: service.Service(id=3, host='h'),
    'task_log_get_all': lambda: [{'id': 1, 'host': 'h'}],
    'validate_console_port': lambda: True,
}
#: Methods that the own cell answers, or for whose arguments it has no neighbour or record.
STAY_HERE = {
    'cell_create',
    'cell_delete',
    'cell_get',
    'cell_update',
    'get_capacities',
    'get_cell_info_for_neighbors',
    # agents of ours have a ping that takes nothing
    'proxy_rpc_to_manager',
    'validate_console_port',
}
KNOWN_ERRORS = {'CellExists', 'CellNotFound', 'InstanceNotFound', 'Invalid', 'NoneType'}


class Arrivals:
    """Stands for the handlers of the contract in all cells, and keeps what they get."""

    def __init__(self):
        self.found = []

    def handler(self, cell, operation, original):
        row = OPERATIONS[operation]
        signature = inspect.signature(original)

        def handle(first, *message, **kwargs):
            signature.bind(first, *message, **kwargs)
            ctxt = message[0].ctxt if message else first.to_dict()
            self.found.append((cell, operation, ctxt['request_id'], kwargs))
            wanted = not row.changes or message[0].need_response
            return ANSWERS.get(operation, lambda: None)() if wanted else None

        return handle

    def of(self, request_id):
        return [(*one[:2], one[3]) for one in self.found if one[2] == request_id]


ARRIVALS = Arrivals()


@pytest.fixture(scope='module')
def tree():
    """The cells that the recorded messages name."""
    original = cells_handlers.handlers
    workdir = open_directory()

    def handlers(database, *rest, **more):
        found = original(database, *rest, **more)
        name = pathlib.Path(database.url).stem
        return {
            key: ARRIVALS.handler(name, key, one) if key in forms.FORMS else one
            for key, one in found.items()
        }

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells_handlers, 'handlers', handlers)
        found = fake_cells.FakeTree(workdir, {'api': None, 'child': 'api'})
    with found.running():
        yield found
    shutil.rmtree(workdir, ignore_errors=True)


class PlainClient:
    """A client that knows nothing but oslo.messaging: arguments are in their form on the wire."""

    def __init__(self, tree):
        self.transport = rpc.get_transport(fake_cells.conf_of(tree.workdir, 'api'))
        self._client = oslo_messaging.get_rpc_client(
            self.transport, oslo_messaging.Target(topic='cells'), timeout=30
        )

    def ask(self, version, method, arguments, request='req-plain'):
        ctxt = {**recorded_context(), 'request_id': request}
        return self._client.prepare(version=version).call(ctxt, method, **arguments)


def recorded_context():
    """Return the recorded context, of now: below a plain cell its age is that of the question."""
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    recorded = RECORDED['none'][0]['sent'][0]['ctxt']
    return {**copy.deepcopy(recorded), 'timestamp': now.isoformat(timespec='microseconds')}


@pytest.fixture(scope='module')
def plain_client(tree):
    found = PlainClient(tree)
    yield found
    found.transport.cleanup()


class Sent:
    """A message that was sent: its request, and what became of it."""

    def __init__(self, send, name):
        self.name = name
        self.request_id = 'req-%s' % uuid.uuid4()
        self.error = self.value = None
        try:
            self.value = send(self.request_id)
        except (oslo_messaging.MessagingException, exceptions.WireError) as error:
            self.error = error

    @property
    def error_name(self):
        return type(self.error).__name__

    def arrivals(self, number):
        """Wait for it to arrive in some cells."""
        deploy.wait_until(
            lambda: len(ARRIVALS.of(self.request_id)) >= number,
            30,
            '%s arrives (%s)' % (self.name, self.error),
        )
        return sorted(ARRIVALS.of(self.request_id), key=lambda one: one[0])


def places(name):
    """Return how many cells a method ends in: a question to all, one cell, or none."""
    if name in STAY_HERE:
        return 0
    return 2 if name in TO_ALL else 1


TO_ALL = {
    'compute_node_get_all',
    'compute_node_stats',
    'instance_delete_everywhere',
    'service_get_all',
}


def comparable(value):
    """Return arguments as plain values, times in one form."""
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [comparable(item) for item in value]
    if isinstance(value, str) and re.match(r'\d{4}-\d\d-\d\d[ T]\d\d:', value):
        return datetime.datetime.fromisoformat(value).replace(tzinfo=None).isoformat()
    return value


def meaning(arrived):
    return [(cell, name, comparable(plain.flatten(kwargs))) for cell, name, kwargs in arrived]


def at_once(senders):
    """Send all, a few at a time, and return what became of each."""
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        return dict(zip(senders, pool.map(lambda one: Sent(*one), senders.values()), strict=True))


# -- nova's clients --


@pytest.fixture(scope='module')
def replayed(plain_client):
    """Send everything that was recorded, and keep what became of it."""

    def send(message):
        return lambda request: plain_client.ask(
            message['version'], message['method'], message['args'], request
        )

    return at_once(
        {
            (cap, index): (send(one['sent'][0]['message']), one['method'])
            for cap in RECORDED
            for index, one in enumerate(RECORDED[cap])
            if one.get('sent')
        }
    )


#: What a version did not say yet has its default.
DEFAULTS = {
    'resize_instance': {'clean_shutdown': True},
    'stop_instance': {'clean_shutdown': True},
    'terminate_instance': {'delete_type': 'delete'},
}


@pytest.mark.parametrize('cap', RECORDED)
@pytest.mark.parametrize('index', range(len(CALLS)), ids=lambda index: CALLS[index]['method'])
def test_v3_what_novas_client_sent_arrives_and_means_the_same_at_every_cap(replayed, index, cap):
    name = CALLS[index]['method']
    if (cap, index) not in replayed:
        assert RECORDED[cap][index]['raises']
        return
    sent = replayed[cap, index]
    if name in STAY_HERE:
        assert sent.error_name in KNOWN_ERRORS
        return
    assert sent.error is None
    wanted = copy.deepcopy(meaning(replayed['none', index].arrivals(places(name))))
    for _, _, kwargs in wanted:
        arguments = RECORDED[cap][index]['sent'][0]['message']['args']
        for missing, default in DEFAULTS.get(name, {}).items():
            if missing not in arguments:
                kwargs[missing] = default
        if 'legacy_bdm' in arguments.get('build_inst_kwargs', ()):
            legacy = arguments['build_inst_kwargs']['legacy_bdm']
            kwargs['build_inst_kwargs']['legacy_bdm'] = legacy
    assert meaning(sent.arrivals(places(name))) == wanted


def test_v3_every_recorded_message_was_sent(replayed):
    assert len(replayed) > 150
    assert {cap for cap, _ in replayed} == set(RECORDED)


# -- our client under each cap --


def ours(value):
    """Return a recorded argument with its objects as if they were made here."""
    if isinstance(value, dict):
        found = {key: ours(item) for key, item in value.items()}
        if objects_base.is_envelope(found):
            name = found['nova_object.name']
            found['nova_object.version'] = versions.newest_object_version(name)
        return found
    return [ours(item) for item in value] if isinstance(value, list) else value


def rpc_name(name):
    return {
        'call_compute_api_method': 'run_compute_api_method',
        'cast_compute_api_method': 'run_compute_api_method',
        'instance_info_cache_update_at_top': 'instance_update_at_top',
    }.get(name, name)


def caps_of(name):
    """Return one cap for each form of a method, and none."""
    return [None, *(form.version for form in forms.FORMS[rpc_name(name)])]


@pytest.fixture(scope='module')
def ordered(tree):
    transport = tree.api('api')._transport
    clients = {
        cap: rpcapi.CellsAPI(transport, version_cap=cap) for cap in (None, *versions.RPC_HISTORY)
    }

    def send(cap, call):
        given = read(ours({'args': call['args'], 'kwargs': call['kwargs']}))

        def sender(request_id):
            ctxt = context.RequestContext('u1', 'p1', request_id=request_id, is_admin=True)
            method = getattr(clients[cap], call['method'])
            return method(ctxt, *given['args'], **given['kwargs'])

        return sender

    return at_once(
        {
            (index, cap): (send(cap, call), call['method'])
            for index, call in enumerate(CALLS)
            for cap in caps_of(call['method'])
        }
    )


#: Methods whose instance was a dictionary at first.
OBJECTS_SINCE = {'instance_delete_everywhere': '1.27', **dict.fromkeys(SENT_BELOW, '1.35')}


def lost(cls, release):
    """Return the fields of a class that an older release does not have, nested ones too."""
    known = versions.OBJECT_VERSIONS[release]
    found = set()
    for name, field in cls.fields.items():
        since = getattr(field, 'since', '1.0')
        reference = getattr(field, 'reference', None)
        absent = reference is not None and reference.objname not in known
        if absent or numbers(since) > numbers(known[cls.obj_name()]):
            found.add(name)
    return found


def numbers(version):
    return tuple(int(part) for part in version.split('.'))


def without(value, names):
    if isinstance(value, dict):
        return {key: without(item, names) for key, item in value.items() if key not in names}
    return [without(item, names) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize('index', range(len(CALLS)), ids=lambda index: CALLS[index]['method'])
def test_v4_v5_what_our_client_sends_under_each_cap_arrives_and_is_taken(ordered, index):
    name = CALLS[index]['method']
    if name in STAY_HERE:
        for cap in caps_of(name):
            assert ordered[index, cap].error_name in KNOWN_ERRORS
        return
    newest = meaning(ordered[index, None].arrivals(places(name)))
    for cap in caps_of(name)[1:]:
        assert ordered[index, cap].error_name in ('NoneType', 'KeypairNotFound')
        wanted = copy.deepcopy(newest)
        for _, _, kwargs in wanted:
            if cap != forms.FORMS[rpc_name(name)][0].version:
                kwargs.update(DEFAULTS.get(name, {}))
            if 'build_inst_kwargs' in kwargs and cap != '1.34':
                legacy = CALLS[index]['kwargs']['legacy_bdm']
                kwargs['build_inst_kwargs']['legacy_bdm'] = legacy
            if 'instance' in kwargs and numbers(cap) >= numbers(OBJECTS_SINCE.get(name, '1.0')):
                gone = lost(instance.Instance, versions.cap_release(cap))
                kwargs['instance'] = without(kwargs['instance'], gone)
        assert meaning(ordered[index, cap].arrivals(places(name))) == wanted
    assert name not in SENT_BELOW or '1.0' in caps_of(name)


# -- what later clients send, and what nobody knows --


def test_a_compute_node_is_found_by_uuid_as_clients_from_pike_ask_for_it(plain_client):
    for version in ('1.38', '1.4'):
        request_id = 'req-%s' % uuid.uuid4()
        found = plain_client.ask(
            version,
            'compute_node_get',
            {'compute_id': 'api!child@%s' % NODE_UUID},
            request_id,
        )
        assert found['cell_proxy.cell_path'] == 'api!child'
        assert ARRIVALS.of(request_id) == [('child', 'compute_node_get', {'compute_id': NODE_UUID})]


def test_v7_a_client_from_pike_proxies_without_a_timeout(plain_client):
    for call, answer in ((True, 'pong'), (False, None)):
        found = plain_client.ask(
            '1.2',
            'proxy_rpc_to_manager',
            {
                'topic': 'compute.api!child@host1',
                'rpc_message': {'method': 'ping', 'args': {}},
                'call': call,
            },
        )
        assert found == answer


def test_a_list_of_migrations_can_be_read_by_clients_of_every_release(plain_client):
    found = plain_client.ask('1.11', 'get_migrations', {'filters': {}})
    assert (found['nova_object.name'], found['nova_object.version']) == ('MigrationList', '1.0')
    [one] = found['nova_object.data']['objects']
    # As every other object: at [cells] object_release.
    assert one['nova_object.version'] == versions.OBJECT_VERSIONS['liberty']['Migration']


def refused(plain_client, version, method, **arguments):
    # Over the bus within a process errors come as they are.
    with pytest.raises((*UNKNOWN, exceptions.Invalid)) as caught:
        plain_client.ask(version, method, arguments)
    return type(caught.value).__name__, str(caught.value)


@pytest.mark.parametrize(
    ('version', 'method', 'name', 'text'),
    [
        ('1.39', 'compute_node_get', 'UnsupportedVersion', r'1\.39.*compute_node_get'),
        ('2.0', 'start_instance', 'UnsupportedVersion', r'2\.0.*start_instance'),
        ('1.0', 'schedule_run_instance', 'NoSuchMethod', 'schedule_run_instance'),
        ('1.38', 'start_everything', 'NoSuchMethod', 'start_everything'),
    ],
)
def test_v2_an_unknown_method_or_version_is_refused_by_name(
    plain_client, version, method, name, text
):
    found, said = refused(plain_client, version, method)
    assert found == name
    assert re.search(text, said)


@pytest.mark.parametrize(
    ('method', 'arguments', 'text'),
    [
        ('start_instance', {'instance': {'uuid': 'u'}, 'colour': 1}, 'start_instance.*colour'),
        ('start_instance', {}, 'start_instance.*instance'),
        ('get_host_uptime', {'host': 'api!child@h'}, 'get_host_uptime.*host'),
    ],
)
def test_v2_an_unknown_or_missing_argument_is_refused_by_name(
    plain_client, method, arguments, text
):
    name, said = refused(plain_client, '1.37', method, **arguments)
    assert name == 'Invalid'
    assert re.search(text, said)


def envelope(name='Instance', version='2.3', **data):
    return {
        'nova_object.name': name,
        'nova_object.namespace': 'nova',
        'nova_object.version': version,
        'nova_object.data': data,
    }


@pytest.mark.parametrize('version', ['1.0', '1.9', '1.19', '1.23', '2.0', '2.3', '2.4', '2.99'])
def test_v2_an_instance_of_any_known_major_is_taken_and_what_is_newer_left_out(
    plain_client, version
):
    request_id = 'req-%s' % uuid.uuid4()
    given = envelope(
        version=version, uuid='u-%s' % version, cell_name='api!child', colour='blue', locked=True
    )
    plain_client.ask('1.12', 'start_instance', {'instance': given}, request_id)
    [(cell, _, kwargs)] = deploy.wait_until(lambda: ARRIVALS.of(request_id), 30, 'it arrives')
    assert (cell, kwargs['instance'].uuid) == ('child', 'u-%s' % version)
    assert kwargs['instance'].locked is True
    assert 'colour' not in plain.flatten(kwargs['instance'])


@pytest.mark.parametrize(
    ('given', 'text'),
    [
        (envelope(version='3.0', uuid='u'), r'3\.0 of Instance'),
        (envelope(name='Flavour', version='1.0'), 'Flavour'),
        (envelope(uuid='u', memory_mb='much'), 'Instance: memory_mb'),
        (envelope(version='new', uuid='u'), 'new'),
        ({**envelope(uuid='u'), 'nova_object.data': None}, 'Instance'),
        ('u', "'u', not an object Instance"),
        ({'cell_name': 'api!child'}, 'no uuid'),
        ({'uuid': 'u', 'flavor': {'memory_mb': 'much'}}, 'no Instance.*much'),
    ],
)
def test_v2_what_is_no_object_that_we_know_is_refused_by_name(plain_client, given, text):
    name, said = refused(plain_client, '1.12', 'start_instance', instance=given)
    assert name == 'Invalid'
    assert re.search(text, said)


def record(tree, **values):
    """Write a record at the top, as an API service did before it ordered something."""
    given = str(uuid.uuid4())
    row = {'uuid': given, 'project_id': 'p1', 'user_id': 'u1', 'cell_name': 'api!child', **values}
    with tree['api'].database.write() as connection:
        db_instances.instance_create(connection, row)
    return given


def state_of(tree, given):
    """Return states of an instance at the top, and what its faults say."""
    with tree['api'].database.read() as connection:
        found = db_instances.instance_get(connection, given)
    said = [one['message'] for one in faults.fault_get_all(tree['api'].database, given)]
    return found.vm_state, found.task_state, said


@pytest.mark.parametrize(
    ('change', 'more', 'text'),
    [
        ({'nova_object.version': '3.0'}, {}, 'start_instance: instance: Version 3.0 of Instance'),
        ({'nova_object.name': 'Server'}, {}, 'Server'),
        ({}, {'colour': 'blue'}, 'colour'),
    ],
)
def test_v2_an_order_that_cannot_be_read_is_noted_where_its_user_looks(
    tree, plain_client, change, more, text
):
    given = record(tree, vm_state='stopped', task_state='powering-on')
    order = {**envelope(version='2.0', uuid=given, cell_name='api!child'), **change}
    name, said = refused(plain_client, '1.12', 'start_instance', instance=order, **more)
    assert (name, text in said) == ('Invalid', True)
    vm_state, task_state, [fault] = state_of(tree, given)
    assert (vm_state, task_state) == ('stopped', None)
    assert text in fault


@pytest.mark.parametrize('is_list', [True, False])
def test_v2_a_build_that_cannot_be_read_ends_in_an_error(tree, plain_client, is_list):
    given = record(tree, vm_state='building', task_state='scheduling', cell_name=None)
    one = envelope(version='3.0', uuid=given)
    listed = {**envelope('InstanceList', '2.0'), 'nova_object.data': {'objects': [one]}}
    instances = listed if is_list else [one]
    refused(plain_client, '1.34', 'build_instances', build_inst_kwargs={'instances': instances})
    vm_state, task_state, [said] = state_of(tree, given)
    assert (vm_state, task_state) == ('error', None)
    assert 'Version 3.0 of Instance' in said


def test_who_waits_for_a_stop_is_told_and_nothing_is_noted(tree, plain_client):
    given = record(tree, vm_state='active', task_state='powering-off')
    order = envelope(version='3.0', uuid=given, cell_name='api!child')
    refused(plain_client, '1.31', 'stop_instance', instance=order, do_cast=False)
    assert state_of(tree, given) == ('active', 'powering-off', [])


def test_what_every_service_of_nova_answers_is_answered(plain_client):
    target = oslo_messaging.Target(topic='cells', namespace='baseapi')
    client = oslo_messaging.get_rpc_client(plain_client.transport, target, timeout=30)
    for version in ('1.0', '1.1'):
        prepared = client.prepare(version=version)
        answer = prepared.call(recorded_context(), 'ping', arg={'a': [1]})
        assert answer == {'service': 'cells', 'arg': {'a': [1]}}
        assert prepared.call(recorded_context(), 'get_backdoor_port') is None


# -- rows of databases, as clients before objects sent them --

ROW = {
    'access_ip_v4': None,
    'access_ip_v6': None,
    'architecture': 'x86_64',
    'auto_disk_config': None,
    'availability_zone': None,
    'cell_name': 'api!child',
    'cleaned': 0,
    'config_drive': '',
    'created_at': '2013-10-17T09:00:00.000000',
    'default_ephemeral_device': None,
    'default_swap_device': None,
    'deleted': 0,
    'deleted_at': None,
    'disable_terminate': False,
    'display_description': 'böse',
    'display_name': 'web-1',
    'ephemeral_gb': 0,
    'ephemeral_key_uuid': None,
    'host': 'host1',
    'hostname': 'web-1',
    'id': 7,
    'image_ref': 'img-1',
    'info_cache': {
        'created_at': '2013-10-17T09:00:00.000000',
        'deleted': 0,
        'deleted_at': None,
        'id': 7,
        'instance_uuid': '77777777-7777-4777-8777-777777777777',
        'network_info': '[{"id": "vif-1", "address": "aa:bb:cc:dd:ee:ff"}]',
        'updated_at': None,
    },
    'instance_type_id': 2,
    'kernel_id': '',
    'key_data': None,
    'key_name': None,
    'launch_index': 0,
    'launched_at': '2013-10-17T09:01:00.000000',
    'launched_on': 'host1',
    'locked': None,
    'locked_by': None,
    'memory_mb': 2048,
    'metadata': [
        {'key': 'role', 'value': 'web', 'id': 1, 'deleted': 0, 'instance_uuid': '7'},
        {'key': 'old', 'value': 'x', 'id': 2, 'deleted': 2, 'instance_uuid': '7'},
    ],
    'name': 'instance-00000007',
    'node': 'host1.example.org',
    'os_type': None,
    'power_state': 1,
    'progress': 0,
    'project_id': 'p1',
    'ramdisk_id': '',
    'reservation_id': 'r-1',
    'root_device_name': '/dev/vda',
    'root_gb': 20,
    'security_groups': [
        {'id': 1, 'name': 'default', 'description': 'd', 'project_id': 'p1', 'user_id': 'u1'}
    ],
    'shutdown_terminate': False,
    'system_metadata': [{'key': 'instance_type_flavorid', 'value': '2', 'deleted': 0}],
    'task_state': None,
    'terminated_at': None,
    'updated_at': '2013-10-17T09:02:00.000000',
    'user_data': None,
    'user_id': 'u1',
    'uuid': '77777777-7777-4777-8777-777777777777',
    'vcpus': 1,
    'vm_mode': None,
    'vm_state': 'active',
}
#: A size as it was before Flavor.
SIZE = {
    'created_at': '2013-10-17 09:00:00',
    'deleted': 0,
    'disabled': False,
    'ephemeral_gb': 0,
    'extra_specs': {'hw:cpu': 'x'},
    'flavorid': '2',
    'id': 2,
    'is_public': True,
    'memory_mb': 2048,
    'name': 'm1.small',
    'root_gb': 20,
    'rxtx_factor': 1.0,
    'swap': 0,
    'updated_at': None,
    'vcpu_weight': None,
    'vcpus': 1,
}
DEVICE = {
    'boot_index': 0,
    'connection_info': None,
    'delete_on_termination': True,
    'destination_type': 'volume',
    'device_name': 'vda',
    'instance_uuid': ROW['uuid'],
    'no_device': None,
    'source_type': 'volume',
    'virtual_name': None,
    'volume_id': 'vol-1',
    'volume_size': 20,
}


def arrive(plain_client, version, method, **arguments):
    request_id = 'req-%s' % uuid.uuid4()
    plain_client.ask(version, method, arguments, request_id)
    wanted = places(method)
    found = deploy.wait_until(
        lambda: (lambda one: len(one) >= wanted and one)(ARRIVALS.of(request_id)), 30, method
    )
    return [kwargs for _, _, kwargs in found]


@pytest.mark.parametrize(
    ('version', 'method', 'arguments'),
    [
        ('1.0', 'instance_update_at_top', {}),
        ('1.34', 'instance_update_at_top', {}),
        ('1.0', 'instance_destroy_at_top', {}),
        ('1.0', 'instance_delete_everywhere', {'delete_type': 'hard'}),
        ('1.12', 'stop_instance', {'do_cast': True}),
        ('1.18', 'terminate_instance', {}),
        ('1.20', 'resize_instance', {'flavor': SIZE, 'extra_instance_updates': None}),
    ],
)
def test_the_row_of_an_instance_is_taken_wherever_one_may_stand(
    plain_client, version, method, arguments
):
    for kwargs in arrive(plain_client, version, method, instance=ROW, **arguments):
        found = kwargs['instance']
        assert isinstance(found, instance.Instance)
        assert (found.uuid, found.vm_state, found.display_description) == (
            ROW['uuid'],
            'active',
            'böse',
        )
        assert found.metadata == {'role': 'web'}
        assert found.system_metadata == {'instance_type_flavorid': '2'}
        assert found.info_cache.network_info[0]['id'] == 'vif-1'
        assert found.launched_at == datetime.datetime(2013, 10, 17, 9, 1, tzinfo=datetime.UTC)
        assert (found.cleaned, found.locked, found.auto_disk_config) == (False, False, False)
        assert [one.name for one in found.security_groups] == ['default']
        assert {'vm_state', 'info_cache', 'metadata'} <= found.obj_what_changed()
        for name, value in {'clean_shutdown': True, 'delete_type': 'delete'}.items():
            if name in kwargs and method != 'instance_delete_everywhere':
                assert kwargs[name] == value
        if 'flavor' in kwargs:
            assert kwargs['flavor']['flavorid'] == '2'


@pytest.mark.parametrize(
    'given',
    [
        {'uuid': ROW['uuid']},
        {'uuid': ROW['uuid'], 'deleted': 7, 'vm_state': 'deleted'},
        {'uuid': ROW['uuid'], 'info_cache': {'network_info': []}},
    ],
)
@pytest.mark.parametrize('method', ['instance_update_at_top', 'instance_destroy_at_top'])
def test_parts_of_rows_are_taken_and_say_no_more_than_they_have(plain_client, given, method):
    [kwargs] = arrive(plain_client, '1.0', method, instance=given)
    found = kwargs['instance']
    assert {name for name, _ in found.items()} == given.keys()
    if 'deleted' in given:
        assert found.deleted is True


NETWORKS = {
    **envelope('NetworkRequestList', '1.1'),
    'nova_object.data': {
        'objects': [envelope('NetworkRequest', '1.0', network_id='net-1', address='10.0.0.4')]
    },
}


@pytest.mark.parametrize(
    'networks',
    [
        None,
        [],
        [['net-1', '10.0.0.4', None]],
        [['net-1', '10.0.0.4', None, None]],
        # a client of Juno
        NETWORKS,
    ],
)
def test_a_build_of_a_client_before_objects_is_taken(plain_client, networks):
    request = {
        'instances': [{**ROW, 'cell_name': None, 'host': None, 'vm_state': 'building'}],
        'image': {'id': 'img-1', 'properties': {}},
        'filter_properties': {'instance_type': SIZE, 'scheduler_hints': {}},
        'admin_password': 'pw',
        'injected_files': [['/etc/motd', 'aGVsbG8=']],
        'requested_networks': networks,
        'security_groups': ['default'],
        'block_device_mapping': [DEVICE],
        'legacy_bdm': False,
    }
    [kwargs] = arrive(plain_client, '1.8', 'build_instances', build_inst_kwargs=request)
    found = kwargs['build_inst_kwargs']
    assert [type(one) for one in found['instances']] == [instance.Instance]
    size = found['filter_properties']['instance_type']
    assert (size.obj_name(), size.flavorid, size.extra_specs) == ('Flavor', '2', {'hw:cpu': 'x'})
    assert found['block_device_mapping'] == [DEVICE]
    assert found['legacy_bdm'] is False
    asked = found['requested_networks']
    if networks is NETWORKS:
        assert [one.address for one in asked] == ['10.0.0.4']
    else:
        assert asked == networks


def test_a_block_device_of_a_client_before_objects_is_taken(plain_client):
    [kwargs] = arrive(plain_client, '1.10', 'bdm_update_or_create_at_top', bdm=DEVICE)
    assert (kwargs['bdm'], kwargs['create']) == (DEVICE, None)


@pytest.mark.parametrize(
    'moment',
    [
        '2013-10-17T09:00:00.000000',
        '2013-10-17 09:00:00',
        '2013-10-17T09:00:00Z',
        '2013-10-17T09:00:00+00:00',
        '2013-10-17 09:00:00.123456',
    ],
)
def test_v8_times_are_taken_in_the_forms_of_all_releases(plain_client, moment):
    usage = {
        'uuid': ROW['uuid'],
        'mac': 'aa:bb:cc:dd:ee:ff',
        'start_period': moment,
        'bw_in': 1,
        'bw_out': 2,
        'last_ctr_in': 3,
        'last_ctr_out': 4,
        'last_refreshed': moment,
    }
    [kwargs] = arrive(plain_client, '1.0', 'bw_usage_update_at_top', bw_update_info=usage)
    assert kwargs['bw_update_info'] == usage
    row = {'uuid': ROW['uuid'], 'launched_at': moment}
    [kwargs] = arrive(plain_client, '1.0', 'instance_update_at_top', instance=row)
    assert kwargs['instance'].launched_at.replace(microsecond=0) == datetime.datetime(
        2013, 10, 17, 9, tzinfo=datetime.UTC
    )


@pytest.mark.parametrize(
    'ctxt',
    [
        {},
        {'user': 'u1', 'tenant': 'p1', 'roles': ['admin'], 'is_admin': True},
        {'user_id': 'u1', 'project_id': 'p1', 'roles': [], 'timestamp': '2013-10-17T09:00:00Z'},
        {'user_id': 'u1', 'instance_lock_checked': True, 'colour': {'a': [1]}},
    ],
)
def test_contexts_of_all_releases_are_taken(plain_client, ctxt):
    client = plain_client._client.prepare(version='1.9')
    assert isinstance(client.call(ctxt, 'get_capacities', cell_name=None), dict)


def test_a_message_without_a_version_counts_as_1_0(plain_client):
    """As in oslo.messaging: grizzly's own RPC left the version of a base message out."""
    message = {'method': 'get_capacities', 'args': {'cell_name': None}}
    answer = plain_client.transport._send(
        oslo_messaging.Target(topic='cells'), {}, message, wait_for_reply=True, timeout=30
    )
    assert isinstance(answer, dict)
