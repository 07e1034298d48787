"""Security groups of instances."""

from cells.objects import base, fields


@base.register
class SecurityGroup(base.CellsObject):
    """A security group."""

    fields = {
        'description': fields.StringField(),
        'id': fields.IntegerField(),
        'name': fields.StringField(),
        'project_id': fields.StringField(),
        'user_id': fields.StringField(),
        'uuid': fields.since('1.2', fields.UUIDField()),
        **base.CellsObject.STORED_FIELDS,
    }


@base.register
class SecurityGroupList(base.CellsObjectList):
    """A list of SecurityGroup."""

    fields = {
        'objects': fields.ListOfObjectsField('SecurityGroup'),
    }
