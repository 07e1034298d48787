import logging
import threading
import time

import pytest

from cells import exceptions
from cells.drivers import base, sender
from cells.operations import Kind
from tests.unit.builders import eventually


class Broker:
    """The broker of a neighbour: takes messages, or is away, or does not move."""

    def __init__(self):
        self.away = False
        self.gate = threading.Event()
        self.gate.set()
        self.offered = threading.Event()
        self.taken = []
        self.released_in = []

    def deliver(self, outgoing):
        self.offered.set()
        self.gate.wait(10)
        if self.away:
            raise exceptions.NotSent(cell_name='leaf', reason='connection refused')
        if outgoing.text == 'impossible':
            raise ValueError('never')
        self.taken.append(outgoing.text)

    def release(self):
        self.released_in.append(threading.current_thread().name)

    def sender(self, length=1000):
        return sender.Sender('leaf', self.deliver, self.release, length)


class Ends:
    """How each message ended."""

    def __init__(self):
        self.by_text = {}
        self.order = []

    def outgoing(self, text):
        return base.Outgoing(Kind.TARGETED, text, {}, on_sent=lambda error: self.ended(text, error))

    def ended(self, text, error):
        assert text not in self.by_text, 'told twice'
        self.order.append(text)
        self.by_text[text] = error

    def __len__(self):
        return len(self.order)


@pytest.fixture
def broker():
    return Broker()


@pytest.fixture
def ends():
    return Ends()


@pytest.fixture
def to_leaf(broker, monkeypatch):
    monkeypatch.setattr(sender, 'SHORTEST_PAUSE', 0.05)
    made = broker.sender(length=3)
    yield made
    broker.gate.set()
    made.close()


def occupy(broker, to_leaf, ends):
    """Have the sender stand at the closed gate with one message."""
    broker.gate.clear()
    to_leaf.put(ends.outgoing('first'))
    assert broker.offered.wait(5)


def test_messages_are_sent_in_order_and_each_is_told_its_end(broker, ends):
    to_leaf = broker.sender()
    texts = [str(number) for number in range(300)]
    for text in texts:
        to_leaf.put(ends.outgoing(text))
    to_leaf.close()
    assert broker.taken == texts == ends.order
    assert set(ends.by_text.values()) == {None}


def test_a_message_may_go_without_anyone_being_told(broker, to_leaf):
    to_leaf.put(base.Outgoing(Kind.TARGETED, 'quiet', {}))
    eventually(lambda: broker.taken == ['quiet'])


def test_more_messages_than_may_wait_are_refused_at_once(broker, to_leaf, ends):
    occupy(broker, to_leaf, ends)
    for text in 'abc':
        to_leaf.put(ends.outgoing(text))
    assert to_leaf.link().waiting == 3
    with pytest.raises(exceptions.NotSent, match='3 messages wait'):
        to_leaf.put(ends.outgoing('one too many'))
    broker.gate.set()
    eventually(lambda: len(ends) == 4)
    assert broker.taken == ['first', 'a', 'b', 'c']


def test_what_waits_fails_with_the_link(broker, to_leaf, ends):
    occupy(broker, to_leaf, ends)
    for text in 'ab':
        to_leaf.put(ends.outgoing(text))
    broker.away = True
    broker.gate.set()
    eventually(lambda: len(ends) == 3)
    assert [type(ends.by_text[text]) for text in ('first', 'a', 'b')] == [exceptions.NotSent] * 3
    assert broker.taken == []


def test_while_a_link_is_down_messages_fail_without_being_tried(broker, ends, monkeypatch):
    monkeypatch.setattr(sender, 'SHORTEST_PAUSE', 10.0)
    to_leaf = broker.sender()
    broker.away = True
    to_leaf.put(ends.outgoing('first'))
    eventually(lambda: len(ends) == 1)
    broker.offered.clear()
    began = time.monotonic()
    with pytest.raises(exceptions.NotSent, match='connection refused'):
        to_leaf.put(ends.outgoing('second'))
    assert time.monotonic() - began < 8
    assert not broker.offered.is_set()
    to_leaf.close()


def put_until_it_is_taken(to_leaf, outgoing):
    def taken():
        try:
            to_leaf.put(outgoing)
        except exceptions.NotSent:
            return False
        return True

    eventually(taken)


def test_a_link_recovers_by_itself(broker, to_leaf, ends):
    broker.away = True
    to_leaf.put(ends.outgoing('lost'))
    eventually(lambda: len(ends) == 1)
    assert to_leaf.link() == base.LinkState(False, 0, 0, 1, 'connection refused')
    broker.away = False
    put_until_it_is_taken(to_leaf, ends.outgoing('back'))
    eventually(lambda: len(ends) == 2)
    assert broker.taken == ['back']
    assert to_leaf.link() == base.LinkState(True, 0, 1, 1, None)


