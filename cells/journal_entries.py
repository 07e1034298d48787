"""What lies in the journal, as operators see it, and what they can do with it.

Nothing of the arguments of a change is shown but their names: there may be a password among
them (X4). What an operator drops is reported as failed to whom it concerns, like everything
else that is not carried out (T5); what would then be done twice cannot be tried again.
"""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells import exceptions, json_text, orders, paths, subjects, wire
from cells.db import inbox, journal_rows
from cells.db import journal as db_journal
from cells.db import placements as db_placements
from cells.db.journal_rows import DEAD, INBOX, OUTBOX, Row
from cells.db.placements import Reasons
from cells.failure_reports import FailureReports
from cells.messages import BroadcastMessage, Message, TargetedMessage
from cells.operations import OPERATIONS, Direction

DROPPED: Final = str(exceptions.OrderDropped())


class Refused(exceptions.CellsError):
    """Raised when something cannot be done with an entry; the text says why, and what can."""

    msg_fmt = '%(name)s: %(reason)s'


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A row of the journal, with what its envelope says.

    :ivar message: None when the envelope is wiped, or cannot be read.
    :ivar method: which one, of an operation that stands for several.
    """

    row: Row
    message: Message | None
    operation: str | None
    method: str | None
    neighbour: str | None
    instances: tuple[str, ...]
    request_id: str | None

    @property
    def name(self) -> str:
        """By which people name it."""
        return self.row.name

    @property
    def what(self) -> str:
        """The operation, for people."""
        if self.method is not None:
            return '%s (%s)' % (self.operation, self.method)
        return self.operation or '(wiped)'

    def details(self) -> dict[str, Any]:
        """Return what is known of it, by name; no value of an argument is among it."""
        row, message = self.row, self.message
        found: dict[str, Any] = {
            'id': self.name,
            'state': row.state,
            'operation': self.what,
            'neighbour': self.neighbour,
            'age': row.age,
            'attempts': row.attempts,
            'worker': row.worker,
            'reason': row.reason,
            'instances': ', '.join(self.instances) or None,
            'request_id': self.request_id,
            'message': wire.bare_uuid(row.uuid) or None,
            'characters': len(row.envelope),
        }
        if message is not None:
            ctxt = message.ctxt
            found.update(
                came_by=str(message.routing_path),
                target=str(message.target_cell) if isinstance(message, TargetedMessage) else None,
                user_id=_short(ctxt.get('user_id')),
                project_id=_short(ctxt.get('project_id')),
                ordered_at=_short(ctxt.get('timestamp')),
                arguments=', '.join(sorted(message.method_kwargs)) or None,
            )
        elif row.came_by is not None:
            found['came_by'] = row.came_by
        return found


def entry_of(row: Row, own_name: str) -> Entry:
    """Return what a row is.

    :param own_name: of this cell.
    """
    message = _message(row, own_name)
    operation, neighbour = row.operation, row.neighbour
    instances: tuple[str, ...] = () if row.instance_uuid is None else (row.instance_uuid,)
    request_id, method = row.request_id, None
    if message is not None:
        operation = message.method_name
        instances = tuple(subjects.instances_of(message)) or instances
        request_id = subjects.request_of(message) or request_id
        info = message.method_kwargs.get('method_info')
        method = _short(info.get('method')) if isinstance(info, Mapping) else None
        if row.box != OUTBOX:
            neighbour = message.neighbour
    return Entry(row, message, operation, method, neighbour, instances, request_id)


def _message(row: Row, own_name: str) -> Message | None:
    """Return the message as it is in this cell."""
    if not row.envelope:
        return None
    try:
        message = wire.decode(row.envelope)
    except exceptions.InvalidMessage:
        return _of_client(row, own_name) if row.box == DEAD else None
    if row.box == OUTBOX or message.routing_path.names[-1] == own_name:
        return message
    try:
        return message.hopped(own_name)
    except ValueError:
        return None


def _of_client(row: Row, own_name: str) -> Message | None:
    """Return what a client's cast, which is no message between cells, orders in this cell."""
    try:
        found = json_text.loads(row.envelope, 'it')
    except exceptions.InvalidMessage:
        return None
    args = found.get('args') if isinstance(found, dict) else None
    if not isinstance(args, dict) or row.operation not in OPERATIONS:
        return None
    own = paths.CellPath((own_name,))
    return TargetedMessage(
        ctxt={},
        method_name=row.operation,
        method_kwargs=args,
        direction=Direction.DOWN,
        routing_path=own,
        uuid=row.uuid or 'dead-%d' % row.id,
        target_cell=own,
    )


def _short(value: Any) -> str | None:
    return value[:255] if isinstance(value, str) and value.isprintable() else None


# -- what is lost --


