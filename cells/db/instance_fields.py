"""Fields of instances that are no columns: one row each, as JSON text of the primitive.

The text of equal values is equal, so that what has not changed can be told from it.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson
import sqlalchemy as sa

from cells import json_text
from cells.db import models
from cells.objects import base as objects_base
from cells.objects import instance as instance_objects

_FIELDS: Final = models.InstanceField.__table__.c
_TEXTS_OF: Final = sa.select(_FIELDS.instance_uuid, _FIELDS.name, _FIELDS.value).where(
    _FIELDS.instance_uuid.in_(sa.bindparam('uuids', expanding=True))
)

#: What is kept here: all fields but those of the tables of instances, metadata and faults.
NAMES: Final = frozenset(instance_objects.Instance.fields) - {
    *(column.name for column in models.Instance.__table__.c),
    'fault',
    'metadata',
    'services',
}


def text_of(name: str, value: Any) -> str:
    """Return the text of a field's value, an object or plain.

    :raises KeyError: there is no such field.
    :raises TypeError: and ValueError: the value is none of that field.
    """
    if name not in NAMES:
        raise KeyError(name)
    instance = instance_objects.Instance(**{name: value})
    instance.obj_reset_changes(recursive=True)
    primitive = objects_base.to_primitive(instance)['nova_object.data'][name]
    return orjson.dumps(
        primitive, default=json_text.primitive, option=orjson.OPT_SORT_KEYS
    ).decode()


def values_of(texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of fields as an object has them.

    :param texts: by name.
    """
    instance = objects_base.from_primitive(
        {
            'nova_object.name': 'Instance',
            'nova_object.version': instance_objects.Instance.VERSION,
            'nova_object.data': {name: orjson.loads(text) for name, text in texts.items()},
        }
    )
    return dict(instance.items())


def get_texts(connection: sa.Connection, uuids: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the texts of all fields of instances, by uuid and name."""
    found: dict[str, dict[str, str]] = {uuid: {} for uuid in uuids}
    for uuid, name, value in connection.execute(_TEXTS_OF, {'uuids': list(found)}):
        found[uuid][name] = value
    return found


def get(connection: sa.Connection, uuids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return all fields of instances, by uuid and name."""
    return {uuid: values_of(texts) for uuid, texts in get_texts(connection, uuids).items()}


def put(connection: sa.Connection, uuid: str, fields: Mapping[str, Any]) -> set[str]:
    """Store fields of an instance, which the caller has locked; return which have changed.

    :param fields: by name, objects or plain values; None drops one.
    """
    texts = {
        name: None if value is None else text_of(name, value) for name, value in fields.items()
    }
    return put_texts(connection, uuid, texts)


def put_texts(connection: sa.Connection, uuid: str, texts: Mapping[str, str | None]) -> set[str]:
    """Store texts of fields of an instance, which the caller has locked; return what changed.

    :param texts: by name; None drops a field.
    """
    query = sa.select(_FIELDS.name, _FIELDS.value).where(
        _FIELDS.instance_uuid == uuid, _FIELDS.name.in_(texts)
    )
    known = {row.name: row.value for row in connection.execute(query)}
    changed = {name for name, text in texts.items() if text != known.get(name)}
    for name in sorted(changed & known.keys()):
        which = sa.and_(_FIELDS.instance_uuid == uuid, _FIELDS.name == name)
        if texts[name] is None:
            connection.execute(sa.delete(models.InstanceField).where(which))
        else:
            connection.execute(
                sa.update(models.InstanceField).where(which).values(value=texts[name])
            )
    new = [
        {'instance_uuid': uuid, 'name': name, 'value': texts[name]}
        for name in sorted(changed - known.keys())
    ]
    if new:
        connection.execute(sa.insert(models.InstanceField), new)
    return changed
