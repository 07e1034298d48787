"""What an agent measures and remembers, and what it does for its cell."""

import platform
import re
import sys

import psutil
import pytest
from oslo_messaging.rpc import dispatcher

from cells import context, exceptions
from cells.endpoints import agents
from cells.host import agent, endpoint, resources, store

CTXT = context.RequestContext('u', 'p', is_admin=True)
SETTINGS = resources.Settings('/nowhere/that/is', 512, 1, 16.0)


def measured(**values):
    return [{**resources.measure(SETTINGS)[0], **values}]


# -- resources --


def test_this_machine_is_measured():
    [found] = resources.measure(SETTINGS)
    assert found['hypervisor_hostname'] == platform.node()
    assert found['vcpus'] == psutil.cpu_count()
    assert found['memory_mb'] == psutil.virtual_memory().total // 2**20
    assert found['local_gb'] == psutil.disk_usage('/').total // 2**30
    for free, used, total in (
        ('free_ram_mb', 'memory_mb_used', 'memory_mb'),
        ('free_disk_gb', 'local_gb_used', 'local_gb'),
    ):
        assert 0 <= found[free] <= found[total]
        assert found[free] + found[used] == found[total]


def test_what_is_reserved_is_used():
    most = resources.Settings('/', 10**9, 10**9, 1.0)
    [found] = resources.measure(most)
    assert (found['free_ram_mb'], found['free_disk_gb']) == (0, 0)
    assert found['memory_mb_used'] == found['memory_mb']


def test_what_is_measured_can_be_reported():
    [found] = agents.nodes_of(resources.measure(SETTINGS))
    assert found['vcpus'] == psutil.cpu_count()


def test_uptime_is_told_in_the_words_of_uptime():
    assert re.fullmatch(
        r'\d\d:\d\d:\d\d up (\d+ days?, )?[ \d]\d:\d\d,  \d+ users?,  '
        r'load average: [\d.]+, [\d.]+, [\d.]+',
        resources.uptime(),
    )


@pytest.mark.parametrize(
    ('change', 'noticed'),
    [
        ({}, False),
        ({'free_ram_mb': 50_000 - 900}, False),
        ({'free_ram_mb': 50_000 - 1100}, True),
        ({'free_disk_gb': 501}, False),
        ({'free_disk_gb': 480}, True),
        ({'vcpus': 5}, True),
        ({'disk_available_least': None}, True),
        ({'hypervisor_hostname': 'other'}, True),
    ],
)
def test_only_what_matters_is_noticed(change, noticed):
    before = measured(
        memory_mb=50_000,
        free_ram_mb=50_000,
        local_gb=600,
        free_disk_gb=500,
        disk_available_least=500,
        vcpus=4,
    )
    after = [{**before[0], **change}]
    assert resources.noticeable(before, after) is noticed


def test_another_number_of_nodes_is_noticed():
    assert resources.noticeable(measured(), measured() * 2)
    assert resources.noticeable([], measured())


# -- the store --


@pytest.fixture
def memory(workdir):
    found = store.Store(str(workdir / 'state'))
    found.open()
    yield found
    found.close()


def test_an_agent_remembers_over_a_restart(workdir):
    first = store.Store(str(workdir))
    first.open()
    machine = first.machine_id
    assert first.flags() == (True, False)
    first.set_enabled(False)
    first.set_maintenance(True)
    first.console_put('uuid', 'novnc', 5900)
    assert first.operation_begin('op')
    first.operation_end('op', 'reboot')
    first.close()
    second = store.Store(str(workdir))
    second.open()
    assert second.machine_id == machine
    assert second.flags() == (False, True)
    assert second.console_port('uuid', 'novnc') == 5900
    assert not second.operation_begin('op')
    assert second.operation_result('op') == 'reboot'
    second.consoles_delete('uuid')
    assert second.console_port('uuid', 'novnc') is None
    second.close()


def test_machines_differ(workdir, memory):
    other = store.Store(str(workdir / 'other'))
    other.open()
    assert other.machine_id != memory.machine_id
    other.close()


def test_a_store_that_cannot_be_used_is_an_error_of_the_configuration(workdir):
    (workdir / store.FILE).write_text('not a database at all, but rather long' * 100)
    with pytest.raises(exceptions.ConfigurationError, match='state_path'):
        store.Store(str(workdir)).open()
    (workdir / 'file').touch()
    with pytest.raises(exceptions.ConfigurationError, match='state_path'):
        store.Store(str(workdir / 'file')).open()


def test_one_agent_has_a_directory(workdir):
    held = agent.lock(str(workdir))
    with pytest.raises(exceptions.ConfigurationError, match='another nova-cells-compute'):
        agent.lock(str(workdir))
    held.close()
    agent.lock(str(workdir)).close()


# -- what an agent does --


class Serving:
    """The endpoint of an agent, called as by its server."""

    def __init__(self, memory, **commands):
        self.woken = 0
        self.manager = endpoint.AgentManager(
            host='h1',
            store=memory,
            uptime=lambda: 'up',
            power_commands=commands,
            on_change=self.wake,
        )

    def wake(self):
        self.woken += 1

    def call(self, method, **kwargs):
        try:
            return getattr(self.manager, method)(CTXT, **kwargs)
        except dispatcher.ExpectedException as error:
            raise error.exc_info[1] from None


