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
    ],
)
def test_what_does_not_fit_is_named_and_shown(check, value, text):
    with pytest.raises(exceptions.Invalid) as caught:
        check('it', value)
    assert text in str(caught.value)
    assert caught.value.code == 400


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