def loss(entry: Entry) -> str:
    """Return what is lost when an entry is dropped, for people."""
    about = ', '.join(entry.instances)
    of_whom = ' of request %s' % entry.request_id if entry.request_id else ''
    if entry.row.box == INBOX and entry.row.state == inbox.FAILED:
        return '%s%s has failed, and who ordered it was told: nothing' % (entry.what, of_whom)
    if entry.row.box == OUTBOX and entry.row.state == db_journal.UNCONFIRMED:
        return 'what cell %s was sent: only that it was' % entry.neighbour
    if entry.message is None:
        return '%s%s, which cannot be read: nobody is told' % (entry.what, of_whom)
    if _is_sent_build(entry):
        return 'the build of %s in cell %s; the next cell is tried' % (about, entry.neighbour)
    if _order(entry) is not None and about:
        return '%s of instance %s%s; it is reported as failed' % (entry.what, about, of_whom)
    way = ' for cell %s' % entry.neighbour if entry.row.box == OUTBOX else ''
    return '%s%s%s is not carried out, and nobody is told' % (entry.what, of_whom, way)


def _order(entry: Entry) -> orders.Order | None:
    message = entry.message
    if message is None or message.direction is Direction.UP:
        return None
    return orders.order_of(message)


# -- what is done --


def check_drop(entry: Entry) -> None:
    """Refuse to drop what cannot be dropped.

    :raises Refused: it is done, or a worker has it, or somebody else may have it by now.
    """
    row = entry.row
    _check_free(entry)
    if row.box == INBOX and row.state not in journal_rows.OPEN[INBOX]:
        raise Refused(name=row.name, reason='it is done, there is nothing to drop')
    if _is_sent_build(entry) and row.state == db_journal.SENT:
        raise Refused(
            name=row.name,
            reason='the message bus of cell %s has the build, and two cells would build it; it is '
            'taken from there by itself when that cell stays silent' % entry.neighbour,
        )


def _is_sent_build(entry: Entry) -> bool:
    is_build = entry.operation == 'build_instances'
    return entry.row.box == OUTBOX and is_build and entry.message is not None


def drop(connection: sa.Connection, entry: Entry, reports: FailureReports) -> None:
    """Have something not carried out, or not sent, any more, and tell whom it concerns.

    :param entry: whose row the caller has locked.
    :raises Refused: it cannot be dropped.
    """
    row = entry.row
    check_drop(entry)
    if _is_sent_build(entry):
        _take_back(connection, entry)
    elif row.state not in (inbox.FAILED, db_journal.UNCONFIRMED) and entry.message is not None:
        reports.report(connection, entry.message, exceptions.OrderDropped())
    if row.box == INBOX:
        journal_rows.end(connection, row, DROPPED)
    else:
        journal_rows.forget(connection, row)


def _take_back(connection: sa.Connection, entry: Entry) -> None:
    """Have another cell tried for a build that its cell has not got."""
    db_placements.lock(connection)
    placed = db_placements.attempts_together(connection, entry.row.uuid)
    assert entry.message is not None
    assert entry.neighbour is not None
    reasons = Reasons({str(entry.message.routing_path.hopped(entry.neighbour)): DROPPED})
    db_placements.attempts_set(
        connection, [one['id'] for one in placed], db_placements.REFUSED, reasons=reasons
    )


def retry(
    connection: sa.Connection, entry: Entry, action_timeout: float, plain: bool = False
) -> None:
    """Have something carried out, or sent, now.

    :param entry: whose row the caller has locked.
    :param action_timeout: seconds after which an order is not carried out any more.
    :param plain: whether the neighbour is a nova-cells, which does not know a copy.
    :raises Refused: it cannot be, or would be done twice.
    """
    row = entry.row
    _check_free(entry)
    if row.state in journal_rows.OVER.get(row.box, ()):
        raise Refused(name=row.name, reason='it is done, there is nothing to try again')
    if row.box == OUTBOX and row.state == db_journal.SENT and plain:
        raise Refused(
            name=row.name,
            reason='cell %s is a plain nova-cells, which would carry it out twice'
            % entry.neighbour,
        )
    if entry.message is None:
        raise Refused(name=row.name, reason=_gone(entry))
    order = _order(entry)
    if row.box == DEAD:
        _take_in(connection, entry)
        return
    too_old = row.box == INBOX and order is not None and order.ages and row.age > action_timeout
    if too_old:
        raise Refused(
            name=row.name,
            reason='it is %d seconds old, and after %d an order is not carried out any more '
            '([cells] action_timeout); have it ordered anew' % (row.age, action_timeout),
        )
    journal_rows.try_again(connection, row)


def _gone(entry: Entry) -> str:
    if not entry.row.envelope:
        return (
            'what %s was ordered with is not kept, as there may be a password in it; have it '
            'ordered anew' % entry.what
        )
    return 'it cannot be read; drop it'


def _take_in(connection: sa.Connection, entry: Entry) -> None:
    message, row = entry.message, entry.row
    operation = OPERATIONS.get(entry.operation or '')
    if not isinstance(message, TargetedMessage | BroadcastMessage) or message.need_response:
        raise Refused(name=row.name, reason='nobody waits for its answer any more; drop it')
    if operation is None or not operation.changes:
        raise Refused(name=row.name, reason='it is no change of anything; drop it')
    if message.neighbour is None:
        raise Refused(name=row.name, reason="it was a client's, who has to order it anew; drop it")
    subject = subjects.subject_of(message, time.time())
    journal_rows.take_in(
        connection, row._replace(uuid=message.uuid, operation=message.method_name), *subject
    )


def _check_free(entry: Entry) -> None:
    if entry.row.worker is not None:
        raise Refused(
            name=entry.name,
            reason='worker %s has it just now; look again in some seconds' % entry.row.worker,
        )
