"""Old cells above, below and between ours, over RabbitMQ: what crosses, and that nothing is lost.

::

    ntop ─▶ OMID ─▶ nleaf           OTOP ─▶ nmid ─▶ OLEAF
                                      └───▶ nchild

Those in capitals are ours, with a host in OMID and in OLEAF; the others are in a process of
:mod:`tests.old_cell`, which keeps to the facts and to what was recorded, and has none of our code.
"""

import collections
import json
import pathlib
import shutil
import uuid

import pytest

from cells import context, exceptions, rpcapi
from cells.db import engine, instances
from tests import deploy, deploy_hosts, old_peer
from tests.conftest import open_directory

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden'
PARENTS = {
    'ntop': None,
    'OMID': 'ntop',
    'nleaf': 'OMID',
    'OTOP': None,
    'nmid': 'OTOP',
    'OLEAF': 'nmid',
    'nchild': 'OTOP',
}
OURS = ('OMID', 'OTOP', 'OLEAF')
OPTIONS = """\
call_timeout = 10
heal_round_interval = 1
heal_page_interval = 0.2
instance_update_num_instances = 600
"""
#: Old cells are of different releases. What a client of Ocata sends an old top goes through ours
#: to an old child as it came; what it sends a top of ours leaves that one at ``object_release``.
RELEASES = {'ntop': 'rocky', 'nleaf': 'stein', 'nmid': 'liberty', 'nchild': 'liberty'}
AGENT = """\
[compute]
virt_driver = fake
fake_memory_mb = 65536
fake_local_gb = 2000
fake_vcpus = 32
fake_images_path = %s
fake_delays = *:0.01-0.05
"""
ADMIN = context.RequestContext('u1', 'p1', is_admin=True, roles=['admin'])
#: What the old top says of an update that another of its processes has overtaken.
SWAPPED = 'instance_update_at_top failed: vm_state is active'


class Forest:
    """Both trees.

    :ivar old: the process of the old cells.
    """

    def __init__(self, directory, rabbit):
        self.tree = deploy.Tree(
            directory,
            rabbit,
            deploy.sqlite(directory),
            PARENTS,
            workers=1,
            prefix='old-',
            options=OPTIONS,
        )
        # What several workers of an asker are told by fan-out is for one of them.
        top = self.tree['OTOP'].conf_file
        top.write_text(top.read_text().replace('workers = 1', 'workers = 2'))
        url = {name: self.tree[name].transport_url for name in PARENTS}
        self.old = old_peer.OldPeer(
            directory,
            [
                {
                    'name': name,
                    'url': url[name],
                    'release': release,
                    'parents': {one: url[one] for one in [PARENTS[name]] if one},
                    'children': {one: url[one] for one in PARENTS if PARENTS[one] == name},
                    'processes': 2 if name == 'ntop' else 1,
                    'hosts': ['%s-host' % name] if name in ('nleaf', 'nchild') else [],
                }
                for name, release in RELEASES.items()
            ],
        )
        self.agents = [
            deploy_hosts.Agent(
                directory / ('%s-host' % name),
                '%s-host' % name,
                url[name],
                options=AGENT % (directory / ('%s-images' % name)),
            )
            for name in ('OMID', 'OLEAF')
        ]
        self._clients = []

    def start(self):
        for name in OURS:
            self.tree[name].start(wait=False)
        for agent in self.agents:
            agent.start(wait=False)
        self.old.start()
        for name in OURS:
            one = self.tree[name]
            deploy.wait_until(
                lambda one=one: one.log().count(' serves') >= one.workers,
                deploy.START_SECONDS,
                '%s serves; see %s' % (name, one.log_file),
            )
        self.api = self._client(rpcapi.CellsAPI)
        self.records = self._client(rpcapi.InstancesAPI)
        deploy.wait_until(self._whole, 60, 'all are known to each other')

    def _client(self, cls):
        client = cls.from_conf(self.tree.conf('OTOP'))
        self._clients.append(client)
        return client

    def _whole(self):
        try:
            hosts = {one.host for one in self.api.compute_node_get_all(ADMIN)}
            free = self.api.get_capacities(ADMIN).get('ram_free', {})
            below = self.old.state('ntop')['told']['capacities'].get('OMID', {})
        except exceptions.WireError:
            return False
        return (
            len(hosts) == 2
            and free.get('total_mb', 0) > 100_000
            and below.get('ram_free', {}).get('total_mb', 0) > 100_000
        )

    def stop(self):
        for agent in self.agents:
            agent.end()
        self.old.stop()
        for client in self._clients:
            client.close()
        self.tree.stop()


