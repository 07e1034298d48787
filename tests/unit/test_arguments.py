import pytest
from hypothesis import given
from hypothesis import strategies as st

from cells import arguments, exceptions
from tests.unit import builders

ANYTHING = builders.JSON | st.text() | st.binary() | st.tuples(st.integers())


@pytest.mark.parametrize(
    ('check', 'value'),
    [
        (arguments.text, 'x'),
        (arguments.text, 'aé漢😀'),
        (arguments.text, 'x' * 255),
        (arguments.number, 0),
        (arguments.number, 2**63 - 1),
        (arguments.port, 5900),
        (arguments.port, '5900'),
        (arguments.port, 65535),
        (arguments.mapping, {}),
        (arguments.mapping, {'a': [1]}),
        (arguments.boolean, False),
        (arguments.secret, ''),
        (arguments.secret, None),
        (arguments.secret, 'x' * 4096),
        (arguments.sequence, [1]),
    ],
)
def test_what_fits_comes_back_as_it_is(check, value):
    assert check('it', value) == value


@pytest.mark.parametrize(
    ('check', 'value', 'text'),
    [
        (arguments.text, None, 'it is None, not a text'),
        (arguments.text, b'x', "it is b'x', not a text"),
        (arguments.text, '', "it is '', not a text that is not empty"),
        (arguments.text, 'x' * 256, 'at most 255'),
        (arguments.text, 'a\0', 'that can be stored'),
        (arguments.text, 'a\udfff', 'that can be stored'),
        (arguments.number, '5', "it is '5', not a whole number"),
        (arguments.number, True, 'it is True'),
        (arguments.number, 1.0, 'it is 1.0'),
        (arguments.number, -1, 'it is -1'),
        (arguments.number, 2**63, 'it is 9223372036854775808'),
        (arguments.port, 0, 'it is 0'),
        (arguments.port, '65536', 'it is 65536'),
        (arguments.port, '٣', "it is '٣'"),
        (arguments.mapping, [], 'it is [], not an object'),
        (arguments.mapping, {1: 2}, 'it is {1: 2}, not an object'),
        (arguments.boolean, 1, 'it is 1, not true or false'),
        (arguments.boolean, None, 'it is None, not true or false'),
        (arguments.sequence, 'ab', "it is 'ab', not a list"),
        (arguments.sequence, {'a': 1}, 'not a list'),
    ],
)
def test_what_does_not_fit_is_named_and_shown(check, value, text):
    with pytest.raises(exceptions.Invalid) as caught:
        check('it', value)
    assert text in str(caught.value)
    assert caught.value.code == 400


def test_a_word_is_one_of_those_that_are_named():
    assert arguments.word('it', 'b', ('a', 'b')) == 'b'
    for value in ('c', None, 5, ['a'], ''):
        with pytest.raises(exceptions.Invalid, match='not one of a, b'):
            arguments.word('it', value, ('a', 'b'))


@pytest.mark.parametrize('value', [b'geheim', ['geheim'], 'geheim\0', 'geheim' * 1000])
def test_x4_a_secret_that_does_not_fit_is_named_and_not_shown(value):
    with pytest.raises(exceptions.Invalid) as caught:
        arguments.secret('it', value)
    assert str(caught.value).count('it is not a text of at most 4096 characters') == 1
    assert 'geheim' not in str(caught.value)


def test_an_empty_text_and_a_longer_one_do_where_they_may():
    assert arguments.text('it', '', empty=True) == ''
    assert arguments.text('it', 'x' * 300, longest=300) == 'x' * 300


@pytest.mark.parametrize(
    'check', [arguments.text, arguments.number, arguments.port, arguments.mapping]
)
@given(value=ANYTHING)
def test_rubbish_is_taken_or_refused_with_an_error_that_can_be_sent(check, value):
    shown = ''
    try:
        assert check('it', value) == value
    except exceptions.Invalid as error:
        shown = str(error)
    assert len(shown.encode()) < 2000
