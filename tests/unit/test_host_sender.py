"""How orders get to agents: who waits for whom, what is repeated, what is given up."""

import collections
import datetime
import threading
import time

import pytest
import sqlalchemy as sa

from cells import exceptions, remote_errors
from cells.compute import build_ends, host_ops, host_outcomes, host_sender
from cells.db import engine, host_operations, host_reports, migration, models
from cells.db import instances as db_instances
from cells.stats import Stats
from tests.unit.builders import eventually

DOWN_AFTER = 3600.0


class Agents:
    """The agents of all hosts: each answers as it is told to, and notes what it is asked."""

    def __init__(self):
        self.asked = collections.defaultdict(list)
        self.answers = {}
        self.lock = threading.Lock()
        self.most = collections.Counter()
        self.now = collections.Counter()
        self.let_go = threading.Event()

    def call(self, ctxt, host, method, timeout=None, **kwargs):
        assert method == 'accept'
        assert timeout <= host_sender.ACCEPT_SECONDS
        with self.lock:
            self.asked[host].append(kwargs['op_id'])
            self.now[host] += 1
            self.most[host] = max(self.most[host], self.now[host])
            answer = self.answers.get(host)
        try:
            if callable(answer):
                answer = answer(kwargs)
            if answer == 'silence':
                self.let_go.wait(timeout)
                raise exceptions.ComputeServiceUnavailable(
                    'Compute service of %s is unavailable at this time: it did not answer' % host,
                    host=host,
                )
            if isinstance(answer, Exception):
                raise answer
            return {'accepted': True}
        finally:
            with self.lock:
                self.now[host] -= 1


@pytest.fixture
def database(workdir):
    found = engine.Database('sqlite:///%s' % (workdir / 'cells.sqlite'))
    migration.sync(found)
    yield found
    found.dispose()


@pytest.fixture
def agents():
    found = Agents()
    yield found
    found.let_go.set()


@pytest.fixture
def ended():
    return {}


@pytest.fixture
def make(database, agents, ended):
    """Make workers; those that are made run until the end."""
    running = []

    def one(worker='w1'):
        outcomes = host_outcomes.HostOutcomes(
            database=database,
            of_builds=build_ends.BuildEnds(service_down_time=DOWN_AFTER),
            finish=lambda connection, op, outcome: ended.update({op['op_id']: outcome}),
            progress=lambda *args: None,
        )
        found = host_sender.HostOperations(
            database=database,
            worker=worker,
            caller=agents,
            outcomes=outcomes,
            service_down_time=DOWN_AFTER,
            on_ended=lambda: None,
            stats=Stats(),
        )
        found.start()
        running.append(found)
        return found

    yield one
    agents.let_go.set()
    for worker in running:
        worker.stop()


def report(database, *hosts):
    for host in hosts:
        found = host_reports.HostReport(host, 'nova-compute', 'compute', 'm-' + host, [], None)
        host_reports.host_report(database, found, DOWN_AFTER)


def silence(database, host):
    long_ago = models.utcnow() - datetime.timedelta(seconds=DOWN_AFTER + 1)
    services = models.Service.__table__
    with database.write() as connection:
        connection.execute(
            sa.update(services).where(services.c.host == host).values(last_seen_up=long_ago)
        )


def order(database, op_id, host='h1', uuid=None, **kwargs):
    with database.write() as connection:
        host_ops.order(
            connection,
            op_id=op_id,
            host=host,
            method='start',
            instance={'uuid': uuid or op_id.ljust(36, '0')},
            **kwargs,
        )


def state(database, op_id):
    with database.read() as connection:
        return host_operations.op_find(connection, op_id)['state']


def test_what_is_due_is_offered_and_accepted(database, agents, make):
    report(database, 'h1')
    order(database, 'a.1')
    make()
    eventually(lambda: state(database, 'a.1') == host_operations.ACCEPTED)
    assert agents.asked['h1'] == ['a.1']