def test_flags_are_kept_and_told_at_once(memory):
    served = Serving(memory)
    assert served.call('set_host_enabled', enabled=False) == 'disabled'
    assert served.call('host_maintenance_mode', mode=True) == 'on_maintenance'
    assert memory.flags() == (False, True)
    assert served.call('set_host_enabled', enabled=True, op_id='x') == 'enabled'
    assert served.call('host_maintenance_mode', mode=False) == 'off_maintenance'
    assert memory.flags() == (True, False)
    assert served.woken == 4


@pytest.mark.parametrize('value', [None, 'yes', 1, [], {}])
def test_a_flag_is_true_or_false(memory, value):
    for method, name in (('set_host_enabled', 'enabled'), ('host_maintenance_mode', 'mode')):
        with pytest.raises(exceptions.Invalid, match=name):
            Serving(memory).call(method, **{name: value})
    assert memory.flags() == (True, False)


def test_power_is_refused_without_a_command(memory):
    with pytest.raises(exceptions.Invalid, match='no command for reboot .* power_commands'):
        Serving(memory).call('host_power_action', action='reboot')
    with pytest.raises(exceptions.Invalid, match='not one of startup, shutdown, reboot'):
        Serving(memory).call('host_power_action', action='explode')


def test_a_power_command_runs_once_for_each_order(memory, workdir):
    script = 'open(%r, "a").write("x")' % str(workdir / 'ran')
    served = Serving(memory, reboot=[sys.executable, '-c', script])
    for _ in range(3):
        assert served.call('host_power_action', action='reboot', op_id='one') == 'reboot'
    assert (workdir / 'ran').read_text() == 'x'
    served.call('host_power_action', action='reboot', op_id='two')
    assert (workdir / 'ran').read_text() == 'xx'


def test_a_power_command_that_fails_says_so(memory):
    served = Serving(memory, reboot=['/no/such/command'], shutdown=['/bin/false'])
    with pytest.raises(exceptions.Invalid, match='cannot be run'):
        served.call('host_power_action', action='reboot')
    with pytest.raises(exceptions.Invalid, match='ended with code 1'):
        served.call('host_power_action', action='shutdown')


def test_power_commands_are_read_as_command_lines():
    found = agent.power_commands({'reboot': '/sbin/reboot --why "no reason"'})
    assert found == {'reboot': ['/sbin/reboot', '--why', 'no reason']}
    for wrong in ({'explode': 'x'}, {'reboot': ''}, {'reboot': '"'}):
        with pytest.raises(exceptions.ConfigurationError, match='power_commands'):
            agent.power_commands(wrong)


def test_only_the_port_of_a_console_is_valid(memory):
    served = Serving(memory)
    memory.console_put('i1', 'novnc', 5900)

    def ask(port, kind='novnc', uuid='i1'):
        return served.call(
            'validate_console_port', instance_uuid=uuid, console_port=port, console_type=kind
        )

    assert ask(5900) is True
    assert ask('5900') is True
    assert ask(5901) is False
    assert ask(5900, 'spice') is False
    assert ask(5900, uuid='i2') is False


# -- what a cell takes from an agent --

GOOD = {
    'hypervisor_hostname': 'n1',
    'vcpus': 4,
    'vcpus_used': 0,
    'memory_mb': 1024,
    'memory_mb_used': 0,
    'free_ram_mb': 1024,
    'local_gb': 10,
    'local_gb_used': 0,
    'free_disk_gb': 10,
}


def test_a_report_with_the_least_is_taken_and_unknown_fields_are_left_out():
    assert agents.nodes_of([{**GOOD, 'id': 7, 'colour': 'red'}]) == [GOOD]


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('vcpus', -1),
        ('vcpus', 'four'),
        ('vcpus', True),
        ('vcpus', 1.5),
        ('vcpus', 2**31),
        ('memory_mb', None),
        ('free_ram_mb', -1),
        ('local_gb', 2**63),
        ('free_disk_gb', []),
        ('disk_available_least', -1),
        ('hypervisor_hostname', ''),
        ('hypervisor_hostname', 'x' * 256),
        ('hypervisor_hostname', '\ud800'),
        ('hypervisor_type', 7),
        ('host_ip', '1.2.3'),
        ('cpu_allocation_ratio', float('nan')),
        ('cpu_allocation_ratio', '1'),
        ('cpu_info', {}),
        ('cpu_info', 'x' * 70000),
        ('stats', []),
        ('stats', {'a': 1}),
        ('supported_hv_specs', 'x86_64'),
        ('supported_hv_specs', [['x86_64', 'kvm']]),
        ('supported_hv_specs', [['toaster', 'kvm', 'hvm']]),
    ],
)
def test_a_bad_value_in_a_report_is_refused_by_its_name(field, value):
    with pytest.raises(exceptions.Invalid, match=field):
        agents.nodes_of([GOOD, {**GOOD, 'hypervisor_hostname': 'n2', field: value}])


@pytest.mark.parametrize('rubbish', [None, 'x', {}, [None], [7], [GOOD, GOOD], [{}], [GOOD] * 1001])
def test_rubbish_is_no_report(rubbish):
    with pytest.raises(exceptions.Invalid, match='resources'):
        agents.nodes_of(rubbish)
