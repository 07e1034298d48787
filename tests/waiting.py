"""How long tests wait for something to happen."""

import time
from typing import Final

#: Seconds that anything may take on a busy machine: less than those after which things are given
#: up or tried again (30 and more), which a test that waits must not sit out unnoticed.
LEAST: Final = 25.0


def deadline(seconds: float) -> float:
    """Return until when to wait, by the monotonic clock; who means a bound must measure."""
    return time.monotonic() + max(seconds, LEAST)
