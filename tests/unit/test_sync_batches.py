"""What is sent upwards together, and what is made of the answers."""

import pytest

from cells import sync_batches
from cells.db.snapshots import Marks
from cells.messages import Failure, Response
from cells.sync_batches import Batch, Kind, Outcome, Reply

ONE, TWO, THREE = ('%d' % number * 8 for number in (1, 2, 3))


def marks(**attempts):
    return {
        uuid: Marks(uuid, at=(0, 5), attempts=number)
        for uuid, number in (attempts or dict.fromkeys((ONE, TWO), 0)).items()
    }


def answer(value):
    return Response('leaf!top', value)


def failure(name, cell='leaf!mid'):
    return Response(cell, failure=Failure(name, 'nova.exception', 'why'))


ANSWERS = [
    ([0, 5], Kind.CONFIRMED),
    ([0, 4], Kind.CONFIRMED),  # of another copy; ours has been applied or is older
    ([0, 6], Kind.AHEAD),
    ([1, 0], Kind.AHEAD),
    ('missing', Kind.MISSING),
    ('gone', Kind.GONE),
    ('refused: it belongs to another', Kind.REFUSED),
    (None, Kind.FAILED),
    ('nonsense', Kind.FAILED),
    ([0], Kind.FAILED),
    (['0', 5], Kind.FAILED),
    ([True, 5], Kind.FAILED),
    ([2**70, 0], Kind.FAILED),  # no database could count on from there
    ({}, Kind.FAILED),
]


@pytest.mark.parametrize(('value', 'kind'), ANSWERS)
def test_what_the_top_says_of_an_instance(value, kind):
    reply, outcomes, _ = sync_batches.read_answer(
        marks(), [answer({ONE: value, TWO: [0, 5]}), Response('leaf!mid', None)]
    )
    assert reply is Reply.ANSWERED
    assert outcomes[ONE].kind is kind
    assert outcomes[TWO].kind is Kind.CONFIRMED


def test_rows_without_a_state_are_confirmed_by_any_count():
    one = {ONE: Marks(ONE)}
    # What a cell is told that takes an instance over: what was counted elsewhere says nothing.
    found = sync_batches.read_answer(one, [answer({ONE: [-1, -1]})])[1]
    assert found[ONE].kind is Kind.CONFIRMED
    assert sync_batches.read_answer(one, [answer({ONE: [9, 9]})])[1][ONE].kind is Kind.CONFIRMED


REPLIES = [
    (None, Reply.SILENT, Kind.NOT_SENT),
    ([], Reply.ABSENT, Kind.NOT_SENT),
    ([Response('leaf!mid', None)], Reply.ABSENT, Kind.NOT_SENT),
    ([failure('CellTimeout')], Reply.ABSENT, Kind.NOT_SENT),
    ([failure('DatabaseUnavailable'), answer(None)], Reply.ABSENT, Kind.NOT_SENT),
    ([failure('CellsError')], Reply.ABSENT, Kind.NOT_SENT),
    ([failure('CellServiceAPIMethodNotFound')], Reply.UNSUPPORTED, Kind.NOT_SENT),
    ([failure('RuntimeError')], Reply.FAILED, Kind.FAILED),
    ([failure('Invalid')], Reply.FAILED, Kind.FAILED),
    ([failure('CellTimeout'), answer({ONE: [0, 5], TWO: [0, 5]})], Reply.ANSWERED, Kind.CONFIRMED),
]


@pytest.mark.parametrize(('responses', 'reply', 'kind'), REPLIES)
def test_what_a_parent_says_of_a_batch(responses, reply, kind):
    found, outcomes, _ = sync_batches.read_answer(marks(), responses)
    assert found is reply
    assert {one.kind for one in outcomes.values()} == {kind}
    assert outcomes.keys() == {ONE, TWO}


def test_a_batch_is_over_when_all_parents_have_spoken_and_the_worst_counts():
    ended = []
    batch = Batch('t', marks(), {'a': False, 'b': True}, ended.append)
    batch.report('a', Reply.ANSWERED, {ONE: sync_batches.CONFIRMED, TWO: Outcome(Kind.MISSING)})
    batch.report('a', Reply.FAILED, batch.all(Outcome(Kind.POISONOUS)))  # said already
    assert ended == []
    batch.report('b', Reply.ABSENT, {TWO: sync_batches.CONFIRMED})
    assert ended == [batch]
    assert batch.of_kind(Kind.NOT_SENT) == [ONE]
    assert batch.of_kind(Kind.MISSING) == [TWO]
    assert batch.replies['a'][0] is Reply.ANSWERED


def test_a_batch_has_fifty_instances_and_so_many_bytes():
    some = marks(**{'%03d' % number: 0 for number in range(120)})
    sizes = dict.fromkeys(some, 10)
    assert [len(group) for group in sync_batches.groups(some, sizes, 10_000)] == [50, 50, 20]
    assert [len(group) for group in sync_batches.groups(some, sizes, 300)] == [30] * 4
    sizes['005'] = 1_000_000
    groups = list(sync_batches.groups(some, sizes, 10_000))
    assert ['005'] in groups
    assert sorted(sum(groups, [])) == sorted(some)


def test_what_failed_goes_with_fewer_each_time_until_it_is_alone():
    sizes = [sync_batches.room_for(attempts) for attempts in range(8)]
    assert sizes == [50, 25, 12, 6, 3, 1, 1, 1]
    some = marks(**{ONE: 0, TWO: 5, THREE: 5})
    groups = list(sync_batches.groups(some, dict.fromkeys(some, 1), 100))
    assert sorted(groups) == [[ONE], [TWO], [THREE]]
    assert sync_batches.is_alone(some, [TWO])
    assert not sync_batches.is_alone(some, [ONE])  # it has not been tried alone for a reason
    assert not sync_batches.is_alone(some, [TWO, THREE])
