"""What all objects on the wire share.

Names, fields and versions are nova's (``spec/objects.json``), the registry is
our own: registering with oslo's would replace nova's classes in a process
that uses both. Objects are plain values without ``save()`` and lazy loading;
``db/<subject>.py`` loads and stores them. A value that can change in place, such
as ``metadata``, counts as changed only when it is assigned.

How the fields of a class are read and written is worked out once, when it is
registered: see :class:`cells.objects.codec.Codec`.
"""

import contextlib
import copy
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from oslo_versionedobjects import base, exception

from cells import versions
from cells.objects import codec, fields

#: What rubbish on the wire may set off in code that takes it for an object.
_RUBBISH: Final = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
_UNFIT: Final = (*_RUBBISH, exception.VersionedObjectsException)
_VERSION: Final = re.compile(r'([0-9]{1,6})\.([0-9]{1,6})(?:\.[0-9]{1,6})?')

_REGISTRY: dict[str, type['CellsObject']] = {}


def register(cls: type['CellsObject']) -> type['CellsObject']:
    """Make a class known under its name on the wire. A class decorator."""
    name = cls.obj_name()
    cls.VERSION = versions.newest_object_version(name)
    reads, writes, nested = {}, [], []
    for key, field in cls.fields.items():
        attribute = '_obj_' + key
        found = codec.codec(key, field)
        decode, is_list = found.decode, isinstance(field, fields.ListOfObjectsField)
        if found.reference is not None:
            decode = _reader(found.reference, is_list, decode)
            if not is_list or issubclass(cls, CellsObjectList):
                nested.append((key, attribute, is_list))
        reads[key] = (attribute, found.accepts, decode)
        since = _numbers(fields.since_of(field))
        writes.append((key, attribute, found.encode, found.reference is not None, since))
        setattr(cls, key, _accessor(key, field, found.accepts))
    cls._reads, cls._writes, cls._nested = reads, tuple(writes), tuple(nested)
    _REGISTRY[name] = cls
    return cls


def registered() -> dict[str, type['CellsObject']]:
    """Return all classes by name."""
    return dict(_REGISTRY)


def _numbers(version: str) -> tuple[int, int]:
    match = _VERSION.fullmatch(version)
    if match is None:
        raise ValueError('%.40r is not a version' % version)
    return int(match[1]), int(match[2])


def _accessor(name: str, field: Any, accepts: frozenset[type]) -> property:
    attribute = '_obj_' + name
    read_only = field.read_only

    def get(self: Any) -> Any:
        try:
            return self.__dict__[attribute]
        except KeyError:
            raise AttributeError('%s.%s is not set' % (self.obj_name(), name)) from None

    def put(self: Any, value: Any) -> None:
        if type(value) not in accepts:
            value = codec.coerced(name, field, value)
        values = self.__dict__
        if attribute not in values or values[attribute] != value:
            if read_only and attribute in values:
                raise exception.ReadOnlyFieldError(field=name)
            self._changed_fields.add(name)
        values[attribute] = value

    return property(get, put, doc='Field %s.' % name)


