"""Changes: journaled before anything else, then carried out and sent on, in one transaction."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from cells import (
    dispatch,
    exceptions,
    failure_reports,
    failures,
    logs,
    operations,
    orders,
    paths,
    routing,
    subjects,
    wire,
)
from cells.db import inbox
from cells.db import journal as db_journal
from cells.drivers import base
from cells.failure_reports import FailureReports
from cells.journal import Journal
from cells.messages import BroadcastMessage, Message, TargetedMessage
from cells.operations import Direction
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
        reports: FailureReports,
        stats: Stats,
        max_hop_count: int,
        action_timeout: float,
        extensions: bool,
    ) -> None:
        self._state = state
        self._post = post
        self._dispatcher = dispatcher
        self._reports = reports
        self._stats = stats
        self._max_hop_count = max_hop_count
        self._action_timeout = action_timeout
        self._extensions = extensions

    def order(self, journal: Journal, message: Message) -> None:
        """Journal a change of this cell's own; returns when it is safe.

        :raises JournalUnavailable: this worker stops before.
        :raises Invalid: the database will never take it.
        """
        journal.accept_and_wait(
            message.uuid,
            message.method_name,
            wire.encode(message),
            subjects.subject_of(message, time.time()),
        )

    def order_within(self, connection: sa.Connection, message: Message) -> None:
        """Journal a change of this cell's own in a transaction that is about more."""
        subject = subjects.subject_of(message, time.time())
        row = (message.uuid, message.method_name, wire.encode(message), *subject)
        inbox.inbox_accept(connection, [row])

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
            subjects.subject_of(message, time.time()),
        )

    def perform(self, connection: sa.Connection, envelope: str, age: float) -> None:
        """Carry a change from the journal out.

        :param age: for how many seconds it has been in the journal.
        :raises CellsError: it cannot be done; nothing of it is kept.
        """
        message = self._arrived(envelope)
        self._check_age(message, age)
        hops, here = self._hops(message)
        if hops:
            # Before the handler has it: what goes on is the message as it came (R10).
            self._send_on(connection, message, hops)
        if here:
            self._dispatcher.change(connection, message)

    def _check_age(self, message: Message, age: float) -> None:
        """Refuse an order that its user does not expect to be carried out any more.

        :raises CellTimeout: it is too old.
        """
        order = orders.order_of(message)
        if order is None or not order.ages or message.direction is Direction.UP:
            return
        told = message.extension
        if told is not None and message.neighbour is not None:
            # Since the cell that it came from has noted it, by the clock of that one.
            offset = self._state.sightings.offset(message.neighbour)
            age = max(age, time.time() + offset - told.sent_at)
        if age > self._action_timeout:
            raise exceptions.CellTimeout(
                '%s was not carried out within %d seconds of %s'
                % (message.method_name, self._action_timeout, message.ctxt.get('timestamp')),
                cell_name=str(message.routing_path),
            )

    def _send_on(self, connection: sa.Connection, message: Message, hops: tuple[str, ...]) -> None:
        ours = hops
        if message.method_name == failure_reports.OPERATION:
            ours = tuple(hop for hop in hops if self._state.sightings.is_ours(hop))
            failed = failures.from_kwargs(message.method_kwargs)
            self._put(connection, self._reports.plain(failed), set(hops) - set(ours))
        self._put(connection, [message], ours)

    def _put(self, connection: sa.Connection, told: Sequence[Message], hops: Iterable[str]) -> None:
        rows = [
            (
                message.uuid,
                hop,
                wire.kind_of(message).value,
                self._post.outward(message),
                subjects.instance_of(message),
                subjects.request_of(message),
            )
            for message in told
            for hop in sorted(hops)
        ]
        db_journal.outbox_add(connection, rows)

    def report(self, connection: sa.Connection, row: Mapping[str, Any], error: Exception) -> None:
        """Tell of a change from the journal that has failed whom it concerns."""
        try:
            message = self._arrived(row['envelope'])
        except exceptions.InvalidMessage:
            return  # nobody can be told of what cannot be read
        self._reports.report(connection, message, error)

    def reach_out(self, operation: str, envelope: str) -> None:
        """Do what a change from the journal does outside of the database.

        :raises CellsError: it cannot be done.
        """
        row = operations.find(operation, self._extensions)
        if row is None or not row.external:
            return
        message = self._arrived(envelope)
        if self._hops(message)[1]:
            self._dispatcher.reach_out(message)

    def _arrived(self, envelope: str) -> Message:
        own_name = self._state.topology.own_name
        message = wire.decode(envelope, self._extensions)
        if message.routing_path != paths.CellPath((own_name,)):
            message = message.hopped(own_name)
        logs.note(message.ctxt.get('request_id'), message.routing_path)
        return message

    def _is_for(self, message: BroadcastMessage) -> bool:
        """Tell whether a broadcast is carried out in this cell."""
        row = operations.find(message.method_name, self._extensions)
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
