"""PCI devices, and requests for them."""

from cells.objects import base, fields, words


@base.register
class PciDevice(base.CellsObject):
    """A PCI device of a host."""

    fields = {
        'address': fields.StringField(),
        'compute_node_id': fields.IntegerField(nullable=True),
        'dev_id': fields.StringField(nullable=True),
        'dev_type': words.PciDeviceTypeField(),
        'extra_info': fields.DictOfStringsField(),
        'id': fields.IntegerField(),
        'instance_uuid': fields.StringField(nullable=True),
        'label': fields.StringField(nullable=True),
        'numa_node': fields.since('1.3', fields.IntegerField(nullable=True)),
        'parent_addr': fields.since('1.4', fields.StringField(nullable=True)),
        'product_id': fields.StringField(),
        'request_id': fields.since('1.2', fields.StringField(nullable=True)),
        'status': words.PciDeviceStatusField(),
        'vendor_id': fields.StringField(),
        'uuid': fields.since('1.6', fields.UUIDField()),
        **base.CellsObject.STORED_FIELDS,
    }


@base.register
class PciDeviceList(base.CellsObjectList):
    """A list of PciDevice."""

    fields = {
        'objects': fields.ListOfObjectsField('PciDevice'),
    }


@base.register
class PciDevicePool(base.CellsObject):
    """PCI devices of one kind."""

    fields = {
        'count': fields.IntegerField(),
        'numa_node': fields.since('1.1', fields.IntegerField(nullable=True)),
        'product_id': fields.StringField(),
        'tags': fields.DictOfNullableStringsField(),
        'vendor_id': fields.StringField(),
    }


@base.register
class PciDevicePoolList(base.CellsObjectList):
    """A list of PciDevicePool."""

    fields = {
        'objects': fields.ListOfObjectsField('PciDevicePool'),
    }


@base.register
class InstancePCIRequest(base.CellsObject):
    """PCI devices that an instance asks for."""

    fields = {
        'alias_name': fields.StringField(nullable=True),
        'count': fields.IntegerField(),
        'is_new': fields.BooleanField(default=False),
        'request_id': fields.since('1.1', fields.UUIDField(nullable=True)),
        'spec': fields.ListOfDictOfNullableStringsField(),
        'numa_policy': fields.since('1.2', words.PCINUMAAffinityPolicyField(nullable=True)),
    }


@base.register
class InstancePCIRequests(base.CellsObject):
    """All PCI devices that an instance asks for."""

    fields = {
        'instance_uuid': fields.UUIDField(),
        'requests': fields.ListOfObjectsField('InstancePCIRequest'),
    }
