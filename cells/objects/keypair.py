"""Key pairs."""

from cells.objects import base, fields


@base.register
class KeyPair(base.CellsObject):
    """A key pair of a user."""

    fields = {
        'fingerprint': fields.StringField(nullable=True),
        'id': fields.IntegerField(),
        'name': fields.StringField(),
        'public_key': fields.StringField(nullable=True),
        'type': fields.since('1.2', fields.StringField()),
        'user_id': fields.StringField(nullable=True),
        **base.CellsObject.STORED_FIELDS,
    }


@base.register
class KeyPairList(base.CellsObjectList):
    """A list of KeyPair."""

    fields = {
        'objects': fields.ListOfObjectsField('KeyPair'),
    }
