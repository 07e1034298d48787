import time
import types

import pytest

from cells import pings, sightings, state
from cells.messages import Failure, Response
from tests.unit.builders import eventually


class Sightings:
    def __init__(self) -> None:
        self.offsets, self.errors = {}, {}
        self.looked_at = []

    def measured(self, name, offset, error):
        self.offsets[name], self.errors[name] = offset, error

    def is_mute(self, name):
        self.looked_at.append(name)
        return False


class State:
    """A parent and two children, of which one is plain."""

    def __init__(self) -> None:
        self.sightings = Sightings()
        self.topology = state.Topology(
            'mid',
            {'api': state.CellState('api', True, 'fake://api')},
            {name: state.CellState(name, False, 'fake://x') for name in ('leaf', 'plain')},
        )

    def sighting(self, name):
        return sightings.Sighting(protocol=0 if name == 'plain' else 1)


class Runner:
    """Answers each ping with what :attr:`answer` makes, ``delay`` seconds later."""

    def __init__(self) -> None:
        self.pinged = []
        self.delay = 0.0
        self.answer = lambda: Response('x', {'time': time.time() + 100})

    def ping_later(self, neighbour, seconds, on_complete):
        self.pinged.append(neighbour)
        answer = self.answer()
        time.sleep(self.delay)
        on_complete(answer)


@pytest.fixture
def runner():
    return Runner()


@pytest.fixture
def cell():
    return State()


@pytest.fixture
def begun(cell, runner, monkeypatch):
    """Pings that have begun, by the holder of the lease."""
    monkeypatch.setattr(sightings, 'PING_SECONDS', 0.02)
    lease = types.SimpleNamespace(held=True)
    found = pings.Pings(state=cell, runner=runner, lease=lease)
    found.start()
    yield lease
    found.stop()


def test_all_neighbours_of_our_kind_are_pinged_again_and_again(begun, runner, cell):
    eventually(lambda: len(runner.pinged) > 6)
    assert set(runner.pinged) == {'api', 'leaf'}
    assert set(cell.sightings.looked_at) == {'api', 'leaf', 'plain'}, 'its silence is noticed'


def test_the_offset_of_a_clock_is_what_it_tells_less_half_the_way(begun, runner, cell):
    eventually(lambda: 'leaf' in cell.sightings.offsets)
    runner.delay = 0.2
    # It answered at once and the answer took 0.2 seconds: half of that is the error, and half of
    # what this machine adds to it.
    eventually(lambda: abs(cell.sightings.offsets['leaf'] - 99.9) <= 0.05)
    eventually(lambda: 0.1 <= cell.sightings.errors['leaf'] <= 0.15)


@pytest.mark.parametrize(
    'answer',
    [
        None,
        Response('x', failure=Failure('CellTimeout', 'nova.exception', 'late')),
        Response('x', None),
        Response('x', 'text'),
        Response('x', {}),
        Response('x', {'time': 'noon'}),
        Response('x', {'time': True}),
        Response('x', {'time': None}),
        Response('x', {'time': float('nan')}),
        Response('x', {'time': 10**400}),
    ],
    ids=repr,
)
def test_an_answer_without_a_time_measures_nothing(cell, runner, monkeypatch, answer):
    monkeypatch.setattr(sightings, 'PING_SECONDS', 0.02)
    runner.answer = lambda: answer
    found = pings.Pings(state=cell, runner=runner, lease=types.SimpleNamespace(held=True))
    found.start()
    eventually(lambda: len(runner.pinged) > 4)
    found.stop()
    assert cell.sightings.offsets == {}


def test_p2_only_the_holder_of_the_lease_pings(cell, runner, monkeypatch):
    lease = types.SimpleNamespace(held=False)
    found = pings.Pings(state=cell, runner=runner, lease=lease)
    found.start()
    eventually(lambda: len(cell.sightings.looked_at) == 3)
    assert runner.pinged == []
    found.stop()


def test_a_neighbour_that_cannot_be_pinged_does_not_keep_others_from_it(
    cell, runner, monkeypatch, caplog
):
    monkeypatch.setattr(sightings, 'PING_SECONDS', 0.02)
    answer = runner.ping_later

    def fail(name, *args):
        if name == 'api':
            raise ZeroDivisionError
        answer(name, *args)

    runner.ping_later = fail
    found = pings.Pings(state=cell, runner=runner, lease=types.SimpleNamespace(held=True))
    found.start()
    eventually(lambda: runner.pinged.count('leaf') > 2)
    found.stop()
    assert 'Cell api could not be pinged' in caplog.text


def test_pings_that_never_began_can_be_stopped(cell, runner):
    pings.Pings(state=cell, runner=runner, lease=types.SimpleNamespace(held=True)).stop()
