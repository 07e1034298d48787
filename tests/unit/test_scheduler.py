"""The choice of cells: a pure function of what is known now."""

import collections
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cells import candidates, paths, scheduler
from cells.candidates import NO_LOAD, Cell, Load, Room
from cells.filters import base as filters_base
from cells.filters import capacity, different_cell, image_properties, target_cell
from cells.scheduler import CellsScheduler, Refusal
from cells.weights import base as weights_base
from cells.weights import mute_child, ram_by_instance_type, weight_offset

SIZES = (512, 2048, 8192)
PATH = paths.CellPath(('api',))


def make(ram=10.0, mute=-10000.0, offset=1.0):
    return CellsScheduler(
        [
            target_cell.TargetCellFilter(),
            image_properties.ImagePropertiesFilter(),
            different_cell.DifferentCellFilter(),
            capacity.CapacityFilter(),
        ],
        [
            mute_child.MuteChildWeigher(mute),
            ram_by_instance_type.RamByInstanceTypeWeigher(ram),
            weight_offset.WeightOffsetWeigher(offset),
        ],
    )


def cell(name, ram_mb=65536, disk_gb=10_000, **values):
    """Return a cell that has memory and disk for instances of all sizes."""
    room = Room(
        {
            'ram_free': {'units_by_mb': {str(size): ram_mb // size for size in SIZES}},
            'disk_free': {'units_by_mb': {str(20 * 1024): disk_gb // 20}},
        }
    )
    return Cell(name, room=room, **values)


def request(memory_mb=2048, tried=(), **hints):
    return candidates.Request(memory_mb, 20, 1, PATH, hints, {}, frozenset(tried))


def names(ranking):
    return [one.name for one in ranking.cells]


def rank(cells, asked=None, loads=None, **weights):
    return names(make(**weights).rank(asked or request(), cells, loads or {}))


def choose(cells, requests, loads=None, **weights):
    return [choice.cell for choice in make(**weights).choose(requests, cells, loads or {})]


# -- the order --


def test_the_cell_with_room_for_most_comes_first():
    cells = [cell('a', 16384), cell('b', 65536), cell('c', 32768)]
    assert rank(cells) == ['b', 'c', 'a']
    assert rank(cells, ram=-10.0) == ['a', 'c', 'b']


def test_equal_cells_keep_the_order_in_which_they_are_named():
    cells = [cell('c'), cell('a'), cell('b')]
    assert rank(cells) == ['c', 'a', 'b']


def test_of_equals_the_one_with_the_fewest_builds_on_their_way_comes_first():
    cells = [cell('a'), cell('b'), cell('c')]
    loads = {'a': Load(2, 0, 0, 0), 'b': Load(1, 0, 0, 0)}
    assert rank(cells, loads=loads, ram=0.0) == ['c', 'b', 'a']


def test_a_mute_cell_is_the_last_resort():
    cells = [cell('a', 65536, is_mute=True), cell('b', 4096)]
    assert rank(cells) == ['b', 'a']
    assert rank(cells[:1]) == ['a']


def test_the_formula_is_the_documented_one():
    # memory: 10 for b, 5 for a, 0 for c; a's counts three times, c has an offset
    cells = [cell('a', 48 * 2048, weight_scale=3.0), cell('b', 64 * 2048), cell('c', 32 * 2048)]
    assert rank(cells) == ['a', 'b', 'c']
    cells[2] = cell('c', 32 * 2048, weight_offset=10.5)
    assert rank(cells) == ['a', 'c', 'b']
    cells[2] = cell('c', 32 * 2048, weight_offset=15.5)
    assert rank(cells) == ['c', 'a', 'b']
    assert rank(cells, offset=0.5) == ['a', 'b', 'c']


# -- C6: prefer, disable, scale --


def test_c6_the_documented_offset_makes_a_cell_the_first_choice():
    cells = [cell('a', 65536), cell('b', 4096, weight_offset=999999999999999.0)]
    assert rank(cells) == ['b', 'a']
    given_out = choose(cells, [request()] * 4)
    assert given_out == ['b', 'b', 'a', 'a'], 'as long as it has room'


def test_c6_among_several_preferred_cells_memory_still_counts():
    cells = [cell('a', 16384), cell('b', 16384), cell('c', 65536)]
    cells = [
        cell(one.name, ram, weight_offset=1e300)
        for one, ram in zip(cells, (16384, 32768, 65536), strict=True)
    ]
    assert rank(cells) == ['c', 'b', 'a']


def test_c6_a_negative_offset_makes_a_cell_the_last_choice():
    cells = [cell('a', 65536, weight_offset=-999999999999999.0), cell('b', 4096)]
    assert choose(cells, [request()] * 3) == ['b', 'b', 'a']


def test_c6_a_preferred_cell_that_is_mute_is_not_preferred():
    cells = [cell('a', weight_offset=999999999999999.0, is_mute=True), cell('b', 4096)]
    assert rank(cells) == ['b', 'a']


def test_c6_d14_the_scale_of_a_cell_has_an_effect():
    cells = [cell('a', 40960), cell('b', 65536), cell('c', 0)]
    cells[2] = cell('c', 2048)
    assert rank(cells)[0] == 'b'
    assert rank([cell('a', 40960, weight_scale=2.0), *cells[1:]])[0] == 'a'
    # what is below nothing counts as nothing
    assert rank([cell('a', 65536, weight_scale=-5.0), cell('b', 2048)]) == ['a', 'b']


def test_c7_a_drained_cell_is_out_and_says_so():
    ranking = make().rank(request(), [cell('a', is_drained=True), cell('b')], {})
    assert names(ranking) == ['b']
    assert ranking.refusals == {'a': Refusal(scheduler.DRAINED)}


# -- who is out --


def test_what_was_tried_is_out():
    ranking = make().rank(request(tried=['a']), [cell('a'), cell('b')], {})
    assert names(ranking) == ['b']
    assert ranking.refusals == {'a': Refusal(scheduler.TRIED)}


def test_c3_c9_every_cell_that_is_out_has_its_reason():
    cells = [cell('a', 1024), cell('b', disk_gb=10), cell('c', is_drained=True)]
    (choice,) = make().choose([request()], cells, {})
    assert choice.cell is None
    assert {name: why.reason for name, why in choice.refusals.items()} == {
        'a': 'no room: memory for none of 2048 MB',
        'b': 'no room: disk for none of 20480 MB',
        'c': scheduler.DRAINED,
    }
    assert not any(why.by_load for why in choice.refusals.values())


def test_what_is_out_only_for_what_is_on_its_way_may_be_in_later():
    (choice,) = make().choose([request()], [cell('a', 4096), cell('b', 0)], {'a': Load(2, 4096)})
    assert choice.cell is None
    assert choice.refusals['a'].by_load
    assert not choice.refusals['b'].by_load


def test_no_cells_at_all():
    assert make().choose([request()], [], {}) == [(None, {}, None)]


def test_the_first_filter_that_refuses_gives_the_reason():
    (choice,) = make().choose([request(target_cell='api!b')], [cell('a', 0)], {})
    assert 'target_cell' in choice.refusals['a'].reason


# -- C4: spread --


def shares(found):
    counted = collections.Counter(found)
    return max(counted.values()) / min(counted.values())


@pytest.mark.parametrize('number', [5, 10, 500])
def test_c4_equal_cells_share_single_builds(number):
    cells = [cell(name, 10_000_000) for name in 'abcde']
    loads = {}
    found = []
    for _ in range(number):
        (choice,) = make().choose([request()], cells, loads)
        loads[choice.cell] = loads.get(choice.cell, NO_LOAD).plus(request())
        found.append(choice.cell)
    assert set(found) == set('abcde')
    assert shares(found) == 1


def test_c4_one_request_for_a_hundred_is_split():
    found = choose([cell(name, 10_000_000) for name in 'abcde'], [request()] * 100)
    assert collections.Counter(found) == dict.fromkeys('abcde', 20)


@pytest.mark.parametrize('weights', [{'ram': 0.0}, {'ram': 0.0, 'mute': 0.0, 'offset': 0.0}])
def test_c4_equal_cells_share_whatever_counts(weights):
    found = choose([cell(name) for name in 'abcde'], [request()] * 50, **weights)
    assert shares(found) == 1


def test_c4_cells_of_which_nothing_is_known_share():
    found = choose([Cell(name) for name in 'abc'], [request()] * 30)
    assert shares(found) == 1


def test_c4_sizes_of_all_kinds_share():
    sizes = [random.Random(3).choice(SIZES) for _ in range(500)]
    cells = [cell(name, 100_000_000) for name in 'abcde']
    requests = [request(size) for size in sizes]
    found = choose(cells, requests)
    taken = collections.Counter()
    for name, one in zip(found, requests, strict=True):
        taken[name] += one.memory_mb
    assert max(taken.values()) / min(taken.values()) <= 1.5
    assert shares(found) <= 1.5


def test_packing_fills_one_cell_before_the_next():
    cells = [cell('a', 6144), cell('b', 8192)]
    found = choose(cells, [request()] * 8, ram=-10.0)
    assert found == ['a'] * 3 + ['b'] * 4 + [None]


# -- C5: a pure function --

CELLS = st.lists(
    st.builds(
        cell,
        name=st.sampled_from('abcdefgh'),
        ram_mb=st.integers(0, 40_000),
        disk_gb=st.integers(0, 200),
        is_mute=st.booleans(),
        is_drained=st.sampled_from([False, False, False, True]),
        weight_offset=st.sampled_from([0.0, 0.0, 5.0, -5.0, 1e15]),
        weight_scale=st.sampled_from([1.0, 1.0, 0.5, 2.0]),
    ),
    max_size=8,
    unique_by=lambda one: one.name,
)
REQUESTS = st.lists(
    st.builds(
        request,
        st.sampled_from(SIZES),
        tried=st.sets(st.sampled_from('abc'), max_size=1),
    ),
    max_size=25,
)
WEIGHTS = st.fixed_dictionaries(
    {'ram': st.sampled_from([10.0, 0.0, -10.0]), 'mute': st.sampled_from([-10000.0, 0.0])}
)
LOADS = st.dictionaries(
    st.sampled_from('abcdefgh'),
    st.builds(Load, st.integers(0, 9), st.integers(0, 9000), st.integers(0, 50)),
)


@given(CELLS, REQUESTS, LOADS, WEIGHTS)
def test_c4_c5_many_at_a_time_are_chosen_as_one_after_the_other(cells, requests, loads, weights):
    made = make(**weights)
    one_by_one, now = [], dict(loads)
    for asked in requests:
        ranking = make(**weights).rank(asked, cells, now)
        best = ranking.cells[0].name if ranking.cells else None
        one_by_one.append((best, ranking.refusals if best is None else {}))
        if best is not None:
            now[best] = now.get(best, NO_LOAD).plus(asked)
    assert [one[:2] for one in made.choose(requests, cells, loads)] == one_by_one


@given(CELLS, REQUESTS, LOADS)
def test_c5_a_ranking_is_the_same_before_and_after_others(cells, others, loads):
    made = make()
    before = made.rank(request(), cells, loads)
    made.choose(others, cells, {})
    made.rank(request(512), cells[:1], {'a': Load(99, 99999, 0, 0)})
    assert made.rank(request(), cells, loads) == before
    assert make().rank(request(), cells, loads) == before


def test_c5_a_thousand_other_requests_change_nothing():
    made = make()
    cells = [cell('a', 20_000), cell('b', 30_000), cell('c', 25_000)]
    before = made.rank(request(), cells, {})
    for size, extreme in itertools.product(SIZES, range(350)):
        made.choose([request(size)], [cell('a', extreme * 10_000), *cells[1:]], {})
    assert made.rank(request(), cells, {}) == before


@given(CELLS, LOADS)
def test_a_brute_force_of_the_formula_gives_the_same_order(cells, loads):
    asked = request()
    passing = make().rank(asked, cells, loads).cells

    def scaled(values):
        least, most = min(values), max(values)
        return [0.0 if least == most else (one - least) / (most - least) for one in values]

    if not passing:
        return
    by_name = {one.name: index for index, one in enumerate(cells)}
    passing = sorted(passing, key=lambda one: by_name[one.name])
    mute = scaled([float(one.is_mute) for one in passing])
    ram = scaled(
        [
            one.room.units('ram_free', 2048) - loads.get(one.name, NO_LOAD).memory_mb / 2048
            for one in passing
        ]
    )
    keyed = []
    for index, one in enumerate(passing):
        rest = one.weight_scale * (-10000.0 * mute[index] + 10.0 * ram[index])
        offset = min(0.0, one.weight_offset) if one.is_mute else one.weight_offset
        builds = loads.get(one.name, NO_LOAD).builds
        keyed.append((-round(rest + offset, 6), -round(rest, 6), builds, index, one.name))
    expected = [key[-1] for key in sorted(keyed)]
    found = rank(cells, asked, loads)
    # Differences that rounding makes are of cells that are as good as equal.
    weights = {key[-1]: key[:2] for key in keyed}
    assert [weights[name] for name in found] == [weights[name] for name in expected]


# -- plugins of others --


class Odd(filters_base.CellFilter):
    """Lets one build at a time go to a cell."""

    by_load = True

    def refusal(self, request, cell, load):
        return 'busy' if load.builds else None


class Alphabet(weights_base.CellWeigher):
    """The later in the alphabet the better."""

    def weight(self, request, cell, load):
        return float(ord(cell.name))


def test_filters_and_weighers_of_others_work_like_our_own():
    made = CellsScheduler([Odd()], [Alphabet()])
    found = made.choose([request()] * 4, [Cell('a'), Cell('c'), Cell('b')], {})
    assert [choice.cell for choice in found] == ['c', 'b', 'a', None]
    assert found[-1].refusals['a'] == Refusal('busy', by_load=True)


def test_what_a_cell_was_chosen_by_is_told_for_the_best_and_for_those_that_were_refused():
    cells = [cell('a', 20_000), cell('b', 30_000), cell('c', 0), cell('d', 25_000)]
    (choice,) = make().choose([request()], cells, {})
    found = choice.explanation
    assert choice.cell == found.weighed[0].cell == 'b'
    assert [one.cell for one in found.weighed] == ['b', 'd', 'a']
    assert [one.weight for one in found.weighed] == sorted(
        (one.weight for one in found.weighed), reverse=True
    )
    assert set(found.weighed[0].parts) == {'mute_child', 'ram_by_instance_type', 'weight_offset'}
    assert found.refused.keys() == {'c'}
    assert found.refused['c'][0] == 'capacity'
    assert 'no room' in found.refused['c'][1]
    assert found.numbers == (3, 1)


def test_what_is_told_of_a_choice_among_many_cells_is_bounded():
    cells = [cell('c%d' % number, number % 2 * 100_000) for number in range(200)]
    (choice,) = make().choose([request()], cells, {})
    assert len(choice.explanation.weighed) == scheduler.MOST_WEIGHED
    assert choice.explanation.weighed[0].cell == choice.cell
    assert len(choice.explanation.refused) == scheduler.MOST_REFUSED
    assert choice.explanation.numbers == (100, 100)
