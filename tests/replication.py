"""A cell and the top of the tree above it, without what is between them: two databases.

What the cell would send is a value here, so that a test can lose it, repeat it, or bring it late.
"""

import json
from collections.abc import Mapping
from typing import Any

import orjson
import sqlalchemy as sa

from cells import ownership, paths, state, sync_batches
from cells import plain_reports as db_plain
from cells.db import engine, models, snapshots, unsent
from cells.handlers import plain_belongings, plain_replicas, replicas
from cells.messages import Response
from cells.objects import base as objects_base
from cells.stats import Stats
from cells.sync_batches import Batch, Reply
from cells.sync_ends import Ends
from tests.unit import builders

#: Of an instance, what need not be the same in two cells.
OWN = ('id', 'created_at', 'updated_at', 'cell_name', 'sync_epoch', 'sync_seq', 'inconsistent')


class Top:
    """The top of the tree: its database and what takes over what comes up."""

    def __init__(self, database: engine.Database, name: str = 'top') -> None:
        self.database = database
        self.stats = Stats()
        self.orders: list[tuple[str, dict[str, Any], str]] = []
        self.state = _State(name)
        owner = ownership.Ownership(state=self.state, stats=self.stats, order=self._order)
        self._ours = replicas.ReplicaHandlers(ownership=owner, stats=self.stats)
        self._plain = [
            plain_replicas.PlainReplicaHandlers(ownership=owner, stats=self.stats),
            plain_belongings.PlainBelongingHandlers(ownership=owner, stats=self.stats),
        ]

    def _order(self, connection: sa.Connection, ctxt, operation, kwargs, target) -> None:
        self.orders.append((operation, kwargs, str(target)))

    def take(self, items: list[Any], path: str = 'leaf!top') -> dict[str, Any]:
        """Take items that came over a path, as they are after the wire."""
        message = builders.broadcast(path, 'up', method_name='x_instances_update_at_top')
        with self.database.write() as connection:
            answer = self._ours.x_instances_update_at_top(
                connection, message, orjson.loads(orjson.dumps(items))
            )
        return json.loads(json.dumps(answer))

    def hear(
        self, operation: str, kwargs: Mapping[str, Any], path: str = 'leaf!top', uuid: str = 'u'
    ) -> None:
        """Take a message of a plain cell."""
        message = builders.broadcast(path, 'up', method_name=operation, uuid=uuid)
        kwargs = json.loads(json.dumps(objects_base.to_primitive(dict(kwargs), 'liberty')))
        kwargs = objects_base.transform(kwargs, objects_base.from_primitive)
        [handler] = [one for one in self._plain if operation in one.OPERATIONS]
        with self.database.write() as connection:
            getattr(handler, operation)(connection, message, **kwargs)


class _State:
    """What the ownership of instances is decided by."""

    def __init__(self, name: str) -> None:
        self.topology = state.Topology(name, is_top=True)
        self.aliases = paths.Aliases()


class Child:
    """A cell below: its database, and what it would send of it."""

    def __init__(self, database: engine.Database) -> None:
        self.database = database
        self.stats = Stats()
        self._ends = Ends(database=database, stats=self.stats)
        self._tokens = 0

    def claim(self, seconds: float = 60.0, plain: bool = False) -> tuple[Batch, list[Any]]:
        """Claim all that is due and return it, with what would be sent of it."""
        self._tokens += 1
        token = 'w#%d' % self._tokens
        with self.database.write() as connection:
            rows = unsent.claim(connection, token, seconds, 1000)
        marks = snapshots.marks_of(rows)
        batch = Batch(token, marks, {'top': plain}, lambda batch: None)
        with self.database.read() as connection:
            if plain:
                found = db_plain.read(connection, marks, 'liberty')
                return batch, [report for reports in found.values() for report in reports]
            return batch, list(snapshots.read(connection, marks).values())

    def end(self, batch: Batch, answer: Any) -> None:
        """Take an answer; None for none."""
        responses = None if answer is None else [Response('leaf!top', answer)]
        reply, outcomes, reason = sync_batches.read_answer(batch.marks, responses)
        batch.report('top', reply, outcomes, reason)
        self._ends.note([batch])

    def told(self, batch: Batch) -> None:
        """Take it that the broker of a plain parent has all of a batch."""
        batch.report('top', Reply.ANSWERED, batch.all(sync_batches.CONFIRMED))
        self._ends.note([batch])

    def dirty(self) -> list[tuple[str, str]]:
        """Return uuids and parts of all marks."""
        columns = models.Dirty.__table__.c
        with self.database.read() as connection:
            query = sa.select(columns.instance_uuid, columns.part)
            return [tuple(row) for row in connection.execute(query)]


def bring(child: Child, top: Top, path: str = 'leaf!top', most: int = 10) -> int:
    """Send until nothing is left; return how many rounds that took."""
    for rounds in range(most):
        batch, items = child.claim()
        if not batch.marks:
            return rounds
        child.end(batch, top.take(items, path))
    raise AssertionError('still dirty after %d rounds: %s' % (most, child.dirty()))


def record(database: engine.Database, uuid: str) -> dict[str, Any] | None:
    """Return all of an instance that is to be the same in two cells."""
    instances = models.Instance.__table__.c
    with database.read() as connection:
        query = sa.select(*instances).where(instances.uuid == uuid)
        row = connection.execute(query).mappings().first()
        if row is None:
            return None
        found: dict[str, Any] = {
            name: value for name, value in row.items() if name not in (*OWN, 'deleted')
        }
        found['deleted'] = bool(row['deleted'])
        for model, key, value in (
            (models.InstanceField, 'name', 'value'),
            (models.InstanceMetadata, 'key', 'value'),
        ):
            columns = model.__table__.c
            query = sa.select(columns[key], columns[value]).where(columns.instance_uuid == uuid)
            found[model.__tablename__] = dict(tuple(row) for row in connection.execute(query))
        columns = models.BlockDeviceMapping.__table__.c
        query = sa.select(*(columns[name] for name in snapshots.DEVICE)).where(
            columns.instance_uuid == uuid, columns.deleted == 0
        )
        rows = [dict(row) for row in connection.execute(query).mappings()]
        found['devices'] = sorted(rows, key=lambda row: row['uuid'])
        return found


def column(database: engine.Database, uuid: str, name: str) -> Any:
    """Return one column of an instance."""
    instances = models.Instance.__table__.c
    with database.read() as connection:
        query = sa.select(instances[name]).where(instances.uuid == uuid)
        return connection.execute(query).scalar()
