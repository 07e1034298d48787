import pytest

from cells import handlers, operations
from cells.compute import hosts
from cells.db import engine
from cells.operations import OPERATIONS, Direction, Kind
from cells.stats import Stats

ROWS = pytest.mark.parametrize('row', OPERATIONS.values(), ids=lambda row: row.name)


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
    found = handlers.handlers(
        engine.Database('sqlite://'),
        None,
        hosts.HostClient(lambda: None, 'compute', timeout=1, waiting=1),
        stats=Stats(),
        order=lambda *args: None,
        summary=dict,
    )
    assert found.keys() | operations.CONSUMED == OPERATIONS.keys()
    assert not found.keys() & operations.CONSUMED