class CellsObject(base.VersionedObject):
    """The root of all objects.

    :ivar VERSION: of the class, the newest that any release has; of an object that
        was received, the one that it came with.
    """

    OBJ_SERIAL_NAMESPACE = 'nova_object'
    OBJ_PROJECT_NAMESPACE = 'nova'

    #: What every stored object carries.
    STORED_FIELDS: ClassVar[dict[str, Any]] = {
        'created_at': fields.DateTimeField(nullable=True),
        'updated_at': fields.DateTimeField(nullable=True),
        'deleted_at': fields.DateTimeField(nullable=True),
        'deleted': fields.BooleanField(default=False),
    }

    if TYPE_CHECKING:  # the fields, which register() makes properties of

        def __getattr__(self, name: str) -> Any: ...

        def __setattr__(self, name: str, value: Any) -> None: ...

    _reads: ClassVar[dict[str, tuple[str, frozenset[type], Callable[[Any], Any]]]] = {}
    _writes: ClassVar[tuple[tuple[str, str, Any, bool, tuple[int, int]], ...]] = ()
    _nested: ClassVar[tuple[tuple[str, str, bool], ...]] = ()

    def __init__(self, **values: Any) -> None:
        super().__init__()
        for name, value in values.items():
            if name not in self.fields:
                raise TypeError('%s has no field %s' % (self.obj_name(), name))
            setattr(self, name, value)

    @classmethod
    def obj_class_from_name(cls, objname: str, objver: str) -> type['CellsObject']:
        """Return the class for a name and a version of it, of which any minor will do.

        :raises oslo_versionedobjects.exception.VersionedObjectsException: there is none.
        """
        try:
            return _class_of(objname, objver)[0]
        except (TypeError, ValueError) as error:
            raise exception.VersionedObjectsException('Not an object: %s' % error) from None

    def obj_attr_is_set(self, attrname: str) -> bool:
        """Tell whether a field has a value."""
        return '_obj_' + attrname in self.__dict__

    def obj_what_changed(self) -> set[str]:
        """Return the names of fields that were changed, or in which an object was."""
        changes = set(self._changed_fields)
        values = self.__dict__
        for name, attribute, is_list in self._nested:
            if name in changes:
                continue
            value = values.get(attribute)
            if value is None:
                continue
            for item in value if is_list else (value,):
                if item.obj_what_changed():
                    changes.add(name)
                    break
        return changes

    def obj_reset_changes(self, fields: Any = None, recursive: bool = False) -> None:
        """Count all fields, or those named, as not changed; with ``recursive`` inside as well."""
        self._changed_fields -= set(self.fields if fields is None else fields)
        if not recursive:
            return
        for name, _, _, nested, _ in self._writes:
            value = self.__dict__.get('_obj_' + name) if nested else None
            if value is not None and (fields is None or name in fields):
                for item in value if isinstance(value, list) else (value,):
                    item.obj_reset_changes(recursive=True)

    def obj_to_primitive(self, release: str | None = None) -> Any:  # type: ignore[override]
        """Return the envelope, see :func:`to_primitive`."""
        return to_primitive(self, release)

    def flattened_extras(self, instance_name_template: str) -> dict[str, Any]:
        """Return what the plain form has beside the fields."""
        return {}

    def __contains__(self, name: object) -> bool:
        return name in self.fields and self.obj_attr_is_set(str(name))

    def __getitem__(self, name: Any) -> Any:
        return getattr(self, name)

    def items(self) -> Iterator[tuple[str, Any]]:
        """Yield the fields that are set."""
        values = self.__dict__
        for name, attribute, _, _, _ in self._writes:
            if attribute in values:
                yield name, values[attribute]

    def __repr__(self) -> str:
        shown = ['%s=%s' % (name, self.fields[name].stringify(v)) for name, v in self.items()]
        return '%s(%s)' % (self.obj_name(), ', '.join(shown))

    def __deepcopy__(self, memo: dict[int, Any]) -> 'CellsObject':
        made = object.__new__(type(self))
        made.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return made


class CellsObjectList(CellsObject):
    """The root of objects that are lists: one field, ``objects``. Not set, it is empty."""

    def __len__(self) -> int:
        return len(self._items())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items())

    def __getitem__(self, index: Any) -> Any:
        return self._items()[index]

    def __contains__(self, value: object) -> bool:
        return value in self._items()

    def _items(self) -> Sequence[Any]:
        return self.__dict__.get('_obj_objects', ())


# -- from the wire --


def is_envelope(value: Any) -> bool:
    """Tell whether a value is an object in its form on the wire."""
    return isinstance(value, dict) and 'nova_object.name' in value


def transform(value: Any, envelope: Callable[[dict[str, Any]], Any]) -> Any:
    """Return ``value`` with every envelope in it, at any depth, put through a function.

    :raises oslo_versionedobjects.exception.VersionedObjectsException: it is nested so
        deeply that nothing could be done with it.
    """
    try:
        return _transform(value, envelope)
    except RecursionError:
        raise exception.VersionedObjectsException('A value is nested too deeply') from None


