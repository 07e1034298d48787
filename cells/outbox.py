"""Changes on their way to neighbours, until these have confirmed them.

A row is written in the transaction that makes the change. One thread claims
what is due, hands it to the driver, whose senders are apart for each
neighbour, and notes in groups how it went. A neighbour of our own kind
confirms with ``x_receipt`` when the change is in its journal; until then it
gets it again. A plain nova-cells cannot: what its broker has taken is kept as
sent, unconfirmed, as a second copy would be carried out twice.
"""

import collections
import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from cells import context, exceptions, operations, sightings
from cells.db import engine
from cells.db import journal as db_journal
from cells.drivers import base
from cells.patience import Patience
from cells.state import CellStateManager
from cells.stats import Stats

LOG = logging.getLogger(__name__)

#: Most rows that are claimed for a neighbour, and that are handed to its sender, at a time.
CLAIM_SIZE: Final = 64
CLAIM_SECONDS: Final = 120.0
#: A neighbour that was never heard of gets a change again after so long: a plain one has
#: told its capabilities by then, and is known as such.
STRANGER_SECONDS: Final = 120.0
POLL_SECONDS: Final = 1.0
#: Seconds until a failed row is due again, at first and at most.
SHORTEST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
LONGEST_RECEIPT_PAUSE: Final = 300.0


class _Ended(NamedTuple):
    """What became of a row that was handed to a sender.

    :ivar plain: whether the neighbour was a plain one then.
    """

    row_id: int
    attempts: int
    sent: bool
    plain: bool


