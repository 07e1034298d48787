"""Waiting for a database that is away, and not for one that refuses."""

import logging
import threading

import pytest
from oslo_db import exception as db_exc

from cells import patience


@pytest.fixture
def stopped():
    return threading.Event()


def test_what_a_database_that_is_away_does_not_do_is_tried_until_it_does(stopped, caplog):
    errors = [db_exc.DBConnectionError(RuntimeError('gone')), db_exc.DBDeadlock(), None]

    def do() -> None:
        error = errors.pop(0)
        if error is not None:
            raise error

    with caplog.at_level(logging.INFO):
        patience.Patience('The test', stopped).insist(do)
    assert errors == []
    away, back = [record.getMessage() for record in caplog.records]
    assert away.startswith('The test: the database does not answer, trying until it does')
    assert back == 'The test: the database answers again'


def test_a_database_that_refuses_is_not_asked_for_ever(stopped):
    asked = []

    def do() -> None:
        asked.append(1)
        raise db_exc.DBError(RuntimeError('permission denied'))

    with pytest.raises(db_exc.DBError, match='permission denied'):
        patience.Patience('The test', stopped).insist(do)
    assert len(asked) == 1


def test_the_end_is_not_waited_for(stopped):
    stopped.set()

    def do() -> None:
        raise db_exc.DBConnectionError(RuntimeError('gone'))

    with pytest.raises(db_exc.DBConnectionError):
        patience.Patience('The test', stopped).insist(do)