def test_a_new_link_is_neither_up_nor_down(to_leaf):
    assert to_leaf.link() == base.LinkState(None, 0, 0, 0, None)


def test_a_message_that_can_never_be_sent_fails_alone(broker, to_leaf, ends):
    for text in ('before', 'impossible', 'after'):
        to_leaf.put(ends.outgoing(text))
    eventually(lambda: len(ends) == 3)
    assert broker.taken == ['before', 'after']
    assert isinstance(ends.by_text['impossible'], exceptions.NotSent)
    assert to_leaf.link().up


def test_the_log_has_one_line_for_each_change_of_a_link(broker, to_leaf, ends, caplog):
    caplog.set_level(logging.INFO, 'cells.drivers.sender')
    for text in ('a', 'b'):
        to_leaf.put(ends.outgoing(text))
    eventually(lambda: len(ends) == 2)
    broker.away = True
    for number in (3, 4, 5):
        put_until_it_is_taken(to_leaf, ends.outgoing(str(number)))
        eventually(lambda number=number: len(ends) == number)
    broker.away = False
    for text in ('c', 'd'):
        put_until_it_is_taken(to_leaf, ends.outgoing(text))
    eventually(lambda: len(ends) == 7)
    assert caplog.messages == [
        'Cell leaf: link up',
        'Cell leaf: link down: connection refused',
        'Cell leaf: link up',
    ]


def test_closing_sends_what_waits_and_releases_in_the_thread_of_the_sender(broker, to_leaf, ends):
    occupy(broker, to_leaf, ends)
    for text in 'ab':
        to_leaf.put(ends.outgoing(text))
    to_leaf.close(wait=False)
    with pytest.raises(exceptions.NotSent, match='stopping'):
        to_leaf.put(ends.outgoing('late'))
    assert broker.released_in == []
    broker.gate.set()
    to_leaf.close()
    assert broker.taken == ['first', 'a', 'b']
    assert broker.released_in == ['send-leaf']


def test_closing_ends_in_time_and_leaves_nothing_untold(broker, to_leaf, ends, monkeypatch):
    monkeypatch.setattr(sender, 'FLUSH_SECONDS', 0.05)
    occupy(broker, to_leaf, ends)
    for text in 'ab':
        to_leaf.put(ends.outgoing(text))
    to_leaf.close(wait=False)
    time.sleep(0.1)
    broker.gate.set()
    to_leaf.close()
    assert broker.taken == ['first']
    assert [type(ends.by_text[text]) for text in 'ab'] == [exceptions.NotSent] * 2


@pytest.fixture
def brokers():
    """A broker for each address, made when it is first used."""
    return {}


@pytest.fixture
def senders(brokers):
    made = sender.Senders(lambda name, address: brokers.setdefault(address, Broker()).sender())
    yield made
    made.close()


def test_a_neighbour_keeps_its_sender(senders):
    assert senders.to('leaf', 'fake://1') is senders.to('leaf', 'fake://1')
    assert senders.to('leaf', 'fake://1') is not senders.to('other', 'fake://1')


def test_a_new_address_makes_a_new_sender_after_the_old_one_has_sent_all(senders, brokers, ends):
    senders.to('leaf', 'fake://1').put(ends.outgoing('old'))
    senders.to('leaf', 'fake://2').put(ends.outgoing('new'))
    eventually(lambda: brokers['fake://1'].released_in)
    eventually(lambda: len(ends) == 2)
    assert (brokers['fake://1'].taken, brokers['fake://2'].taken) == (['old'], ['new'])
    assert brokers['fake://2'].released_in == []


def test_a_neighbour_that_is_gone_is_released(senders, brokers):
    senders.to('leaf', 'fake://1')
    senders.to('other', 'fake://2')
    senders.forget(frozenset({'other'}))
    eventually(lambda: brokers['fake://1'].released_in)
    assert brokers['fake://2'].released_in == []


def test_the_link_of_a_neighbour_that_was_never_sent_to_is_not_known(senders):
    assert senders.link('leaf') == base.LinkState(None, 0, 0, 0)


def test_after_closing_no_sender_is_made(senders, brokers):
    senders.to('leaf', 'fake://1')
    senders.close()
    assert brokers['fake://1'].released_in
    with pytest.raises(exceptions.NotSent, match='stopping'):
        senders.to('leaf', 'fake://1')


def test_a_slow_neighbour_holds_up_no_other(senders, brokers, ends):
    slow = senders.to('slow', 'fake://slow')
    brokers['fake://slow'].gate.clear()
    slow.put(ends.outgoing('waits'))
    senders.to('leaf', 'fake://1').put(ends.outgoing('goes'))
    eventually(lambda: ends.order == ['goes'])
    brokers['fake://slow'].gate.set()
    eventually(lambda: len(ends) == 2)
