"""What is to be done: rows of the inbox, claimed and carried out by a few threads.

The effects of a change are committed together with the end of its row. One that an instance
refuses by its lock or its state is put back and tried again for a while: an earlier order
may still be on its way that ends what is in the way (S8). What fails for good is reported
in the transaction that ends its row.
"""

import collections
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells import exceptions, logs, operations
from cells.db import engine, inbox
from cells.journal_writer import storable
from cells.patience import Patience
from cells.stats import Stats

LOG = logging.getLogger(__name__)

#: Most rows that a thread claims at a time, and for how many seconds.
CLAIM_SIZE: Final = 16
CLAIM_SECONDS: Final = 30.0
#: A row that was claimed so often without coming to an end is given up.
MOST_ATTEMPTS: Final = 8
#: Seconds between two looks for work that another worker has left.
POLL_SECONDS: Final = 1.0
#: Seconds that a change may take, with what is asked of hosts for it.
BEAT_SECONDS: Final = 180.0
#: Seconds for which a change is tried that an instance refuses, and between two attempts.
REFUSED_SECONDS: Final = 3.0
REFUSED_PAUSE: Final = 0.1
#: Seconds to wait when others were faster.
CROWDED_PAUSE: Final = 0.01

#: How an instance refuses what it may not refuse a moment later.
REFUSALS: Final = (
    exceptions.InstanceInvalidState,
    exceptions.InstanceNotReady,
    exceptions.InstanceUpdateConflict,
)

#: Carries a change out in a transaction: (connection, envelope, seconds since it came in).
Perform = Callable[[sa.Connection, str, float], None]
#: Reports a change that has failed, in the transaction that ends it: (connection, row, error).
Report = Callable[[sa.Connection, Mapping[str, Any], Exception], None]


class LostClaimError(exceptions.CellsError):
    """Raised to undo a transaction whose change another worker has taken over."""

    msg_fmt = 'change %(uuid)s was taken over by another worker'


