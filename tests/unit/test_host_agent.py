"""An agent, its cell and the client of the cell for it, over the bus within a process."""

import itertools
import threading
import time

import pytest
from oslo_config import cfg
from oslo_messaging.rpc import dispatcher

from cells import conf as cells_conf
from cells import context, exceptions, rpc
from cells.compute import hosts
from cells.db import compute_nodes, engine, migration, services
from cells.endpoints import agents
from cells.host import agent, endpoint, resources, store
from cells.stats import Stats
from tests.unit.builders import eventually

CTXT = context.RequestContext('u', 'p', is_admin=True)
NUMBERS = itertools.count()


def configured(directory, exchange, **options):
    conf = cfg.ConfigOpts()
    cells_conf.register_opts(conf)
    rpc.prepare(conf)
    conf([], project='cells', default_config_files=[])
    for name, value in {
        'host': 'h1',
        'state_path': str(directory),
        'transport_url': 'fake:///' + exchange,
        'control_exchange': exchange,
        'report_interval': 0.2,
        **options,
    }.items():
        conf.set_override(name, value)
    conf.set_override('check_interval', 0.1, group='compute')
    return conf


class Cell:
    """What a cell has for its hosts."""

    def __init__(self, directory, exchange):
        self.exchange = exchange
        self.directory = directory
        self.database = engine.Database('sqlite:///%s' % (directory / ('%s.sqlite' % exchange)))
        migration.sync(self.database)
        self.transport = rpc.get_transport(configured(directory, exchange))
        self.hosts = hosts.HostClient(lambda: self.transport, 'compute', timeout=5.0, waiting=3)
        self.agents = []
        endpoint = agents.HostEndpoint(database=self.database, own_name='c', service_down_time=3.0)
        self.server = rpc.get_server(
            self.transport,
            'cells',
            'cell',
            [endpoint],
            prefetch=8,
            queue_type='classic',
            worker='cell',
            stats=Stats(),
        )

    def agent(self, name, measure=None, **options):
        conf = configured(self.directory / name, self.exchange, **options)
        found = agent.build(conf, measure or agent.measuring(conf))
        self.agents.append(found)
        found.start()
        return found

    def nodes(self):
        return compute_nodes.compute_node_get_all(self.database)

    def service(self):
        return services.service_find(self.database, 'h1')

    def served(self, host='h1'):
        def ask():
            try:
                return self.hosts.call(CTXT, host, 'ping', timeout=0.3) == host
            except exceptions.ComputeServiceUnavailable:
                return False

        eventually(ask, 20)

    def stop(self):
        for one in self.agents:
            one.stop()
        self.server.stop()
        self.server.wait()
        self.transport.cleanup()
        self.database.dispose()


@pytest.fixture
def cell(workdir):
    found = Cell(workdir, 'exchange%d' % next(NUMBERS))
    found.server.start()
    yield found
    found.stop()


def test_an_agent_reports_and_serves(cell):
    cell.agent('one')
    cell.served()
    [node] = cell.nodes()
    assert node['host'] == 'h1'
    assert ' up ' in cell.hosts.call(CTXT, 'h1', 'get_host_uptime')
    count = cell.service()['report_count']
    eventually(lambda: cell.service()['report_count'] >= count + 3)


def test_cells_in_one_process_have_their_hosts_to_themselves(cell, workdir):
    other = Cell(workdir, 'other%d' % next(NUMBERS))
    other.server.start()
    try:
        cell.agent('one')
        other.agent('two', host='h2')
        cell.served('h1')
        other.served('h2')
        assert [one['host'] for one in cell.nodes()] == ['h1']
        assert [one['host'] for one in other.nodes()] == ['h2']
    finally:
        other.stop()


def test_flags_are_told_at_once_and_by_cast_as_well(cell):
    cell.agent('one', report_interval=60.0)
    cell.served()
    assert cell.hosts.call(CTXT, 'h1', 'set_host_enabled', enabled=False) == 'disabled'
    eventually(lambda: cell.service()['disabled'])
    cell.hosts.cast(CTXT, 'h1', 'set_host_enabled', enabled=True)
    eventually(lambda: not cell.service()['disabled'])
    cell.hosts.cast(CTXT, 'h1', 'host_maintenance_mode', mode=True)
    eventually(lambda: cell.service()['disabled_reason'] == 'AUTO: the host is in maintenance')


def test_what_changes_noticeably_is_told_at_once(cell):
    conf = configured(cell.directory / 'x', cell.exchange)
    found = agent.measuring(conf)()
    found[0].update(memory_mb=50_000, free_ram_mb=40_000, memory_mb_used=10_000)
    cell.agent('one', lambda: [dict(found[0])], report_interval=60.0)
    cell.served()
    found[0]['free_ram_mb'] = 39_900
    found[0]['memory_mb_used'] = 10_100
    assert cell.nodes()[0]['free_ram_mb'] == 40_000
    found[0]['free_ram_mb'] = 20_000
    eventually(lambda: cell.nodes()[0]['free_ram_mb'] == 20_000)
    assert cell.nodes()[0]['memory_mb_used'] == 10_100


