"""Services."""

from oslo_versionedobjects import fields

from cells.objects import base


@base.register
class Service(base.CellsObject):
    """A service of a cell, at the version of liberty."""

    # 1.13 last_seen_up, 1.14 forced_down, 1.16 version
    VERSION = '1.18'

    fields = {
        'id': fields.IntegerField(read_only=True),
        'host': fields.StringField(nullable=True),
        'binary': fields.StringField(nullable=True),
        'topic': fields.StringField(nullable=True),
        'report_count': fields.IntegerField(),
        'disabled': fields.BooleanField(),
        'disabled_reason': fields.StringField(nullable=True),
        'availability_zone': fields.StringField(nullable=True),
        'last_seen_up': fields.DateTimeField(nullable=True),
        'forced_down': fields.BooleanField(),
        'version': fields.IntegerField(),
        **base.CellsObject.STORED_FIELDS,
    }
