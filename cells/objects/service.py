"""Services."""

from cells.objects import base, fields


@base.register
class Service(base.CellsObject):
    """A service of a cell."""

    fields = {
        'availability_zone': fields.StringField(nullable=True),
        'binary': fields.StringField(nullable=True),
        'compute_node': fields.since('1.1', fields.ObjectField('ComputeNode')),
        'disabled': fields.BooleanField(),
        'disabled_reason': fields.StringField(nullable=True),
        'forced_down': fields.since('1.14', fields.BooleanField()),
        'host': fields.StringField(nullable=True),
        'id': fields.IntegerField(read_only=True),
        'last_seen_up': fields.since('1.13', fields.DateTimeField(nullable=True)),
        'report_count': fields.IntegerField(),
        'topic': fields.StringField(nullable=True),
        'version': fields.since('1.16', fields.IntegerField()),
        'uuid': fields.since('1.21', fields.UUIDField()),
        **base.CellsObject.STORED_FIELDS,
    }


@base.register
class ServiceList(base.CellsObjectList):
    """A list of Service."""

    fields = {
        'objects': fields.ListOfObjectsField('Service'),
    }
