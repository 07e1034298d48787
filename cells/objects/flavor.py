"""Flavors."""

from cells.objects import base, fields


@base.register
class Flavor(base.CellsObject):
    """A flavor."""

    fields = {
        'disabled': fields.BooleanField(),
        'ephemeral_gb': fields.IntegerField(),
        'extra_specs': fields.DictOfStringsField(),
        'flavorid': fields.StringField(),
        'id': fields.IntegerField(),
        'is_public': fields.BooleanField(),
        'memory_mb': fields.IntegerField(),
        'name': fields.StringField(nullable=True),
        'projects': fields.ListOfStringsField(),
        'root_gb': fields.IntegerField(),
        'rxtx_factor': fields.FloatField(nullable=True, default=1.0),
        'swap': fields.IntegerField(),
        'vcpu_weight': fields.IntegerField(nullable=True),
        'vcpus': fields.IntegerField(),
        'description': fields.since('1.2', fields.StringField(nullable=True)),
        **base.CellsObject.STORED_FIELDS,
    }
