"""A worker that starts while its database comes and goes: it waits, whatever it was about to do."""

import itertools
import logging
import threading

import pytest
import sqlalchemy as sa
from oslo_db import exception as db_exc

from cells import context
from tests import fake_cells

CTXT = context.RequestContext('u', 'p', is_admin=True)


class Fault:
    """Takes the database away before one statement of this thread, twice.

    :ivar statements: what this thread asked so far.
    """

    def __init__(self, engine: sa.Engine, number: int | None) -> None:
        self._engine = engine
        self._thread = threading.get_ident()
        self._left = 2
        self._number = number
        self.statements: list[str] = []
        sa.event.listen(engine, 'before_cursor_execute', self._look)

    @property
    def done(self) -> bool:
        return self._left < 2

    def end(self) -> None:
        sa.event.remove(self._engine, 'before_cursor_execute', self._look)

    def _look(self, connection, cursor, statement, *args) -> None:
        if threading.get_ident() != self._thread:
            return
        self.statements.append(statement)
        if self._number is not None and len(self.statements) >= self._number and self._left:
            self._left -= 1
            raise db_exc.DBConnectionError(RuntimeError('gone away, %d left' % self._left))


@pytest.fixture
def start(workdir):
    """Return what starts a cell with a fault, asks it something, and stops it."""
    fake_cells.build(workdir, 'api', {'child': False}).database.dispose()

    def run(number: int | None) -> Fault:
        one = fake_cells.build_again(workdir, 'api', cell_type='api')
        fault = Fault(one.database.engine, number)
        try:
            try:
                one.start()
            finally:
                fault.end()
            assert [row['name'] for row in fake_cells.api(one).get_cell_info_for_neighbors(CTXT)]
        finally:
            one.stop()
        return fault

    return run


def test_a_worker_starts_whatever_statement_finds_the_database_gone(start, caplog):
    start(None)  # which writes what is only written once
    for number in itertools.count(1):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            fault = start(number)
        if not fault.done:
            break
        said = [record.getMessage() for record in caplog.records]
        assert [text for text in said if 'gone away' in text], fault.statements[number - 1]
        assert not [record for record in caplog.records if record.exc_info]
    assert number > 5


def test_o9_each_new_reason_why_a_worker_does_not_start_is_said_once(start, caplog):
    with caplog.at_level(logging.INFO):
        assert start(1).done
    said = [record.getMessage() for record in caplog.records]
    begins = 'The start of cell api: the database does not answer, trying until it does: '
    assert [text for text in said if text.startswith(begins)] == [
        begins + 'gone away, 1 left',
        begins + 'gone away, 0 left',
    ]
    assert 'The start of cell api: the database answers again' in said
