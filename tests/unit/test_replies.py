import threading

import pytest

from cells.messages import Failure, Response
from cells.replies import PendingReplies

A, B = (Response('api!a', 1),), (Response('api!b', 2),)


@pytest.fixture
def pending():
    return PendingReplies()


@pytest.fixture
def completed(pending):
    """What has been completed, after ``a`` and ``b`` were asked question ``q``."""
    found = []
    pending.expect('q', ['a', 'b'], 10.0, found.append)
    return found


def test_a_question_is_complete_with_the_last_answer(pending, completed):
    assert pending.put('q', 'a', A)
    assert completed == []
    assert pending.put('q', 'b', B)
    assert completed == [{'a': A, 'b': B}]
    assert len(pending) == 0


def test_t7_a_second_copy_of_an_answer_counts_for_nothing(pending, completed):
    assert pending.put('q', 'a', A)
    assert not pending.put('q', 'a', (Response('api!a', 'other'),))
    assert completed == []
    pending.put('q', 'b', B)
    assert completed == [{'a': A, 'b': B}]


def test_t7_an_empty_answer_counts_as_one_as_well(pending, completed):
    assert pending.put('q', 'a', ())
    assert not pending.put('q', 'a', A)
    pending.put('q', 'b', B)
    assert completed == [{'a': (), 'b': B}]


@pytest.mark.parametrize(('uuid', 'neighbour'), [('q', 'stranger'), ('never asked', 'a')])
def test_an_answer_that_was_not_asked_for_is_dropped(pending, completed, uuid, neighbour):
    assert not pending.put(uuid, neighbour, A)
    pending.give_up('q')
    assert completed == [{'a': None, 'b': None}]


def test_x1_who_stands_behind_a_neighbour_cannot_answer_for_it(pending):
    found = []
    pending.expect('q', ['a'], 10.0, found.append, next_door=True)
    assert not pending.put('q', 'a', (), passed_on=True)
    assert found == []
    assert pending.put('q', 'a', A)
    assert found == [{'a': A}]
    pending.expect('r', ['a'], 10.0, found.append)
    assert pending.put('r', 'a', B, passed_on=True)


def test_an_answer_that_comes_late_is_dropped(pending, completed):
    pending.put('q', 'a', A)
    pending.give_up('q')
    assert not pending.put('q', 'b', B)
    assert completed == [{'a': A, 'b': None}]


def test_giving_up_twice_completes_once(pending, completed):
    pending.give_up('q')
    pending.give_up('q')
    assert len(completed) == 1


def test_a_neighbour_that_cannot_be_asked_counts_as_answered(pending, completed):
    failure = Failure('CellTimeout', 'nova.exception', 'cannot be reached')
    assert pending.put('q', 'a', (Response('api!a', failure=failure),))
    pending.put('q', 'b', B)
    assert completed == [{'a': (Response('api!a', failure=failure),), 'b': B}]


@pytest.mark.parametrize(('now', 'expired'), [(9.9, 0), (10.0, 1), (99.0, 1)])
def test_what_is_past_its_deadline_is_completed_without_the_silent(
    pending, completed, now, expired
):
    pending.put('q', 'b', B)
    assert pending.expire(now) == expired
    assert completed == [{'a': None, 'b': B}][:expired]
    assert len(pending) == 1 - expired


def test_questions_expire_each_on_its_own(pending, completed):
    later = []
    pending.expect('later', ['a'], 20.0, later.append)
    assert pending.next_deadline() == 10.0
    assert pending.expire(15.0) == 1
    assert (len(completed), later) == (1, [])
    assert pending.next_deadline() == 20.0
    assert pending.expire(20.0) == 1
    assert pending.next_deadline() is None
    assert later == [{'a': None}]


def test_a_completion_may_ask_again(pending):
    found = []
    pending.expect('q', ['a'], 1.0, lambda _: pending.expect('r', ['a'], 2.0, found.append))
    pending.put('q', 'a', A)
    pending.put('r', 'a', A)
    assert found == [{'a': A}]


