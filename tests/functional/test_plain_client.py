"""A client of nova's kind, at versions from 1.0 to 1.38, and a cloud of ours below it.

The client is a process that knows oslo.messaging and nothing of ours; the cells and hosts are
real processes over RabbitMQ.
"""

import datetime
import json
import pathlib
import re
import shutil
import subprocess
import sys
import uuid

import pytest

from cells import context, exceptions, remote_errors, rpcapi
from cells.db import instances, key_pairs
from cells.objects.flavor import Flavor
from cells.objects.instance import Instance
from tests import deploy, deploy_hosts
from tests.conftest import open_directory
from tests.functional.test_fake_contract import SIZE

PROGRAM = pathlib.Path(__file__).with_name('plain_client.py')
LEAF = 'api!leaf'
HOSTS = ('host1', 'host2')
#: Seconds within which an order has been carried out.
PATIENCE = 60
AGENT = """\
[compute]
virt_driver = fake
fake_memory_mb = 16384
fake_local_gb = 400
fake_vcpus = 16
fake_images_path = %s
fake_delays = *:0.01-0.05
"""


class Client:
    """The program, and what is asked of it."""

    def __init__(self, transport_url):
        self._process = subprocess.Popen(
            [sys.executable, '-W', 'ignore', '-I', str(PROGRAM), transport_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def send(self, version, method, /, cast, args):
        order = {
            'version': version,
            'method': method,
            'args': args,
            'cast': cast,
            'ctxt': ctxt_of_nova(),
        }
        self._process.stdin.write(json.dumps(order) + '\n')
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def call(self, version, method, /, **args):
        found = self.send(version, method, cast=False, args=args)
        assert 'error' not in found, found
        return found['value']

    def cast(self, version, method, /, **args):
        assert self.send(version, method, cast=True, args=args) == {'value': None}

    def refused(self, version, method, /, **args):
        found = self.send(version, method, cast=False, args=args)
        return found['error'], found['text']

    def end(self):
        """End the program and return which modules of ours it had loaded."""
        self._process.stdin.close()
        found = json.loads(self._process.stdout.readline())['value']
        self._process.wait(30)
        return found


def ctxt_of_nova():
    """Return a context as a nova of Havana has it, which knows no ``user_id`` beside ``user``."""
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    return {
        'user': 'u1',
        'user_id': 'u1',
        'tenant': 'p1',
        'project_id': 'p1',
        'roles': ['admin'],
        'is_admin': True,
        'read_deleted': 'no',
        'remote_address': '192.0.2.1',
        'timestamp': now.isoformat(timespec='microseconds'),
        'request_id': 'req-%s' % uuid.uuid4(),
        'auth_token': None,
        'quota_class': None,
        'service_catalog': [],
        'instance_lock_checked': False,
    }


@pytest.fixture(scope='module')
def tree(rabbit):
    directory = open_directory()
    found = deploy.Tree(
        directory / 'tree',
        rabbit,
        lambda name: 'sqlite:///%s' % (directory / ('%s.sqlite' % name)),
        {'api': None, 'leaf': 'api'},
        prefix='plain_client_',
        workers=1,
        options='call_timeout = 20\nreserve_percent = 0',
    )
    database = found['api'].database()
    with database.write() as connection:
        key_pairs.key_pair_create(
            connection, {'user_id': 'u1', 'name': 'k', 'public_key': 'ssh-rsa AAAA'}
        )
    database.dispose()
    agents = [
        deploy_hosts.Agent(
            directory / host,
            host,
            found['leaf'].transport_url,
            options=AGENT % (directory / 'shared'),
        )
        for host in HOSTS
    ]
    try:
        with found.running():
            for agent in agents:
                agent.start(wait=False)
            yield found
    finally:
        for agent in agents:
            agent.end()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope='module')
def client(tree):
    found = Client(tree['api'].transport_url)

    def both_hosts():
        answer = found.send('1.4', 'compute_node_get_all', cast=False, args={})
        return len(answer.get('value', ())) == len(HOSTS)

    deploy.wait_until(both_hosts, PATIENCE, 'the hosts are known')
    api, ctxt = tree.api('api'), deploy.admin()

    def room():  # for all that is built at once, on both
        return api.get_capacities(ctxt).get('ram_free', {}).get('total_mb', 0) > 16384

    deploy.wait_until(room, PATIENCE, 'what is free on both is known at the top')
    yield found
    assert found.end() == []


@pytest.fixture(scope='module')
def records(tree):
    found = rpcapi.InstancesAPI.from_conf(tree.conf('api'))
    yield found
    found.close()


def admin():
    return context.RequestContext('u1', 'p1', is_admin=True)


def settled(records, uuid, vm_state, **values):
    """Wait until an instance is so at the top; return its record."""

    def so():
        record = records.get(admin(), uuid)
        fits = all(getattr(record, name) == value for name, value in values.items())
        return fits and record.vm_state == vm_state and record.task_state is None and record

    return deploy.wait_until(so, PATIENCE, '%s is %s %s' % (uuid, vm_state, values))


@pytest.fixture(scope='module')
def built(client, records):
    """An instance that was built by a client from before there were objects."""
    given = str(uuid.uuid4())
    size = Flavor(id=2, flavorid='2', name='m1.small', memory_mb=512, vcpus=1, root_gb=1)
    # What nova-api writes into the database that it shares with its cell.
    records.create(admin(), [Instance(uuid=given, display_name='old', flavor=size)])
    client.cast(
        '1.8',
        'build_instances',
        build_inst_kwargs={
            'instances': [
                {
                    'uuid': given,
                    'display_name': 'old',
                    'project_id': 'p1',
                    'user_id': 'u1',
                    'memory_mb': 512,
                    'vcpus': 1,
                    'root_gb': 1,
                    'ephemeral_gb': 0,
                    'deleted': 0,
                    'cleaned': 0,
                    'metadata': [{'key': 'role', 'value': 'web'}],
                    'system_metadata': [],
                    'info_cache': {'instance_uuid': given, 'network_info': '[]'},
                }
            ],
            'image': {},
            'filter_properties': {
                'instance_type': {**SIZE, 'memory_mb': 512, 'root_gb': 1},
                'scheduler_hints': {},
            },
            'admin_password': 'pw',
            'injected_files': [],
            'requested_networks': None,
            'security_groups': ['default'],
            'block_device_mapping': [],
            'legacy_bdm': False,
        },
    )
    return settled(records, given, 'active', cell_name=LEAF)


def havana(record, **values):
    """Return the envelope of an instance as a nova-api of Havana sends it."""
    return {
        'nova_object.name': 'Instance',
        'nova_object.namespace': 'nova',
        'nova_object.version': '1.9',
        'nova_object.data': {
            'uuid': record.uuid,
            'cell_name': LEAF,
            'scheduled_at': None,
            **values,
        },
        'nova_object.changes': sorted(values),
    }


def test_a_client_of_1_0_asks_and_orders(tree, client, records, built):
    info = {'method': 'get_diagnostics', 'method_args': [built.uuid], 'method_kwargs': {}}
    found = client.call(
        '1.0', 'run_compute_api_method', cell_name=LEAF, method_info=info, call=True
    )
    assert isinstance(found, dict)
    client.cast(
        '1.0',
        'instance_fault_create_at_top',
        instance_fault={'instance_uuid': built.uuid, 'code': 500, 'message': 'an old fault'},
    )
    deploy.wait_until(
        lambda: any(
            one['message'] == 'an old fault' for one in records.faults(admin(), built.uuid)
        ),
        PATIENCE,
        'the fault is there',
    )
    database = tree['leaf'].database()
    with database.read() as connection:
        assert instances.instance_get(connection, built.uuid).metadata == {'role': 'web'}
    database.dispose()


def test_a_client_of_1_24_stops_and_starts_with_objects_of_havana(client, records, built):
    client.cast('1.12', 'stop_instance', instance=havana(built), do_cast=True)
    settled(records, built.uuid, 'stopped')
    assert client.call('1.24', 'get_host_uptime', host_name='%s@host1' % LEAF)
    client.cast('1.12', 'start_instance', instance=havana(built))
    settled(records, built.uuid, 'active')
    client.cast(
        '1.16',
        'instance_update_from_api',
        instance=havana(built, display_name='newer'),
        expected_vm_state=None,
        expected_task_state=None,
        admin_state_reset=False,
    )
    # It is the cell that has it now; at the top nova-api writes it itself.
    with_actions = client.call('1.5', 'actions_get', cell_name=LEAF, instance_uuid=built.uuid)
    assert {'stop', 'start'} <= {one['action'] for one in with_actions}


def test_v6_a_live_migration_comes_to_its_end(client, records, built):
    before = records.get(admin(), built.uuid).host
    [other] = set(HOSTS) - {before}
    client.cast(
        '1.20',
        'live_migrate_instance',
        instance=havana(built),
        block_migration=False,
        disk_over_commit=False,
        host_name=other,
    )
    settled(records, built.uuid, 'active', host=other)


def test_a_service_of_1_34_reports_with_dictionaries(tree, records, built):
    service = Client(tree['leaf'].transport_url)
    try:
        service.cast(
            '1.34',
            'instance_update_at_top',
            instance={
                'uuid': built.uuid,
                'cell_name': LEAF,
                'info_cache': {'instance_uuid': built.uuid, 'network_info': '[{"id": "v-1"}]'},
            },
        )
        deploy.wait_until(
            lambda: (
                'info_cache' in (one := records.get(admin(), built.uuid))
                and [vif['id'] for vif in one.info_cache.network_info] == ['v-1']
            ),
            PATIENCE,
            'the network is known at the top',
        )
    finally:
        assert service.end() == []


def test_a_client_of_1_37_gets_key_pairs_and_lists(client):
    found = client.call('1.37', 'get_keypair_at_top', user_id='u1', name='k')
    assert (found['nova_object.name'], found['nova_object.version']) == ('KeyPair', '1.3')
    assert found['nova_object.data']['public_key'] == 'ssh-rsa AAAA'
    assert client.call('1.37', 'get_keypair_at_top', user_id='u1', name='none') is None
    services = client.call('1.2', 'service_get_all', filters={'disabled': False})
    cells = {
        one['nova_object.data']['host']: one['cell_proxy.cell_path']
        for one in services
        if one['nova_object.data']['binary'] == 'nova-compute'
    }
    assert cells == dict.fromkeys(HOSTS, LEAF)
    assert client.call('1.11', 'get_migrations', filters={})['nova_object.version'] == '1.0'


def test_a_client_of_1_38_names_a_compute_node_by_uuid(client, tree):
    nodes = client.call('1.4', 'compute_node_get_all', hypervisor_match=None)
    node = nodes[0]['nova_object.data']
    database = tree['leaf'].database()
    from_id = client.call('1.4', 'compute_node_get', compute_id='%s@%s' % (LEAF, node['id']))
    with database.read() as connection:
        found = connection.exec_driver_sql('SELECT id, uuid FROM compute_nodes').all()
    database.dispose()
    named = '%s@%s' % (LEAF, dict(iter(map(tuple, found)))[node['id']])
    assert client.call('1.38', 'compute_node_get', compute_id=named) == from_id
    error, text = client.refused(
        '1.38', 'compute_node_get', compute_id='%s@%s' % (LEAF, uuid.uuid4())
    )
    assert error == 'ComputeHostNotFound'
    assert text


@pytest.mark.parametrize(
    ('version', 'method', 'args', 'error', 'text'),
    [
        ('1.39', 'compute_node_get', {'compute_id': 'x'}, 'UnsupportedVersion', r'1\.39'),
        ('1.0', 'schedule_run_instance', {}, 'NoSuchMethod', 'schedule_run_instance'),
        ('1.37', 'get_host_uptime', {'host': 'h'}, 'Invalid', 'get_host_uptime.*host'),
        (
            '1.12',
            'start_instance',
            {'instance': {'nova_object.name': 'Instance', 'nova_object.version': '3.0'}},
            'Invalid',
            r'3\.0 of Instance',
        ),
    ],
)
def test_v2_what_the_cell_does_not_know_is_refused_by_name(
    client, version, method, args, error, text
):
    found, said = client.refused(version, method, **args)
    assert found == error
    assert re.search(text, said)
    assert 'Traceback' not in said


def test_v2_what_a_cell_does_not_offer_our_client_is_an_error_of_its_own(tree):
    api = tree.api('api')
    with pytest.raises(remote_errors.NotServed, match='start_everything'):
        api._call(admin(), '1.37', 'start_everything')
    with pytest.raises(remote_errors.NotServed, match=r'1\.99'):
        api._call(admin(), '1.99', 'get_capacities', cell_name=None)


def test_an_instance_is_terminated_by_a_client_before_1_36(client, records, built):
    client.cast('1.18', 'terminate_instance', instance=havana(built))

    def gone():
        try:
            records.get(admin(), built.uuid)
        except exceptions.InstanceNotFound:
            return True
        return False

    deploy.wait_until(gone, PATIENCE, 'it is gone')
