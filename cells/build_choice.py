"""Builds that wait for a cell: chosen for many at a time, and given to it."""

import collections
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import orjson
import sqlalchemy as sa

from cells import context, exceptions, known_cells, placement, scheduler
from cells.build_letters import Asked, BuildLetters
from cells.candidates import Cell, Request
from cells.db import build_subjects, engine
from cells.db import placements as db
from cells.db.placements import Reasons
from cells.messages import TargetedMessage
from cells.objects import base as objects_base
from cells.objects import instance as instance_objects
from cells.stats import Stats

#: Seconds until a message that did not get out at the first try is taken back.
SEND_SECONDS: Final = 3.0
#: Seconds between two looks at an attempt that is in this cell.
HERE_SECONDS: Final = 30.0

Row = Mapping[str, Any]


class Builder(Protocol):
    """Builds in this cell."""

    def build_here(
        self,
        connection: sa.Connection,
        ctxt: context.RequestContext,
        instance: instance_objects.Instance,
        request_kwargs: Mapping[str, Any],
        attempt: int,
    ) -> str | None:
        """Begin to build; return why no host can take it, and leave nothing then.

        :param request_kwargs: ``build_inst_kwargs`` with objects.
        :param attempt: for :func:`cells.placement.build_over`.
        """

    def cancel_build(self, connection: sa.Connection, instance_uuid: str, attempt: int) -> None:
        """Have nothing left of an attempt that another cell makes now; nobody above is told."""


class Given(NamedTuple):
    """An attempt, the cell that it is given to, and why, as JSON text."""

    row: Row
    cell: str
    choice: str


class Tried(NamedTuple):
    """Cells that are not to be tried again, and whether others may be soon."""

    cells: frozenset[str]
    may_come_back: bool


