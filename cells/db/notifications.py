"""Events of instances that are to be told to who listens (S15).

They are written in the transaction of what they tell of, in the cell that owns the instance and
in no other: what the cells above take over is no event there. Where nobody listens, nothing is
written.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
import sqlalchemy as sa

from cells import messages
from cells.db import engine, models, statements

_COLUMNS: Final = models.Notification.__table__.c

CREATE: Final = 'compute.instance.create'
UPDATE: Final = 'compute.instance.update'
DELETE: Final = 'compute.instance.delete'
FAULT: Final = 'compute.instance.fault'
INFO: Final = 'INFO'
ERROR: Final = 'ERROR'

#: What is told of an instance; its states come beside it.
_TOLD: Final = (
    'display_name',
    'hostname',
    'host',
    'node',
    'availability_zone',
    'memory_mb',
    'vcpus',
    'root_gb',
    'ephemeral_gb',
    'image_ref',
    'power_state',
    'progress',
)


def instance_changed(
    connection: sa.Connection,
    event_type: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
) -> None:
    """Note an event of an instance.

    :param before: and ``after``: its row; of the second, only what has changed.
    """
    if not engine.notifies(connection):
        return
    row = {**before, **after}
    payload = {
        'instance_id': row['uuid'],
        'tenant_id': row.get('project_id'),
        'user_id': row.get('user_id'),
        'old_state': before.get('vm_state'),
        'state': row.get('vm_state'),
        'old_task_state': before.get('task_state'),
        'new_task_state': row.get('task_state'),
        **{name: row.get(name) for name in _TOLD},
    }
    _add(connection, event_type, payload, INFO)


def fault_created(connection: sa.Connection, fault: Mapping[str, Any]) -> None:
    """Note the event that an error befell an instance.

    :param fault: its row.
    """
    if engine.notifies(connection):
        names = ('code', 'message', 'host')
        payload = {'instance_id': fault['instance_uuid'], **{name: fault[name] for name in names}}
        _add(connection, FAULT, payload, ERROR)


def _add(
    connection: sa.Connection, event_type: str, payload: Mapping[str, Any], priority: str
) -> None:
    connection.execute(
        sa.insert(models.Notification).values(
            uuid=messages.new_uuid(),
            event_type=event_type,
            priority=priority,
            payload=orjson.dumps(dict(payload), default=str).decode(),
            made_at=engine.now(),
            claimed_until=0.0,
        )
    )


def due(database: engine.Database) -> bool:
    """Tell whether there are events to tell."""
    query = sa.select(_COLUMNS.id).where(_COLUMNS.claimed_until < engine.now()).limit(1)
    with database.read() as connection:
        return connection.execute(query).first() is not None


def claim(
    connection: sa.Connection, worker: str, seconds: float, limit: int
) -> list[dict[str, Any]]:
    """Claim events that nobody tells, oldest first; return their rows."""
    query = (
        sa.select(*_COLUMNS)
        .where(_COLUMNS.claimed_until < engine.now())
        .order_by(_COLUMNS.id)
        .limit(limit)
    )
    found = statements.locked(connection, query, free_only=True)
    if found:
        connection.execute(
            sa.update(models.Notification)
            .where(_COLUMNS.id.in_([row['id'] for row in found]))
            .values(claimed_by=worker, claimed_until=engine.now() + seconds)
        )
    return found


def drop(connection: sa.Connection, ids: Sequence[int]) -> None:
    """Drop events that were told."""
    connection.execute(sa.delete(models.Notification).where(_COLUMNS.id.in_(ids)))
