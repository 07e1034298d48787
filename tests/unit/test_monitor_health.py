"""What is found wrong with a daemon."""

import pytest

from cells.monitor import health

NEIGHBOUR = {
    'name': 'leaf',
    'is_parent': False,
    'link_up': True,
    'link_error': None,
    'mute': False,
    'drained': False,
    'clock_offset': 0.01,
}


def worker(**values):
    """Return a worker with which all is well but for what is given."""
    return {
        'kind': 'cell',
        'name': 'api',
        'worker': 'host.0',
        'pid': 4711,
        'doing': 'serves',
        'age': 0.4,
        'bus': {'neighbours': 0.3, 'clients': 0.2},
        'drained': False,
        'database': None,
        'late': {},
        'neighbours': [NEIGHBOUR],
        'parents': [],
        **values,
    }


def judge(*workers, expected=None, database=None):
    return health.judge(
        workers,
        expected=len(workers) if expected is None else expected,
        wedged_after=30,
        database=database,
    )


def test_nothing_is_wrong_when_all_is_well():
    assert judge(worker()) == health.Verdict((), (), ())


def test_o9_a_worker_that_is_wedged_is_dead_and_its_old_words_count_for_nothing():
    found = judge(worker(age=31.0, database='it was away once'), worker(worker='host.1'))
    assert found.dead == ('worker host.0 (pid 4711) is wedged: no sign of life for 31 seconds',)
    assert found.wrong == found.dead


@pytest.mark.parametrize(
    ('values', 'text'),
    [
        ({'doing': 'waits for its database'}, 'worker host.0 waits for its database'),
        ({'bus': {'clients': 12.0}}, 'message bus: away for 12 seconds (worker host.0, from c'),
        ({'database': 'The database does not answer'}, 'worker host.0: The database does not'),
    ],
)
def test_o9_what_a_new_start_does_not_mend_is_wrong_but_not_dead(values, text):
    found = judge(worker(**values))
    assert not found.dead
    [reason] = found.wrong
    assert reason.startswith(text)


def test_o9_the_database_is_named_when_it_does_not_answer():
    assert judge(worker(), database='no route to host').wrong == ('database: no route to host',)


def test_a_worker_that_is_missing_is_wrong_and_without_any_the_daemon_is_dead():
    found = judge(worker(), expected=2)
    assert (found.dead, found.wrong) == ((), ('1 of 2 workers run',))
    found = judge(expected=2)
    assert found.dead == found.wrong == ('0 of 2 workers run',)


def test_a_thread_that_hangs_is_dead_unless_it_waits_for_what_is_away():
    text = 'worker host.0 (pid 4711): its thread outbox has not turned for 90 seconds'
    assert judge(worker(late={'outbox': 90.0})).dead == (text,)
    for found in (
        judge(worker(late={'outbox': 90.0}), database='away'),
        judge(worker(late={'outbox': 90.0}, database='away')),
        judge(worker(late={'outbox': 90.0}, bus={'clients': 60.0})),
    ):
        assert not found.dead
        assert text in found.wrong


def test_o9_neighbours_are_warnings_once_for_all_workers():
    down = {**NEIGHBOUR, 'link_up': False, 'link_error': 'ECONNREFUSED', 'mute': True}
    found = judge(worker(neighbours=[down]), worker(worker='host.1', neighbours=[down]))
    assert (found.dead, found.wrong) == ((), ())
    assert found.warnings == (
        'child leaf is mute: nothing comes from it',
        'child leaf cannot be reached: ECONNREFUSED',
    )


def test_a_clock_that_is_off_and_a_parent_that_is_not_told_are_warnings():
    above = {**NEIGHBOUR, 'name': 'top', 'is_parent': True, 'clock_offset': -3.21}
    parent = {'name': 'top', 'error': 'cell top did not answer', 'last_confirmed': None}
    found = judge(worker(neighbours=[above], parents=[parent]))
    assert found.warnings == (
        'the clock of parent top is -3.2 seconds off',
        'parent top is not told of instances: cell top did not answer',
    )


def test_a_host_whose_cell_does_not_take_its_reports_is_not_ready():
    host = {
        'kind': 'host',
        'name': 'h1',
        'worker': 'h1',
        'pid': 1,
        'doing': 'waits for its cell',
        'age': 0.1,
        'bus': {'compute': 0.0},
        'cell': 'nobody answers',
        'late': {},
    }
    assert judge(host).wrong == ('worker h1 waits for its cell: nobody answers',)
