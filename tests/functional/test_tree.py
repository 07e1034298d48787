"""The routing side as a whole: real processes over RabbitMQ and PostgreSQL, and what breaks them.

Three levels, two workers in each cell, an agent in each of two compute cells: every query
through ``CellsAPI``; then the middle cell is killed, the broker restarted, the database stopped.
"""

import contextlib
import datetime
import shutil
import time

import pytest

from cells import exceptions
from cells.db import (
    flavors,
    instance_actions,
    instance_migrations,
    instances,
    key_pairs,
    task_log,
)
from tests import deploy, deploy_hosts
from tests.conftest import open_directory

CALL_TIMEOUT = 5
CELLS = {'api': None, 'mid': 'api', 'leaf': 'mid', 'leaf2': 'mid'}
BEGIN, END = datetime.datetime(2016, 1, 1), datetime.datetime(2016, 2, 1)
UUID = '11111111-1111-4111-8111-111111111111'
HOST = 'api!mid!leaf@host-leaf'
REQUEST = 'req-22222222-2222-4222-8222-222222222222'


@pytest.fixture(scope='module')
def tree(rabbit, postgresql):
    directory = open_directory()
    found = deploy.Tree(
        directory / 'tree',
        rabbit,
        postgresql.create_database,
        CELLS,
        prefix='tree_',
        options='call_timeout = %d\nreceipt_timeout = 2\nreserve_percent = 0' % CALL_TIMEOUT,
    )
    for name in CELLS:
        fill(found[name].database(), name)
    agents = [
        deploy_hosts.Agent(directory / name, 'host-' + name, found[name].transport_url)
        for name in ('leaf', 'leaf2')
    ]
    try:
        with found.running():
            for agent in agents:
                agent.start()
            yield found
    finally:
        for agent in agents:
            agent.end()
        shutil.rmtree(directory, ignore_errors=True)


def fill(database, name: str) -> None:
    """Put a row of everything that is asked for into the database of a cell."""
    with database.write() as connection:
        flavors.flavor_create(
            connection, {'name': 'small', 'flavorid': '1', 'memory_mb': 64, 'vcpus': 1}
        )
        if name == 'api':
            key_pairs.key_pair_create(
                connection, {'user_id': 'u1', 'name': 'schlüssel', 'public_key': 'ssh-rsa AAAA'}
            )
        if name in ('api', 'leaf'):
            instances.instance_create(
                connection,
                {
                    'uuid': UUID,
                    'cell_name': 'api!mid!leaf' if name == 'api' else None,
                    'host': 'host-leaf',
                    'project_id': 'p1',
                    'user_id': 'u1',
                    'vm_state': 'active',
                },
            )
        if name == 'leaf':
            action = instance_actions.action_create(
                connection, {'instance_uuid': UUID, 'action': 'reboot', 'request_id': REQUEST}
            )
            instance_actions.event_create(connection, {'action_id': action, 'event': 'compute_x'})
            instance_migrations.migration_create(
                connection, {'instance_uuid': UUID, 'status': 'finished', 'source_compute': 'a'}
            )
    task_log.task_log_begin(
        database,
        task_name='audit',
        state='DONE',
        host='host-' + name,
        period_beginning=BEGIN,
        period_ending=END,
        message='ok',
    )
    database.dispose()


@pytest.fixture
def ctxt():
    return deploy.admin()


@pytest.fixture
def api(tree):
    return tree.api('api')


@pytest.fixture
def ops(tree):
    return tree.ops('api')


def wait_whole(api, ops, ctxt, seconds: float = 60) -> None:
    """Wait until every cell answers and what is free has gone up."""

    def whole():
        with contextlib.suppress(Exception):
            missing = ops.query(ctxt, 'service_get_all', {'filters': None})['missing']
            hosts = api.compute_node_get_all(ctxt)
            return not missing and len(hosts) == 2 and room(api, ctxt) > free(hosts) * 0.75
        return False

    deploy.wait_until(whole, seconds, 'the tree is whole')


def free(hosts) -> int:
    """Return the memory of hosts that is free, whether they are disabled or not."""
    return sum(host.free_ram_mb for host in hosts)


def room(api, ctxt) -> int:
    return api.get_capacities(ctxt).get('ram_free', {}).get('total_mb', 0)


def instance():
    return {'uuid': UUID, 'cell_name': 'api!mid!leaf'}