def test_answers_and_giving_up_at_the_same_moment_complete_once(pending):
    rounds = 150
    completed, taken = [], []
    barrier = threading.Barrier(4)

    def run(act):
        for number in range(rounds):
            barrier.wait(10)
            act(str(number))
            barrier.wait(10)

    def put(neighbour, answer):
        return lambda uuid: taken.append(uuid) if pending.put(uuid, neighbour, answer) else None

    acts = [put('a', A), put('b', B), pending.give_up]
    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for number in range(rounds):
        uuid = str(number)
        pending.expect(
            uuid, ['a', 'b'], 5.0, lambda parts, uuid=uuid: completed.append((uuid, dict(parts)))
        )
        barrier.wait(10)
        pending.expire(5.0)
        barrier.wait(10)
    for thread in threads:
        thread.join(10)
    assert sorted(uuid for uuid, _ in completed) == sorted(map(str, range(rounds)))
    answers = [part for _, parts in completed for part in parts.values() if part is not None]
    assert len(answers) == len(taken)


# -- neighbours that are not waited for as long as the others --


def doubt(pending, doubtful=('b',), patience=2.0):
    found = []
    pending.expect('q', ['a', 'b'], 10.0, found.append, frozenset(doubtful), patience)
    return found


def test_d1_a_doubtful_neighbour_is_waited_for_until_patience_ends(pending):
    completed = doubt(pending)
    assert pending.put('q', 'a', A, 1.0)
    assert completed == []
    assert pending.expire(1.9) == 0
    assert pending.expire(2.0) == 1
    assert completed == [{'a': A, 'b': None}]


def test_a_doubtful_neighbour_that_answers_in_time_counts(pending):
    completed = doubt(pending)
    pending.put('q', 'b', B, 0.5)
    pending.put('q', 'a', A, 1.0)
    assert completed == [{'a': A, 'b': B}]


def test_a_doubtful_neighbour_may_answer_as_long_as_others_are_waited_for(pending):
    completed = doubt(pending)
    assert pending.expire(5.0) == 0, 'a is not doubtful'
    assert pending.put('q', 'b', B, 6.0)
    assert completed == []
    pending.put('q', 'a', A, 7.0)
    assert completed == [{'a': A, 'b': B}]


def test_the_last_answer_that_is_awaited_completes_after_patience(pending):
    completed = doubt(pending)
    assert pending.put('q', 'a', A, 3.0)
    assert completed == [{'a': A, 'b': None}]
    assert not pending.put('q', 'b', B, 3.1)
    assert len(pending) == 0


def test_when_all_are_doubtful_nobody_is_waited_for_after_patience(pending):
    completed = doubt(pending, ('a', 'b'))
    assert pending.expire(2.0) == 1
    assert completed == [{'a': None, 'b': None}]


def test_patience_never_lengthens_the_wait(pending):
    completed = doubt(pending, patience=50.0)
    assert pending.next_deadline(0.0) == 10.0
    assert pending.expire(10.0) == 1
    assert completed == [{'a': None, 'b': None}]


def test_a_look_is_due_when_patience_ends_and_then_at_the_deadline(pending):
    doubt(pending)
    assert pending.next_deadline(0.0) == 2.0
    assert pending.next_deadline(2.0) == 10.0


def test_without_doubtful_neighbours_patience_does_not_matter(pending):
    completed = doubt(pending, ())
    assert pending.next_deadline(0.0) == 10.0
    assert pending.expire(5.0) == 0
    assert completed == []


def test_the_same_question_is_not_asked_twice_at_a_time(pending, completed):
    others = []
    assert not pending.expect('q', ['c'], 1.0, others.append)
    pending.give_up('q')
    assert (completed, others) == ([{'a': None, 'b': None}], [])
    assert pending.expect('q', ['c'], 1.0, others.append)
