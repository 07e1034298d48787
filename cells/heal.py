"""Healing: what the cells above know of the instances here is compared, and repaired.

Round after round over all instances, whatever their age (S1, S3, S20), and for each order to
sync. A round goes by pages; workers take different ones, so that several are as many times as
fast, and one that dies leaves its page to the others. A page is taken per interval, so that
users do not feel it, and no faster than what is told finds its way up. Pages bound memory,
however large the cell (P6).

With one worker a round over N instances takes N / page length * page interval; it begins
``round interval`` seconds after the one before, at the earliest. So what differs is told again
within the round interval and the time of two rounds, divided by the number of workers.

A plain cell above cannot compare: it is told all, at the pace of nova's options.
"""

import collections
import dataclasses
import logging
import threading
import time
import uuid as uuids
from typing import Any, Final

from cells import comparison
from cells.comparison import Compared, Comparison
from cells.db import engine, healing, sync_requests, walks
from cells.db.walks import ROUND, Page, Pages
from cells.messaging import MessageRunner
from cells.patience import Patience
from cells.state import CellStateManager
from cells.stats import Stats

LOG = logging.getLogger(__name__)

#: What the walks of orders are called.
ORDER: Final = 'order-'

CLAIM_SECONDS: Final = 120.0
#: Seconds that a turn may take, with the questions that are asked in it.
BEAT_SECONDS: Final = 300.0
#: Seconds until a page is tried again that the cells above did not compare, at first and most.
SHORTEST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
#: For how long it is believed that a cell above cannot compare.
PLAIN_SECONDS: Final = 300.0
#: Orders that are worked on at a time.
MOST_ORDERS: Final = 8
#: Instances that are remembered to be looked at again.
MOST_UNSETTLED: Final = 5000
#: No more is marked while so many marks wait to be told.
MOST_WAITING: Final = 5000
#: Seconds of a run of the healing of nova-cells.
PLAIN_RUN: Final = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Pace:
    """How fast it goes.

    :ivar page_length: instances that are looked at together.
    :ivar page_interval: seconds between two pages of a worker.
    :ivar round_interval: seconds between the beginnings of two rounds, at least.
    :ivar plain_number: instances that a plain cell above is told of in a minute.
    :ivar plain_recent: only those that changed within so many seconds; 0 for all.
    """

    page_length: int
    page_interval: float
    round_interval: float
    plain_number: int
    plain_recent: int


