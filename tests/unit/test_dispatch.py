import concurrent.futures
import contextlib
import json
import logging
import threading
import time

import pytest
import sqlalchemy as sa

from cells import dispatch, exceptions, operations
from cells.db import engine, migration, models
from cells.db import journal as db_journal
from cells.messages import new_uuid
from cells.objects import service
from cells.operations import OPERATIONS, Direction, Kind, Operation
from cells.stats import Stats
from tests.unit.builders import broadcast, targeted

T = frozenset({Kind.TARGETED})
ROWS = (
    Operation('read', T, Direction.DOWN, replies=True),
    Operation('read_up', T, Direction.UP, replies=True),
    Operation('change', T, Direction.DOWN, replies=True, changes=True),
    Operation('outside', T, Direction.DOWN, replies=True, changes=True, external=True),
    Operation('notice', T, Direction.UP, notice=True),
)


@pytest.fixture(autouse=True)
def _table(monkeypatch):
    """A table of operations with one of each form."""
    for name in list(OPERATIONS):
        monkeypatch.delitem(OPERATIONS, name)
    for row in ROWS:
        monkeypatch.setitem(OPERATIONS, row.name, row)
    monkeypatch.setattr(operations, 'CONSUMED', frozenset())


@pytest.fixture
def database(tmp_path):
    made = engine.Database('sqlite:///%s' % (tmp_path / 'cells.sqlite'))
    migration.sync(made)
    yield made
    made.dispose()


class Handlers:
    """One handler of each form; what they were called with is in ``calls``."""

    def __init__(self) -> None:
        self.calls = []
        self.result = {'done': True}
        self.error = None
        self.wait = 0.0

    def _called(self, *call):
        self.calls.append(call)
        time.sleep(self.wait)
        if self.error is not None:
            raise self.error
        return self.result

    def read(self, ctxt, a=None):
        return self._called('read', ctxt, a)

    def read_up(self, ctxt, a=None):
        return self._called('read_up', ctxt, a)

    def change(self, connection, message, a=None):
        connection.execute(
            sa.insert(models.Cell).values(name='of-' + message.uuid, transport_url='fake://x')
        )
        return self._called('change', message, a)

    def outside(self, ctxt, message, a=None):
        return self._called('outside', ctxt, message, a)

    def notice(self, ctxt, message, a=None):
        return self._called('notice', ctxt, message, a)

    def by_name(self):
        return {row.name: getattr(self, row.name) for row in ROWS}


@pytest.fixture
def handlers():
    return Handlers()


@pytest.fixture
def stats():
    return Stats()


@pytest.fixture
def dispatcher(handlers, database, stats):
    return dispatch.Dispatcher(
        handlers=handlers.by_name(),
        database=database,
        own_name='mid',
        object_release='liberty',
        stats=stats,
    )


def asked(operation, direction='down', **values):
    source = 'api' if direction == 'down' else 'leaf'
    values = {'uuid': new_uuid(), 'need_response': True, **values}
    return targeted(
        '%s!mid' % source, '%s!mid' % source, direction, method_name=operation, **values
    )


def made_cells(database):
    with database.read() as connection:
        return [row[0] for row in connection.execute(sa.select(models.Cell.name))]


def orders(database):
    with database.read() as connection:
        query = sa.select(models.Inbox.uuid, models.Inbox.state)
        return {row[0]: row[1] for row in connection.execute(query)}


# -- the table and the handlers --


def test_handlers_that_fit_the_table_are_taken(handlers):
    dispatch.check_handlers(handlers.by_name())


@pytest.mark.parametrize('change', [{'more': len}, {'read': None}])
def test_handlers_that_do_not_fit_the_table_are_refused_by_name(handlers, change):
    found = {**handlers.by_name(), **change}
    found = {name: one for name, one in found.items() if one is not None}
    with pytest.raises(LookupError, match=next(iter(change))):
        dispatch.check_handlers(found)


# -- the four forms --


def test_a_read_is_called_with_context_and_arguments(dispatcher, handlers):
    found = dispatcher.answer(
        asked('read', method_kwargs={'a': [1, 'ä']}, ctxt={'user_id': 'u', 'request_id': 'req-1'})
    )
    assert (found.cell_name, found.value, found.failure) == ('api!mid', {'done': True}, None)
    [(_, ctxt, a)] = handlers.calls
    assert (ctxt.user_id, ctxt.request_id, a) == ('u', 'req-1', [1, 'ä'])


def test_a_change_is_called_in_the_transaction_that_notes_it(dispatcher, handlers, database):
    message = asked('change', method_kwargs={'a': 1})
    assert dispatcher.answer(message).value == {'done': True}
    assert handlers.calls == [('change', message, 1)]
    assert made_cells(database) == ['of-' + message.uuid]
    assert orders(database) == {message.uuid: 'done'}


def test_a_change_that_is_journaled_is_called_in_the_transaction_of_the_journal(
    dispatcher, handlers, database
):
    message = asked('change', need_response=False)
    with contextlib.suppress(ZeroDivisionError), database.write() as connection:
        dispatcher.change(connection, message)
        raise ZeroDivisionError
    assert len(handlers.calls) == 1
    assert made_cells(database) == []


