"""How long tests wait for something to happen."""

import time
from typing import Final

#: Seconds that anything may take on a busy machine. Less than those after which a neighbour is mute
#: (17) and an update is sent again (20): a test must not sit out unnoticed what it is to find.
LEAST: Final = 15.0


def deadline(seconds: float) -> float:
    """Return until when to wait, by the monotonic clock; who means a bound must measure."""
    return time.monotonic() + max(seconds, LEAST)
