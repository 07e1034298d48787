"""Builds that are with a cell: whether it got them, and for how long it has said nothing."""

import collections
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from cells import known_cells, placement
from cells.build_letters import Asked, BuildLetters
from cells.db import build_subjects
from cells.db import journal as db_journal
from cells.db import placements as db

#: Seconds until a message is taken back that nobody has come to send.
UNTRIED_SECONDS: Final = 30.0
#: Seconds until an attempt is taken from a cell that is mute.
MUTE_SECONDS: Final = 30.0
#: Seconds for which this worker must have seen it mute: one that has slept itself finds all so.
SILENCE_SECONDS: Final = 10.0
#: Seconds until it is taken from one that lives, and does not get so far as to take it.
UNCONFIRMED_SECONDS: Final = 60.0
#: Seconds for which what a plain cell was given counts as on its way: it reports that often.
PLAIN_SECONDS: Final = 60.0
#: Seconds between two looks at an attempt: on its way, and with a cell, at first and at most.
SOON: Final = 0.5
LATER: Final = 5.0
LATEST: Final = 20.0

#: Fates of a message that has not left this cell.
_HERE: Final = frozenset((db_journal.WITHDRAWN, db_journal.PENDING, db_journal.CLAIMED))

Row = Mapping[str, Any]


class BuildWatch:
    """Looks after attempts that are with a cell.

    :param link_error: returns what keeps messages from a child, if that is known.
    :param build_timeout: seconds after which a cell that says nothing is not waited for.
    """

    states: Final = (db.PLACED, db.TOLD)

    def __init__(
        self,
        *,
        cells: known_cells.KnownCells,
        letters: BuildLetters,
        link_error: Callable[[str], str | None],
        build_timeout: float,
    ) -> None:
        self._cells = cells
        self._letters = letters
        self._link_error = link_error
        self._build_timeout = build_timeout
        self._mute_since: dict[str, float] = {}

    def __call__(self, connection: sa.Connection, limit: int) -> None:
        """Look at so many."""
        due = db.attempts_due(connection, self.states, limit)
        rows, asked = self._letters.read(connection, due)
        buried = build_subjects.buried(connection, rows)
        db.attempts_set(connection, sorted(buried), db.CANCEL)
        now = db.time(connection)
        unconfirmed = db_journal.outbox_known(
            connection, {row['message_uuid'] for row in rows if row['message_uuid'] is not None}
        )
        together: collections.defaultdict[tuple[Any, ...], list[Row]]
        together = collections.defaultdict(list)
        for row in rows:
            if row['id'] not in buried:
                # What is on its way is looked at message by message, the rest cell by cell.
                uuid = row['message_uuid'] if row['message_uuid'] in unconfirmed else None
                age = int(now - row['created_at'])
                together[uuid, row['next_cell'], row['state'], age].append(row)
        for (message_uuid, cell, state, age), group in together.items():
            fate = db_journal.DONE
            if message_uuid is not None:
                fate = self._fate(connection, message_uuid, cell, group, asked, age)
            if fate in _HERE:
                continue
            if cell == self._cells.own_name or state == db.TOLD or age > self._build_timeout:
                self._overdue(connection, group, asked, age)
            elif self._cells.is_plain(cell) or fate == db_journal.UNCONFIRMED:
                # Of what a plain one was given ours in its place knows nothing.
                self._wait_for_plain(connection, group, age)
            else:
                self._wait(connection, cell, group, asked, age, fate == db_journal.DONE)
        db.requests_drop(connection, asked.keys())

    def _fate(
        self,
        connection: sa.Connection,
        message_uuid: str,
        cell: str,
        rows: Sequence[Row],
        asked: Mapping[str, Asked],
        age: float,
    ) -> str:
        """Return what has become of a message; take one back that has not left for too long."""
        untried = age > UNTRIED_SECONDS or not self._cells.is_child(cell)
        fate = db_journal.outbox_withdraw(connection, message_uuid, cell, untried)
        if fate == db_journal.WITHDRAWN:
            error = self._link_error(cell)
            reason = placement.UNREACHED + (': %s' % error if error else '')
            rows = db.attempts_together(connection, message_uuid)
            self._give_up(connection, rows, asked, reason, unheard=True)
        elif fate in _HERE:
            db.attempts_set(connection, [row['id'] for row in rows], db.PLACED, seconds=SOON)
        return fate

    def _wait_for_plain(self, connection: sa.Connection, rows: Sequence[Row], age: float) -> None:
        """Wait for a plain cell, which says what it builds to the top alone."""
        ids = [row['id'] for row in rows]
        if age < PLAIN_SECONDS:
            db.attempts_set(connection, ids, db.PLACED, seconds=_later(age))
        else:
            db.attempts_set(connection, ids, db.PASSED)

    def _wait(
        self,
        connection: sa.Connection,
        cell: str,
        rows: Sequence[Row],
        asked: Mapping[str, Asked],
        age: float,
        confirmed: bool,
    ) -> None:
        """Wait for what a cell of ours says, as long as it lives.

        :param confirmed: whether it has said that it got the build.
        """
        reason = None
        if self._is_silent(cell) and age > MUTE_SECONDS:
            reason = 'it has been silent for too long'
        elif age > UNCONFIRMED_SECONDS and not confirmed:
            reason = 'it has not taken the build in %d seconds' % age
        lost: list[Row] = []
        if reason is not None:
            found = build_subjects.with_host(connection, {row['instance_uuid'] for row in rows})
            lost = [row for row in rows if row['instance_uuid'] not in found]
            self._give_up(connection, lost, asked, reason)
        kept = [row['id'] for row in rows if row not in lost]
        db.attempts_set(connection, kept, db.PLACED, seconds=_later(age))

    def _is_silent(self, cell: str) -> bool:
        if not self._cells.is_child(cell):
            return True
        if not self._cells.is_mute(cell):
            self._mute_since.pop(cell, None)
            return False
        now = time.monotonic()
        return now - self._mute_since.setdefault(cell, now) >= SILENCE_SECONDS

    def _give_up(
        self,
        connection: sa.Connection,
        rows: Sequence[Row],
        asked: Mapping[str, Asked],
        reason: str,
        unheard: bool = False,
    ) -> None:
        """Take attempts from a cell.

        :param unheard: whether the cell cannot have heard of them, and need not be told.
        """
        for row in rows:
            one = asked[row['request_uuid']]
            if not unheard:
                self._letters.cancel(connection, one, row, row['next_cell'])
            reasons = one.below(row['next_cell'], reason[: placement.LONGEST_REASON])
            db.attempts_set(connection, [row['id']], db.REFUSED, reasons=reasons)

    def _overdue(
        self,
        connection: sa.Connection,
        rows: Sequence[Row],
        asked: Mapping[str, Asked],
        age: float,
    ) -> None:
        """Deal with attempts of which nothing has been heard for very long, or that are here."""
        ids = [row['id'] for row in rows]
        cell, state = rows[0]['next_cell'], rows[0]['state']
        if cell == self._cells.own_name or not self._cells.is_top:
            # What is built here ends by itself; of what is elsewhere the top knows more.
            if age > 2 * self._build_timeout:
                db.attempts_set(connection, ids, db.DONE)
            else:
                db.attempts_set(connection, ids, state, seconds=LATER)
            return
        found = build_subjects.with_host(connection, {row['instance_uuid'] for row in rows})
        on_host = [row['id'] for row in rows if row['instance_uuid'] in found]
        db.attempts_set(connection, on_host, db.BUILT)
        lost = [row for row in rows if row['instance_uuid'] not in found]
        reason = 'it has not said anything in %d seconds' % age
        if state == db.PLACED and not self._cells.is_plain(cell):
            self._give_up(connection, lost, asked, reason)
            return
        for row in lost:
            reasons = asked[row['request_uuid']].below(cell, reason)
            db.attempts_set(connection, [row['id']], db.HOPELESS, reasons=reasons)


def _later(age: float) -> float:
    return min(max(LATER, age / 4), LATEST)
