"""What attempts to build are about: instances that may be deleted, or have a host, meanwhile."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from cells.db import engine, models

_STONES: Final = models.Tombstone.__table__.c
_ATTEMPTS: Final = models.Placement.__table__.c
_RECORDS: Final = models.Instance.__table__.c


def buried(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    """Return which attempts are at what is not to be built, and why, by id.

    That has a tombstone, or a record that is deleted or on its way there.
    """
    uuids = {row['instance_uuid'] for row in rows}
    found: dict[int, str] = {}
    query = sa.select(_STONES.instance_uuid, _STONES.attempt, _STONES.reason).where(
        _STONES.instance_uuid.in_(uuids), _STONES.expires > engine.now()
    )
    reasons = {(row[0], row[1]): row[2] for row in connection.execute(query)}
    query = sa.select(_RECORDS.uuid).where(
        _RECORDS.uuid.in_(uuids),
        sa.or_(_RECORDS.deleted != 0, _RECORDS.task_state.in_(('deleting', 'soft-deleting'))),
    )
    reasons.update({(row[0], 0): 'deleted' for row in connection.execute(query)})
    for row in rows:
        for attempt in (0, row['attempt_above']):
            reason = reasons.get((row['instance_uuid'], attempt))
            if reason is not None:
                found[row['id']] = reason
    return found


def attempts_at(connection: sa.Connection, instance_uuid: str) -> list[dict[str, Any]]:
    """Return all attempts at an instance that are kept, oldest first, values by column."""
    query = sa.select(*_ATTEMPTS).where(_ATTEMPTS.instance_uuid == instance_uuid)
    found = connection.execute(query.order_by(_ATTEMPTS.attempt)).mappings()
    return [dict(row) for row in found]


def is_cancelled_above(connection: sa.Connection, row: Mapping[str, Any]) -> bool:
    """Tell whether the cell above has given an attempt up; not whether the instance is deleted."""
    query = sa.select(_STONES.attempt).where(
        _STONES.instance_uuid == row['instance_uuid'],
        _STONES.attempt == row['attempt_above'],
        _STONES.expires > engine.now(),
    )
    return connection.execute(query).first() is not None


def with_host(connection: sa.Connection, instance_uuids: Collection[str]) -> set[str]:
    """Return which of these instances have a host by their records here."""
    query = sa.select(_RECORDS.uuid).where(
        _RECORDS.uuid.in_(instance_uuids), _RECORDS.host.is_not(None), _RECORDS.deleted == 0
    )
    return set(connection.execute(query).scalars())