def _transform(value: Any, envelope: Callable[[dict[str, Any]], Any]) -> Any:
    if isinstance(value, dict):
        if 'nova_object.name' in value:
            return envelope(value)
        return {key: _transform(item, envelope) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_transform(item, envelope) for item in value]
    return value


def from_primitive(envelope: dict[str, Any]) -> Any:
    """Return the object of an envelope.

    It keeps the version that it came with. A newer minor version is taken as ours;
    fields that our version does not know, and values of others that it cannot have, are
    left out.

    :raises oslo_versionedobjects.exception.VersionedObjectsException: it is of an
        unknown class, of another major version, or has a value that does not fit.
    """
    try:
        return _decode(envelope)
    except _RUBBISH as error:
        raise exception.VersionedObjectsException(
            'Not an object: %s: %.200s' % (type(error).__name__, error)
        ) from None


def _decode(envelope: dict[str, Any]) -> CellsObject:
    cls, version, is_newer = _class_of(
        envelope['nova_object.name'], envelope['nova_object.version']
    )
    instance = object.__new__(cls)
    values = instance.__dict__
    known = cls._reads
    changes = envelope.get('nova_object.changes')
    name = 'data'
    try:
        for name, value in envelope['nova_object.data'].items():
            entry = known.get(name)
            if entry is not None:
                attribute, accepts, decode = entry
                values[attribute] = value if type(value) in accepts else decode(value)
    except _UNFIT as error:
        if not is_newer:
            if isinstance(error, exception.VersionedObjectsException):
                raise
            raise exception.VersionedObjectsException(
                'Not a %s: %.40s: %.200s' % (cls.obj_name(), name, error)
            ) from None
        fit = _fit(cls, envelope['nova_object.data'])
        values.update({known[name][0]: value for name, value in fit.items()})
        changes = fit.keys() & changes if changes else None
    values['_changed_fields'] = known.keys() & changes if changes else set()
    values['_context'] = None
    if version != cls.VERSION:
        values['VERSION'] = version
    return instance


