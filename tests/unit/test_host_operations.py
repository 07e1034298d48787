"""A whole agent with the driver fake, and what stands in for its cell, over a process's bus."""

import sqlite3
import subprocess
import sys
import time

import pytest

from cells import exceptions
from cells.host import agent as host_agent
from cells.host import cell_client, reconciling, store
from tests import stand_in_cell
from tests.unit.builders import eventually
from tests.unit.fake_hosts import NUMBERS, configured, instance

RUNNING, PAUSED, SHUTDOWN = 1, 3, 4


class Bench:
    """A cell and its agents."""

    def __init__(self, directory):
        self.directory = directory
        self.exchange = 'operations%d' % next(NUMBERS)
        self.cell = stand_in_cell.StandInCell(configured(directory, self.exchange))
        self.agents = {}

    def agent(self, host='h1', wait=True, directory=None, **compute):
        """Start the agent of a host, anew if it runs."""
        self.stop(host)
        conf = configured(
            self.directory / (directory or host), self.exchange, host=host, compute=compute
        )
        asked = len(self.cell.endpoint.asked)
        self.agents[host] = host_agent.build(conf)
        self.agents[host].start()
        if wait:
            self.cell.served(host)
            eventually(lambda: len(self.cell.endpoint.asked) > asked)

    def stop(self, host):
        if host in self.agents:
            self.agents.pop(host).stop()

    def end(self):
        for host in tuple(self.agents):
            self.stop(host)
        self.cell.stop()

    def build(self, host='h1', name='vm', **values):
        vm = instance(name, **values)
        result = self.cell.run(host, 'build', vm)
        assert result['ok'], result
        return vm

    def power_states(self):
        """Return what the agent told of its instances when it was compared last."""
        return self.cell.endpoint.asked[-1][2] if self.cell.endpoint.asked else None


@pytest.fixture
def bench(workdir, monkeypatch):
    monkeypatch.setattr(host_agent, 'DRAIN_SECONDS', 0.5)
    monkeypatch.setattr(host_agent, 'SHORTEST_WAIT', 0.5)
    monkeypatch.setattr(reconciling, 'LONGEST_PAUSE', 0.5)
    monkeypatch.setattr('cells.host.answering.LONGEST_PAUSE', 0.5)
    found = Bench(workdir)
    found.cell.start()
    yield found
    found.end()


@pytest.fixture
def cell(bench):
    return bench.cell


def test_an_order_is_accepted_carried_out_and_told(bench, cell):
    bench.agent()
    vm = instance()
    op_id = cell.accept('h1', 'build', vm)
    result = cell.result(op_id)
    assert (result['ok'], result['power_state'], result['error']) == (True, RUNNING, None)
    assert result['values']['node'] == 'h1'
    assert cell.run('h1', 'stop', vm)['power_state'] == SHUTDOWN
    assert cell.run('h1', 'terminate', vm)['power_state'] == 0
    time.sleep(0.2)
    assert cell.results(op_id) == [result]


def test_capacity_goes_down_when_machines_come_and_is_told_at_once(bench, cell):
    bench.agent()
    eventually(lambda: cell.node('h1'))
    assert cell.node('h1')['free_ram_mb'] == 65536
    vm = bench.build(memory_mb=128)
    eventually(lambda: cell.node('h1')['free_ram_mb'] == 65408)
    cell.run('h1', 'terminate', vm)
    eventually(lambda: cell.node('h1')['vcpus_used'] == 0)


def test_r3_a_repeat_of_an_order_is_accepted_and_done_once(bench, cell):
    bench.agent()
    vm = bench.build()
    boots = boots_of(cell, vm)
    for _ in range(3):
        cell.accept('h1', 'reboot', vm, op_id='r.1')
    first = cell.result('r.1')
    # A cell that gives an order again has lost the result.
    cell.accept('h1', 'reboot', vm, op_id='r.1')
    eventually(lambda: len(cell.results('r.1')) >= 2)
    assert all(one == first for one in cell.results('r.1'))
    assert boots_of(cell, vm) == boots + 1


def boots_of(cell, vm):
    output = cell.ask('h1', 'get_console_output', instance_uuid=vm['uuid'], tail_length=None)
    return output.count(' login:')


def test_what_does_not_fit_is_refused_at_once(bench, cell):
    bench.agent(fake_memory_mb=2048)
    bench.build()
    with pytest.raises(exceptions.ComputeResourcesUnavailable, match='MiB of memory'):
        cell.accept('h1', 'build', instance(memory_mb=2048))
    with pytest.raises(exceptions.Invalid, match='not one of add_fixed_ip'):
        cell.accept('h1', 'explode', instance())
    assert cell.results('x') == []


