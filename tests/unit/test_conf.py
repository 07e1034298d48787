import pathlib
import re

import pytest
from oslo_config import cfg

import cells
from cells import conf as cells_conf

#: The options of [cells] that nova had and we have, with nova's defaults.
NOVA_DEFAULTS = {
    'call_timeout': 60,
    'capabilities': ['hypervisor=xenserver;kvm', 'os=linux;windows'],
    'cell_type': 'compute',
    'cells_config': None,
    'db_check_interval': 60,
    'driver': 'nova.cells.rpc_driver.CellsRPCDriver',
    'enable': False,
    'instance_update_num_instances': 1,
    'instance_update_sync_database_limit': 100,
    'instance_updated_at_threshold': 3600,
    'max_hop_count': 10,
    'mute_child_interval': 300,
    'mute_weight_multiplier': -10000.0,
    'name': 'nova',
    'offset_weight_multiplier': 1.0,
    'ram_weight_multiplier': 10.0,
    'reserve_percent': 10.0,
    'rpc_driver_queue_base': 'cells.intercell',
    'scheduler_filter_classes': ['nova.cells.filters.all_filters'],
    'scheduler_retries': 10,
    'scheduler_retry_delay': 2,
    'scheduler_weight_classes': ['nova.cells.weights.all_weighers'],
    'topic': 'cells',
}

#: Where ours is another one, and why.
ON_PURPOSE = {
    # nothing is advertised that was not configured (C15)
    'capabilities': [],
    # the short name of the same driver; nova's path is still understood
    'driver': 'rpc',
    # nova repairs 60 instances in an hour, and never what has not changed of late (S20)
    'instance_update_num_instances': 60,
    'instance_update_sync_database_limit': 200,
    'instance_updated_at_threshold': 0,
}

#: Names of later options in [cells] of nova; when one comes, it must come with nova's default.
NOT_YET = {
    'bandwidth_update_interval',
    'manager',
    'scheduler',
}


def listed():
    return [(group, opt) for group, opts in cells_conf.list_opts() for opt in opts]


def names(conf):
    """Return all options that a configuration knows, as (group, option)."""
    conf([], default_config_files=[], default_config_dirs=[])
    found = set()
    for name in conf:
        if isinstance(conf[name], cfg.ConfigOpts.GroupAttr):
            found |= {(name, inner) for inner in conf[name]}
        else:
            found.add(('DEFAULT', name))
    return found


@pytest.fixture
def conf():
    made = cfg.ConfigOpts()
    cells_conf.register_opts(made)
    return made


@pytest.mark.parametrize(
    ('group', 'opt'), listed(), ids=lambda value: getattr(value, 'name', value)
)
def test_every_option_says_what_it_is_for(group, opt):
    assert opt.help
    assert opt.help.rstrip().endswith('.')


def test_the_generator_sees_exactly_what_is_registered(conf):
    ours = names(conf) - names(cfg.ConfigOpts())
    assert ours == {(group, opt.dest) for group, opt in listed()}


def test_no_option_is_listed_twice():
    found = [(group, opt.dest) for group, opt in listed()]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize('name', NOVA_DEFAULTS)
def test_a_default_is_that_of_nova_unless_there_is_a_reason(conf, name):
    conf([], default_config_files=[])
    assert conf.cells[name] == ON_PURPOSE.get(name, NOVA_DEFAULTS[name])


def test_c15_nothing_is_advertised_that_was_not_configured(conf):
    conf([], default_config_files=[])
    assert conf.cells.capabilities == []


def test_the_table_of_defaults_has_every_option_of_nova_that_is_there():
    ours = {opt.dest for group, opt in listed() if group == 'cells'}
    assert NOVA_DEFAULTS.keys() == ours & (NOVA_DEFAULTS.keys() | NOT_YET)


def test_clients_are_not_capped_by_default(conf):
    conf([], default_config_files=[])
    assert conf.upgrade_levels.cells is None
    assert conf.upgrade_levels.intercell is None


def test_the_database_url_holds_a_password_and_is_not_shown():
    assert {opt.dest for _, opt in listed() if opt.secret} == {'connection'}


@pytest.mark.parametrize(
    ('name', 'value'),
    [('cell_type', 'middle'), ('call_timeout', 0), ('max_hop_count', 0), ('queue_type', 'lazy')],
)
def test_a_value_without_a_meaning_is_refused(conf, name, value):
    conf([], default_config_files=[])
    with pytest.raises(ValueError, match='Should be|Valid values'):
        conf.set_override(name, value, group='cells')


def test_two_configurations_share_nothing():
    first, second = cfg.ConfigOpts(), cfg.ConfigOpts()
    for one in (first, second):
        cells_conf.register_opts(one)
        one([], default_config_files=[])
    first.set_override('name', 'api', group='cells')
    assert (first.cells.name, second.cells.name) == ('api', 'nova')


def test_registering_twice_is_harmless(conf):
    cells_conf.register_opts(conf)
    assert ('cells', 'name') in names(conf)


def test_d14_every_option_is_read_somewhere():
    source = {
        path: path.read_text()
        for path in pathlib.Path(cells.__file__).parent.rglob('*.py')
        if path.parent.name != 'conf'
    }
    unread = [
        '[%s] %s' % (group, option.dest)
        for group, options in cells_conf.list_opts()
        for option in options
        if not any(re.search(r'\b%s\b' % option.dest, text) for text in source.values())
    ]
    assert unread == []
