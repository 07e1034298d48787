"""How a handler is called: with which context and arguments, in which transaction, how often.

Four forms, by the row of the operation:

- a read: ``handler(ctxt, **kwargs)``; it may run twice;
- a change: ``handler(connection, message, **kwargs)``, in the transaction that notes
  that it is done;
- a notice: ``handler(ctxt, message, **kwargs)``; it comes again;
- a change that acts outside of the database: ``handler(ctxt, message, **kwargs)``, before
  that transaction; what it reaches knows repetitions by the uuid of the message.

A change may return :class:`Later` for the part of its answer that takes time.

Nothing else can be called by a message: the names are checked against the table at start.
"""

import dataclasses
import inspect
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import sqlalchemy as sa
from oslo_versionedobjects import exception as versioned

from cells import context, exceptions, operations, remote_errors, subjects, wire
from cells.db import engine
from cells.db import journal as db_journal
from cells.messages import Message, Response
from cells.objects import base as objects_base
from cells.operations import OPERATIONS, Direction
from cells.stats import Stats

LOG = logging.getLogger(__name__)

#: Seconds between two looks for the answer that another copy of an order is to get.
COPY_PAUSE: Final = 0.05
#: Seconds that a copy waits for it.
COPY_SECONDS: Final = 10.0
#: Stands for the answer that another copy of an order gets.
_KEPT: Final = object()
#: How often a transaction is done again that was in the way of another.
MOST_DEADLOCKS: Final = 5