def test_without_a_driver_nothing_is_taken(bench, cell):
    bench.agent(virt_driver='none')
    with pytest.raises(exceptions.ComputeResourcesUnavailable, match='virt_driver = none'):
        cell.accept('h1', 'build', instance())
    with pytest.raises(exceptions.Invalid, match='cannot stop'):
        cell.accept('h1', 'stop', instance())
    assert cell.run('h1', 'terminate', instance())['ok']


def test_what_takes_long_is_told_while_it_goes_on(bench, cell):
    bench.agent(fake_delays=['build:5'])
    op_id = cell.accept('h1', 'build', instance())
    assert cell.result(op_id, 30)['ok']
    states = [state for known, state, _ in cell.endpoint.steps if known == op_id]
    assert states == ['networking', 'block_device_mapping', 'spawning']
    percents = [percent for known, _, percent in cell.endpoint.steps if known == op_id]
    assert percents == sorted(percents)


def test_what_is_quick_is_not_told_before_its_end(bench, cell, monkeypatch):
    monkeypatch.setattr('cells.host.progress.LEAST_SECONDS', 2.0)
    bench.agent()
    vm = bench.build()
    for _ in range(10):
        cell.run('h1', 'reboot', vm)
    assert len(cell.endpoint.steps) < 5


# -- results --


@pytest.mark.parametrize('how', ['deaf', 'refusing'])
def test_c2_a_result_is_told_until_the_cell_has_it(bench, cell, how):
    bench.agent()
    vm = bench.build()
    if how == 'deaf':
        cell.deaf()
    else:
        cell.endpoint.refuses['done'] = exceptions.DatabaseUnavailable(cell_name='c')
    op_id = cell.accept('h1', 'stop', vm)
    if how == 'refusing':
        eventually(lambda: len(cell.results(op_id)) >= 2)
    else:
        time.sleep(1.5)
        assert cell.results(op_id) == []
    told = len(cell.results(op_id))
    cell.endpoint.refuses.clear()
    if how == 'deaf':
        cell.serve()
    eventually(lambda: len(cell.results(op_id)) > told)
    assert cell.result(op_id)['ok']


def test_c2_a_result_survives_the_agent(bench, cell):
    bench.agent()
    vm = bench.build()
    cell.endpoint.refuses['done'] = exceptions.DatabaseUnavailable(cell_name='c')
    first = cell.accept('h1', 'stop', vm)
    second = cell.accept('h1', 'start', vm)
    eventually(lambda: cell.results(first))
    assert not cell.results(second), 'the results of an instance keep their order'
    bench.stop('h1')
    cell.endpoint.refuses.clear()
    cell.endpoint.results.clear()
    bench.agent()
    assert cell.result(first)['power_state'] == SHUTDOWN
    assert cell.result(second)['power_state'] == RUNNING


def test_a_result_that_one_instance_cannot_be_rid_of_keeps_no_other_up(bench, cell):
    bench.agent()
    stuck, free = bench.build(), bench.build()
    refusing = cell.endpoint.refuses
    refusing['done'] = exceptions.Invalid(reason='no')
    op_id = cell.accept('h1', 'stop', stuck)
    eventually(lambda: cell.results(op_id))
    del refusing['done']
    assert cell.run('h1', 'stop', free)['ok']


# -- at the start --


def test_c4_nothing_is_carried_out_before_the_cell_was_asked(bench, cell):
    bench.agent()
    vm = bench.build()
    bench.stop('h1')
    cell.endpoint.refuses['reconcile'] = exceptions.DatabaseUnavailable(cell_name='c')
    bench.agent()
    op_id = cell.accept('h1', 'stop', vm)
    time.sleep(0.7)
    assert cell.results(op_id) == []
    assert cell.ask('h1', 'get_diagnostics', instance_uuid=vm['uuid'])['uptime'] >= 0
    assert cell.node('h1')['running_vms'] == 1
    cell.endpoint.refuses.clear()
    assert cell.result(op_id)['ok']


def test_c3_what_the_cell_has_given_up_is_not_carried_out(bench, cell):
    bench.agent()
    vm = bench.build()
    bench.stop('h1')
    cell.endpoint.refuses['reconcile'] = exceptions.DatabaseUnavailable(cell_name='c')
    bench.agent()
    dropped = cell.accept('h1', 'stop', vm)
    kept = cell.accept('h1', 'attach_volume', vm, volume_id='v1')
    cell.endpoint.answer = {'cancel': [dropped, 'unknown'], 'destroy': ['unknown']}
    cell.endpoint.refuses.clear()
    assert cell.result(kept)['power_state'] == RUNNING
    assert cell.results(dropped) == []
    assert {dropped, kept} <= set(cell.endpoint.asked[-1][1])