@pytest.fixture(scope='module')
def forest(rabbit):
    directory = open_directory()
    found = Forest(directory, rabbit)
    try:
        found.start()
        yield found
    finally:
        found.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope='module')
def old(forest):
    return forest.old


@pytest.fixture(scope='module')
def api(forest):
    return forest.api


def asked_to_build(name='vm', target=None):
    """Return the uuid and the request of a build, as a client of Ocata sends it."""
    entries = json.loads((GOLDEN / 'client-ocata-none.json').read_text(encoding='utf-8'))
    [entry] = [one for one in entries if one['method'] == 'build_instances']
    kwargs = json.loads(json.dumps(entry['sent'][0]['message']['args']['build_inst_kwargs']))
    [instance] = kwargs['instances']
    data, wanted = instance['nova_object.data'], str(uuid.uuid4())
    for gone in ('host', 'node', 'launched_at', 'info_cache', 'id', 'cell_name'):
        data.pop(gone)
    data.update(uuid=wanted, display_name=name, vm_state='building', task_state='scheduling')
    instance['nova_object.changes'] = sorted(
        set(instance['nova_object.changes']) & data.keys() | {'uuid', 'display_name', 'vm_state'}
    )
    hints = {'target_cell': target} if target else {}
    kwargs['filter_properties']['scheduler_hints'] = hints
    kwargs['block_device_mapping'] = []
    return wanted, kwargs


def client(old, cell, url, method, version, args, wait=False):
    """Do as a client of an old release does."""
    ctxt = context.RequestContext('u1', 'p1', is_admin=True, roles=['admin']).to_dict()
    return old.do(
        cell, 'client', url=url, version=version, method=method, args=args, wait=wait, ctxt=ctxt
    )


def build_below_ntop(old, target=None, name='vm'):
    """Have something built below the old top, and wait until it runs there."""
    wanted, kwargs = asked_to_build(name, target)
    data = kwargs['instances'][0]['nova_object.data']
    old.do('ntop', 'put', uuid=wanted, **{key: data[key] for key in ('vm_state', 'task_state')})
    old.do(
        'ntop',
        'cast',
        target='ntop!OMID',
        method='build_instances',
        kwargs={'build_inst_kwargs': kwargs},
    )
    return wanted


def record_at_ntop(old, wanted, **values):
    """Wait until the record at the old top has these values, and return it."""

    def found():
        one = old.state('ntop')['instances'].get(wanted, {})
        return one if all(one.get(key) == value for key, value in values.items()) else None

    try:
        return deploy.wait_until(found, 60, '%s at ntop' % values)
    except AssertionError:
        state = old.state('ntop')
        raise AssertionError(
            '%s\n%s\n%s' % (state['instances'].get(wanted), state['faults'], state['lost'])
        ) from None


def record_at_otop(forest, wanted, **values):
    """Wait until the record at our top has these values, and return it."""

    def found():
        try:
            one = forest.records.get(ADMIN, wanted)
        except exceptions.InstanceNotFound:
            return None
        return one if all(one[key] == value for key, value in values.items()) else None

    try:
        return deploy.wait_until(found, 60, '%s at OTOP' % values)
    except AssertionError:
        one = forest.records.get(ADMIN, wanted)
        told = {name: one[name] for name in ('vm_state', 'task_state', 'host', 'cell_name')}
        lost = {name: forest.old.state(name)['lost'] for name in RELEASES}
        raise AssertionError(
            '%s\n%s\n%s' % (told, forest.records.faults(ADMIN, wanted), lost)
        ) from None


# -- listings --


