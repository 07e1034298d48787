"""Rows in the plain form of the contract (``spec/objects.json``, ``plain_return_shapes``)."""

import datetime
from collections.abc import Mapping
from typing import Any


def plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a row as a dictionary; times as ``YYYY-MM-DDTHH:MM:SS.ffffff``."""
    return {
        key: value.isoformat(timespec='microseconds')
        if isinstance(value, datetime.datetime)
        else value
        for key, value in row.items()
    }