def test_what_acts_outside_is_called_outside_of_the_transaction(dispatcher, handlers, database):
    message = asked('outside', method_kwargs={'a': 1}, need_response=False)
    with database.write() as connection:
        assert dispatcher.change(connection, message) is None
    assert handlers.calls == []
    dispatcher.reach_out(message)
    [(_, ctxt, called_with, a)] = handlers.calls
    assert (called_with, a, ctxt.request_id) == (message, 1, 'req-1')


def test_a_notice_is_called_and_what_goes_wrong_with_it_is_logged(
    dispatcher, handlers, caplog, stats
):
    message = asked('notice', 'up', need_response=False, method_kwargs={'a': 1})
    dispatcher.notice(message)
    assert handlers.calls[0][2:] == (message, 1)
    handlers.error = exceptions.Invalid(reason='of this')
    dispatcher.notice(message)
    assert stats.get('messages_refused', reason='Invalid') == 1
    assert 'Refused notice, which came by leaf!mid' in caplog.text
    assert 'Traceback' not in caplog.text
    handlers.error = ZeroDivisionError()
    dispatcher.notice(message)
    assert stats.get('handlers_failed', operation='notice') == 1
    assert 'Traceback' in caplog.text


def test_objects_come_as_objects_and_leave_as_envelopes(dispatcher, handlers):
    made = service.Service(host='h', binary='nova-compute')
    handlers.result = [made]
    found = dispatcher.answer(asked('read'))
    assert found.value[0]['nova_object.name'] == 'Service'
    dispatcher.answer(asked('read', method_kwargs={'a': found.value}))
    [again] = handlers.calls[1][2]
    assert isinstance(again, service.Service)
    assert again.host == 'h'


@pytest.mark.parametrize('operation', ['read', 'change', 'outside'])
@pytest.mark.parametrize(
    'kwargs', [{'b': 1}, {'ctxt': 1}, {'message': 1}, {'connection': 1}, {'self': 1}, {'': 1}]
)
def test_arguments_that_do_not_fit_are_the_askers_error(
    dispatcher, handlers, database, operation, kwargs, caplog
):
    found = dispatcher.answer(asked(operation, method_kwargs=kwargs))
    assert (found.failure.name, found.failure.module) == ('Invalid', 'nova.exception')
    assert operation in found.failure.message
    assert handlers.calls == []
    assert 'Traceback' not in caplog.text
    assert 'begun' not in orders(database).values(), 'it can come again'


def test_an_object_that_is_none_is_the_askers_error_and_takes_nothing_down(dispatcher, handlers):
    rubbish = {
        'nova_object.name': 'NoSuch',
        'nova_object.namespace': 'nova',
        'nova_object.version': '1.0',
        'nova_object.data': {},
    }
    found = dispatcher.answer(asked('read', method_kwargs={'a': rubbish}))
    assert found.failure is not None
    assert handlers.calls == []


def test_an_error_of_the_contract_crosses_and_is_not_logged_as_a_failure(
    dispatcher, handlers, caplog, stats
):
    handlers.error = exceptions.CellNotFound(cell_name='x')
    found = dispatcher.answer(asked('read'))
    assert (found.failure.name, found.failure.kwargs['cell_name']) == ('CellNotFound', 'x')
    assert 'Traceback' not in caplog.text
    assert stats.get('handlers_failed', operation='read') == 0


def test_any_other_error_is_logged_with_the_request_and_crosses_without_a_traceback(
    dispatcher, handlers, caplog, stats
):
    handlers.error = ZeroDivisionError('oh')
    found = dispatcher.answer(asked('read'))
    assert (found.failure.name, found.failure.message) == ('ZeroDivisionError', 'oh')
    assert 'Traceback' not in repr(found)
    assert 'request req-1' in caplog.text
    assert stats.get('handlers_failed', operation='read') == 1


def test_t9_a_result_that_cannot_cross_is_an_error_and_no_answer(dispatcher, handlers, database):
    handlers.result = {'a': object()}
    for operation in ('change', 'outside'):
        assert dispatcher.answer(asked(operation)).failure.name == 'TypeError'
    assert made_cells(database) == [], 'a change whose answer cannot be kept is not done'


# -- who is believed --


@pytest.mark.parametrize('roles', [['admin'], 'admin', None])
def test_x2_what_a_child_says_of_administrators_is_ignored(dispatcher, handlers, roles):
    ctxt = {'user_id': 'u', 'is_admin': True, 'roles': roles, 'request_id': 'req-1'}
    dispatcher.answer(asked('read_up', 'up', ctxt=ctxt))
    dispatcher.notice(asked('notice', 'up', ctxt=ctxt))
    for call in handlers.calls:
        assert call[1].is_admin is False
        assert call[1].roles == []
        assert call[1].user_id == 'u'
        assert call[1].to_dict()['is_admin'] is False
        assert call[1].to_dict()['roles'] == []


