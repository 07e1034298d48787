"""Errors that befell instances."""

from typing import Any, Final

import sqlalchemy as sa

from cells import messages
from cells.db import dirty, engine, models, notifications, rows, statements

_FAULTS: Final = models.InstanceFault.__table__.c

LONGEST_MESSAGE: Final = 255


def fault_create(
    connection: sa.Connection,
    instance_uuid: str,
    message: str,
    *,
    code: int = 500,
    details: str | None = None,
    host: str | None = None,
    uuid: str | None = None,
) -> str:
    """Note an error of an instance, in the transaction of what it is about; return its uuid.

    :param message: for users; what is too long for it goes into the details.
    :param uuid: under which it is noted once, however often this is called.
    """
    uuid = uuid or messages.new_uuid()
    if len(message) > LONGEST_MESSAGE and details is None:
        details = message
    row = {
        'uuid': uuid,
        'instance_uuid': instance_uuid,
        'code': code,
        'message': message[:LONGEST_MESSAGE],
        'details': details,
        'host': host,
    }
    if statements.insert_new(connection, models.InstanceFault, [row]):
        notifications.fault_created(connection, row)
        dirty.mark_row(connection, instance_uuid, dirty.FAULT, uuid)
    return uuid


def fault_get_all(
    database: engine.Database, instance_uuid: str, read_deleted: str = 'no'
) -> list[dict[str, Any]]:
    """Return the errors of an instance, newest first, in plain form."""
    query = (
        sa.select(*_FAULTS)
        .where(_FAULTS.instance_uuid == instance_uuid, statements.visible(_FAULTS, read_deleted))
        .order_by(_FAULTS.created_at.desc(), _FAULTS.id.desc())
    )
    with database.read() as connection:
        return [rows.plain(row) for row in connection.execute(query).mappings()]
