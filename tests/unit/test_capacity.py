"""Counting what is free, against a count one by one, and adding cells up."""

import fractions
import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cells import capacity

NUMBERS = st.none() | st.integers(-5000, 200_000)
NODES = st.builds(
    capacity.Node,
    host=st.sampled_from(['h1', 'h2', 'h3', 'größe']),
    free_ram_mb=NUMBERS,
    memory_mb=NUMBERS,
    free_disk_gb=st.none() | st.integers(-5, 900),
    local_gb=st.none() | st.integers(-5, 900),
    vcpus=st.none() | st.integers(-1, 64),
    vcpus_used=st.none() | st.integers(-1, 64),
    cpu_allocation_ratio=st.none() | st.sampled_from([0.0, 1.0, 1.5, 16.0]),
)
SIZES = st.lists(
    st.tuples(st.sampled_from([0, 512, 777, 2048, 65536]), st.sampled_from([0, 1024, 20480]))
)


def node(host='h1', **values):
    return capacity.Node(
        **{
            'host': host,
            'free_ram_mb': 24576,
            'memory_mb': 32768,
            'free_disk_gb': 100,
            'local_gb': 200,
            'vcpus': 8,
            'vcpus_used': 0,
            'cpu_allocation_ratio': 1.0,
            **values,
        }
    )


def packed(free, total, size, percent):
    """Put instances of a size on a host one by one and return how many there is room for."""
    if size <= 0:
        return 0
    room = fractions.Fraction(free) - fractions.Fraction(total) * fractions.Fraction(percent) / 100
    number = 0
    while room >= size:
        room -= size
        number += 1
    return number


def sums(nodes, free, total, unit):
    """Return (free, whole) of each host; a node with a null, or below 0, adds nothing there."""
    found = {}
    for one in nodes:
        have, whole = getattr(one, free), getattr(one, total)
        if have is None or whole is None:
            have = whole = 0
        before = found.get(one.host, (0, 0))
        found[one.host] = (before[0] + max(0, have) * unit, before[1] + max(0, whole) * unit)
    return found


@given(st.lists(NODES, min_size=1, max_size=8), SIZES, st.sampled_from(['0', '10', '3.3', '100']))
def test_d2_d3_slots_are_those_of_a_count_one_by_one(nodes, sizes, percent):
    found = capacity.count(nodes, sizes, float(percent))
    for key, which, free, total, unit in (
        ('ram_free', 0, 'free_ram_mb', 'memory_mb', 1),
        ('disk_free', 1, 'free_disk_gb', 'local_gb', 1024),
    ):
        hosts = sums(nodes, free, total, unit)
        assert found[key] == {
            'total_mb': sum(have for have, _ in hosts.values()),
            'units_by_mb': {
                str(size): sum(packed(*host, size, percent) for host in hosts.values())
                for size in {pair[which] for pair in sizes}
            },
        }


@given(st.lists(NODES, max_size=6), SIZES)
def test_d3_flavors_of_one_size_and_the_order_of_nodes_change_nothing(nodes, sizes):
    once = capacity.count(nodes, set(sizes), 10)
    assert capacity.count(nodes, sizes * 3, 10) == once
    assert capacity.count(reversed(nodes), reversed(sizes), 10) == once


def test_the_example_of_the_contract():
    found = capacity.count([node()], [(2048, 0)], 10.0)
    assert found['ram_free'] == {'total_mb': 24576, 'units_by_mb': {'2048': 10}}
    assert found['disk_free'] == {'total_mb': 102400, 'units_by_mb': {'0': 0}}


def test_without_hosts_there_is_nothing_at_all():
    assert capacity.count([], [(2048, 1024)], 10.0) == {}


def test_d3_several_nodes_of_a_host_are_one_host():
    halves = [node(free_ram_mb=1024, memory_mb=1024), node(free_ram_mb=1024, memory_mb=1024)]
    found = capacity.count(halves, [(2048, 0)], 0.0)
    assert found['ram_free'] == {'total_mb': 2048, 'units_by_mb': {'2048': 1}}
    apart = capacity.count([halves[0], halves[1]._replace(host='h2')], [(2048, 0)], 0.0)
    assert apart['ram_free'] == {'total_mb': 2048, 'units_by_mb': {'2048': 0}}


