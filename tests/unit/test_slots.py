import subprocess
import sys

import pytest

from cells import exceptions, slots

HOLDER = """
import sys
from cells import slots
slot = slots.WorkerSlot.take(sys.argv[1])
print(slot.number, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def state_path(tmp_path):
    return str(tmp_path / 'not' / 'yet' / 'there')


def test_workers_get_different_slots_from_zero_on(state_path):
    taken = [slots.WorkerSlot.take(state_path) for _ in range(3)]
    assert [slot.number for slot in taken] == [0, 1, 2]
    for slot in taken:
        slot.release()


def test_a_released_slot_is_the_next_to_be_taken(state_path):
    taken = [slots.WorkerSlot.take(state_path) for _ in range(3)]
    taken[1].release()
    again = slots.WorkerSlot.take(state_path)
    assert again.number == 1
    for slot in (taken[0], taken[2], again):
        slot.release()


def test_a_worker_that_is_killed_leaves_its_slot_free(state_path):
    holder = subprocess.Popen(
        [sys.executable, '-W', 'ignore', '-c', HOLDER, state_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout.readline() == b'0\n'
    beside = slots.WorkerSlot.take(state_path)
    assert beside.number == 1
    holder.kill()
    holder.communicate()
    after = slots.WorkerSlot.take(state_path)
    assert after.number == 0
    beside.release()
    after.release()


def test_cells_with_directories_of_their_own_do_not_meet(tmp_path):
    first = slots.WorkerSlot.take(str(tmp_path / 'a'))
    second = slots.WorkerSlot.take(str(tmp_path / 'b'))
    assert (first.number, second.number) == (0, 0)
    first.release()
    second.release()


def test_a_directory_that_is_a_file_stops_the_start(tmp_path):
    path = tmp_path / 'file'
    path.write_text('')
    with pytest.raises(exceptions.ConfigurationError, match='state_path'):
        slots.WorkerSlot.take(str(path))
    with pytest.raises(exceptions.ConfigurationError, match='state_path'):
        slots.WorkerSlot.take(str(path / 'below'))


def test_when_all_slots_are_taken_the_start_stops(state_path, monkeypatch):
    monkeypatch.setattr(slots, 'MOST_WORKERS', 1)
    taken = slots.WorkerSlot.take(state_path)
    with pytest.raises(exceptions.ConfigurationError, match='1 workers use'):
        slots.WorkerSlot.take(state_path)
    taken.release()
