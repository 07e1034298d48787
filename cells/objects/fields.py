"""The types of fields: those of the library, and ours for what it has not.

Ours are text for addresses, the network model and references to other objects;
those that hold one of some words are in :mod:`cells.objects.words`. A field says
with :func:`since` at which version of its object it came.
"""

import dataclasses
import datetime
import ipaddress
import json
import uuid
from typing import Any, Final

from oslo_versionedobjects import fields as library

#: Types of the library that are used as they are.
BooleanField: Final = library.BooleanField
DictOfIntegersField: Final = library.DictOfIntegersField
DictOfListOfStringsField: Final = library.DictOfListOfStringsField
DictOfNullableStringsField: Final = library.DictOfNullableStringsField
DictOfStringsField: Final = library.DictOfStringsField
EnumField: Final = library.EnumField
FloatField: Final = library.FloatField
IntegerField: Final = library.IntegerField
ListOfDictOfNullableStringsField: Final = library.ListOfDictOfNullableStringsField
ListOfStringsField: Final = library.ListOfStringsField
SensitiveStringField: Final = library.SensitiveStringField
SetOfIntegersField: Final = library.SetOfIntegersField
StringField: Final = library.StringField

#: Since when a field is there that does not say so.
FIRST_VERSION: Final = '1.0'


def since(version: str, field: Any) -> Any:
    """Return the field, marked with the version of its object that brought it."""
    field.since = version
    return field


def since_of(field: Any) -> str:
    """Return the version of the object that brought a field."""
    return getattr(field, 'since', FIRST_VERSION)


# -- types of our own --


class DateTime(library.DateTime):
    """A moment in UTC."""

    def coerce(self, obj: Any, attr: str, value: Any) -> datetime.datetime:
        """Return the moment; what has no zone is UTC."""
        moment = super().coerce(obj, attr, value)
        if moment.utcoffset():
            try:
                moment = moment.astimezone(datetime.UTC)
            except OverflowError:
                raise ValueError('%s is %s, which is no time in UTC' % (attr, moment)) from None
        return moment


class DateTimeField(library.AutoTypedField):
    """Written as ``YYYY-MM-DDTHH:MM:SSZ``."""

    AUTO_TYPE = DateTime()


class UUID(library.FieldType):
    """The text of a uuid; as in nova, any text will do."""

    def coerce(self, obj: Any, attr: str, value: Any) -> str:
        """Return the text."""
        if not isinstance(value, str | uuid.UUID):
            raise ValueError('%s is %.60r, not a uuid' % (attr, value))
        return str(value)


class UUIDField(library.AutoTypedField):
    """A uuid."""

    AUTO_TYPE = UUID()


class Address(library.FieldType):
    """The text of an IP address.

    :param version: 4, 6, or None for both.
    """

    def __init__(self, version: int | None = None) -> None:
        self.version = version

    def coerce(self, obj: Any, attr: str, value: Any) -> str:
        """Return the address as text in its usual form."""
        address = ipaddress.ip_address(str(value))
        if self.version not in (None, address.version):
            raise ValueError('%s is %s, not an IPv%d address' % (attr, address, self.version))
        return str(address)


class IPAddressField(library.AutoTypedField):
    """An address of any kind."""

    AUTO_TYPE = Address()


class IPV4AddressField(library.AutoTypedField):
    """An address such as 192.0.2.1."""

    AUTO_TYPE = Address(4)


class IPV6AddressField(library.AutoTypedField):
    """An address such as 2001:db8::1."""

    AUTO_TYPE = Address(6)


class NetworkModel(library.FieldType):
    """A list of VIFs, each a dictionary; on the wire the JSON text of it."""

    def coerce(self, obj: Any, attr: str, value: Any) -> list[dict[str, Any]]:
        """Return the list, from the text as well."""
        found = json.loads(value) if isinstance(value, str) else value
        if not isinstance(found, list | tuple) or not all(isinstance(vif, dict) for vif in found):
            raise ValueError('%s is %.60r, not a list of VIFs' % (attr, value))
        return list(found)


class NetworkModelField(library.AutoTypedField):
    """The network of an instance."""

    AUTO_TYPE = NetworkModel()


@dataclasses.dataclass(frozen=True)
class Foreign:
    """An object of a class that is not ours, as it came: for neighbours that know it."""

    envelope: dict[str, Any]

    def obj_name(self) -> str:
        """Return the name of its class."""
        return str(self.envelope['nova_object.name'])

    def obj_to_primitive(self) -> dict[str, Any]:
        """Return its form on the wire."""
        return self.envelope

    def obj_what_changed(self) -> set[str]:
        """Return nothing: what is in it is not known."""
        return set()

    def obj_reset_changes(self, fields: Any = None, recursive: bool = False) -> None:
        """Do nothing."""


class Reference(library.FieldType):
    """An object of one class.

    :param objname: the name of the class.
    :param subclasses: whether classes that are not ours may stand for it.
    """

    def __init__(self, objname: str, subclasses: bool = False) -> None:
        self.objname = objname
        self.subclasses = subclasses

    def coerce(self, obj: Any, attr: str, value: Any) -> Any:
        """Return the object."""
        if isinstance(value, Foreign) and self.subclasses:
            return value
        name = value.obj_name() if hasattr(value, 'obj_name') else type(value).__name__
        if name != self.objname or not hasattr(value, 'obj_what_changed'):
            raise ValueError('%s takes a %s, not a %s' % (attr, self.objname, name))
        return value


class ObjectField(library.AutoTypedField):
    """An object in another."""

    def __init__(self, objname: str, subclasses: bool = False, **kwargs: Any) -> None:
        self.reference = Reference(objname, subclasses)
        self.AUTO_TYPE = self.reference
        super().__init__(**kwargs)


class ListOfObjectsField(library.AutoTypedField):
    """Objects of one class, in a plain list."""

    def __init__(self, objname: str, subclasses: bool = False, **kwargs: Any) -> None:
        self.reference = Reference(objname, subclasses)
        self.AUTO_TYPE = library.List(self.reference)
        super().__init__(**kwargs)
