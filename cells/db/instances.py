"""Instances: loading, and changes that say what they expect.

A change of state is one statement with its condition in it, so that of two that
exclude each other one fails, whichever process they run in. ``expected`` gives for
a column the value, or the values, that it must have now. None among them means
null, and only null; :data:`ANY` is what means that it does not matter (S14).

What is no column, and no metadata, is a row of its own (:mod:`cells.db.instance_fields`).
In a cell that has others above, each change is counted and noted in the transaction that
makes it (:mod:`cells.db.dirty`); what changes nothing is not (P3).
"""

import datetime
import functools
from collections.abc import Iterable, Mapping
from typing import Any, Final

import sqlalchemy as sa
from oslo_db import exception as db_exc
from oslo_utils import timeutils

from cells import exceptions
from cells.db import dirty, engine, instance_fields, models, notifications, statements
from cells.objects import instance as instance_objects

_COLUMNS: Final = models.Instance.__table__.c
_METADATA: Final = models.InstanceMetadata.__table__.c
_METADATA_OF: Final = (
    sa.select(_METADATA.key, _METADATA.value)
    .where(_METADATA.instance_uuid == sa.bindparam('an_uuid', type_=_METADATA.instance_uuid.type))
    .order_by(_METADATA.key)
)

#: The columns that are fields of the object.
OBJECT_COLUMNS: Final = tuple(
    column.name for column in _COLUMNS if column.name in instance_objects.Instance.fields
)
_OBJECT_COLUMNS: Final = [_COLUMNS[name] for name in OBJECT_COLUMNS]


class _Any:
    def __repr__(self) -> str:
        return 'ANY'


#: In ``expected``: whatever value the column has.
ANY: Final = _Any()

_DELETING: Final = frozenset(('deleting', 'soft-deleting'))


#: What a save may not change, and what is no state of the instance.
_NOT_STATE: Final = frozenset(
    ('id', 'uuid', 'sync_epoch', 'sync_seq', 'inconsistent', 'deleted', 'created_at', 'updated_at')
)
#: Names of all columns that are the state of an instance.
STATE_COLUMNS: Final = tuple(
    column.name for column in _COLUMNS if column.name not in _NOT_STATE | {'deleted_at'}
)
#: Columns of which a change is an event.
_TOLD: Final = frozenset(('vm_state', 'task_state'))
METADATA: Final = 'metadata'
#: Stands among the names of fields for the list of block devices.
BLOCK_DEVICES: Final = 'block_device_mapping'


def instance_create(
    connection: sa.Connection,
    values: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
    fields: Mapping[str, Any] | None = None,
) -> int:
    """Write a new instance and return its id.

    :param values: by column or field; ``uuid`` at least.
    :param fields: further fields that are no columns, as objects or plain values.
    :raises InstanceExists: there is one of this uuid, possibly a deleted one; the
        transaction cannot go on.
    """
    values, fields = _split(values, fields)
    stored = _storable(values)
    replicates = engine.replicates(connection)
    if replicates:
        stored = {'sync_seq': 1, **stored}
    try:
        made = connection.execute(sa.insert(models.Instance).values(stored))
    except db_exc.DBDuplicateEntry:
        raise exceptions.InstanceExists(name=values['uuid']) from None
    if metadata:
        metadata_set(connection, values['uuid'], metadata)
    if fields:
        instance_fields.put(connection, values['uuid'], fields)
    notifications.instance_changed(connection, notifications.CREATE, {}, stored)
    if replicates:
        dirty.mark(
            connection,
            values['uuid'],
            dirty.ALL,
            stored.get('sync_epoch', 0),
            stored['sync_seq'],
        )
    assert made.inserted_primary_key is not None
    return int(made.inserted_primary_key[0])


def instance_get(
    connection: sa.Connection, uuid: str, read_deleted: str = 'no', lock: bool = False
) -> instance_objects.Instance:
    """Return an instance: all its columns, ``metadata`` and what else is known of it.

    :param read_deleted: ``no``, ``yes`` or ``only``.
    :param lock: keep all others from changing it until the transaction ends.
    :raises InstanceNotFound: there is none.
    """
    query = _query(True, read_deleted, lock and statements.locks(connection))
    found = connection.execute(query, {'an_uuid': uuid}).mappings().first()
    if found is None:
        raise exceptions.InstanceNotFound(instance_id=uuid)
    return of_row(
        dict(found), metadata_get(connection, uuid), instance_fields.get(connection, [uuid])[uuid]
    )


