"""Values to test with: messages, and strategies that make names, paths and JSON."""

import time
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from cells import messages, operations, paths
from tests import waiting

UUID = '22222222-2222-4222-8222-222222222222'

TEXT = st.text(st.characters(exclude_categories=('Cs',)), max_size=20)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)

JSON_OBJECTS = st.dictionaries(TEXT, JSON, max_size=4)

NAMES = st.text(
    st.characters(
        exclude_categories=('Cs', 'Cc', 'Zs', 'Zl', 'Zp'),
        exclude_characters='!@.',
    ),
    min_size=1,
    max_size=12,
)

PATHS = st.lists(NAMES, min_size=1, max_size=6, unique=True).map(
    lambda names: paths.CellPath(tuple(names))
)


def message(
    cls: type[messages.Message], path: str, direction: str = 'down', **values: Any
) -> messages.Message:
    """Return a message that has come over ``path``, with defaults for the rest."""
    routing_path = paths.CellPath.parse(path)
    values = {
        'ctxt': {'request_id': 'req-1'},
        'method_name': 'service_get_all',
        'method_kwargs': {},
        'uuid': UUID,
        'hop_count': len(routing_path),
        **values,
    }
    return cls(direction=operations.Direction(direction), routing_path=routing_path, **values)


def targeted(path: str, target: str, direction: str = 'down', **values: Any) -> Any:
    """Return a message for one cell."""
    return message(
        messages.TargetedMessage,
        path,
        direction,
        target_cell=paths.CellPath.parse(target),
        **values,
    )


def broadcast(path: str, direction: str = 'down', **values: Any) -> Any:
    """Return a message for all cells of one side."""
    return message(messages.BroadcastMessage, path, direction, **values)


def response(path: str, target: str, direction: str = 'up', **values: Any) -> Any:
    """Return an answer on its way."""
    values = {'method_name': 'parse_responses', 'response_uuid': UUID, **values}
    return message(
        messages.ResponseMessage,
        path,
        direction,
        target_cell=paths.CellPath.parse(target),
        **values,
    )


def eventually(true: Callable[[], Any], seconds: float = 30) -> Any:
    """Wait until something is true and return it; fail when it does not become so."""
    until = waiting.deadline(seconds)
    while not (found := true()):
        assert time.monotonic() < until, 'it did not happen within %s seconds' % seconds
        time.sleep(0.005)
    return found
