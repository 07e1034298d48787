"""Brings what was ordered of hosts to their agents, and gives it up when that takes too long.

One thread looks for hosts that have something due; each host is served by threads of its
own from a pool, so that one that is silent holds nobody up. An agent commits what it
accepts before it answers, and knows repetitions: what gets no answer is offered again,
ever more slowly. All workers share the work, as rows are claimed for a while.

At its deadline an operation has failed if no agent has accepted it, or if the host of the
agent that has is down. While the host lives it may go on as long as it takes.
"""

import collections
import concurrent.futures
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from cells import context, exceptions, remote_errors
from cells.compute import host_ops, host_outcomes, hosts, placing
from cells.db import engine, host_operations, services
from cells.patience import Patience
from cells.stats import Stats

LOG = logging.getLogger(__name__)

#: Most hosts that are served at a time, and most of these that did not answer last time.
LANES: Final = 64
SUSPECT_LANES: Final = 32
#: Most threads that serve one host; what did not answer last time has one.
LANES_PER_HOST: Final = hosts.WAITING_PER_HOST
#: Most operations of a host that a thread claims together, and for how many seconds.
CLAIM_SIZE: Final = 8
CLAIM_SECONDS: Final = 30.0
#: Seconds that the answer of an agent is waited for.
ACCEPT_SECONDS: Final = 5.0
#: Seconds until a host that did not answer is tried again, at first and at most.
SHORTEST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 10.0
POLL_SECONDS: Final = 1.0
OVERDUE_SIZE: Final = 100
KEEP_SECONDS: Final = 86400.0
#: Seconds between two looks for operations that have been over for long, how many go at once,
#: and seconds until the next go when there are more.
PURGE_INTERVAL: Final = 600.0
PURGE_SIZE: Final = 500
PURGE_AGAIN: Final = 5.0

#: What an agent answers while it cannot say whether it takes something.
_UNSURE: Final = (
    exceptions.ComputeServiceUnavailable,
    exceptions.DatabaseUnavailable,
    remote_errors.RemoteFailure,
)


