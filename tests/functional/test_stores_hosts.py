"""Services, compute nodes and flavors, and what is done with them, on each kind of database."""

import concurrent.futures
import contextlib
import datetime
import json
import threading

import pytest
import sqlalchemy as sa

from cells import context, exceptions, host_capacity, messages, operations, paths
from cells.db import (
    changes,
    compute_nodes,
    flavors,
    host_reports,
    models,
    services,
)
from cells.endpoints import agents
from cells.handlers import hosts as host_handlers
from cells.handlers import services as service_handlers

CTXT = context.RequestContext('u', 'p', is_admin=True)
DOWN_AFTER = 3600.0
NODE = {
    'hypervisor_hostname': 'n1.example.org',
    'vcpus': 8,
    'vcpus_used': 1,
    'memory_mb': 32768,
    'memory_mb_used': 8192,
    'free_ram_mb': 24576,
    'local_gb': 200,
    'local_gb_used': 100,
    'free_disk_gb': 100,
    'cpu_allocation_ratio': 1.0,
}


def report(database, host='h1', machine='m1', nodes=(NODE,), unwilling=None):
    """Report as the agent of a host would."""
    found = host_reports.HostReport(host, 'nova-compute', 'compute', machine, nodes, unwilling)
    host_reports.host_report(database, found, DOWN_AFTER)


def add_flavor(database, name, memory_mb=2048, **values):
    given = {'name': name, 'flavorid': 'id-' + name, 'memory_mb': memory_mb, 'vcpus': 1, **values}
    with database.write() as connection:
        flavors.flavor_create(connection, given)


def age(database, seconds):
    """Let all services have reported so many seconds earlier."""
    seen = models.utcnow() - datetime.timedelta(seconds=seconds)
    with database.write() as connection:
        connection.execute(sa.update(models.Service).values(last_seen_up=seen))


@contextlib.contextmanager
def counted(database, times):
    """Check how often the counter of changes of hosts is raised in a block."""
    before = changes.versions(database).get(changes.HOSTS, 0)
    yield
    assert changes.versions(database).get(changes.HOSTS, 0) - before == times


def capacities(database, percent=10.0):
    return host_capacity.own_capacities(database, percent, DOWN_AFTER)


def order():
    """Return the message that a change comes with."""
    return messages.TargetedMessage(
        ctxt=CTXT.to_dict(),
        method_name='service_update',
        method_kwargs={},
        direction=operations.Direction.DOWN,
        routing_path=paths.CellPath(('api',)),
        target_cell=paths.CellPath(('api',)),
        uuid='22222222-2222-4222-8222-222222222222',
        hop_count=1,
        need_response=True,
    )


class Agents:
    """Stands for the agents of all hosts, and notes what they are told."""

    def __init__(self):
        self.told = []

    def call(self, ctxt, host, method, timeout=None, **kwargs):
        self.told.append(('call', host, method, timeout, kwargs))
        return 'done'

    def cast(self, ctxt, host, method, **kwargs):
        self.told.append(('cast', host, method, None, kwargs))


@pytest.fixture
def hosts(database):
    return host_handlers.HostHandlers(
        database, Agents(), compute_topic='compute', service_down_time=DOWN_AFTER
    )


@pytest.fixture
def handlers(database):
    return service_handlers.ServiceHandlers(database)


# -- reports --


def test_a_report_makes_service_and_node_and_the_next_changes_them(database):
    with counted(database, 1):
        report(database)
    [service] = services.service_get_all(database)
    assert (service['host'], service['binary'], service['topic']) == (
        'h1',
        'nova-compute',
        'compute',
    )
    assert (service['report_count'], service['disabled'], service['machine_id']) == (1, False, 'm1')
    assert services.is_up(service, 1)
    [node] = compute_nodes.compute_node_get_all(database)
    assert {name: node[name] for name in NODE} == NODE
    assert node['service_id'] == service['id']
    with counted(database, 1):
        report(database, nodes=[{**NODE, 'free_ram_mb': 1000}])
    [changed] = compute_nodes.compute_node_get_all(database)
    assert (changed['id'], changed['uuid']) == (node['id'], node['uuid'])
    assert changed['free_ram_mb'] == 1000
    assert services.service_get_all(database)[0]['report_count'] == 2


