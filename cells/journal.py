"""Changes, from the moment they arrive until they are done: exactly once.

A change is written into the inbox before the broker may forget it, and its
effects are committed together with the end of its row. What it asks of
neighbours goes into the outbox in that same transaction (:mod:`cells.outbox`).
So a process, a broker or a database can die at any moment: what was accepted
is done, and nothing is done twice, as the uuid is the key of the row.

Three kinds of threads: one *writer*, which commits what arrives in groups;
*workers*, which claim rows and carry them out; and the outbox's own.
"""

import collections
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import sqlalchemy as sa

from cells import exceptions, messages, operations
from cells.db import engine
from cells.db import journal as db_journal
from cells.stats import Stats

LOG = logging.getLogger(__name__)

#: Most arrivals that are committed together.
GROUP_SIZE: Final = 64
#: Characters of arrivals that are committed together, unless it is a single one.
GROUP_CHARACTERS: Final = db_journal.STATEMENT_CHARACTERS
#: Most rows that a thread claims at a time, and for how many seconds.
CLAIM_SIZE: Final = 16
CLAIM_SECONDS: Final = 30.0
#: A row that was claimed so often without coming to an end is given up.
MOST_ATTEMPTS: Final = 8
#: Seconds between two looks for work that another worker has left.
POLL_SECONDS: Final = 1.0
#: After so many failures a group is written one by one, if the database takes anything at all.
MOST_ROUNDS: Final = 5
#: Seconds until a change that it alone does not take is tried again.
ASIDE_SECONDS: Final = 30.0
#: Seconds to wait for a database that is away, at first and at most.
SHORTEST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 2.0

KEEP_SECONDS: Final = 86400.0
PURGE_INTERVAL: Final = 600.0
PURGE_SIZE: Final = 500

WORKERS: Final = 2

LONGEST_REASON: Final = 1000
LONGEST_UUID: Final = 120
LONGEST_OPERATION: Final = 64

#: Carries a change out in a transaction: (connection, envelope).
Perform = Callable[[sa.Connection, str], None]


class LostClaimError(exceptions.CellsError):
    """Raised to undo a transaction whose change another worker has taken over."""

    msg_fmt = 'change %(uuid)s was taken over by another worker'


@dataclasses.dataclass(frozen=True, slots=True)
class _Arrival:
    uuid: str
    operation: str
    envelope: str
    on_commit: Callable[[], None]
    on_refusal: Callable[[str], None]
    came_by: str = ''
    dead: str | None = None


class Patience:
    """Waits ever longer for a database that is away, and says so once."""

    def __init__(self, what: str, stopped: threading.Event) -> None:
        self._what = what
        self._stopped = stopped
        self._pause = SHORTEST_PAUSE
        self._failing = False

    def wait(self, error: Exception) -> None:
        """Take note of a failure and wait before the next attempt."""
        if engine.is_deadlock(error):
            return
        if not self._failing:
            LOG.warning(
                '%s: the database does not answer, trying until it does: %s',
                self._what,
                engine.brief(error),
            )
        self._failing = True
        self._stopped.wait(self._pause)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def succeeded(self) -> None:
        """Take note of a success."""
        if self._failing:
            LOG.info('%s: the database answers again', self._what)
        self._failing = False
        self._pause = SHORTEST_PAUSE


