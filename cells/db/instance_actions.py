"""What was ordered for instances, and the steps of it.

Answers are in the plain form of the contract. An action that came up from a cell
below shows the id that it has there; its steps are known there, not here.
"""

import datetime
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells import messages
from cells.db import dirty, engine, models, rows, statements

_ACTIONS: Final = models.InstanceAction.__table__.c
_EVENTS: Final = models.InstanceActionEvent.__table__.c
_OF_UUID: Final = sa.select(*_ACTIONS).where(
    _ACTIONS.uuid == sa.bindparam('an_uuid', type_=_ACTIONS.uuid.type)
)

SUCCESS: Final = 'Success'
ERROR: Final = 'Error'


def action_create(connection: sa.Connection, values: Mapping[str, Any]) -> int:
    """Write a new action and return its id here.

    :param values: by column; ``remote_id`` for one of a cell below.
    """
    uuid = values.get('uuid') or messages.new_uuid()
    made = _insert(connection, models.InstanceAction, {**values, 'uuid': uuid})
    dirty.mark_row(connection, values['instance_uuid'], dirty.ACTION, uuid)
    return made


def event_create(
    connection: sa.Connection, values: Mapping[str, Any], instance_uuid: str | None = None
) -> int:
    """Write a new step of an action and return its id.

    :param instance_uuid: whose action it is; None: look it up.
    """
    uuid = values.get('uuid') or messages.new_uuid()
    made = _insert(connection, models.InstanceActionEvent, {**values, 'uuid': uuid})
    which = _ACTIONS.id == values['action_id']
    owner = instance_uuid or _owner(connection, which)
    if owner is not None:
        dirty.mark_row(connection, owner, dirty.EVENT, uuid)
    return made


def action_find(connection: sa.Connection, uuid: str) -> dict[str, Any] | None:
    """Return an action by its uuid, values by column, or None."""
    found = connection.execute(_OF_UUID, {'an_uuid': uuid}).mappings().first()
    return None if found is None else dict(found)


def event_known(connection: sa.Connection, uuid: str) -> bool:
    """Tell whether a step of this uuid is noted."""
    query = sa.select(_EVENTS.id).where(_EVENTS.uuid == uuid)
    return connection.execute(query).first() is not None


def actions_open(connection: sa.Connection, instance_uuid: str) -> list[dict[str, Any]]:
    """Return the actions of an instance in this cell that are under way: id, uuid, request_id."""
    query = sa.select(_ACTIONS.id, _ACTIONS.uuid, _ACTIONS.request_id).where(
        _ACTIONS.instance_uuid == instance_uuid,
        _ACTIONS.finish_time.is_(None),
        _ACTIONS.remote_id.is_(None),
        _ACTIONS.uuid.is_not(None),
        _ACTIONS.deleted == 0,
    )
    return [dict(row) for row in connection.execute(query.order_by(_ACTIONS.id)).mappings()]


def action_by_request(
    connection: sa.Connection, instance_uuid: str, request_id: str | None
) -> dict[str, Any] | None:
    """Return the newest action that a request ordered for an instance, or None."""
    query = (
        sa.select(*_ACTIONS)
        .where(
            _ACTIONS.instance_uuid == instance_uuid,
            _ACTIONS.request_id == request_id,
            _ACTIONS.deleted == 0,
        )
        .order_by(_ACTIONS.id.desc())
        .limit(1)
    )
    found = connection.execute(query).mappings().first()
    return None if found is None else dict(found)


def action_end(
    connection: sa.Connection,
    uuid: str,
    message: str | None = None,
    finish_time: datetime.datetime | None = None,
    instance_uuid: str | None = None,
) -> None:
    """Note that an action is over; one that is over stays as it is.

    :param message: ``Error`` when it failed.
    :param instance_uuid: whose action it is; None: look it up.
    """
    values = {'finish_time': finish_time or models.utcnow(), 'message': message}
    ended = sa.update(models.InstanceAction).where(
        _ACTIONS.uuid == uuid, _ACTIONS.finish_time.is_(None)
    )
    if connection.execute(ended.values(updated_at=models.utcnow(), **values)).rowcount:
        owner = instance_uuid or _owner(connection, _ACTIONS.uuid == uuid)
        dirty.mark_row(connection, str(owner), dirty.ACTION, uuid)


def event_end(
    connection: sa.Connection,
    uuid: str,
    result: str,
    traceback: str | None = None,
    instance_uuid: str | None = None,
) -> None:
    """Note that a step is over; one that is over stays as it is.

    :param result: :data:`SUCCESS` or :data:`ERROR`.
    :param traceback: for operators: what went wrong.
    :param instance_uuid: whose step it is; None: look it up.
    """
    ended = sa.update(models.InstanceActionEvent).where(
        _EVENTS.uuid == uuid, _EVENTS.finish_time.is_(None)
    )
    now = models.utcnow()
    values = {'finish_time': now, 'updated_at': now, 'result': result, 'traceback': traceback}
    if connection.execute(ended.values(**values)).rowcount:
        of_step = sa.select(_EVENTS.action_id).where(_EVENTS.uuid == uuid)
        owner = instance_uuid or _owner(connection, _ACTIONS.id.in_(of_step))
        if owner is not None:
            dirty.mark_row(connection, owner, dirty.EVENT, uuid)


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
    shown = [column for column in _EVENTS if column.name != 'uuid']
    query = (
        sa.select(*shown)
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
        del row['uuid']
        row['id'] = row['id'] if remote_id is None else remote_id
    return found


def _owner(connection: sa.Connection, which: sa.ColumnElement[bool]) -> str | None:
    """Return the uuid of the instance of an action."""
    return connection.execute(sa.select(_ACTIONS.instance_uuid).where(which)).scalar()


def _insert(connection: sa.Connection, model: type[models.Base], values: Mapping[str, Any]) -> int:
    made = connection.execute(sa.insert(model).values(**values))
    assert made.inserted_primary_key is not None
    return int(made.inserted_primary_key[0])