class Outbox:
    """The outbox of a cell, as one worker empties it.

    :param receipt_timeout: seconds after which an unconfirmed change is sent again.
    """

    def __init__(
        self,
        *,
        database: engine.Database,
        worker: str,
        driver: base.CellsDriver,
        state: CellStateManager,
        stats: Stats,
        receipt_timeout: float,
    ) -> None:
        self._database = database
        self._worker = worker
        self._driver = driver
        self._state = state
        self._stats = stats
        self._receipt_timeout = receipt_timeout
        self._stopped = threading.Event()
        self._wakeup = threading.Condition(threading.Lock())
        self._woken = False
        self._in_flight: collections.Counter[str] = collections.Counter()
        self._ended: list[_Ended] = []
        self._confirmed: list[tuple[str, list[str]]] = []
        self._thread = threading.Thread(target=self._run, name='outbox', daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def hold(self) -> None:
        """Claim nothing more; what the senders have may still go out."""
        self._stopped.set()
        self.wake()
        if self._thread.is_alive():
            self._thread.join(5)

    def finish(self) -> None:
        """Note what became of what the senders had; call when these have ended."""
        try:
            self._note()
        except engine.ERRORS as error:
            LOG.warning('What was sent last is not noted: %s', engine.brief(error))

    def wake(self) -> None:
        """Look for work now. Any thread."""
        with self._wakeup:
            self._woken = True
            self._wakeup.notify()

    def confirm(self, neighbour: str, uuids: list[str]) -> None:
        """Take it that a neighbour has these in its journal. Returns at once."""
        with self._wakeup:
            self._confirmed.append((neighbour, uuids))
            self._woken = True
            self._wakeup.notify()

    def _run(self) -> None:
        patience = Patience('Outbox', self._stopped)
        polled = 0.0
        while True:
            with self._wakeup:
                if not self._woken and not self._stopped.is_set():
                    self._wakeup.wait(POLL_SECONDS)
                self._woken = False
            self._stats.beat('outbox')
            try:
                self._note()
                if self._stopped.is_set():
                    return
                for neighbour in db_journal.outbox_due(self._database, db_journal.PENDING):
                    self._send_due(neighbour)
                if time.monotonic() - polled > POLL_SECONDS:
                    polled = time.monotonic()
                    self._remind()
            except engine.ERRORS as error:
                if self._stopped.is_set():
                    return
                patience.wait(error)
            except Exception:  # noqa: BLE001 - without this thread no change leaves the cell
                LOG.exception('The outbox met what it does not know, going on')
                self._stopped.wait(POLL_SECONDS)
            else:
                patience.succeeded()

    def _note(self) -> None:
        with self._wakeup:
            ended, self._ended = self._ended, []
            confirmed, self._confirmed = self._confirmed, []
        if not ended and not confirmed:
            return
        try:
            # Rows are locked in one order within a transaction, so each gets its own.
            self._note_ended(ended)
            ended = []
            while confirmed:
                self._confirm(*confirmed[0])
                confirmed.pop(0)
        except engine.ERRORS:
            with self._wakeup:
                self._ended = ended + self._ended
                self._confirmed = confirmed + self._confirmed
            raise

    def _confirm(self, neighbour: str, uuids: list[str]) -> None:
        try:
            with self._database.write() as connection:
                db_journal.outbox_confirm(connection, neighbour, uuids)
        except engine.ERRORS as error:
            if not engine.is_data_error(error):
                raise
            LOG.warning('A receipt of cell %s is dropped: %s', neighbour, engine.brief(error))

    def _note_ended(self, ended: list[_Ended]) -> None:
        groups: collections.defaultdict[tuple[bool, bool, int], list[int]]
        groups = collections.defaultdict(list)
        for one in ended:
            groups[one.sent, one.plain, one.attempts].append(one.row_id)
        for (sent, plain, attempts), ids in groups.items():
            patience = self._receipt_timeout * 2 ** min(attempts, 10)
            pause = min(SHORTEST_PAUSE * 2 ** min(attempts, 10), LONGEST_PAUSE)
            with self._database.write() as connection:
                if sent:
                    longest = min(patience, LONGEST_RECEIPT_PAUSE)
                    db_journal.outbox_sent(connection, ids, longest, plain)
                else:
                    delay = pause * random.uniform(0.5, 1)  # noqa: S311
                    db_journal.outbox_not_sent(connection, ids, delay)

    def _send_due(self, name: str) -> None:
        neighbour = self._state.topology.get(name)
        if neighbour is None:
            return  # gone from the tree for now; its changes wait
        room = CLAIM_SIZE - self._in_flight[name]
        if room <= 0:
            return
        with self._database.write() as connection:
            rows = db_journal.outbox_claim(
                connection,
                self._worker,
                name,
                CLAIM_SECONDS,
                room,
                confirms=self._state.sightings.is_ours(name),
            )
        for row in rows:
            outgoing = base.Outgoing(
                kind=operations.Kind(row['kind']),
                text=row['envelope'],
                ctxt=context.rpc_context({}),
                on_sent=self._teller(row, name),
            )
            with self._wakeup:
                self._in_flight[name] += 1
            try:
                self._driver.send(neighbour, outgoing)
            except exceptions.NotSent as error:
                assert outgoing.on_sent is not None
                outgoing.on_sent(error)

    def _teller(self, row: dict[str, Any], name: str) -> Callable[[Exception | None], None]:
        def tell(error: Exception | None) -> None:
            self._stats.count('outbox_sent' if error is None else 'outbox_not_sent', neighbour=name)
            # As it is now: one that comes in its place must not get what this one has.
            plain = self._state.sighting(name).protocol == 0
            with self._wakeup:
                self._in_flight[name] -= 1
                self._ended.append(_Ended(row['id'], row['attempts'], error is None, plain))
                # A failure is noted at the next look: nothing is won by hurrying.
                if error is None:
                    self._woken = True
                    self._wakeup.notify()

        return tell

    def _remind(self) -> None:
        for name in db_journal.outbox_due(self._database, db_journal.SENT):
            sighting = self._state.sighting(name)
            if sighting.is_ours and sighting.plain_in_a_row:
                continue  # whether it is still ours is known in a moment
            with self._database.write() as connection:
                rows = db_journal.outbox_overdue(
                    connection,
                    name,
                    plain=sighting.protocol == 0,
                    older_than=_settled_for(sighting),
                )
            if rows and sighting.protocol != 0:
                LOG.info('Cell %s has not confirmed %d changes, sending them again', name, rows)
            self._stats.count('outbox_overdue', rows, neighbour=name)


def _settled_for(seen: sightings.Sighting) -> float:
    """Return how many seconds ago a neighbour must have been sent what may be sent again.

    One of our kind must have spoken since: it may be away, with the first copy in its broker,
    and come back as a plain one, which would carry out each copy.
    """
    if seen.is_ours:
        return time.monotonic() - seen.heard
    return STRANGER_SECONDS if seen.protocol < 0 else 0.0
