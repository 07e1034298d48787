"""Agents on hosts, from nova-cells-compute over RabbitMQ to a client two cells above."""

import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import time

import psutil
import pytest

from cells import exceptions
from cells.db import flavors
from tests import deploy, deploy_hosts
from tests.conftest import open_directory

LINE = {'api': None, 'mid': 'api', 'leaf': 'mid'}
DOWN = 3.0
FLAVOURS = [('threading', 'sqlite'), ('eventlet', 'postgresql')]
HOST = 'api!mid!leaf@host1.example.org'
TOPIC = 'compute.' + HOST


@pytest.fixture(scope='module', params=FLAVOURS, ids='-'.join)
def tree(request, rabbit):
    concurrency, dialect = request.param
    directory = open_directory()
    if dialect == 'sqlite':
        databases = deploy.sqlite(directory)
    else:
        databases = request.getfixturevalue(dialect).create_database
    found = deploy.Tree(
        directory / 'tree',
        rabbit,
        databases,
        LINE,
        concurrency=concurrency,
        workers=1,
        prefix='hosts_%s_' % concurrency,
        options='call_timeout = 8\nreserve_percent = 0',
    )
    for deployed in found.cells.values():
        text = deployed.conf_file.read_text()
        deployed.conf_file.write_text(
            text.replace('[DEFAULT]\n', '[DEFAULT]\nservice_down_time = %s\n' % DOWN)
        )
    database = found['leaf'].database()
    with database.write() as connection:
        for name in ('small', 'same size'):
            flavors.flavor_create(
                connection, {'name': name, 'flavorid': name, 'memory_mb': 64, 'vcpus': 1}
            )
    database.dispose()
    with found.running():
        yield found
    shutil.rmtree(directory)


@pytest.fixture
def ctxt():
    return deploy.admin()


@pytest.fixture(scope='module')
def api(tree):
    return tree.api('api')


@pytest.fixture(scope='module')
def leaf(tree):
    """A client of the cell that the host is in."""
    return tree.api('leaf')


def new_agent(tree, directory, host='host1.example.org', **kwargs):
    leaf = tree['leaf']
    return deploy_hosts.Agent(
        directory, host, leaf.transport_url, concurrency=leaf.concurrency, **kwargs
    )


@pytest.fixture(scope='module')
def agent(tree):
    directory = open_directory()
    ran = directory / 'ran'
    found = new_agent(
        tree,
        directory / 'host1',
        options='[compute]\nreserved_memory_mb = 0\npower_commands = reboot:/bin/mkdir %s\n' % ran,
    )
    found.ran = ran
    yield found
    found.end()
    shutil.rmtree(directory)


@pytest.fixture
def living(agent, api, ctxt):
    """The agent, running and up."""
    if agent.process is None or agent.ended():
        agent.start()
    deploy.wait_until(lambda: is_up(api, ctxt), 20, 'the host is up')
    return agent


def is_up(api, ctxt):
    with contextlib.suppress(exceptions.WireError):
        api.get_host_uptime(ctxt, HOST)
        return True
    return False


def service(api, ctxt):
    return api.service_get_by_compute_host(ctxt, HOST)


def nodes(api, ctxt):
    return [one for one in api.compute_node_get_all(ctxt) if one.host == HOST]


def proxy(api, ctxt, method, args=None, topic=TOPIC, **kwargs):
    message = {'method': method, 'namespace': None, 'version': '4.0', 'args': args or {}}
    return api.proxy_rpc_to_manager(ctxt, message, topic, **kwargs)


def slots(leaf, ctxt):
    """Return what the cell of the host says it has free: (hosts, slots of 64 MiB)."""
    found = leaf.get_capacities(ctxt)
    return (
        sum(found.get('free', {}).values()),
        found.get('ram_free', {}).get('units_by_mb', {}).get('64', 0),
    )