def test_v1_a_listing_of_an_old_parent_has_the_hosts_of_ours_and_of_what_is_below(old):
    answers = old.do(
        'ntop', 'ask_all', method='compute_node_get_all', kwargs={'hypervisor_match': None}
    )
    hosts = {
        one['cell_name']: [
            node['nova_object.data']['host'] for node in one['value']['nova_object.data']['objects']
        ]
        for one in answers
    }
    assert hosts == {'ntop!OMID!nleaf': ['nleaf-host'], 'ntop!OMID': ['OMID-host']}
    found = old.do('ntop', 'ask_all', method='service_get_all', kwargs={'filters': None})
    assert [one['cell_name'] for one in found] == ['ntop!OMID!nleaf', 'ntop!OMID']


def test_v1_a_listing_of_ours_has_the_hosts_of_old_cells_and_of_ours_behind_them(api):
    found = {(one.host, one.cell_path) for one in api.compute_node_get_all(ADMIN)}
    assert found == {
        ('OTOP!nmid!OLEAF@OLEAF-host', 'OTOP!nmid!OLEAF'),
        ('OTOP!nchild@nchild-host', 'OTOP!nchild'),
    }
    services = api.service_get_all(ADMIN)
    assert {one.host.rpartition('@')[2] for one in services if one.binary == 'nova-compute'} == {
        'OLEAF-host',
        'nchild-host',
    }


# -- calls to one cell, and errors --


def test_v1_an_old_parent_asks_ours_and_what_is_behind_it(old):
    task_log = {
        'task_name': 'audit',
        'period_beginning': '2016-03-01 00:00:00',
        'period_ending': '2016-03-02 00:00:00',
        'host': None,
        'state': None,
    }
    for target in ('ntop!OMID', 'ntop!OMID!nleaf'):
        found = old.do('ntop', 'call', target=target, method='task_log_get_all', kwargs=task_log)
        assert found == []
    service = old.do(
        'ntop',
        'call',
        target='ntop!OMID',
        method='service_get_by_compute_host',
        kwargs={'host_name': 'OMID-host'},
    )
    assert service['nova_object.data']['host'] == 'OMID-host'


def test_v7_ours_at_the_top_asks_a_host_of_ours_behind_an_old_cell(api):
    assert 'up' in api.get_host_uptime(ADMIN, 'OTOP!nmid!OLEAF@OLEAF-host')
    for call, enabled in ((False, False), (True, True)):
        message = {'method': 'set_host_enabled', 'args': {'enabled': enabled}}
        topic = 'compute.OTOP!nmid!OLEAF@OLEAF-host'
        found = api.proxy_rpc_to_manager(ADMIN, message, topic, call, 10)
        assert found == ('enabled' if call else None)

        def is_so(enabled=enabled):
            one = api.service_get_by_compute_host(ADMIN, 'OTOP!nmid!OLEAF@OLEAF-host')
            return one.disabled is not enabled

        deploy.wait_until(is_so, 10, 'enabled is %s' % enabled)


def test_an_error_crosses_to_an_old_parent_by_its_name(old):
    with pytest.raises(old_peer.OldError) as caught:
        old.do(
            'ntop',
            'call',
            target='ntop!OMID',
            method='service_get_by_compute_host',
            kwargs={'host_name': 'nosuch'},
        )
    assert caught.value.name == 'ComputeHostNotFound'
    assert caught.value.kwargs == {'host': 'nosuch', 'code': 404}
    with pytest.raises(old_peer.OldError) as caught:
        old.do(
            'ntop',
            'call',
            target='ntop!OMID!nosuch',
            method='actions_get',
            kwargs={'instance_uuid': 'x'},
        )
    assert caught.value.name == 'CellRoutingInconsistency'


@pytest.mark.parametrize('path', ['OTOP!nmid', 'OTOP!nmid!OLEAF', 'OTOP!nchild'])
def test_an_error_of_an_old_cell_or_behind_one_is_raised_by_our_client(api, path):
    with pytest.raises(exceptions.ComputeHostNotFound, match='nosuch') as caught:
        api.service_get_by_compute_host(ADMIN, '%s@nosuch' % path)
    assert 'Traceback' not in str(caught.value)