def test_a_mere_heartbeat_is_no_change(database):
    nodes = [{**NODE, 'stats': {'b': '1', 'a': None}, 'supported_hv_specs': []}]
    report(database, nodes=nodes)
    [before] = compute_nodes.compute_node_get_all(database)
    with counted(database, 0):
        for _ in range(3):
            report(database, nodes=nodes)
        report(database, nodes=[{**nodes[0], 'running_vms': 3}])
    [after] = compute_nodes.compute_node_get_all(database)
    assert after == {**before, 'running_vms': 3, 'updated_at': after['updated_at']}
    assert after['stats'] == {'a': None, 'b': '1'}


def test_a_host_that_comes_back_is_a_change(database):
    report(database)
    age(database, DOWN_AFTER + 1)
    with counted(database, 1):
        report(database)


def test_nodes_that_are_not_reported_any_more_are_deleted(database):
    report(database, nodes=[NODE, {**NODE, 'hypervisor_hostname': 'n2'}])
    assert len(compute_nodes.compute_node_get_all(database)) == 2
    report(database, nodes=[{**NODE, 'hypervisor_hostname': 'n2'}])
    [left] = compute_nodes.compute_node_get_all(database)
    assert left['hypervisor_hostname'] == 'n2'
    report(database)
    assert [one['hypervisor_hostname'] for one in compute_nodes.compute_node_get_all(database)] == [
        NODE['hypervisor_hostname']
    ]


def test_another_machine_cannot_take_a_name_that_is_in_use(database):
    report(database, machine='m1')
    with pytest.raises(exceptions.HostNameInUse, match='Host h1 is another machine'):
        report(database, machine='m2', nodes=[])
    assert len(compute_nodes.compute_node_get_all(database)) == 1
    report(database, machine='m1')
    age(database, DOWN_AFTER + 1)
    report(database, machine='m2')
    with pytest.raises(exceptions.HostNameInUse):
        report(database, machine='m1')


def test_a_stranger_is_refused_and_logged_once(database, caplog):
    report(database, machine='m1')
    found = agents.HostEndpoint(database=database, own_name='c', service_down_time=DOWN_AFTER)
    for _ in range(3):
        with pytest.raises(Exception) as raised:  # noqa: PT011 - the wrapper of oslo.messaging
            found.report(
                CTXT,
                host='h1',
                binary='nova-compute',
                topic='compute',
                machine_id='m2',
                resources=[],
            )
        assert isinstance(raised.value.exc_info[1], exceptions.HostNameInUse)
    assert len([one for one in caplog.records if 'machine m2' in one.getMessage()]) == 1


@pytest.mark.parametrize('host', ['', 'a@b', 'a!b', 'a b', 'a\nb', 'x' * 201, None, 7, '\ud800'])
def test_r14_a_host_has_a_name_that_others_can_write(database, host):
    found = agents.HostEndpoint(database=database, own_name='c', service_down_time=DOWN_AFTER)
    with pytest.raises(Exception) as raised:  # noqa: PT011 - the wrapper of oslo.messaging
        found.report(CTXT, host=host, binary='b', topic='compute', machine_id='m', resources=[NODE])
    assert isinstance(raised.value.exc_info[1], exceptions.Invalid)
    assert 'host' in str(raised.value.exc_info[1])
    assert services.service_get_all(database) == []


def test_an_agents_own_flags_disable_its_service_and_enable_it_again(database):
    report(database)
    with counted(database, 1):
        report(database, unwilling='the host is in maintenance')
    [service] = services.service_get_all(database)
    assert (service['disabled'], service['disabled_reason']) == (
        True,
        'AUTO: the host is in maintenance',
    )
    with counted(database, 0):
        report(database, unwilling='the host is in maintenance')
    report(database)
    [service] = services.service_get_all(database)
    assert (service['disabled'], service['disabled_reason']) == (False, None)