def test_c4_an_instance_that_was_deleted_meanwhile_is_destroyed(bench, cell):
    bench.agent()
    gone, kept = bench.build(), bench.build()
    bench.stop('h1')
    cell.endpoint.answer = {'cancel': [], 'destroy': [gone['uuid']]}
    bench.agent()
    assert bench.power_states() == {gone['uuid']: RUNNING, kept['uuid']: RUNNING}
    cell.endpoint.answer = {'cancel': [], 'destroy': []}
    eventually(lambda: cell.node('h1')['running_vms'] == 1)
    assert cell.ask('h1', 'get_diagnostics', instance_uuid=kept['uuid'])
    with pytest.raises(exceptions.InstanceNotFound):
        cell.ask('h1', 'get_diagnostics', instance_uuid=gone['uuid'])
    assert not [one for one in cell.endpoint.results if one[1].startswith('reconcile')]


def test_it_is_compared_now_and_then(bench, cell):
    bench.agent(reconcile_interval=0.2)
    vm = bench.build()
    eventually(lambda: bench.power_states() == {vm['uuid']: RUNNING})
    cell.run('h1', 'pause', vm)
    eventually(lambda: bench.power_states() == {vm['uuid']: PAUSED})
    cell.endpoint.answer = {'cancel': [], 'destroy': [vm['uuid']]}
    eventually(lambda: bench.power_states() == {})


def test_what_is_long_over_is_forgotten_while_the_agent_runs(bench, cell, monkeypatch):
    bench.agent(reconcile_interval=0.2)
    bench.build()
    book = bench.agents['h1']._book
    [ended] = [one[1] for one in cell.endpoint.results]
    eventually(lambda: book.find(ended).state == 'reported')
    time.sleep(0.5)
    assert book.find(ended) is not None
    monkeypatch.setattr(store, 'KEEP_SECONDS', -1.0)
    eventually(lambda: book.find(ended) is None)


def test_an_instance_with_an_order_is_not_destroyed_by_an_old_answer(bench, cell):
    bench.agent(reconcile_interval=0.1, fake_delays=['stop:0.7'])
    vm = bench.build()
    op_id = cell.accept('h1', 'stop', vm)
    cell.endpoint.answer = {'cancel': [], 'destroy': [vm['uuid']]}
    time.sleep(0.3)
    cell.endpoint.answer = {'cancel': [op_id], 'destroy': []}
    time.sleep(0.3)
    cell.endpoint.answer = {'cancel': [], 'destroy': []}
    # It is under way, and is not cancelled any more either.
    assert cell.result(op_id)['power_state'] == SHUTDOWN


@pytest.mark.parametrize(
    'answer', [None, [], 'x', {'cancel': 'x'}, {'destroy': [7]}, {'cancel': None}]
)
def test_a_cell_that_answers_rubbish_is_asked_again(bench, cell, answer, caplog):
    cell.endpoint.answer = answer
    bench.agent()
    op_id = cell.accept('h1', 'terminate', instance())
    eventually(lambda: len(cell.endpoint.asked) >= 2)
    assert cell.results(op_id) == []
    cell.endpoint.answer = {}
    assert cell.result(op_id)['ok']
    assert 'reconcile was answered by' in caplog.text


@pytest.mark.parametrize('method', ['done', 'reconcile'])
def test_a_fault_on_the_way_to_the_cell_ends_no_thread(bench, cell, monkeypatch, method):
    sound = getattr(cell_client.CellClient, method)
    faults = []

    def broken(self, *args):
        if len(faults) < 5:  # more than there are threads
            faults.append(args)
            raise RuntimeError('what nobody has thought of')
        return sound(self, *args)

    monkeypatch.setattr(cell_client.CellClient, method, broken)
    bench.agent()
    bench.build()
    assert len(faults) == 5


def test_r3_what_follows_an_operation_and_fails_does_not_repeat_it(bench, cell, monkeypatch):
    bench.agent()
    vm = bench.build()
    broken = sqlite3.OperationalError('database or disk is full')

    def delete(self, uuid):
        raise broken

    monkeypatch.setattr('cells.host.store.Store.consoles_delete', delete)
    op_id = cell.accept('h1', 'stop', vm)
    assert cell.result(op_id)['power_state'] == SHUTDOWN
    time.sleep(0.2)
    assert len(cell.results(op_id)) == 1


