"""Networks that a build asks for."""

from cells.objects import base, fields


@base.register
class NetworkRequest(base.CellsObject):
    """A network or port that a build asks for."""

    fields = {
        'address': fields.IPAddressField(nullable=True),
        'network_id': fields.StringField(nullable=True),
        'pci_request_id': fields.UUIDField(nullable=True),
        'port_id': fields.UUIDField(nullable=True),
        'tag': fields.since('1.2', fields.StringField(nullable=True)),
    }


@base.register
class NetworkRequestList(base.CellsObjectList):
    """A list of NetworkRequest."""

    fields = {
        'objects': fields.ListOfObjectsField('NetworkRequest'),
    }