def test_every_query_is_answered_through_the_client(tree, api, ops, ctxt):
    wait_whole(api, ops, ctxt)
    # neighbours
    info = api.get_cell_info_for_neighbors(ctxt)
    assert [one['name'] for one in info] == ['mid']
    assert len(info[0]['capabilities']['cells.node']) == 3
    deploy.wait_until(
        lambda: all(
            (found := api.get_capacities(ctxt, name)) and found['ram_free']['units_by_mb']['64'] > 0
            for name in (None, 'api', 'mid', None, 'api', 'mid')
        ),
        30,
        'all workers know what is free',
    )
    with pytest.raises(exceptions.CellNotFound):
        api.get_capacities(ctxt, 'leaf')
    # services and hosts
    binaries = {one.host: one.binary for one in api.service_get_all(ctxt)}
    assert {HOST, 'api!mid!leaf2@host-leaf2', 'api@testhost', 'api!mid@testhost'} <= set(binaries)
    service = api.service_get_by_compute_host(ctxt, HOST)
    assert service.binary == 'nova-compute'
    changed = api.service_update(ctxt, HOST, 'nova-compute', {'disabled': True})
    assert changed.disabled is True
    disabled = api.service_get_all(ctxt, {'disabled': True})
    assert [one.host for one in disabled] == [HOST]
    api.service_update(ctxt, HOST, 'nova-compute', {'disabled': False})
    nodes = {node.host: node for node in api.compute_node_get_all(ctxt)}
    assert set(nodes) == {HOST, 'api!mid!leaf2@host-leaf2'}
    assert api.compute_node_get(ctxt, nodes[HOST].id).memory_mb == nodes[HOST].memory_mb
    stats = api.compute_node_stats(ctxt)
    assert stats['count'] == 2
    assert stats['memory_mb'] == sum(node.memory_mb for node in nodes.values())
    assert 'up' in api.get_host_uptime(ctxt, HOST)
    message = {'method': 'get_host_uptime', 'namespace': None, 'version': '4.0', 'args': {}}
    assert 'up' in api.proxy_rpc_to_manager(ctxt, message, 'compute.' + HOST, call=True)
    assert len(api.task_log_get_all(ctxt, 'audit', BEGIN, END)) == len(CELLS)
    # instances
    [action] = api.actions_get(ctxt, instance())
    assert action['request_id'] == REQUEST
    assert api.action_get_by_request_id(ctxt, instance(), REQUEST)['id'] == action['id']
    assert [e['event'] for e in api.action_events_get(ctxt, instance(), action['id'])] == [
        'compute_x'
    ]
    assert [one.status for one in api.get_migrations(ctxt, {})] == ['finished']
    assert [one.status for one in api.get_migrations(ctxt, {'cell_name': 'mid!leaf'})] == [
        'finished'
    ]
    assert tree.api('leaf').get_keypair_at_top(ctxt, 'u1', 'schlüssel').public_key
    with pytest.raises(exceptions.KeypairNotFound):
        tree.api('leaf').get_keypair_at_top(ctxt, 'u1', 'no such')
    assert api.validate_console_port(ctxt, UUID, '5900', 'novnc') is False
    tree.api('leaf').consoleauth_delete_tokens(ctxt, UUID)
    api.call_compute_api_method(ctxt, 'api!mid!leaf', 'lock', UUID)
    with pytest.raises(exceptions.CellServiceAPIMethodNotFound, match='__init__'):
        api.call_compute_api_method(ctxt, 'api!mid!leaf', '__init__', UUID)


def test_neighbours_are_created_changed_and_deleted(tree, ctxt):
    leaf = tree.api('leaf')
    url = 'rabbit://u%40:p%2F%40%3Aw@h1:5672,u:p@h2:5673,u:p@h3/v%2Fhost'
    try:
        change_neighbours(leaf, ctxt, url)
    finally:
        leaf.cell_delete(ctxt, 'below')


def change_neighbours(leaf, ctxt, url: str) -> None:
    row = leaf.cell_create(ctxt, {'name': 'below', 'transport_url': url, 'weight_offset': 2})
    assert row['transport_url'] == url
    assert (row['name'], row['is_parent'], row['deleted']) == ('below', False, 0)
    for _ in range(4):  # both workers answer
        deploy.wait_until(
            lambda: 'below' in {one['name'] for one in leaf.get_cell_info_for_neighbors(ctxt)},
            20,
            'all workers know the newcomer',
        )
    assert leaf.cell_get(ctxt, 'below')['transport_url'] == url
    with pytest.raises(exceptions.CellExists):
        leaf.cell_create(ctxt, {'name': 'below', 'transport_url': url})
    assert leaf.cell_update(ctxt, 'below', {'weight_scale': 3.0})['weight_scale'] == 3.0
    assert leaf.cell_delete(ctxt, 'below') == 1
    assert leaf.cell_delete(ctxt, 'below') == 0


def test_p9_a_change_of_capacity_below_is_seen_at_the_top_soon(tree, api, ops, ctxt):
    wait_whole(api, ops, ctxt)
    before = free(api.compute_node_get_all(ctxt))
    begun = time.monotonic()
    api.service_update(ctxt, HOST, 'nova-compute', {'disabled': True})
    deploy.wait_until(lambda: room(api, ctxt) < before * 0.75, 30, 'the top knows')
    print('down after %.2f s' % (time.monotonic() - begun))
    api.service_update(ctxt, HOST, 'nova-compute', {'disabled': False})
    deploy.wait_until(lambda: room(api, ctxt) > before * 0.75, 30, 'the top knows')


