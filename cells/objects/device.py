"""Devices of instances as users see them."""

from cells.objects import base, fields


@base.register
class InstanceDeviceMetadata(base.CellsObject):
    """The devices of an instance."""

    fields = {
        'devices': fields.ListOfObjectsField('DeviceMetadata', subclasses=True),
    }


@base.register
class DeviceMetadata(base.CellsObject):
    """A device, with its tags. Kinds of it travel as they are."""

    fields = {
        'bus': fields.ObjectField('DeviceBus', subclasses=True),
        'tags': fields.ListOfStringsField(),
    }


@base.register
class DeviceBus(base.CellsObject):
    """The place of a device on a bus. Kinds of it travel as they are."""

    fields = {}