def test_an_agent_does_not_enable_what_an_operator_has_disabled(database):
    report(database)
    with database.write() as connection:
        services.service_update(
            connection, 'h1', 'nova-compute', {'disabled': True, 'disabled_reason': 'broken fan'}
        )
    report(database, unwilling='the host is disabled')
    report(database)
    [service] = services.service_get_all(database)
    assert (service['disabled'], service['disabled_reason']) == (True, 'broken fan')


def test_hosts_that_report_for_the_first_time_at_the_same_moment(database):
    barrier = threading.Barrier(6)
    endpoint = agents.HostEndpoint(database=database, own_name='c', service_down_time=DOWN_AFTER)

    def first(number):
        barrier.wait(10)
        for _ in range(5):
            endpoint.report(
                CTXT,
                host='h%d' % (number // 2),
                binary='nova-compute',
                topic='compute',
                machine_id='m%d' % (number // 2),
                resources=[NODE],
            )

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(first, range(6)))
    assert len(services.service_get_all(database)) == 3
    assert len(compute_nodes.compute_node_get_all(database)) == 3
    assert sum(one['report_count'] for one in services.service_get_all(database)) == 30


# -- capacity --


def test_capacity_is_counted_from_the_tables(database):
    report(database)
    report(database, 'h2', 'm2')
    add_flavor(database, 'small', root_gb=10, ephemeral_gb=10)
    add_flavor(database, 'same', root_gb=20)
    add_flavor(database, 'large', memory_mb=16384)
    assert capacities(database) == {
        'ram_free': {'total_mb': 49152, 'units_by_mb': {'2048': 20, '16384': 2}},
        'disk_free': {'total_mb': 204800, 'units_by_mb': {'0': 0, '20480': 8}},
        'free': {'16384:64:4': 2},
    }


def test_d2_only_hosts_that_are_up_count(database):
    add_flavor(database, 'small')
    assert capacities(database) == {}
    report(database, 'good', 'm1')
    expected = capacities(database)
    assert expected['ram_free']['units_by_mb'] == {'2048': 10}
    report(database, 'disabled', 'm2', unwilling='the host is disabled')
    report(database, 'forced', 'm3')
    with database.write() as connection:
        services.service_update(connection, 'forced', 'nova-compute', {'forced_down': True})
    report(database, 'deleted', 'm4')
    doomed = services.service_find(database, 'deleted')
    with database.write() as connection:
        services.service_delete(connection, doomed['id'])
    compute_nodes.compute_node_save(database, 'no-service', **{**NODE, 'hypervisor_hostname': 'x'})
    report(database, 'silent', 'm5')
    with database.write() as connection:
        silent = models.utcnow() - datetime.timedelta(seconds=DOWN_AFTER + 5)
        connection.execute(
            sa.update(models.Service)
            .where(models.Service.host == 'silent')
            .values(last_seen_up=silent)
        )
    services.service_report(database, 'other', 'nova-conductor', 'conductor')
    compute_nodes.compute_node_save(database, 'other', **{**NODE, 'hypervisor_hostname': 'y'})
    assert len(compute_nodes.compute_node_get_all(database)) == 7
    assert capacities(database) == expected
    age(database, DOWN_AFTER + 1)
    assert capacities(database) == {}


def test_d2_nulls_and_negative_values_in_the_table_count_for_nothing(database):
    add_flavor(database, 'small')
    report(database, 'good', 'm1')
    expected = capacities(database)
    report(database, 'bad', 'm2')
    with database.write() as connection:
        connection.execute(
            sa.update(models.ComputeNode)
            .where(models.ComputeNode.host == 'bad')
            .values(free_ram_mb=-7, free_disk_gb=None, vcpus=-1)
        )
    assert capacities(database) == expected


@pytest.mark.parametrize('number', [1, 3000])
def test_hosts_are_counted_with_as_many_questions_as_one(database, number):
    now = models.utcnow()
    with database.write() as connection:
        for first in range(0, number, 500):
            connection.execute(
                sa.insert(models.Service).values(
                    [
                        {
                            'host': 'h%d' % one,
                            'binary': 'nova-compute',
                            'topic': 'compute',
                            'last_seen_up': now,
                        }
                        for one in range(first, min(number, first + 500))
                    ]
                )
            )
            connection.execute(
                sa.insert(models.ComputeNode).values(
                    [
                        {
                            **NODE,
                            'host': 'h%d' % one,
                            'uuid': 'u%d' % one,
                            'free_ram_mb': 10_000 + one,
                        }
                        for one in range(first, min(number, first + 500))
                    ]
                )
            )
    for one in range(20):
        add_flavor(database, 'f%d' % one, memory_mb=512 * (one + 1), root_gb=one)
    asked = []
    sa.event.listen(database.engine, 'before_cursor_execute', lambda *args: asked.append(args[2]))
    found = capacities(database)
    assert len(asked) <= 4, asked
    assert len(found['ram_free']['units_by_mb']) == 20
    assert sum(found['free'].values()) == number


# -- flavors --


def test_flavors_are_kept_with_what_belongs_to_them(database):
    with counted(database, 1):
        add_flavor(database, 'größe', extra_specs={'a': 'b'}, description='x')
    found = flavors.flavor_get(database, 'id-größe')
    assert (found['extra_specs'], found['projects'], found['is_public']) == ({'a': 'b'}, [], True)
    assert found['rxtx_factor'] == 1.0
    with pytest.raises(exceptions.FlavorExists):
        add_flavor(database, 'größe', flavorid='other')
    with pytest.raises(exceptions.FlavorIdExists):
        add_flavor(database, 'other', flavorid='id-größe')
    with counted(database, 1), database.write() as connection:
        flavors.flavor_delete(connection, 'id-größe')
    assert flavors.flavor_get_all(database) == []
    with pytest.raises(exceptions.FlavorNotFound):
        flavors.flavor_get(database, 'id-größe')
    with pytest.raises(exceptions.FlavorNotFound), database.write() as connection:
        flavors.flavor_delete(connection, 'id-größe')
    add_flavor(database, 'größe')
    assert len(flavors.flavor_get_all(database)) == 1


# -- what is asked --


def test_compute_nodes_are_found_by_id_by_uuid_and_by_name(database, hosts):
    report(database)
    report(database, 'h2', 'm2', [{**NODE, 'hypervisor_hostname': '100%_sure'}])
    nodes = list(hosts.compute_node_get_all(CTXT))
    assert [node.host for node in nodes] == ['h1', 'h2']
    assert nodes[0].memory_mb == 32768
    assert nodes[0].deleted is False
    assert hosts.compute_node_get(CTXT, str(nodes[1].id)).host == 'h2'
    assert hosts.compute_node_get(CTXT, nodes[1].id).host == 'h2'
    assert hosts.compute_node_get(CTXT, nodes[0].uuid).host == 'h1'
    for match, found in (
        ('EXAMPLE', ['h1']),
        ('%_s', ['h2']),
        ('_1', []),
        ('', ['h1', 'h2']),
        ('größe', []),
    ):
        assert [one.host for one in hosts.compute_node_get_all(CTXT, match)] == found
    json.dumps(hosts.compute_node_get_all(CTXT).obj_to_primitive())


@pytest.mark.parametrize(
    'bad', ['', '@', '1@2', 'x', '-1', '0', '1.0', '９', 'größe', '9' * 40, None, True, [], {}, 1.5]
)
def test_r14_a_bad_id_of_a_compute_node_is_the_callers_error(database, hosts, bad):
    report(database)
    with pytest.raises(exceptions.ComputeHostNotFound):
        hosts.compute_node_get(CTXT, bad)


@pytest.mark.parametrize('bad', ['', '@', '1@2', 'x', '-1', '0', '９', '9' * 40, None, True, []])
def test_r14_a_bad_id_of_a_service_is_the_callers_error(database, handlers, bad):
    report(database)
    with pytest.raises(exceptions.ServiceNotFound), database.write() as connection:
        handlers.service_delete(connection, order(), bad)
    assert len(services.service_get_all(database)) == 1


@pytest.mark.parametrize('bad', ['nosuch', 'größe', 'a@b', 'H1'])
def test_r14_an_unknown_host_is_not_found(database, hosts, handlers, bad):
    report(database)
    with pytest.raises(exceptions.ComputeHostNotFound):
        handlers.service_get_by_compute_host(CTXT, bad)
    with pytest.raises(exceptions.ComputeHostNotFound):
        hosts.get_host_uptime(CTXT, bad)
    with pytest.raises(exceptions.HostBinaryNotFound), database.write() as connection:
        handlers.service_update(connection, order(), bad, 'nova-compute', {'disabled': True})


@pytest.mark.parametrize('bad', ['', None, 7, [], 'x' * 256, '\ud800', 'a\0b'])
def test_r14_what_cannot_be_a_host_is_invalid(database, hosts, handlers, bad):
    with pytest.raises(exceptions.Invalid, match='host_name'):
        handlers.service_get_by_compute_host(CTXT, bad)
    with pytest.raises(exceptions.Invalid, match='host_name'):
        hosts.get_host_uptime(CTXT, bad)
    with pytest.raises(exceptions.Invalid, match='host_name'), database.write() as connection:
        handlers.service_update(connection, order(), bad, 'nova-compute', {'disabled': True})


def test_statistics_add_up_what_is_up(database, hosts):
    assert hosts.compute_node_stats(CTXT) == dict.fromkeys(('count', *compute_nodes.TOTALS), 0)
    report(database)
    report(database, 'h2', 'm2', [{**NODE, 'running_vms': 3}])
    report(database, 'h3', 'm3', unwilling='the host is disabled')
    found = hosts.compute_node_stats(CTXT)
    assert all(type(value) is int for value in found.values())
    assert (found['count'], found['vcpus'], found['memory_mb']) == (2, 16, 65536)
    assert (found['running_vms'], found['disk_available_least']) == (3, 0)
    age(database, DOWN_AFTER + 1)
    assert hosts.compute_node_stats(CTXT)['count'] == 0


# -- what is changed --


def test_a_service_is_changed_and_returned(database, handlers):
    report(database)
    with counted(database, 1), database.write() as connection:
        found = handlers.service_update(
            connection,
            order(),
            'h1',
            'nova-compute',
            {'disabled': True, 'disabled_reason': 'größe'},
        )
    assert (found.host, found.disabled, found.disabled_reason) == ('h1', True, 'größe')
    assert handlers.service_get_by_compute_host(CTXT, 'h1').disabled is True
    assert [one.host for one in handlers.service_get_all(CTXT, {'disabled': True})] == ['h1']
    with counted(database, 0), database.write() as connection:
        handlers.service_update(
            connection, order(), 'h1', 'nova-compute', {'disabled_reason': None}
        )
    with database.write() as connection:
        found = handlers.service_update(
            connection, order(), 'h1', 'nova-compute', {'disabled': 0, 'forced_down': True}
        )
    assert (found.disabled, found.disabled_reason, found.forced_down) == (False, None, True)


@pytest.mark.parametrize(
    ('params', 'text'),
    [
        ({'host': 'h2'}, "'host'; a service can be changed in disabled, disabled_reason"),
        ({'disabled': True, 'id': 7}, 'id'),
        ({}, 'nothing'),
        (None, 'params_to_update'),
        ('disabled', 'params_to_update'),
        ({'disabled': 'yes'}, 'disabled'),
        ({'disabled': None}, 'disabled'),
        ({'forced_down': 2}, 'forced_down'),
        ({'disabled_reason': 7}, 'disabled_reason'),
        ({'disabled_reason': 'x' * 256}, 'disabled_reason'),
    ],
)
def test_what_may_not_be_changed_in_a_service_is_refused_by_name(database, handlers, params, text):
    report(database)
    before = services.service_get_all(database)
    with pytest.raises(exceptions.Invalid, match=text), database.write() as connection:
        handlers.service_update(connection, order(), 'h1', 'nova-compute', params)
    assert services.service_get_all(database) == before


def test_a_deleted_service_takes_its_nodes_along(database, handlers):
    report(database)
    report(database, 'h2', 'm2')
    [first, _] = services.service_get_all(database)
    with database.write() as connection:
        handlers.service_delete(connection, order(), str(first['id']))
    assert [one['host'] for one in services.service_get_all(database)] == ['h2']
    assert [one['host'] for one in compute_nodes.compute_node_get_all(database)] == ['h2']
    with pytest.raises(exceptions.ServiceNotFound), database.write() as connection:
        handlers.service_delete(connection, order(), str(first['id']))
    report(database)
    assert {one['host'] for one in compute_nodes.compute_node_get_all(database)} == {'h1', 'h2'}


@pytest.mark.parametrize('filters', [{'colour': 1}, {'compute_node': None}, {'machine_id': 'm1'}])
def test_only_attributes_are_filters(database, handlers, filters):
    with pytest.raises(exceptions.Invalid, match='no attribute'):
        handlers.service_get_all(CTXT, filters)


def test_a_filter_has_a_value_that_can_be(database, handlers):
    with pytest.raises(exceptions.Invalid, match='disabled'):
        handlers.service_get_all(CTXT, {'disabled': 'maybe'})


# -- what is passed on to agents --


def proxy(hosts, message, method='set_host_enabled', host='h1', topic='compute.x@h1', **kwargs):
    values = {'rpc_message': {'method': method, 'args': kwargs.pop('args', {})}, **kwargs}
    return hosts.proxy_rpc_to_manager(CTXT, message, host_name=host, topic=topic, **values)


def test_v7_an_agent_is_called_or_cast_to_without_its_cell_path(database):
    report(database)
    found = Agents()
    hosts = host_handlers.HostHandlers(
        database, found, compute_topic='compute', service_down_time=DOWN_AFTER
    )
    message = order()
    args = {'enabled': False}
    assert proxy(hosts, message, args=args, topic='compute.api!x@h1') == 'done'
    cast = messages.TargetedMessage(
        **{
            **{name: getattr(message, name) for name in message.__dataclass_fields__},
            'need_response': False,
        }
    )
    assert proxy(hosts, cast, args=args) is None
    told = {'enabled': False, 'op_id': message.uuid}
    assert found.told == [
        ('call', 'h1', 'set_host_enabled', None, told),
        ('cast', 'h1', 'set_host_enabled', None, told),
    ]
    proxy(hosts, message, 'host_maintenance_mode', args={'host': 'h1', 'mode': True}, timeout=2.5)
    assert found.told[-1][1:4] == ('h1', 'host_maintenance_mode', 2.5)
    assert found.told[-1][4]['mode'] is True
    assert 'host' not in found.told[-1][4]


@pytest.mark.parametrize(
    ('method', 'args', 'text'),
    [
        ('terminate_instance', {}, 'hosts can be asked for .*get_host_uptime'),
        ('__init__', {}, 'hosts can be asked for'),
        (None, {}, 'hosts can be asked for'),
        (['ping'], {}, 'hosts can be asked for'),
        ('ping', {'x': 1}, 'ping has no argument'),
        ('set_host_enabled', {'enabled': True, 'op_id': 'x'}, 'no argument .op_id'),
        ('set_host_enabled', 'enabled', 'args'),
    ],
)
def test_x2_only_what_is_listed_can_be_done_on_a_host(database, hosts, method, args, text):
    report(database)
    with pytest.raises(exceptions.Invalid, match=text):
        proxy(hosts, order(), method, args=args)


@pytest.mark.parametrize('topic', ['console.x@h1', 'computer.x@h1', '', None, 7])
def test_x2_only_agents_can_be_reached(database, hosts, topic):
    report(database)
    with pytest.raises(exceptions.Invalid, match='topic'):
        proxy(hosts, order(), 'ping', topic=topic)


@pytest.mark.parametrize('timeout', [0, -1, 'soon', True, float('inf'), []])
def test_a_time_limit_is_a_number_above_nothing(database, hosts, timeout):
    report(database)
    with pytest.raises(exceptions.Invalid, match='timeout'):
        proxy(hosts, order(), 'ping', timeout=timeout)


def test_a_host_that_is_down_is_not_waited_for(database, hosts):
    report(database)
    age(database, DOWN_AFTER + 1)
    with pytest.raises(exceptions.ComputeServiceUnavailable, match='h1'):
        hosts.get_host_uptime(CTXT, 'h1')
    with pytest.raises(exceptions.ComputeServiceUnavailable, match='h1'):
        proxy(hosts, order(), 'ping')