class BuildChoice:
    """Chooses cells for what waits.

    :param builder: builds in this cell.
    :param enabled: tells whether this cell takes new instances.
    :param retry_seconds: for how long a build waits for others that are on their way.
    :param retry_delay: seconds between two looks meanwhile.
    """

    states: Final = (db.WAITING,)

    def __init__(
        self,
        *,
        cells: known_cells.KnownCells,
        chooser: scheduler.CellsScheduler,
        letters: BuildLetters,
        builder: Builder,
        enabled: Callable[[], bool],
        retry_seconds: float,
        retry_delay: float,
        stats: Stats,
    ) -> None:
        self._cells = cells
        self._scheduler = chooser
        self._letters = letters
        self._builder = builder
        self._enabled = enabled
        self._retry_seconds = retry_seconds
        self._retry_delay = retry_delay
        self._stats = stats

    def __call__(self, connection: sa.Connection, limit: int) -> None:
        """Give so many builds to cells."""
        rows, asked = self._letters.read(
            connection, db.attempts_due(connection, self.states, limit)
        )
        wanted = self._without_buried(connection, rows, asked)
        if self._enabled():
            self._choose(connection, wanted, asked)
        else:
            for row in wanted:
                one = asked[row['request_uuid']]
                self._letters.fail(connection, one, row, one.here(scheduler.DRAINED))
        db.requests_drop(connection, asked.keys())

    def _without_buried(
        self, connection: sa.Connection, rows: Sequence[Row], asked: Mapping[str, Asked]
    ) -> list[Row]:
        """Return the attempts at what is still wanted; end the others."""
        buried = build_subjects.buried(connection, rows)
        for row in rows:
            if row['id'] in buried:
                one = asked[row['request_uuid']]
                db.attempts_set(connection, [row['id']], db.CANCELLED)
                self._letters.answer(connection, one, row, False, one.here(buried[row['id']]))
        return [row for row in rows if row['id'] not in buried]

    def _choose(
        self, connection: sa.Connection, rows: Sequence[Row], asked: Mapping[str, Asked]
    ) -> None:
        cells = self._cells.all()
        now = db.time(connection)
        tried = {
            row['id']: self._tried(row, now, before) for row, before in _before(connection, rows)
        }
        requests = [asked[row['request_uuid']].request(row, tried[row['id']].cells) for row in rows]
        choices = self._scheduler.choose(requests, cells, db.loads(connection))
        given: list[Given] = []
        for row, request, choice in zip(rows, requests, choices, strict=True):
            crowded = {name for name, why in choice.refusals.items() if why.by_load}
            if choice.cell is not None:
                given.append(Given(row, choice.cell, _kept(choice)))
            elif not crowded and tried[row['id']].may_come_back:
                db.attempts_set(connection, [row['id']], db.WAITING, seconds=self._retry_delay)
            elif not crowded:
                one = asked[row['request_uuid']]
                self._letters.fail(connection, one, row, _no_cell(request, cells, choice))
            elif now - row['created_at'] < self._retry_seconds:
                db.attempts_set(connection, [row['id']], db.WAITING, seconds=self._retry_delay)
            else:
                # What is on its way there may be counted twice: the cell itself knows.
                rest = [one for one in cells if one.name in crowded]
                best = self._scheduler.rank(request, rest, {}).cells[0]
                given.append(Given(row, best.name, _kept(choice)))
        self._give(connection, given, asked)

    def _tried(self, row: Row, now: float, before: Sequence[Row]) -> Tried:
        """Return the cells that an instance cannot be given to, as it was before.

        One that has never heard of it, because its message bus was away, is tried again as long as
        builds wait at all, and when no other takes it: buses are restarted.
        """
        given = {one['next_cell']: one for one in before if one['next_cell']}
        unheard = {cell for cell, one in given.items() if placement.is_unreached(one['reasons'])}
        since = min([one['created_at'] for one in before], default=now)
        waits = bool(unheard) and now - since < self._retry_seconds
        again = unheard if waits and now - row['created_at'] >= self._retry_delay else set()
        return Tried(frozenset(given.keys() - again), waits)

    def _give(
        self, connection: sa.Connection, given: Sequence[Given], asked: Mapping[str, Asked]
    ) -> None:
        together: collections.defaultdict[tuple[str, str], list[Row]]
        together = collections.defaultdict(list)
        choices = {one.row['id']: one.choice for one in given}
        for row, cell, _ in given:
            together[row['request_uuid'], cell].append(row)
        placed: list[tuple[int, str, str | None, float, str | None]] = []
        written: list[tuple[TargetedMessage, str]] = []
        too_far: list[tuple[Row, Reasons]] = []
        for (request_uuid, cell), rows in together.items():
            message_uuid, seconds = None, HERE_SECONDS
            if cell != self._cells.own_name:
                try:
                    message = self._letters.build(asked[request_uuid], cell, rows)
                except exceptions.CellMaxHopCountReached as error:
                    reasons = asked[request_uuid].below(cell, str(error))
                    too_far += [(row, reasons) for row in rows]
                else:
                    written.append((message, cell))
                    message_uuid, seconds = message.uuid, SEND_SECONDS
            placed += [(row['id'], cell, message_uuid, seconds, choices[row['id']]) for row in rows]
            self._stats.count('builds_placed', len(rows), cell=cell)
        db.attempts_place(connection, placed)
        self._letters.put(connection, written)
        for row, reasons in too_far:
            db.attempts_set(connection, [row['id']], db.REFUSED, reasons=reasons)
        for (request_uuid, cell), rows in together.items():
            if cell == self._cells.own_name:
                self._build_here(connection, asked[request_uuid], rows)

    def _build_here(self, connection: sa.Connection, asked: Asked, rows: Sequence[Row]) -> None:
        ctxt = context.RequestContext.from_wire(asked.message.ctxt)
        kwargs = objects_base.transform(dict(asked.kwargs), objects_base.from_primitive)
        instances = {one.uuid: one for one in kwargs['instances']}
        for row in rows:
            instance = instances[row['instance_uuid']]
            try:
                with connection.begin_nested():
                    reason = self._builder.build_here(
                        connection, ctxt, instance, kwargs, row['attempt']
                    )
            except exceptions.WireError as error:
                reason = str(error)
            except engine.ERRORS as error:
                if not engine.is_data_error(error):
                    raise
                reason = 'its database does not take the instance: %s' % engine.brief(error)
            if reason is not None:
                reasons = Reasons({'': reason[: placement.LONGEST_REASON]})
                db.attempts_set(connection, [row['id']], db.REFUSED, reasons=reasons)


def _kept(choice: scheduler.Choice) -> str:
    """Return what is kept of a choice, for :mod:`cells.handlers.explanations`."""
    found = choice.explanation or scheduler.crowded(choice)
    return orjson.dumps(found).decode()


def _no_cell(request: Request, cells: Sequence[Cell], choice: scheduler.Choice) -> Reasons:
    """Return why no cell may take an instance, but for those that were tried."""
    target = request.target
    if target is not None and not request.path.starts_with(target):
        below = target.names[len(request.path) :] if target.starts_with(request.path) else ()
        if not below or below[0] not in {one.name for one in cells}:
            error = exceptions.CellNotFound(cell_name=str(target))
            return Reasons({str(request.path): str(error)}, error.code)
    return Reasons(
        {
            str(request.path_to(one)): choice.refusals[one.name].reason
            for one in cells
            if choice.refusals[one.name].reason != scheduler.TRIED
        }
    )


def _before(connection: sa.Connection, rows: Sequence[Row]) -> list[tuple[Row, list[Row]]]:
    """Return attempts, each with those at the same instance before it."""
    again = [row for row in rows if row['attempt'] > 1]
    found: collections.defaultdict[str, list[Row]] = collections.defaultdict(list)
    if again:
        uuids = {row['instance_uuid'] for row in again}
        requests = {row['request_uuid'] for row in again}
        for other in db.attempts_of(connection, uuids, requests):
            found[other['instance_uuid']].append(other)
    return [(row, found[row['instance_uuid']]) for row in rows]
