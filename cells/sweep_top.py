"""At the top: records that have been under way for long, and whether their cells know of it."""

import collections
import logging
import time
from collections.abc import Mapping
from concurrent import futures
from typing import Any, Final

import sqlalchemy as sa

from cells import context, exceptions, failures, inconsistencies, paths, remote_errors
from cells.db import engine, instance_actions, replicas, sweeping
from cells.db import instances as db_instances
from cells.messaging import MessageRunner
from cells.state import CellStateManager
from cells.stats import Stats

LOG = logging.getLogger(__name__)

OPERATION: Final = 'x_instances_state'
#: Records that are read, and asked for, at a time.
PAGE: Final = 500
#: Cells that are asked at the same time.
THREADS: Final = 8
#: Seconds until a cell is asked again for the same task, at first and at most.
SHORTEST_PAUSE: Final = 15.0
LONGEST_PAUSE: Final = 300.0

Row = dict[str, Any]


class TopSweep:
    """Asks the cells of what is under way for long.

    :param older_than: seconds since a record changed last.
    :param build_older_than: the same of one that no cell has.
    """

    def __init__(
        self,
        *,
        database: engine.Database,
        state: CellStateManager,
        runner: MessageRunner,
        stats: Stats,
        older_than: float,
        build_older_than: float,
    ) -> None:
        self._database = database
        self._state = state
        self._runner = runner
        self._stats = stats
        self._older_than = older_than
        self._build_older_than = build_older_than
        #: (uuid, task state) -> when it is asked for again, and after which pause.
        self._asked: dict[tuple[str, str], tuple[float, float]] = {}
        #: Cells that could not be asked, and how many records wait for it.
        self.unknown: Mapping[str, int] = {}

    def sweep(self) -> None:
        """Look at all records once."""
        seen: set[tuple[str, str]] = set()
        unknown: collections.Counter[str] = collections.Counter()
        after = 0
        while True:
            with self._database.read() as connection:
                rows = sweeping.stuck(connection, self._older_than, after, PAGE)
                ordered = sweeping.ordered(connection, [row['uuid'] for row in rows])
            groups: dict[paths.CellPath, list[Row]] = {}
            for row in rows:
                key = (row['uuid'], row['task_state'])
                seen.add(key)
                target = self._cell_of(row)
                if row['uuid'] not in ordered and target is not None and self._is_due(key):
                    groups.setdefault(target, []).append(row)
            with futures.ThreadPoolExecutor(THREADS, thread_name_prefix='sweep') as pool:
                unknown.update(dict(pool.map(self._try, groups, groups.values())))
            if len(rows) < PAGE:
                break
            after = rows[-1]['id']
        self._asked = {key: value for key, value in self._asked.items() if key in seen}
        self.unknown = {cell: number for cell, number in unknown.items() if number}
        self._sweep_builds()

    def _cell_of(self, row: Row) -> paths.CellPath | None:
        if row['cell_name'] is None:
            return None
        try:
            return self._state.resolve(paths.CellPath.parse(row['cell_name']))
        except (ValueError, exceptions.CellRoutingInconsistency):
            return None

    def _is_due(self, key: tuple[str, str]) -> bool:
        due, pause = self._asked.get(key, (0.0, SHORTEST_PAUSE / 2))
        if time.monotonic() < due:
            return False
        pause = min(pause * 2, LONGEST_PAUSE)
        self._asked[key] = (time.monotonic() + pause, pause)
        return True

    def _try(self, cell: paths.CellPath, rows: list[Row]) -> tuple[str, int]:
        """Ask a cell; what goes wrong with it does not keep the others from being asked."""
        try:
            return self._ask(cell, rows)
        except Exception as error:  # noqa: BLE001 - as above
            if isinstance(error, engine.ERRORS) and engine.is_transient(error):
                raise
            self._stats.count('sweep_failed')
            LOG.error(
                'What cell %s says of its tasks cannot be followed: %s',
                cell,
                engine.brief(error),
                exc_info=None if isinstance(error, exceptions.CellsError) else error,
            )
            return str(cell), len(rows)

    def _ask(self, cell: paths.CellPath, rows: list[Row]) -> tuple[str, int]:
        """Ask a cell; return it with how many records are as unknown as before."""
        kwargs = {'instances': {row['uuid']: row['task_state'] for row in rows}}
        child = cell.names[1] if len(cell) > 1 else None
        if child is not None and self._state.sightings.is_plain(child):
            return self._ask_plain(cell, rows)
        response = self._runner.call(context.background(), OPERATION, cell, kwargs)
        if response.failure is not None:
            if remote_errors.is_unknown_operation(response.failure, OPERATION):
                return self._ask_plain(cell, rows)
            LOG.debug('Cell %s is not asked: %s', cell, response.failure.message)
            return str(cell), len(rows)
        value = response.value if isinstance(response.value, dict) else {}
        left = 0
        for row in rows:
            told = value.get(row['uuid'])
            if not isinstance(told, dict):
                left += 1
            elif told.get('known') is False:
                self._not_found(row, cell)
            elif told.get('busy') is not True and told.get('task_state') != row['task_state']:
                self._explain(row, cell)
        return str(cell), left

    # -- what follows --

    def _not_found(self, row: Row, cell: paths.CellPath) -> None:
        with self._database.write() as connection:
            record = replicas.records(connection, [row['uuid']]).get(row['uuid'])
            if record is None or record.deleted or record.task_state != row['task_state']:
                return
            if inconsistencies.not_found(connection, record, cell, self._stats):
                return
            self._end(connection, row, 'The cell %s does not have the instance' % cell)

    def _explain(self, row: Row, cell: paths.CellPath) -> None:
        """Say what became of a task whose cell knows nothing of it; the true state comes up."""
        text = 'The task %s came to nothing: cell %s has no work for it' % (
            row['task_state'],
            cell,
        )
        with self._database.write() as connection:
            record = replicas.records(connection, [row['uuid']]).get(row['uuid'])
            if record is None or record.deleted or record.task_state != row['task_state']:
                return
            failures.abandon(connection, row['uuid'], text, _key(row))
        self._stats.count('sweep_explained')

    def _end(self, connection: sa.Connection, row: Row, text: str, **values: Any) -> None:
        """Take the task off a record, which is locked, and say why."""
        db_instances.instance_update(
            connection,
            row['uuid'],
            {'task_state': None, **values},
            expected={'task_state': row['task_state']},
        )
        failures.abandon(connection, row['uuid'], text, _key(row))
        self._stats.count('sweep_cleared')
        LOG.warning('Instance %s: %s', row['uuid'], text)

    # -- plain cells --

    def _ask_plain(self, cell: paths.CellPath, rows: list[Row]) -> tuple[str, int]:
        """Ask a plain cell whether it knows the request; what it knows will be told by itself."""
        left = 0
        for row in rows:
            with self._database.read() as connection:
                found = instance_actions.actions_open(connection, row['uuid'])
            requests = [one['request_id'] for one in found if one['request_id']]
            if not requests:
                left += 1
                continue
            kwargs = {'instance_uuid': row['uuid'], 'request_id': requests[-1]}
            response = self._runner.call(
                context.background(), 'action_get_by_request_id', cell, kwargs
            )
            if response.failure is not None or response.value is not None:
                left += 1
                continue
            with self._database.write() as connection:
                record = replicas.records(connection, [row['uuid']]).get(row['uuid'])
                if record is not None and record.task_state == row['task_state']:
                    text = 'The request %s never came to cell %s' % (requests[-1], cell)
                    self._end(connection, row, text)
        return str(cell), left

    # -- what no cell has --

    def _sweep_builds(self) -> None:
        with self._database.read() as connection:
            if sweeping.builds_waiting(connection):
                return
            rows = sweeping.stuck_builds(connection, self._build_older_than, PAGE)
        for row in rows:
            with self._database.write() as connection:
                if sweeping.placed(connection, [row['uuid']]):
                    continue
                record = replicas.records(connection, [row['uuid']]).get(row['uuid'])
                if record is None or record.deleted or record.host or record.cell_name:
                    continue
                if record.task_state != row['task_state'] or record.vm_state != row['vm_state']:
                    continue
                text = 'The build of the instance was lost: no cell has it'
                self._end(connection, row, text, vm_state='error')


def _key(row: Row) -> str:
    return '%s %s' % (row['task_state'], row.get('changed_at'))