def test_a_host_that_cannot_be_measured_goes_on_living(cell, caplog):
    broken = threading.Event()

    def measure():
        if broken.is_set():
            raise OSError('the disk is gone')
        return resources.measure(resources.Settings('/', 0, 0, 1.0))

    cell.agent('one', measure)
    cell.served()
    broken.set()
    count = cell.service()['report_count']
    eventually(lambda: cell.service()['report_count'] >= count + 3)
    assert len(cell.nodes()) == 1
    assert caplog.text.count('the disk is gone') == 1


def test_a_host_that_was_never_measured_does_not_report_that_it_has_nothing(cell, caplog):
    broken = threading.Event()
    broken.set()

    def measure():
        if broken.is_set():
            raise OSError('the disk is gone')
        return resources.measure(resources.Settings('/', 0, 0, 1.0))

    cell.agent('one', measure)
    eventually(lambda: 'the disk is gone' in caplog.text)
    time.sleep(0.5)
    assert cell.service() is None
    broken.clear()
    cell.served()
    assert len(cell.nodes()) == 1


def test_another_machine_of_the_name_does_not_serve_until_the_first_is_down(cell, caplog):
    first = cell.agent('one')
    cell.served()
    machine = cell.service()['machine_id']
    cell.agent('two')
    eventually(lambda: 'is another machine' in caplog.text)
    assert cell.service()['machine_id'] == machine
    cell.agents.remove(first)
    first.stop()
    eventually(lambda: cell.service()['machine_id'] != machine)
    cell.served()


def test_an_agent_does_not_wait_for_its_cell_at_start_and_finds_it_later(workdir, caplog):
    cell = Cell(workdir, 'late%d' % next(NUMBERS))
    cell.agent('one')
    try:
        eventually(lambda: 'does not take its reports' in caplog.text, 15)
        cell.server.start()
        cell.served()
        assert caplog.text.count('does not take its reports') == 1
    finally:
        cell.stop()


# -- the client --


def test_a_host_without_an_agent_is_not_waited_for_longer_than_said(cell):
    with pytest.raises(exceptions.ComputeServiceUnavailable, match='nobody') as raised:
        cell.hosts.call(CTXT, 'nobody', 'ping', timeout=0.2)
    assert raised.value.kwargs['host'] == 'nobody'


def test_what_an_agent_refuses_comes_back_as_what_it_is(cell):
    cell.agent('one')
    cell.served()
    with pytest.raises(exceptions.Invalid, match='enabled'):
        cell.hosts.call(CTXT, 'h1', 'set_host_enabled', enabled='perhaps')
    with pytest.raises(exceptions.Invalid, match='no command for reboot'):
        cell.hosts.call(CTXT, 'h1', 'host_power_action', action='reboot')


def test_an_agent_of_the_first_version_is_asked_for_what_it_knows(cell, monkeypatch):
    """In a rolling upgrade the cell may be newer than its agents."""
    old = endpoint.AgentManager.target
    monkeypatch.setattr(endpoint.AgentManager, 'target', type(old)(version='1.0'))
    monkeypatch.setattr('cells.host.instance_endpoint.InstanceEndpoint.target', type(old)())
    cell.agent('one')
    cell.served()
    assert cell.hosts.call(CTXT, 'h1', 'set_host_enabled', enabled=True) == 'enabled'
    cell.hosts.cast(CTXT, 'h1', 'host_maintenance_mode', mode=True)
    eventually(lambda: cell.service()['disabled'])


def test_few_wait_for_one_host_and_not_all_for_hosts(cell, monkeypatch):
    monkeypatch.setattr('cells.compute.hosts.WAITING_PER_HOST', 2)
    results = []

    def ask(host):
        try:
            cell.hosts.call(CTXT, host, 'ping', timeout=3.0)
        except exceptions.ComputeServiceUnavailable as error:
            results.append(str(error))

    threads = [
        threading.Thread(target=ask, args=(host,)) for host in ('a', 'a', 'a', 'b', 'c', 'd')
    ]
    for thread in threads:
        thread.start()
        time.sleep(0.1)  # they come in this order
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert sum('calls wait for it already' in one for one in results) == 1
    assert sum('calls wait for hosts already' in one for one in results) == 2


def test_without_a_transport_a_host_is_unavailable():
    found = hosts.HostClient(lambda: None, 'compute', timeout=1, waiting=1)
    for ask in (found.call, found.cast):
        with pytest.raises(exceptions.ComputeServiceUnavailable, match='not connected'):
            ask(CTXT, 'h1', 'ping')


def test_r3_a_command_that_failed_is_not_told_as_done_when_its_order_comes_again(workdir):
    memory = store.Store(str(workdir))
    memory.open()
    manager = endpoint.AgentManager(
        host='h1',
        store=memory,
        uptime=lambda: '',
        power_commands={'reboot': ['false'], 'startup': ['true']},
        on_change=lambda: None,
    )
    for _ in range(2):
        with pytest.raises(dispatcher.ExpectedException) as caught:
            manager.host_power_action(context.RequestContext(), action='reboot', op_id='o1')
        assert 'ended with code 1' in str(caught.value.exc_info[1])
        done = manager.host_power_action(context.RequestContext(), action='startup', op_id='o2')
        assert done == 'startup'
    memory.close()
