import inspect
import re

import hypothesis
import pytest

from cells import exceptions, remote_errors
from cells.messages import Failure
from tests.unit import builders

KNOWN = [
    cls
    for _, cls in inspect.getmembers(exceptions, inspect.isclass)
    if issubclass(cls, exceptions.WireError) and cls is not exceptions.WireError
]


@pytest.mark.parametrize('cls', KNOWN)
def test_an_error_of_the_contract_crosses_and_stays_what_it_was(cls):
    error = cls(**dict.fromkeys(re.findall(r'%\((\w+)\)', cls.msg_fmt), 'käse'))
    failure = remote_errors.failure_of(error)
    assert (failure.name, failure.module) == (cls.__name__, 'nova.exception')
    assert (failure.message, failure.args) == (str(error), (str(error),))
    rebuilt = remote_errors.exception_of(failure)
    assert type(rebuilt) is cls
    assert str(rebuilt) == str(error)
    assert rebuilt.kwargs == error.kwargs


@pytest.mark.parametrize(
    ('name', 'cls'),
    [
        ('ValueError', ValueError),
        ('TypeError', TypeError),
        ('CellTimeout_Remote', exceptions.CellTimeout),
        ('ValueError_Remote', ValueError),
    ],
)
def test_known_names_are_rebuilt(name, cls):
    error = remote_errors.rebuild(name, 'the text')
    assert type(error) is cls
    assert error.args == ('the text',)


@pytest.mark.parametrize(
    'name', ['InstanceLocked', 'SystemExit', 'KeyboardInterrupt', 'WireError', 'CellsError', '']
)
def test_a_name_that_is_not_in_the_table_is_not_looked_up_anywhere(name):
    error = remote_errors.rebuild(name, 'the text')
    assert type(error) is remote_errors.RemoteFailure
    assert str(error) == '%s in another cell: the text' % name


def test_an_error_that_is_not_of_the_contract_shows_class_and_text():
    failure = remote_errors.failure_of(RuntimeError('disk full', 28))
    assert (failure.name, failure.module) == ('RuntimeError', 'builtins')
    assert failure.message == "('disk full', 28)"
    assert failure.kwargs == {}


def test_an_error_that_crosses_twice_is_named_once():
    first = remote_errors.exception_of(Failure('DBError', 'oslo_db.exception', 'disk full'))
    failure = remote_errors.failure_of(first)
    assert str(remote_errors.exception_of(failure)) == 'DBError in another cell: disk full'


def test_x6_no_traceback_crosses():
    try:
        try:
            raise KeyError('inner')
        except KeyError as error:
            raise exceptions.CellNotFound(cell_name='leaf') from error
    except exceptions.CellNotFound as error:
        failure = remote_errors.failure_of(error)
    assert failure == Failure(
        'CellNotFound',
        'nova.exception',
        "Cell leaf doesn't exist.",
        ("Cell leaf doesn't exist.",),
        {'cell_name': 'leaf', 'code': 404},
    )


def test_x6_of_an_error_of_a_database_the_statement_does_not_cross():
    error = RuntimeError('no such column\n[SQL: SELECT secret FROM accounts]')
    failure = remote_errors.failure_of(error)
    assert failure == Failure('RuntimeError', 'builtins', 'no such column', ('no such column',))


@hypothesis.given(builders.TEXT, builders.TEXT, builders.JSON)
@hypothesis.example('CellNotFound', 'gone', {'message': 'other', 'cell_name': 'leaf'})
@hypothesis.example('CellNotFound', 'gone', {'self': 'other'})
@hypothesis.example('Invalid', '50 %', {'reason': None, 'code': 400})
@hypothesis.example('CellTimeout', '', [])
def test_whatever_a_record_holds_becomes_an_exception(name, text, kwargs):
    error = remote_errors.rebuild(name, text, kwargs)
    assert isinstance(error, Exception)
    assert text in str(error)


@pytest.mark.parametrize('name', ['NoSuchMethod', 'UnsupportedVersion'])
def test_v2_what_a_server_does_not_offer_is_an_error_of_its_own(name):
    text = 'Endpoint does not support RPC version 1.37. Attempted method: x'
    found = remote_errors.rebuild(name, text)
    assert isinstance(found, remote_errors.NotServed)
    assert isinstance(found, remote_errors.RemoteFailure)
    assert str(found).endswith(text)


@pytest.mark.parametrize(
    ('name', 'text', 'unknown'),
    [
        ('CellServiceAPIMethodNotFound', 'x_ping', True),
        ('AttributeError', "'_TargetedMessageMethods' object has no attribute 'x_ping'", True),
        ('AttributeError', "'NoneType' object has no attribute 'x_pings'", False),
        ('AttributeError', "'NoneType' object has no attribute 'host'", False),
        ('TypeError', "x_ping() got an unexpected keyword argument 'x_ping'", False),
        ('CellTimeout', 'x_ping', False),
    ],
)
def test_v2_that_an_operation_is_not_known_is_understood_from_ours_and_from_nova(
    name, text, unknown
):
    failure = Failure(name, 'nova.exception', text)
    assert remote_errors.is_unknown_operation(failure, 'x_ping') == unknown
