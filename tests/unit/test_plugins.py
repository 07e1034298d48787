import pytest
from oslo_config import cfg

from cells import conf as cells_conf
from cells import exceptions, filters, plugins, weights
from cells.filters import base as filters_base
from cells.filters import capacity, different_cell, image_properties, target_cell
from cells.weights import base as weights_base
from cells.weights import mute_child, ram_by_instance_type, weight_offset

FILTERS = [
    target_cell.TargetCellFilter,
    image_properties.ImagePropertiesFilter,
    different_cell.DifferentCellFilter,
    capacity.CapacityFilter,
]
WEIGHERS = [
    mute_child.MuteChildWeigher,
    ram_by_instance_type.RamByInstanceTypeWeigher,
    weight_offset.WeightOffsetWeigher,
]


class MyFilter(filters_base.CellFilter):
    def refusal(self, request, cell, load):
        return None


def options(**values):
    conf = cfg.ConfigOpts()
    cells_conf.register_opts(conf)
    conf([], default_config_files=[])
    for name, value in values.items():
        conf.set_override(name, value, group='cells')
    return conf.cells


def find_filters(*names):
    return plugins.find(
        'scheduler_filter_classes',
        names,
        namespace=filters.NAMESPACE,
        base=filters_base.CellFilter,
        others=filters.NOVA_NAMES,
    )


def find_weighers(*names):
    return plugins.find(
        'scheduler_weight_classes',
        names,
        namespace=weights.NAMESPACE,
        base=weights_base.CellWeigher,
        others=weights.NOVA_NAMES,
    )


@pytest.mark.parametrize(
    ('names', 'classes'),
    [
        (['nova.cells.filters.all_filters'], FILTERS),
        (['capacity', 'target_cell'], [FILTERS[3], FILTERS[0]]),
        (['nova.cells.filters.target_cell.TargetCellFilter'], [FILTERS[0]]),
        (['nova.cells.filters.image_properties.ImagePropertiesFilter'], [FILTERS[1]]),
        (['nova.cells.filters.different_cell.DifferentCellFilter'], [FILTERS[2]]),
        (['capacity', 'nova.cells.filters.all_filters'], [FILTERS[3], *FILTERS[:3]]),
        (['tests.unit.test_plugins.MyFilter', 'capacity'], [MyFilter, FILTERS[3]]),
        ([], []),
    ],
)
def test_filters_are_loaded_by_any_of_their_names_in_the_order_given(names, classes):
    assert [one.__name__ for one in find_filters(*names)] == [one.__name__ for one in classes]


@pytest.mark.parametrize(
    ('names', 'classes'),
    [
        (['nova.cells.weights.all_weighers'], WEIGHERS),
        (['weight_offset', 'mute_child'], [WEIGHERS[2], WEIGHERS[0]]),
        (['nova.cells.weights.mute_child.MuteChildWeigher'], [WEIGHERS[0]]),
        (
            ['nova.cells.weights.ram_by_instance_type.RamByInstanceTypeWeigher'],
            [WEIGHERS[1]],
        ),
        (['nova.cells.weights.weight_offset.WeightOffsetWeigher'], [WEIGHERS[2]]),
    ],
)
def test_weighers_are_loaded_by_any_of_their_names_in_the_order_given(names, classes):
    assert find_weighers(*names) == classes


@pytest.mark.parametrize(
    'name',
    [
        'capacitance',
        'nova.cells.filters.nothing.NothingFilter',
        'no.such.module.Filter',
        'cells.filters.capacity.NoSuchFilter',
        'cells.candidates.Cell',
        'mute_child',
        '.',
    ],
)
def test_a_name_that_stands_for_nothing_stops_the_start(name):
    with pytest.raises(exceptions.ConfigurationError) as caught:
        find_filters('capacity', name)
    text = str(caught.value)
    assert 'scheduler_filter_classes' in text
    assert name in text


def test_the_error_says_what_there_is():
    with pytest.raises(exceptions.ConfigurationError) as caught:
        find_filters('capacitance')
    for name in (*filters.SHIPPED, 'nova.cells.filters.all_filters'):
        assert name in str(caught.value)


def test_what_is_shipped_is_in_the_entry_points():
    assert len(find_filters(*filters.SHIPPED)) == len(filters.SHIPPED) == 4
    assert len(find_weighers(*weights.SHIPPED)) == len(weights.SHIPPED) == 3


def test_multipliers_come_from_the_options_that_weighers_name():
    made = plugins.load_scheduler(options(ram_weight_multiplier=-3.5))
    multipliers = {type(one).__name__: one.multiplier for one in made.weighers}
    assert multipliers == {
        'MuteChildWeigher': -10000.0,
        'RamByInstanceTypeWeigher': -3.5,
        'WeightOffsetWeigher': 1.0,
    }


def test_the_defaults_of_nova_are_all_there_is():
    made = plugins.load_scheduler(options())
    assert [type(one) for one in made.filters] == FILTERS
    assert [type(one) for one in made.weighers] == WEIGHERS
