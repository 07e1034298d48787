"""Instances whose cell is taken out of the tree for ever, and what their users are told.

Nothing will ever be heard of them: each record is in error, without a task, and has a fault
that says why. A cell that comes back all the same tells the true states again.
"""

from collections.abc import Collection
from typing import Final

from cells import failures
from cells.db import cell_instances, engine, replicas
from cells.db import instances as db_instances

#: Instances in one transaction.
PAGE: Final = 100


def mark_lost(database: engine.Database, names: Collection[str], text: str) -> int:
    """Mark the records of all instances of some cells; return how many those were.

    :param names: the paths to the cells, as they stand in the records.
    :param text: the fault.
    """
    number, after = 0, 0
    while True:
        with database.write() as connection:
            rows = cell_instances.page(connection, names, PAGE, after)
            # In one order, and as they are when they are locked.
            records = replicas.records(connection, [row['uuid'] for row in rows])
            for record in records.values():
                if record.deleted:
                    continue
                db_instances.instance_update(
                    connection, record.uuid, {'vm_state': 'error', 'task_state': None}
                )
                failures.abandon(connection, record.uuid, text, text)
                number += 1
        if len(rows) < PAGE:
            return number
        after = rows[-1]['id']