class Journal:
    """The inbox of a cell, as one worker works on it.

    :param worker: the server name of this worker, unique among the living.
    :param perform: what carries a change out; raises for one that cannot be.
    :param reach_out: does before that what cannot be undone: (operation, envelope).
    :param on_accepted: called after each commit of arrivals, and what each of these asked for.
    :param on_performed: called after a commit that may have filled the outbox.
    """

    def __init__(
        self,
        *,
        database: engine.Database,
        worker: str,
        perform: Perform,
        reach_out: Callable[[str, str], None],
        on_accepted: Callable[[], None],
        on_performed: Callable[[], None],
        stats: Stats,
    ) -> None:
        self._database = database
        self._worker = worker
        self._perform = perform
        self._reach_out = reach_out
        self._on_accepted = on_accepted
        self._on_performed = on_performed
        self._stats = stats
        self._stopped = threading.Event()
        self._arrivals: collections.deque[_Arrival] = collections.deque()
        self._aside: collections.deque[tuple[float, _Arrival]] = collections.deque()
        self._arrived = threading.Condition(threading.Lock())
        self._work = threading.Condition(threading.Lock())
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Free what an earlier process in this slot had claimed, and begin."""
        with self._database.write() as connection:
            db_journal.release_all(connection, self._worker)
        targets: list[tuple[str, Callable[[], None]]] = [('journal-writer', self._write_loop)]
        targets += [('journal-%d' % number, self._work_loop) for number in range(WORKERS)]
        targets.append(('journal-purge', self._purge_loop))
        for name, target in targets:
            thread = threading.Thread(target=target, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Finish what is under way; the rest stays in the table or with the broker."""
        self._stopped.set()
        for condition in (self._arrived, self._work):
            with condition:
                condition.notify_all()
        for thread in self._threads:
            thread.join(5)

    def accept(
        self,
        uuid: str,
        operation: str,
        envelope: str,
        on_commit: Callable[[], None],
        on_refusal: Callable[[str], None],
    ) -> None:
        """Take a change in. Returns at once.

        :param on_commit: called when it is safe, also for one that was known already;
            never called when the process ends before.
        :param on_refusal: called with the reason when the database will never take it.
        """
        with self._arrived:
            self._arrivals.append(_Arrival(uuid, operation, envelope, on_commit, on_refusal))
            self._arrived.notify()

    def park(
        self,
        uuid: str,
        operation: str,
        came_by: str,
        envelope: str,
        reason: str,
        on_commit: Callable[[], None],
    ) -> None:
        """Put a message aside that is not tried any more, for people to look at. Returns at once.

        :param on_commit: called when it is safe.
        """
        LOG.error('Message %s (%s, %s) is put aside: %s', uuid, operation, came_by, reason)
        self._stats.count('messages_parked')
        arrival = _Arrival(
            _storable(uuid)[:LONGEST_UUID],
            _storable(operation)[:LONGEST_OPERATION],
            _storable(envelope, len(envelope)),
            on_commit,
            lambda refusal: on_commit(),
            _storable(came_by),
            _storable(reason),
        )
        with self._arrived:
            self._arrivals.append(arrival)
            self._arrived.notify()

    def accept_and_wait(self, uuid: str, operation: str, envelope: str) -> None:
        """Take a change in and return when it is safe.

        :raises JournalUnavailable: this worker stops before.
        :raises Invalid: the database will never take it.
        """
        done = threading.Event()
        refusals: list[str] = []

        def refused(reason: str) -> None:
            refusals.append(reason)
            done.set()

        self.accept(uuid, operation, envelope, done.set, refused)
        while not done.wait(0.5):
            if self._stopped.is_set():
                raise exceptions.JournalUnavailable(reason='this worker is stopping')
        if refusals:
            raise exceptions.Invalid(reason='%s was not journaled: %s' % (operation, refusals[0]))

    # -- what arrives --

    def _write_loop(self) -> None:
        patience = Patience('Journal', self._stopped)
        while not self._stopped.is_set():
            with self._arrived:
                if not self._arrivals and not self._stopped.is_set():
                    self._arrived.wait(ASIDE_SECONDS if self._aside else None)
                group = self._next_group()
            try:
                self._write_group(group, patience)
                self._try_aside(patience)
            except Exception:  # noqa: BLE001 - without this thread nothing is taken in
                LOG.exception('The journal met what it does not know, going on')
                self._stopped.wait(POLL_SECONDS)
        while group := self._next_group():
            if not self._write(group, patience):
                return

    def _write_group(self, group: Sequence[_Arrival], patience: Patience) -> None:
        rounds = 0
        while group and not self._write(group, patience):
            rounds += 1
            if self._stopped.is_set():
                return
            if rounds >= MOST_ROUNDS and self._takes_others():
                # One of them is what the database refuses; it must not keep the others out.
                for one in group:
                    if not self._write([one], patience):
                        self._put_aside(one)
                return

    def _takes_others(self) -> bool:
        """Tell whether the database takes a small change now, and leave none behind."""
        probe = (messages.new_uuid(), 'probe', '')
        try:
            with self._database.write() as connection:
                db_journal.inbox_accept(connection, [probe])
                raise _UndoError
        except _UndoError:
            return True
        except engine.ERRORS:
            return False

    def _put_aside(self, one: _Arrival) -> None:
        # Its sender still has it: nothing is lost while it waits here.
        LOG.error(
            'Change %s (%s, %d characters) is not taken by the database, which takes others; it is '
            'tried again every %d seconds',
            one.uuid,
            one.operation,
            len(one.envelope),
            ASIDE_SECONDS,
        )
        self._stats.count('journal_put_aside')
        self._aside.append((time.monotonic() + ASIDE_SECONDS, one))

    def _try_aside(self, patience: Patience) -> None:
        while self._aside and self._aside[0][0] <= time.monotonic() and not self._stopped.is_set():
            _, one = self._aside.popleft()
            if not self._write([one], patience):
                self._aside.append((time.monotonic() + ASIDE_SECONDS, one))

    def _next_group(self) -> list[_Arrival]:
        group: list[_Arrival] = []
        size = 0
        while self._arrivals and len(group) < GROUP_SIZE:
            size += len(self._arrivals[0].envelope)
            if group and size > GROUP_CHARACTERS:
                break
            group.append(self._arrivals.popleft())
        return group

    def _write(self, group: Sequence[_Arrival], patience: Patience) -> bool:
        try:
            with self._database.write() as connection:
                db_journal.inbox_accept(
                    connection,
                    [(one.uuid, one.operation, one.envelope) for one in group if one.dead is None],
                )
                db_journal.dead_add(
                    connection,
                    [
                        (one.uuid, one.operation, one.came_by, one.envelope, one.dead)
                        for one in group
                        if one.dead is not None
                    ],
                )
                db_journal.inbox_remember(connection, [one.uuid for one in group], KEEP_SECONDS / 2)
        except (*engine.ERRORS, ValueError) as error:
            # Whatever else is wrong, a database that is read-only or has lost a table, is
            # not the fault of the change: the broker keeps it until that is mended.
            if not engine.is_data_error(error):
                patience.wait(error)
                return False
            self._write_singly(group, error)
        else:
            for one in group:
                _told(one.on_commit)
            _told(self._on_accepted)
        patience.succeeded()
        self._stats.count('journal_accepted', len(group))
        with self._work:
            self._work.notify_all()
        return True

    def _write_singly(self, group: Sequence[_Arrival], error: Exception) -> None:
        # One of them does not fit into the table; the others must not suffer for it.
        if len(group) == 1:
            one = group[0]
            LOG.error(
                'Change %s (%s) cannot be journaled: %s',
                one.uuid,
                one.operation,
                engine.brief(error),
            )
            self._stats.count('journal_refused')
            one.on_refusal(_storable(engine.brief(error)))
            return
        patience = Patience('Journal', self._stopped)
        for one in group:
            while not self._write([one], patience) and not self._stopped.is_set():
                continue

    # -- what is to be done --

    def _work_loop(self) -> None:
        patience = Patience('Journal worker', self._stopped)
        while not self._stopped.is_set():
            try:
                rows = self._claim()
            except engine.ERRORS as error:
                patience.wait(error)
                continue
            except Exception:  # noqa: BLE001 - without this thread no change is carried out
                LOG.exception('The journal met what it does not know, going on')
                self._stopped.wait(POLL_SECONDS)
                continue
            patience.succeeded()
            for row in rows:
                self._carry_out(row, patience)
            if rows:
                self._on_performed()
            else:
                with self._work:
                    self._work.wait(POLL_SECONDS)

    def _claim(self) -> list[dict[str, Any]]:
        if not db_journal.inbox_due(self._database):
            return []
        with self._database.write() as connection:
            return db_journal.inbox_claim(connection, self._worker, CLAIM_SECONDS, CLAIM_SIZE)

    def _carry_out(self, row: dict[str, Any], patience: Patience) -> None:
        while not self._stopped.is_set():
            try:
                if row['attempts'] >= MOST_ATTEMPTS:
                    raise exceptions.CellsError(
                        'begun %d times and never brought to an end' % row['attempts']
                    )
                self._reach_out(row['operation'], row['envelope'])
                with self._database.write() as connection:
                    self._perform(connection, row['envelope'])
                    if not db_journal.inbox_end(
                        connection, row['id'], self._worker, db_journal.DONE
                    ):
                        raise LostClaimError(uuid=row['uuid'])
            except LostClaimError as error:
                LOG.info('%s', error)
            except Exception as error:  # noqa: BLE001 - where the result of a handler is kept
                if isinstance(error, engine.ERRORS) and engine.is_transient(error):
                    patience.wait(error)
                    continue
                self._give_up(row, error, patience)
            else:
                self._stats.count('journal_done', operation=operations.counted_as(row['operation']))
            patience.succeeded()
            return

    def _give_up(self, row: dict[str, Any], error: Exception, patience: Patience) -> None:
        reason = _storable('%s: %s' % (type(error).__name__, error))
        LOG.error(
            'Change %s (%s) failed: %s',
            row['uuid'],
            row['operation'],
            reason,
            exc_info=None if isinstance(error, exceptions.CellsError) else error,
        )
        self._stats.count('journal_failed', operation=operations.counted_as(row['operation']))
        while not self._stopped.is_set():
            try:
                with self._database.write() as connection:
                    db_journal.inbox_end(
                        connection, row['id'], self._worker, db_journal.FAILED, reason
                    )
            except engine.ERRORS as failure:
                if not engine.is_transient(failure):
                    LOG.error('The end of change %s cannot be noted: %s', row['uuid'], failure)
                    return
                patience.wait(failure)
            else:
                return

    # -- what is over --

    def _purge_loop(self) -> None:
        due = time.monotonic() + PURGE_INTERVAL
        while not self._stopped.wait(min(PURGE_INTERVAL, 5.0)):
            if time.monotonic() < due:
                continue
            try:
                with self._database.write() as connection:
                    purged = db_journal.purge(connection, KEEP_SECONDS, PURGE_SIZE)
            except engine.ERRORS as error:
                LOG.warning('Old journal rows could not be deleted: %s', engine.brief(error))
                purged = 0
            if purged < PURGE_SIZE:
                due = time.monotonic() + PURGE_INTERVAL


class _UndoError(Exception):
    """Raised to leave nothing of a transaction."""


def _told(tell: Callable[[], None]) -> None:
    """Tell somebody that changes are safe; what goes wrong there is not the journal's."""
    try:
        tell()
    except Exception:  # noqa: BLE001 - the next are to be told all the same
        LOG.exception('What was to follow on a journaled change failed')


def _storable(text: str, longest: int = LONGEST_REASON) -> str:
    """Return a text that every database takes."""
    return text.replace('\0', '?').encode('utf-8', 'replace').decode()[:longest]