def test_a_host_appears_with_its_real_numbers(living, api, ctxt):
    [node] = nodes(api, ctxt)
    assert node.id.startswith('api!mid!leaf@')
    assert node.hypervisor_hostname == platform.node()
    assert node.vcpus == psutil.cpu_count()
    assert node.memory_mb == psutil.virtual_memory().total // 2**20
    assert node.local_gb == psutil.disk_usage('/').total // 2**30
    assert 0 < node.free_ram_mb < node.memory_mb
    assert json.loads(node.cpu_info)['arch'] == platform.machine()
    again = api.compute_node_get(ctxt, node.id)
    assert (again.id, again.host, again.hypervisor_hostname) == (
        node.id,
        HOST,
        node.hypervisor_hostname,
    )
    assert [one.id for one in api.compute_node_get_all(ctxt, platform.node()[1:])] == [node.id]
    assert api.compute_node_get_all(ctxt, 'no such name') == []
    found = api.compute_node_stats(ctxt)
    assert (found['count'], found['vcpus'], found['memory_mb']) == (
        1,
        node.vcpus,
        node.memory_mb,
    )


def test_uptime_comes_from_the_host(living, api, ctxt):
    assert ' up ' in api.get_host_uptime(ctxt, HOST)
    assert 'load average' in api.get_host_uptime(ctxt, HOST)


