"""Tags of instances."""

from cells.objects import base, fields


@base.register
class Tag(base.CellsObject):
    """A tag of an instance."""

    fields = {
        'resource_id': fields.StringField(),
        'tag': fields.StringField(),
    }


@base.register
class TagList(base.CellsObjectList):
    """A list of Tag."""

    fields = {
        'objects': fields.ListOfObjectsField('Tag'),
    }