class HostOperations:
    """The operations of all hosts, as one worker sends them.

    :param worker: the server name of this worker, unique among the living.
    :param caller: reaches the agents; used for nothing else.
    :param service_down_time: seconds without a report after which a host is down.
    :param on_ended: called after a commit that may have ordered something.
    """

    def __init__(
        self,
        *,
        database: engine.Database,
        worker: str,
        caller: hosts.HostClient,
        outcomes: host_outcomes.HostOutcomes,
        service_down_time: float,
        on_ended: Callable[[], None],
        stats: Stats,
    ) -> None:
        self._database = database
        self._worker = worker
        self._caller = caller
        self._outcomes = outcomes
        self._down_after = service_down_time
        self._on_ended = on_ended
        self._stats = stats
        self._stopped = threading.Event()
        self._wakeup = threading.Condition(threading.Lock())
        self._woken = True
        self._busy: collections.Counter[str] = collections.Counter()
        #: Host -> how often it was silent, and until when it is left alone.
        self._silent: dict[str, tuple[int, float]] = {}
        self._pool = concurrent.futures.ThreadPoolExecutor(LANES, 'host-operations')
        self._thread = threading.Thread(target=self._run, name='host-operations', daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Offer nothing more; an offer under way is waited for."""
        with self._wakeup:
            self._stopped.set()
        self.wake()
        if self._thread.is_alive():
            self._thread.join(ACCEPT_SECONDS)
        self._pool.shutdown(wait=True, cancel_futures=True)

    def wake(self) -> None:
        """Look for work now. Any thread."""
        with self._wakeup:
            self._woken = True
            self._wakeup.notify()

    def _run(self) -> None:
        patience = Patience('Operations of hosts', self._stopped)
        checked = time.monotonic()
        purge_at = checked + PURGE_INTERVAL
        released = False
        while True:
            with self._wakeup:
                if not self._woken and not self._stopped.is_set():
                    self._wakeup.wait(POLL_SECONDS)
                self._woken = False
            if self._stopped.is_set():
                return
            self._stats.beat('host-operations')
            try:
                if not released:
                    # What an earlier process in this worker's slot had claimed.
                    with self._database.write() as connection:
                        host_operations.ops_release(connection, self._worker)
                    released = True
                self._dispatch(host_operations.hosts_due(self._database))
                if time.monotonic() - checked > POLL_SECONDS:
                    checked = time.monotonic()
                    self._give_up()
                if time.monotonic() > purge_at:
                    purge_at = time.monotonic() + self._purge()
            except engine.ERRORS as error:
                patience.wait(error)
            except Exception:  # noqa: BLE001 - without this thread no agent would be told anything
                LOG.exception('The operations of hosts met what they do not know, going on')
                self._stopped.wait(POLL_SECONDS)
            else:
                patience.succeeded()

    def _purge(self) -> float:
        """Delete what has been over for long, some of it; return when to look again."""
        with self._database.write() as connection:
            purged = host_operations.ops_purge(
                connection, KEEP_SECONDS, PURGE_SIZE, kept=host_outcomes.CREATING
            )
        return PURGE_INTERVAL if purged < PURGE_SIZE else PURGE_AGAIN

    # -- to the agents --

    def _dispatch(self, due: Sequence[str]) -> None:
        if not due:
            return
        up = services.hosts_up(self._database, due, self._down_after)
        now = time.monotonic()
        with self._wakeup:
            suspects = sum(host in self._silent for host in self._busy)
            for host in due:
                _, until = self._silent.get(host, (0, 0.0))
                if host in self._busy or host not in up or until > now:
                    continue
                if host in self._silent:
                    if suspects >= SUSPECT_LANES:
                        continue
                    suspects += 1
                self._open_lane(host)

    def _open_lane(self, host: str) -> None:
        """Let one more thread serve a host; the caller holds the lock."""
        self._busy[host] += 1
        self._pool.submit(self._serve, host)

    def _help(self, host: str) -> None:
        """Let one more thread serve a host that has much to do."""
        with self._wakeup:
            answers = host not in self._silent and not self._stopped.is_set()
            if answers and self._busy[host] < LANES_PER_HOST:
                self._open_lane(host)

    def _serve(self, host: str) -> None:
        """Offer a host what is due for it, until nothing is left or it is silent."""
        try:
            while not self._stopped.is_set():
                with self._database.write() as connection:
                    rows = host_operations.ops_claim(
                        connection, self._worker, host, CLAIM_SECONDS, CLAIM_SIZE
                    )
                if not rows or not self._offer_all(host, rows):
                    return
        except engine.ERRORS as error:
            # The claims end by themselves; the other thread says that the database is away.
            LOG.debug('Operations of host %s: %s', host, engine.brief(error))
        except Exception:  # noqa: BLE001 - nobody looks at what a pool's task raised
            LOG.exception('The operations of host %s met what they do not know', host)
        finally:
            with self._wakeup:
                self._busy[host] -= 1
                if not self._busy[host]:
                    del self._busy[host]

    def _offer_all(self, host: str, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Offer operations one after the other; False when the host does not answer."""
        accepted: list[str] = []
        refused: list[tuple[str, host_ops.Outcome]] = []
        left = [row['op_id'] for row in rows]
        until = time.monotonic() + CLAIM_SECONDS - ACCEPT_SECONDS
        problem: str | None = None
        for row in rows:
            if self._stopped.is_set() or time.monotonic() > until:
                problem = ''
                break
            if self._is_wanted_again(host, row):
                left.remove(row['op_id'])
                continue
            try:
                self._offer(host, row)
            except _UNSURE as error:
                problem = str(error)
                break
            except (exceptions.WireError, *remote_errors.BUILTINS) as error:
                refused.append((row['op_id'], host_ops.failed(error)))
            else:
                accepted.append(row['op_id'])
                if len(accepted) == 1 and len(rows) == CLAIM_SIZE:
                    # It answers, and there may be more for it.
                    self._help(host)
            left.remove(row['op_id'])
        pause = self._note_answer(host, problem)
        with self._database.write() as connection:
            if accepted:
                host_operations.ops_accepted(connection, accepted)
            if left:
                host_operations.ops_postpone(connection, left, pause, problem or None)
        self._stats.count('host_operations_accepted', len(accepted))
        for op_id, outcome in refused:
            self._stats.count('host_operations_refused')
            self._outcomes.end(op_id, outcome)
        if refused:
            self._on_ended()
        return problem is None

    def _is_wanted_again(self, host: str, row: Mapping[str, Any]) -> bool:
        """Tell whether a machine that is to be removed has come to belong where it is."""
        if row['instance_uuid'] != host_operations.STRAY:
            return False
        uuid = str(row['instance']['uuid'])
        with self._database.write() as connection:
            if not placing.belongs(connection, uuid, host):
                return False
            host_operations.op_end(connection, row['op_id'], host_operations.CANCELLED, None)
        LOG.info('Instance %s belongs to host %s again and is not removed', uuid, host)
        return True

    def _offer(self, host: str, row: Mapping[str, Any]) -> None:
        self._caller.call(
            context.RequestContext.from_wire(row['ctxt']),
            host,
            'accept',
            ACCEPT_SECONDS,
            op_id=row['op_id'],
            operation=row['method'],
            instance=row['instance'],
            args=row['args'],
            deadline=row['deadline'],
        )

    def _note_answer(self, host: str, problem: str | None) -> float:
        """Note whether a host has answered; return in how many seconds it is tried again."""
        if problem == '':
            return 0.0
        with self._wakeup:
            times, _ = self._silent.pop(host, (0, 0.0))
            if problem is None:
                if times:
                    LOG.info('Host %s takes operations again', host)
                return 0.0
            pause = min(SHORTEST_PAUSE * 2 ** min(times, 10), LONGEST_PAUSE)
            self._silent[host] = (times + 1, time.monotonic() + pause)
        if not times:
            LOG.warning('Host %s takes no operations, trying until it does: %s', host, problem)
        return pause

    # -- what takes too long --

    def _give_up(self) -> None:
        found = host_operations.ops_overdue(self._database, OVERDUE_SIZE)
        if not found:
            return
        up = services.hosts_up(self._database, {row['host'] for row in found}, self._down_after)
        # What was never offered to a host that is up is about to be.
        over = [
            row
            for row in found
            if row['host'] not in up
            or (row['state'] == host_operations.PENDING and row['attempts'])
        ]
        for row in over:
            self._stats.count('host_operations_given_up')
            self._outcomes.end(row['op_id'], host_ops.failed(_unavailable(row, up)))
        if over:
            self._on_ended()


def _unavailable(
    row: Mapping[str, Any], up: Collection[str]
) -> exceptions.ComputeServiceUnavailable:
    host = row['host']
    if host not in up:
        reason = 'it is down'
    else:
        reason = (row['result'] or {}).get('reason') or 'it does not answer'
    if reason.startswith('Compute service of'):
        return exceptions.ComputeServiceUnavailable(reason, host=host)
    return exceptions.ComputeServiceUnavailable(
        'Compute service of %s is unavailable at this time: %s, and %s was not carried out in time'
        % (host, reason, row['method']),
        host=host,
    )
