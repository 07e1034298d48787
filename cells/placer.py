"""Gives builds to cells, and to the next ones when nothing comes of that.

An attempt leaves a cell only when a second instance cannot come of it: the broker of
the cell has never had the message; the cell has refused, or a plain one has reported an
error without ever having had a host; or the cell is told to drop the attempt, which it does
whenever it hears of it. When no cell is left, the record at the top gets the reasons of all.

All workers of a cell do this, one at a time (:func:`cells.db.placements.lock`), so that
each sees what the others have given out.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection
from typing import Final, Protocol

import sqlalchemy as sa

from cells import known_cells, patience, scheduler
from cells.build_choice import BuildChoice, Builder
from cells.build_letters import BuildLetters
from cells.build_outcomes import BuildOutcomes
from cells.build_watch import BuildWatch
from cells.db import engine
from cells.db import placements as db
from cells.letters import Letters
from cells.stats import Stats

LOG = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.5
#: Seconds that a turn may take.
BEAT_SECONDS: Final = 120.0
#: Attempts in one transaction.
BATCH: Final = 100
#: Seconds until what cannot be dealt with is tried again.
ASIDE_SECONDS: Final = 60.0
#: Seconds between two looks for attempts that have been over for long, how many go at once, and
#: seconds until the next go when there are more.
PURGE_INTERVAL: Final = 600.0
PURGE_SIZE: Final = 1000
PURGE_AGAIN: Final = 5.0


class Step(Protocol):
    """Deals with attempts of some states."""

    @property
    def states(self) -> Collection[str]:
        """Which states."""

    def __call__(self, connection: sa.Connection, limit: int) -> None:
        """Deal with so many that are due, in a transaction that holds the lock."""


class Placer:
    """Deals with all attempts of a cell, as one of its workers.

    :param steps: in this order.
    :param on_change: called after a commit that may have left work for others.
    """

    def __init__(
        self,
        *,
        database: engine.Database,
        steps: Collection[Step],
        on_change: Callable[[], None],
        stats: Stats,
    ) -> None:
        self._stats = stats
        self._database = database
        self._steps = tuple(steps)
        self._on_change = on_change
        self._stopped = threading.Event()
        self._wakeup = threading.Event()
        self._purge_at = time.monotonic() + PURGE_INTERVAL
        self._thread = threading.Thread(target=self._run, name='placer', daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the present transaction."""
        self._stopped.set()
        self._wakeup.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def wake(self) -> None:
        """Look for work now. Any thread."""
        self._wakeup.set()

    def turn(self) -> bool:
        """Do what is due, one transaction for each step; False when nothing was."""
        due = db.states_due(self._database)
        busy = False
        for step in self._steps:
            if due.intersection(step.states):
                busy = True
                self._take(step)
                # What one step has ended is for another to go on with.
                due = db.states_due(self._database)
        if busy:
            self._on_change()
        return busy

    def _take(self, step: Step) -> None:
        try:
            self._do(step, BATCH)
        except engine.ERRORS as error:
            if engine.is_transient(error):
                raise
            LOG.error('Builds: the database refuses something: %s', engine.brief(error))
            self._take_singly(step)
        except Exception:  # noqa: BLE001 - one attempt must not keep all others from being built
            LOG.exception('Builds met what they do not know')
            self._take_singly(step)

    def _take_singly(self, step: Step) -> None:
        """Find out which attempt it is that cannot be dealt with, and leave it for later."""
        for _ in range(BATCH):
            if self._stopped.is_set() or not db.states_due(self._database).intersection(
                step.states
            ):
                return
            try:
                self._do(step, 1)
            except Exception as error:  # noqa: BLE001 - as above
                if isinstance(error, engine.ERRORS) and engine.is_transient(error):
                    raise
                with self._database.write() as connection:
                    db.lock(connection)
                    name = db.attempt_put_aside(connection, step.states, ASIDE_SECONDS)
                LOG.error('The build of instance %s is put aside: %s', name, engine.brief(error))

    def _do(self, step: Step, limit: int) -> None:
        with self._database.write() as connection:
            db.lock(connection)
            step(connection, limit)

    def _run(self) -> None:
        patient = patience.Patience('Builds', self._stopped)
        while not self._stopped.is_set():
            self._wakeup.wait(POLL_SECONDS)
            self._wakeup.clear()
            try:
                more = True
                while more and not self._stopped.is_set():
                    self._stats.beat('placer', BEAT_SECONDS)
                    more = self.turn()
                self._purge()
            except engine.ERRORS as error:
                patient.wait(error)
            except Exception:  # noqa: BLE001 - without this thread nothing is built
                LOG.exception('Builds met what they do not know, going on')
                self._stopped.wait(POLL_SECONDS)
            else:
                patient.succeeded()

    def _purge(self) -> None:
        if time.monotonic() < self._purge_at:
            return
        self._purge_at = time.monotonic() + PURGE_INTERVAL
        with self._database.write() as connection:
            if db.attempts_purge(connection, PURGE_SIZE) == PURGE_SIZE:
                self._purge_at = time.monotonic() + PURGE_AGAIN


def make(
    *,
    database: engine.Database,
    cells: known_cells.KnownCells,
    chooser: scheduler.CellsScheduler,
    writer: Letters,
    builder: Builder,
    enabled: Callable[[], bool],
    link_error: Callable[[str], str | None],
    on_change: Callable[[], None],
    retries: int,
    retry_delay: float,
    build_timeout: float,
    max_hop_count: int,
    stats: Stats,
) -> Placer:
    """Return what deals with the builds of a cell.

    :param builder: builds in this cell.
    :param retries: and ``retry_delay``: how often, and every how many seconds, it is looked
        again when cells have room but for what is on its way to them.
    """
    letters = BuildLetters(writer=writer, cells=cells, max_hop_count=max_hop_count)
    delay = max(1.0, retry_delay)
    return Placer(
        database=database,
        steps=[
            BuildOutcomes(
                cells=cells, letters=letters, builder=builder, build_timeout=build_timeout
            ),
            BuildWatch(
                cells=cells, letters=letters, link_error=link_error, build_timeout=build_timeout
            ),
            BuildChoice(
                cells=cells,
                chooser=chooser,
                letters=letters,
                builder=builder,
                enabled=enabled,
                retry_seconds=max(0, retries) * delay,
                retry_delay=delay,
                stats=stats,
            ),
        ],
        on_change=on_change,
        stats=stats,
    )
