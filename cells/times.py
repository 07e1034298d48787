"""Times as callers write them."""

import datetime

from oslo_utils import timeutils

from cells import exceptions


def parse(name: str, value: object) -> datetime.datetime:
    """Return a time in UTC, without a zone.

    :param name: of the argument, for the error.
    :param value: a datetime, or ISO 8601 text with ``T`` or a blank in the middle.
    :raises Invalid: it is neither.
    """
    if isinstance(value, str):
        try:
            value = timeutils.parse_isotime(value.replace(' ', 'T', 1))
        except ValueError:
            value = None if not value else value
    if not isinstance(value, datetime.datetime):
        raise exceptions.Invalid(
            reason='%s is %.60r, not a time such as 2016-03-01T12:00:00Z' % (name, value)
        )
    try:
        return timeutils.normalize_time(value)
    except OverflowError:
        raise exceptions.Invalid(
            reason='%s is %s, which is no time in UTC' % (name, value)
        ) from None
