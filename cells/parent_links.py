"""How each parent is told of instances: in which form, and when it is left alone for a while."""

import logging
import random
import time
from typing import Any, Final

from cells.state import CellStateManager
from cells.sync_batches import Reply

LOG = logging.getLogger(__name__)

#: Seconds for which a parent is told in the form of a nova-cells when there is one above it.
PLAIN_SECONDS: Final = 60.0
#: After so many questions that a living parent did not answer it is told in that form as well.
MOST_SILENCE: Final = 3
#: Seconds until a parent that is away is tried again, at first and at most.
SHORTEST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0


class ParentLink:
    """One parent, as one worker knows it. For one thread.

    :ivar confirmed_at: when something was last confirmed, seconds since the epoch, or None.
    """

    def __init__(self, name: str, state: CellStateManager) -> None:
        self.name = name
        self.confirmed_at: float | None = None
        self._state = state
        self._plain_until = 0.0
        self._paused_until = 0.0
        self._failures = 0
        self._silences = 0
        self._reason: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it is told as a nova-cells tells: one message for each change."""
        if time.monotonic() < self._plain_until:
            return True
        return self._state.sightings.is_plain(self.name)

    @property
    def pause(self) -> float:
        """For how many seconds it is left alone."""
        return max(0.0, self._paused_until - time.monotonic())

    def take(self, reply: Reply, reason: str, heard: bool) -> bool:
        """Take what it said to a batch.

        :param heard: whether anything came from it since the batch was sent.
        :returns: whether the batch itself may be what it did not bear.
        """
        if reply is Reply.ANSWERED:
            if self._failures:
                LOG.info('Cell %s takes what is told of instances again', self.name)
            self._failures = self._silences = 0
            self._paused_until = 0.0
            self._reason = None
            return False
        if reply is Reply.UNSUPPORTED:
            self._use_plain(reason)
            return False
        if reply is Reply.SILENT and heard:
            # It lives, and has not even refused: perhaps it cannot read what was sent.
            self._silences += 1
            if self._silences >= MOST_SILENCE:
                self._silences = 0
                self._use_plain(reason)
            return True
        if reply is Reply.FAILED:
            self._reason = reason
            return True
        self._back_off(reason)
        return False

    def _use_plain(self, reason: str) -> None:
        LOG.info(
            'Cell %s is told of each change of an instance by itself, as a nova-cells is, for '
            '%d seconds: %s',
            self.name,
            PLAIN_SECONDS,
            reason,
        )
        self._plain_until = time.monotonic() + PLAIN_SECONDS

    def _back_off(self, reason: str) -> None:
        if not self._failures:
            LOG.warning(
                'Cell %s cannot be told of instances, trying until it can: %s', self.name, reason
            )
        self._reason = reason
        pause = min(LONGEST_PAUSE, SHORTEST_PAUSE * 2 ** min(self._failures, 16))
        self._failures += 1
        self._paused_until = time.monotonic() + pause * random.uniform(0.5, 1)  # noqa: S311

    def status(self) -> dict[str, Any]:
        """Return how it does."""
        return {
            'name': self.name,
            'form': 'plain' if self.is_plain else 'ours',
            'last_confirmed': self.confirmed_at,
            'error': self._reason,
        }
