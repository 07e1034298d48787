import datetime

import hypothesis
import pytest
from hypothesis import strategies as st

from cells import exceptions, times

NOON = datetime.datetime(2016, 3, 1, 12)
EAST = datetime.timezone(datetime.timedelta(hours=2))


@pytest.mark.parametrize(
    'value',
    [
        '2016-03-01T12:00:00Z',
        '2016-03-01T12:00:00',
        '2016-03-01 12:00:00',
        '2016-03-01 14:00:00+02:00',
        '2016-03-01T12:00:00.000000',
        NOON,
        NOON.replace(tzinfo=datetime.UTC),
        datetime.datetime(2016, 3, 1, 14, tzinfo=EAST),
    ],
)
def test_all_ways_to_write_a_time_mean_the_same(value):
    assert times.parse('updated_since', value) == NOON
    assert times.parse('updated_since', value).tzinfo is None


@hypothesis.given(st.datetimes(), st.sampled_from('T '))
def test_a_time_survives_being_written_and_read(moment, sign):
    assert times.parse('updated_since', moment.isoformat(sign)) == moment


@pytest.mark.parametrize(
    'value',
    [
        None,
        5,
        [],
        '',
        'yesterday',
        '2016-13-01T00:00:00',
        '2016-03-01T12:00:00Z and more',
        datetime.date(2016, 3, 1),
        # in UTC these are outside of what a datetime holds
        '0001-01-01T00:00:00+01:00',
        '9999-12-31T23:59:59-01:00',
    ],
)
def test_what_is_not_a_time_is_refused_by_name(value):
    with pytest.raises(exceptions.Invalid, match='period_ending is'):
        times.parse('period_ending', value)


@hypothesis.given(st.text())
def test_any_other_text_is_refused_and_nothing_worse(text):
    try:
        found = times.parse('updated_since', text)
    except exceptions.Invalid:
        return
    assert isinstance(found, datetime.datetime)
