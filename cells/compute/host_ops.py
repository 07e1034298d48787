"""What an agent is to do with an instance: ordered in the transaction that wants it.

:func:`order` writes a row; :class:`cells.compute.host_sender.HostOperations` brings it to
the agent, as soon as everything that was ordered for the instance before has ended; the
outcome goes through :class:`cells.compute.host_outcomes.HostOutcomes` to the module that
knows what it means, in the transaction that ends the row. So an operation is carried
out once or reported as failed, whatever dies on the way.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells import context, exceptions, messages
from cells.db import host_operations, instance_actions, models
from cells.objects.instance import Instance

#: Seconds until an operation is given up that no agent takes, or whose host is down.
DEADLINE_SECONDS: Final = 600.0

#: How long it is tried to remove a stray machine; its agent asks about it by itself as well.
STRAY_SECONDS: Final = 7 * 86400.0

#: Fields of an instance that an agent is told.
TOLD: Final = (
    'uuid',
    'display_name',
    'hostname',
    'memory_mb',
    'vcpus',
    'root_gb',
    'ephemeral_gb',
    'image_ref',
    'power_state',
    'vm_state',
    'task_state',
    'key_name',
    'node',
    'project_id',
    'user_id',
)


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an operation.

    :ivar power_state: of the machine now; None when nobody knows.
    :ivar values: what the operation gives (``cells.host.methods``).
    :ivar error_type: the class of the error, and ``error_message`` its text; None if ``ok``.
    """

    ok: bool
    power_state: int | None = None
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    error_type: str | None = None
    error_message: str | None = None

    @property
    def refused(self) -> bool:
        """Whether no agent has begun it, as far as the cell can know."""
        return self.error_type in _NOT_BEGUN


#: Errors with which an operation ends that was never begun.
_NOT_BEGUN: Final = frozenset(
    cls.__name__
    for cls in (exceptions.ComputeResourcesUnavailable, exceptions.ComputeServiceUnavailable)
)


def failed(error: Exception) -> Outcome:
    """Return the outcome of an operation that an error has ended."""
    return Outcome(False, error_type=type(error).__name__, error_message=str(error))


def order(
    connection: sa.Connection,
    *,
    op_id: str,
    host: str,
    method: str,
    instance: Instance | Mapping[str, Any],
    args: Mapping[str, Any] | None = None,
    action_uuid: str | None = None,
    event: str | None = None,
    event_uuid: str | None = None,
    notes: Mapping[str, Any] | None = None,
    ctxt: context.RequestContext | None = None,
    deadline: float = DEADLINE_SECONDS,
) -> bool:
    """Have an agent do something with an instance; False when this was ordered before.

    Wake the cell after the commit, or it takes up to a second until the agent is told.

    :param op_id: the id of the change that wants it and the step, ``<uuid>.<step>``; at most
        64 characters.
    :param method: and ``args``: see ``cells.host.methods``.
    :param instance: what the agent is told of it, see :func:`told`; also when it is no more.
    :param action_uuid: the action that it is a step of.
    :param event: the name of an event of that action, which is begun with this.
    :param event_uuid: of an event that is begun already.
    :param notes: what whoever gets the outcome wants to know. With ``elsewhere`` true it goes to
        another host when this one does not take it, none of those in ``tried``; ``demand`` is what
        it needs, in the order of :class:`cells.amounts.Amount`, ``kind`` that of its claim.
    :param ctxt: who wants it.
    :param deadline: seconds until it is given up when the agent does not take it, or is away.
    """
    known = told(instance) if isinstance(instance, Instance) else dict(instance)
    begins = event is not None and action_uuid is not None
    if begins:
        event_uuid = messages.new_uuid()
    made = host_operations.op_add(
        connection,
        {
            'op_id': op_id,
            'instance_uuid': known['uuid'],
            'host': host,
            'method': method,
            'args': dict(args or {}),
            'instance': known,
            'notes': dict(notes or {}),
            'ctxt': context.answer_context((ctxt or context.background()).to_dict()),
            'action_uuid': action_uuid,
            'event_uuid': event_uuid,
        },
        deadline,
    )
    if made and begins:
        _begin_event(connection, str(action_uuid), str(event), str(event_uuid))
    return made


def told(instance: Instance) -> dict[str, Any]:
    """Return what an agent is told of an instance."""
    found = {name: getattr(instance, name) for name in TOLD if name in instance}
    found['metadata'] = dict(instance.metadata) if 'metadata' in instance else {}
    flavor = instance.flavor if 'flavor' in instance else None
    found['flavorid'] = None if flavor is None or 'flavorid' not in flavor else flavor.flavorid
    return found


def order_stray_terminate(
    connection: sa.Connection, op_id: str, host: str, instance: Mapping[str, Any]
) -> None:
    """Have a machine removed that is on a host and is none of this cell's instances there.

    It waits for nothing, and what comes of it changes no record of an instance.

    :param op_id: of the operation by which the machine came there.
    """
    host_operations.op_add(
        connection,
        {
            'op_id': '%.57s.stray' % op_id,
            'instance_uuid': host_operations.STRAY,
            'host': host,
            'method': 'terminate',
            'args': {},
            'instance': dict(instance),
            'notes': {},
            'ctxt': context.answer_context(context.background().to_dict()),
        },
        STRAY_SECONDS,
    )


def _begin_event(connection: sa.Connection, action_uuid: str, name: str, event_uuid: str) -> None:
    action = instance_actions.action_find(connection, action_uuid)
    if action is None:
        return
    instance_actions.event_create(
        connection,
        {
            'uuid': event_uuid,
            'event': name,
            'action_id': action['id'],
            'start_time': models.utcnow(),
        },
        action['instance_uuid'],
    )
