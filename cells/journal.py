"""Changes, from the moment they arrive until they are done: exactly once.

A change is written into the inbox before the broker may forget it, and its
effects are committed together with the end of its row. What it asks of
neighbours goes into the outbox in that same transaction (:mod:`cells.outbox`).
So a process, a broker or a database can die at any moment: what was accepted
is done, and nothing is done twice, as the uuid is the key of the row.

Three kinds of threads: one *writer* (:mod:`cells.journal_writer`), which commits
what arrives in groups; *workers* (:mod:`cells.journal_worker`), which claim rows
and carry them out; and the outbox's own.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from cells import exceptions
from cells.db import engine, sync_requests, tombstones
from cells.db import journal as db_journal
from cells.journal_worker import JournalWorker, Perform, Report
from cells.journal_writer import Arrival, JournalWriter, storable
from cells.patience import Patience
from cells.stats import Stats
from cells.subjects import Subject

LOG = logging.getLogger(__name__)

#: Seconds for which what is over is kept; what has failed ten times as long.
KEEP_SECONDS: Final = 86400.0
PURGE_INTERVAL: Final = 600.0
PURGE_SIZE: Final = 500

WORKERS: Final = 2

LONGEST_UUID: Final = 120
LONGEST_OPERATION: Final = 64


class Journal:
    """The inbox of a cell, as one worker works on it.

    :param worker: the server name of this worker, unique among the living.
    :param perform: what carries a change out; raises for one that cannot be.
    :param reach_out: does before that what cannot be undone: (operation, envelope).
    :param report: tells of a change that has failed whom it concerns, in the transaction
        that ends its row.
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
        report: Report,
        on_accepted: Callable[[], None],
        on_performed: Callable[[], None],
        stats: Stats,
    ) -> None:
        self._database = database
        self._worker = worker
        self._stats = stats
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._workers = JournalWorker(
            database=database,
            worker=worker,
            stopped=self._stopped,
            perform=perform,
            reach_out=reach_out,
            report=report,
            on_performed=on_performed,
            stats=stats,
        )
        self._writer = JournalWriter(
            database=database,
            stopped=self._stopped,
            on_accepted=on_accepted,
            on_work=self._workers.wake,
            stats=stats,
        )

    def start(self) -> None:
        """Free what an earlier process in this slot had claimed, and begin."""
        Patience('Journal', self._stopped).insist(self._release)
        targets: list[tuple[str, Callable[[], None]]] = [('journal-writer', self._writer.run)]
        targets += [('journal-%d' % number, self._workers.run) for number in range(WORKERS)]
        targets.append(('journal-purge', self._purge_loop))
        for name, target in targets:
            thread = threading.Thread(target=target, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def _release(self) -> None:
        with self._database.write() as connection:
            db_journal.release_all(connection, self._worker)

    def stop(self) -> None:
        """Finish what is under way; the rest stays in the table or with the broker."""
        self._stopped.set()
        self._writer.wake()
        self._workers.wake()
        for thread in self._threads:
            thread.join(5)

    def accept(
        self,
        uuid: str,
        operation: str,
        envelope: str,
        on_commit: Callable[[], None],
        on_refusal: Callable[[str], None],
        subject: Subject = Subject(),  # noqa: B008 - it cannot change
    ) -> None:
        """Take a change in. Returns at once.

        :param on_commit: called when it is safe, also for one that was known already;
            never called when the process ends before.
        :param on_refusal: called with the reason when the database will never take it.
        :param subject: what it is about; changes of one instance are carried out in order.
        """
        self._writer.put(Arrival(uuid, operation, envelope, on_commit, on_refusal, subject))

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
        arrival = Arrival(
            storable(uuid)[:LONGEST_UUID],
            storable(operation)[:LONGEST_OPERATION],
            storable(envelope, len(envelope)),
            on_commit,
            lambda refusal: on_commit(),
            came_by=storable(came_by),
            dead=storable(reason),
        )
        self._writer.put(arrival)

    def accept_and_wait(
        self,
        uuid: str,
        operation: str,
        envelope: str,
        subject: Subject = Subject(),  # noqa: B008 - it cannot change
    ) -> None:
        """Take a change in and return when it is safe.

        :raises JournalUnavailable: this worker stops before.
        :raises Invalid: the database will never take it.
        """
        done = threading.Event()
        refusals: list[str] = []

        def refused(reason: str) -> None:
            refusals.append(reason)
            done.set()

        self.accept(uuid, operation, envelope, done.set, refused, subject)
        while not done.wait(0.5):
            self.check_running()
        if refusals:
            raise exceptions.Invalid(reason='%s was not journaled: %s' % (operation, refusals[0]))

    def wake(self) -> None:
        """Look for work now, that a transaction of another part has left. Any thread."""
        self._workers.wake()

    def check_running(self) -> None:
        """Refuse what would have to wait.

        :raises JournalUnavailable: this worker is stopping.
        """
        if self._stopped.is_set():
            raise exceptions.JournalUnavailable(reason='this worker is stopping')

    def _purge_loop(self) -> None:
        due = time.monotonic() + PURGE_INTERVAL
        while not self._stopped.wait(min(PURGE_INTERVAL, 5.0)):
            if time.monotonic() < due:
                continue
            try:
                with self._database.write() as connection:
                    purged = db_journal.purge(connection, KEEP_SECONDS, PURGE_SIZE)
                    purged += tombstones.tombstone_purge(connection, PURGE_SIZE)
                    purged += sync_requests.sync_request_purge(connection, KEEP_SECONDS, PURGE_SIZE)
            except engine.ERRORS as error:
                LOG.warning('Old journal rows could not be deleted: %s', engine.brief(error))
                purged = 0
            except Exception:  # noqa: BLE001 - without this thread the tables would only grow
                LOG.exception('Old journal rows could not be deleted')
                purged = 0
            if purged < PURGE_SIZE:
                due = time.monotonic() + PURGE_INTERVAL
