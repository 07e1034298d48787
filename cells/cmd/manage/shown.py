"""Values that people read in another form than programs do."""

import datetime
from typing import Any, Final

from cliff import columns

_UNITS: Final = (('d', 86400), ('h', 3600), ('m', 60), ('s', 1))


class Nothing(columns.FormattableColumn[Any]):
    """What is not known: empty for people."""

    def human_readable(self) -> str:
        """Return nothing to see."""
        return ''

    def machine_readable(self) -> None:
        """Return null."""


def known(value: Any) -> Any:
    """Return a value, and for None what shows it."""
    return Nothing(None) if value is None else value


class Age(columns.FormattableColumn[Any]):
    """A number of seconds, None for none: ``3m 12s`` for people."""

    def human_readable(self) -> str:
        """Return the two largest units."""
        return '' if self._value is None else age(self._value)

    def machine_readable(self) -> float | None:
        """Return seconds."""
        return None if self._value is None else round(self._value, 1)


class Moment(columns.FormattableColumn[Any]):
    """Seconds since the epoch, None for never: a time in UTC."""

    def human_readable(self) -> str:
        """Return date and time."""
        return '' if self._value is None else self._text(' ')

    def machine_readable(self) -> str | None:
        """Return the time as in ISO 8601."""
        return None if self._value is None else self._text('T') + 'Z'

    def _text(self, between: str) -> str:
        assert self._value is not None
        found = datetime.datetime.fromtimestamp(self._value, datetime.UTC).replace(tzinfo=None)
        return found.isoformat(between, 'milliseconds')


class Rows(columns.FormattableColumn[Any]):
    """Some things with the same names: one line each for people."""

    def human_readable(self) -> str:
        """Return a line for each, without what is not known."""
        return '\n'.join(
            ', '.join('%s %s' % pair for pair in row.items() if pair[1] not in (None, ''))
            for row in self._value
        )

    def machine_readable(self) -> list[dict[str, Any]]:
        """Return them as they are."""
        return [dict(row) for row in self._value]


class Numbers(columns.FormattableColumn[Any]):
    """Numbers by name: ``a 1, b 2`` for people."""

    def human_readable(self) -> str:
        """Return names and numbers, or the text that stands in their place."""
        return ', '.join(
            '%s %s' % (name, _number(one)) for name, one in (self._value or {}).items()
        )

    def machine_readable(self) -> dict[str, Any] | None:
        """Return them as they are."""
        return None if self._value is None else dict(self._value)


def _number(value: Any) -> str:
    return '%g' % value if isinstance(value, int | float) else str(value)


def age(seconds: float) -> str:
    """Return a number of seconds for people: its two largest units."""
    left = max(0, int(seconds))
    found: list[str] = []
    for unit, size in _UNITS:
        number, left = divmod(left, size)
        if number or (unit == 's' and not found):
            found.append('%d%s' % (number, unit))
    return ' '.join(found[:2])
