"""nova-cells-compute as a process over RabbitMQ, and what stands in for its cell.

What the agent is killed in the middle of, what it is told twice, and what it cannot tell.
"""

import itertools
import os
import shutil
import signal
import sqlite3
import time

import pytest

from cells import exceptions
from cells.host import store
from tests import deploy, deploy_hosts, stand_in_cell
from tests.conftest import open_directory
from tests.unit.fake_hosts import configured, instance

NUMBERS = itertools.count()
RUNNING, SHUTDOWN = 1, 4
#: In CI agents run under eventlet in test_hosts.
NIGHTLY = os.environ.get('CELLS_TEST_PROFILE') == 'nightly'


class Deployed(deploy_hosts.Agent):
    """An agent with the driver fake."""

    def __init__(self, directory, host, url, concurrency, **options):
        super().__init__(directory, host, url, concurrency=concurrency)
        self._text = self.conf_file.read_text()
        self.set(**options)

    def set(self, **options):
        """Have it read other options of [compute] at its next start."""
        lines = ['%s = %s' % one for one in options.items()]
        group = ['[compute]', 'virt_driver = fake', 'check_interval = 0.2', *lines]
        images = 'fake_images_path = %s' % (self.directory.parent / 'shared')
        self.conf_file.write_text('\n'.join([self._text, *group, images, '']))

    def again(self, wait=True, **options):
        """Kill it with -9 and start it anew."""
        self.kill()
        self.set(**options)
        self.start(wait)


@pytest.fixture(scope='module', params=['threading', *(['eventlet'] if NIGHTLY else [])])
def cell(request, rabbit):
    vhost = 'host_operations_%s' % request.param
    rabbit.add_vhosts([vhost])
    directory = open_directory()
    conf = configured(directory / 'cell', 'nova', transport_url=rabbit.url(vhost))
    found = stand_in_cell.StandInCell(conf)
    found.url, found.concurrency = rabbit.url(vhost), request.param
    found.start()
    yield found
    found.stop()
    shutil.rmtree(directory)


@pytest.fixture
def agent(cell, workdir):
    found = Deployed(workdir / 'agent', 'host%d' % next(NUMBERS), cell.url, cell.concurrency)
    cell.endpoint.refuses.clear()
    cell.endpoint.answer = {}
    cell.serve()
    yield found
    found.end()


def build(cell, agent, **values):
    vm = instance(**values)
    result = cell.run(agent.host, 'build', vm, seconds=30)
    assert result['ok'], result
    return vm


def ask(cell, agent, method, vm, **kwargs):
    return cell.ask(agent.host, method, instance_uuid=vm['uuid'], **kwargs)


def boots(cell, agent, vm):
    return ask(cell, agent, 'get_console_output', vm, tail_length=None).count('login:')


def rows(agent, what):
    """Return rows of the store of an agent."""
    with sqlite3.connect('file:%s?mode=ro' % (agent.directory / store.FILE), uri=True) as found:
        return found.execute(what).fetchall()


def begun(agent, op_id):
    query = "SELECT 1 FROM orders WHERE op_id = '%s' AND state = 'begun'" % op_id
    deploy.wait_until(lambda: rows(agent, query), 10, '%s is begun' % op_id)


def test_c4_an_agent_killed_in_the_middle_of_a_build_makes_one_machine(cell, agent):
    agent.set(fake_delays='build:5')
    agent.start()
    vm = instance()
    op_id = cell.accept(agent.host, 'build', vm)
    deploy.wait_until(
        lambda: any(one[:2] == (op_id, 'spawning') for one in cell.endpoint.steps),
        15,
        'the machine is half there',
    )
    agent.again()
    result = cell.result(op_id, 30)
    assert (result['ok'], result['power_state']) == (True, RUNNING)
    deploy.wait_until(lambda: cell.node(agent.host)['memory_mb_used'] == 1024, 10, 'its room')
    assert boots(cell, agent, vm) == 1
    assert cell.run(agent.host, 'terminate', vm, seconds=30)['power_state'] == 0


