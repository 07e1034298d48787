"""Accepting and carrying out: the store, the runner and the driver of an agent, without a bus."""

import math
import sqlite3
import threading
import time

import pytest

from cells import exceptions
from cells.host import acceptance, methods, orders, runner
from cells.host import store as stores
from cells.host.virt import loading
from tests.unit.builders import eventually
from tests.unit.fake_hosts import configured, instance, soon


class Agent:
    """What carries out the orders of an agent."""

    def __init__(self, directory, released=True, threads=4, **compute):
        self.directory = directory
        conf = configured(directory, compute=compute)
        self.driver = loading.load(conf)
        self.store = stores.Store(str(directory))
        self.book = orders.Orders(self.store.file)
        self.ended = []
        self.progress = []
        self.repeated = []
        self.runner = runner.Runner(
            host='h1',
            driver=self.driver,
            book=self.book,
            threads=threads,
            on_progress=lambda order, state, percent: self.progress.append((order.op_id, state)),
            on_end=self.end,
        )
        self.acceptance = acceptance.Acceptance(
            host='h1',
            driver=self.driver,
            book=self.book,
            on_order=self.runner.put,
            on_repeat=self.repeated.append,
        )
        self.store.open()
        self.book.open()
        self.driver.start()
        self.runner.start(self.book.waiting())
        if released:
            self.runner.release()

    def end(self, order):
        self.ended.append((order.op_id, self.book.find(order.op_id).result))

    def accept(self, op_id, method, vm, deadline=None, **args):
        self.acceptance.accept(op_id, method, vm, args, deadline or soon(), 'req-1')

    def run(self, op_id, method, vm, **args):
        """Accept something, wait for its end and return the result."""
        self.accept(op_id, method, vm, **args)
        return self.result(op_id)

    def result(self, op_id):
        return eventually(lambda: dict(self.ended).get(op_id), 10)

    def build(self, name='vm', **values):
        vm = instance(name, **values)
        assert self.run('build-%s' % vm['uuid'], 'build', vm)['ok']
        return vm

    def stop(self):
        self.runner.stop(0)
        self.driver.stop()
        self.runner.stop(5)
        self.store.close()

    def again(self, released=True, **compute):
        """Return the agent after it died and came back."""
        self.stop()
        return Agent(self.directory, released, **compute)


@pytest.fixture
def agents():
    """Makes agents that are stopped at the end."""
    made = []

    def make(*args, **kwargs):
        made.append(Agent(*args, **kwargs))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def agent(agents, workdir):
    return agents(workdir / 'h1')


# -- accepting --


def test_a_result_has_a_power_state_values_and_no_error(agent):
    found = agent.run('b.1', 'build', instance())
    assert found['ok'] is True
    assert found['power_state'] == 1
    assert found['error'] is None
    assert found['values'].keys() == {'network_info', 'node'}


def test_c2_what_is_accepted_is_in_the_store_before_it_is_answered(agents, workdir):
    agent = agents(workdir / 'h1', released=False)
    vm = instance()
    agent.accept('b.1', 'build', vm)
    with sqlite3.connect(workdir / 'h1' / stores.FILE) as other:
        assert other.execute('SELECT op_id, state FROM orders').fetchall() == [('b.1', 'accepted')]
    agent = agent.again(released=False)
    assert [one.op_id for one in agent.book.waiting()] == ['b.1']
    agent.runner.release()
    assert agent.result('b.1')['ok']
    agent.stop()


def test_r3_a_repeat_is_answered_and_not_carried_out_again(agent):
    vm = instance()
    for _ in range(3):
        agent.accept('b.1', 'build', vm)
    agent.result('b.1')
    agent.accept('b.1', 'build', vm)
    # Other arguments do not matter: it is known by its id.
    agent.accept('b.1', 'no such method', None)
    assert [op_id for op_id, _ in agent.ended] == ['b.1']
    assert agent.repeated == []
    agent.book.reported('b.1')
    agent.accept('b.1', 'build', vm)
    assert [one.op_id for one in agent.repeated] == ['b.1']
    assert agent.book.find('b.1').state == orders.ENDED


