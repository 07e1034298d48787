"""Values of columns as another cell sends them: checked before a database sees them.

A database may refuse what does not fit, or keep it, and then the row cannot be read. So that
one row of one cell costs nothing but itself, it is looked at first.
"""

import datetime
from collections.abc import Collection, Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells import exceptions
from cells.db import models

#: What 64 bits hold.
_LARGEST: Final = 2**63


class Shape:
    """Some columns of a table, and what may stand in them.

    :param name: of what it is, for errors.
    """

    def __init__(self, name: str, model: type[models.Base], columns: Collection[str]) -> None:
        self.name = name
        table = model.__table__.c
        self.columns: Final = tuple(columns)
        self._kinds: dict[str, tuple[type, bool, int | None]] = {}
        for column in self.columns:
            kind = table[column].type
            length = kind.length if isinstance(kind, sa.String) else None
            python = datetime.datetime if isinstance(kind, sa.DateTime) else kind.python_type
            self._kinds[column] = (python, bool(table[column].nullable), length)

    def read(self, values: object) -> dict[str, Any]:
        """Return values as the columns take them; what is no column here is left out.

        :param values: by name, as JSON has them.
        :raises Invalid: one of them does not fit.
        """
        if not isinstance(values, Mapping):
            raise exceptions.Invalid(reason='%s is %.60s' % (self.name, ascii(values)))
        found: dict[str, Any] = {}
        given: Mapping[str, Any] = values
        for column, value in given.items():
            known = self._kinds.get(column)
            if known is None:
                continue
            kind, nullable, length = known
            if value is None and nullable:
                found[column] = None
            elif kind is datetime.datetime:
                found[column] = self._moment(column, value)
            elif type(value) is kind and _fits(value, length):
                found[column] = value
            else:
                raise self._unfit(column, value)
        return found

    def read_all(self, rows: object, needed: Collection[str]) -> list[dict[str, Any]]:
        """Return the rows of a list.

        :param needed: what each must have, and not as null.
        :raises Invalid: it is no list, or one of them does not fit.
        """
        if not isinstance(rows, list):
            raise exceptions.Invalid(reason='%s is %.60s, not a list' % (self.name, ascii(rows)))
        found = [self.read(row) for row in rows]
        for row in found:
            for column in needed:
                if row.get(column) is None:
                    raise exceptions.Invalid(reason='%s has no %s' % (self.name, column))
        return found

    def _moment(self, column: str, value: object) -> datetime.datetime:
        try:
            if type(value) is str:
                found = datetime.datetime.fromisoformat(value)
                if found.tzinfo is None:
                    return found
                return found.astimezone(datetime.UTC).replace(tzinfo=None)
        except (ValueError, OverflowError):
            pass
        raise self._unfit(column, value)

    def _unfit(self, column: str, value: object) -> exceptions.Invalid:
        return exceptions.Invalid(
            reason='%s: %s is %.60s, which it cannot be' % (self.name, column, ascii(value))
        )


def _fits(value: Any, length: int | None) -> bool:
    if length is not None:
        return len(value) <= length
    return type(value) is not int or -_LARGEST <= value < _LARGEST