def test_a_woken_worker_does_not_wait_for_its_turn(database, make, monkeypatch):
    monkeypatch.setattr(host_sender, 'POLL_SECONDS', 60.0)
    report(database, 'h1')
    worker = make()
    time.sleep(0.2)
    for number in range(5):
        order(database, 'a%d.1' % number)
        worker.wake()
        eventually(lambda number=number: state(database, 'a%d.1' % number) == 'accepted')


def test_what_another_worker_has_ordered_is_found_without_being_woken(database, make):
    report(database, 'h1')
    make()
    time.sleep(0.2)
    order(database, 'a.1')
    eventually(lambda: state(database, 'a.1') == host_operations.ACCEPTED)


def test_silent_hosts_hold_up_no_other(database, agents, make):
    silent = ['s%d' % number for number in range(30)]
    report(database, 'h1', *silent)
    for host in silent:
        agents.answers[host] = 'silence'
        for number in range(20):
            order(database, '%s-%d.1' % (host, number), host)
    worker = make()
    eventually(lambda: len(agents.asked) == 30)
    for number in range(20):
        begun = time.monotonic()
        order(database, 'a%d.1' % number)
        worker.wake()
        eventually(lambda number=number: state(database, 'a%d.1' % number) == 'accepted')
        assert time.monotonic() - begun < host_sender.ACCEPT_SECONDS - 0.5
    assert max(agents.most[host] for host in silent) == 1


def test_a_host_that_did_not_answer_is_tried_ever_less_often_by_one_at_a_time(
    database, agents, make
):
    report(database, 'h1')
    agents.answers['h1'] = exceptions.ComputeServiceUnavailable('nobody listens', host='h1')
    for number in range(50):
        order(database, 'a%02d.1' % number)
    worker = make()
    for _ in range(25):
        worker.wake()
        time.sleep(0.1)
    assert 3 <= len(agents.asked['h1']) <= 12
    agents.answers['h1'] = None
    eventually(lambda: state(database, 'a49.1') == host_operations.ACCEPTED, 15)


def test_much_for_one_host_is_offered_by_several_at_a_time(database, agents, make):
    report(database, 'h1')
    agents.answers['h1'] = lambda kwargs: time.sleep(0.05)
    for number in range(64):
        order(database, 'a%02d.1' % number)
    make()
    eventually(lambda: agents.most['h1'] == host_sender.LANES_PER_HOST)
    eventually(lambda: all(state(database, 'a%02d.1' % n) == 'accepted' for n in range(64)), 10)
    assert sorted(agents.asked['h1']) == ['a%02d.1' % number for number in range(64)]


def test_workers_share_and_none_is_offered_twice(database, agents, make):
    report(database, 'h1', 'h2')
    agents.answers['h1'] = agents.answers['h2'] = lambda kwargs: time.sleep(0.005)
    for number in range(80):
        order(database, 'a%02d.1' % number, 'h%d' % (1 + number % 2))
    for worker in ('w1', 'w2', 'w3'):
        make(worker)
    eventually(lambda: sum(map(len, agents.asked.values())) >= 80, 10)
    time.sleep(0.3)
    assert sorted(agents.asked['h1'] + agents.asked['h2']) == [
        'a%02d.1' % number for number in range(80)
    ]


def test_what_a_worker_that_died_had_claimed_is_offered_by_another(database, agents, make):
    report(database, 'h1')
    order(database, 'a.1')
    with database.write() as connection:
        assert host_operations.ops_claim(connection, 'dead', 'h1', 1.0, 10)
    make()
    eventually(lambda: state(database, 'a.1') == host_operations.ACCEPTED, 5)
    assert agents.asked['h1'] == ['a.1']


def test_a_worker_goes_on_with_what_its_predecessor_had_claimed(database, make):
    report(database, 'h1')
    order(database, 'a.1')
    with database.write() as connection:
        assert host_operations.ops_claim(connection, 'w1', 'h1', 60.0, 10)
    make('w1')
    eventually(lambda: state(database, 'a.1') == host_operations.ACCEPTED)


