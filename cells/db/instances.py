"""Instances: loading, and changes that say what they expect.

A change of state is one statement with its condition in it, so that of two that
exclude each other one fails, whichever process they run in. ``expected`` gives for
a column the value, or the values, that it must have now. None among them means
null, and only null; :data:`ANY` is what means that it does not matter (S14).
"""

import datetime
from collections.abc import Iterable, Mapping
from typing import Any, Final

import sqlalchemy as sa
from oslo_db import exception as db_exc
from oslo_utils import timeutils

from cells import exceptions
from cells.db import models, statements
from cells.objects import instance as instance_objects

_COLUMNS: Final = models.Instance.__table__.c
_METADATA: Final = models.InstanceMetadata.__table__.c


class _Any:
    def __repr__(self) -> str:
        return 'ANY'


#: In ``expected``: whatever value the column has.
ANY: Final = _Any()

_DELETING: Final = frozenset(('deleting', 'soft-deleting'))


def instance_create(
    connection: sa.Connection,
    values: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
) -> int:
    """Write a new instance and return its id.

    :param values: by column; ``uuid`` at least.
    :raises InstanceExists: there is one of this uuid, possibly a deleted one; the
        transaction cannot go on.
    """
    try:
        made = connection.execute(sa.insert(models.Instance).values(_storable(values)))
    except db_exc.DBDuplicateEntry:
        raise exceptions.InstanceExists(name=values['uuid']) from None
    if metadata:
        metadata_set(connection, values['uuid'], metadata)
    assert made.inserted_primary_key is not None
    return int(made.inserted_primary_key[0])


def instance_get(
    connection: sa.Connection, uuid: str, read_deleted: str = 'no', lock: bool = False
) -> instance_objects.Instance:
    """Return an instance: all its columns and ``metadata``.

    :param read_deleted: ``no``, ``yes`` or ``only``.
    :param lock: keep all others from changing it until the transaction ends.
    :raises InstanceNotFound: there is none.
    """
    query = sa.select(*_COLUMNS).where(
        _COLUMNS.uuid == uuid, statements.visible(_COLUMNS, read_deleted)
    )
    if lock:
        found = statements.locked(connection, query, free_only=False)
    else:
        found = [dict(row) for row in connection.execute(query).mappings()]
    if not found:
        raise exceptions.InstanceNotFound(instance_id=uuid)
    instance = instance_objects.Instance(
        **{**found[0], 'deleted': bool(found[0]['deleted'])},
        metadata=metadata_get(connection, uuid),
    )
    instance.obj_reset_changes()
    return instance


def instance_update(
    connection: sa.Connection,
    uuid: str,
    values: Mapping[str, Any],
    expected: Mapping[str, Any] | None = None,
) -> None:
    """Change an instance that is as expected, in one statement.

    :param values: by column; none of them still counts as a change now.
    :param expected: by column the value it must have, or a set, list or tuple of those it
        may have; None for null, :data:`ANY` for any.
    :raises InstanceNotFound: there is none.
    :raises UnexpectedTaskStateError: it has another task state;
        UnexpectedDeletingTaskStateError when that is the one of a deletion.
    :raises InstanceUpdateConflict: something else is not as expected.
    """
    wanted = {name: _allowed(value) for name, value in (expected or {}).items() if value is not ANY}
    alive = sa.and_(_COLUMNS.uuid == uuid, _COLUMNS.deleted == 0)
    conditions = [_among(_COLUMNS[name], allowed) for name, allowed in wanted.items()]
    change = sa.update(models.Instance).where(alive, *conditions)
    stored = {'updated_at': models.utcnow(), **_storable(values)}
    if connection.execute(change.values(stored)).rowcount:
        return
    # Locked, as without that MySQL would show how it was when the transaction began.
    query = sa.select(*_COLUMNS).where(alive)
    found = statements.locked(connection, query, free_only=False)
    if not found:
        raise exceptions.InstanceNotFound(instance_id=uuid)
    raise _conflict(uuid, wanted, found[0])


def instance_destroy(connection: sa.Connection, uuid: str) -> None:
    """Mark an instance as deleted; its row stays.

    :raises InstanceNotFound: there is none that is not deleted.
    """
    gone = sa.update(models.Instance).where(_COLUMNS.uuid == uuid, _COLUMNS.deleted == 0)
    now = models.utcnow()
    values = {'deleted': _COLUMNS.id, 'deleted_at': now, 'updated_at': now}
    if not connection.execute(gone.values(values)).rowcount:
        raise exceptions.InstanceNotFound(instance_id=uuid)


def metadata_get(connection: sa.Connection, uuid: str) -> dict[str, str]:
    """Return what a user has noted on an instance."""
    query = sa.select(_METADATA.key, _METADATA.value).where(_METADATA.instance_uuid == uuid)
    found = connection.execute(query.order_by(_METADATA.key)).all()
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
