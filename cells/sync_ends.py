"""What follows in the database from what the cells above said of instances."""

import logging
from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from cells.db import engine, unsent
from cells.stats import Stats
from cells.sync_batches import FIRST_ALONE, Batch, Kind, is_alone

LOG = logging.getLogger(__name__)

#: Seconds until what failed is tried again, at first and at most.
SHORTEST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 30.0
#: Seconds until what was refused, or can never be sent, is tried again, at first and at most.
SHORTEST_REFUSAL: Final = 30.0
LONGEST_REFUSAL: Final = 3600.0


class Ends:
    """Notes how batches ended."""

    #: Seconds after the last change until a plain parent is told once more.
    CLOSE_SECONDS: Final = 5.0

    def __init__(self, *, database: engine.Database, stats: Stats) -> None:
        self._database = database
        self._stats = stats

    def note(self, batches: Sequence[Batch]) -> None:
        """Note how batches ended, each in a transaction of its own.

        What the database will never take is left: the claim ends, and it is sent again.

        :raises Exception: one of ``engine.ERRORS``, of a database that is away; what is noted
            by then can be noted again.
        """
        for batch in batches:
            try:
                with self._database.write() as connection:
                    self._note(connection, batch)
            except engine.ERRORS as error:
                if engine.is_transient(error):
                    raise
                self._stats.count('sync_not_noted')
                LOG.error('How a batch was taken cannot be noted: %s', engine.brief(error))

    def _note(self, connection: sa.Connection, batch: Batch) -> None:
        done = batch.of_kind(Kind.CONFIRMED, Kind.GONE)
        for uuid in batch.of_kind(Kind.AHEAD):
            known = batch.outcomes[uuid].known
            assert known is not None
            if unsent.begin_again(connection, uuid, known):
                self._stats.count('sync_behind')
                LOG.warning(
                    'More was known above of instance %s than here, as after a restore of this '
                    'database: all of it is told again',
                    uuid,
                )
            else:
                done.append(uuid)
        for uuid in batch.of_kind(Kind.MISSING):
            unsent.mark_whole(connection, uuid)
        self._confirm(connection, batch, done)
        self._give_back(connection, batch, batch.of_kind(Kind.AHEAD, Kind.MISSING), done)
        self._postpone(connection, batch)

    def _confirm(self, connection: sa.Connection, batch: Batch, uuids: list[str]) -> None:
        if not uuids:
            return
        self._stats.count('sync_confirmed', len(uuids))
        if any(batch.parents.values()):
            # At once with the row of what was told: then none is told of within APART of it.
            told = [batch.marks[uuid] for uuid in uuids]
            unsent.close_later(
                connection,
                [
                    (marks.uuid, ','.join(sorted(marks.names)), *marks.at)
                    for marks in told
                    if marks.at is not None and not marks.closing
                ],
                self.CLOSE_SECONDS,
            )
        gone = unsent.drop(connection, batch.token, uuids)
        if gone < sum(batch.marks[uuid].count for uuid in uuids):
            unsent.release_marked(connection, uuids)

    def _give_back(
        self, connection: sa.Connection, batch: Batch, uuids: list[str], done: list[str]
    ) -> None:
        rest = [uuid for uuid in uuids if uuid not in done]
        if rest:
            self._stats.count('sync_told_anew', len(rest))
            unsent.release(connection, batch.token, rest)
            unsent.release_marked(connection, rest)

    def _postpone(self, connection: sa.Connection, batch: Batch) -> None:
        away = batch.of_kind(Kind.NOT_SENT)
        if away:
            self._stats.count('sync_not_sent', len(away))
            # When all parents are left alone nothing is claimed: then it need not wait as well.
            delay = batch.pause if len(batch.parents) > 1 else 0.0
            unsent.release_marked(connection, away)
            unsent.release(connection, batch.token, away, delay)
        failed = batch.of_kind(Kind.FAILED)
        lost = set(batch.of_kind(Kind.REFUSED, Kind.POISONOUS))
        if failed and is_alone(batch.marks, list(batch.marks)):
            lost |= set(failed)
        if failed or lost:
            unsent.release_marked(connection, [*failed, *lost])
        for uuid in failed:
            if uuid not in lost:
                self._stats.count('sync_failed')
                attempts = batch.marks[uuid].attempts
                pause = min(LONGEST_PAUSE, SHORTEST_PAUSE * 2 ** min(attempts, 16))
                unsent.release(connection, batch.token, [uuid], pause, failed=True)
        for uuid in sorted(lost):
            self._put_aside(connection, batch, uuid)

    def _put_aside(self, connection: sa.Connection, batch: Batch, uuid: str) -> None:
        outcome, attempts = batch.outcomes[uuid], batch.marks[uuid].attempts
        refused = outcome.kind is Kind.REFUSED
        # What was to be found first, by trying with fewer and fewer, has been tried often.
        tried = attempts if refused else max(0, attempts - FIRST_ALONE)
        pause = min(LONGEST_REFUSAL, SHORTEST_REFUSAL * 2 ** min(tried, 16))
        self._stats.count('sync_refused' if refused else 'sync_poisonous')
        LOG.log(
            logging.WARNING if refused else logging.ERROR,
            'What has become of instance %s is not taken above and kept, the next attempt is in '
            '%d seconds: %s',
            uuid,
            pause,
            outcome.reason,
        )
        unsent.release(connection, batch.token, [uuid], pause, failed=True)