def test_an_order_of_an_instance_waits_for_the_one_before(database, agents, make, ended):
    report(database, 'h1', 'h2')
    order(database, 'a.1', uuid='u')
    order(database, 'a.2', 'h2', uuid='u')
    worker = make()
    eventually(lambda: state(database, 'a.1') == host_operations.ACCEPTED)
    time.sleep(1.2)
    assert agents.asked['h2'] == []
    with database.write() as connection:
        host_operations.op_end(connection, 'a.1', host_operations.DONE, None)
    worker.wake()
    eventually(lambda: state(database, 'a.2') == host_operations.ACCEPTED)


@pytest.mark.parametrize(
    'error',
    [
        exceptions.ComputeResourcesUnavailable(reason='full'),
        exceptions.Invalid(reason='no such operation'),
        exceptions.InstanceNotFound(instance_id='x'),
        ValueError('odd'),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_an_agent_refuses_has_failed_at_once(database, agents, make, ended, error):
    report(database, 'h1')
    agents.answers['h1'] = lambda kwargs: error if kwargs['op_id'] == 'a.1' else None
    order(database, 'a.1')
    order(database, 'b.1')
    make()
    eventually(lambda: 'a.1' in ended)
    assert (ended['a.1'].ok, ended['a.1'].error_type) == (False, type(error).__name__)
    assert ended['a.1'].error_message == str(error)
    eventually(lambda: state(database, 'b.1') == host_operations.ACCEPTED)
    eventually(lambda: state(database, 'a.1') == host_operations.FAILED)
    assert ended['a.1'].refused == isinstance(error, exceptions.ComputeResourcesUnavailable)


def test_an_agent_that_fails_at_answering_is_asked_again(database, agents, make, ended):
    report(database, 'h1')
    answers = [remote_errors.RemoteFailure(name='OperationalError', text='disk full')] * 3
    agents.answers['h1'] = lambda kwargs: answers.pop() if answers else None
    order(database, 'a.1')
    make()
    eventually(lambda: state(database, 'a.1') == host_operations.ACCEPTED, 10)
    assert agents.asked['h1'] == ['a.1'] * 4
    assert ended == {}


def test_a_host_that_is_down_is_not_asked_and_its_order_fails_at_the_deadline(
    database, agents, make, ended
):
    report(database, 'h1')
    silence(database, 'h1')
    order(database, 'a.1', deadline=1.0)
    order(database, 'b.1', deadline=60.0)
    make()
    eventually(lambda: 'a.1' in ended, 5)
    assert ended['a.1'].error_type == 'ComputeServiceUnavailable'
    assert ended['a.1'].error_message == (
        'Compute service of h1 is unavailable at this time: it is down, and start was not '
        'carried out in time'
    )
    assert agents.asked['h1'] == []
    report(database, 'h1')
    eventually(lambda: state(database, 'b.1') == host_operations.ACCEPTED, 5)


def test_a_host_that_does_not_answer_costs_the_order_at_its_deadline(database, agents, make, ended):
    report(database, 'h1')
    agents.answers['h1'] = exceptions.ComputeServiceUnavailable(
        'Compute service of h1 is unavailable at this time: no agent listens there', host='h1'
    )
    order(database, 'a.1', deadline=1.0)
    make()
    eventually(lambda: 'a.1' in ended, 10)
    assert 'no agent listens there' in ended['a.1'].error_message


def test_an_accepted_order_may_take_its_time_while_its_host_is_up(database, agents, make, ended):
    report(database, 'h1')
    order(database, 'a.1', deadline=0.5)
    make()
    eventually(lambda: state(database, 'a.1') == host_operations.ACCEPTED)
    time.sleep(2.5)
    assert ended == {}
    silence(database, 'h1')
    eventually(lambda: 'a.1' in ended, 5)


def test_what_was_never_offered_is_when_the_cell_is_back_after_its_deadline(
    database, agents, make, ended
):
    report(database, 'h1')
    order(database, 'a.1', deadline=60.0)
    ops = models.HostOperation.__table__
    with database.write() as connection:
        connection.execute(sa.update(ops).values(created_at=1000.0, deadline=1060.0))
    make()
    eventually(lambda: state(database, 'a.1') == host_operations.ACCEPTED)
    time.sleep(1.5)
    assert ended == {}
    with database.read() as connection:
        assert host_operations.op_find(connection, 'a.1')['deadline'] > time.time() + 50


def test_an_order_that_waits_for_another_is_not_given_up_meanwhile(database, make, ended):
    report(database, 'h1')
    order(database, 'a.1', uuid='u')
    order(database, 'a.2', uuid='u', deadline=0.5)
    worker = make()
    time.sleep(2.5)
    assert ended == {}
    with database.write() as connection:
        host_operations.op_end(connection, 'a.1', host_operations.DONE, None)
    worker.wake()
    eventually(lambda: state(database, 'a.2') == host_operations.ACCEPTED)


def test_a_database_that_is_away_for_a_while_loses_nothing(database, agents, make, monkeypatch):
    report(database, 'h1')
    away = threading.Event()
    real = host_operations.ops_claim

    def claim(*args, **kwargs):
        if away.is_set():
            raise sa.exc.OperationalError('x', {}, Exception('away'))
        return real(*args, **kwargs)

    monkeypatch.setattr(host_operations, 'ops_claim', claim)
    away.set()
    order(database, 'a.1')
    make()
    time.sleep(1.5)
    assert state(database, 'a.1') == host_operations.PENDING
    away.clear()
    eventually(lambda: state(database, 'a.1') == host_operations.ACCEPTED, 5)


@pytest.mark.parametrize('host', ['h1', 'h2', None])
def test_a_machine_is_not_removed_from_a_host_that_it_belongs_to_again(
    database, agents, make, host
):
    report(database, 'h1')
    uuid = 'b'.ljust(36, '0')
    with database.write() as connection:
        db_instances.instance_create(connection, {'uuid': uuid, 'host': host})
        host_ops.order_stray_terminate(connection, 'a.0', 'h1', {'uuid': uuid})
    make()
    expected = host_operations.CANCELLED if host == 'h1' else host_operations.ACCEPTED
    eventually(lambda: state(database, 'a.0.stray') == expected)
    assert len(agents.asked['h1']) == (host != 'h1')


def test_stopping_waits_for_an_offer_and_gives_the_rest_back(database, agents, make):
    report(database, 'h1')
    agents.answers['h1'] = lambda kwargs: time.sleep(1)
    for number in range(6):
        order(database, 'a%d.1' % number)
    worker = make()
    eventually(lambda: agents.asked['h1'])
    worker.stop()
    states = [state(database, 'a%d.1' % number) for number in range(6)]
    assert host_operations.ACCEPTED in states
    assert host_operations.PENDING in states
    asked = len(agents.asked['h1'])
    agents.answers['h1'] = None
    make('w2')
    eventually(lambda: all(state(database, 'a%d.1' % n) == 'accepted' for n in range(6)))
    assert len(agents.asked['h1']) == 6 >= asked


def test_what_is_over_is_purged_as_fast_as_it_comes(database, make, monkeypatch):
    monkeypatch.setattr(host_sender, 'PURGE_SIZE', 2)
    worker = make()
    operations = models.HostOperation.__table__
    for number in range(3):
        order(database, 'op.%d' % number)
    with database.write() as connection:
        long_ago = engine.now() - 2 * host_sender.KEEP_SECONDS
        connection.execute(sa.update(operations).values(state='done', ended_at=long_ago))
    found = []
    while True:
        found.append(worker._purge())
        with database.read() as connection:
            if connection.execute(sa.select(operations.c.op_id)).first() is None:
                break
    assert found == [host_sender.PURGE_AGAIN, host_sender.PURGE_INTERVAL]
