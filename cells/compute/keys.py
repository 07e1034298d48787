"""Names of what an order leaves: the same for each copy of its message (R3, S7)."""

import re
import uuid
from typing import Final

_NAMESPACE: Final = uuid.UUID('8d2f7a52-3c5e-4a8e-9a57-0f8b6f3a9d11')
_KEY: Final = re.compile('[0-9A-Za-z-]{1,36}')


def key_of(message_uuid: str) -> str:
    """Return what actions, orders and faults of a message are called by: the same for each copy."""
    bare = message_uuid.partition(';')[0]
    return bare if _KEY.fullmatch(bare) else str(uuid.uuid5(_NAMESPACE, bare))


def derived(key: str, part: str) -> str:
    """Return the uuid of something that belongs to a message, the same for each copy of it."""
    return str(uuid.uuid5(_NAMESPACE, '%s %s' % (key, part)))
