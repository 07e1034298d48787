"""Migrations."""

from cells.objects import base, fields


@base.register
class Migration(base.CellsObject):
    """A migration of an instance to another host."""

    fields = {
        'dest_compute': fields.StringField(nullable=True),
        'dest_host': fields.StringField(nullable=True),
        'dest_node': fields.StringField(nullable=True),
        'disk_processed': fields.since('1.4', fields.IntegerField(nullable=True)),
        'disk_remaining': fields.since('1.4', fields.IntegerField(nullable=True)),
        'disk_total': fields.since('1.4', fields.IntegerField(nullable=True)),
        'hidden': fields.since('1.2', fields.BooleanField(default=False)),
        'id': fields.IntegerField(),
        'instance_uuid': fields.StringField(nullable=True),
        'memory_processed': fields.since('1.4', fields.IntegerField(nullable=True)),
        'memory_remaining': fields.since('1.4', fields.IntegerField(nullable=True)),
        'memory_total': fields.since('1.4', fields.IntegerField(nullable=True)),
        'migration_type': fields.since(
            '1.2', fields.EnumField(('migration', 'resize', 'live-migration', 'evacuation'))
        ),
        'new_instance_type_id': fields.IntegerField(nullable=True),
        'old_instance_type_id': fields.IntegerField(nullable=True),
        'source_compute': fields.StringField(nullable=True),
        'source_node': fields.StringField(nullable=True),
        'status': fields.StringField(nullable=True),
        'uuid': fields.since('1.5', fields.UUIDField()),
        **base.CellsObject.STORED_FIELDS,
    }


@base.register
class MigrationList(base.CellsObjectList):
    """A list of Migration."""

    fields = {
        'objects': fields.ListOfObjectsField('Migration'),
    }
