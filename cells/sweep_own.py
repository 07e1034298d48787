"""In the cell that has them: instances under way for which nobody works any more.

Every step of an action is an order to a host, which comes to an end or is given up at its
deadline. So a task without an order and without a change in the journal has been forgotten:
by a bug, a hand in the database, or the restore of a backup.
"""

import logging
from typing import Any, Final

import sqlalchemy as sa

from cells import context, exceptions, failures, orders
from cells.compute import api as compute_api
from cells.compute.means import Means
from cells.db import engine, host_operations, sweeping
from cells.db import instances as db_instances
from cells.stats import Stats

LOG = logging.getLogger(__name__)

PAGE: Final = 200
#: What puts an instance out of the way that was to be, and is not.
_DELETIONS: Final = {'deleting': 'delete', 'soft-deleting': 'soft_delete'}

Row = dict[str, Any]


class OwnSweep:
    """Ends tasks that nobody works on.

    :param older_than: seconds since an instance changed last.
    """

    def __init__(
        self, *, database: engine.Database, means: Means, stats: Stats, older_than: float
    ) -> None:
        self._database = database
        self._means = means
        self._stats = stats
        self._older_than = older_than

    def sweep(self) -> None:
        """Look at all instances once."""
        after = 0
        while True:
            with self._database.read() as connection:
                rows = sweeping.stuck(connection, self._older_than, after, PAGE)
                busy = self._busy(connection, [row['uuid'] for row in rows])
            for row in rows:
                if row['uuid'] not in busy:
                    self._try(row)
            if len(rows) < PAGE:
                return
            after = rows[-1]['id']

    def _busy(self, connection: sa.Connection, uuids: list[str]) -> set[str]:
        return (
            sweeping.ordered(connection, uuids)
            | sweeping.placed(connection, uuids)
            | host_operations.instances_at_work(connection, uuids, self._older_than)
        )

    def _try(self, row: Row) -> None:
        """End a task; one that cannot be ended does not keep those behind it from it."""
        try:
            self._end(row)
        except Exception as error:  # noqa: BLE001 - as above
            if isinstance(error, engine.ERRORS) and engine.is_transient(error):
                raise
            self._stats.count('sweep_failed')
            LOG.error(
                'The task %s of instance %s, which nobody works on, cannot be ended: %s',
                row['task_state'],
                row['uuid'],
                engine.brief(error),
                exc_info=None if isinstance(error, exceptions.CellsError) else error,
            )

    def _end(self, row: Row) -> None:
        with self._database.write() as connection:
            try:
                instance = db_instances.instance_get(connection, row['uuid'], lock=True)
            except exceptions.InstanceNotFound:
                return
            busy = self._busy(connection, [row['uuid']])
            if instance.task_state != row['task_state'] or busy:
                return
            if row['task_state'] in orders.DELETING:
                # What never ran cannot be restored either.
                name = _DELETIONS[row['task_state']] if instance.launched_at else 'delete'
                self._delete_again(connection, row['uuid'], name)
                return
            values: Row = {'task_state': None}
            if row['vm_state'] == 'building':
                values['vm_state'] = 'error'
            db_instances.instance_update(
                connection, row['uuid'], values, expected={'task_state': row['task_state']}
            )
            text = 'The task %s came to nothing: nobody works on it any more' % row['task_state']
            failures.abandon(
                connection, row['uuid'], text, '%s %s' % (row['task_state'], row['changed_at'])
            )
        self._stats.count('sweep_cleared')
        LOG.warning('Instance %s: %s', row['uuid'], text)

    def _delete_again(self, connection: sa.Connection, uuid: str, name: str) -> None:
        """Go on with a deletion: what its user wants is known."""
        compute_api.perform(
            connection,
            context.background(),
            name,
            uuid,
            {},
            means=self._means,
        )
        self._stats.count('sweep_deleted')
        LOG.warning('Instance %s is deleted again: nobody worked on it any more', uuid)
