"""A cell and agents with fake hosts, all in this process: orders, and what comes of them."""

import contextlib
import time
import uuid as uuids

import pytest
import sqlalchemy as sa

from cells import context, exceptions
from cells.compute import host_ops
from cells.db import (
    claims,
    compute_nodes,
    engine,
    faults,
    host_operations,
    instance_actions,
    instances,
    models,
    placements,
    services,
)
from cells.objects import flavor
from cells.objects import instance as instance_objects
from tests import fake_agents, fake_cells
from tests.unit.builders import eventually

CTXT = context.RequestContext('u', 'p', is_admin=True, request_id='req-1')
DOWN_AFTER = 4.0
SMALL = flavor.Flavor(
    id=1, name='m1', flavorid='1', memory_mb=2048, vcpus=1, root_gb=10, ephemeral_gb=0, swap=0
)


class NoPlacer:
    """Leaves it to the test what becomes of an attempt that has ended."""

    def start(self):
        """Do nothing."""

    stop = wake = start


class Cell:
    """A cell with hosts, as its placer and its actions use it."""

    def __init__(self, workdir, agents, **options):
        options.setdefault('build_host_timeout', 2.0)
        self.cell = fake_cells.build(
            workdir, 'c1', {}, cell_type='compute', standalone=True, **options
        )
        self.cell.placer = NoPlacer()
        self.database = self.cell.database
        self.agents = agents

    def build(self, name='vm', attempt=1, **properties):
        one = instance_objects.Instance(
            uuid=str(uuids.uuid4()), display_name=name, project_id='p', user_id='u', metadata={}
        )
        request = {
            'instances': [one],
            'filter_properties': {'instance_type': SMALL, **properties},
            'admin_password': 'geheim',
        }
        with self.database.write() as connection:
            row = {'instance_uuid': one.uuid, 'attempt': attempt, 'request_uuid': 'r'}
            placements.attempts_add(connection, [{**row, 'state': placements.TOLD}])
            reason = self.cell.builds.build_here(connection, CTXT, one, request, attempt)
        assert reason is None, reason
        self.cell.wake()
        return one.uuid

    def built(self, *args, **kwargs):
        uuid = self.build(*args, **kwargs)
        self.wait(uuid, vm_state='active')
        return uuid

    def order(self, uuid, method, then=None, seconds=30.0, **args):
        """Order something as an action does."""
        task = {'start': 'powering-on', 'stop': 'powering-off', 'reboot': 'rebooting_hard'}
        op_id = '%s.1' % uuids.uuid4()
        with self.database.write() as connection:
            one = instances.instance_get(connection, uuid)
            instances.instance_update(connection, uuid, {'task_state': task[method]})
            action = str(uuids.uuid4())
            values = {'uuid': action, 'instance_uuid': uuid, 'action': method}
            instance_actions.action_create(connection, {**values, 'request_id': 'req-2'})
            host_ops.order(
                connection,
                op_id=op_id,
                host=one.host,
                method=method,
                instance=one,
                args=args,
                action_uuid=action,
                event='compute_%s_instance' % method,
                notes={'then': then or method},
                ctxt=CTXT,
                deadline=seconds,
            )
        self.cell.wake()
        return op_id

    def load(self, uuid, read_deleted='no'):
        with self.database.read() as connection:
            return instances.instance_get(connection, uuid, read_deleted)

    def op(self, op_id):
        with self.database.read() as connection:
            return host_operations.op_find(connection, op_id)

    def ops(self, uuid, method='build'):
        with self.database.read() as connection:
            return host_operations.ops_of(connection, uuid, method)

    def wait(self, uuid, seconds=15, **values):
        """Wait until an instance has these values."""

        def so():
            one = self.load(uuid)
            return all(getattr(one, name) == value for name, value in values.items())

        try:
            eventually(so, seconds)
        except AssertionError:
            one = self.load(uuid)
            shown = (one.vm_state, one.task_state, one.power_state, one.host)
            raise AssertionError('%s is %s, not %s' % (uuid, shown, values)) from None
        return self.load(uuid)

    def up(self, *hosts):
        eventually(lambda: services.hosts_up(self.database, hosts, DOWN_AFTER) == set(hosts))

    def down(self, host):
        eventually(lambda: not services.hosts_up(self.database, [host], DOWN_AFTER))

    def decided(self, uuid):
        with self.database.read() as connection:
            [row] = placements.attempts_of(connection, [uuid], ['r'])
        return row['state'], placements.Reasons.of(row['reasons']).cells.get('')


