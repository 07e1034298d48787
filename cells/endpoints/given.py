"""What callers give for the things that orders are about: objects, or what older callers have.

Objects of 1.x and dictionaries, from before there were objects, become what the rest of
the code knows (``spec/rpc_server.json``, ``compat_shims``).
"""

from collections.abc import Mapping
from typing import Any, Final

from oslo_versionedobjects import exception as versioned

from cells import arguments, exceptions
from cells.objects import base as objects_base
from cells.objects import block_device, flavor, plain
from cells.objects import instance as instance_objects

LONGEST_UUID: Final = 36

#: What is refused by an object, as an error of the one who gave it.
_UNFIT: Final = (TypeError, ValueError, AttributeError, versioned.VersionedObjectsException)


def instance(value: object, name: str = 'instance') -> instance_objects.Instance:
    """Return an Instance that has a uuid.

    :param value: one, or its fields or its row as a dictionary.
    :param name: of the argument, for the error.
    :raises Invalid: it is something else, or has no uuid.
    """
    found = _object(name, value, instance_objects.Instance)
    if 'uuid' not in found:
        raise exceptions.Invalid(reason='%s has no uuid' % name)
    arguments.text('%s.uuid' % name, found.uuid, longest=LONGEST_UUID)
    return found


def uuid_of(value: object) -> str | None:
    """Return the uuid of what may be an instance, None when it has none that could be one.

    :param value: an Instance, its fields or its row as a dictionary, or an envelope that
        cannot be read.
    """
    fields = value.get('nova_object.data', value) if isinstance(value, Mapping) else None
    found = fields.get('uuid') if isinstance(fields, Mapping) else None
    if isinstance(value, instance_objects.Instance) and 'uuid' in value:
        found = value.uuid
    try:
        return arguments.text('uuid', found, longest=LONGEST_UUID)
    except exceptions.Invalid:
        return None


def instances_in(arguments: Mapping[str, Any]) -> list[Any]:
    """Return what may be the instances that an order is for: of one, or of a build."""
    if 'instance' in arguments:
        return [arguments['instance']]
    request = arguments.get('build_inst_kwargs')
    found = request.get('instances') if isinstance(request, Mapping) else None
    if isinstance(found, Mapping) and isinstance(found.get('nova_object.data'), Mapping):
        found = found['nova_object.data'].get('objects')
    return list(found) if isinstance(found, list | tuple | objects_base.CellsObjectList) else []


def flavor_of(value: object, name: str = 'flavor') -> flavor.Flavor:
    """Return a Flavor.

    :param value: one, or its fields as a dictionary.
    :raises Invalid: it is something else.
    """
    return _object(name, value, flavor.Flavor)


def device_row(value: object, name: str = 'bdm') -> dict[str, Any]:
    """Return a block device as other cells take it: its fields in plain form.

    :param value: a BlockDeviceMapping, or its fields as a dictionary.
    :raises Invalid: it is something else, or of no instance.
    """
    found = value
    if not isinstance(value, Mapping):
        found = plain.flatten(_object(name, value, block_device.BlockDeviceMapping))
    row = arguments.mapping(name, found)
    arguments.text('%s.instance_uuid' % name, row.get('instance_uuid'), longest=LONGEST_UUID)
    return row


def files(name: str, value: object) -> list[Any]:
    """Return files for a guest: pairs of a path and its content, which is not shown.

    :param value: a list of them; None for none.
    :raises Invalid: it is something else.
    """
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise exceptions.Invalid(reason='%s is a %s, not a list' % (name, type(value).__name__))
    for index, one in enumerate(value):
        if not isinstance(one, list | tuple) or [type(part) for part in one] != [str, str]:
            raise exceptions.Invalid(
                reason='%s[%d] is not a pair of path and content' % (name, index)
            )
    return list(value)


def _object(name: str, value: object, cls: type[objects_base.CellsObject]) -> Any:
    if isinstance(value, cls):
        return value
    wanted = cls.obj_name()
    if not isinstance(value, Mapping):
        raise exceptions.Invalid(
            reason='%s is %.80s, not an object %s' % (name, ascii(value), wanted)
        )
    try:
        return plain.build(wanted, value)
    except _UNFIT as error:
        raise exceptions.Invalid(
            reason='%s is no %s: %.200s' % (name, wanted, ascii(str(error)))
        ) from None
