"""What instances are now, read for many of them in a handful of statements.

A mark says what has changed; what it has become is read here, when it is sent. The pair
``(epoch, seq)`` that goes with it is that of the mark: what is read may be newer, and then there
is a newer mark as well, which is sent again.
"""

import dataclasses
import datetime
import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import orjson
import sqlalchemy as sa

from cells.db import (
    bandwidth,
    block_devices,
    dirty,
    instance_fields,
    instances,
    models,
    unsent,
)
from cells.objects.instance import Instance

_INSTANCES: Final = models.Instance.__table__.c
_METADATA: Final = models.InstanceMetadata.__table__.c
_DEVICES: Final = models.BlockDeviceMapping.__table__.c
_FAULTS: Final = models.InstanceFault.__table__.c
_ACTIONS: Final = models.InstanceAction.__table__.c
_EVENTS: Final = models.InstanceActionEvent.__table__.c
_USAGES: Final = models.BandwidthUsage.__table__.c

#: Columns of an instance that go up; in which cell it is, its path above says.
STATE: Final = tuple(name for name in instances.STATE_COLUMNS if name != 'cell_name')
_STATE: Final = frozenset(STATE)
#: What goes up of the rows that belong to an instance.
FAULT: Final = ('uuid', 'code', 'message', 'details', 'host', 'created_at')
ACTION: Final = (
    'uuid',
    'id',
    'action',
    'request_id',
    'user_id',
    'project_id',
    'start_time',
    'finish_time',
    'message',
    'created_at',
    'updated_at',
)
EVENT: Final = (
    'uuid',
    'event',
    'start_time',
    'finish_time',
    'result',
    'traceback',
    'host',
    'details',
    'created_at',
    'updated_at',
)
DEVICE: Final = tuple(name for name in block_devices.STATE if name not in ('deleted', 'deleted_at'))
USAGE: Final = ('mac', 'start_period', 'last_refreshed', *bandwidth.COUNTERS)

Row = dict[str, Any]


@dataclasses.dataclass(slots=True)
class Marks:
    """All that is marked of one instance.

    :ivar at: the pair of what it is marked with, None when only rows that belong to it are.
    :ivar names: of the fields that have changed.
    :ivar whole: whether all have.
    :ivar closing: whether it was told already, and is only to be told once more.
    :ivar keys: of rows that belong to it, by part.
    :ivar since: when the first of it was marked, by the clock of the database.
    :ivar count: how many marks there are.
    :ivar attempts: how often it was sent in vain.
    """

    uuid: str
    at: tuple[int, int] | None = None
    names: frozenset[str] = frozenset()
    whole: bool = False
    closing: bool = False
    keys: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    since: float = math.inf
    count: int = 0
    attempts: int = 0


def marks_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, Marks]:
    """Return what rows of the dirty set say of each instance, by uuid."""
    found: dict[str, Marks] = {}
    for row in rows:
        marks = found.get(row['instance_uuid'])
        if marks is None:
            marks = found[row['instance_uuid']] = Marks(row['instance_uuid'])
        marks.attempts = max(marks.attempts, row['attempts'])
        marks.since = min(marks.since, row['marked_at'])
        marks.count += 1
        if row['part'] in (dirty.INSTANCE, unsent.CLOSING):
            marks.closing = row['part'] == unsent.CLOSING and (marks.at is None or marks.closing)
            names = frozenset(row['names'].split(','))
            pair = (row['epoch'], row['seq'])
            marks.at = pair if marks.at is None else max(marks.at, pair)
            marks.names |= names
            marks.whole = marks.whole or not names.isdisjoint(dirty.ALL)
        else:
            marks.keys.setdefault(row['part'], []).append(row['key'])
    return found


def read(connection: sa.Connection, marks: Mapping[str, Marks]) -> dict[str, Row]:
    """Return what is to be told of instances, by uuid; of one that is not there, nothing.

    :raises ValueError: what is stored of one of them cannot be read.
    """
    items = _states(connection, marks)
    changed = {uuid: one for uuid, one in marks.items() if one.at is not None and uuid in items}
    _add_fields(connection, changed, items)
    _add_metadata(connection, changed, items)
    _add_devices(connection, changed, items)
    for uuid, found in rows(connection, marks).items():
        if uuid in items:
            items[uuid]['rows'] = found
    return items


def objects(connection: sa.Connection, uuids: Collection[str]) -> dict[str, Instance]:
    """Return instances with all that they have, deleted ones as well, by uuid."""
    columns = [_INSTANCES[name] for name in instances.OBJECT_COLUMNS]
    query = sa.select(*columns).where(_INSTANCES.uuid.in_(uuids))
    found = [dict(row) for row in connection.execute(query).mappings()]
    metadata: dict[str, dict[str, str]] = {row['uuid']: {} for row in found}
    query = sa.select(_METADATA.instance_uuid, _METADATA.key, _METADATA.value)
    for uuid, key, value in connection.execute(query.where(_METADATA.instance_uuid.in_(uuids))):
        metadata.setdefault(uuid, {})[key] = value
    fields = instance_fields.get(connection, uuids)
    return {
        row['uuid']: instances.of_row(row, metadata[row['uuid']], fields[row['uuid']])
        for row in found
    }