def test_capacity_is_that_of_the_host(living, leaf, api, ctxt):
    deploy.wait_until(lambda: slots(leaf, ctxt)[0] == 1, 10, 'the host counts')
    hosts, units = slots(leaf, ctxt)
    [node] = nodes(api, ctxt)
    assert abs(units - node.free_ram_mb // 64) <= node.memory_mb // 50 // 64 + 2


@pytest.mark.parametrize('call', [True, False], ids=['call', 'cast'])
def test_v7_maintenance_and_enabling_work_by_call_and_by_cast(living, leaf, api, ctxt, call):
    for method, args, answer, reason in (
        ('host_maintenance_mode', {'host': 'host1', 'mode': True}, 'on_maintenance', 'maintenance'),
        ('host_maintenance_mode', {'host': 'host1', 'mode': False}, 'off_maintenance', None),
        ('set_host_enabled', {'enabled': False}, 'disabled', 'the host is disabled'),
        ('set_host_enabled', {'enabled': True}, 'enabled', None),
    ):
        found = proxy(api, ctxt, method, args, call=call, timeout=5)
        assert found == (answer if call else None)
        deploy.wait_until(
            lambda reason=reason: service(api, ctxt).disabled is (reason is not None),
            10,
            '%s %s is seen' % (method, args),
        )
        assert (reason or '') in (service(api, ctxt).disabled_reason or '')
        deploy.wait_until(
            lambda reason=reason: slots(leaf, ctxt)[0] == (reason is None),
            10,
            'it is seen in the capacity',
        )


def test_v7_power_needs_a_command_and_runs_it_once(living, api, ctxt):
    with pytest.raises(exceptions.Invalid, match='no command for shutdown .*power_commands'):
        proxy(api, ctxt, 'host_power_action', {'action': 'shutdown'}, call=True)
    if not living.ran.exists():
        assert proxy(api, ctxt, 'host_power_action', {'action': 'reboot'}, call=True) == 'reboot'
        assert living.ran.exists()
    with pytest.raises(exceptions.Invalid, match='ended with code 1'):
        proxy(api, ctxt, 'host_power_action', {'action': 'reboot'}, call=True)


@pytest.mark.parametrize('call', [True, False], ids=['call', 'cast'])
def test_x2_an_unknown_method_is_refused(living, api, ctxt, call):
    for method in ('terminate_instance', 'report', '__init__', '', None, 7):
        with pytest.raises(exceptions.Invalid, match='hosts can be asked for'):
            proxy(api, ctxt, method, call=call)
    with pytest.raises(exceptions.Invalid, match='no argument'):
        proxy(api, ctxt, 'ping', {'x': 1}, call=call)


def test_a_proxied_call_without_a_time_limit_works(living, api, ctxt):
    assert proxy(api, ctxt, 'ping', call=True) == 'host1.example.org'
    assert proxy(api, ctxt, 'ping', call=True, timeout=3) == 'host1.example.org'


@pytest.mark.parametrize(
    'topic',
    ['', 'compute', 'compute.host1', 'compute.@host1', 'compute.api!mid!leaf@', 'api@host1', None],
)
def test_r14_a_topic_without_cell_or_host_is_refused(living, api, ctxt, topic):
    with pytest.raises(exceptions.CellRoutingInconsistency, match='topic'):
        proxy(api, ctxt, 'ping', topic=topic, call=True)


@pytest.mark.parametrize('name', ['', 'host1', '@host1', 'api!mid!leaf@', 'a@b@c', '!@x', 'größe'])
def test_r14_a_name_without_a_cell_is_refused(living, api, ctxt, name):
    for ask in (
        lambda: api.get_host_uptime(ctxt, name),
        lambda: api.service_get_by_compute_host(ctxt, name),
        lambda: api.service_update(ctxt, name, 'nova-compute', {'disabled': True}),
        lambda: api.service_delete(ctxt, name),
        lambda: api.compute_node_get(ctxt, name),
    ):
        with pytest.raises(exceptions.CellRoutingInconsistency):
            ask()


def test_r14_what_a_cell_does_not_have_is_not_found(living, api, ctxt):
    unknown = 'api!mid!leaf@größe'
    for error, ask in (
        (exceptions.ComputeHostNotFound, lambda: api.get_host_uptime(ctxt, unknown)),
        (exceptions.ComputeHostNotFound, lambda: api.service_get_by_compute_host(ctxt, unknown)),
        (exceptions.ComputeHostNotFound, lambda: api.compute_node_get(ctxt, unknown)),
        (exceptions.ServiceNotFound, lambda: api.service_delete(ctxt, unknown)),
        (
            exceptions.HostBinaryNotFound,
            lambda: api.service_update(ctxt, unknown, 'nova-compute', {'disabled': True}),
        ),
        (
            exceptions.ComputeHostNotFound,
            lambda: proxy(api, ctxt, 'ping', topic='compute.' + unknown, call=True),
        ),
    ):
        with pytest.raises(error):
            ask()


def test_a_service_is_disabled_and_enabled_from_above(living, leaf, api, ctxt):
    found = api.service_update(
        ctxt, HOST, 'nova-compute', {'disabled': True, 'disabled_reason': 'fan'}
    )
    assert (found.host, found.disabled, found.disabled_reason) == (HOST, True, 'fan')
    deploy.wait_until(lambda: slots(leaf, ctxt) == (0, 0), 10, 'it counts for nothing')
    time.sleep(1.2)
    assert service(api, ctxt).disabled_reason == 'fan'
    with pytest.raises(exceptions.Invalid, match='a service can be changed in disabled'):
        api.service_update(ctxt, HOST, 'nova-compute', {'host': 'other'})
    assert api.service_update(ctxt, HOST, 'nova-compute', {'disabled': False}).disabled is False
    deploy.wait_until(lambda: slots(leaf, ctxt)[0] == 1, 10, 'it counts again')


def test_a_deleted_service_comes_back_with_the_next_report(living, api, ctxt):
    before = service(api, ctxt)
    assert api.service_delete(ctxt, before.id) is None
    deploy.wait_until(
        lambda: (
            [one.id for one in api.service_get_all(ctxt, {'binary': 'nova-compute'})]
            not in ([], [before.id])
        ),
        10,
        'it has reported again',
    )


def test_d2_a_host_that_has_stopped_is_down_and_counts_for_nothing(living, leaf, api, ctxt):
    deploy.wait_until(lambda: slots(leaf, ctxt)[0] == 1, 10, 'the host counts')
    assert living.stop() == 0
    begun = time.monotonic()
    deploy.wait_until(lambda: not is_up(api, ctxt), DOWN + 17, 'the host is down')
    assert time.monotonic() - begun < DOWN + 17
    with pytest.raises(exceptions.ComputeServiceUnavailable, match=r'host1\.example\.org'):
        api.get_host_uptime(ctxt, HOST)
    deploy.wait_until(lambda: slots(leaf, ctxt) == (0, 0), 10, 'it counts for nothing')
    assert api.compute_node_stats(ctxt)['count'] == 0
    assert len(nodes(api, ctxt)) == 1
    living.start()
    deploy.wait_until(lambda: slots(leaf, ctxt)[0] == 1, 10, 'it counts again')


def test_an_agent_killed_with_9_comes_back_as_the_same_host(living, leaf, api, ctxt):
    proxy(api, ctxt, 'host_maintenance_mode', {'mode': True}, call=True)
    [before] = nodes(api, ctxt)
    living.kill()
    living.start()
    deploy.wait_until(lambda: is_up(api, ctxt), 60, 'the host is up')
    [after] = nodes(api, ctxt)
    assert after.id == before.id
    assert service(api, ctxt).disabled is True
    assert proxy(api, ctxt, 'host_maintenance_mode', {'mode': False}, call=True)
    deploy.wait_until(lambda: slots(leaf, ctxt)[0] == 1, 10, 'it counts again')


def test_a_dead_agent_process_is_replaced(living, api, ctxt):
    served = living.log().count('agent serves')
    os.kill(living.pids()[-1], signal.SIGKILL)
    deploy.wait_until(lambda: living.log().count('agent serves') > served, 60, 'it serves again')
    deploy.wait_until(lambda: is_up(api, ctxt), 60, 'the host is up')


def test_a_silent_agent_is_named_within_the_time_given(living, api, ctxt):
    pid = living.pids()[-1]
    os.kill(pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        with pytest.raises(exceptions.ComputeServiceUnavailable, match=r'host1\.example\.org'):
            proxy(api, ctxt, 'ping', call=True, timeout=1)
        assert time.monotonic() - begun < 6
    finally:
        os.kill(pid, signal.SIGCONT)


def test_another_machine_of_the_same_name_is_refused_until_the_first_is_gone(
    living, tree, api, ctxt, workdir
):
    stranger = new_agent(tree, workdir / 'stranger')
    try:
        stranger.start(wait=False)
        deploy.wait_until(lambda: 'another machine' in stranger.log(), 60, 'it is refused')
        time.sleep(1.5)
        assert stranger.log().count('another machine') == 1
        assert 'agent serves' not in stranger.log()
        assert 'Refused the report of machine' in tree['leaf'].log()
        assert living.stop() == 0
        deploy.wait_until(lambda: 'agent serves' in stranger.log(), DOWN + 60, 'it is taken')
        assert ' up ' in api.get_host_uptime(ctxt, HOST)
    finally:
        stranger.end()


def test_an_agent_waits_for_its_cell_and_says_so_once(tree, agent, api, ctxt):
    agent.end()
    tree['leaf'].stop()
    log = len(agent.log())
    agent.start(wait=False)
    deploy.wait_until(
        lambda: 'the cell does not take its reports' in agent.log()[log:], 40, 'it says so'
    )
    time.sleep(3)
    assert agent.log()[log:].count('the cell does not take its reports') == 1
    tree['leaf'].start()
    deploy.wait_until(lambda: 'reports to its cell' in agent.log()[log:], 40, 'it goes on')
    deploy.wait_until(lambda: is_up(api, ctxt), 20, 'the host is up')


def test_sighup_lets_an_agent_go_on(living, api, ctxt):
    living.signal(signal.SIGHUP)
    time.sleep(1)
    assert not living.ended()
    deploy.wait_until(lambda: is_up(api, ctxt), 20, 'the host is up')


# -- the program --


def run(text, workdir, *args, **env):
    conf = workdir / 'compute.conf'
    conf.write_text(text)
    return subprocess.run(
        [str(deploy.BIN / 'nova-cells-compute'), '--config-file', str(conf), *args],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, 'PYTHONWARNINGS': 'ignore', **env},
        check=False,
    )


@pytest.mark.parametrize(
    ('lines', 'code', 'words'),
    [
        ('transport_url = nonsense://x\nstate_path = {0}', 1, 'transport_url'),
        ('state_path = /proc/no', 1, 'state_path'),
        ('report_interval = often\nstate_path = {0}', 1, 'report_interval'),
        ('state_path = {0}\n[compute]\npower_commands = explode:x', 1, 'power_commands'),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_in_one_line(workdir, lines, code, words):
    done = run('[DEFAULT]\n%s\n' % lines.format(workdir), workdir)
    assert done.returncode == code, done.stderr
    [line] = [one for one in done.stderr.splitlines() if one.startswith('nova-cells-compute: ')]
    assert words in line


def test_bad_usage_ends_with_2(workdir):
    assert run('', workdir, '--no-such-option').returncode == 2
    assert run('', workdir, CELLS_CONCURRENCY='fibers').returncode == 2


def test_two_agents_cannot_share_a_directory(living, tree):
    done = run(living.conf_file.read_text(), living.directory)
    assert done.returncode == 1
    assert 'is used by another nova-cells-compute' in done.stderr
