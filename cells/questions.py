"""Questions: asked for clients, answered for neighbours, merged in between.

Only the thread that serves a client's call waits, and of those only so many
for the same neighbour. A middle cell keeps a pending aggregate, which ends
when all have answered or when its time is over, and it is this cell's
``deadlines`` thread that ends it then.
"""

import concurrent.futures
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from cells import (
    context,
    deadlines,
    dispatch,
    exceptions,
    logs,
    paths,
    remote_errors,
    replies,
    routing,
    waiting,
    wire,
)
from cells.messages import (
    BroadcastMessage,
    Failure,
    Message,
    Response,
    ResponseMessage,
    TargetedMessage,
)
from cells.operations import OPERATIONS, Operation, counted_as
from cells.post import Post
from cells.state import CellStateManager
from cells.stats import Stats

LOG = logging.getLogger(__name__)

#: Most questions of other cells that wait for a handler thread, per thread.
QUEUED_PER_THREAD: Final = 64
#: Seconds that the answer of a neighbour is waited for that is known to be mute.
MUTE_PATIENCE: Final = 2.0


class Questions:
    """Asks and answers for one worker.

    :param call_timeout: seconds that an answer may take.
    :param waiting_per_neighbour: how many threads may wait for the same neighbour.
    """

    def __init__(
        self,
        *,
        state: CellStateManager,
        post: Post,
        dispatcher: dispatch.Dispatcher,
        stats: Stats,
        call_timeout: float,
        max_hop_count: int,
        handler_threads: int,
        waiting_per_neighbour: int,
    ) -> None:
        self._state = state
        self._post = post
        self._dispatcher = dispatcher
        self._stats = stats
        self._call_timeout = call_timeout
        self._max_hop_count = max_hop_count
        self._waiting = waiting.Waiting(waiting_per_neighbour)
        self._pending = replies.PendingReplies()
        self._pool = concurrent.futures.ThreadPoolExecutor(
            handler_threads, thread_name_prefix='handler'
        )
        self._room = threading.BoundedSemaphore(handler_threads * QUEUED_PER_THREAD)
        self._busy = 0
        self._busy_lock = threading.Lock()
        self._clock = waiting.Clock(self._pending)
        self._recent = waiting.Recent()

    def start(self) -> None:
        """Begin to watch deadlines."""
        self._clock.start()
        self._state.sightings.on_mute(self._doubt)

    def _doubt(self, neighbour: str) -> None:
        patience = time.monotonic() + MUTE_PATIENCE
        self._pending.doubt(neighbour, patience)
        self._clock.watch(patience)

    def load(self) -> dict[str, int]:
        """Return how many questions wait for answers, and how many are being answered here."""
        return {'waiting': len(self._pending), 'answering': self._busy}

    def open(self) -> list[dict[str, object]]:
        """Return the questions that wait for answers, see :meth:`PendingReplies.open`."""
        return self._pending.open(time.monotonic())

    def drain(self, seconds: float) -> None:
        """Wait for the answers that are waited for; after ``seconds``, go on with what is there."""
        until = time.monotonic() + seconds
        while (len(self._pending) or self._busy) and time.monotonic() < until:
            time.sleep(0.02)
        self._pending.expire(math.inf)

    def stop(self) -> None:
        """End; handlers that run are waited for."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._clock.stop()

    # -- for clients --

    def ask_one(self, message: TargetedMessage) -> Response:
        """Ask one cell and wait; its answer, or the failure in its place."""
        target = str(message.target_cell)
        try:
            hop = self.next_hop(message)
        except exceptions.WireError as error:
            return Response(target, failure=remote_errors.failure_of(error))
        if hop is None:
            return self._answer(message)
        part = self._ask(message, (hop,))[hop]
        return part[0] if part else Response(target, failure=self._timeout(message, target))

    def ask_all(self, message: BroadcastMessage) -> list[Response]:
        """Ask all cells on one side, and this one if the operation says so, and wait."""
        hops = self._broadcast_hops(message)
        own: list[Response] = []

        def meanwhile() -> None:
            if self._takes_part(OPERATIONS[message.method_name]):
                own.append(self._answer(message))

        parts = self._ask(message, hops.send_to, meanwhile)
        return [*self._merged(message, parts), *self._cut_off(message, hops), *own]

    def _ask(
        self,
        message: Message,
        hops: Sequence[str],
        meanwhile: Callable[[], None] = lambda: None,
    ) -> replies.Parts:
        """Send a question to some neighbours and wait for their answers."""
        seconds = self.time_left(message)
        admitted = self._waiting.enter(hops)
        try:
            waiter = waiting.Waiter()
            deadline = time.monotonic() + seconds
            if hops:
                self._expect(message, hops, deadline, waiter.complete)
            for hop in hops:
                if hop in admitted:
                    self._send(message, hop, seconds)
                else:
                    busy = Response(_path_of(message, hop), failure=self._overload(message, hop))
                    self._pending.put(message.uuid, hop, (busy,))
            meanwhile()
            if hops and not waiter.wait(deadline - time.monotonic()):
                self._pending.give_up(message.uuid)
                waiter.wait(1)
            return waiter.parts
        finally:
            self._waiting.leave(admitted)

    def ask_later(
        self, message: TargetedMessage, hop: str, on_complete: Callable[[Response | None], None]
    ) -> None:
        """Ask a neighbour and return at once.

        :param on_complete: called with its answer, or None when there was none in time.
        """
        self.ask_side_later(message, hop, lambda part: on_complete(part[0] if part else None))

    def ask_side_later(
        self,
        message: Message,
        hop: str,
        on_complete: Callable[[Sequence[Response] | None], None],
        within: float | None = None,
    ) -> None:
        """Ask a neighbour, and with a broadcast all behind it, and return at once.

        :param on_complete: called with their answers, or None when there were none in time.
        :param within: seconds; None: the uuid says it.
        """
        seconds = self.time_left(message) if within is None else within
        deadline = time.monotonic() + seconds
        self._pending.expect(
            message.uuid,
            (hop,),
            deadline,
            lambda parts: on_complete(parts[hop]),
            next_door=isinstance(message, BroadcastMessage),
            begun=time.monotonic(),
        )
        self._clock.watch(deadline)
        self._send(message, hop, seconds)

    # -- for neighbours --

    def on_targeted(self, message: TargetedMessage, hop: str | None) -> None:
        """Answer a question here, or send it on to ``hop``. Does not wait."""
        if hop is None:
            self._in_pool(message, lambda: self._post.reply(message, [self._answer(message)]))
            return

        def fail(failure: Failure) -> None:
            self._pending.put(message.uuid, hop, ())
            self._post.reply(message, [Response(str(message.target_cell), failure=failure)])

        # A neighbour that is mute, or becomes so, is named by this cell, which knows first. The
        # answer may have passed through another worker: then this failure comes second and
        # counts for nothing, and of one that is only late its asker knows by itself.
        def complete(parts: replies.Parts) -> None:
            if parts[hop] is None and self._state.sightings.is_mute(hop):
                fail(_mute(message, hop))

        budget = deadlines.shorter(self.time_left(message))
        deadline = time.monotonic() + budget
        if self._expect(message, (hop,), deadline, complete):
            self._clock.watch(deadline)
        self._post.question(message, hop, budget, fail)

    def on_notice(self, message: Message) -> None:
        """Take a notice. Does not wait."""
        self._in_pool(message, lambda: self._dispatcher.notice(message))

    def on_broadcast(self, message: BroadcastMessage) -> None:
        """Answer a question for this cell and all behind it. Does not wait."""
        own = self._state.topology.own_name
        hops = self._broadcast_hops(message)
        budget = deadlines.shorter(self.time_left(message))

        def complete(parts: replies.Parts) -> None:
            merged = self._merged(message, {n: part for n, part in parts.items() if n != own})
            merged.extend(self._cut_off(message, hops))
            path = str(message.routing_path)
            merged.extend(parts[own] or (Response(path, failure=self._timeout(message, path)),))
            self._post.reply(message, merged)

        deadline = time.monotonic() + budget
        assert message.neighbour is not None
        first = self._recent.put(message.uuid, message.neighbour)
        if first is not None:
            self._stats.count('questions_twice')
            if first != message.neighbour:
                # It came over another parent before, which gets the answer (R6).
                self._post.reply(message, [])
            return
        self._expect(message, (*hops.send_to, own), deadline, complete)
        self._clock.watch(deadline)
        for hop in hops.send_to:
            self._send(message, hop, budget)
        self._in_pool(
            message, lambda: self._pending.put(message.uuid, own, (self._answer(message),))
        )

    def on_answer(self, message: ResponseMessage) -> None:
        """Take an answer, or send it on. Does not wait."""
        hop = self.next_hop(message)
        assert message.neighbour is not None
        if hop is not None:
            self._pending.put(message.response_uuid, message.neighbour, (), passed_on=True)
            self._post.forward_answer(message, hop)
            return
        responses = wire.decode_responses(message)
        now = time.monotonic()
        begun = self._pending.begun(message.response_uuid)
        passed_on = len(message.routing_path) > 2
        if not self._pending.put(
            message.response_uuid, message.neighbour, responses, now, passed_on
        ):
            self._stats.count('answers_dropped')
            LOG.debug('Nobody waits for the answer to %s any more', message.response_uuid)
        elif begun is not None:
            self._stats.observe('answer_seconds', now - begun, neighbour=message.neighbour)

    def refuse(self, message: Message, error: exceptions.CellsError) -> None:
        """Answer a question with why it is not even tried."""
        if message.need_response:
            failure = remote_errors.failure_of(error)
            response = Response(str(message.routing_path), failure=failure)
            self._post.reply(message, [response], told=True)

    def time_left(self, message: Message) -> float:
        """Return for how many seconds its asker still waits, below 0 when it does not."""
        told, offset = message.extension, 0.0
        if told is not None and message.neighbour is not None:
            offset = self._state.sightings.offset(message.neighbour)
        told = told or wire.source_extension(message)
        if told is None and message.neighbour is not None:
            asked_at = context.asked_at(message.ctxt)
            return deadlines.remaining_plain(asked_at, time.time(), self._call_timeout)
        return deadlines.remaining(told, time.time() + offset, self._call_timeout)

    def next_hop(self, message: TargetedMessage | ResponseMessage) -> str | None:
        """Return the neighbour that a message goes to, None when it is for this cell.

        :raises CellRoutingInconsistency: no way leads there.
        :raises CellMaxHopCountReached: it may not go further.
        """
        hop = routing.next_hop(
            message.routing_path,
            message.target_cell,
            message.direction,
            self._state.topology.neighbours,
        )
        if hop is not None and isinstance(message, TargetedMessage):
            routing.check_hops(message, self._max_hop_count)
        return hop

    # -- details --

    def _expect(
        self,
        message: Message,
        hops: Sequence[str],
        deadline: float,
        on_complete: Callable[[replies.Parts], None],
    ) -> bool:
        """Wait for neighbours; for those that are known to be mute not for long."""
        mute = frozenset(hop for hop in hops if hop in self._state.topology.names)
        mute = frozenset(hop for hop in mute if self._state.sightings.is_mute(hop))
        patience = time.monotonic() + MUTE_PATIENCE if mute else math.inf
        fresh = self._pending.expect(
            message.uuid,
            hops,
            deadline,
            on_complete,
            mute,
            patience,
            isinstance(message, BroadcastMessage),
            begun=time.monotonic(),
        )
        if mute:
            self._clock.watch(patience)
        return fresh

    def _send(self, message: Message, hop: str, budget: float) -> None:
        row = OPERATIONS.get(message.method_name)
        if (
            row is not None
            and row.extension
            and isinstance(message, BroadcastMessage)
            and self._state.sightings.is_plain(hop)
        ):
            refused = Response(_path_of(message, hop), failure=_unknown_there(message, hop))
            self._pending.put(message.uuid, hop, (refused,))
            return
        # A neighbour that cannot be asked counts as having answered so.
        self._post.question(
            message,
            hop,
            budget,
            lambda failure: self._pending.put(
                message.uuid, hop, (Response(_path_of(message, hop), failure=failure),)
            ),
        )

    def _in_pool(self, message: Message, work: Callable[[], Any]) -> None:
        if not self._room.acquire(blocking=False):
            self._stats.count('handlers_busy')
            error = exceptions.CellsError('Cell has too much to do to answer')
            failed = Response(str(message.routing_path), failure=remote_errors.failure_of(error))
            if isinstance(message, BroadcastMessage):
                self._pending.put(message.uuid, self._state.topology.own_name, (failed,))
            elif message.need_response:
                self._post.reply(message, [failed])
            return

        with self._busy_lock:
            self._busy += 1

        def run() -> None:
            try:
                with logs.scope(message.ctxt.get('request_id'), message.routing_path):
                    work()
            except Exception:  # noqa: BLE001 - nobody looks at what a pool's task raised
                LOG.exception('%s %s could not be answered', message.method_name, message.uuid)
            finally:
                self._room.release()
                with self._busy_lock:
                    self._busy -= 1

        self._pool.submit(run)

    def _answer(self, message: Message) -> Response:
        row = OPERATIONS[message.method_name]
        late = -self.time_left(message)
        if late > deadlines.GRACE:  # it has waited for a thread too long (R4)
            self._stats.count('questions_late')
            error = exceptions.CellTimeout(
                '%s %s waited in %s until %.1f seconds after its asker had stopped waiting'
                % (
                    message.method_name,
                    wire.bare_uuid(message.uuid),
                    message.routing_path,
                    late,
                ),
                cell_name=str(message.routing_path),
            )
            return Response(str(message.routing_path), failure=remote_errors.failure_of(error))
        if row.at_top and not self._state.topology.is_top:
            return Response(str(message.routing_path), None)
        return self._dispatcher.answer(message)

    def _takes_part(self, row: Operation) -> bool:
        return row.runs_at_source or (row.at_top and self._state.topology.is_top)

    def _broadcast_hops(self, message: BroadcastMessage) -> routing.BroadcastHops:
        return routing.broadcast_hops(message, self._state.topology.neighbours, self._max_hop_count)

    def _merged(self, message: Message, parts: replies.Parts) -> list[Response]:
        merged: list[Response] = []
        for name, part in parts.items():
            path = _path_of(message, name)
            silent = (Response(path, failure=self._timeout(message, path)),) if part is None else ()
            merged.extend(part or silent)
        return merged

    def _cut_off(self, message: Message, hops: routing.BroadcastHops) -> list[Response]:
        error = exceptions.CellMaxHopCountReached(hop_count=message.hop_count)
        failure = remote_errors.failure_of(error)
        return [Response(_path_of(message, name), failure=failure) for name in hops.cut_off]

    def _timeout(self, message: Message, cell_name: str) -> Failure:
        told = wire.source_extension(message)
        elapsed = ', %.1f seconds after it was asked' % (time.time() - told.sent_at) if told else ''
        self._stats.count('answers_missing', operation=counted_as(message.method_name))
        error = exceptions.CellTimeout(
            'Timeout waiting for response from cell %s to %s, message %s%s'
            % (cell_name, message.method_name, wire.bare_uuid(message.uuid), elapsed),
            cell_name=cell_name,
        )
        # That a neighbour is mute has been said when it became so (O9).
        level = logging.DEBUG if self._is_mute(message, cell_name) else logging.WARNING
        with logs.scope(message.ctxt.get('request_id'), message.routing_path):
            LOG.log(level, '%s', error)
        return remote_errors.failure_of(error)

    def _is_mute(self, message: Message, cell_name: str) -> bool:
        """Tell whether a cell is silent as the neighbour on the way to it is mute."""
        names = cell_name.split(paths.SEPARATOR)[len(message.routing_path) :]
        known = bool(names) and names[0] in self._state.topology.names
        return known and self._state.sightings.is_mute(names[0])

    def _overload(self, message: Message, hop: str) -> Failure:
        self._stats.count('calls_refused', neighbour=hop)
        path = _path_of(message, hop)
        error = exceptions.CellTimeout(
            'Too many calls wait for cell %s already; %s was not sent to it'
            % (path, message.method_name),
            cell_name=path,
        )
        LOG.warning('%s', error)
        return remote_errors.failure_of(error)


def _mute(message: Message, hop: str) -> Failure:
    path = _path_of(message, hop)
    return remote_errors.failure_of(
        exceptions.CellTimeout(
            'Timeout waiting for response from cell %s to %s, message %s: it is silent'
            % (path, message.method_name, wire.bare_uuid(message.uuid)),
            cell_name=path,
        )
    )


def _unknown_there(message: Message, hop: str) -> Failure:
    detail = '%s: cell %s is a plain nova-cells' % (message.method_name, _path_of(message, hop))
    return remote_errors.failure_of(exceptions.CellServiceAPIMethodNotFound(detail=detail))


def _path_of(message: Message, name: str) -> str:
    return str(message.routing_path.hopped(name))
