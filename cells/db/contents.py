"""What instances are, as short texts: two that are equal have the same one, in every cell.

Everything counts that is told above: columns, other fields, metadata, block devices. The
count of changes does not, nor do ids and times of rows.
"""

import dataclasses
import hashlib
from collections.abc import Collection, Mapping
from typing import Any, Final

import orjson
import sqlalchemy as sa

from cells.db import instance_fields, models, replicas, snapshots

_INSTANCES: Final = models.Instance.__table__.c
_METADATA: Final = models.InstanceMetadata.__table__.c

#: Fields that the top may have by itself, which a cell says nothing of that has none.
KEPT: Final = tuple(sorted(replicas.KEPT_AT_TOP))
#: Stands for what is deleted: nothing else of it counts.
DELETED: Final = '-'
#: Of a digest; two of many millions that differ are hardly ever equal.
DIGEST_BYTES: Final = 10

_NONE: Final[frozenset[str]] = frozenset()


@dataclasses.dataclass(frozen=True, slots=True)
class Content:
    """What an instance is.

    :ivar digest: of it, :data:`DELETED` for one that is deleted.
    :ivar at: the count of its changes.
    :ivar absent: the names among :data:`KEPT` that it has no value of.
    """

    uuid: str
    digest: str
    at: tuple[int, int]
    absent: frozenset[str] = _NONE


def contents(
    connection: sa.Connection,
    uuids: Collection[str],
    left_out: Mapping[str, frozenset[str]] | None = None,
) -> dict[str, Content]:
    """Return what instances are, by uuid; what is not there is left out.

    :param left_out: by uuid, the fields that are not to count.
    """
    columns = [_INSTANCES[name] for name in snapshots.STATE]
    query = sa.select(
        _INSTANCES.uuid, _INSTANCES.deleted, _INSTANCES.sync_epoch, _INSTANCES.sync_seq, *columns
    ).where(_INSTANCES.uuid.in_(uuids))
    rows = connection.execute(query).all()
    living = [row.uuid for row in rows if not row.deleted]
    texts = instance_fields.get_texts(connection, living)
    metadata = _metadata(connection, living)
    devices = _devices(connection, living)
    found = {}
    for row in rows:
        uuid, deleted, epoch, seq, *values = row
        if deleted:
            found[uuid] = Content(uuid, DELETED, (epoch, seq))
            continue
        fields = texts[uuid]
        for name in (left_out or {}).get(uuid, _NONE):
            fields.pop(name, None)
        whole = (values, fields, metadata.get(uuid, {}), devices.get(uuid, []))
        found[uuid] = Content(uuid, _digest(whole), (epoch, seq), frozenset(KEPT) - fields.keys())
    return found


def _digest(value: Any) -> str:
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(text, digest_size=DIGEST_BYTES).hexdigest()


def _metadata(connection: sa.Connection, uuids: Collection[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    query = sa.select(_METADATA.instance_uuid, _METADATA.key, _METADATA.value)
    for uuid, key, value in connection.execute(query.where(_METADATA.instance_uuid.in_(uuids))):
        found.setdefault(uuid, {})[key] = value
    return found


def _devices(connection: sa.Connection, uuids: Collection[str]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    rows = snapshots.devices(connection, uuids)
    for row in sorted(rows, key=lambda row: str(row['uuid'])):
        found.setdefault(row['instance_uuid'], []).append([row[name] for name in snapshots.DEVICE])
    return found
