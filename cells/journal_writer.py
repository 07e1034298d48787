"""What arrives: written into the inbox in groups, by one thread.

The broker is told that it may forget a change when its group is committed. While the
database is away all wait; a change that it alone does not take is put aside, so that it
keeps no other out.
"""

import collections
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from cells import messages
from cells.db import engine, inbox
from cells.db import journal as db_journal
from cells.patience import Patience
from cells.stats import Stats
from cells.subjects import Subject

LOG = logging.getLogger(__name__)

#: Most arrivals that are committed together.
GROUP_SIZE: Final = 64
#: Characters of arrivals that are committed together, unless it is a single one.
GROUP_CHARACTERS: Final = db_journal.STATEMENT_CHARACTERS
#: After so many failures a group is written one by one, if the database takes anything at all.
MOST_ROUNDS: Final = 5
#: Seconds until a change that it alone does not take is tried again.
ASIDE_SECONDS: Final = 30.0
#: Seconds to wait after what nobody expected.
PAUSE: Final = 1.0
#: A change that comes again is known for so many seconds after it last came, at least.
REMEMBER_SECONDS: Final = 43200.0
#: Under which the writer says that it turns.
BEAT: Final = 'journal-writer'

LONGEST_REASON: Final = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class Arrival:
    """Something that came in.

    :ivar on_commit: called when it is safe.
    :ivar on_refusal: called with the reason when the database will never take it.
    :ivar came_by: and ``dead``, of what is put aside: its way, and why.
    """

    uuid: str
    operation: str
    envelope: str
    on_commit: Callable[[], None]
    on_refusal: Callable[[str], None]
    subject: Subject = Subject()
    came_by: str = ''
    dead: str | None = None


class JournalWriter:
    """Takes changes in for one worker.

    :param stopped: ends it; what has come by then is still written.
    :param on_accepted: called after each commit of arrivals, and what each of these asked for.
    :param on_work: called then as well: there is something to do.
    """

    def __init__(
        self,
        *,
        database: engine.Database,
        stopped: threading.Event,
        on_accepted: Callable[[], None],
        on_work: Callable[[], None],
        stats: Stats,
    ) -> None:
        self._database = database
        self._stopped = stopped
        self._on_accepted = on_accepted
        self._on_work = on_work
        self._stats = stats
        self._arrivals: collections.deque[Arrival] = collections.deque()
        self._aside: collections.deque[tuple[float, Arrival]] = collections.deque()
        self._arrived = threading.Condition(threading.Lock())

    def put(self, arrival: Arrival) -> None:
        """Take something in. Returns at once."""
        with self._arrived:
            self._arrivals.append(arrival)
            self._arrived.notify()

    def wake(self) -> None:
        """Look whether it is time to stop."""
        with self._arrived:
            self._arrived.notify_all()

    def run(self) -> None:
        """Write what arrives until told to stop."""
        patience = Patience('Journal', self._stopped)
        while not self._stopped.is_set():
            with self._arrived:
                if not self._arrivals and not self._stopped.is_set():
                    self._stats.rest(BEAT)
                    self._arrived.wait(ASIDE_SECONDS if self._aside else None)
                group = self._next_group()
            self._stats.beat(BEAT)
            try:
                self._write_group(group, patience)
                self._try_aside(patience)
            except Exception:  # noqa: BLE001 - without this thread nothing is taken in
                LOG.exception('The journal met what it does not know, going on')
                self._stopped.wait(PAUSE)
        while group := self._next_group():
            if not self._write(group, patience):
                return

    def _write_group(self, group: Sequence[Arrival], patience: Patience) -> None:
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
                inbox.inbox_accept(connection, [probe])
                raise _UndoError
        except _UndoError:
            return True
        except engine.ERRORS:
            return False

    def _put_aside(self, one: Arrival) -> None:
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

    def _next_group(self) -> list[Arrival]:
        group: list[Arrival] = []
        size = 0
        while self._arrivals and len(group) < GROUP_SIZE:
            size += len(self._arrivals[0].envelope)
            if group and size > GROUP_CHARACTERS:
                break
            group.append(self._arrivals.popleft())
        return group

    def _write(self, group: Sequence[Arrival], patience: Patience) -> bool:
        try:
            with self._database.write() as connection:
                inbox.inbox_accept(
                    connection,
                    [
                        (one.uuid, one.operation, one.envelope, *one.subject)
                        for one in group
                        if one.dead is None
                    ],
                )
                db_journal.dead_add(
                    connection,
                    [
                        (one.uuid, one.operation, one.came_by, one.envelope, one.dead)
                        for one in group
                        if one.dead is not None
                    ],
                )
                uuids = [one.uuid for one in group]
                inbox.inbox_remember(connection, uuids, REMEMBER_SECONDS)
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
        self._on_work()
        return True

    def _write_singly(self, group: Sequence[Arrival], error: Exception) -> None:
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
            one.on_refusal(storable(engine.brief(error)))
            return
        patience = Patience('Journal', self._stopped)
        for one in group:
            while not self._write([one], patience) and not self._stopped.is_set():
                continue


class _UndoError(Exception):
    """Raised to leave nothing of a transaction."""


def _told(tell: Callable[[], None]) -> None:
    """Tell somebody that changes are safe; what goes wrong there is not the journal's."""
    try:
        tell()
    except Exception:  # noqa: BLE001 - the next are to be told all the same
        LOG.exception('What was to follow on a journaled change failed')


def storable(text: str, longest: int = LONGEST_REASON) -> str:
    """Return a text that every database takes."""
    return text.replace('\0', '?').encode('utf-8', 'replace').decode()[:longest]
