"""What operators ask of all cells: answered from the database of each, nothing is changed.

The answers are plain values, by name; none has an argument of an order in it (X4). Times are
seconds since the epoch, by the clock of the cell.
"""

from typing import Any, Final

import orjson

from cells import arguments, context, operations
from cells.db import (
    build_subjects,
    contents,
    drift,
    engine,
    healing,
    histories,
    placements,
    rows,
    sync_requests,
    unsent,
    walks,
)
from cells.state import CellStateManager

LONGEST_UUID: Final = 36
#: Instances in one answer.
PAGE: Final = 200
#: Of those of which something waits to be told.
MOST_MARKED: Final = 5000
#: What has changed less than so many seconds ago may be on its way.
SETTLE_SECONDS: Final = 10.0


class OperatorHandlers:
    """Answers for this cell."""

    OPERATIONS: Final = (
        *operations.ASKED,
        'x_instance_contents',
    )

    def __init__(self, database: engine.Database, state: CellStateManager) -> None:
        self._database = database
        self._state = state

    def x_drift(self, ctxt: context.RequestContext) -> dict[str, Any]:
        """Return how many instances there are, what waits to be told, and what was repaired."""
        with self._database.read() as connection:
            found: dict[str, Any] = {
                'is_top': self._state.topology.is_top,
                'instances': drift.instance_count(connection),
                'round': _walk(walks.walk_get(connection, walks.ROUND)),
                'last_round': _walk(walks.walk_get(connection, walks.ROUND + walks.LAST)),
                'time': placements.time(connection),
            }
        found['waiting'] = unsent.summary(self._database)
        found['plain_above'] = any(
            map(self._state.sightings.is_plain, self._state.topology.parents)
        )
        return found

    def x_instance_contents(
        self, ctxt: context.RequestContext, after: object = None
    ) -> dict[str, Any]:
        """Return a page of the instances here that are not deleted, as short texts.

        :param after: the last uuid of the page before.
        :returns: ``items``: lists of uuid, digest and the names that it has no value of;
            ``unsettled``: uuids of those of which something is on its way up; ``until``: the
            last uuid, None at the end.
        """
        place = None if after is None else arguments.text('after', after, longest=LONGEST_UUID)
        with self._database.read() as connection:
            uuids = list(healing.living(connection, place, PAGE))
            until = uuids[-1] if len(uuids) == PAGE else None
            # Of what is deleted the news may be on its way as well.
            marked = healing.marked_between(connection, place, until, MOST_MARKED)
            unsettled = marked | healing.unsettled(connection, uuids, SETTLE_SECONDS)
            known = contents.contents(connection, [one for one in uuids if one not in unsettled])
        return {
            'items': [[one.uuid, one.digest, sorted(one.absent)] for one in known.values()],
            'unsettled': sorted(unsettled),
            'until': until,
        }

    def x_instance_places(
        self, ctxt: context.RequestContext, instance_uuid: object
    ) -> dict[str, Any] | None:
        """Return what this cell knows of where an instance is, None when it does not know it."""
        uuid = arguments.text('instance_uuid', instance_uuid, longest=LONGEST_UUID)
        with self._database.read() as connection:
            found = drift.place_of(connection, uuid)
        return None if found is None else rows.plain({**found, 'deleted': bool(found['deleted'])})

    def x_placements(
        self, ctxt: context.RequestContext, instance_uuid: object
    ) -> list[dict[str, Any]]:
        """Return the attempts to build an instance that this cell made, oldest first."""
        uuid = arguments.text('instance_uuid', instance_uuid, longest=LONGEST_UUID)
        with self._database.read() as connection:
            found = build_subjects.attempts_at(connection, uuid)
        return [_attempt(row) for row in found]

    def x_request(self, ctxt: context.RequestContext, request_id: object) -> list[dict[str, Any]]:
        """Return what a request came to here, oldest first; see :mod:`cells.db.histories`."""
        wanted = arguments.text('request_id', request_id)
        with self._database.read() as connection:
            return [one._asdict() for one in histories.traces(connection, wanted)]

    def x_sync_progress(
        self, ctxt: context.RequestContext, request_id: object
    ) -> dict[str, Any] | None:
        """Return how far the order to sync of a request is here, None when it is not here.

        :returns: ``state`` (open or done), ``looked_at``, ``repaired``, and in ``total`` how
            many instances it is about.
        """
        wanted = arguments.text('request_id', request_id)
        with self._database.read() as connection:
            row = sync_requests.sync_request_find(connection, wanted)
            if row is None:
                return None
            total = drift.matching_count(
                connection, row['project_id'], row['updated_since'], bool(row['deleted'])
            )
        return {
            'state': row['state'] or sync_requests.OPEN,
            'looked_at': row['looked_at'] or 0,
            'repaired': row['repaired'] or 0,
            'total': total,
        }


def _walk(row: dict[str, Any] | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {
        'number': row['round'],
        'looked_at': row['looked_at'],
        'repaired': row['repaired'],
        'started_at': row['started_at'],
        'ended_at': row['claimed_until'],
    }


def _attempt(row: dict[str, Any]) -> dict[str, Any]:
    reasons = placements.Reasons.of(row['reasons'])
    return {
        'attempt': row['attempt'],
        'attempt_above': row['attempt_above'],
        'cell': row['next_cell'],
        'state': row['state'],
        'created_at': row['created_at'],
        'memory_mb': row['memory_mb'],
        'disk_gb': row['disk_gb'],
        'vcpus': row['vcpus'],
        'choice': None if row['choice'] is None else orjson.loads(row['choice']),
        'reasons': dict(reasons.cells),
    }
