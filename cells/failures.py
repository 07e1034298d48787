"""An order for an instance that came to nothing, and what of it is kept for its user (T5).

Nobody waits for the answer to such an order. So its end is written where its user looks: a
fault with the reason, and a step of the action that failed. Both have uuids derived from
that of the order, so that they are there once, however often the news comes.
"""

import dataclasses
import datetime
import uuid as uuids
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells import arguments, exceptions, messages, orders, paths, subjects, wire
from cells.db import faults, instance_actions, models
from cells.db import instances as db_instances

#: Names derived from what they are about, so that a repetition has the same.
NAMESPACE: Final = uuids.UUID('9d0a4f0e-8a75-4c1b-9c53-0d1f4a2f7c55')

#: The step of an action that nobody does any more.
ABANDONED: Final = 'cells_abandon'

LONGEST_TEXT: Final = 2000
LONGEST_NAME: Final = 255
LEAST_CODE: Final = 100
HIGHEST_CODE: Final = 599


def name_of(*parts: object) -> str:
    """Return a uuid that is always the same for the same parts."""
    return str(uuids.uuid5(NAMESPACE, '|'.join(map(str, parts))))


@dataclasses.dataclass(frozen=True, slots=True)
class Failed:
    """An order that came to nothing.

    :ivar uuid: of the order.
    :ivar operation: its name; of one of several methods, ``method`` is that one.
    :ivar reason: for its user.
    :ivar code: what the error is in HTTP.
    :ivar cell: the path, from the source of the order, to where it ended.
    :ivar target: the path to the cell that it was for.
    :ivar moment: when it was ordered.
    :ivar not_found: the cell that it was for has no record of the instance.
    """

    uuid: str
    instance_uuid: str
    operation: str
    reason: str
    code: int
    cell: str
    target: str
    method: str | None = None
    request_id: str | None = None
    user_id: str | None = None
    project_id: str | None = None
    moment: str | None = None
    not_found: bool = False

    @property
    def order(self) -> orders.Order:
        """What it is called in the history of the instance."""
        kwargs = {'method_info': {'method': self.method}}
        found = orders.by_name(self.operation, kwargs)
        return found or orders.Order(self.operation, self.operation)

    @property
    def text(self) -> str:
        """The reason and where it was so, for people."""
        return '%s (in cell %s)' % (self.reason.rstrip('.'), self.cell)


def of_message(
    message: messages.Message, instance_uuid: str, error: Exception, not_found: bool = False
) -> Failed:
    """Return the failure of an order that came as a message.

    :param error: why; of what is no error of ours only the class is told (X6).
    """
    info = message.method_kwargs.get('method_info')
    method = info.get('method') if isinstance(info, Mapping) else None
    ctxt = message.ctxt
    if isinstance(error, exceptions.CellsError):
        reason, code = str(error), error.code
    else:
        reason, code = 'Unexpected error %s' % type(error).__name__, 500
    return Failed(
        uuid=wire.bare_uuid(message.uuid),
        instance_uuid=instance_uuid,
        operation=message.method_name,
        reason=reason[:LONGEST_TEXT],
        code=code,
        cell=str(message.routing_path),
        target=str(
            message.target_cell
            if isinstance(message, messages.TargetedMessage)
            else message.routing_path
        ),
        method=_short(method),
        request_id=_short(ctxt.get('request_id')),
        user_id=_short(ctxt.get('user_id')),
        project_id=_short(ctxt.get('project_id')),
        moment=_short(ctxt.get('timestamp')),
        not_found=not_found,
    )


def _short(value: Any) -> str | None:
    return value[:LONGEST_NAME] if isinstance(value, str) else None


def to_kwargs(failed: Failed) -> dict[str, Any]:
    """Return the arguments of ``x_action_failed``."""
    return dataclasses.asdict(failed)


