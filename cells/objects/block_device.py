"""Block devices of instances."""

from cells.objects import base, fields, words


@base.register
class BlockDeviceMapping(base.CellsObject):
    """A block device of an instance."""

    fields = {
        'boot_index': fields.IntegerField(nullable=True),
        'connection_info': fields.SensitiveStringField(nullable=True),
        'delete_on_termination': fields.BooleanField(default=False),
        'destination_type': words.BlockDeviceDestinationTypeField(nullable=True),
        'device_name': fields.StringField(nullable=True),
        'device_type': words.BlockDeviceTypeField(nullable=True),
        'disk_bus': fields.StringField(nullable=True),
        'guest_format': fields.StringField(nullable=True),
        'id': fields.IntegerField(),
        'image_id': fields.StringField(nullable=True),
        'instance': fields.ObjectField('Instance', nullable=True),
        'instance_uuid': fields.UUIDField(),
        'no_device': fields.BooleanField(default=False),
        'snapshot_id': fields.StringField(nullable=True),
        'source_type': words.BlockDeviceSourceTypeField(nullable=True),
        'volume_id': fields.StringField(nullable=True),
        'volume_size': fields.IntegerField(nullable=True),
        'attachment_id': fields.since('1.18', fields.UUIDField(nullable=True)),
        'tag': fields.since('1.17', fields.StringField(nullable=True)),
        'uuid': fields.since('1.19', fields.UUIDField()),
        **base.CellsObject.STORED_FIELDS,
    }


@base.register
class BlockDeviceMappingList(base.CellsObjectList):
    """A list of BlockDeviceMapping."""

    fields = {
        'objects': fields.ListOfObjectsField('BlockDeviceMapping'),
    }
