"""What leaves this cell: questions, answers and receipts, each with what it needs on the way.

Everything here returns at once. A question that cannot be sent has failed, and
who sent it is told; an answer is tried twice (R7); a receipt that is lost is
asked for again by the change's next copy.
"""

import collections
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from cells import (
    context,
    exceptions,
    logs,
    messages,
    operations,
    paths,
    remote_errors,
    routing,
    versions,
    wire,
)
from cells.drivers import base
from cells.messages import (
    BroadcastMessage,
    Extension,
    Failure,
    Message,
    Response,
    ResponseMessage,
    TargetedMessage,
)
from cells.operations import Direction, Kind
from cells.state import CellStateManager
from cells.stats import Stats

LOG = logging.getLogger(__name__)

#: Seconds until an answer that could not be sent is tried once more.
ANSWER_AGAIN: Final = 0.3
MOST_AGAIN: Final = 1000
#: Most changes that one receipt confirms.
RECEIPT_SIZE: Final = 50
#: What an envelope may have beside the answers in it: paths and a context.
ENVELOPE_BYTES: Final = 64 * 1024


def outward(
    message: Message,
    cell_id: str,
    budget_ms: int | None = None,
    server: str | None = None,
    *,
    extensions: bool,
) -> str:
    """Return the envelope of a message that a cell sends to the next one.

    :param cell_id: of the cell that sends it.
    :param budget_ms: within how many milliseconds an answer is wanted, by the worker ``server``.
    :param extensions: whether it carries what only cells of ours know.
    """
    if not extensions:
        return wire.encode(messages.with_extension(message, None))
    extension = Extension(versions.EXTENSION_VERSION, time.time(), budget_ms, server, cell_id)
    return wire.encode(messages.with_extension(message, extension))


