"""What oslo.messaging puts into a message: read from its body, and checked.

A message is ``{"oslo.version": "2.0", "oslo.message": <JSON text>}``; the text
holds the method, its arguments and what the library itself needs for the
answer. What does not fit is refused before anything works with it.
"""

import re
from typing import Any, Final

from cells import exceptions, json_text

#: Keys of the library: each a short text, but the last a number of seconds; any may be missing.
UNIQUE_ID: Final = '_unique_id'
MSG_ID: Final = '_msg_id'
REPLY_QUEUE: Final = '_reply_q'
TIMEOUT: Final = '_timeout'

MAX_TEXT: Final = 120
_VERSION: Final = re.compile(r'[0-9]{1,4}(\.[0-9]{1,4}){1,2}')


def content(body: str | bytes | memoryview, max_bytes: int) -> dict[str, Any]:
    """Return what a body holds: ``method``, ``args``, ``version`` and what goes with them.

    :param max_bytes: how long a body is read.
    :raises InvalidMessage: it is no RPC; the text says why, as shortly as it can.
    """
    if len(body) > max_bytes:
        raise _refusal('it has %d bytes, at most %d are read' % (len(body), max_bytes))
    try:
        text = body if isinstance(body, str) else bytes(body).decode()
    except UnicodeDecodeError:
        raise _refusal('it is not text') from None
    found = json_text.loads(text, 'it')
    if isinstance(found, dict) and 'oslo.message' in found:
        version = found.get('oslo.version')
        if not isinstance(version, str) or version.split('.')[0] != '2':
            raise _refusal('oslo.version is %.20r, not 2.x' % (version,))
        found = json_text.loads(found['oslo.message'], 'oslo.message')
    if not isinstance(found, dict) or not isinstance(found.get('method'), str):
        raise _refusal('it names no method')
    if not isinstance(found.setdefault('args', {}), dict):
        raise _refusal('its arguments are not an object')
    if found.get('version') is None:
        found['version'] = '1.0'
    if not isinstance(found['version'], str) or not _VERSION.fullmatch(found['version']):
        raise _refusal('its version is %.20r' % (found['version'],))
    for key in (UNIQUE_ID, MSG_ID, REPLY_QUEUE):
        value = found.get(key)
        if value is not None and not _is_name(value):
            raise _refusal('its %s is %.40r' % (key, value))
    if found.get(TIMEOUT) is not None and type(found[TIMEOUT]) not in (int, float):
        raise _refusal('its %s is %.40r' % (TIMEOUT, found[TIMEOUT]))
    return found


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_TEXT and value.isprintable()


def _refusal(reason: str) -> exceptions.InvalidMessage:
    return exceptions.InvalidMessage(reason=reason)