@functools.cache  # with so many columns it takes long to make
def _query(is_object: bool, read_deleted: str, lock: bool) -> sa.Select[Any]:
    query = sa.select(*(_OBJECT_COLUMNS if is_object else _COLUMNS)).where(
        _COLUMNS.uuid == sa.bindparam('an_uuid', type_=_COLUMNS.uuid.type),
        statements.visible(_COLUMNS, read_deleted),
    )
    return query.with_for_update() if lock else query


def _locked_row(
    connection: sa.Connection, uuid: str, read_deleted: str = 'no'
) -> Mapping[str, Any]:
    query = _query(False, read_deleted, statements.locks(connection))
    found = connection.execute(query, {'an_uuid': uuid}).mappings().first()
    if found is None:
        raise exceptions.InstanceNotFound(instance_id=uuid)
    return dict(found)


def of_row(
    row: Mapping[str, Any], metadata: Mapping[str, str], fields: Mapping[str, Any]
) -> instance_objects.Instance:
    """Return the object of a row of :data:`OBJECT_COLUMNS` and what belongs to it."""
    instance = instance_objects.Instance(
        **{**row, 'deleted': bool(row['deleted'])},
        metadata=dict(metadata),
        **{'system_metadata': {}, **fields},
    )
    instance.obj_reset_changes(recursive=True)
    return instance


def instance_update(
    connection: sa.Connection,
    uuid: str,
    values: Mapping[str, Any],
    expected: Mapping[str, Any] | None = None,
    fields: Mapping[str, Any] | None = None,
    sync: bool = True,
) -> frozenset[str]:
    """Change an instance that is as expected, in one statement.

    What has its value already is not changed; if nothing is left, nothing is written.

    :param values: by column or field.
    :param expected: by column the value it must have, or a set, list or tuple of those it
        may have; None for null, :data:`ANY` for any.
    :param fields: further fields that are no columns, as objects or plain values; None clears one.
    :param sync: whether the cells above are to know.
    :returns: the names of what has changed.
    :raises InstanceNotFound: there is none.
    :raises UnexpectedTaskStateError: it has another task state;
        UnexpectedDeletingTaskStateError when that is the one of a deletion.
    :raises InstanceUpdateConflict: something else is not as expected.
    """
    values, fields = _split(values, fields)
    wanted = {name: _allowed(value) for name, value in (expected or {}).items() if value is not ANY}
    # Locked, as without that MySQL would show how it was when the transaction began.
    row = _locked_row(connection, uuid)
    if any(row[name] not in allowed for name, allowed in wanted.items()):
        raise _conflict(uuid, wanted, row)
    stored = {name: value for name, value in _storable(values).items() if value != row[name]}
    names = set(stored)
    if fields:
        names |= instance_fields.put(connection, uuid, fields)
    if not names:
        return frozenset()
    if sync and not _TOLD.isdisjoint(stored):
        notifications.instance_changed(connection, notifications.UPDATE, row, stored)
    _write(connection, row, names - _NOT_STATE if sync else frozenset(), stored)
    return frozenset(names)


def instance_touch(connection: sa.Connection, uuid: str, names: Iterable[str]) -> None:
    """Note that something of an instance has changed which other tables hold.

    :param names: of fields; :data:`METADATA`, :data:`BLOCK_DEVICES` and so on.
    :raises InstanceNotFound: there is none, not even a deleted one.
    """
    _write(connection, _locked_row(connection, uuid, 'yes'), names, {})


def instance_destroy(connection: sa.Connection, uuid: str, sync: bool = True) -> None:
    """Mark an instance as deleted; its row stays.

    :param sync: whether the cells above are to know.
    :raises InstanceNotFound: there is none that is not deleted.
    """
    row = _locked_row(connection, uuid)
    if sync:
        notifications.instance_changed(connection, notifications.DELETE, row, {})
    values = {'deleted': _COLUMNS.id, 'deleted_at': models.utcnow()}
    _write(connection, row, dirty.ALL if sync else frozenset(), values)


