"""What was done to an instance, and the steps of it."""

from cells.objects import base, fields


@base.register
class InstanceAction(base.CellsObject):
    """Something that was done to an instance."""

    fields = {
        'action': fields.StringField(nullable=True),
        'finish_time': fields.DateTimeField(nullable=True),
        'id': fields.IntegerField(),
        'instance_uuid': fields.UUIDField(nullable=True),
        'message': fields.StringField(nullable=True),
        'project_id': fields.StringField(nullable=True),
        'request_id': fields.StringField(nullable=True),
        'start_time': fields.DateTimeField(nullable=True),
        'user_id': fields.StringField(nullable=True),
        **base.CellsObject.STORED_FIELDS,
    }


@base.register
class InstanceActionList(base.CellsObjectList):
    """A list of actions."""

    fields = {
        'objects': fields.ListOfObjectsField('InstanceAction'),
    }


@base.register
class InstanceActionEvent(base.CellsObject):
    """A step of an action."""

    fields = {
        'action_id': fields.IntegerField(nullable=True),
        'event': fields.StringField(nullable=True),
        'finish_time': fields.DateTimeField(nullable=True),
        'id': fields.IntegerField(),
        'result': fields.StringField(nullable=True),
        'start_time': fields.DateTimeField(nullable=True),
        'traceback': fields.StringField(nullable=True),
        'host': fields.since('1.2', fields.StringField(nullable=True)),
        **base.CellsObject.STORED_FIELDS,
    }


@base.register
class InstanceActionEventList(base.CellsObjectList):
    """A list of steps."""

    fields = {
        'objects': fields.ListOfObjectsField('InstanceActionEvent'),
    }