def _states(connection: sa.Connection, marks: Mapping[str, Marks]) -> dict[str, Row]:
    names: set[str] = set()
    for one in marks.values():
        names |= _STATE if one.whole else one.names & _STATE
    columns = sorted(names)
    selected = [_INSTANCES[name] for name in ('uuid', 'deleted', 'created_at', 'deleted_at')]
    selected += [_INSTANCES[name] for name in columns]
    query = sa.select(*selected).where(_INSTANCES.uuid.in_(list(marks)))
    items: dict[str, Row] = {}
    for uuid, deleted, created_at, deleted_at, *values in connection.execute(query):
        one = marks[uuid]
        item: Row = {'uuid': uuid}
        items[uuid] = item
        if deleted:
            item['deleted_at'] = deleted_at
        if one.at is None:
            continue
        item['at'] = one.at
        if one.whole:
            item['whole'] = True
            item['created_at'] = created_at
            item['values'] = dict(zip(columns, values, strict=True))
        else:
            wanted = one.names
            found = {name: v for name, v in zip(columns, values, strict=True) if name in wanted}
            if found:
                item['values'] = found
    return items


def _add_fields(
    connection: sa.Connection, marks: Mapping[str, Marks], items: Mapping[str, Row]
) -> None:
    for uuid, one in marks.items():
        names = one.names & instance_fields.NAMES
        if one.whole or names:
            items[uuid]['fields'] = {} if one.whole else dict.fromkeys(sorted(names))
    asked = [uuid for uuid, item in items.items() if 'fields' in item]
    if not asked:
        return
    for uuid, texts in instance_fields.get_texts(connection, asked).items():
        fields = items[uuid]['fields']
        for name, text in texts.items():
            if marks[uuid].whole or name in fields:
                fields[name] = orjson.loads(text)


def _add_metadata(
    connection: sa.Connection, marks: Mapping[str, Marks], items: Mapping[str, Row]
) -> None:
    asked = [uuid for uuid, one in marks.items() if one.whole or instances.METADATA in one.names]
    if not asked:
        return
    for uuid in asked:
        items[uuid]['metadata'] = {}
    query = sa.select(_METADATA.instance_uuid, _METADATA.key, _METADATA.value)
    for uuid, key, value in connection.execute(query.where(_METADATA.instance_uuid.in_(asked))):
        items[uuid]['metadata'][key] = value


def _add_devices(
    connection: sa.Connection, marks: Mapping[str, Marks], items: Mapping[str, Row]
) -> None:
    asked = [
        uuid for uuid, one in marks.items() if one.whole or instances.BLOCK_DEVICES in one.names
    ]
    if not asked:
        return
    for uuid in asked:
        items[uuid]['devices'] = []
    for row in devices(connection, asked):
        items[row['instance_uuid']]['devices'].append({name: row[name] for name in DEVICE})


def devices(
    connection: sa.Connection,
    uuids: Collection[str],
    deleted_since: datetime.datetime | None = None,
) -> list[Row]:
    """Return the block devices of instances, values by column.

    :param deleted_since: also those that were deleted after this.
    """
    which = _DEVICES.deleted == 0
    if deleted_since is not None:
        which = sa.or_(which, _DEVICES.deleted_at > deleted_since)
    query = sa.select(*_DEVICES).where(_DEVICES.instance_uuid.in_(uuids), which)
    query = query.order_by(_DEVICES.id)
    return [dict(row) for row in connection.execute(query).mappings()]


def rows(connection: sa.Connection, marks: Mapping[str, Marks]) -> dict[str, dict[str, Any]]:
    """Return the rows that are marked, by uuid of the instance and part.

    With a step goes the action that it is of: the cell above may not have it.
    """
    found: dict[str, dict[str, Any]] = {}

    def add(uuid: str, part: str, values: Any) -> None:
        known = found.setdefault(uuid, {}).setdefault(part, [])
        if values not in known:
            known.append(values)

    keys: dict[str, list[str]] = {}
    for one in marks.values():
        for part, some in one.keys.items():
            keys.setdefault(part, []).extend(some)
        if dirty.CONSOLE in one.keys:
            found.setdefault(one.uuid, {})[dirty.CONSOLE] = True
    if dirty.FAULT in keys:
        for row in _of(connection, _FAULTS, _FAULTS.uuid.in_(keys[dirty.FAULT])):
            add(row['instance_uuid'], dirty.FAULT, _part(row, FAULT))
    if dirty.EVENT in keys:
        query = (
            sa.select(*_EVENTS, _ACTIONS.uuid.label('action'), _ACTIONS.instance_uuid)
            .join_from(_EVENTS.id.table, _ACTIONS.id.table, _EVENTS.action_id == _ACTIONS.id)
            .where(_EVENTS.uuid.in_(keys[dirty.EVENT]))
            .order_by(_EVENTS.id)
        )
        for step in connection.execute(query).mappings():
            values = {**_part(dict(step), EVENT), 'action': step['action']}
            add(step['instance_uuid'], dirty.EVENT, values)
            keys.setdefault(dirty.ACTION, []).append(step['action'])
    if dirty.ACTION in keys:
        for row in _of(connection, _ACTIONS, _ACTIONS.uuid.in_(keys[dirty.ACTION])):
            add(row['instance_uuid'], dirty.ACTION, _part(row, ACTION))
    if dirty.BANDWIDTH in keys:
        wanted = [
            (one.uuid, *bandwidth.parts_of(key))
            for one in marks.values()
            for key in one.keys.get(dirty.BANDWIDTH, ())
        ]
        which = sa.and_(
            _USAGES.uuid.in_([uuid for uuid, _, _ in wanted]),
            _USAGES.mac.in_([mac for _, mac, _ in wanted]),
        )
        for row in _of(connection, _USAGES, which):
            if (row['uuid'], row['mac'], row['start_period']) in wanted:
                add(row['uuid'], dirty.BANDWIDTH, _part(row, USAGE))
    return found


def _of(connection: sa.Connection, columns: Any, which: sa.ColumnElement[bool]) -> list[Row]:
    query = sa.select(*columns).where(which).order_by(columns.id)
    return [dict(row) for row in connection.execute(query).mappings()]


def _part(row: Mapping[str, Any], names: Iterable[str]) -> Row:
    return {name: row[name] for name in names}