def _write(
    connection: sa.Connection,
    row: Mapping[str, Any],
    names: Iterable[str],
    values: Mapping[str, Any],
) -> None:
    """Write the row of an instance, which is locked, and note what the cells above miss."""
    changed: dict[str, Any] = {'updated_at': models.utcnow(), **values}
    if names and engine.replicates(connection):
        sequence = row['sync_seq'] + 1
        changed['sync_seq'] = sequence
        dirty.mark(connection, row['uuid'], names, row['sync_epoch'], sequence)
    connection.execute(sa.update(models.Instance).where(_COLUMNS.id == row['id']).values(changed))


def metadata_get(connection: sa.Connection, uuid: str) -> dict[str, str]:
    """Return what a user has noted on an instance."""
    found = connection.execute(_METADATA_OF, {'an_uuid': uuid})
    return {row.key: row.value for row in found}


def metadata_set(
    connection: sa.Connection, uuid: str, metadata: Mapping[str, str], replace: bool = False
) -> None:
    """Note something on an instance, which the caller has locked.

    :param replace: drop all that is not named.
    """
    metadata_delete(connection, uuid, None if replace else metadata)
    if metadata:
        connection.execute(
            sa.insert(models.InstanceMetadata),
            [{'instance_uuid': uuid, 'key': key, 'value': metadata[key]} for key in metadata],
        )


def metadata_delete(connection: sa.Connection, uuid: str, keys: Iterable[str] | None) -> None:
    """Drop items of an instance, which the caller has locked; all of them for None."""
    known = metadata_get(connection, uuid).keys()
    # Only what is there: MySQL locks around what is not, and others would have to wait.
    gone = sorted(known if keys is None else known & set(keys))
    if gone:
        connection.execute(
            sa.delete(models.InstanceMetadata).where(
                _METADATA.instance_uuid == uuid, _METADATA.key.in_(gone)
            )
        )


def _split(
    values: Mapping[str, Any], fields: Mapping[str, Any] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what goes into columns, and what is kept as fields."""
    columns = {name: value for name, value in values.items() if name not in instance_fields.NAMES}
    others = {name: value for name, value in values.items() if name in instance_fields.NAMES}
    return columns, {**others, **(fields or {})}


def _storable(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as the columns take them: times without a zone, addresses as texts."""
    stored = {}
    for name, value in values.items():
        if isinstance(value, datetime.datetime):
            value = timeutils.normalize_time(value)
        elif name.startswith('access_ip_') and value is not None:
            value = str(value)
        stored[name] = value
    return stored


def _allowed(value: Any) -> tuple[Any, ...]:
    if isinstance(value, set | frozenset | list | tuple):
        if not value or ANY in value:
            raise ValueError('%r expects nothing that could be so' % (value,))
        return tuple(value)
    return (value,)


def _among(column: Any, allowed: tuple[Any, ...]) -> sa.ColumnElement[bool]:
    values = [value for value in allowed if value is not None]
    conditions = [column.in_(values)] if values else []
    if None in allowed:
        conditions.append(column.is_(None))
    return sa.or_(*conditions)


def _conflict(
    uuid: str, wanted: Mapping[str, tuple[Any, ...]], row: Mapping[str, Any]
) -> exceptions.InstanceUpdateConflict:
    # Nothing differs any more when another was faster twice: what was expected is told then.
    differs = {name: values for name, values in wanted.items() if row[name] not in values}
    shown = differs or dict(wanted)
    facts: dict[str, Any] = {
        'instance_uuid': uuid,
        'expected': {name: list(values) for name, values in shown.items()},
        'actual': {name: row[name] for name in shown},
    }
    if 'task_state' not in differs:
        return exceptions.InstanceUpdateConflict(**facts)
    if row['task_state'] in _DELETING:
        return exceptions.UnexpectedDeletingTaskStateError(**facts)
    return exceptions.UnexpectedTaskStateError(**facts)