def _fit(cls: type[CellsObject], data: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of an object of a newer version that have values as in ours.

    A newer minor version may have widened a field, with another word or class in it.
    """
    found = {}
    for name, value in data.items():
        if name in cls._reads:
            _, accepts, decode = cls._reads[name]
            with contextlib.suppress(*_UNFIT):
                found[name] = value if type(value) in accepts else decode(value)
    return found


@functools.lru_cache(maxsize=1024)
def _class_of(name: str, version: str) -> tuple[type[CellsObject], str, bool]:
    """Return the class, the version as which it is taken, and whether it came as a newer one."""
    found = _REGISTRY.get(name)
    if found is None:
        raise exception.UnsupportedObjectError(objtype=name)
    major, minor = _numbers(version)
    majors = {_numbers(one)[0] for one in versions.object_versions(name)}
    if major not in majors:
        raise exception.IncompatibleObjectVersion(
            objname=name, objver=version, supported=found.VERSION
        )
    if (major, minor) > _numbers(found.VERSION):
        return found, found.VERSION, True
    return found, '%d.%d' % (major, minor), False


def _reader(
    reference: fields.Reference, is_list: bool, otherwise: Callable[[Any], Any]
) -> Callable[[Any], Any]:
    wanted, subclasses = reference.objname, reference.subclasses

    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError('%.60r is not a %s' % (value, wanted))
        name = value['nova_object.name']
        if name == wanted and name in _REGISTRY:
            return _decode(value)
        if isinstance(name, str) and name not in _REGISTRY and (subclasses or name == wanted):
            return fields.Foreign(value)
        raise ValueError('a %.60r is not a %s' % (name, wanted))

    def read_all(value: Any) -> Any:
        if value is None:
            return otherwise(None)
        if not isinstance(value, list):
            raise ValueError('%.60r is not a list' % (value,))
        return [read(item) for item in value]

    def read_one(value: Any) -> Any:
        return otherwise(None) if value is None else read(value)

    return read_all if is_list else read_one


# -- to the wire --

_ABSENT: Final = object()
_PLAIN: Final = frozenset((str, int, float, bool, type(None)))


def to_primitive(value: Any, release: str | None = None) -> Any:
    """Return a value with every object in it, at any depth, as its envelope.

    :param release: emit each object at the version of that release, without what it
        does not know: fields, and objects in fields. None: each at its own version.
    :raises ValueError: the release is unknown or does not know the class of an object.
    :raises oslo_versionedobjects.exception.VersionedObjectsException: the value is
        nested too deeply.
    """
    if release is not None and release not in versions.OBJECT_VERSIONS:
        raise ValueError('%r is none of %s' % (release, ', '.join(versions.OBJECT_VERSIONS)))
    try:
        return _primitive(value, release)
    except RecursionError:
        raise exception.VersionedObjectsException('A value is nested too deeply') from None


def is_ours(value: Any) -> bool:
    """Tell whether an object has the version of our classes, not one that it came with."""
    return isinstance(value, CellsObject) and 'VERSION' not in value.__dict__


def compatible(value: Any, release: str | None) -> Any:
    """Return a value with the objects of ours in it, at any depth, as a release takes them.

    An object that came with a version of its own goes on as it is: whoever made it has
    made it for its receiver.

    :param release: as in :func:`to_primitive`; with None the value is returned.
    :raises ValueError: the release does not know the class of an object.
    """
    if release is None or type(value) in _PLAIN:
        return value
    if isinstance(value, dict):
        return {key: compatible(item, release) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [compatible(item, release) for item in value]
    return to_primitive(value, release) if is_ours(value) else value


def _primitive(value: Any, release: str | None) -> Any:
    if type(value) in _PLAIN:
        return value
    if isinstance(value, dict):
        return {key: _primitive(item, release) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_primitive(item, release) for item in value]
    if not hasattr(value, 'obj_to_primitive'):
        return value
    made = _envelope(value, release)
    if made is _ABSENT:
        raise ValueError('%s does not exist in %s' % (value.obj_name(), release))
    return made


def _envelope(value: Any, release: str | None) -> Any:
    if isinstance(value, CellsObject):
        return _encode(value, release)
    made = value.obj_to_primitive()
    if release is None:
        return made
    name = made.get('nova_object.name')
    return _encode(from_primitive(made), release) if name in _REGISTRY else _ABSENT


def _encode(value: CellsObject, release: str | None) -> Any:
    version, plan, emitted = _plan(value.obj_name(), release)
    if version is None:
        return _ABSENT
    values = value.__dict__
    data = {}
    changes = value.obj_what_changed()
    for name, attribute, encode, nested, _ in plan:
        if attribute not in values:
            continue
        item = values[attribute]
        if item is not None:
            if encode is not None:
                item = encode(item)
            elif nested:
                item = _inside(item, release)
                if item is _ABSENT:
                    changes.discard(name)
                    continue
        data[name] = item
    envelope: dict[str, Any] = {
        'nova_object.name': value.obj_name(),
        'nova_object.namespace': 'nova',
        'nova_object.version': value.VERSION if release is None else version,
        'nova_object.data': data,
    }
    if release is not None:
        changes &= emitted
    if changes:
        envelope['nova_object.changes'] = sorted(changes)
    return envelope


def _inside(value: Any, release: str | None) -> Any:
    if not isinstance(value, list):
        return _envelope(value, release)
    made = [_envelope(item, release) for item in value]
    return _ABSENT if _ABSENT in made else made


@functools.lru_cache(maxsize=1024)
def _plan(name: str, release: str | None) -> tuple[str | None, Any, set[str]]:
    cls = _REGISTRY[name]
    version: str | None = cls.VERSION
    plan = cls._writes
    if release is not None:
        version = versions.OBJECT_VERSIONS[release].get(name)
        if version is not None:
            most = _numbers(version)
            plan = tuple(entry for entry in plan if entry[-1] <= most)
    return version, plan, {entry[0] for entry in plan}