def test_p4_connections_stay_as_many_whatever_is_sent_and_changed(tree, api, ops, ctxt, rabbit):
    wait_whole(api, ops, ctxt)

    def connections() -> int:
        return len(rabbit.ctl('-q', 'list_connections', 'pid').split())

    before = connections()
    url = tree['mid'].transport_url
    for number in range(20):
        # The same broker under another name: what is made for the old one must go.
        host = '127.0.0.%s1' % ('0' * number)
        api.cell_update(ctxt, 'mid', {'transport_url': url.replace('127.0.0.1', host)})
        for _ in range(20):
            assert len(api.task_log_get_all(ctxt, 'audit', BEGIN, END, host='api!mid')) == 1
    api.cell_update(ctxt, 'mid', {'transport_url': url})
    wait_whole(api, ops, ctxt)
    deploy.wait_until(lambda: connections() <= before + 10, 20, 'the old connections are gone')


@pytest.mark.needs_extensions('a plain cell is not pinged, and counts as mute later')
def test_d1_t1_a_killed_middle_cell_is_named_and_comes_back(tree, api, ops, ctxt):
    wait_whole(api, ops, ctxt)
    tree['mid'].kill()
    begun = time.monotonic()
    found = ops.query(ctxt, 'service_get_all', {'filters': None})
    assert time.monotonic() - begun < CALL_TIMEOUT + 4
    assert [one['cell'] for one in found['missing']] == ['api!mid']
    assert [one['cell'] for one in found['answers']] == ['api']
    assert {one.host for one in api.service_get_all(ctxt)} == {'api@testhost'}

    def mute():
        return all(one['mute'] for one in ops.status(ctxt)['neighbours'])

    deploy.wait_until(mute, 30, 'it is mute')
    assert time.monotonic() - begun < 30
    deploy.wait_until(lambda: api.get_capacities(ctxt) == {}, 30, 'nothing is free any more')
    begun = time.monotonic()
    with pytest.raises(exceptions.CellTimeout, match='api!mid'):
        api.get_host_uptime(ctxt, HOST)
    # The others go on: the leaves talk to themselves.
    assert tree.api('leaf').compute_node_stats(ctxt)['count'] == 1
    tree['mid'].start()
    wait_whole(api, ops, ctxt)


def test_a_restarted_broker_is_got_over(tree, api, ops, ctxt, rabbit):
    rabbit.settle()
    rabbit.restart()
    wait_whole(api, ops, ctxt, 90)

    def agent_answers() -> bool:
        with contextlib.suppress(exceptions.WireError):
            return 'up' in api.get_host_uptime(ctxt, HOST)
        return False

    deploy.wait_until(agent_answers, 60, 'the agent serves again')
    seen = api.service_get_by_compute_host(ctxt, HOST).report_count
    deploy.wait_until(
        lambda: api.service_get_by_compute_host(ctxt, HOST).report_count > seen,
        30,
        'the agent reports again',
    )
    assert not any(deployed.ended() for deployed in tree.cells.values())


@pytest.mark.needs_extensions('a plain parent is not told of failures in a listing')
def test_d6_with_the_database_away_what_is_known_is_answered(tree, api, ops, ctxt, postgresql):
    wait_whole(api, ops, ctxt)
    postgresql.stop()
    try:
        begun = time.monotonic()
        found = ops.query(ctxt, 'service_get_all', {'filters': None})
        assert {one['cell'] for one in found['missing']} == {
            'api',
            'api!mid',
            'api!mid!leaf',
            'api!mid!leaf2',
        }
        assert all('database of cell' in one['reason'] for one in found['missing'])
        with pytest.raises(exceptions.DatabaseUnavailable):
            api.service_get_by_compute_host(ctxt, HOST)
        assert [one['name'] for one in api.get_cell_info_for_neighbors(ctxt)] == ['mid']
        assert room(api, ctxt) > 0
        assert ops.ping(ctxt, 'api!mid!leaf')['cell'] == 'api!mid!leaf'
        assert ops.status(ctxt)['journal']['error']
        # Nobody becomes mute because nobody can write down who was heard.
        time.sleep(max(0.0, 20 - (time.monotonic() - begun)))
        assert not any(one['mute'] for one in ops.status(ctxt)['neighbours'])
        assert room(api, ctxt) > 0
    finally:
        postgresql.start()
    wait_whole(api, ops, ctxt)


def test_no_daemon_met_anything_that_it_did_not_know(tree):
    for deployed in tree.cells.values():
        assert 'Traceback' not in deployed.log(), deployed.log()[-5000:]
