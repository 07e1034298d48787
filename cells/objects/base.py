"""What all objects on the wire share.

Names, fields and versions are nova's (``spec/objects.json``), the registry is
our own: registering with oslo's would replace nova's classes in a process
that uses both. Objects are plain values without ``save()`` and lazy loading;
``db/<subject>.py`` loads and stores them.
"""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from oslo_utils import versionutils
from oslo_versionedobjects import base, exception, fields

_REGISTRY: dict[str, type['CellsObject']] = {}


def register(cls: type['CellsObject']) -> type['CellsObject']:
    """Make a class known under its name on the wire. A class decorator."""
    for name, field in cls.fields.items():
        if not hasattr(cls, name):
            setattr(cls, name, _accessor(name, field))
    _REGISTRY[cls.obj_name()] = cls
    return cls


def registered() -> dict[str, type['CellsObject']]:
    """Return all classes by name."""
    return dict(_REGISTRY)


def _accessor(name: str, field: Any) -> property:
    attribute = '_obj_' + name

    def get(self: Any) -> Any:
        try:
            return getattr(self, attribute)
        except AttributeError:
            raise AttributeError('%s.%s is not set' % (self.obj_name(), name)) from None

    def put(self: Any, value: Any) -> None:
        value = field.coerce(self, name, value)
        if field.read_only and getattr(self, attribute, value) != value:
            raise exception.ReadOnlyFieldError(field=name)
        if not hasattr(self, attribute) or getattr(self, attribute) != value:
            self._changed_fields.add(name)
        setattr(self, attribute, value)

    return property(get, put, doc='Field %s.' % name)


class CellsObject(base.VersionedObject):
    """The root of all objects."""

    OBJ_SERIAL_NAMESPACE = 'nova_object'
    OBJ_PROJECT_NAMESPACE = 'nova'

    #: What every stored object carries.
    STORED_FIELDS: ClassVar[dict[str, Any]] = {
        'created_at': fields.DateTimeField(nullable=True),
        'updated_at': fields.DateTimeField(nullable=True),
        'deleted_at': fields.DateTimeField(nullable=True),
        'deleted': fields.BooleanField(default=False),
    }

    @classmethod
    def obj_class_from_name(cls, objname: str, objver: str) -> type['CellsObject']:
        """Return the class for a name; a newer minor version is taken as ours."""
        found = _REGISTRY.get(objname)
        if found is None:
            raise exception.UnsupportedObjectError(objtype=objname)
        wanted, have = (versionutils.convert_version_to_tuple(v) for v in (objver, found.VERSION))
        if wanted[0] != have[0]:
            raise exception.IncompatibleObjectVersion(
                objname=objname, objver=objver, supported=found.VERSION
            )
        return found

    def __contains__(self, name: object) -> bool:
        return name in self.fields and self.obj_attr_is_set(str(name))

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def items(self) -> Iterator[tuple[str, Any]]:
        """Yield the fields that are set."""
        for name in self.fields:
            if self.obj_attr_is_set(name):
                yield name, getattr(self, name)


def is_envelope(value: Any) -> bool:
    """Tell whether a value is an object in its form on the wire."""
    return isinstance(value, dict) and 'nova_object.name' in value


def transform(value: Any, envelope: Callable[[dict[str, Any]], Any]) -> Any:
    """Return ``value`` with every envelope in it, at any depth, put through a function."""
    if isinstance(value, dict):
        if is_envelope(value):
            return envelope(value)
        return {key: transform(item, envelope) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [transform(item, envelope) for item in value]
    return value


def to_primitive(value: Any) -> Any:
    """Return a value with every object in it, at any depth, as its envelope."""
    if isinstance(value, dict):
        return {key: to_primitive(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [to_primitive(item) for item in value]
    if hasattr(value, 'obj_to_primitive'):
        return value.obj_to_primitive()
    return value


def from_primitive(envelope: dict[str, Any]) -> CellsObject:
    """Return the object of an envelope.

    Fields that our version does not know are left out.

    :raises oslo_versionedobjects.exception.VersionedObjectsException: it is of an
        unknown class, of another major version, or has a value that does not fit.
    """
    try:
        name, version = envelope['nova_object.name'], envelope['nova_object.version']
        data, changes = envelope['nova_object.data'], envelope.get('nova_object.changes', ())
        cls = CellsObject.obj_class_from_name(name, version)
        instance = cls()
        for known in cls.fields.keys() & data.keys():
            setattr(instance, '_obj_' + known, _value(instance, known, data[known]))
        instance._changed_fields = set(changes) & set(cls.fields)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise exception.VersionedObjectsException(
            'Not an object: %s: %s' % (type(error).__name__, error)
        ) from None
    return instance


def _value(instance: CellsObject, name: str, value: Any) -> Any:
    if is_envelope(value):
        return from_primitive(value)
    field = instance.fields[name]
    return field.coerce(instance, name, field.from_primitive(instance, name, value))