def test_v2_an_operation_or_an_argument_that_ours_does_not_know_is_refused_by_name(old):
    with pytest.raises(old_peer.OldError) as caught:
        old.do('ntop', 'call', target='ntop!OMID', method='nosuch', kwargs={})
    assert caught.value.name == 'CellServiceAPIMethodNotFound'
    given = {'instance_uuid': 'x', 'later': 1}
    with pytest.raises(old_peer.OldError) as caught:
        old.do('ntop', 'call', target='ntop!OMID', method='actions_get', kwargs=given)
    assert caught.value.name == 'Invalid'
    assert 'later' in caught.value.text


def test_every_process_of_an_old_asker_gets_the_answer_by_fan_out(old):
    def settled():
        ways = collections.Counter(
            one['response_uuid'] for one in old.state('ntop')['heard'] if 'response_uuid' in one
        )
        return set(ways.values()) <= {2}

    deploy.wait_until(settled, 60, 'both processes have the answers of before')
    before = len(old.state('ntop')['heard'])
    old.do('ntop', 'ask_all', method='service_get_all', kwargs={'filters': None})
    old.do('ntop', 'call', target='ntop!OMID', method='actions_get', kwargs={'instance_uuid': 'x'})

    def heard():
        found = [one for one in old.state('ntop')['heard'][before:] if 'response_uuid' in one]
        ways = {(one['response_uuid'], one['process']) for one in found}
        assert len(ways) == len(found), 'twice'
        return found if len(found) == 4 else None

    answers = deploy.wait_until(heard, 60, 'both processes have both answers')
    assert all(one['fanout'] for one in answers)
    assert {one['process'] for one in answers} == {0, 1}


def test_whichever_worker_of_ours_asks_gets_the_answer_of_old_cells(api):
    for _ in range(8):
        assert api.actions_get(ADMIN, {'uuid': 'x', 'cell_name': 'OTOP!nchild'}) == []
        assert len(api.compute_node_get_all(ADMIN)) == 2


# -- an old client --


def test_v1_an_old_client_talks_to_ours(forest, old):
    url = forest.tree['OTOP'].transport_url
    found = client(old, 'ntop', url, 'service_get_all', '1.2', {'filters': None}, wait=True)
    assert {one['cell_proxy.cell_path'] for one in found} >= {'OTOP!nchild', 'OTOP!nmid!OLEAF'}
    args = {'host_name': 'OTOP!nchild@nosuch'}
    with pytest.raises(old_peer.OldError) as caught:
        client(old, 'ntop', url, 'service_get_by_compute_host', '1.2', args, wait=True)
    assert caught.value.name == 'ComputeHostNotFound'


def test_v1_an_old_client_has_instances_built_and_changed_behind_an_old_cell(forest, old):
    url = forest.tree['OTOP'].transport_url
    wanted, kwargs = asked_to_build(target='OTOP!nmid!OLEAF')
    client(old, 'ntop', url, 'build_instances', '1.34', {'build_inst_kwargs': kwargs})
    built = record_at_otop(forest, wanted, vm_state='active', task_state=None)
    assert (built['cell_name'], built['host']) == ('OTOP!nmid!OLEAF', 'OLEAF-host')
    instance = {'uuid': wanted, 'cell_name': built['cell_name']}
    forest.api.stop_instance(ADMIN, instance)
    record_at_otop(forest, wanted, vm_state='stopped', task_state=None)
    assert 'stop' in {one['action'] for one in forest.api.actions_get(ADMIN, instance)}
    forest.api.terminate_instance(ADMIN, instance, [])
    deploy.wait_until(lambda: _gone(forest, wanted), 20, 'it is deleted at the top')


def _gone(forest, wanted):
    try:
        forest.records.get(ADMIN, wanted)
    except exceptions.InstanceNotFound:
        return True
    return False


# -- builds and what becomes of them --


def test_v1_ours_builds_in_an_old_child(forest, old):
    wanted, kwargs = asked_to_build(target='OTOP!nchild')
    url = forest.tree['OTOP'].transport_url
    client(old, 'ntop', url, 'build_instances', '1.34', {'build_inst_kwargs': kwargs})
    built = record_at_otop(forest, wanted, vm_state='active', task_state=None, host='nchild-host')
    assert built['cell_name'] == 'OTOP!nchild'
    instance = {'uuid': wanted, 'cell_name': 'OTOP!nchild'}
    forest.api.reboot_instance(ADMIN, instance, None, 'HARD')
    actions = deploy.wait_until(
        lambda: [
            one for one in forest.api.actions_get(ADMIN, instance) if one['action'] == 'reboot'
        ],
        10,
        'it is noted there',
    )
    assert len(actions) == 1


