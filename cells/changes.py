"""Changes: journaled before anything else, then carried out and sent on, in one transaction."""

import logging

import sqlalchemy as sa

from cells import dispatch, exceptions, paths, routing, wire
from cells.db import journal as db_journal
from cells.drivers import base
from cells.journal import Journal
from cells.messages import BroadcastMessage, Message, TargetedMessage
from cells.operations import OPERATIONS, Direction
from cells.post import Post
from cells.state import CellStateManager
from cells.stats import Stats

LOG = logging.getLogger(__name__)


class Changes:
    """Takes changes in and carries them out for one worker."""

    def __init__(
        self,
        *,
        state: CellStateManager,
        post: Post,
        dispatcher: dispatch.Dispatcher,
        stats: Stats,
        max_hop_count: int,
    ) -> None:
        self._state = state
        self._post = post
        self._dispatcher = dispatcher
        self._stats = stats
        self._max_hop_count = max_hop_count

    def order(self, journal: Journal, message: Message) -> None:
        """Journal a change of this cell's own; returns when it is safe.

        :raises JournalUnavailable: this worker stops before.
        :raises Invalid: the database will never take it.
        """
        journal.accept_and_wait(message.uuid, message.method_name, wire.encode(message))

    def accept(self, journal: Journal, message: Message, incoming: base.Incoming) -> None:
        """Journal a change that came from a neighbour. Does not wait.

        Settled and confirmed when it is safe; a second copy is so at once.
        """

        def safe() -> None:
            incoming.settle()
            self._post.receipt(message)

        # Without a receipt the neighbour keeps a change that our database refuses.
        journal.accept(
            message.uuid,
            message.method_name,
            incoming.text,
            safe,
            lambda reason: incoming.settle(),
        )

    def perform(self, connection: sa.Connection, envelope: str) -> None:
        """Carry a change from the journal out.

        :raises CellsError: it cannot be done; nothing of it is kept.
        """
        message = self._arrived(envelope)
        hops, here = self._hops(message)
        if hops:
            # Before the handler has it: what goes on is the message as it came (R10).
            text, kind = self._post.outward(message), wire.kind_of(message).value
            db_journal.outbox_add(connection, [(message.uuid, hop, kind, text) for hop in hops])
        if here:
            self._dispatcher.change(connection, message)

    def reach_out(self, operation: str, envelope: str) -> None:
        """Do what a change from the journal does outside of the database.

        :raises CellsError: it cannot be done.
        """
        row = OPERATIONS.get(operation)
        if row is None or not row.external:
            return
        message = self._arrived(envelope)
        if self._hops(message)[1]:
            self._dispatcher.reach_out(message)

    def _arrived(self, envelope: str) -> Message:
        own_name = self._state.topology.own_name
        message = wire.decode(envelope)
        if message.routing_path == paths.CellPath((own_name,)):
            return message
        return message.hopped(own_name)

    def _is_for(self, message: BroadcastMessage) -> bool:
        """Tell whether a broadcast is carried out in this cell."""
        row = OPERATIONS.get(message.method_name)
        if row is None:
            return False
        if row.at_top:
            return self._state.topology.is_top
        return row.runs_at_source or message.neighbour is not None

    def _hops(self, message: Message) -> tuple[tuple[str, ...], bool]:
        """Return the neighbours that a change goes on to, and whether it is for this cell."""
        neighbours = self._state.topology.neighbours
        if isinstance(message, TargetedMessage):
            hop = routing.next_hop(
                message.routing_path, message.target_cell, message.direction, neighbours
            )
            if hop is None:
                return (), True
            routing.check_hops(message, self._max_hop_count)
            return (hop,), False
        assert isinstance(message, BroadcastMessage)
        found = routing.broadcast_hops(message, neighbours, self._max_hop_count)
        here = self._is_for(message)
        if not here and message.direction is Direction.UP and not neighbours.parents:
            raise exceptions.CellRoutingInconsistency(
                reason='%s is for the top of the tree, and %s has no parent'
                % (message.method_name, neighbours.own_name)
            )
        if found.cut_off:
            self._stats.count('changes_cut_off', len(found.cut_off))
            LOG.error(
                '%s %s does not get to %s: it has passed %d cells, as many as it may',
                message.method_name,
                message.uuid,
                ', '.join(found.cut_off),
                message.hop_count,
            )
        return found.send_to, here
