"""What orders for instances are called, against the table of the contract."""

import json
import pathlib

import pytest

from cells import operations, orders

TABLE = json.loads(
    (pathlib.Path(__file__).parents[1] / 'contract' / 'compute_api.json').read_text()
)
RULES = TABLE['common_rules']
#: Not recorded by nova of that time; a failure of them has to be called something.
OURS = {'createBackup', 'createImage', 'injectNetworkInfo', 'resetNetwork'}


def named():
    for name in (*operations.INSTANCE_ACTIONS, 'stop_instance', 'build_instances'):
        yield name, {}
    for name, row in TABLE['actions'].items():
        if row['reached_by'].startswith('run_compute_api_method'):
            yield 'run_compute_api_method', {'method_info': {'method': name}}


@pytest.mark.parametrize(('operation', 'kwargs'), named())
def test_t5_every_order_has_a_name_and_states_of_the_contract(operation, kwargs):
    found = orders.by_name(operation, kwargs)
    assert found is not None
    assert found.event.startswith('compute_')
    assert found.task_states <= set(RULES['task_states'])
    if 'method_info' not in kwargs:
        assert found.action in set(RULES['instance_actions']) | OURS


def shown():
    for name, row in TABLE['actions'].items():
        way = row['reached_by'].partition(' ')[0]
        if way in operations.OPERATIONS and row['task_state_set'] is not None:
            yield name, way, row


@pytest.mark.parametrize(('name', 'way', 'row'), shown(), ids=lambda value: str(value)[:30])
def test_t5_the_task_state_that_an_api_service_shows_is_known(name, way, row):
    """So that it can be taken off when the order comes to nothing."""
    found = orders.by_name(way, {'method_info': {'method': name}})
    assert row['task_state_set'] in found.task_states
    if row['instance_action'] is not None:
        assert found.action == row['instance_action']


@pytest.mark.parametrize('name', sorted(orders.DELETIONS))
def test_what_deletes_has_no_age(name):
    assert not orders.by_name(name, {}).ages


@pytest.mark.parametrize(
    'info',
    [None, {}, {'method': 7}, {'method': ''}, {'method': 'a b'}, {'method': 'x' * 200}, 'text'],
)
def test_what_is_no_order_has_no_name(info):
    assert orders.by_name('run_compute_api_method', {'method_info': info}) is None


@pytest.mark.parametrize(
    'name', ['sync_instances', 'instance_update_at_top', 'service_update', 'x']
)
def test_other_operations_are_no_orders(name):
    assert orders.by_name(name, {}) is None