def test_v1_a_build_that_an_old_child_cannot_do_ends_in_an_error_at_our_top(forest, old):
    wanted, kwargs = asked_to_build(name='no-host', target='OTOP!nchild')
    url = forest.tree['OTOP'].transport_url
    client(old, 'ntop', url, 'build_instances', '1.34', {'build_inst_kwargs': kwargs})
    record_at_otop(forest, wanted, vm_state='error')
    assert forest.records.faults(ADMIN, wanted)


def test_v1_an_old_parent_has_instances_built_and_changed_in_ours(old):
    wanted = build_below_ntop(old, target='ntop!OMID')
    built = record_at_ntop(old, wanted, vm_state='active', task_state=None, cell_name='ntop!OMID')
    assert built['host'] == 'OMID-host'
    instance = instance_of(wanted)
    for method, state in (('stop_instance', 'stopped'), ('start_instance', 'active')):
        old.do('ntop', 'cast', target='ntop!OMID', method=method, kwargs={'instance': instance})
        record_at_ntop(old, wanted, vm_state=state, task_state=None)
    found = old.do(
        'ntop', 'call', target='ntop!OMID', method='actions_get', kwargs={'instance_uuid': wanted}
    )
    assert {'create', 'stop', 'start'} <= {one['action'] for one in found}
    old.do(
        'ntop',
        'cast',
        target='ntop!OMID',
        method='terminate_instance',
        kwargs={'instance': instance},
    )
    deploy.wait_until(lambda: wanted in old.state('ntop')['deleted'], 20, 'it is deleted')


def instance_of(wanted):
    return {
        'nova_object.name': 'Instance',
        'nova_object.namespace': 'nova',
        'nova_object.version': '2.4',
        'nova_object.data': {'uuid': wanted},
    }


def test_v1_ours_between_passes_builds_and_updates_of_old_cells_on(old):
    for _ in range(5):
        wanted = build_below_ntop(old, target='ntop!OMID!nleaf')
        built = record_at_ntop(old, wanted, vm_state='active', cell_name='ntop!OMID!nleaf')
        # One of the two processes of the top may be late with the first of two updates.
        if SWAPPED not in old.state('ntop')['lost'][-2:]:
            break
    assert built['host'] == 'nleaf-host'
    old.do(
        'ntop',
        'cast',
        target='ntop!OMID!nleaf',
        method='stop_instance',
        kwargs={'instance': instance_of(wanted), 'clean_shutdown': True},
    )
    record_at_ntop(old, wanted, vm_state='stopped')


def test_an_order_that_ours_refuses_is_told_to_an_old_parent(old):
    wanted = build_below_ntop(old, target='ntop!OMID')
    record_at_ntop(old, wanted, vm_state='active', task_state=None)
    # It thinks that this is going on, and it is not: what is stopped already cannot be resumed.
    old.do('ntop', 'put', uuid=wanted, task_state='resuming')
    old.do(
        'ntop',
        'cast',
        target='ntop!OMID',
        method='resume_instance',
        kwargs={'instance': instance_of(wanted)},
    )
    record_at_ntop(old, wanted, vm_state='active', task_state=None)
    [fault] = deploy.wait_until(
        lambda: [one for one in old.state('ntop')['faults'] if one['instance_uuid'] == wanted],
        10,
        'the fault is told',
    )
    assert 'resume' in fault['message']


# -- healing --


def test_s1_ours_heals_what_is_wrong_at_an_old_top(old):
    wanted = build_below_ntop(old, target='ntop!OMID')
    built = record_at_ntop(old, wanted, vm_state='active', task_state=None)
    wrong = {'vm_state': 'error', 'host': 'elsewhere', 'power_state': 4, 'display_name': 'x'}
    old.do('ntop', 'put', uuid=wanted, **wrong)
    record_at_ntop(old, wanted, **{key: built[key] for key in wrong})


