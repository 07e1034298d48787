"""Delays and failures that are injected into a fake host."""

import threading
import time

import pytest

from cells import exceptions
from cells.host.virt.fake import faults
from tests.unit.fake_hosts import Host, instance


class Counted:
    """Counts in memory."""

    def __init__(self):
        self.counts = {}

    def count(self, name):
        self.counts[name] = self.counts.get(name, 0) + 1
        return self.counts[name]


def made(delays=(), failures=(), seed='', host='h1', stopped=None):
    return faults.Faults(
        host=host,
        delays=tuple(faults.delay(one) for one in delays),
        failures=tuple(faults.failure(one) for one in failures),
        seed=seed,
        counters=Counted(),
        stopped=stopped or threading.Event(),
    )


def fails(found, method, name='vm'):
    try:
        found.fate(method, name).strike()
    except exceptions.DriverError:
        return True
    return False


def test_always_once_and_a_part():
    found = made(failures=['build:always', 'stop:once', 'start:0.3', 'pause:0'])
    assert all(fails(found, 'build') for _ in range(5))
    assert [fails(found, 'stop') for _ in range(3)] == [True, False, False]
    assert 200 < sum(fails(found, 'start') for _ in range(1000)) < 400
    assert not any(fails(found, 'pause') for _ in range(100))
    assert not fails(found, 'reboot')


def test_a_failure_says_where_it_comes_from():
    with pytest.raises(exceptions.DriverError, match='build has failed.* fake_failures.*build:1'):
        made(failures=['build:1']).fate('build', 'vm').strike()


def test_a_rule_may_be_for_some_names_only_and_the_first_counts():
    found = made(failures=['build:0@good', 'build:always@bad', '*:always@worst'])
    assert fails(found, 'build', 'a bad one')
    assert not fails(found, 'build', 'vm')
    assert not fails(found, 'build', 'a good bad one')
    assert fails(found, 'stop', 'the worst')
    assert not fails(found, 'stop', 'a bad one')


def test_with_a_seed_a_run_goes_the_same_way_again():
    def run(seed, host='h1'):
        found = made(failures=['*:0.5'], seed=seed, host=host)
        return [fails(found, 'build', 'vm-%d' % number) for number in range(50)], [
            fails(found, 'stop', 'vm-1') for _ in range(50)
        ]

    assert run('a') == run('a')
    assert run('a') != run('b')
    assert run('a') != run('a', 'h2')
    for several in run('a'):
        assert set(several) == {True, False}
    assert run('') != run('')


def test_a_delay_is_from_least_to_most_and_ends_with_the_agent():
    stopped = threading.Event()
    found = made(delays=['build:0.05-0.1', 'stop:60'], stopped=stopped)
    begun = time.monotonic()
    found.fate('build', 'vm').take()
    assert 0.04 < time.monotonic() - begun < 30
    found.fate('start', 'vm').take()
    slow = found.fate('stop', 'vm')
    errors = []

    def stop():
        try:
            slow.take()
        except exceptions.AgentStopped as error:
            errors.append(error)

    thread = threading.Thread(target=stop)
    thread.start()
    stopped.set()
    thread.join(5)
    assert errors


def test_a_host_may_refuse_what_would_have_room(workdir):
    host = Host(workdir / 'h1', fake_failures=['accept:always@never', 'accept:once', '*:always'])
    with pytest.raises(exceptions.ComputeResourcesUnavailable, match='accept:once'):
        host.admit(instance())
    host.admit(instance())
    for _ in range(3):
        with pytest.raises(exceptions.ComputeResourcesUnavailable, match='accept:always@never'):
            host.admit(instance('never here'))
    host.stop()


def test_once_is_once_also_over_restarts(workdir):
    host = Host(workdir / 'h1', fake_failures=['build:once'])
    with pytest.raises(exceptions.DriverError):
        host.run('build', instance())
    again = host.again(fake_failures=['build:once'])
    again.build()
    again.stop()


@pytest.mark.parametrize(
    ('method', 'before', 'args'),
    [
        ('stop', None, {}),
        ('start', 'stop', {}),
        ('reboot', None, {}),
        ('pause', None, {}),
        ('rebuild', None, {}),
        ('rescue', None, {}),
        ('attach_volume', None, {'volume_id': 'v'}),
        ('set_admin_password', None, {'password': 'x'}),
        ('terminate', None, {}),
        ('shelve', None, {'image_id': 'i'}),
        ('resize_migrate', None, {'flavor': {'memory_mb': 1, 'vcpus': 1}}),
        ('migrate_out', None, {}),
    ],
)
def test_what_fails_leaves_the_machine_as_it_was(workdir, method, before, args):
    host = Host(workdir / 'h1', fake_failures=['%s:always' % method])
    vm = host.build()
    if before:
        host.run(before, vm)
    machine = host.machine(vm)
    with pytest.raises(exceptions.DriverError):
        host.run(method, vm, op_id='x', **args)
    host.driver.clean_up(host.task(method, vm, op_id='x', **args))
    assert host.machine(vm) == machine
    assert host.driver.finished('x') is None
    host.stop()
