"""Changes: journaled before anything else, then carried out and sent on, in one transaction."""

import logging
from collections.abc import Callable, Mapping

import sqlalchemy as sa

from cells import paths, routing, wire
from cells.db import journal as db_journal
from cells.drivers import base
from cells.journal import Journal
from cells.messages import Message, TargetedMessage
from cells.objects import base as objects_base
from cells.operations import OPERATIONS
from cells.post import Post
from cells.state import CellStateManager
from cells.stats import Stats

LOG = logging.getLogger(__name__)

#: Carries a change out: (connection, message, arguments), in a transaction.
Changer = Callable[..., None]


class Changes:
    """Takes changes in and carries them out for one worker.

    :param handlers: what carries out, by name of the operation.
    """

    def __init__(
        self,
        *,
        state: CellStateManager,
        post: Post,
        handlers: Mapping[str, Changer],
        stats: Stats,
        max_hop_count: int,
    ) -> None:
        self._state = state
        self._post = post
        self._handlers = handlers
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
        own_name = self._state.topology.own_name
        message = wire.decode(envelope)
        row = OPERATIONS.get(message.method_name)
        here = row is not None and row.runs_at_source
        if message.routing_path != paths.CellPath((own_name,)):
            message, here = message.hopped(own_name), row is not None
        hops, here = self._hops(message, here)
        if hops:
            # Before the handler has it: what goes on is the message as it came (R10).
            text, kind = self._post.outward(message), wire.kind_of(message).value
            db_journal.outbox_add(connection, [(message.uuid, hop, kind, text) for hop in hops])
        if here and row is not None:
            kwargs = objects_base.transform(message.method_kwargs, objects_base.from_primitive)
            self._handlers[row.name](connection, message, **kwargs)

    def _hops(self, message: Message, here: bool) -> tuple[tuple[str, ...], bool]:
        neighbours = self._state.topology.neighbours
        if isinstance(message, TargetedMessage):
            hop = routing.next_hop(
                message.routing_path, message.target_cell, message.direction, neighbours
            )
            if hop is None:
                return (), True
            routing.check_hops(message, self._max_hop_count)
            return (hop,), False
        found = routing.broadcast_hops(message, neighbours, self._max_hop_count)
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
