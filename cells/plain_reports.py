"""What a plain parent is told of an instance: the messages that a nova-cells sends for it.

Each carries the instance as it is now and says what of it has changed. One that says everything
marks all fields but those that a nova-cells would not take, or that are not for it to take: so a
nova-cells at the top repairs its whole record, which it never does by itself (S1).
"""

import datetime
from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from cells.db import bandwidth, block_devices, dirty, instance_fields, instances, snapshots
from cells.db.snapshots import Marks
from cells.objects import base as objects_base
from cells.objects import block_device, plain
from cells.objects.instance import Instance

#: Never marked as changed.
UNMARKED: Final = frozenset(
    ('cell_name', 'created_at', 'deleted', 'deleted_at', 'id', 'metadata', 'updated_at', 'uuid')
)
#: Not sent: a nova-cells cannot make the record that it misses when there is an id in it (S3),
#: and would save what is in the others one by one.
LEFT_OUT: Final = frozenset(
    (
        'device_metadata',
        'ec2_ids',
        'fault',
        'id',
        'keypairs',
        'pci_devices',
        'security_groups',
        'services',
        'tags',
    )
)
#: Beside the columns, what is sent also when it has not changed.
ALWAYS: Final = frozenset(
    ('flavor', 'info_cache', 'metadata', 'new_flavor', 'old_flavor', 'system_metadata')
)
#: Seconds before the first mark within which a block device may have been deleted for it.
_EARLIER: Final = 60.0


class Report(NamedTuple):
    """A message for a plain parent.

    :ivar pair: the count of the state that it tells, None when it tells of none.
    """

    operation: str
    kwargs: dict[str, Any]
    pair: tuple[int, int] | None = None


def read(
    connection: sa.Connection, marks: Mapping[str, Marks], release: str
) -> dict[str, list[Report]]:
    """Return the messages for each instance, in the order in which they are to go.

    :param release: at whose versions objects are sent.
    """
    changed = [uuid for uuid, one in marks.items() if one.at is not None]
    found = snapshots.objects(connection, changed)
    attached = _devices(connection, marks)
    rows = snapshots.rows(connection, marks)
    reports: dict[str, list[Report]] = {}
    for uuid, one in marks.items():
        made: list[Report] = []
        if uuid in found:
            made += _instance(found[uuid], one, release)
        made += _device_reports(attached.get(uuid, ()), release)
        made += _row_reports(uuid, rows.get(uuid, {}))
        reports[uuid] = made
    return reports


def _instance(instance: Instance, marks: Marks, release: str) -> list[Report]:
    assert marks.at is not None
    sent = {name for name, _ in instance.items()} - LEFT_OUT
    if not marks.whole:
        sent -= instance_fields.NAMES - ALWAYS - marks.names
        for name in marks.names & instance_fields.NAMES - LEFT_OUT - sent:
            if instance.fields[name].nullable:  # it has no value any more
                setattr(instance, name, None)
                sent.add(name)
    primitive = objects_base.to_primitive(instance, release)
    data = primitive['nova_object.data']
    primitive['nova_object.data'] = data = {name: data[name] for name in data if name in sent}
    changes = (set(data) if marks.whole else marks.names & set(data)) - UNMARKED
    primitive['nova_object.changes'] = sorted(changes)
    for name in changes:
        _mark_inside(data[name])
    kwargs = {'instance': primitive}
    if instance.deleted:
        return [Report('instance_destroy_at_top', kwargs, marks.at)]
    return [Report('instance_update_at_top', kwargs, marks.at)] if changes else []


def _mark_inside(value: Any) -> None:
    """Mark all fields of the objects in a value as changed, without which they are not saved."""
    if isinstance(value, list):
        for one in value:
            _mark_inside(one)
    elif objects_base.is_envelope(value):
        value['nova_object.changes'] = sorted(value['nova_object.data'])
        for one in value['nova_object.data'].values():
            _mark_inside(one)


def _devices(
    connection: sa.Connection, marks: Mapping[str, Marks]
) -> dict[str, list[dict[str, Any]]]:
    asked = [
        uuid
        for uuid, one in marks.items()
        if one.at is not None and (one.whole or instances.BLOCK_DEVICES in one.names)
    ]
    if not asked:
        return {}
    since = min(marks[uuid].since for uuid in asked) - _EARLIER
    moment = datetime.datetime.fromtimestamp(since, datetime.UTC).replace(tzinfo=None)
    found: dict[str, list[dict[str, Any]]] = {uuid: [] for uuid in asked}
    for row in snapshots.devices(connection, asked, deleted_since=moment):
        found[row['instance_uuid']].append(row)
    return found


def _device_reports(rows: Collection[Mapping[str, Any]], release: str) -> list[Report]:
    made = []
    living = [row for row in rows if not row['deleted']]
    for row in rows:
        # By its volume, and by its name only without one: the name may be another's by now.
        for name in ('volume_id', 'device_name'):
            if not row['deleted'] or row[name] is None:
                continue
            if row[name] not in {one[name] for one in living}:
                which = {'device_name': None, 'volume_id': None, name: row[name]}
                kwargs = {'instance_uuid': row['instance_uuid'], **which}
                made.append(Report('bdm_destroy_at_top', kwargs))
            break
    for row in living:
        values = {name: row[name] for name in block_devices.COLUMNS if name != 'id'}
        device = block_device.BlockDeviceMapping(**{**values, 'deleted': False})
        known_there = objects_base.to_primitive(device, release)['nova_object.data']
        kwargs = {'bdm': known_there, 'create': None}
        made.append(Report('bdm_update_or_create_at_top', kwargs))
    return made


def _row_reports(uuid: str, rows: Mapping[str, Any]) -> list[Report]:
    """Return messages for what belongs to an instance; actions are asked for where they are."""
    made = []
    for row in rows.get(dirty.FAULT, ()):
        values = {name: row[name] for name in ('code', 'message', 'details', 'host', 'created_at')}
        fault = plain.flatten({**values, 'instance_uuid': uuid})
        made.append(Report('instance_fault_create_at_top', {'instance_fault': fault}))
    for row in rows.get(dirty.BANDWIDTH, ()):
        names = ('mac', 'start_period', 'last_refreshed', *bandwidth.COUNTERS)
        usage = plain.flatten({'uuid': uuid, **{name: row[name] for name in names}})
        made.append(Report('bw_usage_update_at_top', {'bw_update_info': usage}))
    if rows.get(dirty.CONSOLE):
        made.append(Report('consoleauth_delete_tokens', {'instance_uuid': uuid}))
    return made
