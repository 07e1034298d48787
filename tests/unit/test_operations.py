import inspect
import json
import pathlib

import pytest

from cells import handlers, operations
from cells.compute import hosts
from cells.db import engine
from cells.operations import OPERATIONS, Direction, Kind
from cells.stats import Stats

ROWS = pytest.mark.parametrize('row', OPERATIONS.values(), ids=lambda row: row.name)


def made():
    """Return all handlers by name."""
    return handlers.handlers(
        engine.Database('sqlite://'),
        None,
        hosts.HostClient(lambda: None, 'compute', timeout=1, waiting=1),
        stats=Stats(),
        order=lambda *args: None,
        summary=dict,
    )


@pytest.mark.parametrize(
    ('direction', 'opposite'), [(Direction.UP, Direction.DOWN), (Direction.DOWN, Direction.UP)]
)
def test_an_answer_takes_the_other_direction(direction, opposite):
    assert direction.opposite is opposite


@ROWS
def test_every_row_stands_under_its_own_name(row):
    assert OPERATIONS[row.name] is row


@ROWS
def test_an_operation_travels_as_a_question_or_an_order_and_never_as_an_answer(row):
    assert row.kinds
    assert Kind.RESPONSE not in row.kinds


@ROWS
def test_only_a_change_acts_outside_of_the_database(row):
    assert row.changes or not row.external


@ROWS
def test_only_a_broadcast_has_a_source_that_takes_part(row):
    assert Kind.BROADCAST in row.kinds or not row.runs_at_source


@ROWS
def test_what_plain_cells_do_not_know_shows_it_in_its_name(row):
    assert row.name.startswith('x_') == row.extension


def test_every_operation_is_carried_out_by_a_handler_or_the_runner():
    found = made()
    assert found.keys() | operations.CONSUMED == OPERATIONS.keys()
    assert not found.keys() & operations.CONSUMED


@ROWS
def test_a_cell_without_extensions_knows_what_a_nova_cells_knows(row):
    assert operations.find(row.name) is row
    assert operations.find(row.name, extensions=False) is (None if row.extension else row)
    assert operations.find('nosuch') is operations.find('nosuch', extensions=False) is None


# -- the contract between cells --

CONTRACT = json.loads(
    (pathlib.Path(__file__).parents[1] / 'contract' / 'intercell.json').read_text('utf-8')
)
METHODS = {name: fact for name, fact in CONTRACT['methods'].items() if fact['type'] != 'response'}


@pytest.fixture(scope='module')
def signatures():
    return {name: inspect.signature(handler) for name, handler in made().items()}


def test_v5_the_table_has_every_operation_of_the_contract_and_no_other_but_ours():
    assert {row.name for row in OPERATIONS.values() if not row.extension} == METHODS.keys()


@pytest.mark.parametrize('name', METHODS)
def test_v5_an_operation_travels_as_the_contract_says(name):
    row, fact = OPERATIONS[name], METHODS[name]
    kinds = fact['type'] if isinstance(fact['type'], list) else [fact['type']]
    assert {kind.value for kind in row.kinds} == set(kinds)
    assert row.direction is not None
    assert row.direction.value == fact['direction']
    assert row.replies == (fact['need_response'] is not False)
    assert row.at_top == fact['only_at_top'] or name == 'get_keypair_at_top'
    assert (row.notice and row.direction is Direction.UP) == fact['fanout']
    if row.replies and Kind.BROADCAST in row.kinds and name != 'get_migrations':
        assert row.runs_at_source == (fact['run_locally_at_source'] is True)


@pytest.mark.parametrize('name', METHODS)
def test_v5_a_handler_takes_the_arguments_of_the_contract(name, signatures):
    row, given = OPERATIONS[name], dict.fromkeys(METHODS[name]['method_kwargs'])
    first = ['connection or context'] if not row.changes else ['connection', 'message']
    if row.notice or row.external:
        first = ['context', 'message']
    signatures[name].bind(*first, **given)
