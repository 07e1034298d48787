"""Each filter: a cell and a request in, a reason or nothing out."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cells import candidates, capacity, exceptions, paths
from cells.candidates import NO_LOAD, Cell, Load, Room
from cells.filters import (
    capacity as capacity_filter,
)
from cells.filters import different_cell, image_properties, target_cell
from tests.unit.builders import JSON_OBJECTS

GB = 1024
TARGET = target_cell.TargetCellFilter()
DIFFERENT = different_cell.DifferentCellFilter()
IMAGE = image_properties.ImagePropertiesFilter()
CAPACITY = capacity_filter.CapacityFilter()
ALL = [TARGET, DIFFERENT, IMAGE, CAPACITY]


def request(path='api', memory_mb=2048, disk_gb=20, vcpus=1, image=None, **hints):
    return candidates.Request(
        memory_mb, disk_gb, vcpus, paths.CellPath.parse(path), hints, image or {}
    )


def child(name='a', **values):
    return Cell(name, **values)


def own(name='api', **values):
    return Cell(name, is_own=True, **values)


def passes(one, asked, cell, load=NO_LOAD):
    reason = one.refusal(asked, cell, load)
    assert reason is None or (reason and '\n' not in reason)
    return reason is None


# -- target_cell --


@pytest.mark.parametrize(
    ('path', 'target', 'cell', 'may'),
    [
        # at the top: on the way there, there, and nowhere else
        ('api', 'api!a', child('a'), True),
        ('api', 'api!a!x', child('a'), True),
        ('api', 'api!a', child('b'), False),
        ('api', 'api!a', child('ab'), False),
        ('api', 'api!a', own('api'), False),
        ('api', 'api!nowhere', child('a'), False),
        # the source itself: its own hosts only
        ('api', 'api', own('api'), True),
        ('api', 'api', child('a'), False),
        # in the middle
        ('api!a', 'api!a!x', child('x'), True),
        ('api!a', 'api!a!x', child('y'), False),
        ('api!a', 'api!a!x', own('a'), False),
        # arrived: what is below belongs to it
        ('api!a', 'api!a', own('a'), True),
        ('api!a', 'api!a', child('x'), True),
        ('api!a!x', 'api!a', own('x'), True),
        # a nova-cells above lets the path begin anew
        ('a!x', 'api!a!x', own('x'), True),
        ('a!x', 'api!a!y', own('x'), False),
    ],
)
def test_target_cell_leaves_the_way_there_and_what_is_below(path, target, cell, may):
    assert passes(TARGET, request(path, target_cell=target), cell) is may


@pytest.mark.parametrize('hint', [None, '', []])
def test_without_the_hint_all_cells_pass(hint):
    assert passes(TARGET, request(target_cell=hint), child())
    assert passes(DIFFERENT, request(different_cell=hint), child())


@pytest.mark.parametrize('hint', ['api!!a', 'a b', 7, ['api!a']])
def test_a_target_that_is_no_path_is_the_callers_mistake(hint):
    with pytest.raises(exceptions.Invalid, match='hint target_cell'):
        TARGET.refusal(request(target_cell=hint), child(), NO_LOAD)


# -- different_cell --


@pytest.mark.parametrize(
    ('path', 'hint', 'cell', 'may'),
    [
        ('api', 'api!a', child('a'), False),
        ('api', 'api!a', child('b'), True),
        ('api', ['api!b', 'api!a'], child('a'), False),
        ('api', 'api!a!x', child('a'), True),
        ('api!a', 'api!a!x', child('x'), False),
        ('api!a', 'api!a!x', child('y'), True),
        ('api!a!x', 'api!a!x', own('x'), False),
        ('api!a!x', ['api!a!y', 'api!b!x'], own('x'), True),
        # with a cell all below it
        ('api!a', 'api!a', child('x'), False),
        # names that only begin alike are others
        ('api', 'api!a', child('ab'), True),
        ('a!x', 'api!a!x', own('x'), False),
        ('b!y', 'api!a!y', own('y'), True),
    ],
)
def test_c16_different_cell_holds_at_any_depth(path, hint, cell, may):
    assert passes(DIFFERENT, request(path, different_cell=hint), cell) is may


# -- image_properties --


def image(asked, *versions):
    asked = request(image={'hypervisor_version_requires': asked})
    capabilities = {'prominent_hypervisor_version': list(versions)} if versions else {}
    return passes(IMAGE, asked, child(capabilities=capabilities))


@pytest.mark.parametrize(
    ('asked', 'version', 'may'),
    [
        ('>=6.0,<6.2', '6.0', True),
        ('>=6.0,<6.2', '6.1.9', True),
        ('>=6.0,<6.2', '6.2', False),
        ('>=6.0,<6.2', '5.9', False),
        ('>=6.0', '6.0.0', True),
        ('==6.0', '6.0.0', True),
        ('!=6.0', '6.0', False),
        ('> 6.0 , <= 6.2', '6.2', True),
        # as strings 6.10 would come first
        ('<6.9', '6.10', False),
        ('>=6.0', '6.0a1', False),
        ('<6.0', '6.0b2', True),
        ('>6.0a1', '6.0b1', True),
    ],
)
def test_versions_compare_as_those_of_distutils(asked, version, may):
    assert image(asked, version) is may


def test_one_of_several_versions_below_a_cell_is_enough():
    assert image('>=6.0', '5.0', '6.1')
    assert not image('>=6.0', '5.0', '5.5')


@pytest.mark.parametrize('asked', [None, '', {}])
def test_an_image_that_asks_for_nothing_runs_anywhere(asked):
    assert image(asked, '5.0')


@pytest.mark.parametrize('versions', [(), ('unknown',), ('',)])
def test_c14_a_cell_that_does_not_say_its_version_passes(versions):
    assert image('>=6.0', *versions)


@pytest.mark.parametrize('asked', ['6.0', '>=', '>=six', '=>6.0', '>=6.0,', 7, ['>=6']])
def test_conditions_that_cannot_be_read_are_the_callers_mistake(asked):
    with pytest.raises(exceptions.Invalid, match='hypervisor_version_requires'):
        image_properties.conditions(asked)


# -- capacity --


def room(ram=None, disk=None, free=None):
    """Return room for numbers of instances by size in MiB; None for what nobody said."""
    found = {}
    if ram is not None:
        found['ram_free'] = {'total_mb': 1, 'units_by_mb': {str(key): ram[key] for key in ram}}
    if disk is not None:
        found['disk_free'] = {'total_mb': 1, 'units_by_mb': {str(key): disk[key] for key in disk}}
    if free is not None:
        found['free'] = free
    return Room(found)


def capacity_reason(cell_room, load=NO_LOAD, **values):
    return CAPACITY.refusal(request(**values), child(room=cell_room), load)


def test_c3_a_cell_without_slots_is_out_and_each_shortage_named():
    reason = capacity_reason(room({2048: 0}, {20 * GB: 0}))
    assert reason == 'no room: memory for none of 2048 MB; disk for none of 20480 MB'
    assert capacity_reason(room({2048: 0}, {20 * GB: 5})) == 'no room: memory for none of 2048 MB'
    assert capacity_reason(room({2048: 5}, {20 * GB: 0})) == 'no room: disk for none of 20480 MB'
    assert capacity_reason(room({2048: 1}, {20 * GB: 1})) is None


@pytest.mark.parametrize(
    'nothing',
    [room(), room({}, {}), room({512: 0}, {1024: 0}), Room({'ram_free': 7, 'free': 'much'})],
)
def test_what_a_cell_does_not_say_is_no_shortage(nothing):
    assert capacity_reason(nothing) is None


def test_no_disk_needs_no_disk():
    assert capacity_reason(room({2048: 1}, {0: 0}), disk_gb=0) is None


def test_c4_what_is_on_its_way_takes_room():
    cell_room = room({2048: 3}, {20 * GB: 10})
    assert capacity_reason(cell_room, Load(2, 2 * 2048, 0, 2)) is None
    reason = capacity_reason(cell_room, Load(3, 3 * 2048, 0, 3))
    assert reason == 'no room: memory for 3 of 2048 MB, and 3 builds are on their way'
    # whatever their size
    assert capacity_reason(cell_room, Load(16, 16 * 256, 0, 16)) is None
    assert capacity_reason(cell_room, Load(17, 17 * 256, 0, 17)) is not None
    assert 'disk' in capacity_reason(cell_room, Load(1, 1, 200, 1))


def test_d4_a_size_that_nobody_lists_is_looked_up_among_the_hosts():
    free = {'4096:32:8': 2}
    assert capacity_reason(room(free=free)) is None
    assert capacity_reason(room(free=free), memory_mb=8191, disk_gb=63, vcpus=15) is None
    reason = capacity_reason(room(free=free), memory_mb=8192, vcpus=16)
    assert reason == 'no room: no host has 8192 MB of memory; no host has 16 vCPUs'
    assert 'no host has 64 GB of disk' in capacity_reason(room(free=free), disk_gb=64)
    both = {'4096:1:8': 2, '1024:32:8': 2}
    assert 'together' in capacity_reason(room(free=both), memory_mb=4096, disk_gb=20)
    assert capacity_reason(room(free={})) is not None


def test_the_own_cell_passes_as_its_hosts_are_asked_themselves():
    assert passes(CAPACITY, request(), own(room=room({2048: 0}, {20 * GB: 0}, {})))


@given(
    st.lists(
        st.builds(
            capacity.Node,
            host=st.sampled_from(['h1', 'h2', 'h3']),
            free_ram_mb=st.integers(-5, 20_000),
            memory_mb=st.integers(0, 20_000),
            free_disk_gb=st.integers(-5, 900),
            local_gb=st.integers(0, 900),
            vcpus=st.integers(0, 64),
            vcpus_used=st.integers(0, 64),
            cpu_allocation_ratio=st.sampled_from([None, 1.0, 1.5]),
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 20_000),
    st.integers(0, 500),
    st.integers(1, 32),
    st.booleans(),
)
def test_d3_no_cell_is_refused_that_has_a_host_with_room(nodes, memory, disk, vcpus, listed):
    sizes = [(memory, disk * GB)] if listed else [(513, 1025)]
    reason = capacity_reason(
        Room(capacity.count(nodes, sizes, 0.0)), memory_mb=memory, disk_gb=disk, vcpus=vcpus
    )
    hosts = {}
    for one in nodes:
        have = hosts.setdefault(one.host, [0, 0, 0])
        have[0] += max(0, one.free_ram_mb)
        have[1] += max(0, one.free_disk_gb)
        cpus = int(one.vcpus * (one.cpu_allocation_ratio or 1.0)) - one.vcpus_used
        have[2] += max(0, cpus)
    fits = any(
        have[0] >= memory and have[1] >= disk and have[2] >= vcpus for have in hosts.values()
    )
    if fits:
        assert reason is None


# -- all of them --


@pytest.mark.parametrize('one', ALL, ids=lambda one: type(one).__name__)
@given(capabilities=JSON_OBJECTS, capacities=JSON_OBJECTS)
def test_c14_a_filter_changes_nothing_answers_alike_and_bears_what_cells_report(
    one, capabilities, capacities
):
    known = {
        'prominent_hypervisor_version': ['6.0', 'x'],
        **{key: ['%s' % value] for key, value in capabilities.items()},
    }
    hints = {'target_cell': 'api!a', 'different_cell': ['api!b', 'api!c']}
    image = {'hypervisor_version_requires': '>=5'}
    before = copy.deepcopy((known, capacities, hints, image))
    asked = candidates.Request(2048, 20, 1, paths.CellPath(('api',)), hints, image)
    cell = child(capabilities=known, room=Room(capacities))
    first = one.refusal(asked, cell, NO_LOAD)
    assert one.refusal(asked, cell, NO_LOAD) == first
    assert (known, capacities, hints, image) == before