@pytest.fixture
def cells(workdir):
    """Make a cell with running agents."""
    with contextlib.ExitStack() as stack:

        def make(*hosts, compute=None, **options):
            agents = fake_agents.FakeAgents(workdir, 'c1', **(compute or {}))
            found = Cell(workdir, agents, **options)
            stack.callback(found.cell.stop)
            found.cell.start()
            stack.enter_context(agents.all_stopped())
            for host in hosts:
                agents.start(host)
            found.up(*hosts)
            return found

        yield make


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Let hosts be down soon."""
    build = fake_cells.conf_of

    def conf_of(*args, **kwargs):
        conf = build(*args, **kwargs)
        conf.set_override('service_down_time', DOWN_AFTER)
        return conf

    monkeypatch.setattr(fake_cells, 'conf_of', conf_of)


def test_an_instance_is_built_and_stopped_and_started(cells):
    one = cells('h1')
    uuid = one.build()
    found = one.wait(uuid, vm_state='active', task_state=None, power_state=1)
    assert (found.host, found.launched_on) == ('h1', 'h1')
    assert found.info_cache.network_info
    eventually(lambda: one.decided(uuid) == (placements.BUILT, None))
    assert one.agents.power_states('h1') == {uuid: 1}
    op_id = one.order(uuid, 'stop', clean_shutdown=True)
    one.wait(uuid, vm_state='stopped', task_state=None, power_state=4)
    assert one.op(op_id)['state'] == host_operations.DONE
    one.order(uuid, 'start')
    one.wait(uuid, vm_state='active', task_state=None, power_state=1)
    events = [
        event
        for action in instance_actions.actions_get(one.database, uuid)
        for event in instance_actions.action_events_get(one.database, action['id'])
    ]
    assert sorted((one['event'], one['result']) for one in events) == [
        ('compute__do_build_and_run_instance', 'Success'),
        ('compute_start_instance', 'Success'),
        ('compute_stop_instance', 'Success'),
    ]


def test_orders_for_an_instance_are_carried_out_in_their_order(cells):
    one = cells('h1', compute={'fake_delays': ['*:0.1']})
    uuid = one.built()
    ops = [one.order(uuid, method) for method in ('stop', 'start', 'stop', 'start', 'stop')]
    eventually(lambda: one.op(ops[-1])['state'] == host_operations.DONE, 15)
    ended = [one.op(op_id)['ended_at'] for op_id in ops]
    assert ended == sorted(ended)
    assert [one.op(op_id)['state'] for op_id in ops] == [host_operations.DONE] * 5
    assert one.agents.power_states('h1') == {uuid: 4}


def test_d3_a_build_is_seen_in_the_capacities_at_once_and_counted_once(cells):
    one = cells('h1', compute={'fake_delays': ['build:6'], 'fake_memory_mb': 8192})

    def free():
        return one.cell.reports.own_capacities().get('ram_free', {}).get('total_mb')

    eventually(lambda: free() == 8192)
    uuid = one.build()
    seen = set()
    eventually(lambda: free() == 6144)
    assert one.load(uuid).vm_state != 'active'
    until = time.monotonic() + 20
    while one.load(uuid).vm_state != 'active' and time.monotonic() < until:
        seen.add(free())
        time.sleep(0.02)
    eventually(lambda: compute_nodes.compute_node_get_all(one.database)[0]['running_vms'] == 1)
    for _ in range(60):
        seen.add(free())
        time.sleep(0.02)
    assert seen == {6144}


def test_c2_a_host_that_refuses_or_breaks_is_followed_by_the_next(cells):
    one = cells('h1', compute={'fake_failures': ['build:once@broken', 'accept:once@full']})
    one.agents.start('h2', fake_failures=[])
    one.up('h2')
    for name in ('broken', 'full'):
        uuid = one.build(name)
        one.wait(uuid, vm_state='active')
        ops = one.ops(uuid)
        assert [op['state'] for op in ops] == [host_operations.FAILED, host_operations.DONE]
        assert [op['host'] for op in ops] == ['h1', 'h2']
        assert uuid not in one.agents.power_states('h1')
        assert uuid in one.agents.power_states('h2')
    with one.database.read() as connection:
        given = claims.claimed_by_node(connection)
    assert sum(amount.memory_mb for amount in given.values()) == 4096


def test_c2_what_no_host_takes_is_nowhere_and_the_decider_knows_why(cells):
    one = cells('h1', 'h2', compute={'fake_failures': ['build:always@bad']})
    uuid = one.build('bad')
    eventually(lambda: one.decided(uuid)[0] == placements.REFUSED, 10)
    reason = one.decided(uuid)[1]
    assert 'host h1: ' in reason
    assert 'host h2: ' in reason
    with pytest.raises(exceptions.InstanceNotFound):
        one.load(uuid)
    for host in ('h1', 'h2'):
        eventually(lambda host=host: one.agents.power_states(host) == {})


def test_a_host_that_ends_in_the_middle_of_a_build_and_returns_has_it_in_the_end(cells):
    one = cells('h1', compute={'fake_delays': ['build:60']}, build_host_timeout=60.0)
    uuid = one.build()
    eventually(lambda: one.ops(uuid)[0]['state'] == host_operations.ACCEPTED)
    one.agents.stop('h1')
    one.agents.start('h1', fake_delays=[])
    one.wait(uuid, vm_state='active', task_state=None)
    assert one.agents.power_states('h1') == {uuid: 1}
    assert len(one.ops(uuid)) == 1


def test_a_host_that_stays_away_loses_a_build_to_another_and_removes_it_when_it_returns(cells):
    one = cells('h1', compute={'fake_delays': ['build:60']})
    uuid = one.build()
    eventually(lambda: one.ops(uuid)[0]['state'] == host_operations.ACCEPTED)
    one.agents.start('h2', fake_delays=[])
    one.up('h2')
    one.agents.stop('h1')
    found = one.wait(uuid, vm_state='active', seconds=20)
    assert found.host == 'h2'
    [first, _] = one.ops(uuid)
    assert first['result']['error']['type'] == 'ComputeServiceUnavailable'
    assert 'it is down' in first['result']['error']['message']
    one.agents.start('h1', fake_delays=[])
    one.up('h1')
    eventually(lambda: one.agents.power_states('h1') == {}, 10)
    time.sleep(0.5)
    assert one.agents.power_states('h1') == {}
    assert one.agents.power_states('h2') == {uuid: 1}
    assert one.load(uuid).vm_state == 'active'


def test_an_order_for_a_host_that_stays_away_has_failed_at_its_deadline(cells):
    one = cells('h1')
    uuid = one.built()
    one.agents.stop('h1')
    one.down('h1')
    op_id = one.order(uuid, 'stop', seconds=1.0)
    one.wait(uuid, task_state=None, vm_state='active')
    assert one.op(op_id)['state'] == host_operations.FAILED
    [fault] = faults.fault_get_all(one.database, uuid)
    assert 'Compute service of h1 is unavailable' in fault['message']
    one.agents.start('h1')
    one.up('h1')
    time.sleep(1)
    assert one.agents.power_states('h1') == {uuid: 1}


def test_an_order_that_was_accepted_and_given_up_is_not_begun_later(cells):
    one = cells('h1', compute={'fake_delays': ['reboot:60']})
    uuid = one.built()
    first = one.order(uuid, 'reboot', type='HARD')
    eventually(lambda: one.op(first)['state'] == host_operations.ACCEPTED)
    one.agents.stop('h1')
    with one.database.write() as connection:
        ops = models.HostOperation.__table__
        connection.execute(
            sa.update(ops).where(ops.c.op_id == first).values(deadline=engine.now() - 1)
        )
    eventually(lambda: one.op(first)['state'] == host_operations.FAILED, 10)
    one.agents.start('h1')
    one.up('h1')
    eventually(lambda: one.agents.order('h1', first).state == 'cancelled', 5)


def test_an_order_waits_for_a_host_that_comes_back_in_time(cells):
    one = cells('h1')
    uuid = one.built()
    one.agents.stop('h1')
    one.down('h1')
    one.order(uuid, 'stop')
    time.sleep(1)
    assert one.load(uuid).task_state == 'powering-off'
    one.agents.start('h1')
    one.wait(uuid, vm_state='stopped', task_state=None)


def test_a_dead_host_holds_up_no_other(cells):
    one = cells('h1', 'h2')
    first = one.built(force_hosts=['h1'])
    second = one.built(force_hosts=['h2'])
    one.agents.stop('h1')  # the cell believes for a while that it is up
    for _ in range(10):
        one.order(first, 'stop')
    begun = time.monotonic()
    one.order(second, 'stop')
    one.wait(second, vm_state='stopped')
    assert time.monotonic() - begun < 4.5  # a host that does not answer takes five


def test_a_result_that_comes_twice_counts_once(cells):
    one = cells('h1')
    uuid = one.built()
    [op] = one.ops(uuid)
    client = one.agents.client('h1')
    result = {'ok': False, 'power_state': 6, 'values': {}, 'error': {'type': 'X', 'message': 'x'}}
    for _ in range(3):
        client.done(op['op_id'], result, None)
    client.done('nobody-knows.1', result, None)
    assert (one.load(uuid).vm_state, one.load(uuid).power_state) == ('active', 1)
    assert faults.fault_get_all(one.database, uuid) == []


# -- reconciliation --


def test_what_is_deleted_while_a_host_is_away_is_removed_when_it_returns(cells):
    one = cells('h1')
    uuid, other = one.built(), one.built()
    one.agents.stop('h1')
    with one.database.write() as connection:
        instances.instance_destroy(connection, uuid)
        claims.claims_drop(connection, uuid)
        connection.execute(sa.update(models.HostOperation).values(ended_at=0.0))
    one.agents.start('h1')
    eventually(lambda: one.agents.power_states('h1') == {other: 1}, 10)


def test_a_machine_that_is_missing_puts_its_instance_into_the_error_state(cells):
    one = cells('h1')
    uuid, other = one.built(), one.built()
    one.agents.stop('h1')
    one.agents.lose_machine('h1', uuid)
    with one.database.write() as connection:
        connection.execute(sa.update(models.HostOperation).values(ended_at=0.0))
    one.agents.start('h1')
    found = one.wait(uuid, vm_state='error')
    assert (found.host, found.deleted) == ('h1', False)
    [fault] = faults.fault_get_all(one.database, uuid)
    assert fault['message'] == 'Host h1 does not have this instance any more'
    assert one.load(other).vm_state == 'active'


def test_a_host_that_was_rebooted_tells_what_is_switched_off(cells):
    one = cells('h1')
    uuid = one.built()
    one.agents.stop('h1')
    with one.database.write() as connection:
        connection.execute(sa.update(models.HostOperation).values(ended_at=0.0))
    one.agents.start('h1', fake_host_reboot=True)
    one.wait(uuid, vm_state='stopped', power_state=4)


def test_an_instance_that_was_just_changed_is_left_alone(cells):
    one = cells('h1', compute={'reconcile_interval': 0.1})
    for _ in range(5):
        uuid = one.built()
        one.order(uuid, 'stop')
        one.wait(uuid, vm_state='stopped')
    with one.database.read() as connection:
        found = connection.execute(sa.select(models.InstanceFault.message)).scalars().all()
    assert found == []
    assert len(one.agents.power_states('h1')) == 5


def test_an_order_that_an_agent_has_lost_is_offered_again(cells, workdir):
    one = cells('h1', compute={'fake_delays': ['stop:60']})
    uuid = one.built()
    op_id = one.order(uuid, 'stop')
    eventually(lambda: one.op(op_id)['state'] == host_operations.ACCEPTED)
    one.agents.stop('h1')
    one.agents.lose_orders('h1')
    one.agents.start('h1', fake_delays=[])
    one.wait(uuid, vm_state='stopped', task_state=None)


# -- what agents may not --


def test_a_host_tells_only_of_its_own_and_under_its_own_machine(cells):
    one = cells('h1', 'h2')
    uuid = one.built(force_hosts=['h1'])
    op_id = one.order(uuid, 'stop', seconds=60)
    eventually(lambda: one.op(op_id)['state'] != host_operations.PENDING)
    result = {'ok': True, 'power_state': 4, 'values': {}, 'error': None}
    with pytest.raises(exceptions.NoAnswer, match='of host h1, not of h2'):
        one.agents.client('h2').done(op_id, result, None)
    stranger = one.agents.client('h2', called='h1')
    with pytest.raises(exceptions.NoAnswer, match='HostNameInUse'):
        stranger.done(op_id, result, None)
    with pytest.raises(exceptions.NoAnswer, match='HostNameInUse'):
        stranger.reconcile([], {})
    with pytest.raises(exceptions.NoAnswer, match='ComputeHostNotFound'):
        one.agents.client('h2', called='h9').done(op_id, result, None)


OK = {'ok': True, 'power_state': 4, 'values': {}, 'error': None}
BAD = {'ok': False, 'power_state': None, 'values': {}, 'error': {'type': 'X', 'message': 'x'}}


@pytest.mark.parametrize(
    ('result', 'text'),
    [
        (None, 'result is None, not an object'),
        ({**OK, 'ok': 1}, 'result.ok is 1, not true or false'),
        ({**OK, 'power_state': 2}, 'result.power_state is 2, not one of 0, 1, 3, 4, 6, 7'),
        ({**OK, 'power_state': 'on'}, "result.power_state is 'on', not a whole number"),
        ({**OK, 'values': []}, 'result.values is .*, not an object'),
        ({**OK, 'values': {'network_info': 'x'}}, "network_info is 'x', not a list"),
        ({**OK, 'values': {'network_info': [1]}}, 'one of result.values.network_info is 1'),
        ({**OK, 'values': {'node': 7}}, 'result.values.node is 7, not a text'),
        ({**BAD, 'error': None}, 'result.error is None, not an object'),
        ({**BAD, 'error': {'type': 'X'}}, 'result.error.message is None, not a text'),
        ({**BAD, 'error': {'message': 'x'}}, 'result.error.type is None, not a text'),
    ],
)
def test_a_result_that_cannot_be_is_refused_by_name(cells, result, text):
    one = cells('h1')
    client = one.agents.client('h1')
    with pytest.raises(exceptions.NoAnswer, match=text):
        client._call('1.1', 'done', None, machine_id=client._machine_id, op_id='a.1', result=result)


@pytest.mark.parametrize('op_id', ['', 'x' * 65, None, 7])
def test_an_id_that_cannot_be_is_refused(cells, op_id):
    one = cells('h1')
    with pytest.raises(exceptions.NoAnswer, match='op_id'):
        one.agents.client('h1').done(op_id, OK, None)
    with pytest.raises(exceptions.NoAnswer, match='op_id'):
        one.agents.client('h1').progress(op_id, 'spawning', 1, None)


@pytest.mark.parametrize(
    ('operations', 'found', 'text'),
    [
        ([7], {}, 'one of operations is 7'),
        (['x' * 65], {}, 'one of operations is'),
        ([], {'u': 9}, 'is 9, not one of 0, 1'),
        ([], {'u' * 37: 1}, 'a key of instances'),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(cells, operations, found, text):
    one = cells('h1')
    with pytest.raises(exceptions.NoAnswer, match=text):
        one.agents.client('h1').reconcile(operations, found)


@pytest.mark.parametrize(
    ('task_state', 'percent', 'text'),
    [('dreaming', 1, "task_state is 'dreaming', not one of"), ('spawning', 101, 'progress is 101')],
)
def test_progress_that_cannot_be_is_refused_by_name(cells, task_state, percent, text):
    one = cells('h1')
    with pytest.raises(exceptions.NoAnswer, match=text):
        one.agents.client('h1').progress('a.1', task_state, percent, None)


def test_an_error_of_a_driver_may_have_any_text(cells):
    one = cells('h1', compute={'fake_delays': ['stop:30']})
    uuid = one.built()
    op_id = one.order(uuid, 'stop')
    eventually(lambda: one.op(op_id)['state'] == host_operations.ACCEPTED)
    text = 'größe \0 ' + 'x' * 20_000
    result = {**BAD, 'error': {'type': 'DriverError', 'message': text}}
    one.agents.client('h1').done(op_id, result, None)
    one.wait(uuid, task_state=None)
    [fault] = faults.fault_get_all(one.database, uuid)
    assert fault['message'].startswith('größe \\x00 xxx')


# -- many --


def test_orders_for_many_instances_are_accepted_carried_out_and_noted(cells):
    one = cells('h1', 'h2', compute={'operation_threads': 16, 'fake_memory_mb': 2048 * 40})
    uuids_ = [one.build('vm%d' % number) for number in range(40)]
    for uuid in uuids_:
        one.wait(uuid, vm_state='active', seconds=30)
    for number in range(4):
        method = 'stop' if number % 2 == 0 else 'start'
        ops = [one.order(uuid, method) for uuid in uuids_]
    for op_id in ops:
        eventually(lambda op_id=op_id: one.op(op_id)['state'] == host_operations.DONE, 120)
    assert {one.op(op_id)['method'] for op_id in ops} == {'start'}
