"""Block devices of instances. A volume of an instance has one row, whoever asks first (S10)."""

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells import messages
from cells.db import instances, models, statements
from cells.objects import block_device

_DEVICES: Final = models.BlockDeviceMapping.__table__.c

#: The columns that are fields of the object.
COLUMNS: Final = tuple(
    column.name for column in _DEVICES if column.name in block_device.BlockDeviceMapping.fields
)
#: Those that a cell tells the ones above.
STATE: Final = tuple(
    name for name in COLUMNS if name not in ('id', 'instance_uuid', 'created_at', 'updated_at')
)


def bdm_get_all(connection: sa.Connection, instance_uuid: str) -> list[dict[str, Any]]:
    """Return the block devices of an instance, values by column, in the order they came."""
    query = sa.select(*_DEVICES).where(
        _DEVICES.instance_uuid == instance_uuid, _DEVICES.deleted == 0
    )
    return [dict(row) for row in connection.execute(query.order_by(_DEVICES.id)).mappings()]


def bdm_find(
    connection: sa.Connection,
    instance_uuid: str,
    *,
    volume_id: str | None = None,
    device_name: str | None = None,
    uuid: str | None = None,
) -> dict[str, Any] | None:
    """Return a block device by the first of these that is given, values by column, or None."""
    for column, value in (
        (_DEVICES.uuid, uuid),
        (_DEVICES.volume_id, volume_id),
        (_DEVICES.device_name, device_name),
    ):
        if value is not None:
            query = sa.select(*_DEVICES).where(
                _DEVICES.instance_uuid == instance_uuid, column == value, _DEVICES.deleted == 0
            )
            found = connection.execute(query.order_by(_DEVICES.id)).mappings().first()
            return None if found is None else dict(found)
    return None


def bdm_save(
    connection: sa.Connection, instance_uuid: str, values: Mapping[str, Any], sync: bool = True
) -> str:
    """Write a block device, or change the one of the same uuid, else volume; return its uuid.

    :param values: by column.
    :param sync: whether the cells above are to know.
    """
    # The row of the instance is what two that bring the same volume wait for.
    statements.locked(
        connection,
        sa.select(models.Instance.id).where(models.Instance.uuid == instance_uuid),
        free_only=False,
    )
    known = None
    if values.get('uuid') is not None:
        known = bdm_find(connection, instance_uuid, uuid=values['uuid'])
    if known is None and values.get('volume_id') is not None:
        known = bdm_find(connection, instance_uuid, volume_id=values['volume_id'])
    given = {name: value for name, value in values.items() if name in STATE}
    if known is None:
        uuid = given.setdefault('uuid', None) or messages.new_uuid()
        given['uuid'] = uuid
        connection.execute(
            sa.insert(models.BlockDeviceMapping).values(instance_uuid=instance_uuid, **given)
        )
    else:
        uuid = known['uuid']
        given.pop('uuid', None)
        given = {name: value for name, value in given.items() if value != known[name]}
        if not given:
            return uuid
        connection.execute(
            sa.update(models.BlockDeviceMapping)
            .where(_DEVICES.id == known['id'])
            .values(updated_at=models.utcnow(), **given)
        )
    if sync:
        instances.instance_touch(connection, instance_uuid, [instances.BLOCK_DEVICES])
    return uuid


def bdm_destroy(
    connection: sa.Connection,
    instance_uuid: str,
    *,
    volume_id: str | None = None,
    device_name: str | None = None,
    sync: bool = True,
) -> bool:
    """Drop the block device of a volume, or of a name; False when there is none.

    :param sync: whether the cells above are to know.
    """
    found = bdm_find(connection, instance_uuid, volume_id=volume_id, device_name=device_name)
    if found is None:
        return False
    connection.execute(
        sa.update(models.BlockDeviceMapping)
        .where(_DEVICES.id == found['id'])
        .values(deleted=_DEVICES.id, deleted_at=models.utcnow(), updated_at=models.utcnow())
    )
    if sync:
        instances.instance_touch(connection, instance_uuid, [instances.BLOCK_DEVICES])
    return True


def bdm_destroy_all(connection: sa.Connection, instance_uuid: str) -> None:
    """Drop all block devices of an instance, which is about to be destroyed."""
    connection.execute(
        sa.update(models.BlockDeviceMapping)
        .where(_DEVICES.instance_uuid == instance_uuid, _DEVICES.deleted == 0)
        .values(deleted=_DEVICES.id, deleted_at=models.utcnow(), updated_at=models.utcnow())
    )
