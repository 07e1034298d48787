"""What happened to instances, as far as this cell has been told: readable with their cell away."""

from typing import Any, Final

import sqlalchemy as sa

from cells.db import engine, models, rows, statements

_ACTIONS: Final = models.InstanceAction.__table__.c
_EVENTS: Final = models.InstanceActionEvent.__table__.c


def events_of_request(
    database: engine.Database, instance_uuid: str, request_id: str, read_deleted: str = 'no'
) -> list[dict[str, Any]]:
    """Return the steps of what a request ordered for an instance, newest first, in plain form.

    ``action_id`` is the id that the action has in the cell that it was carried out in.
    """
    shown = [column for column in _EVENTS if column.name not in ('uuid', 'action_id')]
    action_id = sa.func.coalesce(_ACTIONS.remote_id, _ACTIONS.id).label('action_id')
    query = (
        sa.select(*shown, action_id)
        .join_from(
            models.InstanceActionEvent, models.InstanceAction, _EVENTS.action_id == _ACTIONS.id
        )
        .where(
            _ACTIONS.instance_uuid == instance_uuid,
            _ACTIONS.request_id == request_id,
            statements.visible(_EVENTS, read_deleted),
        )
        .order_by(_EVENTS.created_at.desc(), _EVENTS.id.desc())
    )
    with database.read() as connection:
        return [rows.plain(row) for row in connection.execute(query).mappings()]
