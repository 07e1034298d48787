"""The plugins of ``examples/``: loaded as a configuration names them, they do what they say."""

import pathlib

import psutil
import pytest
from oslo_config import cfg

from cells import conf as cells_conf
from cells import exceptions, paths, plugins
from cells.candidates import Cell, Request
from cells.host import agent as host_agent
from cells.host import reconciling
from tests import stand_in_cell
from tests.unit import fake_hosts
from tests.unit.builders import eventually

EXAMPLES = pathlib.Path(__file__).parents[2] / 'examples'

RUNNING, SHUTDOWN = 1, 4


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The examples can be imported, as with PYTHONPATH."""
    monkeypatch.syspath_prepend(str(EXAMPLES))


def scheduler(**names):
    conf = cfg.ConfigOpts()
    cells_conf.register_opts(conf)
    conf([], default_config_files=[])
    for name, value in names.items():
        conf.set_override(name, value, group='cells')
    return plugins.load_scheduler(conf.cells)


def request(**image):
    return Request(512, 1, 1, paths.CellPath(('api',)), image_properties=image)


def cells(**capabilities):
    return [Cell(name, capabilities=values) for name, values in capabilities.items()]


# -- the filter --

OS_TYPE = {'scheduler_filter_classes': ['os_type_filter.OsTypeFilter']}


@pytest.mark.parametrize(
    ('image', 'chosen'),
    [
        ({'os_type': 'linux'}, {'both', 'linux', 'silent'}),
        ({'os_type': 'windows'}, {'both', 'silent'}),
        ({'os_type': 'plan9'}, {'silent'}),
        ({'os_type': ['odd']}, {'silent'}),
        ({}, {'both', 'linux', 'silent'}),
    ],
)
def test_an_image_goes_to_cells_that_run_its_operating_system(image, chosen):
    known = cells(both={'os': ['linux', 'windows']}, linux={'os': ['linux']}, silent={})
    ranking = scheduler(**OS_TYPE).rank(request(**image), known, {})
    assert {cell.name for cell in ranking.cells} == chosen


def test_a_cell_that_does_not_run_it_says_what_it_runs():
    found = scheduler(**OS_TYPE).rank(
        request(os_type='windows'), cells(old={'os': ['linux', 'bsd']}), {}
    )
    assert found.refusals['old'].reason == 'it runs bsd, linux, not windows'


# -- the weigher --


def test_cells_come_in_the_order_of_what_power_costs_there():
    known = cells(
        dear={'power_price': ['41.5']},
        several={'power_price': ['50', '12']},
        silent={},
        odd={'power_price': ['nan', 'free', '-5', None]},
        cheap={'power_price': ['20']},
    )
    chosen = scheduler(scheduler_weight_classes=['power_price_weigher.PowerPriceWeigher']).rank(
        request(), known, {}
    )
    assert [cell.name for cell in chosen.cells] == ['several', 'cheap', 'silent', 'odd', 'dear']


# -- the driver of virtual machines --


@pytest.fixture
def host(workdir):
    """A host whose machines are processes; they end with the test."""

    def options(**compute):
        return {
            'virt_driver': 'process_driver.ProcessDriver',
            'instances_path': str(workdir / 'instances'),
            **compute,
        }

    found = fake_hosts.Host(workdir / 'h1', **options())
    found.options = options
    yield found
    for pid in (workdir / 'instances').glob('*/pid'):
        psutil.Process(int(pid.read_text())).kill()


def process_of(workdir, vm):
    return psutil.Process(int((workdir / 'instances' / vm['uuid'] / 'pid').read_text()))


def test_a_machine_is_a_process_that_is_built_stopped_started_and_removed(host, workdir):
    vm = host.build()
    assert process_of(workdir, vm).cmdline() == ['sleep', 'infinity']
    assert host.driver.diagnostics(vm['uuid'])['memory'] > 0
    assert host.run('stop', vm).power_state == SHUTDOWN
    assert host.run('stop', vm).power_state == SHUTDOWN
    assert host.driver.power_states() == {vm['uuid']: SHUTDOWN}
    with pytest.raises(exceptions.InstanceInvalidState):
        host.driver.diagnostics(vm['uuid'])
    assert host.run('start', vm).power_state == RUNNING
    first = process_of(workdir, vm).pid
    assert host.run('start', vm).power_state == RUNNING
    assert process_of(workdir, vm).pid == first
    assert host.run('reboot', vm).power_state == RUNNING
    assert process_of(workdir, vm).pid != first
    assert host.run('terminate', vm).power_state == 0
    assert host.run('terminate', vm).power_state == 0
    assert host.driver.power_states() == {}
    assert not psutil.pid_exists(first)


def test_machines_run_on_without_the_driver_and_what_was_done_is_remembered(host, workdir):
    vm = fake_hosts.instance()
    built = host.run('build', vm, op_id='b.1')
    process = process_of(workdir, vm)
    again = host.again(**host.options())
    assert again.driver.finished('b.1') == built
    assert again.driver.finished('b.2') is None
    assert again.state(vm) == RUNNING
    assert process.is_running()
    process.kill()
    eventually(lambda: again.state(vm) == SHUTDOWN)


def test_a_build_that_died_half_way_is_brought_to_an_end(host):
    vm = host.build()
    task = host.task('build', vm)
    assert host.driver.operations()['build'](task).power_state == RUNNING
    host.driver.clean_up(task)
    assert host.state(vm) is None


def test_what_is_not_there_and_what_cannot_be_is_told_by_name(host, workdir):
    vm = fake_hosts.instance()
    for method in ('start', 'stop', 'reboot'):
        with pytest.raises(exceptions.InstanceNotFound):
            host.run(method, vm)
    assert 'resize_migrate' not in host.driver.operations()
    for command in ('no-such-program', '', '"'):
        conf = fake_hosts.configured(workdir / 'h2', compute=host.options())
        from process_driver import OPTS, ProcessDriver

        conf.register_opts(OPTS, group='process_driver')
        conf.set_override('command', command, group='process_driver')
        with pytest.raises(exceptions.ConfigurationError, match='no such program'):
            ProcessDriver.from_conf(conf)


def test_room_is_what_the_host_has_less_what_its_machines_are_to_have(host):
    [before] = host.driver.nodes()
    vm = host.build(memory_mb=64, root_gb=1)
    [after] = host.driver.nodes()
    assert before['free_ram_mb'] - after['free_ram_mb'] == 64
    assert (after['vcpus_used'], after['running_vms']) == (1, 1)
    host.admit(fake_hosts.instance(memory_mb=64, root_gb=0))
    with pytest.raises(exceptions.ComputeResourcesUnavailable):
        host.admit(fake_hosts.instance(memory_mb=after['free_ram_mb'] + 1, root_gb=0))
    most = after['free_ram_mb'] * 2 // 3
    first, second = (fake_hosts.instance(memory_mb=most, root_gb=0) for _ in range(2))
    with pytest.raises(exceptions.ComputeResourcesUnavailable):
        host.admit(second, first)
    host.run('terminate', vm)


def test_an_agent_works_with_it_and_refuses_what_it_does_not_offer(host, workdir, monkeypatch):
    monkeypatch.setattr(host_agent, 'DRAIN_SECONDS', 0.5)
    monkeypatch.setattr(reconciling, 'LONGEST_PAUSE', 0.5)
    exchange = 'example%d' % next(fake_hosts.NUMBERS)
    cell = stand_in_cell.StandInCell(fake_hosts.configured(workdir, exchange))
    cell.start()
    agent = host_agent.build(
        fake_hosts.configured(workdir / 'h1', exchange, compute=host.options())
    )
    agent.start()
    try:
        cell.served('h1')
        vm = fake_hosts.instance(memory_mb=64, root_gb=0)
        built = cell.run('h1', 'build', vm)
        assert (built['ok'], built['power_state']) == (True, RUNNING), built
        assert cell.run('h1', 'stop', vm)['power_state'] == SHUTDOWN
        with pytest.raises(Exception, match='driver of host h1 cannot pause'):
            cell.accept('h1', 'pause', vm)
        assert cell.run('h1', 'terminate', vm)['ok']
    finally:
        agent.stop()
        cell.stop()