class Healing:
    """Heals for one worker.

    :param worker: the server name of this worker, unique among the living.
    """

    def __init__(
        self,
        *,
        database: engine.Database,
        worker: str,
        runner: MessageRunner,
        state: CellStateManager,
        stats: Stats,
        pace: Pace,
    ) -> None:
        self._database = database
        self._worker = worker
        self._state = state
        self._stats = stats
        self._pace = pace
        self._comparison = Comparison(database=database, runner=runner, stats=stats)
        self._stopped = threading.Event()
        self._woken = threading.Event()
        self._plain_until = 0.0
        self._plain_due = 0.0
        self._failures = 0
        self._reason: str | None = None
        self._later: collections.deque[tuple[float, str, str]] = collections.deque()
        self._thread = threading.Thread(target=self._run, name='heal', daemon=True)

    def start(self) -> None:
        """Give back what an earlier process in this slot had, and begin."""
        Patience('Healing', self._stopped).insist(self._release)
        self._thread.start()

    def _release(self) -> None:
        with self._database.write() as connection:
            walks.release_all(connection, self._worker)

    def stop(self) -> None:
        """End after the page that is under way."""
        self._stopped.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def wake(self) -> None:
        """Take a page at once."""
        self._woken.set()

    def status(self) -> dict[str, Any]:
        """Return how far the round is, what the last one came to, and what is in the way."""
        with self._database.read() as connection:
            now = walks.walk_get(connection, ROUND)
            last = walks.walk_get(connection, ROUND + walks.LAST)
        found: dict[str, Any] = {'error': self._reason, 'plain_above': self._is_plain()}
        for name, walk in (('round', now), ('last_round', last)):
            if walk is not None:
                found[name] = {
                    'number': walk['round'],
                    'looked_at': walk['looked_at'],
                    'repaired': walk['repaired'],
                    'started_at': walk['started_at'],
                }
        if now is not None:
            found['round']['position'] = now['position']
        if last is not None:
            found['last_round']['ended_at'] = last['claimed_until']
        return found

    # -- the thread --

    def _run(self) -> None:
        patience = Patience('Healing', self._stopped)
        while not self._stopped.is_set():
            pause = self._pace.page_interval
            self._stats.beat('heal', BEAT_SECONDS + pause)
            try:
                pause = max(pause, self._turn())
            except engine.ERRORS as error:
                patience.wait(error)
                continue
            except Exception:  # noqa: BLE001 - without this thread nothing is healed
                LOG.exception('Healing met what it does not know, going on')
            else:
                patience.succeeded()
            self._woken.wait(pause)
            self._woken.clear()

    def _turn(self) -> float:
        """Take a page of everything there is to do; return for how long to rest at least."""
        if not self._state.topology.parents:
            return SHORTEST_PAUSE
        if healing.waiting(self._database) > MOST_WAITING:
            return SHORTEST_PAUSE
        try:
            for order in sync_requests.sync_request_open(self._database, MOST_ORDERS):
                self._work_on(order)
            self._look_again()
            self._go_round()
        except comparison.PlainAbove as error:
            if not self._is_plain():
                LOG.info('The cells above are told all of instances, not asked: %s', error)
            self._plain_until = time.monotonic() + PLAIN_SECONDS
        except comparison.NotCompared as error:
            return self._failed(str(error))
        if self._reason is not None:
            LOG.info('The cells above compare instances again')
        self._reason, self._failures = None, 0
        return 0.0

    def _failed(self, reason: str) -> float:
        if self._reason is None:
            LOG.warning(
                'The cells above do not compare instances, trying until they do: %s', reason
            )
        self._reason = reason
        pause = min(LONGEST_PAUSE, SHORTEST_PAUSE * 2 ** min(self._failures, 16))
        self._failures += 1
        return pause

    def _is_plain(self) -> bool:
        if time.monotonic() < self._plain_until:
            return True
        return any(map(self._state.sightings.is_plain, self._state.topology.parents))

    # -- the round --

    def _go_round(self) -> None:
        plain = self._is_plain()
        if plain and time.monotonic() < self._plain_due:
            return
        length = self._pace.page_length
        pages: Pages = healing.living
        if plain:
            if self._pace.plain_number <= 0:
                return
            length = min(length, self._pace.plain_number)
            pages = healing.recently_changed(self._pace.plain_recent)
        if walks.walk_rests(self._database, ROUND):
            return
        with self._database.write() as connection:
            walks.walk_begin(connection, ROUND)
            page = walks.page_take(connection, ROUND, self._worker, CLAIM_SECONDS, length, pages)
        if page is None:
            self._end_round()
            return
        if plain:
            spent = PLAIN_RUN * len(page.uuids) / self._pace.plain_number
            self._plain_due = time.monotonic() + spent
        found = self._look_at(page, whole=True)
        with self._database.write() as connection:
            walks.page_done(connection, page, self._worker, found.looked_at, found.repaired)
        self._end_round()

    def _end_round(self) -> None:
        with self._database.write() as connection:
            over = walks.walk_over(connection, ROUND)
            if over is None:
                return
            rest = max(0.0, self._pace.round_interval - over['seconds'])
            walks.walk_again(connection, over, rest)
        LOG.info(
            'Round %d of healing is over: %d instances were looked at in %d seconds, and %d told '
            'again',
            over['round'],
            over['looked_at'],
            over['seconds'],
            over['repaired'],
        )

    def _look_at(self, page: Page, whole: bool) -> Compared:
        """Compare the instances of a page, or tell all of them again.

        :param whole: whether they are all instances of that range.
        :raises NotCompared: the cells above did not answer; then anybody may take it again.
        """
        try:
            if self._is_plain():
                return self._tell(page)
            found = self._comparison.compare(
                sorted(self._state.topology.parents), page.uuids, page if whole else None
            )
        except comparison.NotCompared:
            with self._database.write() as connection:
                walks.page_later(connection, page, self._worker, SHORTEST_PAUSE)
            raise
        due = time.monotonic() + comparison.SETTLE_SECONDS
        room = MOST_UNSETTLED - len(self._later)
        self._later.extend((due, page.walk, uuid) for uuid in sorted(found.unsettled)[:room])
        return found

    def _tell(self, page: Page) -> Compared:
        with self._database.write() as connection:
            fresh = healing.unsettled(connection, page.uuids, 0.0)
            told = healing.tell_again(
                connection, {uuid: None for uuid in page.uuids if uuid not in fresh}
            )
        self._stats.count('instances_told_again', len(told))
        return Compared(len(page.uuids), len(told))

    def _look_again(self) -> None:
        """Compare what had just changed when its page was."""
        due: dict[str, list[str]] = {}
        length = self._pace.page_length
        while self._later and self._later[0][0] <= time.monotonic() and length:
            _, walk, uuid = self._later.popleft()
            due.setdefault(walk, []).append(uuid)
            length -= 1
        if self._is_plain():
            return
        for walk, named in due.items():
            # What has changed again since will be looked at in the next round.
            found = self._comparison.compare(sorted(self._state.topology.parents), named)
            with self._database.write() as connection:
                walks.count(connection, walk, found.looked_at, found.repaired)

    # -- orders --

    def _work_on(self, order: dict[str, Any]) -> None:
        """Take a page of an order to sync."""
        walk = ORDER + uuids.uuid5(uuids.NAMESPACE_OID, order['uuid']).hex[:16]
        pages = healing.matching(order['project_id'], order['updated_since'], order['deleted'])
        with self._database.write() as connection:
            walks.walk_begin(connection, walk)
            page = walks.page_take(
                connection, walk, self._worker, CLAIM_SECONDS, self._pace.page_length, pages
            )
        if page is not None:
            found = self._look_at(page, whole=False)
            with self._database.write() as connection:
                if walks.page_done(connection, page, self._worker, found.looked_at, found.repaired):
                    sync_requests.sync_request_progress(
                        connection,
                        order['uuid'],
                        page.until,
                        found.looked_at + len(found.unsettled),
                        found.repaired,
                    )
        with self._database.write() as connection:
            over = walks.walk_over(connection, walk)
            if over is None:
                return
            walks.walk_drop(connection, walk)
            sync_requests.sync_request_end(connection, order['uuid'])
        LOG.info(
            'The order to sync %s is carried out: %d instances were looked at, and %d told again',
            order['uuid'],
            over['looked_at'],
            over['repaired'],
        )
