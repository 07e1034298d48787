"""Records at the top of the tree of what is in the cells below.

What many instances have become is written in a few statements for all of them: the records are
read and locked once, and each kind of change is one statement with many rows. Nothing here is
noted for others: this is where it ends.
"""

import collections
import datetime
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from cells.db import engine, instance_fields, models, replica_rows, statements, tombstones
from cells.db.updates import Update

_INSTANCES: Final = models.Instance.__table__.c
_METADATA: Final = models.InstanceMetadata.__table__.c
_FIELDS: Final = models.InstanceField.__table__.c
_DEVICES: Final = models.BlockDeviceMapping.__table__.c
_STONES: Final = models.Tombstone.__table__.c

#: Fields that a build leaves out: a cell that has none of them says nothing of those at the top.
KEPT_AT_TOP: Final = frozenset(('ec2_ids', 'keypairs', 'pci_requests', 'security_groups', 'tags'))
#: In place of an attempt: that the cell of a deleted instance was told to terminate it. Those
#: just below 0 are attempts of this cell itself (:func:`cells.db.tombstones.of_own_attempt`).
_TOLD: Final = -(2**31)
#: Seconds between two such orders.
TELL_SECONDS: Final = 60.0


class Record(NamedTuple):
    """What is known here of an instance below, as far as it matters for taking over more.

    :ivar at: the pair of what was taken over last.
    """

    id: int
    uuid: str
    cell_name: str | None
    deleted: bool
    at: tuple[int, int]
    host: str | None
    vm_state: str | None
    task_state: str | None
    launched_at: datetime.datetime | None
    inconsistent: str | None

    @property
    def is_building(self) -> bool:
        """Whether it has never run: then it may still come to be in another cell."""
        return self.launched_at is None and self.vm_state in (None, 'building', 'error')


_COLUMNS: Final = (
    _INSTANCES.id,
    _INSTANCES.uuid,
    _INSTANCES.cell_name,
    _INSTANCES.deleted,
    _INSTANCES.sync_epoch,
    _INSTANCES.sync_seq,
    _INSTANCES.host,
    _INSTANCES.vm_state,
    _INSTANCES.task_state,
    _INSTANCES.launched_at,
    _INSTANCES.inconsistent,
)


def records(connection: sa.Connection, uuids: Collection[str]) -> dict[str, Record]:
    """Return the records of instances, deleted ones as well, by uuid, and lock them."""
    query = sa.select(*_COLUMNS).where(_INSTANCES.uuid.in_(list(uuids))).order_by(_INSTANCES.id)
    if connection.dialect.name != 'sqlite':  # whose writer is alone
        query = query.with_for_update()
    return {
        uuid: Record(number, uuid, cell_name, bool(deleted), (epoch, seq), *rest)
        for number, uuid, cell_name, deleted, epoch, seq, *rest in connection.execute(query)
    }


def apply(
    connection: sa.Connection,
    changed: Sequence[tuple[Record, Update, str | None]],
    made: Sequence[tuple[Update, str]],
    others: Sequence[Update] = (),
) -> None:
    """Take over what has become of instances.

    :param changed: records, what is newer than they are, and the path to the cell that it came
        from, None for this one itself.
    :param made: what there is no record of yet, all of it, and the path.
    :param others: of which only the rows count that belong to the instance.
    """
    _change(connection, changed)
    _make(connection, made)
    told = [update for _, update, _ in changed] + [update for update, _ in made]
    _put_fields(connection, told)
    _put_metadata(connection, told)
    _put_devices(connection, told)
    replica_rows.put(connection, [update for update in (*told, *others) if update.has_rows])


def _change(
    connection: sa.Connection, changed: Iterable[tuple[Record, Update, str | None]]
) -> None:
    groups: collections.defaultdict[tuple[str, ...], list[dict[str, Any]]] = (
        collections.defaultdict(list)
    )
    now = models.utcnow()
    for record, update, path in changed:
        values = {**update.values, 'updated_at': now}
        values.pop('created_at', None)
        if update.at is not None:
            values['sync_epoch'], values['sync_seq'] = update.at
        if path is not None and record.cell_name != path:
            values['cell_name'] = path
        if record.inconsistent is not None:
            values['inconsistent'] = None
        if update.deleted_at is not None and not record.deleted:
            values['deleted'], values['deleted_at'] = record.id, update.deleted_at
        groups[tuple(values)].append({'id': record.id, **values})
    for names, rows in groups.items():
        statements.update_many(connection, models.Instance, names, rows)


def _make(connection: sa.Connection, made: Iterable[tuple[Update, str]]) -> None:
    groups: collections.defaultdict[tuple[str, ...], list[dict[str, Any]]] = (
        collections.defaultdict(list)
    )
    for update, path in made:
        values = {**update.values, 'uuid': update.uuid, 'cell_name': path}
        if update.at is not None:
            values['sync_epoch'], values['sync_seq'] = update.at
        groups[tuple(values)].append(values)
    for rows in groups.values():
        connection.execute(sa.insert(models.Instance), rows)


# -- what is no column --


def _put_fields(connection: sa.Connection, updates: Iterable[Update]) -> None:
    told = {update.uuid: update for update in updates if update.fields or update.whole}
    if not told:
        return
    put, gone = [], []
    for uuid, known in instance_fields.get_texts(connection, told).items():
        wanted = dict(told[uuid].fields)
        if told[uuid].whole:
            wanted = {**dict.fromkeys(known.keys() - KEPT_AT_TOP), **wanted}
        for name, text in wanted.items():
            if text is None:
                gone += [(uuid, name)] if name in known else []
            elif text != known.get(name):
                put.append({'instance_uuid': uuid, 'name': name, 'value': text})
    _drop(connection, models.InstanceField, _FIELDS.instance_uuid, _FIELDS.name, gone)
    statements.put_many(connection, models.InstanceField, ['value'], put)


