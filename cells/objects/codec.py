"""How fields are read from the wire and written to it.

Worked out once for each field: values that have the right type already, nearly
all of them, are taken as they are; the library sees only the rest.
"""

import datetime
import json
import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from oslo_versionedobjects import fields as library

from cells.objects import fields


class Codec(NamedTuple):
    """How a field is read and written.

    :ivar accepts: types of which every value is right as it is, on the wire and in memory.
    :ivar decode: makes the value of any other primitive; raises ValueError and the like.
    :ivar encode: makes the primitive of a value that is not None; None: they are equal.
    :ivar reference: the class of the object or objects in it; these have no ``encode``.
    """

    accepts: frozenset[type]
    decode: Callable[[Any], Any]
    encode: Callable[[Any], Any] | None = None
    reference: fields.Reference | None = None


_COLLECTIONS: Final = {
    library.CoercedDict: dict,
    library.CoercedList: list,
    library.CoercedSet: set,
}


def coerced(name: str, field: Any, value: Any) -> Any:
    """Return the value that a field makes of another; collections are plain.

    Those of the library hold the object that they are in, and check what is added.

    :raises ValueError: and TypeError: the value does not fit.
    """
    made = field.coerce(None, name, value)
    plain = _COLLECTIONS.get(type(made))
    return made if plain is None else plain(made)


_SCALARS: Final[tuple[tuple[type, type], ...]] = (
    (library.BaseEnumField, object),
    (library.IntegerField, int),
    (library.BooleanField, bool),
    (fields.UUIDField, str),
    (library.StringField, str),
    (library.SensitiveStringField, str),
)


def codec(name: str, field: Any) -> Codec:
    """Return how the field of this name is read and written.

    References are left to the caller, who knows the classes.
    """

    def slowly(value: Any) -> Any:
        return coerced(name, field, field.from_primitive(None, name, value))

    accepts: set[type] = {type(None)} if field.nullable else set()
    reference = getattr(field, 'reference', None)
    if reference is not None:
        return Codec(frozenset(accepts), slowly, None, reference)
    for kind, plain in _SCALARS:
        if isinstance(field, kind):
            if plain is not object:
                accepts.add(plain)
            return Codec(frozenset(accepts), _scalar(slowly))
    decode, encode = _CODECS.get(type(field), (_copied, None))
    return Codec(frozenset(accepts), decode(slowly), encode)


Decode = Callable[[Any], Any]


def _scalar(slowly: Decode) -> Decode:
    def decode(value: Any) -> Any:
        if isinstance(value, list | dict):
            raise ValueError('%.60r is not a plain value' % (value,))
        return slowly(value)

    return decode


def _copied(slowly: Decode) -> Decode:
    return slowly


def _moment(slowly: Decode) -> Decode:
    parse = datetime.datetime.fromisoformat

    def decode(value: Any) -> Any:
        if type(value) is str and len(value) == 20 and value[19] == 'Z' and value[7] == '-':
            return parse(value)
        return slowly(value)

    return decode


def _moment_text(value: datetime.datetime) -> str:
    return value.isoformat()[:19] + 'Z'


def _number(slowly: Decode) -> Decode:
    def decode(value: Any) -> Any:
        found = slowly(value)
        if found is not None and not math.isfinite(found):
            raise ValueError('%r is not a number' % value)
        return found

    return decode


def _strings(slowly: Decode) -> Decode:
    only = {str}

    def decode(value: Any) -> Any:
        if type(value) is dict and {*map(type, value), *map(type, value.values())} <= only:
            return value.copy()
        return slowly(value)

    return decode


def _nullable_strings(slowly: Decode) -> Decode:
    only, none = {str}, {str, type(None)}

    def decode(value: Any) -> Any:
        if type(value) is not dict or not {*map(type, value)} <= only:
            return slowly(value)
        return value.copy() if {*map(type, value.values())} <= none else slowly(value)

    return decode


_CODECS: Final[dict[type, tuple[Callable[[Decode], Decode], Callable[[Any], Any] | None]]] = {
    fields.DateTimeField: (_moment, _moment_text),
    fields.FloatField: (_number, None),
    fields.DictOfStringsField: (_strings, dict.copy),
    fields.DictOfNullableStringsField: (_nullable_strings, dict.copy),
    fields.DictOfIntegersField: (_copied, dict.copy),
    fields.DictOfListOfStringsField: (
        _copied,
        lambda value: {key: list(items) for key, items in value.items()},
    ),
    fields.ListOfStringsField: (_copied, list),
    fields.ListOfDictOfNullableStringsField: (
        _copied,
        lambda value: [dict(item) for item in value],
    ),
    fields.SetOfIntegersField: (_copied, sorted),
    fields.NetworkModelField: (_copied, json.dumps),
}