def test_machines_run_on_while_the_agent_is_away(bench, cell):
    bench.agent()
    running, off = bench.build(), bench.build()
    cell.run('h1', 'stop', off)
    bench.agent()
    assert bench.power_states() == {running['uuid']: RUNNING, off['uuid']: SHUTDOWN}
    bench.agent(fake_host_reboot=True)
    assert bench.power_states() == {running['uuid']: SHUTDOWN, off['uuid']: SHUTDOWN}


def test_what_takes_longer_than_the_end_of_an_agent_is_taken_up_again(bench, cell):
    bench.agent(fake_delays=['build:60'])
    vm = instance()
    op_id = cell.accept('h1', 'build', vm)
    eventually(lambda: cell.endpoint.steps)
    begun = time.monotonic()
    bench.stop('h1')
    assert time.monotonic() - begun < 10
    assert cell.results(op_id) == []
    bench.agent()
    assert cell.result(op_id)['ok']
    assert cell.endpoint.asked[-1][1] == [op_id]


def test_a_host_that_another_machine_has_taken_over_carries_nothing_out(bench, cell):
    bench.agent(fake_delays=['pause:4'])
    vm = bench.build()
    before = cell.accept('h1', 'pause', vm)
    after = cell.accept('h1', 'stop', vm)
    error = exceptions.HostNameInUse(host='h1', seconds=1)
    cell.endpoint.refuses.update(report=error, reconcile=error)
    eventually(lambda: not serves(cell))
    cell.result(before)
    time.sleep(0.3)
    assert cell.results(after) == []
    cell.endpoint.answer = {'cancel': [after], 'destroy': []}
    cell.endpoint.refuses.clear()
    cell.served('h1')
    assert cell.run('h1', 'attach_volume', vm, volume_id='v')['power_state'] == PAUSED
    assert cell.results(after) == []


def serves(cell):
    try:
        return cell.ask('h1', 'ping', timeout=0.3)
    except exceptions.ComputeServiceUnavailable:
        return False


# -- what is asked directly --


def test_counters_and_console_are_there_while_it_runs(bench, cell):
    bench.agent()
    vm = bench.build()
    ask = {'instance_uuid': vm['uuid']}
    assert cell.ask('h1', 'get_diagnostics', **ask)['memory'] == 1024 * 1024
    assert cell.ask('h1', 'get_instance_diagnostics', **ask)['state'] == 'running'
    assert cell.ask('h1', 'get_console_output', **ask, tail_length=1) == 'vm login:\n'
    assert cell.ask('h1', 'get_console_output', **ask, tail_length='1') == 'vm login:\n'
    everything = cell.ask('h1', 'get_console_output', **ask, tail_length=None)
    assert cell.ask('h1', 'get_console_output', **ask, tail_length=-1) == everything
    assert everything.count('\n') > 3
    for wrong in ('ten', -2, [], 1.5):
        with pytest.raises(exceptions.Invalid, match='tail_length'):
            cell.ask('h1', 'get_console_output', **ask, tail_length=wrong)
    cell.run('h1', 'stop', vm)
    for method in ('get_diagnostics', 'get_instance_diagnostics'):
        with pytest.raises(exceptions.InstanceInvalidState, match='power_state shutdown'):
            cell.ask('h1', method, **ask)


@pytest.mark.parametrize(
    ('kind', 'console_type'),
    [
        ('vnc', 'novnc'),
        ('vnc', 'xvpvnc'),
        ('spice', 'spice-html5'),
        ('rdp', 'rdp-html5'),
        ('serial', 'serial'),
    ],
)
def test_a_console_is_told_with_a_token_and_its_port_is_valid(bench, cell, kind, console_type):
    bench.agent()
    vm = bench.build()
    args = {'instance_uuid': vm['uuid'], 'console_type': console_type}
    first = cell.ask('h1', 'get_%s_console' % kind, **args)
    assert first.keys() == {'token', 'host', 'port', 'internal_access_path', 'access_url'}
    assert first['token'] in first['access_url']
    second = cell.ask('h1', 'get_%s_console' % kind, **args)
    assert (second['port'], second['host']) == (first['port'], first['host'])
    assert second['token'] != first['token']
    valid = {**args, 'console_port': first['port']}
    assert cell.ask('h1', 'validate_console_port', **valid) is True
    assert cell.ask('h1', 'validate_console_port', **{**valid, 'console_port': 1}) is False
    with pytest.raises(exceptions.ConsoleTypeInvalid, match='teletype'):
        cell.ask('h1', 'get_%s_console' % kind, **{**args, 'console_type': 'teletype'})
    cell.run('h1', 'reboot', vm, type='HARD')
    bench.agent()
    assert cell.ask('h1', 'validate_console_port', **valid) is True
    cell.run('h1', 'stop', vm)
    assert cell.ask('h1', 'validate_console_port', **valid) is False


