"""What a cell writes about builds: to children, to the cell above, and to plain ones of both."""

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from cells import (
    build_requests,
    candidates,
    context,
    exceptions,
    known_cells,
    letters,
    paths,
    placement,
    routing,
    wire,
)
from cells.compute import states
from cells.db import placements as db_placements
from cells.db.placements import FAILED, Reasons
from cells.messages import TargetedMessage
from cells.objects import instance as instance_objects
from cells.operations import Direction

LOG = logging.getLogger(__name__)


class Asked(NamedTuple):
    """A request as it was kept.

    :ivar message: as it arrived in this cell, its path with this cell at the end.
    """

    message: TargetedMessage

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """``build_inst_kwargs`` in the form of the wire."""
        found: Mapping[str, Any] = self.message.method_kwargs['build_inst_kwargs']
        return found

    @staticmethod
    def of(envelope: str) -> 'Asked':
        """Return what an envelope holds.

        :raises InvalidMessage: it cannot be read.
        """
        message = wire.decode(envelope)
        if not isinstance(message, TargetedMessage):
            raise exceptions.InvalidMessage(reason='it is for no cell')
        return Asked(message)

    @staticmethod
    def readable(envelope: str | None) -> 'Asked | None':
        """Return what an envelope holds, None when that cannot be told."""
        try:
            return None if envelope is None else Asked.of(envelope)
        except exceptions.InvalidMessage:
            return None

    def here(self, reason: str) -> Reasons:
        """Return a reason of this cell."""
        return Reasons({str(self.message.routing_path): reason})

    def below(self, child: str, reason: str) -> Reasons:
        """Return a reason of a child."""
        return Reasons({str(self.message.routing_path.hopped(child)): reason})

    def request(self, row: Mapping[str, Any], tried: Collection[str] = ()) -> candidates.Request:
        """Return what the scheduler is to know of an attempt."""
        size = build_requests.Size(row['memory_mb'], row['disk_gb'], row['vcpus'])
        return build_requests.request(self.kwargs, size, self.message.routing_path, tried)


