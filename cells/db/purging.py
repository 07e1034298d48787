"""What is over and may go: deleted instances with all that is theirs, and ended rows.

The daemons drop by themselves what only they need (journal, attempts, operations of hosts); what
users or operators may still want to see is kept until somebody says how long.
"""

import datetime
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from cells.db import engine, host_operations, models, placements, sync_requests

_INSTANCES: Final = models.Instance.__table__.c
_DIRTY: Final = models.Dirty.__table__.c
_ACTIONS: Final = models.InstanceAction.__table__.c
_EVENTS: Final = models.InstanceActionEvent.__table__.c

#: What belongs to an instance, and the column with its uuid.
_BELONGINGS: Final[tuple[tuple[Any, str], ...]] = (
    (models.InstanceField, 'instance_uuid'),
    (models.InstanceMetadata, 'instance_uuid'),
    (models.InstanceFault, 'instance_uuid'),
    (models.BlockDeviceMapping, 'instance_uuid'),
    (models.BandwidthUsage, 'uuid'),
    (models.Migration, 'instance_uuid'),
    (models.ConsoleAuthToken, 'instance_uuid'),
    (models.InstanceAction, 'instance_uuid'),
)


class _Kind(NamedTuple):
    """Rows of a table that are over.

    :ivar condition: made of the time before which they ended, as moment and as seconds.
    """

    model: Any
    condition: Callable[[datetime.datetime, float], sa.ColumnElement[bool]]


def _deleted(model: Any) -> _Kind:
    columns = model.__table__.c
    return _Kind(
        model, lambda moment, seconds: sa.and_(columns.deleted != 0, columns.deleted_at < moment)
    )


_PLACEMENTS: Final = models.Placement.__table__.c
_STONES: Final = models.Tombstone.__table__.c
_OPS: Final = models.HostOperation.__table__.c
_DEAD: Final = models.DeadMessage.__table__.c
_SYNC: Final = models.SyncRequest.__table__.c
_TOKENS: Final = models.ConsoleAuthToken.__table__.c

_KINDS: Final = (
    _Kind(
        models.Placement,
        lambda moment, seconds: sa.and_(
            _PLACEMENTS.state.in_(placements.OVER), _PLACEMENTS.created_at < seconds
        ),
    ),
    _Kind(
        models.Tombstone,
        lambda moment, seconds: sa.and_(
            _STONES.expires < engine.now(), _STONES.created_at < seconds
        ),
    ),
    _Kind(
        models.HostOperation,
        lambda moment, seconds: sa.and_(
            _OPS.state.not_in(host_operations.OPEN), _OPS.ended_at < seconds
        ),
    ),
    _Kind(models.DeadMessage, lambda moment, seconds: _DEAD.parked_at < seconds),
    _Kind(
        models.SyncRequest,
        lambda moment, seconds: sa.and_(
            _SYNC.state == sync_requests.DONE, _SYNC.ended_at < seconds
        ),
    ),
    _Kind(models.ConsoleAuthToken, lambda moment, seconds: _TOKENS.expires < seconds),
    *map(
        _deleted,
        (models.Service, models.ComputeNode, models.Flavor, models.KeyPair, models.Cell),
    ),
)


def counts(database: engine.Database, before: datetime.datetime) -> dict[str, int]:
    """Return how many rows of each table :func:`purge` would delete.

    :param before: in UTC, without a zone.
    """
    found: dict[str, int] = {}
    uuids = sa.select(_INSTANCES.uuid).where(_gone(before))
    with database.read() as connection:
        for model, condition in _KINDS:
            query = sa.select(sa.func.count()).select_from(model)
            number = connection.execute(query.where(condition(before, _seconds(before))))
            found[model.__tablename__] = number.scalar_one()
        for model, name in _BELONGINGS:
            query = sa.select(sa.func.count()).select_from(model)
            number = connection.execute(query.where(model.__table__.c[name].in_(uuids)))
            table = model.__tablename__
            found[table] = found.get(table, 0) + number.scalar_one()
        actions = sa.select(_ACTIONS.id).where(_ACTIONS.instance_uuid.in_(uuids))
        events = sa.select(sa.func.count()).where(_EVENTS.action_id.in_(actions))
        found['instance_actions_events'] = connection.execute(events).scalar_one()
        gone = sa.select(sa.func.count()).where(_gone(before))
        found['instances'] = connection.execute(gone).scalar_one()
    return found


def purge(
    database: engine.Database, before: datetime.datetime, limit: int
) -> Iterator[dict[str, int]]:
    """Delete what ended before a time; yield after each transaction how many rows of which table.

    :param before: in UTC, without a zone.
    :param limit: rows of a table, or instances with all that is theirs, in one transaction.
    """
    for kind in _KINDS:
        while True:
            number = _purge_kind(database, kind, before, limit)
            if number:
                yield {kind.model.__tablename__: number}
            if number < limit:
                break
    while True:
        found = _purge_instances(database, before, limit)
        if found:
            yield found
        if found.get('instances', 0) < limit:
            return


def _purge_kind(
    database: engine.Database, kind: _Kind, before: datetime.datetime, limit: int
) -> int:
    key = list(kind.model.__table__.primary_key)
    query = sa.select(*key).where(kind.condition(before, _seconds(before))).limit(limit)
    with database.write() as connection:
        found = [tuple(row) for row in connection.execute(query)]
        if found:
            which = (
                key[0].in_([row[0] for row in found])
                if len(key) == 1
                else sa.tuple_(*key).in_(found)
            )
            connection.execute(sa.delete(kind.model).where(which))
    return len(found)


def _purge_instances(
    database: engine.Database, before: datetime.datetime, limit: int
) -> dict[str, int]:
    query = sa.select(_INSTANCES.uuid).where(_gone(before)).order_by(_INSTANCES.id).limit(limit)
    counted: dict[str, int] = {}
    with database.write() as connection:
        uuids = list(connection.execute(query).scalars())
        if not uuids:
            return counted
        actions = sa.select(_ACTIONS.id).where(_ACTIONS.instance_uuid.in_(uuids))
        ids = list(connection.execute(actions).scalars())
        gone = sa.delete(models.InstanceActionEvent).where(_EVENTS.action_id.in_(ids))
        counted['instance_actions_events'] = connection.execute(gone).rowcount
        for model, name in (*_BELONGINGS, (models.Instance, 'uuid')):
            gone = sa.delete(model).where(model.__table__.c[name].in_(uuids))
            counted[model.__tablename__] = connection.execute(gone).rowcount
    return counted


def _gone(before: datetime.datetime) -> sa.ColumnElement[bool]:
    """Return the condition for instances that are over, and of which all has been told above."""
    return sa.and_(
        _INSTANCES.deleted != 0,
        _INSTANCES.deleted_at < before,
        ~sa.exists().where(_DIRTY.instance_uuid == _INSTANCES.uuid),
    )


def _seconds(moment: datetime.datetime) -> float:
    return moment.replace(tzinfo=datetime.UTC).timestamp()
