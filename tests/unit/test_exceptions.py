import inspect
import re

import pytest

from cells import exceptions, remote_errors


def classes_below(root):
    return [
        cls
        for module in (exceptions, remote_errors)
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, root) and cls is not root
    ]


def words_of(cls):
    """Return a value for each word that the message of a class is made of."""
    return {word: '<%s>' % word for word in re.findall(r'%\((\w+)\)', cls.msg_fmt)}


ALL = pytest.mark.parametrize('cls', classes_below(exceptions.CellsError))
ON_THE_WIRE = pytest.mark.parametrize('cls', classes_below(exceptions.WireError))


@ALL
def test_every_message_is_filled_with_its_arguments(cls):
    words = words_of(cls)
    text = str(cls(**words))
    assert text
    assert all(value in text for value in words.values())


@ALL
def test_every_error_keeps_its_arguments_and_its_code(cls):
    words = words_of(cls)
    assert cls(**words).kwargs == {**words, 'code': cls.code}
    assert cls('text', **{**words, 'code': 418}).kwargs['code'] == 418


@ALL
def test_a_text_of_ones_own_takes_the_place_of_the_message(cls):
    assert str(cls('50 % of it')) == '50 % of it'


@ON_THE_WIRE
def test_what_crosses_a_bus_claims_to_live_where_nova_looks_for_it(cls):
    assert cls.__module__ == 'nova.exception'


@pytest.mark.parametrize('cls', classes_below(exceptions.CellsError))
def test_what_does_not_cross_lives_here(cls):
    assert (cls.__module__ == 'nova.exception') == (
        issubclass(cls, exceptions.WireError) and cls is not exceptions.WireError
    )


def test_a_message_without_its_arguments_is_a_fault():
    with pytest.raises(KeyError):
        exceptions.CellNotFound()


@pytest.mark.parametrize(
    ('cls', 'code'),
    [
        (exceptions.CellRoutingInconsistency, 500),
        (exceptions.CellMaxHopCountReached, 500),
        (exceptions.CellTimeout, 404),
        (exceptions.CellServiceAPIMethodNotFound, 404),
        (exceptions.CellExists, 500),
        (exceptions.Invalid, 400),
    ],
)
def test_the_codes_are_those_of_nova(cls, code):
    assert cls.code == code


def test_families_can_be_caught_together():
    with pytest.raises(exceptions.NotFound):
        raise exceptions.CellTimeout(cell_name='api!leaf')
    with pytest.raises(exceptions.ConfigurationError):
        raise exceptions.SchemaError(found='none', wanted='0001')
