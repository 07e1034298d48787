"""What a neighbour that is broken, or evil, costs the others: nothing but its own answer."""

import json
import time

import pytest

from cells import context, exceptions, messages, wire
from cells.db import services, sync_requests
from tests import deploy, fake_cells

CTXT = context.RequestContext('u1', 'p1', is_admin=True)
PARENTS = {'top': None, 'mid': 'top', 'leaf': 'mid', 'leaf2': 'mid'}
PERIOD = ('2016-03-01 12:00:00', '2016-03-01 13:00:00')


class Arrived:
    """A message as a driver hands it over."""

    deliveries = 0

    def __init__(self, **envelope):
        envelope = {
            'ctxt': {'request_id': 'req-1'},
            'method_kwargs': {},
            'uuid': messages.new_uuid(),
            'hop_count': 1,
            **envelope,
        }
        self.text = json.dumps(envelope)
        self.settled = False

    def settle(self):
        self.settled = True


@pytest.fixture
def tree(workdir):
    with fake_cells.FakeTree(workdir, PARENTS).running() as found:
        yield found


def answering(tree, name, value):
    """Have a cell answer every question with a value, or with what a function makes of it."""

    def answer(message):
        found = value(message) if callable(value) else value
        return messages.Response(str(message.routing_path), found)

    tree[name].runner._questions._dispatcher.answer = answer


def test_x1_a_child_cannot_answer_for_the_cell_above_it(tree):
    def answer(message):
        nothing = wire.encode_responses([messages.Response('top!mid', [])])
        forged = Arrived(
            message_type='response',
            direction='up',
            method_name='parse_responses',
            method_kwargs=nothing,
            routing_path='leaf',
            target_cell='leaf!mid!top',
            response_uuid=message.uuid,
        )
        tree['mid'].runner.receive(forged)
        time.sleep(0.3)  # it is there before the answer of mid is
        return []

    answering(tree, 'leaf', answer)
    before = tree['top'].stats.get('answers_dropped')
    for _ in range(2):
        found = tree.ops('top').query(CTXT, 'service_get_all')
        assert found['missing'] == []
        cells = {one['cell'] for one in found['answers']}
        assert cells == {'top', 'top!mid', 'top!mid!leaf', 'top!mid!leaf2'}
    assert tree['top'].stats.get('answers_dropped') == before + 2


@pytest.mark.needs_extensions('plain cells confirm nothing')
def test_a_receipt_of_more_than_a_database_takes_stops_no_change(tree):
    mid = tree['mid']
    receipt = Arrived(
        message_type='targeted',
        direction='up',
        method_name='x_receipt',
        method_kwargs={'uuids': ['u%d' % number for number in range(300_000)]},
        routing_path='leaf',
        target_cell='leaf!mid',
    )
    mid.runner.receive(receipt)
    assert receipt.settled
    assert mid.stats.get('messages_refused', reason='InvalidMessage') == 1
    tree.api('top').sync_instances(CTXT)
    for name in ('mid', 'leaf', 'leaf2'):
        deploy.wait_until(
            lambda name=name: sync_requests.sync_request_get_all(tree[name].database),
            5,
            'the change is in %s' % name,
        )


def test_operations_that_nobody_knows_share_a_counter(tree):
    mid = tree['mid']
    for number in range(20):
        message = Arrived(
            message_type='broadcast',
            direction='down',
            method_name='invented-%d' % number,
            routing_path='top',
        )
        mid.runner.receive(message)
    deploy.wait_until(
        lambda: mid.stats.get('journal_done', operation='unknown') == 20, 5, 'they are done'
    )
    assert not any('invented' in name for name in mid.stats.snapshot())


@pytest.mark.needs_extensions('a plain parent is not told of failures in a listing')
def test_t3_what_one_cell_calls_the_callers_fault_costs_only_its_own_answer(tree, monkeypatch):
    services.service_report(tree['leaf2'].database, 'h1', 'nova-compute', 'compute')

    def fails(ctxt, filters):
        raise ValueError('a broken handler')

    handlers = tree['leaf'].runner._questions._dispatcher._handlers
    monkeypatch.setitem(handlers, 'service_get_all', fails)
    found = tree.api('top').service_get_all(CTXT)
    assert 'top!mid!leaf2@h1' in {one.host for one in found}
    [missing] = tree.ops('top').query(CTXT, 'service_get_all', {'filters': None})['missing']
    assert missing['cell'] == 'top!mid!leaf'
    monkeypatch.undo()
    with pytest.raises(exceptions.Invalid):  # all of them say so
        tree.api('top').service_get_all(CTXT, {'nosuch': 1})


@pytest.mark.parametrize('value', [None, 5, 'x', {}, [1], [{'a': 1}], [None]])
def test_t3_what_is_no_task_log_costs_the_others_nothing(tree, value):
    answering(tree, 'leaf', value)
    answering(tree, 'leaf2', [{'id': 7, 'host': 'h1'}])
    found = tree.api('top').task_log_get_all(CTXT, 'audit', *PERIOD)
    assert found == [{'id': 'top!mid!leaf2@7', 'host': 'top!mid!leaf2@h1'}]


@pytest.mark.parametrize('name', [5, None, [], {'a': 1}, '', 'x' * 300, 'a\0b'])
def test_r14_the_name_of_a_task_that_is_no_name_is_the_callers_error(tree, name):
    for host in (None, 'top!mid!leaf@h1'):
        with pytest.raises(exceptions.Invalid, match='task_name'):
            tree.api('top').task_log_get_all(CTXT, name, *PERIOD, host=host)


@pytest.mark.parametrize(('operation', 'args'), [([], {}), ({}, {}), (None, {}), (5, {})])
def test_a_query_that_is_none_is_the_callers_error(tree, operation, args):
    with pytest.raises(exceptions.Invalid, match='is not a listing'):
        tree.ops('top').query(CTXT, operation, args)


def test_who_pings_at_random_fills_no_memory(tree):
    ops, seen = tree.ops('top'), tree['top'].state.sightings
    for number in range(5):
        with pytest.raises(exceptions.CellRoutingInconsistency):
            ops.ping(CTXT, 'nosuch-%d' % number)
    assert seen._sightings.keys() == {'mid'}


def test_r8_an_answer_keeps_neither_the_token_nor_the_size_of_the_context(tree, monkeypatch):
    sent = []
    send = tree['leaf'].driver.send

    def tapped(neighbour, outgoing):
        if 'parse_responses' in outgoing.text and 'top!mid!leaf' in outgoing.text:
            sent.append(outgoing.text)
        send(neighbour, outgoing)

    monkeypatch.setattr(tree['leaf'].driver, 'send', tapped)
    for length in (1, 100_000):
        ctxt = context.RequestContext('u1', 'p1', auth_token='SECRET' + 'x' * length)
        tree.api('top').service_get_all(ctxt)
    assert len(sent) == 2
    assert abs(len(sent[0]) - len(sent[1])) < 200
    assert 'SECRET' not in ''.join(sent)
    assert json.loads(sent[1])['ctxt']['request_id'] == ctxt.request_id
