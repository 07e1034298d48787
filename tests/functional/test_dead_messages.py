"""A message that is delivered again and again, as one that kills its reader is."""

import threading
import time

import kombu
import oslo_messaging
import pytest
from oslo_config import cfg

from cells import arrivals, rpc
from cells.db import journal as db_journal
from cells.stats import Stats
from tests import deploy, fake_cells


class Arrived:
    """A message as a driver hands it over."""

    def __init__(self, text: str, deliveries: int) -> None:
        self.text = text
        self.deliveries = deliveries
        self.settled = False

    def settle(self) -> None:
        self.settled = True


def dead_messages(one) -> int:
    return db_journal.counts(one.database).get('dead_messages', 0)


@pytest.fixture
def alone(workdir):
    with fake_cells.FakeTree(workdir, {'top': None}).running() as tree:
        yield tree['top']


def test_what_came_too_often_is_put_aside_unread(alone):
    arrived = Arrived('it may be anything, \x00 even this', arrivals.MOST_DELIVERIES)
    alone.runner.receive(arrived)
    deploy.wait_until(lambda: arrived.settled, 5, 'it is settled')
    assert dead_messages(alone) == 1


def test_what_came_less_often_is_read(alone):
    arrived = Arrived('rubbish', arrivals.MOST_DELIVERIES - 1)
    alone.runner.receive(arrived)
    assert arrived.settled
    assert dead_messages(alone) == 0


def test_what_meets_an_error_of_ours_is_not_lost(alone, monkeypatch, caplog):
    def fail(message, incoming):
        raise ZeroDivisionError('a bug')

    monkeypatch.setattr(alone.runner._arrivals, '_dispatch', fail)
    monkeypatch.setattr('cells.routing.check_arrival', lambda message, neighbours: None)
    text = (
        '{"message_type": "broadcast", "ctxt": {}, "method_name": "sync_instances",'
        ' "method_kwargs": {}, "direction": "down", "uuid": "u1", "routing_path": "above",'
        ' "hop_count": 1}'
    )
    arrived = Arrived(text, 0)
    alone.runner.receive(arrived)
    deploy.wait_until(lambda: arrived.settled, 5, 'it is settled')
    assert dead_messages(alone) == 1
    assert 'u1 (sync_instances, above!top) is put aside' in caplog.text


def test_a_cast_that_no_worker_survives_is_put_aside(workdir, rabbit):
    tree = deploy.Tree(
        workdir / 'tree', rabbit, deploy.sqlite(workdir), {'api': None}, workers=1, prefix='dead_'
    )
    ctxt = deploy.admin()
    with tree.running():
        tree['api'].stop()
        tree.api('api').sync_instances(ctxt, project_id='poison')
        for _ in range(arrivals.MOST_DELIVERIES):
            deploy.wait_until(lambda: take(tree['api'].transport_url), 10, 'it is there again')
        tree['api'].start()
        status = deploy.wait_until(
            lambda: [s for s in [tree.ops('api').status(ctxt)] if 'dead_messages' in s['journal']],
            10,
            'it is put aside',
        )
        assert status[0]['journal']['dead_messages'] == 1
        assert 'sync_instances, a client) is put aside' in tree['api'].log()
        assert tree.ops('api').sync_status(ctxt) == []


def take(url: str) -> bool:
    """Take the message from the queue and die."""
    with kombu.Connection(url.replace('rabbit://', 'amqp://')) as connection:
        found = connection.channel().basic_get('cells')
    time.sleep(0.1)
    return found is not None


class Slow:
    """An endpoint that takes its time."""

    def __init__(self) -> None:
        self.done = []

    @rpc.served
    def slow(self, ctxt, number):
        time.sleep(0.5)
        self.done.append(number)


def test_r4_a_call_that_waited_for_a_thread_too_long_is_not_carried_out(rabbit):
    rabbit.add_vhost('late')
    conf = cfg.ConfigOpts()
    rpc.prepare(conf)
    conf([], default_config_files=[])
    transport = rpc.get_transport(conf, rabbit.url('late'))
    endpoint, stats = Slow(), Stats()
    server = rpc.get_server(
        transport,
        'late',
        'h',
        [endpoint],
        prefetch=2,
        queue_type='quorum',
        worker='h.0',
        stats=stats,
    )
    server.start(override_pool_size=1)
    client = rpc.get_client(transport, 'late', timeout=1.2, retry=1)
    outcomes = []

    def ask(number: int) -> None:
        try:
            client.call(deploy.admin(), 'slow', number=number)
        except oslo_messaging.MessagingTimeout:
            outcomes.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    def waiting() -> int:
        [queue] = [one for one in rabbit.list_queues('late') if one['name'] == 'late']
        return queue['messages']

    deploy.wait_until(lambda: waiting() == 0, 60, 'all are settled')
    # One after the other, half a second each: whoever came after 1.2 s came too late. (They do
    # not all come at once on a busy machine.)
    assert 1 <= len(endpoint.done) <= 8
    assert len(outcomes) >= 4

    def carried_out() -> bool:
        ask(99)
        return 99 in endpoint.done

    deploy.wait_until(carried_out, 20, 'the next is carried out')
    server.stop()
    server.wait()
    transport.cleanup()
