"""Values to and from JSON, exactly: what cannot be kept as it is, is refused.

Whole numbers keep all their digits, as nova's own JSON does. Not a number,
infinity, halves of characters and what is nested very deeply are refused:
they are no JSON, or would not get through the next cell.
"""

import datetime
import json
from collections.abc import Mapping
from typing import Any, Final

import orjson

from cells import exceptions, paths

_OPTIONS: Final = (
    orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_NON_STR_KEYS
)
#: Numbers of so many digits may have more than 64 bits, of which orjson would make floats.
_LONG_NUMBER: Final = b'0' * 19
_ALL_DIGITS_ALIKE: Final = bytes.maketrans(b'123456789', b'0' * 9)
#: How deep a value may be nested; the deepest object of the contract needs a fifth of it.
MAX_DEPTH: Final = 100


def primitive(value: Any) -> Any:
    """Return what stands for a value in JSON; used for what JSON does not know.

    :raises TypeError: nothing stands for it.
    """
    if hasattr(value, 'obj_to_primitive'):
        return value.obj_to_primitive()
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=None).strftime('%Y-%m-%dT%H:%M:%S.%f')
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, paths.CellPath):
        return str(value)
    raise TypeError('%s cannot be sent to another cell' % type(value).__name__)


def dumps(value: Any) -> str:
    """Return the JSON text of a value.

    :raises TypeError: it holds something that cannot be sent.
    """
    try:
        return orjson.dumps(value, default=primitive, option=_OPTIONS).decode()
    except orjson.JSONEncodeError:
        # A whole number of more than 64 bits, or what cannot be sent at all.
        return json.dumps(value, default=primitive, ensure_ascii=False, separators=(',', ':'))


def loads(text: str, what: str) -> Any:
    """Return the value of a JSON text.

    :param what: what it should be, for the error.
    :raises InvalidMessage: it is not JSON.
    """
    if not isinstance(text, str):
        raise exceptions.InvalidMessage(reason='%s is not a text' % what)
    try:
        data = text.encode()
        exactly = _LONG_NUMBER in data.translate(_ALL_DIGITS_ALIKE)
        value = _loads_exactly(text) if exactly else orjson.loads(data)
    except (ValueError, RecursionError) as error:
        raise exceptions.InvalidMessage(reason='%s is not JSON: %s' % (what, error)) from None
    if data.count(b'[') + data.count(b'{') > MAX_DEPTH:
        _check_depth(value, what)
    return value


def _loads_exactly(text: str) -> Any:
    value = json.loads(text)
    # What the standard library knows beyond JSON: NaN, infinity, halves of characters.
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return value


def _check_depth(value: Any, what: str) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise exceptions.InvalidMessage(
        reason='%s is nested too deeply, at most %d levels are allowed' % (what, MAX_DEPTH)
    )
