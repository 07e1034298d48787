"""Each weigher: a cell and a request in, a number out."""

import copy

import pytest
from hypothesis import given

from cells import candidates, paths
from cells.candidates import NO_LOAD, Cell, Load, Room
from cells.weights import mute_child, ram_by_instance_type, weight_offset
from tests.unit.builders import JSON_OBJECTS

MUTE = mute_child.MuteChildWeigher(-10000.0)
RAM = ram_by_instance_type.RamByInstanceTypeWeigher(10.0)
OFFSET = weight_offset.WeightOffsetWeigher(1.0)
ALL = [MUTE, RAM, OFFSET]


def request(memory_mb=2048):
    return candidates.Request(memory_mb, 20, 1, paths.CellPath(('api',)))


def room(**units):
    return Room({'ram_free': {'units_by_mb': {key[2:]: units[key] for key in units}}})


def test_a_mute_cell_has_one_and_a_living_one_none():
    assert MUTE.weight(request(), Cell('a', is_mute=True), NO_LOAD) == 1.0
    assert MUTE.weight(request(), Cell('a'), NO_LOAD) == 0.0


def test_memory_is_counted_in_instances_of_the_size():
    cell = Cell('a', room=room(mb2048=7, mb512=30))
    assert RAM.weight(request(), cell, NO_LOAD) == 7
    assert RAM.weight(request(512), cell, NO_LOAD) == 30
    assert RAM.weight(request(777), cell, NO_LOAD) == 0


def test_c4_what_is_on_its_way_counts_by_its_size():
    cell = Cell('a', room=room(mb2048=7))
    assert RAM.weight(request(), cell, Load(2, 4096, 0, 0)) == 5
    assert RAM.weight(request(), cell, Load(4, 2048, 0, 0)) == 6
    assert RAM.weight(request(), Cell('a'), Load(1, 2048, 0, 0)) == -1


def test_d4_a_size_that_nobody_lists_counts_what_hosts_have_for_sure():
    cell = Cell('a', room=Room({'free': {'4096:10:8': 3, '1024:10:8': 9, 'x:1:1': 5}}))
    assert RAM.weight(request(2000), cell, NO_LOAD) == 6
    assert RAM.weight(request(1024), cell, NO_LOAD) == 3 * 4 + 9


def test_no_memory_at_all_counts_builds():
    assert RAM.weight(request(0), Cell('a'), Load(3, 0, 0, 0)) == -3


@pytest.mark.parametrize('offset', [0.0, 3.5, -2.0, 999999999999999.0])
def test_c6_an_offset_counts_as_it_is(offset):
    assert OFFSET.weight(request(), Cell('a', weight_offset=offset), NO_LOAD) == offset
    assert not OFFSET.normalised


def test_what_is_preferred_must_live():
    assert OFFSET.weight(request(), Cell('a', is_mute=True, weight_offset=9.0), NO_LOAD) == 0.0
    assert OFFSET.weight(request(), Cell('a', is_mute=True, weight_offset=-9.0), NO_LOAD) == -9.0


@pytest.mark.parametrize('one', ALL, ids=lambda one: type(one).__name__)
@given(capabilities=JSON_OBJECTS, capacities=JSON_OBJECTS)
def test_c5_a_weigher_keeps_nothing_and_bears_what_cells_report(one, capabilities, capacities):
    before, state = copy.deepcopy((capabilities, capacities)), dict(vars(one))
    cell = Cell('a', capabilities=capabilities, room=Room(capacities))
    first = one.weight(request(), cell, NO_LOAD)
    assert one.weight(request(), cell, NO_LOAD) == first
    assert isinstance(first, float | int)
    assert ((capabilities, capacities), vars(one)) == (before, state)
