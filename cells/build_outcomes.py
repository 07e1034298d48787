"""What follows when it is known what came of an attempt."""

import logging
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells import known_cells, paths, placement
from cells.build_choice import Builder
from cells.build_letters import Asked, BuildLetters
from cells.db import build_subjects
from cells.db import placements as db
from cells.db.placements import Reasons

LOG = logging.getLogger(__name__)

Row = Mapping[str, Any]
#: What of an attempt the next one has as well.
_KEPT: Final = (
    'instance_uuid',
    'request_uuid',
    'attempt_above',
    'memory_mb',
    'disk_gb',
    'vcpus',
)


class BuildOutcomes:
    """Goes on with attempts that have ended.

    :param builder: builds in this cell.
    :param build_timeout: seconds after which a plain cell that says nothing is not waited for.
    """

    states: Final = db.FOLLOWED_UP

    def __init__(
        self,
        *,
        cells: known_cells.KnownCells,
        letters: BuildLetters,
        builder: Builder,
        build_timeout: float,
    ) -> None:
        self._cells = cells
        self._letters = letters
        self._builder = builder
        self._build_timeout = build_timeout

    def __call__(self, connection: sa.Connection, limit: int) -> None:
        """Go on with so many."""
        due = db.attempts_due(connection, self.states, limit)
        ended = [row for row in due if row['state'] != db.CANCEL]
        for cancelled in due:
            if cancelled not in ended:
                self._cancelled(connection, cancelled)
        rows, asked = self._letters.read(connection, ended)
        buried = build_subjects.buried(connection, rows)
        for row in rows:
            one = asked[row['request_uuid']]
            if row['state'] == db.BUILT:
                db.attempts_set(connection, [row['id']], db.DONE)
                self._letters.answer(connection, one, row, True, Reasons({}))
            elif row['state'] == db.PASSED:
                self._passed(connection, one, row)
            elif row['state'] == db.HOPELESS:
                self._letters.fail(connection, one, row, Reasons.of(row['reasons']))
            else:
                self._move_on(connection, one, row, buried.get(row['id']))
        db.requests_drop(connection, {row['request_uuid'] for row in due})

    def _move_on(
        self, connection: sa.Connection, asked: Asked, row: Row, buried: str | None
    ) -> None:
        """Have the next cell tried; this one is out of the question now."""
        reasons = Reasons.of(row['reasons']).cells
        LOG.info(
            'Instance %s, attempt %d in cell %s is over: %s',
            row['instance_uuid'],
            row['attempt'],
            row['next_cell'],
            '; '.join(reasons.values()),
        )
        if row['state'] == db.ERRORED:
            for route in reasons:
                path = paths.CellPath.parse(route)
                self._letters.terminate(connection, asked, row['instance_uuid'], path)
        db.attempts_set(connection, [row['id']], db.FAILED)
        if self._cells.is_top:
            placement.back_to_scheduling(connection, row['instance_uuid'])
        if buried is None:
            following = {name: row[name] for name in _KEPT}
            db.attempts_add(connection, [{**following, 'attempt': row['attempt'] + 1}])
        else:
            self._letters.answer(connection, asked, row, False, asked.here(buried))

    def _cancelled(self, connection: sa.Connection, row: Row) -> None:
        db.attempts_set(connection, [row['id']], db.CANCELLED)
        cell = row['next_cell']
        is_own = cell == self._cells.own_name
        if self._cells.is_child(cell):
            found = db.requests_get(connection, [row['request_uuid']])
            asked = Asked.readable(found.get(row['request_uuid']))
            self._letters.cancel(connection, asked, row, cell)
        elif is_own and build_subjects.is_cancelled_above(connection, row):
            # Of a deletion what is here is the matter of who deletes.
            self._builder.cancel_build(connection, row['instance_uuid'], row['attempt'])

    def _passed(self, connection: sa.Connection, asked: Asked, row: Row) -> None:
        if self._cells.is_top:
            db.attempts_set(connection, [row['id']], db.TOLD, seconds=self._build_timeout)
        else:
            db.attempts_set(connection, [row['id']], db.DONE)
            self._letters.answer(connection, asked, row, None, Reasons({}))