def from_kwargs(given: Mapping[str, Any]) -> Failed:
    """Return what ``x_action_failed`` says; what this version does not know is left out.

    :raises Invalid: something is missing, or cannot be used.
    """
    values: dict[str, Any] = {}
    for name, longest in (
        ('uuid', wire.MAX_UUID_LENGTH),
        ('instance_uuid', subjects.LONGEST_UUID),
        ('operation', wire.MAX_NAME_LENGTH),
        ('reason', LONGEST_TEXT),
        ('cell', paths.MAX_PATH_LENGTH),
        ('target', paths.MAX_PATH_LENGTH),
    ):
        values[name] = arguments.text(name, given.get(name), longest=longest)
    try:
        paths.CellPath.parse(values['target'])
    except ValueError as error:
        raise exceptions.Invalid(reason='target: %s' % error) from None
    values['code'] = arguments.number('code', given.get('code'), LEAST_CODE, HIGHEST_CODE)
    for name in ('method', 'request_id', 'user_id', 'project_id', 'moment'):
        if given.get(name) is not None:
            values[name] = arguments.text(name, given[name], longest=LONGEST_NAME, empty=True)
    values['not_found'] = given.get('not_found') is True
    return Failed(**values)


def note(connection: sa.Connection, failed: Failed) -> None:
    """Keep a failure with the instance, which the caller has locked: fault, action and step."""
    faults.fault_create(
        connection,
        failed.instance_uuid,
        failed.text,
        code=failed.code,
        uuid=name_of('fault', failed.uuid, failed.instance_uuid),
    )
    event_uuid = name_of('event', failed.uuid, failed.instance_uuid)
    if instance_actions.event_known(connection, event_uuid):
        return
    action_id = _action(connection, failed)
    now = models.utcnow()
    instance_actions.event_create(
        connection,
        {
            'action_id': action_id,
            'uuid': event_uuid,
            'event': failed.order.event,
            'start_time': now,
            'finish_time': now,
            'result': instance_actions.ERROR,
            'traceback': failed.text,
        },
    )


def _action(connection: sa.Connection, failed: Failed) -> int:
    """Return the id of the action that failed, ended."""
    open_one = None
    if failed.request_id is not None:
        open_one = instance_actions.action_by_request(
            connection, failed.instance_uuid, failed.request_id
        )
    if (
        open_one is not None
        and open_one['finish_time'] is None
        and open_one['action'] == failed.order.action
    ):
        instance_actions.action_end(connection, open_one['uuid'], instance_actions.ERROR)
        return int(open_one['id'])
    return instance_actions.action_create(
        connection,
        {
            'uuid': name_of('action', failed.uuid, failed.instance_uuid),
            'instance_uuid': failed.instance_uuid,
            'action': failed.order.action,
            'request_id': failed.request_id,
            'user_id': failed.user_id,
            'project_id': failed.project_id,
            'start_time': _start(failed),
            'finish_time': models.utcnow(),
            'message': instance_actions.ERROR,
        },
    )


def _start(failed: Failed) -> datetime.datetime:
    now = models.utcnow()
    return datetime.datetime.fromisoformat(subjects.moment(failed.moment, now.timestamp()))


def end_task(connection: sa.Connection, failed: Failed) -> bool:
    """Take the task state off a record, which the caller has locked, if it is of this order.

    What was to be built, and is on no host, is in error then.

    :returns: whether it was.
    :raises InstanceNotFound: there is none.
    """
    instance = db_instances.instance_get(connection, failed.instance_uuid, lock=True)
    if instance.task_state not in failed.order.task_states:
        return False
    values: dict[str, Any] = {'task_state': None}
    if failed.operation == 'build_instances' and not instance.host:
        values['vm_state'] = 'error'
    db_instances.instance_update(
        connection,
        failed.instance_uuid,
        values,
        expected={'task_state': instance.task_state},
    )
    return True


def abandon(connection: sa.Connection, instance_uuid: str, text: str, key: str) -> None:
    """Note that what was being done with an instance, which the caller has locked, has no end.

    All its actions that are under way end with it.

    :param key: the same for a repetition.
    """
    faults.fault_create(
        connection, instance_uuid, text, uuid=name_of('abandoned', instance_uuid, key)
    )
    now = models.utcnow()
    for action in instance_actions.actions_open(connection, instance_uuid):
        instance_actions.event_create(
            connection,
            {
                'action_id': action['id'],
                'event': ABANDONED,
                'start_time': now,
                'finish_time': now,
                'result': instance_actions.ERROR,
                'traceback': text,
            },
        )
        instance_actions.action_end(connection, action['uuid'], instance_actions.ERROR)
