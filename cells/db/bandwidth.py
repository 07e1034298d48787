"""What goes through the interfaces of instances."""

import datetime
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from oslo_utils import timeutils

from cells.db import dirty, models, statements

_COLUMNS: Final = models.BandwidthUsage.__table__.c

COUNTERS: Final = ('bw_in', 'bw_out', 'last_ctr_in', 'last_ctr_out')
#: Between the parts of the key under which a row is marked.
_BETWEEN: Final = '|'


def key_of(mac: str, start_period: datetime.datetime) -> str:
    """Return what tells the rows of an instance apart."""
    return '%s%s%s' % (mac, _BETWEEN, start_period.isoformat())


def parts_of(key: str) -> tuple[str, datetime.datetime]:
    """Return the interface and the beginning of the period: the inverse of :func:`key_of`."""
    mac, _, moment = key.rpartition(_BETWEEN)
    return mac, datetime.datetime.fromisoformat(moment)


def bw_usage_update(connection: sa.Connection, values: Mapping[str, Any]) -> bool:
    """Write what went through an interface of an instance in a period.

    What is older than what is known is left out, and so is what changes nothing (P3).

    :param values: by column: uuid of the instance, mac, start_period, :data:`COUNTERS` and
        ``last_refreshed``.
    :returns: whether something has changed.
    """
    row: dict[str, Any] = {
        name: timeutils.normalize_time(value) if isinstance(value, datetime.datetime) else value
        for name, value in values.items()
    }
    which = sa.and_(
        _COLUMNS.uuid == row['uuid'],
        _COLUMNS.mac == row['mac'],
        _COLUMNS.start_period == row['start_period'],
    )
    made = statements.insert_new(
        connection, models.BandwidthUsage, [{**row, 'deleted': 0, 'created_at': models.utcnow()}]
    )
    if not made:
        [known] = statements.locked(connection, sa.select(*_COLUMNS).where(which), free_only=False)
        before, now = known['last_refreshed'], row.get('last_refreshed')
        late = before is not None and now is not None and now < before
        changed = {name: value for name, value in row.items() if value != known[name]}
        if late or not changed:
            return False
        connection.execute(
            sa.update(models.BandwidthUsage)
            .where(_COLUMNS.id == known['id'])
            .values(updated_at=models.utcnow(), **changed)
        )
    key = key_of(row['mac'], row['start_period'])
    dirty.mark_row(connection, row['uuid'], dirty.BANDWIDTH, key)
    return True
