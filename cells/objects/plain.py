"""Objects in their plain form, for peers of RPC versions before objects, and back."""

import datetime
import json
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from cells.objects import base, fields

_PLAIN: Final = frozenset((str, int, float, bool, type(None)))
_DICTIONARIES: Final = (fields.DictOfStringsField, fields.DictOfNullableStringsField)


def moment_text(moment: datetime.datetime) -> str:
    """Return a moment as plain forms have it: ``YYYY-MM-DDTHH:MM:SS.ffffff``, in UTC."""
    return moment.replace(tzinfo=None).isoformat(timespec='microseconds')


def flatten(
    value: Any,
    moment: Callable[[datetime.datetime], Any] = moment_text,
    instance_name_template: str = 'instance-%08x',
    kept: Collection[str] = (),
) -> Any:
    """Return a value with every object in it as a dictionary of the fields that are set.

    List objects become lists. It is what peers of RPC versions before objects take.

    :param moment: what stands for a time.
    :param instance_name_template: how an instance is called by its ``id``.
    :param kept: names of classes whose objects stay objects.
    """

    def plain(value: Any) -> Any:
        if type(value) in _PLAIN:
            return value
        if isinstance(value, datetime.datetime):
            return moment(value)
        if kept and hasattr(value, 'obj_name') and value.obj_name() in kept:
            return value
        if isinstance(value, fields.Foreign):
            return plain(value.envelope['nova_object.data'])
        if hasattr(value, 'obj_to_primitive') and not isinstance(value, base.CellsObject):
            return plain(base.from_primitive(value.obj_to_primitive()))
        if isinstance(value, base.CellsObjectList | list | tuple):
            return [plain(item) for item in value]
        if isinstance(value, set):
            return sorted(value)
        if isinstance(value, dict | base.CellsObject):
            made = {key: plain(item) for key, item in value.items()}
            if isinstance(value, base.CellsObject):
                made.update(value.flattened_extras(instance_name_template))
            return made
        return value

    return plain(value)


def build(name: str, values: Mapping[str, Any]) -> Any:
    """Return the object that a dictionary of its fields, or a row of a database, stands for.

    What it has beside the fields is left out; lists of ``key`` and ``value`` are
    dictionaries, as tables of metadata are read, and so are texts of JSON.

    :param name: of the class.
    :raises ValueError: and TypeError: a value does not fit; the text names it.
    """
    cls = base.registered()[name]
    made = cls()
    for field_name, field in cls.fields.items():
        if field_name in values:
            setattr(made, field_name, _field_value(field, values[field_name]))
    return made


def _field_value(field: Any, value: Any) -> Any:
    reference = getattr(field, 'reference', None)
    if value is None:
        return None
    if isinstance(field, _DICTIONARIES):
        return _dictionary(value)
    if isinstance(field, fields.SetOfIntegersField):
        return set(value)
    if reference is None:
        return value
    if isinstance(field, fields.ListOfObjectsField):
        return [_nested(reference.objname, one) for one in value]
    return _nested(reference.objname, value)


def _nested(name: str, value: Any) -> Any:
    cls = base.registered().get(name)
    if cls is None:
        raise ValueError('%s is no class of ours' % name)
    if isinstance(value, Mapping):
        return build(name, value)
    if isinstance(value, list | tuple) and issubclass(cls, base.CellsObjectList):
        return build(name, {'objects': value})
    return value


def _dictionary(value: Any) -> Any:
    if isinstance(value, str):
        return json.loads(value)
    if not isinstance(value, list | tuple):
        return value
    if not all(isinstance(one, Mapping) and {'key', 'value'} <= one.keys() for one in value):
        raise ValueError('%.60r is not a list of keys and values' % (value,))
    return {one['key']: one['value'] for one in value if not one.get('deleted')}