class JournalWorker:
    """Carries changes out for one worker of the cell; its threads share it.

    :param worker: the server name of this worker, unique among the living.
    :param stopped: ends it after the change that is under way.
    :param perform: what carries a change out; raises for one that cannot be.
    :param reach_out: does before that what cannot be undone: (operation, envelope).
    :param report: tells of a change that has failed whom it concerns.
    :param on_performed: called after commits that may have left work for other parts.
    """

    def __init__(
        self,
        *,
        database: engine.Database,
        worker: str,
        stopped: threading.Event,
        perform: Perform,
        reach_out: Callable[[str, str], None],
        report: Report,
        on_performed: Callable[[], None],
        stats: Stats,
    ) -> None:
        self._database = database
        self._worker = worker
        self._stopped = stopped
        self._perform = perform
        self._reach_out = reach_out
        self._report = report
        self._on_performed = on_performed
        self._stats = stats
        self._work = threading.Condition(threading.Lock())
        self._claiming = threading.Lock()
        self._claimed: collections.deque[dict[str, Any]] = collections.deque()
        self._refused_until = 0.0

    def wake(self) -> None:
        """Look for work now. Any thread."""
        with self._work:
            self._work.notify_all()

    def run(self) -> None:
        """Carry changes out until told to stop."""
        patience = Patience('Journal worker', self._stopped)
        name = threading.current_thread().name
        while not self._stopped.is_set():
            self._stats.beat(name, BEAT_SECONDS)
            try:
                row = self._next()
                if row is not None:
                    # One that this fails for comes again when its claim is over.
                    with logs.scope():
                        self._carry_out(row, patience)
                    if not self._claimed:
                        self._on_performed()
            except engine.ERRORS as error:
                patience.wait(error)
                continue
            except Exception:  # noqa: BLE001 - without this thread no change is carried out
                LOG.exception('The journal met what it does not know, going on')
                self._stopped.wait(POLL_SECONDS)
                continue
            patience.succeeded()
            if row is not None:
                continue
            refused = time.monotonic() < self._refused_until
            with self._work:
                self._work.wait(REFUSED_PAUSE if refused else POLL_SECONDS)

    def _next(self) -> dict[str, Any] | None:
        """Return a change that is claimed; None when there is none.

        What is claimed together is carried out by whichever thread is free, so that nothing
        waits behind a slow one.
        """
        with self._claiming:
            if not self._claimed:
                self._claimed.extend(self._claim())
            if len(self._claimed) > 1:
                self.wake()
            return self._claimed.popleft() if self._claimed else None

    def _claim(self) -> list[dict[str, Any]]:
        if not inbox.inbox_due(self._database):
            return []
        with self._database.write() as connection:
            rows = inbox.inbox_claim(connection, self._worker, CLAIM_SECONDS, CLAIM_SIZE)
        crowded = inbox.inbox_crowded(self._database, rows)
        if crowded:
            with self._database.write() as connection:
                inbox.inbox_release(connection, crowded, self._worker)
            self._stats.count('journal_crowded', len(crowded))
            rows = [row for row in rows if row['id'] not in crowded]
            if not rows:
                self._stopped.wait(CROWDED_PAUSE)
        return rows

    def _carry_out(self, row: dict[str, Any], patience: Patience) -> None:
        while not self._stopped.is_set():
            try:
                if row['attempts'] >= MOST_ATTEMPTS:
                    raise exceptions.CellsError(
                        'begun %d times and never brought to an end' % row['attempts']
                    )
                self._reach_out(row['operation'], row['envelope'])
                with self._database.write() as connection:
                    self._perform(connection, row['envelope'], row['age'])
                    self._end(connection, row, inbox.DONE)
                    if row['refused_at'] is not None:
                        inbox.inbox_calm(connection, row['instance_uuid'])
            except LostClaimError as error:
                LOG.info('%s', error)
            except Exception as error:  # noqa: BLE001 - where the result of a handler is kept
                if isinstance(error, engine.ERRORS) and engine.is_transient(error):
                    patience.wait(error)
                    continue
                if not self._put_back(row, error, patience):
                    self._give_up(row, error, patience)
            else:
                self._stats.count('journal_done', operation=operations.counted_as(row['operation']))
            patience.succeeded()
            if row['instance_uuid'] is not None:
                self.wake()  # others may have waited for it
            return

    def _end(
        self,
        connection: sa.Connection,
        row: Mapping[str, Any],
        state: str,
        reason: str | None = None,
    ) -> None:
        if not inbox.inbox_end(connection, row['id'], self._worker, state, reason):
            raise LostClaimError(uuid=row['uuid'])

    def _put_back(self, row: dict[str, Any], error: Exception, patience: Patience) -> bool:
        """Have a change that was refused tried again; False when it is over with it."""
        if row['instance_uuid'] is None or not is_refusal(error):
            return False

        def put_back(connection: sa.Connection) -> bool:
            return inbox.inbox_put_back(
                connection, row, self._worker, REFUSED_PAUSE, REFUSED_SECONDS
            )

        kept = self._until_written(row, put_back, patience)
        if kept:
            self._refused_until = time.monotonic() + 2 * REFUSED_PAUSE
            self._stats.count('journal_refused_for_now')
            LOG.debug('Change %s (%s) waits: %s', row['uuid'], row['operation'], error)
        return bool(kept)

    def _give_up(self, row: dict[str, Any], error: Exception, patience: Patience) -> None:
        reason = storable('%s: %s' % (type(error).__name__, error))
        # What a user did wrong is the user's matter, who is told; the rest is the operator's.
        refused = isinstance(error, exceptions.WireError) and error.code < 500
        LOG.log(
            logging.INFO if refused else logging.ERROR,
            'Change %s (%s) failed: %s',
            row['uuid'],
            row['operation'],
            reason,
            exc_info=None if isinstance(error, exceptions.CellsError) else error,
        )
        self._stats.count('journal_failed', operation=operations.counted_as(row['operation']))

        def end(connection: sa.Connection) -> None:
            self._end(connection, row, inbox.FAILED, reason)

        def report_and_end(connection: sa.Connection) -> None:
            self._report(connection, row, error)
            end(connection)

        try:
            self._until_written(row, report_and_end, patience)
        except Exception:  # noqa: BLE001 - it must come to an end, whatever the report is
            LOG.exception('That change %s failed cannot be reported', row['uuid'])
            self._stats.count('failures_not_reported')
            try:
                self._until_written(row, end, patience)
            except engine.ERRORS as failure:
                LOG.error('The end of change %s cannot be noted: %s', row['uuid'], failure)

    def _until_written(
        self, row: Mapping[str, Any], work: Callable[[sa.Connection], Any], patience: Patience
    ) -> Any:
        """Do a transaction, again while the database is away; None when that has no end."""
        while not self._stopped.is_set():
            try:
                with self._database.write() as connection:
                    return work(connection)
            except LostClaimError as error:
                LOG.info('%s', error)
                return None
            except engine.ERRORS as error:
                if not engine.is_transient(error):
                    raise
                patience.wait(error)
        return None


def is_refusal(error: Exception) -> bool:
    """Tell whether what an instance refuses now may be possible a moment later."""
    return isinstance(error, REFUSALS) and not isinstance(
        error, exceptions.UnexpectedDeletingTaskStateError
    )