class BuildLetters:
    """Writes for one worker.

    :param max_hop_count: how many cells a message may pass whose source set no limit.
    """

    def __init__(
        self, *, writer: letters.Letters, cells: known_cells.KnownCells, max_hop_count: int
    ) -> None:
        self._writer = writer
        self._cells = cells
        self._max_hop_count = max_hop_count

    def read(
        self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]]
    ) -> tuple[list[Mapping[str, Any]], dict[str, Asked]]:
        """Return the attempts of which it is known what they are about, and that, by request."""
        found = db_placements.requests_get(connection, {row['request_uuid'] for row in rows})
        asked: dict[str, Asked] = {}
        unreadable: dict[str, str] = {}
        for uuid, text in found.items():
            try:
                asked[uuid] = Asked.of(text)
            except exceptions.InvalidMessage as error:
                unreadable[uuid] = 'what was asked for cannot be read: %s' % error
        for row in rows:
            if row['request_uuid'] not in asked:
                reason = unreadable.get(row['request_uuid'], 'what was asked for is lost')
                self._give_up(connection, row, reason)
        return [row for row in rows if row['request_uuid'] in asked], asked

    def _give_up(self, connection: sa.Connection, row: Mapping[str, Any], reason: str) -> None:
        """End a build of which nobody can say any more what it was to be."""
        uuid, built = row['instance_uuid'], row['state'] == db_placements.BUILT
        LOG.error('The build of instance %s is given up: %s', uuid, reason)
        reasons = Reasons({} if built else {str(self._own_path()): reason})
        with_cell = row['state'] in (db_placements.PLACED, db_placements.TOLD)
        state = db_placements.CANCEL if with_cell else db_placements.DONE if built else FAILED
        db_placements.attempts_set(connection, [row['id']], state, reasons=reasons)
        db_placements.requests_drop(connection, [row['request_uuid']])
        if self._cells.is_top:
            if not built:
                placement.fail_at_top(connection, uuid, row['attempt'], reasons, None)
        elif row['attempt_above'] is not None:
            for parent in sorted(self._cells.parents):
                self._answer(connection, parent, row, built, reasons, self._ctxt(None))
        elif not built:
            self._error_above(connection, uuid, reasons, self._ctxt(None))

    # -- to children --

    def build(self, asked: Asked, child: str, rows: Sequence[Mapping[str, Any]]) -> TargetedMessage:
        """Return the message that gives instances of a request to a child.

        It goes on along the path that the request came, so that hints, which name cells by
        their whole path, can be read wherever it gets (C16).

        :raises CellMaxHopCountReached: it has passed as many cells as it may.
        """
        message = asked.message
        routing.check_hops(message, self._max_hop_count)
        target = message.routing_path.hopped(child)
        plain = self._cells.is_plain(child)
        if plain:
            wanted = asked.request(rows[0]).target
            if wanted is not None and wanted.starts_with(target):
                target = wanted
        attempts = {row['instance_uuid']: row['attempt'] for row in rows}
        kwargs = build_requests.subset(asked.kwargs, attempts, not plain, without_target=plain)
        return TargetedMessage(
            ctxt=message.ctxt,
            method_name=message.method_name,
            method_kwargs={**message.method_kwargs, 'build_inst_kwargs': kwargs},
            direction=Direction.DOWN,
            routing_path=message.routing_path,
            uuid=placement.name_of(message.uuid, child, *sorted(attempts.items())),
            hop_count=message.hop_count,
            max_hop_count=message.max_hop_count,
            target_cell=target,
        )

    def put(
        self, connection: sa.Connection, written: Sequence[tuple[TargetedMessage, str]]
    ) -> None:
        """Write messages of :meth:`build`, each for a child."""
        self._writer.put(connection, written)

    def cancel(
        self, connection: sa.Connection, asked: Asked | None, row: Mapping[str, Any], child: str
    ) -> None:
        """Tell a child to drop an attempt."""
        if self._cells.is_plain(child):
            own = asked.message.routing_path if asked else self._own_path()
            known = map(paths.CellPath.parse, filter(None, Reasons.of(row['reasons']).cells))
            below = [path for path in known if child in path.names]
            for route in below or [own.hopped(child)]:
                self.terminate(connection, asked, row['instance_uuid'], route)
            return
        self._writer.write(
            connection,
            'x_build_cancel',
            self._own_path().hopped(child),
            {'instance_uuid': row['instance_uuid'], 'attempt': row['attempt']},
            self._ctxt(asked),
        )

    def terminate(
        self,
        connection: sa.Connection,
        asked: Asked | None,
        instance_uuid: str,
        route: paths.CellPath,
    ) -> None:
        """Have a plain cell drop what it may have of an instance.

        :param route: the path to it, with this cell in it.
        """
        own = self._cells.own_name
        target = paths.CellPath(route.names[route.names.index(own) :])
        instance: Any = instance_objects.Instance(uuid=instance_uuid)
        for one in build_requests.envelopes(asked.kwargs) if asked else ():
            if build_requests.uuid_of(one) == instance_uuid:
                instance = one
        self._writer.write(
            connection,
            'terminate_instance',
            target,
            {'instance': instance, 'delete_type': 'delete'},
            self._ctxt(asked),
        )

    # -- to the cell above --

    def answer(
        self,
        connection: sa.Connection,
        asked: Asked,
        row: Mapping[str, Any],
        accepted: bool | None,
        reasons: Reasons,
    ) -> None:
        """Tell the cell above what came of an attempt of its own, as far as it understands."""
        above = asked.message.neighbour
        if above is None:
            return
        ctxt = context.answer_context(asked.message.ctxt)
        if row['attempt_above'] is not None and not self._cells.is_plain(above):
            self._answer(connection, above, row, accepted, reasons, ctxt)
        elif accepted is False:
            self._error_above(connection, row['instance_uuid'], reasons, ctxt)

    def _answer(
        self,
        connection: sa.Connection,
        above: str,
        row: Mapping[str, Any],
        accepted: bool | None,
        reasons: Reasons,
        ctxt: Mapping[str, Any],
    ) -> None:
        self._writer.write(
            connection,
            'x_build_answer',
            self._own_path().hopped(above),
            {
                'instance_uuid': row['instance_uuid'],
                'attempt': row['attempt_above'],
                'accepted': accepted,
                'reasons': dict(reasons.cells),
            },
            ctxt,
        )

    def fail(
        self, connection: sa.Connection, asked: Asked, row: Mapping[str, Any], reasons: Reasons
    ) -> None:
        """End a build for which there is no cell, with what all cells have said.

        :param reasons: of those that were not tried.
        """
        told = dict(reasons.cells)
        uuid, request_id = row['instance_uuid'], asked.message.ctxt.get('request_id')
        for other in db_placements.attempts_of(connection, [uuid], [row['request_uuid']]):
            if other['id'] != row['id']:
                for path, text in Reasons.of(other['reasons']).cells.items():
                    told.setdefault(path or str(asked.message.routing_path), text)
        reasons = Reasons(dict(list(told.items())[: placement.MOST_REASONS]), reasons.code)
        db_placements.attempts_set(connection, [row['id']], FAILED, reasons=reasons)
        LOG.warning(
            'Instance %s (request %s): %s',
            uuid,
            request_id,
            placement.lines(reasons).replace('\n', ' '),
        )
        if self._cells.is_top:
            placement.fail_at_top(connection, uuid, row['attempt'], reasons, request_id)
        else:
            self.answer(connection, asked, row, False, reasons)

    def _error_above(
        self,
        connection: sa.Connection,
        instance_uuid: str,
        reasons: Reasons,
        ctxt: Mapping[str, Any],
    ) -> None:
        """Report an error as nova-cells do, so that the top has the instance in error."""
        text = placement.lines(reasons)
        instance = instance_objects.Instance(
            uuid=instance_uuid, vm_state=states.ERROR, task_state=None
        )
        fault = {
            'instance_uuid': instance_uuid,
            'code': reasons.code,
            'message': text[:255],
            'details': text,
            'host': None,
        }
        self._writer.broadcast_up(
            connection, 'instance_update_at_top', {'instance': instance}, ctxt
        )
        self._writer.broadcast_up(
            connection, 'instance_fault_create_at_top', {'instance_fault': fault}, ctxt
        )

    def _own_path(self) -> paths.CellPath:
        return paths.CellPath((self._cells.own_name,))

    def _ctxt(self, asked: Asked | None) -> dict[str, Any]:
        return dict(asked.message.ctxt) if asked else context.background().to_dict()