def test_c4_a_snapshot_that_was_interrupted_is_reported_and_leaves_nothing(cell, agent):
    agent.set(fake_delays='snapshot:30')
    agent.start()
    vm = build(cell, agent)
    op_id = cell.accept(agent.host, 'snapshot', vm, image_id='i1')
    images = agent.directory.parent / 'shared' / 'images'
    deploy.wait_until(lambda: list(images.glob('*.json')), 15, 'half of an image')
    agent.again()
    result = cell.result(op_id, 30)
    assert (result['ok'], result['error']['type']) == (False, 'Interrupted')
    assert result['power_state'] == RUNNING
    assert list(images.glob('*.json')) == []


def test_c2_what_was_accepted_and_not_begun_survives_kill_9(cell, agent):
    agent.set(fake_delays='pause:30')
    agent.start()
    vm = build(cell, agent)
    first = cell.accept(agent.host, 'pause', vm)
    ids = [
        cell.accept(agent.host, 'attach_volume', vm, volume_id='v%d' % number)
        for number in range(5)
    ]
    agent.again()
    assert cell.result(first, 30)['power_state'] == 3
    devices = [cell.result(op_id, 30)['values']['device'] for op_id in ids]
    assert devices == ['/dev/vd%s' % letter for letter in 'bcdef']
    for op_id in ids:
        assert len(cell.results(op_id)) == 1


def test_r3_an_order_that_comes_again_after_kill_9_is_carried_out_once(cell, agent):
    agent.start()
    vm = build(cell, agent)
    op_id = cell.accept(agent.host, 'reboot', vm, type='HARD')
    before = cell.result(op_id, 30)
    agent.again()
    cell.accept(agent.host, 'reboot', vm, op_id=op_id, type='HARD')
    deploy.wait_until(lambda: len(cell.results(op_id)) == 2, 20, 'it is told again')
    assert cell.results(op_id) == [before, before]
    assert boots(cell, agent, vm) == 2


def test_c2_what_came_of_an_operation_is_told_when_the_cell_is_back(cell, agent):
    agent.start()
    vm = build(cell, agent)
    cell.endpoint.refuses['done'] = exceptions.DatabaseUnavailable(cell_name='c')
    op_id = cell.accept(agent.host, 'stop', vm)
    deploy.wait_until(lambda: cell.results(op_id), 20, 'it is told in vain')
    cell.deaf()
    agent.again(wait=False)
    time.sleep(3)
    told = len(cell.results(op_id))
    cell.endpoint.refuses.clear()
    cell.serve()
    deploy.wait_until(lambda: len(cell.results(op_id)) > told, 40, 'it is told at last')
    assert cell.results(op_id)[-1]['power_state'] == SHUTDOWN
    query = "SELECT state FROM orders WHERE op_id = '%s'" % op_id
    deploy.wait_until(lambda: rows(agent, query) == [('reported',)], 10, 'it knows')


def test_c3_what_the_cell_has_given_up_meanwhile_is_not_carried_out(cell, agent):
    agent.set(fake_delays='stop:30')
    agent.start()
    vm, gone = build(cell, agent), build(cell, agent)
    interrupted = cell.accept(agent.host, 'stop', vm)
    waiting = cell.accept(agent.host, 'rebuild', vm)
    begun(agent, interrupted)
    cell.endpoint.answer = {'cancel': [interrupted, waiting], 'destroy': [gone['uuid']]}
    agent.again()
    assert cell.run(agent.host, 'attach_volume', vm, volume_id='v', seconds=30)['ok']
    assert cell.results(interrupted) == cell.results(waiting) == []
    assert ask(cell, agent, 'get_diagnostics', vm)['uptime'] >= 0
    deploy.wait_until(lambda: cell.node(agent.host)['running_vms'] == 1, 10, 'the other is gone')
    host, operations, instances = cell.endpoint.asked[-1]
    assert host == agent.host
    assert set(operations) == {interrupted, waiting}
    assert instances == {vm['uuid']: RUNNING, gone['uuid']: RUNNING}


def test_c3_an_order_that_has_become_late_is_not_begun(cell, agent):
    agent.set(fake_delays='pause:30')
    agent.start()
    vm = build(cell, agent)
    cell.accept(agent.host, 'pause', vm, deadline=time.time() + 600)
    op_id = cell.accept(agent.host, 'stop', vm, deadline=time.time() + 1)
    time.sleep(1)
    agent.again()
    result = cell.result(op_id, 30)
    assert (result['ok'], result['error']['type']) == (False, 'DeadlinePassed')
    assert ask(cell, agent, 'get_console_output', vm, tail_length=1) == '-- paused --\n'


