"""What is let in: whether a message can have come this way, from whom, and in time."""

import time

from cells import deadlines, exceptions, routing, wire
from cells.drivers import base
from cells.messages import Message, TargetedMessage
from cells.operations import Direction, Operation, Side
from cells.state import CellStateManager
from cells.stats import Stats


class Admission:
    """Reads envelopes for one worker, and takes note of who sent them."""

    def __init__(
        self,
        *,
        state: CellStateManager,
        driver: base.CellsDriver,
        stats: Stats,
        max_message_bytes: int,
        extensions: bool,
    ) -> None:
        self._state = state
        self._driver = driver
        self._stats = stats
        self._max_message_bytes = max_message_bytes
        self._extensions = extensions

    def admit(self, text: str) -> Message:
        """Return the message of an envelope, as it is in this cell.

        :raises InvalidMessage: it is none.
        :raises CellRoutingInconsistency: it cannot have come this way, or is not from whom it
            says (R13).
        """
        size = len(text) if text.isascii() else len(text.encode('utf-8', 'replace'))
        if size > self._max_message_bytes:
            raise exceptions.InvalidMessage(
                reason='it has %d bytes, at most %d are allowed (from an unknown sender)'
                % (size, self._max_message_bytes)
            )
        message = wire.decode(text, self._extensions)
        neighbours = self._state.topology.neighbours
        try:
            routing.check_arrival(message, neighbours)
        except exceptions.CellRoutingInconsistency as error:
            raise exceptions.CellRoutingInconsistency(
                reason='%s (%s %s)' % (error.kwargs['reason'], message.method_name, message.uuid)
            ) from None
        sender = message.routing_path.last
        x = message.extension
        if x is not None and x.cell_id == self._state.cell_id:
            raise exceptions.CellRoutingInconsistency(
                reason='cell %s has the id of this cell, %s: the database of one is a copy of the '
                'other. Change the row in the table cell_identity of the copy' % (sender, x.cell_id)
            )
        known = self._state.sightings
        other = known.saw(sender, x.version, x.cell_id, x.sent_at) if x else known.saw(sender, 0)
        if other is not None and x is not None:
            raise exceptions.CellRoutingInconsistency(
                reason='two cells are called %s: %s, which is known here, and now %s (%s %s). Give '
                'one of them another [cells] name'
                % (sender, other, x.cell_id, message.method_name, wire.bare_uuid(message.uuid))
            )
        self._stats.count('messages_received', neighbour=sender)
        if x is not None:
            way = time.time() + known.offset(sender) - x.sent_at
            self._stats.observe('transit_seconds', max(0.0, way), neighbour=sender)
        self._driver.heard(sender)
        return message.hopped(neighbours.own_name)


def passes(message: Message, hop: str | None) -> bool:
    """Tell whether a message of an operation that is not known here may go on."""
    if isinstance(message, TargetedMessage):
        return hop is not None
    return not message.need_response


def check(message: Message, row: Operation | None, late: float) -> None:
    """Refuse a request that does not fit its row, or that comes too late (X2, R4).

    :param row: None for an operation that is not known here.
    :param late: seconds since its asker stopped waiting; negative while it waits.
    :raises WireError: why it is refused.
    """
    kind = wire.kind_of(message)
    side = Side.PARENT if message.direction is Direction.DOWN else Side.CHILD
    if row is not None and (kind not in row.kinds or side not in row.allowed_from):
        raise exceptions.CellRoutingInconsistency(
            reason='%s does not travel %s as a %s message'
            % (row.name, message.direction.value, kind.value)
        )
    if row is not None and row.next_door and len(message.routing_path) != 2:
        raise exceptions.CellRoutingInconsistency(
            reason='%s came by %s; it may come from a neighbour only'
            % (row.name, message.routing_path)
        )
    if row is not None and message.need_response and not row.replies:
        raise exceptions.CellRoutingInconsistency(reason='%s is never answered' % row.name)
    if row is not None and not (message.need_response or row.changes or row.notice):
        raise exceptions.CellRoutingInconsistency(
            reason='%s wants no answer, and is nothing else than a question' % row.name
        )
    if message.need_response and late > deadlines.GRACE:
        raise exceptions.CellTimeout(
            '%s %s came %.1f seconds after its asker had stopped waiting'
            % (message.method_name, wire.bare_uuid(message.uuid), late)
        )