def test_after_a_reboot_of_the_host_no_console_is_valid(bench, cell):
    bench.agent()
    vm = bench.build()
    args = {'instance_uuid': vm['uuid'], 'console_type': 'novnc'}
    port = cell.ask('h1', 'get_vnc_console', **args)['port']
    bench.agent(fake_host_reboot=True)
    assert cell.ask('h1', 'validate_console_port', **args, console_port=port) is False


def test_a_name_for_a_volume_is_kept_for_it(bench, cell):
    bench.agent()
    vm = bench.build()

    def reserve(volume_id, device=None):
        return cell.ask(
            'h1',
            'reserve_block_device_name',
            instance_uuid=vm['uuid'],
            device=device,
            volume_id=volume_id,
        )

    assert reserve('v1') == '/dev/vdb'
    assert reserve('v2') == '/dev/vdc'
    with pytest.raises(exceptions.DevicePathInUse, match='/dev/vdb'):
        reserve('v3', '/dev/vdb')
    with pytest.raises(exceptions.InvalidDevicePath, match='sofa'):
        reserve('v3', 'sofa')
    done = cell.run('h1', 'attach_volume', vm, volume_id='v1', device='/dev/vdb')
    assert done['values'] == {'device': '/dev/vdb'}


@pytest.mark.parametrize(
    ('method', 'args'),
    [
        ('get_diagnostics', {}),
        ('get_instance_diagnostics', {}),
        ('get_console_output', {'tail_length': 1}),
        ('get_vnc_console', {'console_type': 'novnc'}),
        ('get_spice_console', {'console_type': 'spice-html5'}),
        ('get_rdp_console', {'console_type': 'rdp-html5'}),
        ('get_serial_console', {'console_type': 'serial'}),
        ('reserve_block_device_name', {'device': None, 'volume_id': 'v'}),
    ],
)
def test_an_instance_that_is_not_on_the_host_is_not_found(bench, cell, method, args):
    bench.agent()
    with pytest.raises(exceptions.InstanceNotFound, match='no-such'):
        cell.ask('h1', method, instance_uuid='no-such', **args)
    with pytest.raises(exceptions.Invalid, match='instance_uuid'):
        cell.ask('h1', method, instance_uuid=7, **args)


# -- hosts beside each other --


def test_a_resize_and_a_shelf_go_from_host_to_host(bench, cell):
    bench.agent('h1')
    bench.agent('h2')
    vm = bench.build('h1')
    flavor = {'memory_mb': 4096, 'vcpus': 2, 'root_gb': 20, 'ephemeral_gb': 0}
    assert cell.run('h1', 'resize_migrate', vm, flavor=flavor)['power_state'] == SHUTDOWN
    done = cell.run('h2', 'resize_finish', vm, flavor=flavor, power_on=True)
    assert (done['power_state'], done['values']['node']) == (RUNNING, 'h2')
    assert cell.run('h1', 'resize_confirm', vm)['power_state'] is None
    assert cell.run('h2', 'shelve', vm, image_id='i1')['ok']
    assert cell.run('h2', 'shelve_offload', vm)['power_state'] == SHUTDOWN
    done = cell.run('h1', 'unshelve', {**vm, 'memory_mb': 4096}, image_id='i1')
    assert (done['power_state'], done['values']['node']) == (RUNNING, 'h1')
    assert cell.run('h2', 'stop', vm)['error']['type'] == 'InstanceNotFound'


def test_what_can_never_work_is_refused_before_anything_begins(workdir):
    for option, value in (
        ('virt_driver', 'no such driver'),
        ('fake_failures', ['build:perhaps']),
        ('fake_subnet', 'x'),
    ):
        conf = configured(workdir / 'h1', compute={option: value})
        with pytest.raises(exceptions.ConfigurationError, match=option):
            host_agent.check(conf)
    host_agent.check(configured(workdir / 'h1'))


def test_the_agent_knows_no_database_of_a_cell():
    program = (
        'import sys\n'
        'import cells.cmd.compute_daemon, cells.host.virt.fake.driver, cells.host.virt.none\n'
        "print(sorted({'sqlalchemy', 'oslo_db', 'alembic', 'cells.db'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', program], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.strip()) == (0, '[]'), done.stderr
