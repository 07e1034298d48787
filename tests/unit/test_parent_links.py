"""How a parent is told of instances, and when it is left alone."""

import pytest

from cells import parent_links
from cells.parent_links import ParentLink
from cells.sync_batches import Reply


class State:
    """What is known of a parent."""

    def __init__(self, plain=False):
        self.sightings = self
        self.plain = plain

    def is_plain(self, name):
        return self.plain


@pytest.fixture
def clock(monkeypatch):
    moment = [100.0]
    monkeypatch.setattr(parent_links.time, 'monotonic', lambda: moment[0])
    return moment


def test_a_parent_is_told_in_its_own_form():
    assert not ParentLink('p', State()).is_plain
    assert ParentLink('p', State(plain=True)).is_plain


def test_one_that_has_a_plain_one_above_it_is_told_as_that_for_a_minute(clock):
    link = ParentLink('p', State())
    assert not link.take(Reply.UNSUPPORTED, 'a plain nova-cells', heard=True)
    assert link.is_plain
    assert link.pause == 0
    clock[0] += 61
    assert not link.is_plain


def test_one_that_is_away_is_left_alone_for_ever_longer_and_then_at_once_told_again(clock):
    link = ParentLink('p', State())
    pauses = []
    for reply in (Reply.ABSENT, Reply.SILENT) * 6:
        assert not link.take(reply, 'away', heard=False)
        pauses.append(link.pause)
        clock[0] += link.pause
    assert 0.25 <= pauses[0] <= 0.5
    assert all(15 <= pause <= 30 for pause in pauses[-3:])
    assert link.status()['error'] == 'away'
    link.take(Reply.ANSWERED, '', heard=True)
    assert link.pause == 0
    assert link.status()['error'] is None
    assert not link.is_plain


def test_one_that_lives_and_does_not_answer_is_told_as_a_plain_one_in_the_end(clock):
    link = ParentLink('p', State())
    for number in range(parent_links.MOST_SILENCE):
        assert not link.is_plain
        # It may be what was sent that it does not bear.
        assert link.take(Reply.SILENT, 'no answer', heard=True), number
    assert link.is_plain


def test_a_failure_may_be_the_fault_of_what_was_sent(clock):
    link = ParentLink('p', State())
    assert link.take(Reply.FAILED, 'RuntimeError', heard=True)
    assert link.pause == 0