@pytest.mark.parametrize('reboot', [False, True])
def test_machines_run_on_or_are_off_after_kill_9(cell, agent, reboot):
    agent.start()
    vm = build(cell, agent)
    uptime = ask(cell, agent, 'get_diagnostics', vm)['uptime']
    asked = len(cell.endpoint.asked)
    agent.again(fake_host_reboot=reboot)
    deploy.wait_until(lambda: len(cell.endpoint.asked) > asked, 20, 'it is compared')
    state = SHUTDOWN if reboot else RUNNING
    assert cell.endpoint.asked[-1] == (agent.host, [], {vm['uuid']: state})
    if reboot:
        with pytest.raises(exceptions.InstanceInvalidState):
            ask(cell, agent, 'get_diagnostics', vm)
    else:
        assert ask(cell, agent, 'get_diagnostics', vm)['uptime'] >= uptime


def test_many_instances_at_once_each_in_order_and_killed_on_the_way(cell, agent):
    agent.set(fake_delays='*:0-0.2', fake_memory_mb=10**6, fake_local_gb=10**5)
    agent.start()
    machines = [instance('vm%d' % number, memory_mb=64) for number in range(20)]
    ids = []
    for method in ('build', 'stop', 'start', 'pause', 'unpause', 'suspend', 'resume'):
        ids += [cell.accept(agent.host, method, vm) for vm in machines]
    agent.again(fake_delays='*:0-0.2', fake_memory_mb=10**6, fake_local_gb=10**5)
    for op_id in ids:
        result = cell.result(op_id, 60)
        assert result['ok'], result
    assert all(boots(cell, agent, vm) == 2 for vm in machines)
    deploy.wait_until(lambda: cell.node(agent.host)['running_vms'] == 20, 10, 'all run')


def test_sigterm_leaves_what_takes_long_for_the_next_start(cell, agent):
    agent.set(fake_delays='stop:60')
    agent.start()
    vm = build(cell, agent)
    op_id = cell.accept(agent.host, 'stop', vm)
    begun(agent, op_id)
    before = time.monotonic()
    assert agent.stop() == 0
    assert time.monotonic() - before < 25
    assert cell.results(op_id) == []
    agent.set()
    agent.start()
    assert cell.result(op_id, 30)['power_state'] == SHUTDOWN


def test_an_agent_that_was_stopped_for_a_while_goes_on(cell, agent):
    agent.start()
    vm = build(cell, agent)
    for pid in agent.pids():
        os.kill(pid, signal.SIGSTOP)
    time.sleep(2)
    with pytest.raises(exceptions.ComputeServiceUnavailable):
        cell.ask(agent.host, 'ping', timeout=0.5)
    for pid in agent.pids():
        os.kill(pid, signal.SIGCONT)
    assert cell.run(agent.host, 'stop', vm, seconds=30)['power_state'] == SHUTDOWN


@pytest.mark.parametrize(
    ('option', 'words'),
    [
        ({'fake_failures': 'build:perhaps'}, 'fake_failures'),
        ({'fake_subnet': 'everywhere'}, 'fake_subnet'),
        ({'operation_threads': '0'}, 'operation_threads'),
    ],
)
def test_a_configuration_that_cannot_work_ends_it_with_one_line(cell, agent, option, words):
    agent.set(**option)
    agent.start(wait=False)
    deploy.wait_until(agent.ended, 30, 'it ends')
    assert agent.process.returncode == 1
    [line] = [one for one in agent.log().splitlines() if one.startswith('nova-cells-compute: ')]
    assert words in line


def test_the_log_has_no_password_and_no_traceback(cell, agent):
    agent.set(fake_failures='stop:always')
    agent.start()
    vm = instance()
    cell.run(agent.host, 'build', vm, admin_password='correct horse', seconds=30)
    cell.run(agent.host, 'set_admin_password', vm, password='battery staple', seconds=30)
    result = cell.run(agent.host, 'stop', vm, seconds=30)
    assert result['error']['type'] == 'DriverError'
    assert vm['uuid'] in agent.log()
    assert 'horse' not in agent.log()
    assert 'staple' not in agent.log()
    assert 'Traceback' not in agent.log()