def test_two_at_once_are_not_admitted_to_the_same_room(agents, workdir):
    agent = agents(workdir / 'h1', fake_delays=['build:0.5'], threads=16)
    refused = []

    def accept(number):
        try:
            agent.accept('b.%d' % number, 'build', instance(memory_mb=16384))
        except exceptions.ComputeResourcesUnavailable as error:
            refused.append(error)

    threads = [threading.Thread(target=accept, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 8
    eventually(lambda: len(agent.ended) == 4)
    assert all(result['ok'] for _, result in agent.ended)
    with pytest.raises(exceptions.ComputeResourcesUnavailable):
        agent.accept('b.20', 'build', instance())


@pytest.mark.parametrize(
    ('values', 'words'),
    [
        ({'op_id': ''}, 'op_id'),
        ({'op_id': None}, 'op_id'),
        ({'op_id': 'x' * 65}, 'op_id'),
        ({'instance': instance(uuid='x' * 37)}, r'instance\.uuid'),
        ({'method': 'explode'}, 'explode.*not one of add_fixed_ip, '),
        ({'method': '__init__'}, 'operation'),
        ({'method': None}, 'operation'),
        ({'instance': None}, 'instance'),
        ({'instance': {}}, r'instance\.uuid'),
        ({'instance': {'uuid': 7}}, r'instance\.uuid'),
        ({'instance': {'uuid': 'u'}}, r'instance\.memory_mb'),
        ({'instance': instance(memory_mb=-1)}, 'memory_mb.*-1'),
        ({'instance': instance(vcpus='two')}, 'vcpus.*two'),
        ({'instance': instance(root_gb=1.5)}, 'root_gb'),
        ({'args': 'x'}, 'args'),
        ({'args': {'colour': 'red'}}, 'build takes no .colour.*admin_password'),
        ({'args': {'networks': 'x'}}, 'networks'),
        ({'args': {'networks': [7]}}, r'networks\[0\]'),
        ({'args': {'metadata': {'a': float('nan')}}}, 'args cannot be stored'),
        ({'deadline': None}, 'deadline'),
        ({'deadline': -1}, 'deadline'),
        ({'deadline': True}, 'deadline'),
        ({'deadline': math.inf}, 'deadline'),
        ({'method': 'reboot', 'args': {'type': 'SLOW'}}, 'SLOW.*SOFT, HARD'),
        ({'method': 'stop', 'args': {'clean_shutdown': 'yes'}}, 'clean_shutdown'),
        ({'method': 'snapshot'}, 'snapshot needs image_id'),
        ({'method': 'snapshot', 'args': {'image_id': ''}}, 'image_id'),
        (
            {'method': 'backup', 'args': {'image_id': 'i', 'backup_type': 'd', 'rotation': -1}},
            'rotation',
        ),
        ({'method': 'migrate_in', 'args': {'power_state': 2}}, 'power_state is 2'),
        ({'method': 'resize_finish', 'args': {'flavor': {'memory_mb': 1}}}, r'flavor\.vcpus'),
    ],
)
def test_o7_an_order_that_cannot_be_is_refused_by_name_and_nothing_is_kept(agent, values, words):
    given = {'op_id': 'o.1', 'method': 'build', 'instance': instance(), 'args': {}, **values}
    with pytest.raises(exceptions.Invalid, match=words):
        agent.acceptance.accept(
            given['op_id'],
            given['method'],
            given['instance'],
            given['args'],
            values.get('deadline', soon()),
            None,
        )
    assert agent.book.waiting() == []


@pytest.mark.parametrize('method', methods.METHODS)
def test_what_is_not_given_has_its_default(method):
    needed = {
        name: {'memory_mb': 1, 'vcpus': 1} if name == 'flavor' else 'x'
        for name, (_, default) in methods.METHODS[method].takes.items()
        if default is methods.REQUIRED
    }
    needed.update({'rotation': 1} if 'rotation' in needed else {})
    needed.update({'metadata': {}} if 'metadata' in needed else {})
    found = methods.arguments_of(method, needed)
    assert found.keys() == methods.METHODS[method].takes.keys()
    null = dict.fromkeys(found.keys() - needed.keys())
    assert methods.arguments_of(method, {**needed, **null}) == found
    assert methods.arguments_of(method, found) == found


# -- carrying out --


def test_r3_operations_of_an_instance_are_carried_out_in_order_and_others_beside(agents, workdir):
    agent = agents(workdir / 'h1', threads=8)
    one, other = agent.build('one'), agent.build('other')
    agent.ended.clear()
    slow = agent.again(fake_delays=['stop:2@one', 'start:0.01@one'], threads=8)
    slow.accept('1', 'stop', one)
    slow.accept('2', 'start', one)
    slow.accept('3', 'pause', one)
    slow.accept('4', 'stop', other)
    slow.result('3')
    assert [op_id for op_id, _ in slow.ended] == ['4', '1', '2', '3']
    assert all(result['ok'] for _, result in slow.ended)
    assert slow.driver.power_state(one['uuid']) == 3
    slow.stop()


def test_an_error_of_the_driver_is_told_by_name_and_first_line(agent):
    vm = agent.build()
    agent.run('1', 'stop', vm)
    found = agent.run('2', 'pause', vm)
    assert found == {
        'ok': False,
        'power_state': 4,
        'values': {},
        'error': {
            'type': 'InstanceInvalidState',
            'message': 'Instance %s in power_state shutdown. Cannot pause while the instance is '
            'in this state.' % vm['uuid'],
        },
    }
    found = agent.run('3', 'start', instance())
    assert found['error']['type'] == 'InstanceNotFound'
    assert found['power_state'] is None


def test_x6_a_fault_of_the_driver_is_logged_with_its_traceback_and_told_without(
    agent, caplog, monkeypatch
):
    vm = agent.build()

    def broken(*args, **kwargs):
        raise RuntimeError('the first line\nthe second line')

    monkeypatch.setattr('cells.host.virt.fake.host.FakeHost.see', broken)
    found = agent.run('1', 'stop', vm)
    assert found['error'] == {'type': 'RuntimeError', 'message': 'the first line'}
    assert 'the second line' in caplog.text
    assert 'Traceback' in caplog.text


def test_a_result_that_cannot_be_told_is_a_fault_of_the_driver(agent, monkeypatch):
    vm = agent.build()
    monkeypatch.setattr(
        'cells.host.virt.fake.host.FakeHost.network_info', lambda self, machine: {'x': object()}
    )
    found = agent.run('1', 'rebuild', vm)
    assert found['error']['type'] == 'TypeError'


def test_a_driver_that_cannot_tell_the_power_ends_no_thread(agents, workdir, monkeypatch):
    monkeypatch.setattr(runner, 'STORE_PAUSE', 0.05)
    agent = agents(workdir / 'h1', threads=1)
    vm = agent.build()
    sound, left = agent.driver.power_state, [1]

    def power_state(uuid):
        if left:
            left.pop()
            raise RuntimeError('what nobody has thought of')
        return sound(uuid)

    monkeypatch.setattr(agent.driver, 'power_state', power_state)
    assert not agent.run('late.1', 'start', vm, deadline=1.0)['ok']
    assert agent.run('stop.1', 'stop', vm)['ok']


def test_a_build_that_fails_leaves_nothing(agents, workdir):
    agent = agents(workdir / 'h1', fake_failures=['build:once'])
    vm = instance()
    found = agent.run('1', 'build', vm)
    assert found['error']['type'] == 'DriverError'
    assert found['power_state'] is None
    assert agent.driver.power_states() == {}
    assert agent.run('2', 'build', vm)['ok']


def test_c3_what_is_late_is_not_begun_and_reported(agents, workdir):
    agent = agents(workdir / 'h1')
    vm = agent.build()
    agent = agent.again(fake_delays=['pause:0.5'])
    agent.accept('1', 'pause', vm)
    agent.accept('2', 'stop', vm, deadline=time.time() + 0.2)
    found = agent.result('2')
    assert (found['ok'], found['error']['type']) == (False, 'DeadlinePassed')
    assert found['power_state'] == 3
    agent.stop()


def test_what_was_ordered_is_forgotten_at_its_end(agents, workdir):
    agent = agents(workdir / 'h1', released=False)
    vm = instance()
    agent.accept('1', 'build', vm, admin_password='correct horse')
    assert b'horse' in b''.join(path.read_bytes() for path in (workdir / 'h1').glob('nova-*'))
    agent.runner.release()
    agent.result('1')
    agent.stop()
    for path in workdir.rglob('*'):
        assert not path.is_file() or b'horse' not in path.read_bytes(), path


def test_a_password_is_not_in_the_log(agent, caplog):
    caplog.set_level('DEBUG')
    vm = instance()
    agent.run('1', 'build', vm, admin_password='correct horse')
    agent.run('2', 'set_admin_password', vm, password='battery staple')
    agent.run('3', 'attach_volume', vm, volume_id='x', device='horse')
    assert vm['uuid'] in caplog.text
    assert 'correct' not in caplog.text
    assert 'staple' not in caplog.text


def test_progress_is_told(agent):
    vm = agent.build()
    assert [state for _, state in agent.progress] == [
        'networking',
        'block_device_mapping',
        'spawning',
    ]
    agent.run('s', 'snapshot', vm, image_id='i1')
    assert [state for op_id, state in agent.progress if op_id == 's'] == [
        'image_snapshot',
        'image_pending_upload',
        'image_uploading',
    ]


def test_a_store_that_is_full_for_a_while_loses_nothing(agent, monkeypatch, caplog):
    vm = agent.build()
    monkeypatch.setattr(runner, 'STORE_PAUSE', 0.05)
    end, calls = agent.book.end, []

    def full(op_id, result):
        calls.append(op_id)
        if len(calls) < 3:
            raise sqlite3.OperationalError('database or disk is full')
        return end(op_id, result)

    monkeypatch.setattr(agent.book, 'end', full)
    boots = agent.driver.machine(vm['uuid']).boots
    assert agent.run('1', 'reboot', vm)['ok']
    assert agent.driver.machine(vm['uuid']).boots == boots + 1
    assert 'disk is full' in caplog.text


# -- after the agent died --


def died(agents, workdir, method, built=True, half=lambda agent, vm: True, **args):
    """Return an agent that came back, held, and its instance, with a method begun.

    :param half: tells when as much of it is done as the agent is to die with.
    """
    agent = agents(workdir / 'h1')
    vm = agent.build() if built else instance()
    agent = agent.again(fake_delays=['%s:6' % method])
    agent.accept('the one', method, vm, **args)
    eventually(lambda: agent.book.find('the one').state == orders.BEGUN)
    eventually(lambda: half(agent, vm))
    return agent.again(released=False), vm


def is_half_built(agent, vm):
    return agent.driver.power_state(vm['uuid']) == 0


def images(agent):
    return list((agent.directory.parent / 'shared' / 'images').glob('*.json'))


@pytest.mark.parametrize(
    ('method', 'state'),
    [('stop', 4), ('reboot', 1), ('pause', 3), ('suspend', 7), ('rebuild', 1), ('terminate', None)],
)
def test_c4_what_was_begun_when_the_agent_died_is_run_again(agents, workdir, method, state):
    agent, vm = died(agents, workdir, method)
    assert agent.driver.power_state(vm['uuid']) == 1
    agent.runner.release()
    assert agent.result('the one')['ok']
    assert agent.driver.power_state(vm['uuid']) == state
    agent.stop()


def test_c4_a_build_that_died_is_run_again_and_makes_one_machine(agents, workdir):
    agent, vm = died(agents, workdir, 'build', built=False, half=is_half_built)
    agent.runner.release()
    assert agent.result('the one')['ok']
    assert agent.driver.power_states()[vm['uuid']] == 1
    assert agent.driver.nodes()[0]['memory_mb_used'] == 1024
    agent.stop()


@pytest.mark.parametrize(
    ('method', 'args'),
    [
        ('snapshot', {'image_id': 'i1'}),
        ('backup', {'image_id': 'i1', 'backup_type': 'daily', 'rotation': 1}),
        ('shelve', {'image_id': 'i1'}),
    ],
)
def test_c4_an_image_that_was_begun_is_dropped_and_reported_interrupted(
    agents, workdir, method, args
):
    agent, vm = died(agents, workdir, method, half=lambda agent, vm: images(agent), **args)
    assert len(images(agent)) == 1
    agent.runner.release()
    found = agent.result('the one')
    assert (found['ok'], found['error']['type']) == (False, 'Interrupted')
    assert found['power_state'] == 1
    assert images(agent) == []
    agent.stop()


def test_c4_what_was_done_but_not_noted_is_not_done_again(agents, workdir):
    agent = agents(workdir / 'h1')
    vm = agent.build()
    boots = agent.driver.machine(vm['uuid']).boots
    end = agent.book.end
    agent.book.end = lambda op_id, result: (_ for _ in ()).throw(exceptions.AgentStopped())
    agent.accept('1', 'reboot', vm)
    eventually(lambda: agent.driver.finished('1'))
    agent.accept('2', 'snapshot', vm, image_id='i1')
    agent.book.end = end
    agent = agent.again()
    assert agent.result('1')['ok']
    assert agent.driver.machine(vm['uuid']).boots == boots + 1
    assert agent.result('2')['ok']
    agent.stop()


def test_c3_what_was_begun_is_not_run_again_after_its_deadline(agents, workdir):
    agent = agents(workdir / 'h1')
    vm = agent.build()
    agent = agent.again(fake_delays=['stop:60'])
    agent.accept('1', 'stop', vm, deadline=time.time() + 3)
    eventually(lambda: agent.book.find('1').state == orders.BEGUN)
    time.sleep(3)
    agent = agent.again()
    found = agent.result('1')
    assert (found['ok'], found['error']['type'], found['power_state']) == (False, 'Interrupted', 1)
    agent.stop()


@pytest.mark.parametrize('begun', [True, False])
def test_c3_what_the_cell_has_cancelled_is_not_carried_out(agents, workdir, begun):
    if begun:
        agent, vm = died(agents, workdir, 'stop')
    else:
        agent = agents(workdir / 'h1')
        vm = agent.build()
        agent = agent.again(released=False)
        agent.accept('the one', 'stop', vm)
    assert agent.book.cancel('the one', begun=begun)
    agent.accept('after', 'attach_volume', vm, volume_id='v1')
    agent.runner.release()
    assert agent.result('after')['ok']
    assert agent.driver.power_state(vm['uuid']) == 1
    assert 'the one' not in dict(agent.ended)
    agent.accept('the one', 'stop', vm)
    time.sleep(0.1)
    assert agent.driver.power_state(vm['uuid']) == 1
    agent.stop()


def test_a_cancelled_build_that_had_begun_leaves_nothing(agents, workdir):
    agent, vm = died(agents, workdir, 'build', built=False, half=is_half_built)
    assert agent.driver.power_states() == {vm['uuid']: 0}
    assert agent.book.cancel('the one', begun=True)
    agent.runner.release()
    eventually(lambda: vm['uuid'] not in agent.driver.power_states())
    agent.stop()


def test_another_driver_cannot_do_what_was_ordered_before(agents, workdir):
    agent, vm = died(agents, workdir, 'stop')
    other = agent.again(virt_driver='none')
    found = other.result('the one')
    assert found['error']['type'] == 'Invalid'
    assert 'cannot stop' in found['error']['message']
    other.stop()


def test_what_is_long_over_is_forgotten(agent):
    vm = agent.build()
    agent.run('1', 'stop', vm)
    agent.book.reported('1')
    with agent.store.file.write() as connection:
        connection.execute("UPDATE orders SET changed_at = 0 WHERE state = 'reported'")
    again = agent.again()
    assert again.book.find('1') is None
    assert again.book.unreported()
    again.stop()
