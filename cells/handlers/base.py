"""What handlers are given to work with."""

import re
import uuid
from typing import Final

from cells import exceptions
from cells.compute import means

#: Reaches the agents on the hosts of this cell.
HostCaller = means.HostCaller

_ID: Final = re.compile('[0-9]{1,18}')


def row_id(value: object) -> int | None:
    """Return the id of a row that a caller named as text or number; None when it is none (R14)."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return int(value) if isinstance(value, str) and _ID.fullmatch(value) else None


def row_key(value: object) -> int | str | None:
    """Return the id or the uuid of a row that a caller named; None when it is neither.

    Clients from Pike on name rows by uuid (``spec/rpc_client.json``, 1.38).
    """
    found = row_id(value)
    if found is not None or not isinstance(value, str) or len(value) not in (32, 36):
        return found
    try:
        return str(uuid.UUID(value))
    except ValueError:
        return None


def boolean(name: str, value: object) -> bool:
    """Return true or false, as which 1 and 0 pass as well.

    :raises Invalid: it is something else.
    """
    if not isinstance(value, int) or value not in (0, 1):
        raise exceptions.Invalid(reason='%s is %.80s, not true or false' % (name, ascii(value)))
    return bool(value)
