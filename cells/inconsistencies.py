"""Records at the top whose cell does not have the instance (S4).

A cell may not find an instance because it looks in the wrong place, or because its database
was restored from a backup; the machine may run on. So the record stays, says what is wrong,
and people are told once. Only what is being deleted is gone when its cell does not have it.
"""

import logging

import sqlalchemy as sa

from cells import orders, paths
from cells.db import instances as db_instances
from cells.db import models, replicas
from cells.db.replicas import Record
from cells.stats import Stats

LOG = logging.getLogger(__name__)


def not_found(
    connection: sa.Connection, record: Record, route: paths.CellPath, stats: Stats
) -> bool:
    """Take it that the cell of an instance, whose record is locked, does not have it.

    :param route: the path to that cell.
    :returns: True when the record is gone now, as it was to be; False when it stays.
    """
    if record.task_state in orders.DELETING:
        db_instances.instance_destroy(connection, record.uuid, sync=False)
        stats.count('replicas_gone')
        return True
    reason = 'cell %s did not find it, %s' % (route, models.utcnow().isoformat(' ', 'seconds'))
    stats.count('replicas_inconsistent')
    if replicas.mark_inconsistent(connection, record.uuid, reason):
        LOG.error(
            'Cell %s does not have instance %s, which is not being deleted: its record is kept '
            'and marked as inconsistent. If the database of that cell was restored from a '
            'backup, the instance may run without a record there',
            route,
            record.uuid,
        )
    return False
