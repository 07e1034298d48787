"""Rows at the top of the tree that belong to instances of cells below.

They are only added to: a uuid says which is which, so that what comes twice is there once. An
action, or a step of one, changes once more, when it is over.
"""

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from cells.db import bandwidth, console_tokens, models, snapshots, statements
from cells.db.updates import Update

_ACTIONS: Final = models.InstanceAction.__table__.c
_EVENTS: Final = models.InstanceActionEvent.__table__.c


def put(connection: sa.Connection, updates: Sequence[Update]) -> None:
    """Take over what belongs to instances; what is known already stays as it is."""
    faults = [
        {**row, 'instance_uuid': update.uuid, 'deleted': 0}
        for update in updates
        for row in update.faults
    ]
    _insert_new(connection, models.InstanceFault, snapshots.FAULT, faults)
    actions = {
        row['uuid']: {
            **row,
            'instance_uuid': update.uuid,
            'remote_id': row['id'],
            'deleted': 0,
        }
        for update in updates
        for row in update.actions
    }
    ids = _put_history(connection, models.InstanceAction, _ACTIONS, snapshots.ACTION, actions)
    events = {
        row['uuid']: {**row, 'action_id': ids[row['action']], 'deleted': 0}
        for update in updates
        for row in update.events
        if row['action'] in ids
    }
    _put_history(connection, models.InstanceActionEvent, _EVENTS, snapshots.EVENT, events)
    for update in updates:
        for row in update.usages:
            bandwidth.bw_usage_update(connection, {**row, 'uuid': update.uuid})
        if update.console:
            console_tokens.tokens_delete(connection, update.uuid)


def _put_history(
    connection: sa.Connection,
    model: type[models.Base],
    columns: Any,
    names: Sequence[str],
    rows: dict[str, dict[str, Any]],
) -> dict[str, int]:
    """Write what was ordered, or a step of it, by uuid; return the ids here.

    What is over stays as it is: what comes late is older. So does what is of another instance,
    or a step of another order, whoever calls it his own (X1).
    """
    if not rows:
        return {}
    extra = ('remote_id', 'instance_uuid') if model is models.InstanceAction else ('action_id',)
    of = extra[-1]
    query = sa.select(columns.uuid, columns.id, columns.finish_time, columns[of].label('of'))
    query = query.where(columns.uuid.in_(rows))
    found = {row.uuid: row for row in connection.execute(query)}
    fresh = [row for uuid, row in rows.items() if uuid not in found]
    _insert_new(connection, model, (*(name for name in names if name != 'id'), *extra), fresh)
    if fresh:
        found.update({row.uuid: row for row in connection.execute(query)})
    known = {uuid: row for uuid, row in found.items() if row.of == rows[uuid][of]}
    changed = [name for name in names if name not in ('uuid', 'id', 'created_at')]
    statements.update_many(
        connection,
        model,
        changed,
        [
            {**dict.fromkeys(changed), **rows[uuid], 'id': row.id}
            for uuid, row in known.items()
            if row.finish_time is None and rows[uuid].get('finish_time') is not None
        ],
    )
    return {uuid: row.id for uuid, row in known.items()}


def _insert_new(
    connection: sa.Connection,
    model: type[models.Base],
    names: Sequence[str],
    rows: Sequence[dict[str, Any]],
) -> None:
    whole = (*names, *(name for name in ('instance_uuid', 'deleted') if name not in names))
    table = model.__table__.c
    whole = tuple(name for name in whole if name in table)
    statements.insert_new(
        connection, model, [{name: row.get(name) for name in whole} for row in rows]
    )