Handler = Callable[..., Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Later:
    """What a change does once it is committed, if an answer to it is waited for.

    :ivar answer: called outside of any transaction; returns the answer, or raises what it is.
    """

    answer: Callable[[], Any]


def check_handlers(handlers: Mapping[str, Any]) -> None:
    """Refuse a set of handlers that does not fit the table of operations.

    :raises LookupError: an operation has no handler, or a handler no operation.
    """
    wanted = set(OPERATIONS) - operations.CONSUMED
    if wanted != set(handlers):
        raise LookupError(
            'operations and handlers differ in %s' % ', '.join(sorted(wanted ^ set(handlers)))
        )


def context_of(message: Message) -> context.RequestContext:
    """Return the context of a message as far as its sender may be believed.

    A child acts for itself: what it says of administrators' rights is ignored (X2).
    """
    values = dict(message.ctxt)
    if message.direction is Direction.UP and message.neighbour is not None:
        values.update(is_admin=False, roles=[])
    return context.RequestContext.from_wire(values)


class Dispatcher:
    """Calls the handlers of one worker.

    :param handlers: by name of the operation.
    :param own_name: of this cell, for errors.
    :param object_release: at whose versions objects leave this cell.
    :param on_change: called after the commit of an order.
    """

    def __init__(
        self,
        *,
        handlers: Mapping[str, Handler],
        database: engine.Database,
        own_name: str,
        object_release: str,
        stats: Stats,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        check_handlers(handlers)
        self._handlers = handlers
        self._database = database
        self._own_name = own_name
        self._object_release = object_release
        self._stats = stats
        self._on_change = on_change
        self._signatures = {name: inspect.signature(one) for name, one in handlers.items()}
        self._database_away = False

    def answer(self, message: Message) -> Response:
        """Carry a question, or an order that wants an answer, out and return what came of it."""
        own = str(message.routing_path)
        try:
            return Response(own, self._primitive(self._value(message)))
        except exceptions.WireError as error:
            return Response(own, failure=remote_errors.failure_of(error))
        except Exception as error:  # noqa: BLE001 - where a handler's result becomes an answer
            LOG.exception(
                '%s %s failed in %s (request %s)',
                message.method_name,
                message.uuid,
                own,
                message.ctxt.get('request_id'),
            )
            self._stats.count('handlers_failed', operation=message.method_name)
            return Response(own, failure=remote_errors.failure_of(error))

    def change(self, connection: sa.Connection, message: Message) -> Any:
        """Carry a change out in a transaction; one that acts elsewhere has done so already.

        :raises Invalid: the arguments do not fit.
        """
        row = OPERATIONS[message.method_name]
        if row.external:
            return None
        return self._handlers[row.name](
            connection, message, **self._arguments(message, connection, message)
        )

    def notice(self, message: Message) -> None:
        """Take a notice; what goes wrong with it is logged, as nobody waits."""
        try:
            self.reach_out(message)
        except exceptions.WireError as error:
            LOG.warning(
                'Refused %s, which came by %s: %s', message.method_name, message.routing_path, error
            )
            self._stats.count('messages_refused', reason=type(error).__name__)
        except Exception:  # noqa: BLE001 - nobody looks at what a pool's task raised
            LOG.exception('%s of %s failed', message.method_name, message.routing_path)
            self._stats.count('handlers_failed', operation=message.method_name)

    def reach_out(self, message: Message) -> Any:
        """Carry out what acts outside of the database, or is only noted."""
        ctxt = context_of(message)
        kwargs = self._arguments(message, ctxt, message)
        return self._handlers[message.method_name](ctxt, message, **kwargs)

    def _value(self, message: Message) -> Any:
        row = OPERATIONS[message.method_name]
        try:
            if not row.changes:
                ctxt = context_of(message)
                value = self._handlers[row.name](ctxt, **self._arguments(message, ctxt))
            elif row.external:
                value = self._reach_out_once(message)
            else:
                value = self._ordered(message)
        except engine.ERRORS as error:
            if not engine.is_transient(error):
                raise
            if not self._database_away:
                LOG.warning('The database does not answer questions: %s', engine.brief(error))
            self._database_away = True
            raise exceptions.DatabaseUnavailable(cell_name=self._own_name) from None
        if self._database_away:
            LOG.info('The database answers questions again')
        self._database_away = False
        return value

    def _primitive(self, value: Any) -> Any:
        return objects_base.to_primitive(value, self._object_release)

    def _arguments(self, message: Message, *positional: Any) -> dict[str, Any]:
        name = message.method_name
        try:
            kwargs = dict(message.method_kwargs)
            if not OPERATIONS[name].raw:
                kwargs = objects_base.transform(kwargs, objects_base.from_primitive)
            self._signatures[name].bind(*positional, **kwargs)
        except (TypeError, versioned.VersionedObjectsException) as error:
            raise exceptions.Invalid(reason='%s: %s' % (name, error)) from None
        return kwargs

    # -- orders that want an answer: carried out once, a copy gets the same answer (R3) --

    def _change_once(self, message: Message) -> Any:
        with self._database.write() as connection:
            request_id = subjects.request_of(message)
            if not db_journal.order_begin(
                connection, message.uuid, message.method_name, request_id
            ):
                return _KEPT
            value = self.change(connection, message)
            if not isinstance(value, Later):
                value = self._primitive(value)
                db_journal.order_end(connection, message.uuid, wire.dumps(value))
            return value

    def _repeated(self, message: Message) -> Any:
        with self._database.write() as connection:
            return self._primitive(self.change(connection, message))

    def _ordered(self, message: Message) -> Any:
        if OPERATIONS[message.method_name].repeatable:
            value = _undisturbed(lambda: self._repeated(message))
            self._on_change()
            return value
        value = _undisturbed(lambda: self._change_once(message))
        if value is _KEPT:
            return self._kept(message)
        self._on_change()
        if not isinstance(value, Later):
            return value
        try:
            value = self._primitive(value.answer())
        except BaseException:
            # What was committed is so; only who asks again must not be told that it goes on.
            self._forget(message.uuid)
            raise
        with self._database.write() as connection:
            db_journal.order_end(connection, message.uuid, wire.dumps(value))
        return value

    def _reach_out_once(self, message: Message) -> Any:
        with self._database.write() as connection:
            fresh = db_journal.order_begin(
                connection, message.uuid, message.method_name, subjects.request_of(message)
            )
        if not fresh:
            return self._kept(message)
        try:
            value = self._primitive(self.reach_out(message))
        except BaseException:
            self._forget(message.uuid)
            raise
        with self._database.write() as connection:
            db_journal.order_end(connection, message.uuid, wire.dumps(value))
        return value

    def _forget(self, uuid: str) -> None:
        """Let an order that failed be tried again."""
        try:
            with self._database.write() as connection:
                db_journal.order_forget(connection, uuid)
        except engine.ERRORS as error:
            LOG.warning('Order %s stays as begun: %s', uuid, engine.brief(error))

    def _kept(self, message: Message) -> Any:
        self._stats.count('orders_twice')
        until = time.monotonic() + COPY_SECONDS
        while time.monotonic() < until:
            with self._database.read() as connection:
                found = db_journal.order_result(connection, message.uuid)
            if found is not None:
                return wire.loads(found, 'a kept answer')
            time.sleep(COPY_PAUSE)
        raise exceptions.CellTimeout(
            '%s %s was begun in %s and has not come to an end'
            % (message.method_name, wire.bare_uuid(message.uuid), message.routing_path),
            cell_name=str(message.routing_path),
        )


def _undisturbed(work: Callable[[], Any]) -> Any:
    """Do a transaction, and again when it was only in the way of another."""
    for _ in range(MOST_DEADLOCKS):
        try:
            return work()
        except engine.ERRORS as error:
            if not engine.is_deadlock(error):
                raise
    return work()
