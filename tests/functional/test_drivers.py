"""The drivers: one contract that all of them keep, and what is theirs alone."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import itertools
import logging
import pathlib
import queue
import socket
import threading
import time
from urllib.parse import quote

import kombu
import pytest
from oslo_config import cfg

from cells import configured, exceptions
from cells import rabbit as cells_rabbit
from cells import rpc as cells_rpc
from cells.drivers import base, fake, rpc, settings
from cells.operations import Kind
from cells.state import CellState
from tests import deploy

#: Generous: a machine that runs servers and tests at once.
LONG = 20.0
#: What a call that returns at once may take, on a machine whose processes have to wait for their
#: turns; one that waits for a neighbour takes longer.
AT_ONCE = 2.0
#: How long something that must not come is waited for.
A_WHILE = 0.3

NUMBERS = itertools.count()
EXAMPLES = pathlib.Path(__file__).parents[2] / 'examples'


class Worker:
    """A driver that listens, and what it has received.

    :param settles: whether it settles what it receives.
    """

    def __init__(self, driver, settles=True):
        self.driver = driver
        self.settles = settles
        self.incoming = []
        self.arrived = threading.Condition()

    def start(self):
        """Listen."""
        self.driver.start(self.receive)
        return self

    def receive(self, incoming):
        """Take a message in."""
        if self.settles:
            incoming.settle()
        with self.arrived:
            self.incoming.append(incoming)
            self.arrived.notify_all()

    @property
    def texts(self):
        """What came, in the order in which it came."""
        return [incoming.text for incoming in list(self.incoming)]

    def wait_for(self, number):
        """Return what came when it is so many."""
        with self.arrived:
            self.arrived.wait_for(lambda: len(self.incoming) >= number, LONG)
        assert len(self.incoming) == number, self.texts[:20]
        return self.texts


class Outcomes:
    """How sendings ended, by the name of each."""

    def __init__(self):
        self.ended = queue.Queue()

    def teller(self, name):
        """Return an ``on_sent`` for a sending."""
        return lambda error: self.ended.put((name, error))

    def wait_for(self, number):
        """Return the outcomes by name when so many are there; none may come twice."""
        found = [self.ended.get(timeout=LONG) for _ in range(number)]
        assert len(dict(found)) == number
        return dict(found)


@dataclasses.dataclass
class Address:
    """Where a cell can be reached."""

    name: str
    url: str

    @property
    def state(self):
        """The cell as its neighbours know it."""
        return CellState(self.name, False, self.url)


class Cells:
    """Makes drivers of one kind for cells that belong to one test; all are closed at the end.

    :param url: makes the address of a cell from its name.
    :param args: of the command line that the configuration is read from.
    """

    def __init__(self, driver, url, args=()):
        self.driver = driver
        self.url = url
        self.args = args
        self.queue_base = 'test-%d.intercell' % next(NUMBERS)
        self.drivers = []

    def address(self, name):
        """Return the address of a cell, a to c."""
        return Address(name, self.url(name))

    def settings(self, address, server='h1.0', **values):
        """Return the settings of a worker."""
        conf = cfg.ConfigOpts()
        configured.prepare(conf)
        conf(list(self.args), project='cells')
        given = {
            'conf': conf,
            'transport_url': address.url,
            'queue_base': self.queue_base,
            'server': server,
            'prefetch': 64,
            'queue_type': 'quorum',
            'send_queue_length': 1000,
        }
        return settings.DriverSettings(**{**given, **values})

    def load(self, address, *args, **values):
        """Return a driver that does not listen."""
        driver = settings.load(self.driver, self.settings(address, *args, **values))
        self.drivers.append(driver)
        return driver

    def start(self, address, *args, settles=True, **values):
        """Return a worker that listens."""
        return Worker(self.load(address, *args, **values), settles).start()


@pytest.fixture(scope='session')
def vhosts(rabbit):
    """Virtual hosts for three cells, for one that is alone, and for one that nobody used."""
    rabbit.add_vhosts(['a', 'b', 'c', 'alone', 'virgin'])
    return rabbit


class Endings:
    """Ends drivers beside the tests that follow, as the end of one takes seconds."""

    def __init__(self):
        self.pool = concurrent.futures.ThreadPoolExecutor(8)
        self.pending = []

    def add(self, drivers):
        """End these, now or a little later."""
        self.pending += [self.pool.submit(end, driver) for driver in drivers]

    def wait(self):
        """Return when all have ended; raise what one of them raised."""
        pending, self.pending = self.pending, []
        for one in pending:
            one.result(60)


@pytest.fixture(scope='module')
def endings(rabbit):
    """What ends the drivers; all have ended before the broker does."""
    found = Endings()
    yield found
    found.wait()
    found.pool.shutdown()


@pytest.fixture
def quiet(endings):
    """No driver of an earlier test is left that could log or hold anything."""
    endings.wait()


EXAMPLE = 'spool_driver.SpoolDriver'


@pytest.fixture(params=['fake', 'rpc', EXAMPLE])
def cells(request, endings):
    """Cells that are connected by each of the drivers, and by the one of ``examples/``."""
    number, args = next(NUMBERS), []

    def url(name):
        return 'fake://%d/%s' % (number, name)

    if request.param == 'rpc':
        url = request.getfixturevalue('vhosts').url
    elif request.param == EXAMPLE:
        request.getfixturevalue('monkeypatch').syspath_prepend(str(EXAMPLES))
        workdir = request.getfixturevalue('workdir')
        (workdir / 'spool.conf').write_text('[spool]\npath = %s\n' % (workdir / 'spool'))
        args = ['--config-file', str(workdir / 'spool.conf')]
    found = Cells(request.param, url, args)
    yield found
    if request.param == EXAMPLE:
        for driver in found.drivers:  # before their directory goes
            end(driver)
    else:
        endings.add(found.drivers)


@pytest.fixture
def a(cells):
    """The driver of a cell that sends; it does not listen."""
    return cells.load(cells.address('a'))


def end(driver):
    """Stop and close a driver, as a cell does at its end."""
    driver.stop()
    driver.close()


def message(text, kind=Kind.TARGETED, **values):
    """Return a message to be sent."""
    return base.Outgoing(kind=kind, text=text, ctxt={'request_id': 'req-1'}, **values)


def send(driver, address, *texts, **values):
    """Send texts and wait until all are sent."""
    outcomes = Outcomes()
    for number, text in enumerate(texts):
        outgoing = message(text, on_sent=outcomes.teller(number), **values)
        driver.send(address.state, outgoing)
    assert outcomes.wait_for(len(texts)) == dict.fromkeys(range(len(texts)))


# -- the contract: what arrives --


@pytest.mark.parametrize('kind', list(Kind))
@pytest.mark.parametrize(
    'text',
    [
        pytest.param('{"method_name": "ping"}', id='short'),
        pytest.param('{"text": "aé漢😀 \\u0000 \\" \\\\ \n"}', id='unicode'),
        pytest.param('', id='empty'),
        pytest.param('not JSON', id='any text'),
        pytest.param('"é' + 'x' * (1024 * 1024) + '"', id='long'),
    ],
)
def test_a_text_arrives_as_it_was_sent(cells, a, kind, text):
    address = cells.address('b')
    b = cells.start(address)
    send(a, address, text, kind=kind)
    assert b.wait_for(1) == [text]


def test_messages_for_a_neighbour_arrive_in_their_order(cells, a):
    address = cells.address('b')
    b = cells.start(address)
    texts = ['%d' % number for number in range(500)]
    send(a, address, *texts)
    assert b.wait_for(500) == texts


def test_a_message_without_on_sent_arrives(cells, a):
    address = cells.address('b')
    b = cells.start(address)
    a.send(address.state, message('x'))
    assert b.wait_for(1) == ['x']


def test_a_cell_that_listens_can_send_as_well(cells):
    here, there = cells.address('a'), cells.address('b')
    a, b = cells.start(here), cells.start(there)
    send(a.driver, there, 'question')
    assert b.wait_for(1) == ['question']
    send(b.driver, here, 'answer', kind=Kind.RESPONSE)
    assert a.wait_for(1) == ['answer']
    assert b.texts == ['question']


def test_each_message_goes_to_exactly_one_of_two_workers(cells, a):
    address = cells.address('b')
    workers = [cells.start(address, 'h1.0'), cells.start(address, 'h2.0')]
    texts = ['%03d' % number for number in range(100)]
    for kind in Kind:
        send(a, address, *['%s %s' % (kind.value, text) for text in texts], kind=kind)
    expected = sorted('%s %s' % (kind.value, text) for kind in Kind for text in texts)
    deploy.wait_until(
        lambda: sum(len(worker.incoming) for worker in workers) >= 300, LONG, 'all arrive'
    )
    time.sleep(A_WHILE)
    assert sorted(workers[0].texts + workers[1].texts) == expected
    for kind in Kind:
        for worker in workers:
            assert any(text.startswith(kind.value) for text in worker.texts)


@pytest.mark.parametrize('kind', list(Kind))
def test_a_fan_out_goes_once_to_each_worker(cells, a, kind):
    address = cells.address('b')
    workers = [cells.start(address, 'h1.0'), cells.start(address, 'h2.0')]
    send(a, address, 'to all', kind=kind, fanout=True)
    send(a, address, 'to h1.0', kind=Kind.RESPONSE, server='h1.0')
    send(a, address, 'to h2.0', kind=Kind.RESPONSE, server='h2.0')
    assert sorted(workers[0].wait_for(2)) == ['to all', 'to h1.0']
    assert sorted(workers[1].wait_for(2)) == ['to all', 'to h2.0']


def test_an_answer_for_one_worker_goes_to_that_worker_alone(cells, a):
    address = cells.address('b')
    workers = [cells.start(address, 'h1.%d' % number) for number in range(2)]
    send(a, address, *['x%d' % number for number in range(10)], kind=Kind.RESPONSE, server='h1.1')
    assert workers[1].wait_for(10) == ['x%d' % number for number in range(10)]
    assert workers[0].texts == []


def test_cells_with_one_queue_base_on_different_buses_are_apart(cells, a):
    b, c = cells.start(cells.address('b')), cells.start(cells.address('c'))
    send(a, cells.address('b'), 'for b')
    send(a, cells.address('c'), 'for c')
    assert (b.wait_for(1), c.wait_for(1)) == (['for b'], ['for c'])


def test_what_waits_to_be_settled_holds_up_no_other_kind(cells, a):
    address = cells.address('b')
    b = cells.start(address, settles=False, prefetch=2)
    for kind in (Kind.TARGETED, Kind.BROADCAST):
        send(a, address, *['%s %d' % (kind.value, number) for number in range(2)], kind=kind)
    send(a, address, 'answer 0', 'answer 1', kind=Kind.RESPONSE)
    assert sorted(b.wait_for(6)) == [
        'answer 0',
        'answer 1',
        'broadcast 0',
        'broadcast 1',
        'targeted 0',
        'targeted 1',
    ]


def test_a_worker_that_stops_takes_in_answers_only_until_it_closes(cells, a):
    address = cells.address('b')
    old, new = cells.start(address, 'h1.0'), cells.start(address, 'h1.1')
    old.driver.stop()
    send(a, address, *['question %d' % number for number in range(10)])
    send(a, address, *['order %d' % number for number in range(10)], kind=Kind.BROADCAST)
    send(a, address, 'answer', kind=Kind.RESPONSE, server='h1.0')
    assert len(new.wait_for(20)) == 20
    assert old.wait_for(1) == ['answer']
    end(old.driver)
    send(a, address, *['answer %d' % number for number in range(4)], kind=Kind.RESPONSE)
    assert len(new.wait_for(24)) == 24
    assert old.texts == ['answer']


# -- the contract: what is settled --


@pytest.mark.parametrize('stops', [True, False], ids=['stopped and closed', 'closed'])
@pytest.mark.parametrize('kind', [Kind.TARGETED, Kind.BROADCAST])
def test_what_was_not_settled_comes_again_to_the_next_worker(cells, a, kind, stops):
    address = cells.address('b')
    first = cells.start(address, settles=False)
    texts = ['%02d' % number for number in range(20)]
    send(a, address, *texts, kind=kind)
    first.wait_for(20)
    for incoming in list(first.incoming)[::2]:
        incoming.settle()
    if stops:
        first.driver.stop()
    first.driver.close()

    second = cells.start(address)

    assert second.wait_for(10) == texts[1::2]
    end(second.driver)
    third = cells.start(address)
    time.sleep(A_WHILE)
    assert (third.texts, len(first.texts)) == ([], 20)


def test_what_was_not_settled_comes_again_to_a_worker_that_is_still_there(cells, a):
    address = cells.address('b')
    first = cells.start(address, 'h1.0', settles=False)
    send(a, address, 'x', 'y')
    first.wait_for(2)
    second = cells.start(address, 'h1.1')
    end(first.driver)
    assert second.wait_for(2) == ['x', 'y']


def test_a_message_can_be_settled_several_times_and_by_any_thread(cells, a):
    address = cells.address('b')
    first = cells.start(address, settles=False)
    send(a, address, 'x', 'y')
    first.wait_for(2)
    for _ in range(2):
        for incoming in first.incoming:
            thread = threading.Thread(target=incoming.settle)
            thread.start()
            thread.join(LONG)
    first.incoming[0].settle()
    send(a, address, 'z')
    first.wait_for(3)
    end(first.driver)
    second = cells.start(address)
    assert second.wait_for(1) == ['z']


def test_what_another_thread_settles_meanwhile_comes_once(cells, a):
    address = cells.address('b')
    b = cells.start(address, settles=False)
    texts = ['%03d' % number for number in range(500)]
    with concurrent.futures.ThreadPoolExecutor(1) as sending:
        sent = sending.submit(send, a, address, *texts)
        for number in range(500):
            with b.arrived:
                assert b.arrived.wait_for(lambda n=number: len(b.incoming) > n, LONG)
            b.incoming[number].settle()
        sent.result(LONG)
    assert b.wait_for(500) == texts
    assert {incoming.deliveries for incoming in b.incoming} == {0}


def test_what_is_settled_after_the_driver_has_closed_is_harmless(cells, a):
    address = cells.address('b')
    first = cells.start(address, settles=False)
    send(a, address, 'x')
    first.wait_for(1)
    end(first.driver)
    first.incoming[0].settle()
    second = cells.start(address)
    assert second.wait_for(1) == ['x']


# -- the contract: how a sending ends --


def test_a_sending_that_succeeds_is_told_once_without_an_error(cells, a):
    address = cells.address('b')
    cells.start(address)
    outcomes = Outcomes()
    a.send(address.state, message('x', on_sent=outcomes.teller('x')))
    assert outcomes.wait_for(1) == {'x': None}
    time.sleep(A_WHILE)
    assert outcomes.ended.empty()


@pytest.fixture(params=['nobody listens', 'broker refuses', 'nonsense'])
def unreachable(request, cells):
    """The address of a cell that cannot be reached, in one way or another."""
    if cells.driver == 'fake':
        yield Address('x', {'nonsense': 'nonsense'}.get(request.param, 'fake://x'))
    elif request.param == 'nobody listens':
        yield Address('x', cells.url('c'))
    elif request.param == 'nonsense':
        yield Address('x', 'nonsense://x:secret@y/z')
    else:
        with socket.socket() as bound:  # and never listens
            bound.bind(('127.0.0.1', 0))
            yield Address('x', 'rabbit://u:secret@127.0.0.1:%d/v' % bound.getsockname()[1])


def test_a_message_for_who_cannot_be_reached_is_not_sent_and_nobody_waits(a, unreachable):
    outcomes = Outcomes()
    begun = time.monotonic()
    a.send(unreachable.state, message('x', on_sent=outcomes.teller('x')))
    took = time.monotonic() - begun
    [error] = outcomes.wait_for(1).values()
    assert took < AT_ONCE
    assert isinstance(error, exceptions.NotSent)
    assert error.kwargs['cell_name'] == 'x'
    assert 'secret' not in str(error)


def test_p8_an_unreachable_neighbour_neither_delays_nor_loses_messages_of_another(
    cells, a, unreachable
):
    address = cells.address('b')
    b = cells.start(address)
    outcomes = Outcomes()
    taken = 0
    slowest = 0.0
    for number in range(200):
        begun = time.monotonic()
        try:
            a.send(unreachable.state, message('lost', on_sent=outcomes.teller(number)))
            taken += 1
        except exceptions.NotSent:
            pass
        a.send(address.state, message('%d' % number))
        slowest = max(slowest, time.monotonic() - begun)
    assert b.wait_for(200) == ['%d' % number for number in range(200)]
    assert slowest < AT_ONCE
    errors = outcomes.wait_for(taken).values()
    assert taken > 0
    assert {type(error) for error in errors} == {exceptions.NotSent}


def test_a_worker_that_never_was_there_cannot_be_sent_to(cells, a):
    address = cells.address('b')
    b = cells.start(address)
    outcomes = Outcomes()
    outgoing = message('x', Kind.RESPONSE, server='h9.9', on_sent=outcomes.teller('x'))
    a.send(address.state, outgoing)
    [error] = outcomes.wait_for(1).values()
    assert isinstance(error, exceptions.NotSent)
    assert b.texts == []


def test_a_neighbour_that_comes_back_is_reached_again(cells, a):
    address = cells.address('b')
    outcomes = Outcomes()
    a.send(address.state, message('early', on_sent=outcomes.teller('early')))
    assert isinstance(outcomes.wait_for(1)['early'], exceptions.NotSent)
    b = cells.start(address)

    def sent():
        outcomes = Outcomes()
        try:
            a.send(address.state, message('late', on_sent=outcomes.teller('late')))
        except exceptions.NotSent:
            return False
        return outcomes.wait_for(1)['late'] is None

    deploy.wait_until(sent, LONG, 'it is reached again')
    assert b.wait_for(1) == ['late']


def test_a_sender_that_is_full_refuses_at_once(cells):
    address = cells.address('b')
    cells.start(address)
    a = cells.load(cells.address('a'), send_queue_length=5)
    go_on, outcomes = threading.Event(), Outcomes()

    def block(error):
        go_on.wait(LONG)

    a.send(address.state, message('first', on_sent=block))
    deploy.wait_until(lambda: a.link('b').waiting == 0, LONG, 'the first is being sent')
    for number in range(5):
        a.send(address.state, message('x', on_sent=outcomes.teller(number)))
    assert a.link('b').waiting == 5
    with pytest.raises(exceptions.NotSent):
        a.send(address.state, message('too many', on_sent=outcomes.teller('too many')))
    go_on.set()
    assert outcomes.wait_for(5) == dict.fromkeys(range(5))
    assert outcomes.ended.empty()


# -- the contract: links --


def test_a_link_shows_whether_the_last_sending_succeeded(cells, a):
    address = cells.address('b')
    assert a.link('b') == base.LinkState(up=None, waiting=0, sent=0, failed=0)
    cells.start(address)
    send(a, address, 'x', 'y')
    assert a.link('b') == base.LinkState(up=True, waiting=0, sent=2, failed=0)


def test_a_link_that_is_down_says_why_without_a_password(cells, a, unreachable):
    outcomes = Outcomes()
    a.send(unreachable.state, message('x', on_sent=outcomes.teller('x')))
    outcomes.wait_for(1)
    link = a.link('x')
    assert (link.up, link.waiting, link.sent, link.failed) == (False, 0, 0, 1)
    assert link.error
    assert 'secret' not in link.error


def test_a_change_of_a_link_is_logged_once_and_not_for_each_message(
    quiet, cells, a, unreachable, caplog
):
    caplog.set_level(logging.INFO, logger='cells')
    outcomes = Outcomes()
    taken = 0
    for _ in range(50):
        with contextlib.suppress(exceptions.NotSent):
            a.send(unreachable.state, message('x', on_sent=outcomes.teller(taken)))
            taken += 1
        time.sleep(0.01)
    outcomes.wait_for(taken)
    lines = [record for record in caplog.records if record.name.startswith('cells.')]
    assert [record.levelname for record in lines] == ['WARNING']
    assert 'Cell x: link down' in lines[0].getMessage()
    assert 'secret' not in caplog.text


def test_a_neighbour_that_is_forgotten_is_released_and_others_stay(cells, a):
    b, c = cells.address('b'), cells.address('c')
    at_b, at_c = cells.start(b), cells.start(c)
    send(a, b, 'x')
    send(a, c, 'x')
    a.forget(frozenset({'c', 'another'}))
    assert a.link('b') == base.LinkState(up=None, waiting=0, sent=0, failed=0)
    assert a.link('c').up is True
    send(a, b, 'y')
    send(a, c, 'y')
    assert (at_b.wait_for(2), at_c.wait_for(2)) == (['x', 'y'], ['x', 'y'])
    assert a.link('c').sent == 2


def test_what_waits_for_a_neighbour_that_is_forgotten_gets_its_end(cells, a):
    address = cells.address('b')
    cells.start(address)
    outcomes = Outcomes()
    for number in range(50):
        a.send(address.state, message('x', on_sent=outcomes.teller(number)))
    a.forget(frozenset())
    assert len(outcomes.wait_for(50)) == 50


def test_a_neighbour_that_has_moved_is_reached_at_its_new_address(cells, a):
    b, c = cells.start(cells.address('b')), cells.start(cells.address('c'))
    send(a, Address('moves', cells.url('b')), 'old')
    send(a, Address('moves', cells.url('c')), 'new')
    assert (b.wait_for(1), c.wait_for(1)) == (['old'], ['new'])
    assert a.link('moves').sent == 1


# -- the contract: the end --


def test_closing_again_and_closing_what_never_started_is_harmless(cells):
    started = cells.start(cells.address('b')).driver
    started.stop()
    started.stop()
    started.close()
    started.close()
    started.stop()
    never = cells.load(cells.address('a'))
    end(never)


def test_nothing_can_be_sent_after_closing(cells, a):
    address = cells.address('b')
    b = cells.start(address)
    outcomes = Outcomes()
    send(a, address, 'x')
    a.close()
    with pytest.raises(exceptions.NotSent):
        a.send(address.state, message('y', on_sent=outcomes.teller('y')))
    assert b.wait_for(1) == ['x']
    assert outcomes.ended.empty()


def test_what_waits_when_a_driver_closes_is_sent(cells, a):
    address = cells.address('b')
    b = cells.start(address)
    outcomes = Outcomes()
    for number in range(50):
        a.send(address.state, message('%d' % number, on_sent=outcomes.teller(number)))
    a.close()
    assert outcomes.wait_for(50) == dict.fromkeys(range(50))
    assert b.wait_for(50) == ['%d' % number for number in range(50)]


def test_closing_ends_the_threads_of_a_driver(cells, quiet):
    before = set(threading.enumerate())
    worker = cells.start(cells.address('b'))
    send(worker.driver, cells.address('b'), 'x')
    worker.wait_for(1)
    end(worker.driver)

    def left():
        return [thread for thread in threading.enumerate() if thread not in before]

    deploy.wait_until(lambda: not left(), LONG, 'no thread is left')


# -- the driver over RabbitMQ --


@pytest.fixture
def rabbit_cells(vhosts, endings):
    """Cells that are connected by the rpc driver."""
    found = Cells('rpc', vhosts.url)
    yield found
    endings.add(found.drivers)


def queues(rabbit, cells, vhost='b'):
    """Return the queues of a test by name, without its prefix."""
    prefix = cells.queue_base + '.'
    return {
        entry['name'].removeprefix(prefix): entry
        for entry in rabbit.list_queues(vhost)
        if entry['name'].startswith(prefix)
    }


@pytest.mark.parametrize(
    ('queue_type', 'durable'), [('quorum', True), ('classic', False)], ids=['quorum', 'classic']
)
def test_questions_wait_in_queues_of_the_type_that_is_set_and_answers_in_classic_ones(
    rabbit_cells, rabbit, queue_type, durable
):
    rabbit_cells.start(rabbit_cells.address('b'), 'h1.0', queue_type=queue_type)
    found = {
        name.partition('_fanout_')[0] + ('_fanout' if '_fanout_' in name else ''): (
            entry['type'],
            entry['durable'],
        )
        for name, entry in queues(rabbit, rabbit_cells).items()
    }
    assert found == {
        'targeted': (queue_type, durable),
        'broadcast': (queue_type, durable),
        'response': ('classic', False),
        'response.h1.0': ('classic', False),
        'targeted_fanout': ('classic', False),
        'broadcast_fanout': ('classic', False),
        'response_fanout': ('classic', False),
    }


@pytest.mark.parametrize(
    ('first', 'second'), [('quorum', 'classic'), ('classic', 'quorum')], ids=['classic', 'quorum']
)
def test_queues_of_another_type_are_refused_with_the_setting_to_change(rabbit_cells, first, second):
    address = rabbit_cells.address('b')
    end(rabbit_cells.start(address, queue_type=first).driver)
    driver = rabbit_cells.load(address, queue_type=second)
    begun = time.monotonic()
    with pytest.raises(exceptions.ConfigurationError) as caught:
        driver.start(lambda incoming: incoming.settle())
    assert time.monotonic() - begun < 10
    assert 'queue_type' in str(caught.value)
    assert rabbit_cells.queue_base in str(caught.value)
    end(driver)
    again = rabbit_cells.start(address, queue_type=first)
    send(again.driver, address, 'x')
    assert again.wait_for(1) == ['x']


def test_what_is_sent_while_a_cell_is_down_waits_for_it(rabbit_cells):
    address = rabbit_cells.address('b')
    end(rabbit_cells.start(address).driver)
    a = rabbit_cells.load(rabbit_cells.address('a'))
    send(a, address, 'question')
    send(a, address, 'order', kind=Kind.BROADCAST)
    assert sorted(rabbit_cells.start(address).wait_for(2)) == ['order', 'question']


def test_what_was_sent_outlasts_a_broker_that_is_killed(quiet, rabbit_cells, rabbit):
    address = rabbit_cells.address('b')
    first = rabbit_cells.start(address, settles=False, prefetch=5)
    a = rabbit_cells.load(rabbit_cells.address('a'))
    texts = ['%02d' % number for number in range(20)]
    send(a, address, *texts)
    first.wait_for(5)
    end(first.driver)
    a.close()
    rabbit.settle()
    rabbit.kill()
    rabbit.start()
    second = rabbit_cells.start(address)
    assert sorted(second.wait_for(20)) == texts


def test_a_neighbour_on_a_broker_where_never_anything_was_declared_is_not_reached(rabbit_cells):
    a = rabbit_cells.load(rabbit_cells.address('a'))
    outcomes = Outcomes()
    for kind in Kind:
        outgoing = message('x', kind, on_sent=outcomes.teller(kind))
        a.send(CellState(kind.value, False, rabbit_cells.url('virgin')), outgoing)
    errors = outcomes.wait_for(3).values()
    assert {type(error) for error in errors} == {exceptions.NotSent}


def test_a_worker_holds_no_more_than_its_prefetch(rabbit_cells):
    address = rabbit_cells.address('b')
    b = rabbit_cells.start(address, settles=False, prefetch=3)
    a = rabbit_cells.load(rabbit_cells.address('a'))
    texts = ['%02d' % number for number in range(10)]
    send(a, address, *texts)
    assert b.wait_for(3) == texts[:3]
    time.sleep(A_WHILE)
    assert len(b.incoming) == 3
    b.settles = True
    for incoming in list(b.incoming):
        incoming.settle()
    assert b.wait_for(10) == texts


def test_p8_a_broker_that_never_answers_delays_no_other_neighbour(rabbit_cells):
    address = rabbit_cells.address('b')
    b = rabbit_cells.start(address)
    a = rabbit_cells.load(rabbit_cells.address('a'))
    outcomes = Outcomes()
    with socket.create_server(('127.0.0.1', 0)) as hole:  # takes connections and says nothing
        url = 'rabbit://u:p@127.0.0.1:%d/v' % hole.getsockname()[1]
        slowest = 0.0
        for number in range(100):
            begun = time.monotonic()
            a.send(CellState('x', False, url), message('x', on_sent=outcomes.teller(number)))
            a.send(address.state, message('%d' % number))
            slowest = max(slowest, time.monotonic() - begun)
        assert b.wait_for(100) == ['%d' % number for number in range(100)]
        assert slowest < AT_ONCE
        begun = time.monotonic()
        a.close()
        assert time.monotonic() - begun < 5
    ended = outcomes.wait_for(100).values()
    assert {type(error) for error in ended} == {exceptions.NotSent}


def test_p4_connections_do_not_grow_with_messages_and_end_with_the_neighbour(rabbit_cells, rabbit):
    def connections():
        return rabbit.ctl('list_connections', 'vhost').split().count('alone')

    address = rabbit_cells.address('alone')
    a = rabbit_cells.load(rabbit_cells.address('a'))
    end(rabbit_cells.start(address).driver)
    deploy.wait_until(lambda: connections() == 0, LONG, 'nobody is connected')
    send(a, address, 'x')
    assert connections() == 1
    send(a, address, *['x'] * 300)
    assert connections() == 1
    a.forget(frozenset())
    deploy.wait_until(lambda: connections() == 0, LONG, 'it is released')


GOOD = '{"oslo.version": "2.0", "oslo.message": "%s"}'


def envelope(content):
    """Return a message as oslo.messaging writes it, around text that should be JSON."""
    return GOOD % content.replace('\\', '\\\\').replace('"', '\\"')


RUBBISH = {
    'empty': b'',
    'blank': b' ',
    'not JSON': b'{"oslo.version": "2.0", ',
    'not text': b'\xff\xfe\x00',
    'a number': b'7',
    'null': b'null',
    'a list': b'["oslo.message"]',
    'a text': b'"oslo.message"',
    'an empty object': b'{}',
    'deep': b'[' * 100000,
    'another version of the envelope': b'{"oslo.version": "3.0", "oslo.message": "{}"}',
    'an envelope without version': b'{"oslo.message": "{}"}',
    'an envelope around an object': b'{"oslo.version": "2.0", "oslo.message": {}}',
    'an envelope around no JSON': envelope('no'),
    'an envelope around a list': envelope('[]'),
    'no method': envelope('{"args": {"message": "x"}}'),
    'a method that is a number': envelope('{"method": 7, "args": {"message": "x"}}'),
    'another method': envelope('{"method": "delete_all", "args": {"message": "x"}}'),
    'no arguments': envelope('{"method": "process_message"}'),
    'no message': envelope('{"method": "process_message", "args": {}}'),
    'arguments that are null': envelope('{"method": "process_message", "args": null}'),
    'arguments that are a list': envelope('{"method": "process_message", "args": ["x"]}'),
    'a message that is an object': envelope(
        '{"method": "process_message", "args": {"message": {}}}'
    ),
    'another version': envelope(
        '{"method": "process_message", "version": "2.0", "args": {"message": "x"}}'
    ),
    'a version that is a list': envelope(
        '{"method": "process_message", "version": [1], "args": {"message": "x"}}'
    ),
}


def publish(rabbit, vhost, routing_key, *bodies):
    """Put bodies into a queue, past all libraries that would refuse them."""
    # Without confirmation a quorum queue loses what is still under way when the channel closes.
    with kombu.Connection(
        rabbit.url(vhost).replace('rabbit://', 'amqp://'),
        transport_options={'confirm_publish': True},
    ) as connection:
        producer = kombu.Producer(connection.channel())
        for body in bodies:
            producer.publish(
                body,
                routing_key=routing_key,
                content_type='application/json',
                content_encoding='binary' if isinstance(body, bytes) else 'utf-8',
            )


@pytest.mark.parametrize('kind', list(Kind))
def test_rubbish_in_a_queue_is_refused_with_a_line_each_and_what_follows_arrives(
    quiet, rabbit_cells, rabbit, caplog, kind
):
    address = rabbit_cells.address('b')
    b = rabbit_cells.start(address, prefetch=4)
    topic = '%s.%s' % (rabbit_cells.queue_base, kind.value)
    good = envelope('{"method": "process_message", "args": {"message": "good"}}')
    publish(rabbit, 'b', topic, *RUBBISH.values(), good)
    assert b.wait_for(1) == ['good']

    lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert collections.Counter(record.getMessage()[:7] for record in lines) == {
        'Refused': len(RUBBISH)
    }
    assert {record.exc_info for record in lines} == {None}
    assert max(len(record.getMessage()) for record in lines) < 500
    end(b.driver)
    deploy.wait_until(
        lambda: queues(rabbit, rabbit_cells)[kind.value]['messages'] == 0, LONG, 'nothing is left'
    )
    time.sleep(A_WHILE)
    assert b.texts == ['good']


# -- how a driver is found --


@pytest.fixture
def load():
    """A function that loads a driver by a name."""
    cells = Cells('', 'fake://{}'.format)
    with contextlib.ExitStack() as stack:

        def load_one(name, **values):
            driver = settings.load(name, cells.settings(cells.address('a'), **values))
            stack.callback(end, driver)
            return driver

        yield load_one


@pytest.mark.parametrize(
    ('name', 'cls'),
    [
        pytest.param('fake', fake.FakeDriver, id='fake'),
        pytest.param('rpc', rpc.RPCDriver, id='rpc'),
        pytest.param('cells.drivers.fake.FakeDriver', fake.FakeDriver, id='path'),
        pytest.param('nova.cells.rpc_driver.CellsRPCDriver', rpc.RPCDriver, id='of nova'),
    ],
)
def test_a_driver_is_found_by_its_name_or_its_path(load, name, cls):
    assert type(load(name)) is cls


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        pytest.param('carrier_pigeon', ['carrier_pigeon', 'fake', 'rpc'], id='unknown name'),
        pytest.param('', ['fake', 'rpc'], id='empty'),
        pytest.param('no.such.module.Driver', ['no.such.module.Driver'], id='unknown module'),
        pytest.param('cells.drivers.fake.No', ['cells.drivers.fake.No'], id='unknown class'),
        pytest.param('cells.state.CellState', ['is not a CellsDriver'], id='another class'),
        pytest.param('cells.drivers.fake.hold', ['is not a CellsDriver'], id='a function'),
    ],
)
def test_a_driver_that_there_is_not_is_refused_in_words_that_help(load, name, words):
    with pytest.raises(exceptions.ConfigurationError) as caught:
        load(name)
    for word in ['[cells] driver', *words]:
        assert word in str(caught.value)
    assert 'Traceback' not in str(caught.value)


def test_the_fake_driver_needs_an_address(load):
    with pytest.raises(exceptions.ConfigurationError, match='transport_url'):
        load('fake', transport_url=None)


@pytest.mark.parametrize('password', ['p/@:%w', 'a b&c?d#e', '%2F', 'größe/"\'\\;,'])
def test_d12_any_password_and_five_brokers_connect(rabbit, password):
    vhost, user = 'd12-%d' % abs(hash(password)), 'u/%s' % len(password)
    rabbit.add_vhost(vhost)
    with contextlib.suppress(Exception):
        rabbit.ctl('delete_user', user)
    rabbit.ctl('add_user', user, password)
    rabbit.ctl('set_permissions', '-p', vhost, user, '.*', '.*', '.*')
    one = '%s:%s@127.0.0.1:%d' % (quote(user, safe=''), quote(password, safe=''), rabbit.port)
    url = 'rabbit://%s/%s' % (','.join([one] * 5), vhost)
    conf = cfg.ConfigOpts()
    cells_rpc.prepare(conf)
    conf([], default_config_files=[])
    transport = cells_rpc.get_transport(conf, url)
    try:
        assert cells_rabbit.warm_up(transport, 10)
    finally:
        transport.cleanup()
