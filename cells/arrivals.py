"""What arrives from neighbours: admitted, and given to who deals with it.

A message takes one of two roads. A *question* (:mod:`cells.questions`) is
answered from memory and the database and costs nothing but itself when it is
lost, so it is settled as soon as it is read. A *change* (:mod:`cells.changes`)
goes into the journal first and is settled then.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, Final

from cells import admission, exceptions, logs, operations, orders, versions, wire
from cells.changes import Changes
from cells.drivers import base
from cells.journal import Journal
from cells.messages import (
    BroadcastMessage,
    Message,
    Response,
    ResponseMessage,
    TargetedMessage,
)
from cells.outbox import Outbox
from cells.post import Post
from cells.questions import Questions
from cells.state import CellStateManager
from cells.stats import Stats

LOG = logging.getLogger(__name__)

#: A message that was delivered so often and never settled is put aside: it may be what kills
#: the process each time.
MOST_DELIVERIES: Final = 8
#: Uuids in a receipt that is read: a database bounds what a statement names.
MOST_CONFIRMED: Final = 1000
#: Seconds after a warning of a question that came too late in which no other of them is warned of.
QUIET_SECONDS: Final = 60.0


class Arrivals:
    """Takes messages in for one worker.

    :param extensions: whether this cell reads what nova-cells do not know.
    """

    def __init__(
        self,
        *,
        state: CellStateManager,
        admitted: admission.Admission,
        post: Post,
        questions: Questions,
        changes: Changes,
        stats: Stats,
        extensions: bool,
    ) -> None:
        self._state = state
        self._admission = admitted
        self._post = post
        self._questions = questions
        self._changes = changes
        self._stats = stats
        self._extensions = extensions
        self._journal: Journal | None = None
        self._outbox: Outbox | None = None
        self._quiet_until = 0.0

    def start(self, journal: Journal, outbox: Outbox) -> None:
        """Be ready for :meth:`receive`."""
        self._journal = journal
        self._outbox = outbox

    def receive(self, incoming: base.Incoming) -> None:
        """Take a message from the bus, in the thread that reads: neither waits nor raises."""
        with logs.scope():
            self._take(incoming)

    def _take(self, incoming: base.Incoming) -> None:
        message, refusal, settle_now = None, None, True
        if incoming.deliveries >= MOST_DELIVERIES:
            reason = 'delivered %d times and never brought to an end' % incoming.deliveries
            self._park('', '', 'not read', incoming, reason)
            return
        try:
            message = self._admission.admit(incoming.text)
            logs.note(message.ctxt.get('request_id'), message.routing_path)
            settle_now = self._dispatch(message, incoming)
        except (exceptions.InvalidMessage, exceptions.WireError) as error:
            refusal = error
        except Exception as error:  # noqa: BLE001 - the reading thread serves all neighbours
            self._stats.count('messages_refused', reason='internal')
            LOG.exception('A message could not be dealt with')
            if message is not None:
                name, path = message.method_name, str(message.routing_path)
                self._park(message.uuid, name, path, incoming, repr(error))
                return
        # Not in the handler of the error, as oslo.log would add the error to the line.
        if refusal is not None:
            self._stats.count('messages_refused', reason=type(refusal).__name__)
            came_by = ' that came by %s' % message.routing_path if message else ''
            LOG.warning('Refused a message%s: %s', came_by, refusal)
        if settle_now:
            incoming.settle()

    def _park(
        self, uuid: str, operation: str, came_by: str, incoming: base.Incoming, reason: str
    ) -> None:
        assert self._journal is not None
        self._journal.park(uuid, operation, came_by, incoming.text, reason, incoming.settle)

    def park_cast(self, method: str, text: str, settle: Callable[[], None]) -> None:
        """Put a client's cast aside that was delivered too often."""
        assert self._journal is not None
        reason = 'delivered %d times and never brought to an end' % MOST_DELIVERIES
        self._journal.park('', method, 'a client', text, reason, settle)

    def _dispatch(self, message: Message, incoming: base.Incoming) -> bool:
        """Deal with a message; False when the journal is to settle it."""
        if isinstance(message, ResponseMessage):
            self._questions.on_answer(message)
            return True
        hop, row, refusal = None, operations.find(message.method_name, self._extensions), None
        try:
            admission.check(message, row, -self._questions.time_left(message))
            hop = self._next_hop(message)
            if row is None and not admission.passes(message, hop):
                raise exceptions.CellServiceAPIMethodNotFound(detail=message.method_name)
        except exceptions.WireError as error:
            refusal = error
        if refusal is not None:
            self._refuse(message, refusal)
            return True
        if row is not None and hop is None and row.name in operations.CONSUMED:
            self._consume(message)
            return True
        if row is not None and row.notice:
            self._questions.on_notice(message)
            return True
        if (row is None or row.changes) and not message.need_response:
            assert self._journal is not None
            self._changes.accept(self._journal, message, incoming)
            return False
        if isinstance(message, TargetedMessage):
            self._questions.on_targeted(message, hop)
        else:
            assert isinstance(message, BroadcastMessage)
            self._questions.on_broadcast(message)
        return True

    def _next_hop(self, message: Message) -> str | None:
        """Return the neighbour that a message for one cell goes to; None when it is for here.

        :raises WireError: no way leads there; an order goes into the journal all the same,
            where its failure is reported (R1).
        """
        if not isinstance(message, TargetedMessage):
            return None
        try:
            return self._questions.next_hop(message)
        except exceptions.WireError:
            if message.need_response or orders.order_of(message) is None:
                raise
            return None

    def _refuse(self, message: Message, error: exceptions.WireError) -> None:
        self._stats.count('messages_refused', reason=type(error).__name__)
        level, now = logging.WARNING, time.monotonic()
        if isinstance(error, exceptions.CellTimeout):  # after a pause there may be hundreds
            if now < self._quiet_until:
                level = logging.DEBUG
            else:
                self._quiet_until = now + QUIET_SECONDS
        LOG.log(
            level,
            'Refused %s %s, which came by %s: %s',
            message.method_name,
            wire.bare_uuid(message.uuid),
            message.routing_path,
            error,
        )
        self._questions.refuse(message, error)

    def _consume(self, message: Message) -> None:
        """Deal with what the runner answers by itself."""
        if message.method_name == operations.RECEIPT:
            self._on_receipt(message)
        else:
            response = Response(str(message.routing_path), self.who_am_i(message))
            self._post.reply(message, [response])

    def who_am_i(self, message: Message) -> dict[str, Any]:
        """Return who this cell is, for who asks."""
        topology = self._state.topology
        last = message.neighbour or topology.own_name
        known = 'parent' if last in topology.parents else 'child'
        return {
            'id': self._state.cell_id,
            'name': topology.own_name,
            'time': time.time(),
            'protocol': versions.EXTENSION_VERSION,
            'knows': known if last in topology.names else 'self',
        }

    def _on_receipt(self, message: Message) -> None:
        uuids = message.method_kwargs.get('uuids')
        if (
            not isinstance(uuids, list)
            or len(uuids) > MOST_CONFIRMED
            or not all(wire.is_uuid(one) for one in uuids)
        ):
            raise exceptions.InvalidMessage(
                reason='a receipt has no list of at most %d uuids' % MOST_CONFIRMED
            )
        assert self._outbox is not None
        assert message.neighbour is not None
        self._outbox.confirm(message.neighbour, uuids)
