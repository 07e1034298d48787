"""The sweep: no order ends in silence, and no task state stays for ever (T5, R1).

Every order for an instance that the journal of a cell has taken is carried out once, or is
reported as failed:

- refused by the instance: after ``REFUSED_SECONDS`` (3 s) in its cell;
- with no way to its cell, or refused for another reason: at once;
- with a cell that cannot be reached, or does not get to it: after ``[cells] action_timeout``
  for each cell on the way; what was sent by then and not confirmed is known when the cell is
  back, which carries nothing out that is older;
- forgotten, in whatever way: the cell of the instance finds it ``OLD_SECONDS`` (60 s) after
  the last change, and the top, which asks the cell, within ``OLD_SECONDS`` and two turns of
  ``TURN_SECONDS`` (15 s), if the cell can be reached. If it cannot, nothing is known and
  nothing is changed; the status of the top says how many wait for which cell.

A build that no cell has, and nobody is looking for one, ends after ``BUILD_OLD_SECONDS``.
"""

import logging
import threading
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells import exceptions, leases, orders, wire
from cells.compute.means import Means
from cells.db import engine, sweeping
from cells.db import journal as db_journal
from cells.failure_reports import FailureReports
from cells.messaging import MessageRunner
from cells.state import CellStateManager
from cells.stats import Stats
from cells.sweep_own import OwnSweep
from cells.sweep_top import TopSweep

LOG = logging.getLogger(__name__)

TURN_SECONDS: Final = 15.0
#: Seconds that a turn may take, with the cells that are asked in it and do not answer.
BEAT_SECONDS: Final = 900.0
#: Seconds since its last change after which a task may have been forgotten; of a build at the
#: top that no cell has.
OLD_SECONDS: Final = 60.0
BUILD_OLD_SECONDS: Final = 600.0

PAGE: Final = 100


class Sweep:
    """Sweeps for one worker, if it has the lease.

    :param top: or ``own``: what is looked at; the other is None.
    :param action_timeout: seconds after which an order is not carried out any more.
    """

    def __init__(
        self,
        *,
        database: engine.Database,
        state: CellStateManager,
        lease: leases.Lease,
        reports: FailureReports,
        top: TopSweep | None,
        own: OwnSweep | None,
        action_timeout: float,
        stats: Stats,
    ) -> None:
        self._database = database
        self._state = state
        self._lease = lease
        self._reports = reports
        self._top = top
        self._own = own
        self._action_timeout = action_timeout
        self._stats = stats
        self._stopped = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name='sweep', daemon=True)

    def start(self) -> None:
        """Begin."""
        self._lease.start()
        self._thread.start()

    def stop(self) -> None:
        """End after the turn that is under way."""
        self._stopped.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(5)
        self._lease.stop()

    def wake(self) -> None:
        """Take a turn at once."""
        self._woken.set()

    def status(self) -> dict[str, Any]:
        """Return what has been under way for long, by cell, and what cannot be asked for."""
        return {
            'under_way': sweeping.unsettled(self._database, OLD_SECONDS),
            'unknown': dict(self._top.unknown) if self._top is not None else {},
            'inconsistent': sweeping.inconsistent(self._database),
        }

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._woken.wait(TURN_SECONDS)
            self._woken.clear()
            self._stats.beat('sweep', BEAT_SECONDS)
            if self._stopped.is_set() or not self._lease.held:
                continue
            for turn in (self.withdraw, self._sweep):
                try:
                    turn()
                except engine.ERRORS as error:
                    LOG.info('The sweep is put off: %s', engine.brief(error))
                except Exception:  # noqa: BLE001 - without this thread tasks stay for ever
                    LOG.exception('The sweep met what it does not know, going on')

    def _sweep(self) -> None:
        if self._top is not None:
            self._top.sweep()
        if self._own is not None:
            self._own.sweep()

    # -- orders that no broker has taken --

    def withdraw(self) -> None:
        """Report the orders that lay here for too long, and send them no more."""
        after = 0
        while True:
            with self._database.read() as connection:
                rows = sweeping.overdue(connection, self._action_timeout, after, PAGE)
            for row in rows:
                self._try_withdraw(row)
            if len(rows) < PAGE:
                return
            after = rows[-1]['id']

    def _try_withdraw(self, row: Mapping[str, Any]) -> None:
        """Report an order; one that cannot be reported does not keep those behind it from it."""
        try:
            with self._database.write() as connection:
                self._withdraw(connection, row)
        except Exception as error:  # noqa: BLE001 - as above
            if isinstance(error, engine.ERRORS) and engine.is_transient(error):
                raise
            self._stats.count('sweep_failed')
            LOG.error(
                'That %s was not sent to cell %s cannot be reported: %s',
                row['uuid'],
                row['neighbour'],
                engine.brief(error),
                exc_info=None if isinstance(error, exceptions.CellsError) else error,
            )

    def _withdraw(self, connection: sa.Connection, row: Mapping[str, Any]) -> None:
        try:
            message = wire.decode(row['envelope'])
        except exceptions.InvalidMessage:
            return
        order = orders.order_of(message)
        if order is None or not order.ages:
            return
        fate = db_journal.outbox_withdraw(connection, row['uuid'], row['neighbour'], untried=True)
        if fate != db_journal.WITHDRAWN:
            return
        error = exceptions.CellTimeout(
            'Cell %s could not be reached for %d seconds'
            % (message.routing_path.hopped(row['neighbour']), self._action_timeout),
            cell_name=row['neighbour'],
        )
        self._reports.report(connection, message, error)
        self._stats.count('orders_withdrawn', neighbour=row['neighbour'])
        LOG.warning(
            '%s %s was not sent to cell %s within %d seconds, and is reported as failed',
            message.method_name,
            wire.bare_uuid(message.uuid),
            row['neighbour'],
            self._action_timeout,
        )


def make(
    *,
    is_top: bool,
    database: engine.Database,
    state: CellStateManager,
    runner: MessageRunner,
    worker: str,
    own_name: str,
    service_down_time: float,
    action_timeout: float,
    stats: Stats,
) -> Sweep:
    """Return the sweep of a worker."""
    top = own = None
    if is_top:
        top = TopSweep(
            database=database,
            state=state,
            runner=runner,
            stats=stats,
            older_than=OLD_SECONDS,
            build_older_than=BUILD_OLD_SECONDS,
        )
    else:
        own = OwnSweep(
            database=database,
            means=Means(cell=own_name, service_down_time=service_down_time),
            stats=stats,
            older_than=OLD_SECONDS,
        )
    return Sweep(
        database=database,
        state=state,
        lease=leases.Lease(database=database, name='sweep', holder=worker),
        reports=runner.failure_reports,
        top=top,
        own=own,
        action_timeout=action_timeout,
        stats=stats,
    )
