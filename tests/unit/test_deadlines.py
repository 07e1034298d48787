import hypothesis
import pytest
from hypothesis import strategies as st

from cells import deadlines
from cells.messages import Extension


@pytest.mark.parametrize(
    ('seconds', 'expected'), [(60, 57), (10, 9.5), (1, 0.95), (0.5, 0.45), (0.05, 0), (-3, 0)]
)
def test_a_cell_waits_a_little_shorter_than_it_is_waited_for(seconds, expected):
    assert deadlines.shorter(seconds) == pytest.approx(expected)


@hypothesis.given(st.floats(0.06, 3600))
def test_every_further_cell_gets_less_time_and_never_less_than_none(seconds):
    inner = deadlines.shorter(seconds)
    assert 0 <= deadlines.shorter(inner) < inner <= seconds - deadlines.AT_LEAST_EARLY


@pytest.mark.parametrize(
    ('sent_at', 'budget_ms', 'expected'),
    [
        (100.0, 10_000, 10.0),
        (97.0, 10_000, 7.0),
        (80.0, 10_000, -10.0),
        (100.0, 500_000, 60.0),
        (100.0, 0, 0.0),
        (0.0, None, 60.0),
    ],
)
def test_the_time_left_is_the_budget_less_the_age_and_never_more_than_our_own(
    sent_at, budget_ms, expected
):
    told = Extension(1, sent_at, budget_ms, 'host.0')
    assert deadlines.remaining(told, 100.0, 60.0) == pytest.approx(expected)


def test_a_plain_sender_waits_for_the_default():
    assert deadlines.remaining(None, 100.0, 60.0) == 60.0


@hypothesis.given(st.floats(0, 1e9), st.integers(0, 10**7))
def test_a_clock_that_is_ahead_makes_no_answer_due_later(ahead, budget_ms):
    told = Extension(1, 100.0 + ahead, budget_ms)
    assert deadlines.remaining(told, 100.0, 60.0) == min(budget_ms / 1000, 60.0)


@pytest.mark.parametrize(
    ('asked_at', 'expected'),
    [
        (None, 60.0),
        (1000.0, 60.0),
        (2000.0, 60.0),
        (881.0, 60.0),
        (879.0, -61.0),
        (-1e12, -1e12),
    ],
)
def test_r4_a_plain_sender_does_not_wait_for_what_its_user_asked_long_ago(asked_at, expected):
    left = deadlines.remaining_plain(asked_at, 1000.0, 60.0)
    assert left == pytest.approx(expected, rel=1e-6)
    assert (left < -deadlines.GRACE) == (expected < 0)


def test_r4_the_shortest_timeout_that_can_be_set_is_no_exception():
    assert deadlines.remaining_plain(997.9, 1000.0, 1.0) < -deadlines.GRACE
