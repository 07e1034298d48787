"""What cells of our kind tell of their instances, taken over at the top of the tree.

The answer says for each instance what is known here afterwards: the pair ``[epoch, seq]`` of its
state; ``missing`` when there is no record, and not everything was told; ``gone`` when it is
deleted here; or ``refused: `` and why. So a cell knows what it need not tell again.
"""

import logging
from typing import Any, Final

import sqlalchemy as sa

from cells import arguments, exceptions, messages, paths
from cells.db import engine, replicas, updates
from cells.db.replicas import Record
from cells.db.updates import Update
from cells.ownership import Ownership, Refused
from cells.stats import Stats

LOG = logging.getLogger(__name__)

MISSING: Final = 'missing'
GONE: Final = 'gone'
REFUSED: Final = 'refused: '
#: Instances that one message tells of at most.
MOST_ITEMS: Final = 200

#: What a database, or its driver, may say of values that do not fit.
_UNFIT: Final = (*engine.ERRORS, OverflowError, ValueError, TypeError)


class ReplicaHandlers:
    """Takes over what many instances have become, in a few statements."""

    OPERATIONS: Final = ('x_instances_update_at_top',)

    def __init__(self, *, ownership: Ownership, stats: Stats) -> None:
        self._ownership = ownership
        self._stats = stats

    def x_instances_update_at_top(
        self, connection: sa.Connection, message: messages.Message, items: object
    ) -> dict[str, Any]:
        """Take over what instances have become, and return what is known of each then.

        :param items: see :mod:`cells.db.updates`.
        :raises Invalid: they are no list, or too many.
        """
        given = arguments.sequence('items', items)
        if len(given) > MOST_ITEMS:
            raise exceptions.Invalid(
                reason='%d items, at most %d are taken at a time' % (len(given), MOST_ITEMS)
            )
        turn = _Turn(connection, message.routing_path.backwards(), self._ownership, self._stats)
        return turn.take(given)


class _Turn:
    """One message."""

    def __init__(
        self, connection: sa.Connection, route: paths.CellPath, ownership: Ownership, stats: Stats
    ) -> None:
        self._connection = connection
        self._route = route
        self._path = str(route)
        self._ownership = ownership
        self._stats = stats
        self._answers: dict[str, Any] = {}
        self._changed: list[tuple[Record, Update, str | None]] = []
        self._made: list[tuple[Update, str]] = []
        self._others: list[Update] = []

    def take(self, given: list[Any]) -> dict[str, Any]:
        """Take items over and return the answers."""
        told = self._read(given)
        known = replicas.records(self._connection, list(told)) if told else {}
        absent = [uuid for uuid, update in told.items() if uuid not in known and update.whole]
        buried = replicas.buried(self._connection, absent)
        for uuid, update in told.items():
            try:
                if uuid in known:
                    self._known(known[uuid], update)
                else:
                    self._unknown(update, uuid in buried)
            except Refused as error:
                self._refuse(uuid, error)
        self._write()
        return self._answers

    def _read(self, given: list[Any]) -> dict[str, Update]:
        told = {}
        for item in given:
            try:
                uuid = updates.uuid_of(item)
            except exceptions.Invalid as error:
                self._ownership.refused('x_instances_update_at_top', '?', self._route, error)
                continue
            try:
                told[uuid] = updates.read(item)
            except exceptions.Invalid as error:
                self._refuse(uuid, error)
        return told

    def _refuse(self, uuid: str, error: object) -> None:
        self._answers[uuid] = '%s%.500s' % (REFUSED, error)
        self._ownership.refused('x_instances_update_at_top', uuid, self._route, error)

    def _known(self, record: Record, update: Update) -> None:
        is_owner = self._ownership.check(self._connection, record, self._route)
        if record.deleted and update.deleted_at is None:
            # Never back to life; what happened to it before is still told (S6).
            self._answers[record.uuid] = GONE
            self._stats.count('replicas_dropped', reason=GONE)
            self._ownership.terminate(self._connection, record.uuid, self._route)
            self._others.append(update)
            return
        # Counts of different cells say nothing of each other.
        stored = record.at if is_owner or record.cell_name is None else (-1, -1)
        if not is_owner and not update.whole and update.at is not None:
            self._answers[record.uuid] = MISSING
            self._stats.count('replicas_dropped', reason=MISSING)
        elif update.at is not None and update.at > stored:
            self._answers[record.uuid] = list(update.at)
            self._changed.append((record, update, self._path))
        else:
            self._answers[record.uuid] = list(stored)
            self._others.append(update)
            if update.at is not None:
                self._stats.count('replicas_dropped', reason='old')

    def _unknown(self, update: Update, is_buried: bool) -> None:
        if update.deleted_at is not None:
            self._answers[update.uuid] = list(update.at or (0, 0))
        elif is_buried:
            self._answers[update.uuid] = GONE
            self._stats.count('replicas_dropped', reason=GONE)
            self._ownership.terminate(self._connection, update.uuid, self._route)
        elif not update.whole:
            self._answers[update.uuid] = MISSING
            self._stats.count('replicas_dropped', reason=MISSING)
        else:
            assert update.at is not None
            self._answers[update.uuid] = list(update.at)
            self._made.append((update, self._path))

    def _write(self) -> None:
        try:
            with self._connection.begin_nested():
                replicas.apply(self._connection, self._changed, self._made, self._others)
        except _UNFIT as error:
            if engine.is_transient(error):
                raise
            # One of them is what the database does not take: it must not cost the others.
            self._write_singly()
        else:
            self._count(len(self._changed), len(self._made))

    def _write_singly(self) -> None:
        for changed in self._changed:
            if self._tried(changed[1].uuid, [changed], [], []):
                self._count(1, 0)
        for made in self._made:
            if self._tried(made[0].uuid, [], [made], []):
                self._count(0, 1)
        for update in self._others:
            self._tried(update.uuid, [], [], [update])

    def _tried(self, uuid: str, *args: list[Any]) -> bool:
        try:
            with self._connection.begin_nested():
                replicas.apply(self._connection, *args)
        except _UNFIT as error:
            if engine.is_transient(error):
                raise
            self._refuse(uuid, engine.brief(error))
            return False
        return True

    def _count(self, changed: int, made: int) -> None:
        if changed:
            self._stats.count('replicas_applied', changed)
        if made:
            self._stats.count('replicas_restored', made)
            LOG.info('Cell %s told of %d instances of which there was no record', self._path, made)
