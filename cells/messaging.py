"""The runner: what a cell asks others, and tells them.

It is made of what deals with messages: :mod:`cells.questions`, :mod:`cells.changes`, and
:mod:`cells.arrivals` for what comes from others.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from cells import (
    admission,
    arrivals,
    context,
    dispatch,
    exceptions,
    failure_reports,
    letters,
    messages,
    operations,
    paths,
    wire,
)
from cells.changes import Changes
from cells.drivers import base
from cells.journal import Journal
from cells.messages import (
    BroadcastMessage,
    Extension,
    Message,
    Response,
    ResponseMessage,
    TargetedMessage,
)
from cells.objects import base as objects_base
from cells.operations import OPERATIONS, Direction
from cells.outbox import Outbox
from cells.post import Post
from cells.questions import Questions
from cells.state import CellStateManager
from cells.stats import Stats

__all__ = [
    'BroadcastMessage',
    'Message',
    'MessageRunner',
    'Response',
    'ResponseMessage',
    'TargetedMessage',
]


class MessageRunner:
    """Runs the messages of one worker.

    :param server: the server name of this worker, under which answers reach it.
    :param object_release: at whose versions objects leave this cell.
    :param dispatcher: calls what a message names; nothing else can be called by one.
    :param call_timeout: seconds within which a question is answered.
    :param max_hop_count: how many cells a message from here may pass.
    :param waiting_per_neighbour: how many calls may wait for the same neighbour.
    :param action_timeout: seconds after which an order is not carried out any more.
    :param extensions: whether this cell adds to messages what nova-cells do not know, and reads
        what others add.
    """

    def __init__(
        self,
        *,
        state: CellStateManager,
        driver: base.CellsDriver,
        dispatcher: dispatch.Dispatcher,
        stats: Stats,
        server: str,
        object_release: str,
        call_timeout: float,
        max_hop_count: int,
        max_message_bytes: int,
        handler_threads: int,
        waiting_per_neighbour: int,
        action_timeout: float,
        extensions: bool = True,
    ) -> None:
        self._state = state
        self._stats = stats
        self._server = server
        self._object_release = object_release
        self._call_timeout = call_timeout
        self._max_hop_count = max_hop_count
        self._max_message_bytes = max_message_bytes
        self._extensions = extensions
        self._post = Post(
            state=state,
            driver=driver,
            stats=stats,
            server=server,
            max_hop_count=max_hop_count,
            max_message_bytes=max_message_bytes,
            extensions=extensions,
        )
        self._questions = Questions(
            state=state,
            post=self._post,
            dispatcher=dispatcher,
            stats=stats,
            call_timeout=call_timeout,
            max_hop_count=max_hop_count,
            handler_threads=handler_threads,
            waiting_per_neighbour=waiting_per_neighbour,
        )
        #: For what finds out in other ways that an order has failed.
        self.failure_reports = failure_reports.FailureReports(
            state=state,
            letters=letters.Letters(
                state=state,
                outward=self._post.outward,
                object_release=object_release,
                max_hop_count=max_hop_count,
            ),
            object_release=object_release,
            stats=stats,
        )
        self._changes = Changes(
            state=state,
            post=self._post,
            dispatcher=dispatcher,
            reports=self.failure_reports,
            stats=stats,
            max_hop_count=max_hop_count,
            action_timeout=action_timeout,
            extensions=extensions,
        )
        #: For the journal, which works through the runner.
        self.perform = self._changes.perform
        self.report = self._changes.report
        self.reach_out = self._changes.reach_out
        self.send_receipts = self._post.send_receipts
        #: For what writes messages into the outbox itself.
        self.outward = self._post.outward
        self._arrivals = arrivals.Arrivals(
            state=state,
            admitted=admission.Admission(
                state=state,
                driver=driver,
                stats=stats,
                max_message_bytes=max_message_bytes,
                extensions=extensions,
            ),
            post=self._post,
            questions=self._questions,
            changes=self._changes,
            stats=stats,
            extensions=extensions,
        )
        #: For what reads the message buses.
        self.receive = self._arrivals.receive
        self.park_cast = self._arrivals.park_cast
        self._journal: Journal | None = None

    def start(self, journal: Journal, outbox: Outbox) -> None:
        """Be ready for what arrives."""
        self._journal = journal
        self._arrivals.start(journal, outbox)
        self._questions.start()

    def load(self) -> dict[str, int]:
        """Return how many questions wait for answers, and how many are being answered here."""
        return self._questions.load()

    def open_questions(self) -> list[dict[str, object]]:
        """Return the questions that wait for answers: uuid, who is missing, seconds left."""
        return self._questions.open()

    def drain(self, seconds: float) -> None:
        """Wait for the answers that are waited for; after ``seconds``, go on with what is there."""
        self._questions.drain(seconds)

    def stop(self) -> None:
        """End; handlers that run are waited for."""
        self._questions.stop()

    def call(
        self,
        ctxt: context.RequestContext,
        operation: str,
        target: paths.CellPath,
        kwargs: Mapping[str, Any],
        seconds: float | None = None,
    ) -> Response:
        """Ask one cell, and wait.

        :param target: the path to it, this cell first.
        :param seconds: that it gets; None, and at most, ``[cells] call_timeout``.
        :returns: its answer, or the failure in its place; nothing is raised for what
            other cells do or fail to do.
        """
        target = self._state.resolve(target)
        if seconds is not None:
            seconds = min(seconds, self._call_timeout)
        fields = self._fields(ctxt, operation, kwargs, seconds=seconds)
        message = TargetedMessage(target_cell=target, **fields)
        self._check_sendable(message)
        return self._questions.ask_one(message)

    def broadcast(
        self,
        ctxt: context.RequestContext,
        operation: str,
        kwargs: Mapping[str, Any],
        seconds: float | None = None,
    ) -> list[Response]:
        """Ask all cells on one side and, if the operation says so, this one; and wait.

        :param seconds: that they get; None, and at most, ``[cells] call_timeout``.
        :returns: one answer for each cell that gave one, and one failure for each
            cell that did not and that somebody on the way could name.
        """
        if seconds is not None:
            seconds = min(seconds, self._call_timeout)
        message = BroadcastMessage(**self._fields(ctxt, operation, kwargs, seconds=seconds))
        self._check_sendable(message)
        return self._questions.ask_all(message)

    def change(
        self,
        ctxt: context.RequestContext,
        operation: str,
        kwargs: Mapping[str, Any],
        target: paths.CellPath | None = None,
    ) -> None:
        """Order a change in one cell, or in all cells on one side.

        Returns when it is in the journal.

        :param target: the path to the one cell, this cell first.
        :raises JournalUnavailable: this worker stops; the broker keeps the order.
        :raises CellRoutingInconsistency: no way leads to the target.
        """
        assert self._journal is not None
        fields = self._fields(ctxt, operation, kwargs, need_response=False)
        message: BroadcastMessage | TargetedMessage
        if target is None:
            message = BroadcastMessage(**fields)
        else:
            message = TargetedMessage(target_cell=self._state.resolve(target), **fields)
            self._questions.next_hop(message)
        self._check_sendable(message)
        self._changes.order(self._journal, message)

    def change_within(
        self,
        connection: sa.Connection,
        ctxt: context.RequestContext,
        operation: str,
        kwargs: Mapping[str, Any],
        target: paths.CellPath,
    ) -> None:
        """Order a change in one cell as a part of a transaction: with the rest of it, or not.

        Call :meth:`wake` after the commit; otherwise it is found within a second.

        :raises CellRoutingInconsistency: no way leads to the target.
        :raises Invalid: a value cannot be sent.
        """
        fields = self._fields(ctxt, operation, kwargs, need_response=False)
        # One transaction may order several.
        message = TargetedMessage(
            target_cell=self._state.resolve(target), **{**fields, 'uuid': messages.new_uuid()}
        )
        self._questions.next_hop(message)
        self._check_sendable(message)
        self._changes.order_within(connection, message)

    def wake(self) -> None:
        """Look at once for changes that a transaction has ordered."""
        if self._journal is not None:
            self._journal.wake()

    def check_running(self) -> None:
        """Refuse what would have to wait for the database.

        :raises JournalUnavailable: this worker is stopping.
        """
        if self._journal is not None:
            self._journal.check_running()

    def _check_sendable(self, message: Message) -> None:
        """Refuse to the caller what no cell would read.

        :raises Invalid: a value cannot be written, or all together are too large.
        """
        try:
            size = len(wire.encode(message).encode())
        except (TypeError, ValueError, RecursionError) as error:
            raise exceptions.Invalid(
                reason='%s cannot be sent: %s' % (message.method_name, error)
            ) from None
        if size > self._max_message_bytes:
            raise exceptions.Invalid(
                reason='%s has %d bytes with its arguments, at most %d are allowed'
                % (message.method_name, size, self._max_message_bytes)
            )

    def tell(
        self,
        operation: str,
        neighbour: str,
        kwargs: Mapping[str, Any],
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        """Send a notice to a neighbour; returns at once, and nobody hears whether it came.

        :param on_failure: called when it did not even get out.
        """
        row = OPERATIONS[operation]
        fields = self._fields(context.background(), operation, kwargs, need_response=False)
        # The workers of a plain cell share nothing; ours do (P2).
        fanout = row.direction is Direction.UP and not self._state.sightings.is_ours(neighbour)
        target = fields['routing_path'].hopped(neighbour)
        message = TargetedMessage(target_cell=target, fanout=fanout, **fields)
        self._post.notice(message, on_failure)

    def ask_above(
        self,
        operation: str,
        parent: str,
        kwargs: Mapping[str, Any],
        seconds: float,
        on_complete: Callable[[Sequence[Response] | None], None],
    ) -> None:
        """Ask a parent of our own kind, and the cells above it; returns at once.

        :param on_complete: called with their answers, None when there were none in time.
        """
        fields = self._fields(context.background(), operation, kwargs)
        # Only cells of ours read it, and they need no more (P5).
        fields['ctxt'] = {'request_id': fields['ctxt']['request_id']}
        fields.update(uuid=messages.new_uuid(), max_hop_count=None)
        self._questions.ask_side_later(BroadcastMessage(**fields), parent, on_complete, seconds)

    def tell_above(
        self,
        operation: str,
        parent: str,
        kwargs: Mapping[str, Any],
        on_sent: Callable[[Exception | None], None],
        count: tuple[int, int] | None = None,
    ) -> None:
        """Send a change up, to a parent of any kind; returns at once. It is not journaled here.

        :param on_sent: told when the broker of the parent has it, or why not.
        :param count: of the state that it tells; goes behind the uuid, past plain cells.
        """
        fields = self._fields(context.background(), operation, kwargs, need_response=False)
        if count is not None and self._extensions:
            fields['uuid'] = wire.counted_uuid(fields['uuid'], count)
        self._post.report(BroadcastMessage(**fields), parent, on_sent)

    def ping(self, target: paths.CellPath, seconds: float) -> Response:
        """Ask a cell, at any depth below or the parent, who it is; and wait."""
        message = self._ping(target, seconds)
        if target == message.routing_path:
            return Response(str(target), self._arrivals.who_am_i(message))
        return self._questions.ask_one(message)

    def ping_later(
        self, neighbour: str, seconds: float, on_complete: Callable[[Response | None], None]
    ) -> None:
        """Ask a neighbour who it is; returns at once."""
        target = paths.CellPath((self._state.topology.own_name, neighbour))
        self._questions.ask_later(self._ping(target, seconds), neighbour, on_complete)

    def _ping(self, target: paths.CellPath, seconds: float) -> TargetedMessage:
        fields = self._fields(context.background(), operations.PING, {}, seconds=seconds)
        parent = len(target) == 2 and target.last in self._state.topology.parents
        fields['direction'] = Direction.UP if parent else Direction.DOWN
        return TargetedMessage(target_cell=target, **fields)

    def _fields(
        self,
        ctxt: context.RequestContext,
        operation: str,
        kwargs: Mapping[str, Any],
        need_response: bool = True,
        seconds: float | None = None,
    ) -> dict[str, Any]:
        row = OPERATIONS[operation]
        uuid = messages.new_uuid()
        if need_response and self._extensions:
            budget = self._call_timeout if seconds is None else seconds
            mark = Extension(0, time.time(), int(budget * 1000), self._server)
            uuid = wire.marked_uuid(uuid, mark)
        elif not need_response and ctxt.delivery_id:
            # The same when a client's cast comes twice, so that it is done once.
            uuid = ctxt.delivery_id
        return {
            'ctxt': ctxt.to_dict(),
            'method_name': operation,
            'method_kwargs': objects_base.to_primitive(dict(kwargs), self._object_release),
            'direction': row.direction,
            'routing_path': paths.CellPath((self._state.topology.own_name,)),
            'uuid': uuid,
            'need_response': need_response,
            'max_hop_count': self._max_hop_count,
        }