@pytest.mark.parametrize('value', [None, -1])
@pytest.mark.parametrize('field', ['free_ram_mb', 'free_disk_gb', 'vcpus'])
def test_d2_a_null_and_a_negative_value_add_nothing_and_break_nothing(field, value):
    broken = node('bad', **{field: value})
    found = capacity.count([node(), broken], [(2048, 1024)], 10.0)
    alone = capacity.count([node()], [(2048, 1024)], 10.0)
    key = {'free_ram_mb': 'ram_free', 'free_disk_gb': 'disk_free'}.get(field)
    if key:
        assert found[key] == alone[key]
    assert sum(found['free'].values()) == (2 if field == 'free_disk_gb' else 1)


def test_free_has_hosts_by_what_one_instance_can_get():
    nodes = [node('h%d' % number, free_ram_mb=24576 - number) for number in range(50)]
    found = capacity.count([*nodes, node('small', free_ram_mb=3900)], [], 10.0)
    # 24576 - 3276.8 MiB, 80 of 200 GiB after the reserve, 8 CPUs
    assert found['free'] == {'16384:64:8': 50, '512:64:8': 1}


@given(st.lists(NODES, min_size=1, max_size=6))
def test_hosts_are_never_promised_and_never_denied_wrongly(nodes):
    sizes = list(itertools.product([1, 512, 4096], [0, 1, 100], [1, 16]))
    free = capacity.count(nodes, [], 0.0)['free']
    ram = sums(nodes, 'free_ram_mb', 'memory_mb', 1)
    disk = sums(nodes, 'free_disk_gb', 'local_gb', 1)
    for ram_mb, disk_gb, vcpus in sizes:
        surely, perhaps = capacity.hosts_for(free, ram_mb, disk_gb, vcpus)
        real = 0
        for host in ram:
            cpus = 0
            for one in nodes:
                if one.host == host and None not in (one.vcpus, one.vcpus_used):
                    whole = int(max(0, one.vcpus) * (one.cpu_allocation_ratio or 1.0))
                    cpus += max(0, whole - max(0, one.vcpus_used))
            real += ram[host][0] >= ram_mb and disk[host][0] >= disk_gb and cpus >= vcpus
        assert surely <= real <= perhaps


def test_keys_of_another_form_do_not_count():
    free = {'1:2': 3, 'x:y:z': 4, '²:1:1': 5, '1024:1:1': 6}
    assert capacity.hosts_for(free, 1024, 1, 1) == (6, 6)


@pytest.mark.parametrize(('value', 'step'), [(-1, 0), (0, 0), (1, 1), (3, 2), (4, 4), (1023, 512)])
def test_a_step_is_a_power_of_two(value, step):
    assert capacity.step(value) == step


def test_ten_thousand_hosts_are_counted_in_well_under_a_second():
    nodes = [node('h%d' % number, free_ram_mb=1000 + number) for number in range(10_000)]
    sizes = [(512 * number, 1024 * number) for number in range(1, 31)]
    begun = time.process_time()
    found = capacity.count(nodes, sizes, 10.0)
    assert time.process_time() - begun < 1.0
    assert len(found['free']) <= 20


# -- adding up --

TREES = st.recursive(
    st.integers(-1000, 1000),
    lambda inner: st.dictionaries(st.sampled_from('abc'), inner, max_size=3),
    max_leaves=6,
)
CAPACITIES = st.dictionaries(st.sampled_from('abcd'), TREES, max_size=4)


@given(CAPACITIES, CAPACITIES, CAPACITIES)
def test_the_order_of_adding_does_not_matter(one, two, three):
    all_at_once = capacity.merge([one, two, three])
    assert capacity.merge([three, one, two]) == all_at_once
    assert capacity.merge([capacity.merge([one, two]), three]) == all_at_once


def test_numbers_are_added_by_key_at_any_depth():
    one = {'ram_free': {'total_mb': 5, 'units_by_mb': {'512': 1}}}
    two = {'ram_free': {'total_mb': 7, 'units_by_mb': {'512': 2, '1024': 3}}, 'free': {'1:1:1': 4}}
    assert capacity.merge([one, two, {}]) == {
        'ram_free': {'total_mb': 12, 'units_by_mb': {'512': 3, '1024': 3}},
        'free': {'1:1:1': 4},
    }
    assert one['ram_free']['units_by_mb'] == {'512': 1}


def test_what_is_no_number_is_left_out():
    rubbish = {'a': 'x', 'b': None, 'c': [1], 'd': True, 'e': float('nan'), 'f': 1.5}
    assert capacity.merge([rubbish, {'a': 1}]) == {'a': 1, 'f': 1.5}


def test_what_is_nested_without_an_end_is_cut_off():
    deep = {}
    for _ in range(5000):
        deep = {'x': deep}
    assert capacity.merge([deep, {'ok': 1}])['ok'] == 1