class Post:
    """Sends for one worker.

    :param server: the server name of this worker, under which answers reach it.
    :param max_hop_count: the limit for messages from here.
    :param extensions: whether envelopes carry what only cells of ours know.
    """

    def __init__(
        self,
        *,
        state: CellStateManager,
        driver: base.CellsDriver,
        stats: Stats,
        server: str,
        max_hop_count: int,
        max_message_bytes: int,
        extensions: bool,
    ) -> None:
        self._state = state
        self._driver = driver
        self._stats = stats
        self._server = server
        self._max_hop_count = max_hop_count
        self._extensions = extensions
        self._room = max(max_message_bytes - ENVELOPE_BYTES, max_message_bytes // 2)
        self._later = _Later()
        self._lock = threading.Lock()
        self._receipts: collections.defaultdict[tuple[str, Direction], list[str]] = (
            collections.defaultdict(list)
        )

    def outward(self, message: Message, budget_ms: int | None = None) -> str:
        """Return the envelope of a message for the next cell.

        :param budget_ms: within how many milliseconds an answer is wanted.
        """
        server = None if budget_ms is None else self._server
        return outward(message, self._state.cell_id, budget_ms, server, extensions=self._extensions)

    def question(
        self, message: Message, hop: str, budget: float, on_failure: Callable[[Failure], object]
    ) -> None:
        """Send a question to a neighbour.

        :param budget: seconds within which the answer is wanted.
        :param on_failure: told when it did not get out.
        """

        def on_sent(error: Exception | None) -> None:
            if error is not None:
                on_failure(_unreachable(hop, error))

        self._send(
            hop,
            base.Outgoing(
                kind=wire.kind_of(message),
                text=self.outward(message, int(budget * 1000)),
                ctxt=context.rpc_context(message.ctxt),
                fanout=message.fanout,
                on_sent=on_sent,
            ),
        )

    def notice(self, message: TargetedMessage, on_failure: Callable[[], None]) -> None:
        """Send a notice to the neighbour that it is for; one that is lost is sent again."""
        hop = message.target_cell.last

        def on_sent(error: Exception | None) -> None:
            if error is not None:
                self._stats.count('notices_not_sent', neighbour=hop)
                on_failure()

        self._send(
            hop,
            base.Outgoing(
                kind=Kind.TARGETED,
                text=self.outward(message),
                ctxt=context.rpc_context(message.ctxt),
                fanout=message.fanout,
                on_sent=on_sent,
            ),
        )

    def report(
        self, message: BroadcastMessage, hop: str, on_sent: Callable[[Exception | None], None]
    ) -> None:
        """Send a change to a neighbour, past the outbox.

        :param on_sent: told when the broker of the neighbour has it, or why not.
        """
        self._send(
            hop,
            base.Outgoing(
                kind=Kind.BROADCAST,
                text=self.outward(message),
                ctxt=context.rpc_context(message.ctxt),
                on_sent=on_sent,
            ),
        )

    def reply(self, message: Message, responses: Sequence[Response], told: bool = False) -> None:
        """Send the answer to a question back, on the way that it came.

        :param told: whether the log has already what is wrong in the answer.
        """
        target = routing.way_back(message)
        kept = context.answer_context if message.extension else context.plain_answer_context
        answer = ResponseMessage(
            ctxt=kept(message.ctxt),
            method_name='parse_responses',
            method_kwargs=_encoded(self._presentable(message, responses, told), self._room),
            direction=message.direction.opposite,
            routing_path=paths.CellPath((self._state.topology.own_name,)),
            uuid=messages.new_uuid(),
            max_hop_count=self._max_hop_count,
            target_cell=target,
            response_uuid=message.uuid,
        )
        if isinstance(message, BroadcastMessage):
            worker = message.extension.reply_server if message.extension else None
        else:
            worker = self._last_hop_worker(answer)
        self._answer(answer, target.names[1], worker)

    def forward_answer(self, answer: ResponseMessage, hop: str) -> None:
        """Send an answer that only passes through to the next cell on its way."""
        self._answer(answer, hop, self._last_hop_worker(answer))

    def receipt(self, message: Message) -> None:
        """Note that a change is in the journal; :meth:`send_receipts` tells who sent it."""
        if message.extension is None or message.neighbour is None:
            return  # a plain cell does not understand it
        with self._lock:
            self._receipts[message.neighbour, message.direction.opposite].append(message.uuid)

    def send_receipts(self) -> None:
        """Confirm what has been noted since the last time."""
        with self._lock:
            noted = dict(self._receipts)
            self._receipts.clear()
        for (hop, direction), uuids in noted.items():
            for start in range(0, len(uuids), RECEIPT_SIZE):
                self._send_receipt(hop, direction, uuids[start : start + RECEIPT_SIZE])

    def _send_receipt(self, hop: str, direction: Direction, uuids: list[str]) -> None:
        own_name = self._state.topology.own_name
        receipt = TargetedMessage(
            ctxt=context.rpc_context({}),
            method_name=operations.RECEIPT,
            method_kwargs={'uuids': uuids},
            direction=direction,
            routing_path=paths.CellPath((own_name,)),
            uuid=messages.new_uuid(),
            target_cell=paths.CellPath((own_name, hop)),
        )

        def on_sent(error: Exception | None) -> None:
            if error is not None:
                self._stats.count('receipts_not_sent', neighbour=hop)

        self._send(
            hop,
            base.Outgoing(
                kind=Kind.RESPONSE,
                text=self.outward(receipt),
                ctxt=dict(receipt.ctxt),
                on_sent=on_sent,
            ),
        )

    def _answer(
        self, answer: ResponseMessage, hop: str, server: str | None, again: bool = True
    ) -> None:
        # The last hop goes to the worker that waits; when it is not known, to all.
        fanout = server is None and len(answer.target_cell) - len(answer.routing_path) == 1

        def on_sent(error: Exception | None) -> None:
            if error is None:
                return
            if again and self._later.put(lambda: self._answer(answer, hop, server, False)):
                return
            self._stats.count('answers_lost', neighbour=hop)
            with logs.scope(answer.ctxt.get('request_id'), answer.routing_path):
                LOG.info(
                    'The answer to %s is lost: %s', wire.bare_uuid(answer.response_uuid), error
                )

        self._send(
            hop,
            base.Outgoing(
                kind=Kind.RESPONSE,
                text=self.outward(messages.with_fanout(answer, fanout)),
                ctxt=context.rpc_context(answer.ctxt),
                fanout=fanout,
                server=server,
                on_sent=on_sent,
            ),
        )

    def _last_hop_worker(self, answer: ResponseMessage) -> str | None:
        if len(answer.target_cell) - len(answer.routing_path) != 1:
            return None
        if not self._state.sightings.is_ours(answer.target_cell.last):
            return None
        return wire.marks(answer.response_uuid).get('w')

    def _presentable(
        self, message: Message, responses: Sequence[Response], told: bool
    ) -> Sequence[Response]:
        """Leave out, for a plain parent, what would make it fail a whole listing (T3).

        What every cell refuses alike is for who asked to mend, and a child that asks has no
        listing: without the failure it would take what is missing for what is not there (T9).
        """
        if not isinstance(message, BroadcastMessage) or message.extension is not None:
            return responses
        failures = [one.failure for one in responses if one.failure is not None]
        if message.direction is Direction.UP or (
            len(failures) == len(responses) and all(map(remote_errors.is_callers_fault, failures))
        ):
            return responses
        for response in responses:
            if response.failure is not None:
                self._stats.count('answers_left_out')
                LOG.log(
                    logging.INFO if told else logging.WARNING,
                    '%s %s: %s is left out for a parent that cannot bear it: %s',
                    message.method_name,
                    message.uuid,
                    response.cell_name,
                    response.failure.message,
                )
        return [response for response in responses if response.failure is None]

    def _send(self, hop: str, outgoing: base.Outgoing) -> None:
        neighbour = self._state.topology.get(hop)
        try:
            if neighbour is None:
                raise exceptions.NotSent(cell_name=hop, reason='it is not a neighbour any more')
            self._driver.send(neighbour, outgoing)
        except exceptions.NotSent as error:
            assert outgoing.on_sent is not None
            outgoing.on_sent(error)
        else:
            self._stats.count('messages_sent', neighbour=hop)


class _Later:
    """Does things once more a little later, in one thread, which there is while it is needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: collections.deque[tuple[float, Callable[[], None]]] = collections.deque()
        self._running = False

    def put(self, action: Callable[[], None]) -> bool:
        """Take an action; False when too many wait already."""
        with self._lock:
            if len(self._waiting) >= MOST_AGAIN:
                return False
            self._waiting.append((time.monotonic() + ANSWER_AGAIN, action))
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name='once-more', daemon=True).start()
        return True

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._running = False
                    return
                due, action = self._waiting.popleft()
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                action()
            except Exception:  # noqa: BLE001 - one answer must not end the thread of all
                LOG.exception('An answer could not be sent once more')


def _encoded(responses: Sequence[Response], room: int) -> dict[str, Any]:
    """Return answers for the wire; one that does not fit must not cost the others (T3)."""
    try:
        encoded = wire.encode_responses(responses)
        sizes = [_size(text) for text in encoded['responses']]
    except (TypeError, ValueError, RecursionError):
        encoded = wire.encode_responses([_sendable(response) for response in responses])
        sizes = [_size(text) for text in encoded['responses']]
    texts: list[str] = encoded['responses']
    for largest in sorted(range(len(sizes)), key=sizes.__getitem__, reverse=True):
        if sum(sizes) <= room:
            break
        failed = _too_large(responses[largest].cell_name, sizes[largest], room)
        texts[largest] = wire.encode_responses([failed])['responses'][0]
        sizes[largest] = len(texts[largest]) * 2
    return encoded


def _size(text: str) -> int:
    # Within the envelope, which is JSON again, quotes are escaped.
    return len(text.encode()) + text.count('"') + text.count('\\')


def _too_large(cell_name: str, size: int, room: int) -> Response:
    LOG.error('The answer of %s has %d bytes and is not sent', cell_name, size)
    error = exceptions.CellsError(
        'The answer of cell %s has %d bytes, and a message no more than %d'
        % (cell_name, size, room)
    )
    return Response(cell_name, failure=remote_errors.failure_of(error))


def _sendable(response: Response) -> Response:
    try:
        _size(wire.encode_responses([response])['responses'][0])
    except (TypeError, ValueError, RecursionError) as error:
        LOG.exception('The answer of %s cannot be sent', response.cell_name)
        return Response(response.cell_name, failure=remote_errors.failure_of(error))
    return response


def _unreachable(hop: str, error: Exception) -> Failure:
    reason = error.kwargs.get('reason') if isinstance(error, exceptions.CellsError) else error
    return remote_errors.failure_of(
        exceptions.CellTimeout('Cell %s cannot be reached: %s' % (hop, reason), cell_name=hop)
    )
