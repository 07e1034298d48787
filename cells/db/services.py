"""Queries on services.

A service is *up* when it reported within ``service_down_time`` by the clock of the
cell, is not forced down and not deleted.
"""

import datetime
import uuid
from collections.abc import Collection, Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells import exceptions
from cells.db import changes, engine, models, statements

_COLUMNS = models.Service.__table__.c

COMPUTE: Final = 'nova-compute'

#: Columns on which it depends whether the host of a service counts.
_MATTER: Final = frozenset({'disabled', 'forced_down'})


def is_up(row: Mapping[str, Any], down_after: float, now: datetime.datetime | None = None) -> bool:
    """Tell whether a service is up.

    :param down_after: seconds without a report after which it is not.
    """
    seen = row['last_seen_up']
    if seen is None or row['forced_down']:
        return False
    since = (now or models.utcnow()) - datetime.timedelta(seconds=down_after)
    return bool(seen >= since)


def up_condition(down_after: float) -> sa.ColumnElement[bool]:
    """Return the condition for the compute services that count: up and not disabled."""
    since = models.utcnow() - datetime.timedelta(seconds=down_after)
    return sa.and_(
        _COLUMNS.binary == COMPUTE,
        _COLUMNS.deleted == 0,
        sa.not_(_COLUMNS.disabled),
        sa.not_(_COLUMNS.forced_down),
        _COLUMNS.last_seen_up >= since,
    )


def hosts_up(database: engine.Database, hosts: Collection[str], down_after: float) -> set[str]:
    """Return those of some hosts whose compute service is up, also if it is disabled."""
    since = models.utcnow() - datetime.timedelta(seconds=down_after)
    query = sa.select(_COLUMNS.host).where(
        _COLUMNS.host.in_(list(hosts)),
        _COLUMNS.binary == COMPUTE,
        _COLUMNS.deleted == 0,
        sa.not_(_COLUMNS.forced_down),
        _COLUMNS.last_seen_up >= since,
    )
    with database.read() as connection:
        return set(connection.execute(query).scalars())


def hosts_counted(database: engine.Database, down_after: float) -> dict[str, int]:
    """Return how many hosts are up, how many are down, and how many of all are disabled."""
    query = sa.select(_COLUMNS.disabled, _COLUMNS.forced_down, _COLUMNS.last_seen_up).where(
        _COLUMNS.binary == COMPUTE, _COLUMNS.deleted == 0
    )
    found = {'up': 0, 'down': 0, 'disabled': 0}
    now = models.utcnow()
    with database.read() as connection:
        for row in connection.execute(query).mappings():
            found['up' if is_up(dict(row), down_after, now) else 'down'] += 1
            found['disabled'] += bool(row['disabled'])
    return found


def service_get_all(
    database: engine.Database, disabled: bool | None = None
) -> list[dict[str, Any]]:
    """Return the services of this cell, values by column; only (not) disabled ones if given."""
    query = sa.select(*_COLUMNS).where(_COLUMNS.deleted == 0).order_by(_COLUMNS.id)
    if disabled is not None:
        query = query.where(_COLUMNS.disabled == disabled)
    with database.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def service_find(
    database: engine.Database, host: str, binary: str = COMPUTE
) -> dict[str, Any] | None:
    """Return a service of a host, values by column; None when there is none."""
    with database.read() as connection:
        row = connection.execute(_query(host, binary)).mappings().first()
        return None if row is None else dict(row)


def service_read(
    connection: sa.Connection, host: str, binary: str = COMPUTE
) -> dict[str, Any] | None:
    """Return a service of a host as a transaction sees it; None when there is none."""
    row = connection.execute(_query(host, binary)).mappings().first()
    return None if row is None else dict(row)


def service_lock(connection: sa.Connection, host: str, binary: str) -> dict[str, Any] | None:
    """Return a service of a host for a change in this transaction; None when there is none."""
    found = statements.locked(connection, _query(host, binary), free_only=False)
    return found[0] if found else None


def _query(host: str, binary: str) -> sa.Select[Any]:
    return sa.select(*_COLUMNS).where(
        _COLUMNS.host == host, _COLUMNS.binary == binary, _COLUMNS.deleted == 0
    )


def service_update(
    connection: sa.Connection, host: str, binary: str, values: Mapping[str, Any]
) -> dict[str, Any]:
    """Change columns of a service and return all of it as it is now.

    :raises HostBinaryNotFound: there is no such service.
    """
    row = service_lock(connection, host, binary)
    if row is None:
        raise exceptions.HostBinaryNotFound(host=host, binary=binary)
    changed = {name: value for name, value in values.items() if row[name] != value}
    if changed:
        changed['updated_at'] = models.utcnow()
        connection.execute(
            sa.update(models.Service).where(_COLUMNS.id == row['id']).values(**changed)
        )
        if binary == COMPUTE and changed.keys() & _MATTER:
            changes.bump(connection, changes.HOSTS)
    return {**row, **changed}


def service_delete(connection: sa.Connection, service: int | str) -> dict[str, Any]:
    """Mark a service as deleted and return it as it was.

    :param service: its id, or its uuid.
    :raises ServiceNotFound: there is none.
    """
    column = _COLUMNS.id if isinstance(service, int) else _COLUMNS.uuid
    query = sa.select(*_COLUMNS).where(column == service, _COLUMNS.deleted == 0)
    found = statements.locked(connection, query, free_only=False)
    if not found:
        raise exceptions.ServiceNotFound(service_id=service)
    row_id = found[0]['id']
    connection.execute(
        sa.update(models.Service)
        .where(_COLUMNS.id == row_id)
        .values(deleted=row_id, deleted_at=models.utcnow())
    )
    if found[0]['binary'] == COMPUTE:
        changes.bump(connection, changes.HOSTS)
    return found[0]


def service_report(
    database: engine.Database,
    host: str,
    binary: str,
    topic: str,
    now: datetime.datetime | None = None,
) -> None:
    """Note that a service is alive; its row is made with the first report."""
    now = now or models.utcnow()
    alive = (
        sa.update(models.Service)
        .where(_COLUMNS.host == host, _COLUMNS.binary == binary, _COLUMNS.deleted == 0)
        .values(
            report_count=_COLUMNS.report_count + 1,
            last_seen_up=now,
            updated_at=now,
            uuid=sa.func.coalesce(_COLUMNS.uuid, str(uuid.uuid4())),
        )
    )
    with database.write() as connection:
        if connection.execute(alive).rowcount:
            return
        # All workers of a host share the row: the first to come makes it.
        service_insert_new(connection, host, binary, topic, report_count=1, last_seen_up=now)


def service_insert_new(
    connection: sa.Connection,
    host: str,
    binary: str,
    topic: str,
    *,
    report_count: int = 0,
    last_seen_up: datetime.datetime | None = None,
) -> None:
    """Make the row of a service, unless it is there."""
    statements.insert_new(
        connection,
        models.Service,
        [
            {
                'uuid': str(uuid.uuid4()),
                'host': host,
                'binary': binary,
                'topic': topic,
                'report_count': report_count,
                'disabled': False,
                'last_seen_up': last_seen_up,
                'forced_down': False,
                'version': 0,
                'created_at': models.utcnow(),
                'deleted': 0,
            }
        ],
    )