def test_x2_what_a_parent_says_of_administrators_holds(dispatcher, handlers):
    dispatcher.answer(asked('read', ctxt={'is_admin': True, 'roles': ['admin']}))
    assert handlers.calls[0][1].is_admin is True
    assert handlers.calls[0][1].roles == ['admin']


def test_x2_what_this_cell_asks_above_by_itself_keeps_its_rights():
    message = broadcast('mid', 'up', ctxt={'is_admin': True})
    assert dispatch.context_of(message).is_admin is True


# -- once --


@pytest.mark.parametrize('operation', ['change', 'outside'])
@pytest.mark.parametrize('result', [{'done': True}, None, [], 0, False, '', 'ä'])
def test_r3_a_second_copy_of_an_order_gets_the_same_answer(
    dispatcher, handlers, stats, operation, result
):
    handlers.result = result
    message = asked(operation)
    first = dispatcher.answer(message)
    handlers.result = 'another'
    assert dispatcher.answer(message) == first
    assert first.value == result
    assert len(handlers.calls) == 1
    assert stats.get('orders_twice') == 1


@pytest.mark.parametrize('operation', ['change', 'outside'])
def test_r3_copies_that_come_at_the_same_moment_are_carried_out_once(
    dispatcher, handlers, database, operation
):
    handlers.wait = 0.2
    message, barrier = asked(operation), threading.Barrier(4)

    def run(_):
        barrier.wait(5)
        return dispatcher.answer(message)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(run, range(4)))
    assert len(handlers.calls) == 1
    assert [one.value for one in found] == [{'done': True}] * 4
    assert orders(database) == {message.uuid: 'done'}


def test_r3_two_orders_are_two(dispatcher, handlers):
    for _ in range(2):
        dispatcher.answer(asked('change'))
    assert len(handlers.calls) == 2


@pytest.mark.parametrize('operation', ['change', 'outside'])
def test_r3_an_order_that_failed_can_be_tried_again(dispatcher, handlers, database, operation):
    message = asked(operation)
    handlers.error = exceptions.Invalid(reason='not now')
    assert dispatcher.answer(message).failure.name == 'Invalid'
    assert orders(database) == {}
    assert made_cells(database) == []
    handlers.error = None
    assert dispatcher.answer(message).value == {'done': True}
    assert len(handlers.calls) == 2


@pytest.mark.parametrize('operation', ['change', 'outside'])
def test_r3_a_copy_whose_first_fails_meanwhile_is_carried_out_or_told_so(
    dispatcher, handlers, operation, monkeypatch
):
    monkeypatch.setattr(dispatch, 'COPY_SECONDS', 0.5)
    handlers.wait = 0.2
    handlers.error = exceptions.Invalid(reason='not now')
    message = asked(operation)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(dispatcher.answer, message)
        time.sleep(0.1)
        second = pool.submit(dispatcher.answer, message)
        names = {first.result(30).failure.name, second.result(30).failure.name}
    assert 'Invalid' in names
    assert names <= {'Invalid', 'CellTimeout'}


def test_r3_a_copy_of_an_order_that_never_ends_is_told_so_in_time(
    dispatcher, handlers, database, monkeypatch
):
    monkeypatch.setattr(dispatch, 'COPY_SECONDS', 0.2)
    message = asked('outside')
    with database.write() as connection:
        db_journal.order_begin(connection, message.uuid, 'outside')
    begun = time.monotonic()
    found = dispatcher.answer(message)
    assert time.monotonic() - begun < 8
    assert found.failure.name == 'CellTimeout'
    assert 'api!mid' in found.failure.message
    assert handlers.calls == []


def test_a_kept_answer_is_json_and_holds_objects(dispatcher, handlers, database):
    handlers.result = service.Service(host='h', binary='nova-compute')
    message = asked('change')
    first = dispatcher.answer(message)
    assert dispatcher.answer(message) == first
    with database.read() as connection:
        assert json.loads(db_journal.order_result(connection, message.uuid)) == first.value


# -- a database that is away --


@pytest.mark.parametrize('operation', ['read', 'change', 'outside'])
def test_a_database_that_is_away_is_told_by_name_and_logged_once(
    dispatcher, handlers, caplog, operation
):
    caplog.set_level(logging.INFO)
    handlers.error = sa.exc.TimeoutError('no connection')
    for _ in range(3):
        found = dispatcher.answer(asked(operation))
        assert found.failure.name == 'DatabaseUnavailable'
        assert found.failure.kwargs['cell_name'] == 'mid'
    assert caplog.text.count('does not answer questions') == 1
    handlers.error = None
    assert dispatcher.answer(asked(operation)).failure is None
    assert caplog.text.count('answers questions again') == 1


def test_a_statement_that_is_wrong_is_no_database_that_is_away(dispatcher, handlers, caplog):
    handlers.error = sa.exc.ProgrammingError('SELECT', {}, Exception('no such table'))
    found = dispatcher.answer(asked('read'))
    assert found.failure.name != 'DatabaseUnavailable'
    assert 'Traceback' in caplog.text