def test_s3_a_record_that_an_old_top_has_lost_is_told_so_that_it_can_be_made_again(old):
    wanted = build_below_ntop(old, target='ntop!OMID')
    record_at_ntop(old, wanted, vm_state='active', task_state=None)
    old.do('ntop', 'drop', uuid=wanted)
    again = record_at_ntop(old, wanted, vm_state='active', host='OMID-host')
    assert again['flavor']['name'] == 'm1.small'


def test_s1_our_top_is_healed_by_what_an_old_child_tells_again(forest, old):
    wanted, kwargs = asked_to_build(target='OTOP!nchild')
    url = forest.tree['OTOP'].transport_url
    client(old, 'ntop', url, 'build_instances', '1.34', {'build_inst_kwargs': kwargs})
    record_at_otop(forest, wanted, vm_state='active', task_state=None)
    break_record(forest, wanted)
    old.do('nchild', 'heal')
    record_at_otop(forest, wanted, vm_state='active', host='nchild-host', power_state=1)


def break_record(forest, wanted):
    """Make the record of an instance at our top wrong."""
    database = engine.Database(forest.tree['OTOP'].database_url, pool_size=1)
    try:
        with database.write() as connection:
            values = {'vm_state': 'error', 'host': 'elsewhere', 'power_state': 4}
            instances.instance_update(connection, wanted, values, sync=False)
    finally:
        database.dispose()


def test_s1_our_top_is_healed_by_ours_behind_an_old_cell(forest, old):
    wanted, kwargs = asked_to_build(target='OTOP!nmid')
    url = forest.tree['OTOP'].transport_url
    client(old, 'ntop', url, 'build_instances', '1.34', {'build_inst_kwargs': kwargs})
    built = record_at_otop(forest, wanted, vm_state='active', task_state=None)
    assert built['cell_name'] == 'OTOP!nmid!OLEAF'
    break_record(forest, wanted)
    record_at_otop(forest, wanted, vm_state='active', host='OLEAF-host')


def test_an_old_parent_has_the_state_of_ours_told_again(old):
    wanted = build_below_ntop(old, target='ntop!OMID')
    record_at_ntop(old, wanted, vm_state='active', task_state=None)
    old.do('ntop', 'put', uuid=wanted, memory_mb=1)
    old.do(
        'ntop',
        'broadcast',
        direction='down',
        method='sync_instances',
        kwargs={'project_id': None, 'updated_since': None, 'deleted': False},
    )
    record_at_ntop(old, wanted, memory_mb=2048)


# -- what operators see, and what was lost --


def test_v9_the_status_shows_which_neighbour_is_plain_and_when_it_was(forest):
    for name, expected in (
        ('OMID', {'ntop': 'plain', 'nleaf': 'plain'}),
        ('OTOP', {'nmid': 'plain', 'nchild': 'plain'}),
        ('OLEAF', {'nmid': 'plain'}),
    ):
        status = forest.tree.ops(name).status(ADMIN)
        assert {one['name']: one['protocol'] for one in status['neighbours']} == expected
        assert status['envelope_extensions'] is True
        for one in status['neighbours']:
            assert one['last_plain_at'] <= one['last_seen'] + 0.001
            assert one['last_plain_at'] > one['last_seen'] - 60


def test_nothing_that_ours_sends_is_lost_in_an_old_cell(old):
    for name in RELEASES:
        state = old.state(name)
        assert state['modules'] == [], 'it must not be made of what it tests'
        told = [one for one in state['lost'] if not one.startswith(EXPECTED)]
        assert told == []
        foreign = {one['method_name'] for one in state['heard']} - FIRST_WORDS
        assert not [one for one in foreign if one.startswith('x_')]


#: Failures that the tests above have brought about.
EXPECTED = (
    'service_get_by_compute_host failed: Compute host nosuch',
    SWAPPED,
    'terminate_instance failed: Instance',
    'x_',
)
#: What ours may ask a neighbour of which it has not heard yet.
FIRST_WORDS = frozenset(('x_instances_update_at_top', 'x_instances_compare', 'x_ping'))