def _put_metadata(connection: sa.Connection, updates: Iterable[Update]) -> None:
    told = {update.uuid: update.metadata for update in updates if update.metadata is not None}
    if not told:
        return
    known: dict[str, dict[str, str]] = {uuid: {} for uuid in told}
    query = sa.select(_METADATA.instance_uuid, _METADATA.key, _METADATA.value)
    for uuid, key, value in connection.execute(query.where(_METADATA.instance_uuid.in_(told))):
        known[uuid][key] = value
    gone = [(uuid, key) for uuid in told for key in known[uuid].keys() - told[uuid].keys()]
    put = [
        {'instance_uuid': uuid, 'key': key, 'value': value}
        for uuid, metadata in told.items()
        for key, value in metadata.items()
        if known[uuid].get(key) != value
    ]
    _drop(connection, models.InstanceMetadata, _METADATA.instance_uuid, _METADATA.key, gone)
    statements.put_many(connection, models.InstanceMetadata, ['value'], put)


def _drop(
    connection: sa.Connection,
    model: type[models.Base],
    uuid: Any,
    key: Any,
    pairs: Iterable[tuple[str, str]],
) -> None:
    for one, name in sorted(pairs):
        connection.execute(sa.delete(model).where(uuid == one, key == name))


def _put_devices(connection: sa.Connection, updates: Iterable[Update]) -> None:
    told = {update.uuid: update.devices for update in updates if update.devices is not None}
    named = [device['uuid'] for devices in told.values() for device in devices]
    query = sa.select(*_DEVICES).where(
        _DEVICES.instance_uuid.in_(told),
        sa.or_(_DEVICES.deleted == 0, _DEVICES.uuid.in_(named)) if named else _DEVICES.deleted == 0,
    )
    if not told:
        return
    known: dict[str, list[dict[str, Any]]] = {uuid: [] for uuid in told}
    for row in connection.execute(query.order_by(_DEVICES.id)).mappings():
        known[row['instance_uuid']].append(dict(row))
    for uuid, devices in told.items():
        _put_devices_of(connection, uuid, devices, known[uuid])


def _put_devices_of(
    connection: sa.Connection,
    instance_uuid: str,
    devices: Sequence[dict[str, Any]],
    known: Sequence[dict[str, Any]],
) -> None:
    by_uuid = {row['uuid']: row for row in known}
    by_volume = {row['volume_id']: row for row in known if row['volume_id'] and not row['deleted']}
    # A volume that a plain cell told of has another uuid here, and is the same (S10).
    matched = [
        by_uuid.get(device['uuid']) or by_volume.get(device.get('volume_id')) for device in devices
    ]
    kept = {row['id'] for row in matched if row is not None}
    # Those that are gone first: a volume can be in one row only.
    for row in known:
        if row['id'] not in kept and not row['deleted']:
            _set_device(
                connection, row['id'], {'deleted': row['id'], 'deleted_at': models.utcnow()}
            )
    for device, match in zip(devices, matched, strict=True):
        values = {**device, 'deleted': 0, 'deleted_at': None}
        if match is None:
            values['instance_uuid'] = instance_uuid
            connection.execute(sa.insert(models.BlockDeviceMapping).values(**values))
            continue
        changed = {name: value for name, value in values.items() if value != match[name]}
        if changed:
            _set_device(connection, match['id'], changed)


def _set_device(connection: sa.Connection, row_id: int, values: dict[str, Any]) -> None:
    change = sa.update(models.BlockDeviceMapping).where(_DEVICES.id == row_id)
    connection.execute(change.values(updated_at=models.utcnow(), **values))


# -- of what is deleted --


def buried(connection: sa.Connection, uuids: Collection[str]) -> frozenset[str]:
    """Return which of these instances are not to come back, though there is no record of them."""
    query = sa.select(_STONES.instance_uuid).where(
        _STONES.instance_uuid.in_(uuids),
        _STONES.attempt == tombstones.ALL_ATTEMPTS,
        _STONES.expires > engine.now(),
    )
    return frozenset(connection.execute(query).scalars()) if uuids else frozenset()


def tell_once(connection: sa.Connection, uuid: str, seconds: float = TELL_SECONDS) -> bool:
    """Note that the cell of an instance is told that it is deleted; False when it was just told."""
    values = {
        'instance_uuid': uuid,
        'attempt': _TOLD,
        'reason': 'its cell was told to terminate it',
        'created_at': engine.now(),
        'expires': engine.now() + seconds,
    }
    if statements.insert_new(connection, models.Tombstone, [values]):
        return True
    change = sa.update(models.Tombstone).where(
        _STONES.instance_uuid == uuid, _STONES.attempt == _TOLD, _STONES.expires < engine.now()
    )
    return bool(connection.execute(change.values(expires=engine.now() + seconds)).rowcount)


def mark_inconsistent(connection: sa.Connection, uuid: str, reason: str) -> bool:
    """Note why a record and the cell that owns it do not fit; False when it is noted already."""
    change = sa.update(models.Instance).where(
        _INSTANCES.uuid == uuid, _INSTANCES.deleted == 0, _INSTANCES.inconsistent.is_(None)
    )
    return bool(connection.execute(change.values(inconsistent=reason)).rowcount)
