"""What a cell of our kind tells of its instances, read from the wire.

An item is what :mod:`cells.db.snapshots` made in the cell below: ``uuid``; ``at``, the pair
``[epoch, seq]`` of the state that it tells of; with it ``values`` of columns, ``fields``,
``metadata`` and ``devices``, each only if it has changed; ``whole`` when it tells everything,
``deleted_at`` when the instance is deleted; and ``rows`` that belong to the instance.
"""

import dataclasses
import datetime
from typing import Any, Final

import orjson
from oslo_versionedobjects import exception as versioned

from cells import arguments, exceptions
from cells.db import dirty, instance_fields, models, snapshots
from cells.db.columns import Shape
from cells.objects import base as objects_base
from cells.objects.instance import Instance

LONGEST_UUID: Final = 36
#: What 64 bits hold, with room to count on.
_MOST: Final = 2**62

_INSTANCE: Final = Shape('an instance', models.Instance, (*snapshots.STATE, 'created_at'))
_DELETION: Final = Shape('a deletion', models.Instance, ('deleted_at',))
_DEVICE: Final = Shape('a block device', models.BlockDeviceMapping, snapshots.DEVICE)
_FAULT: Final = Shape('a fault', models.InstanceFault, snapshots.FAULT)
_ACTION: Final = Shape('an action', models.InstanceAction, snapshots.ACTION)
_EVENT: Final = Shape('an event', models.InstanceActionEvent, snapshots.EVENT)
_USAGE: Final = Shape('a usage', models.BandwidthUsage, snapshots.USAGE)

Rows = list[dict[str, Any]]


@dataclasses.dataclass(slots=True)
class Update:
    """What is told of one instance.

    :ivar at: the pair of its state, None when only rows that belong to it are told.
    :ivar whole: whether everything is told: what is not there has no value.
    :ivar fields: texts by name, None for one that has no value any more.
    :ivar metadata: and ``devices``: all of them, None when they have not changed.
    :ivar console: whether the rights to its consoles are to end.
    """

    uuid: str
    at: tuple[int, int] | None = None
    whole: bool = False
    values: dict[str, Any] = dataclasses.field(default_factory=dict)
    fields: dict[str, str | None] = dataclasses.field(default_factory=dict)
    metadata: dict[str, str] | None = None
    devices: Rows | None = None
    deleted_at: datetime.datetime | None = None
    faults: Rows = dataclasses.field(default_factory=list)
    actions: Rows = dataclasses.field(default_factory=list)
    events: Rows = dataclasses.field(default_factory=list)
    usages: Rows = dataclasses.field(default_factory=list)
    console: bool = False

    @property
    def has_rows(self) -> bool:
        """Whether it tells of rows that belong to the instance."""
        return bool(self.faults or self.actions or self.events or self.usages or self.console)


def uuid_of(item: object) -> str:
    """Return the uuid of the instance that an item is about.

    :raises Invalid: it is no item.
    """
    if not isinstance(item, dict):
        raise exceptions.Invalid(reason='an item is %.60s, not an object' % ascii(item))
    return arguments.text('uuid', item.get('uuid'), longest=LONGEST_UUID)


def read(item: dict[str, Any]) -> Update:
    """Return what an item says.

    :raises Invalid: something in it cannot be.
    """
    update = Update(uuid_of(item))
    if item.get('at') is not None:
        update.at = _pair(item['at'])
        update.whole = item.get('whole') is True
        if 'values' in item:
            update.values = _INSTANCE.read(item['values'])
        if update.whole and item.get('created_at') is not None:
            update.values |= _INSTANCE.read({'created_at': item['created_at']})
        if 'fields' in item:
            update.fields = _fields(item['fields'])
        if 'metadata' in item:
            update.metadata = _metadata(item['metadata'])
        if 'devices' in item:
            update.devices = _DEVICE.read_all(item['devices'], ('uuid',))
    if item.get('deleted_at') is not None:
        update.deleted_at = _DELETION.read(item)['deleted_at']
    if 'rows' in item:
        _read_rows(update, arguments.mapping('rows', item['rows']))
    return update


def _pair(value: object) -> tuple[int, int]:
    if (
        isinstance(value, list)
        and len(value) == 2
        and all(type(one) is int and 0 <= one < _MOST for one in value)
    ):
        return value[0], value[1]
    raise exceptions.Invalid(reason='at is %.60s, not two counts' % ascii(value))


def _fields(value: object) -> dict[str, str | None]:
    given = {
        name: primitive
        for name, primitive in arguments.mapping('fields', value).items()
        if name in instance_fields.NAMES  # else of a newer version than this one
    }
    envelope = {
        'nova_object.name': 'Instance',
        'nova_object.version': Instance.VERSION,
        'nova_object.data': {name: one for name, one in given.items() if one is not None},
    }
    try:
        objects_base.from_primitive(envelope)
        return {
            name: None
            if primitive is None
            else orjson.dumps(primitive, option=orjson.OPT_SORT_KEYS).decode()
            for name, primitive in given.items()
        }
    except (versioned.VersionedObjectsException, TypeError, ValueError) as error:
        raise exceptions.Invalid(reason='fields: %.200s' % error) from None


def _metadata(value: object) -> dict[str, str]:
    found = arguments.mapping('metadata', value)
    for key, one in found.items():
        if type(one) is not str:
            raise exceptions.Invalid(
                reason='metadata %.40s is %.60s, not a text' % (ascii(key), ascii(one))
            )
    return found


def _read_rows(update: Update, rows: dict[str, Any]) -> None:
    if dirty.FAULT in rows:
        update.faults = _FAULT.read_all(rows[dirty.FAULT], ('uuid', 'code'))
    if dirty.ACTION in rows:
        update.actions = _ACTION.read_all(rows[dirty.ACTION], ('uuid', 'id'))
    if dirty.EVENT in rows:
        update.events = _EVENT.read_all(rows[dirty.EVENT], ('uuid',))
        for row, given in zip(update.events, rows[dirty.EVENT], strict=True):
            row['action'] = arguments.text('action', given.get('action'), longest=LONGEST_UUID)
    if dirty.BANDWIDTH in rows:
        update.usages = _USAGE.read_all(rows[dirty.BANDWIDTH], ('mac', 'start_period'))
    update.console = rows.get(dirty.CONSOLE) is True
