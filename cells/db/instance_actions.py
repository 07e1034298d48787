"""What was ordered for instances, and the steps of it.

Answers are in the plain form of the contract. An action that came up from a cell
below shows the id that it has there; its steps are known there, not here.
"""

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells.db import engine, models, rows, statements

_ACTIONS: Final = models.InstanceAction.__table__.c
_EVENTS: Final = models.InstanceActionEvent.__table__.c


def action_create(connection: sa.Connection, values: Mapping[str, Any]) -> int:
    """Write a new action and return its id here.

    :param values: by column; ``remote_id`` for one of a cell below.
    """
    return _insert(connection, models.InstanceAction, values)


def event_create(connection: sa.Connection, values: Mapping[str, Any]) -> int:
    """Write a new step of an action and return its id."""
    return _insert(connection, models.InstanceActionEvent, values)


def actions_get(
    database: engine.Database, instance_uuid: str, read_deleted: str = 'no'
) -> list[dict[str, Any]]:
    """Return the actions of an instance, newest first, as plain dictionaries."""
    return _actions(database, _ACTIONS.instance_uuid == instance_uuid, read_deleted)


def action_get_by_request_id(
    database: engine.Database, instance_uuid: str, request_id: str, read_deleted: str = 'no'
) -> dict[str, Any] | None:
    """Return the newest action of an instance that a request ordered, or None."""
    which = sa.and_(_ACTIONS.instance_uuid == instance_uuid, _ACTIONS.request_id == request_id)
    found = _actions(database, which, read_deleted)
    return found[0] if found else None


def action_events_get(
    database: engine.Database, action_id: int, read_deleted: str = 'no'
) -> list[dict[str, Any]]:
    """Return the steps of an action of this cell, newest first, as plain dictionaries."""
    own = sa.select(_ACTIONS.id).where(_ACTIONS.id == action_id, _ACTIONS.remote_id.is_(None))
    query = (
        sa.select(*_EVENTS)
        .where(_EVENTS.action_id.in_(own), statements.visible(_EVENTS, read_deleted))
        .order_by(_EVENTS.created_at.desc(), _EVENTS.id.desc())
    )
    with database.read() as connection:
        return [rows.plain(row) for row in connection.execute(query).mappings()]


def _actions(
    database: engine.Database, which: sa.ColumnElement[bool], read_deleted: str
) -> list[dict[str, Any]]:
    query = (
        sa.select(*_ACTIONS)
        .where(which, statements.visible(_ACTIONS, read_deleted))
        .order_by(_ACTIONS.created_at.desc(), _ACTIONS.id.desc())
    )
    with database.read() as connection:
        found = [rows.plain(row) for row in connection.execute(query).mappings()]
    for row in found:
        remote_id = row.pop('remote_id')
        row['id'] = row['id'] if remote_id is None else remote_id
    return found


def _insert(connection: sa.Connection, model: type[models.Base], values: Mapping[str, Any]) -> int:
    made = connection.execute(sa.insert(model).values(**values))
    assert made.inserted_primary_key is not None
    return int(made.inserted_primary_key[0])
