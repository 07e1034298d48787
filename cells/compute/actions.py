"""What an action on an instance is: a row that says when it may be done and what it does.

An action runs in one transaction, in which the row of the instance is locked: is it so
already, may the request do it, is the instance locked, on a host, and in a state for it
(``spec/compute_api.json``, ``common_rules.check_order``); then the task state is written by
compare-and-set, the action is recorded, and the agent gets its order. What comes of the
order is for :mod:`cells.compute.results`.

The rows are in modules by subject, :mod:`cells.compute.api` has them all.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from cells import context, dispatch, exceptions, policy, times
from cells.compute import builds, keys, means, orders
from cells.db import host_operations as db_operations
from cells.db import instance_actions as db_actions
from cells.db import instances as db_instances
from cells.db import models
from cells.objects.instance import Instance

LONGEST_ID: Final = 255
#: Characters of the uuid of an instance.
LONGEST_UUID: Final = 36

_TRACES: Final = {
    'backup': 'createBackup',
    'inject_network_info': 'injectNetworkInfo',
    'reset_network': 'resetNetwork',
    'shelve_offload': 'shelveOffload',
    'snapshot': 'createImage',
}


def nothing() -> dict[str, Any]:
    """Stand for what takes nothing beside the instance."""
    return {}


@dataclasses.dataclass(frozen=True, slots=True)
class Action:
    """Something that can be done with an instance.

    :ivar name: as in ``spec/compute_api.json``.
    :ivar orders: what the agent is to do: a method of ``cells.host.methods``.
    :ivar perform: called with the request and its arguments instead of giving that order.
    :ivar accepts: what may be given beside the instance; raises for what cannot be meant, and
        returns what is handed on, by name.
    :ivar policy: the rule that the request must satisfy.
    :ivar unlocked: whether the instance must not be locked, except for administrators.
    :ivar host: whether it must be on a host.
    :ivar vm_states: in which of them it can be done; None for all.
    :ivar task_states: in which of them; None for all.
    :ivar launched: whether the instance must have run once.
    :ivar task_state: what is being done then.
    :ivar expects: which task states the write of that expects; None for any.
    :ivar record: the name of the action in the history of the instance.
    :ivar restarts: whether the progress of the instance begins anew.
    :ivar waits: whether a caller waits until the agent is done.
    :ivar purges: whether an administrator may do it whatever is being done.
    :ivar method: what errors call it, if not by its name.
    """

    name: str
    orders: str | None = None
    perform: Callable[..., Any] | None = None
    accepts: Callable[..., dict[str, Any]] = nothing
    policy: str | None = None
    unlocked: bool = False
    host: bool = False
    vm_states: frozenset[str] | None = None
    task_states: frozenset[str | None] | None = None
    launched: bool = False
    task_state: str | None = None
    expects: frozenset[str | None] | None = None
    record: str | None = None
    restarts: bool = False
    waits: bool = False
    purges: bool = False
    method: str | None = None

    @property
    def trace(self) -> str | None:
        """What is left of it in the history of the instance; None for what only asks.

        Of some actions nova of mitaka leaves nothing there. Ours do, under the names of later
        releases: who orders something is to see what became of it.
        """
        if self.record is not None or self.name.startswith('get_'):
            return self.record
        return _TRACES.get(self.name, self.name)


def bound(action: Action, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is given beside the instance, checked, by the names under which it is handed on.

    :raises Invalid: it does not fit.
    """
    try:
        inspect.signature(action.accepts).bind(*args, **kwargs)
    except TypeError as error:
        raise exceptions.Invalid(reason='%s: %s' % (action.name, error)) from None
    return action.accepts(*args, **kwargs)


@dataclasses.dataclass(slots=True)
class Request:
    """One request for an action, in the transaction that carries it out.

    :ivar instance: as it is; its row is locked.
    :ivar key: of the message that it came with, see :func:`cells.compute.keys.key_of`.
    :ivar answered: whether a caller waits for an answer.
    :ivar seconds: how long.
    """

    connection: sa.Connection
    ctxt: context.RequestContext
    action: Action
    instance: Instance
    key: str
    means: means.Means
    answered: bool = False
    seconds: float = 60.0
    action_uuid: str | None = None
    ordered: int = 0

    # -- may it be done --

    def is_done(self) -> bool:
        """Tell whether a copy of the request has been carried out (R3, S7)."""
        name = self.action.trace
        if name is not None and db_actions.action_find(self.connection, self._action_uuid(name)):
            return True
        return db_operations.op_find(self.connection, '%s.0' % self.key) is not None

    def check(self) -> None:
        """Refuse what cannot be done, by the rules of the action in their order.

        :raises PolicyNotAuthorized: the request may not.
        :raises InstanceIsLocked: the instance is locked.
        :raises InstanceNotReady: it is on no host.
        :raises InstanceInvalidState: it cannot be done now.
        """
        action, instance = self.action, self.instance
        if action.policy is not None:
            policy.check(self.ctxt, action.policy, instance)
        if action.unlocked and instance.locked and not self.ctxt.is_admin:
            raise exceptions.InstanceIsLocked(instance_uuid=instance.uuid)
        if action.host and not instance.host:
            raise exceptions.InstanceNotReady(instance_id=instance.uuid)
        if action.vm_states is not None and instance.vm_state not in action.vm_states:
            raise self.wrong('vm_state')
        purges = action.purges and self.ctxt.is_admin
        tasks = None if purges else action.task_states
        if tasks is not None and instance.task_state not in tasks:
            raise self.wrong('task_state')
        if action.launched and instance.launched_at is None:
            raise self.wrong('launched_at')

    def wrong(self, attribute: str) -> exceptions.InstanceInvalidState:
        """Return the error of an instance that is in a wrong state."""
        return exceptions.InstanceInvalidState(
            attr=attribute,
            instance_uuid=self.instance.uuid,
            state=getattr(self.instance, attribute),
            method=self.action.method or self.action.name,
        )

    def host(self) -> str:
        """Return the host of the instance.

        :raises InstanceNotReady: it is on none.
        """
        if not self.instance.host:
            raise exceptions.InstanceNotReady(instance_id=self.instance.uuid)
        return str(self.instance.host)

    # -- doing it --

    def perform(self, given: Mapping[str, Any]) -> Any:
        """Do it, and return the answer."""
        if self.action.perform is not None:
            return self.action.perform(self, **given)
        host = self.host()
        self.begin()
        op_id = self.order(host, str(self.action.orders), given)
        return self.outcome_of(op_id) if self.action.waits else None

    def begin(
        self,
        values: Mapping[str, Any] | None = None,
        fields: Mapping[str, Any] | None = None,
        record: str | None = None,
    ) -> None:
        """Write that the action is under way, and record it.

        :param values: columns that change with it; ``fields`` what is no column.
        :param record: what it is recorded as, if not as usual.
        :raises UnexpectedTaskStateError: the instance has another task.
        """
        changed = dict(values or {})
        if self.action.task_state is not None:
            changed.setdefault('task_state', self.action.task_state)
        if self.action.restarts:
            changed.setdefault('progress', 0)
        self.save(changed, fields)
        if record is not None or self.action.record is not None:
            self.record(str(record or self.action.record))

    def save(
        self, values: Mapping[str, Any], fields: Mapping[str, Any] | None = None
    ) -> frozenset[str]:
        """Change the instance, if it has the task that the action expects."""
        expects = self.action.expects
        return db_instances.instance_update(
            self.connection,
            self.instance.uuid,
            values,
            None if expects is None else {'task_state': expects},
            fields,
        )

    def record(self, name: str) -> str:
        """Note in the history of the instance what was ordered; return the uuid of that."""
        self.action_uuid = self._action_uuid(name)
        db_actions.action_create(
            self.connection,
            {
                'uuid': self.action_uuid,
                'action': name,
                'instance_uuid': self.instance.uuid,
                'request_id': _id(self.ctxt.request_id),
                'user_id': _id(self.ctxt.user_id),
                'project_id': _id(self.ctxt.project_id),
                'start_time': _start_time(self.ctxt),
            },
        )
        return self.action_uuid

    def order(
        self,
        host: str,
        method: str,
        args: Mapping[str, Any] | None = None,
        *,
        then: str | None = None,
        notes: Mapping[str, Any] | None = None,
        seconds: float = orders.SECONDS,
    ) -> str:
        """Order something of an agent and return the id of the order.

        :param then: what follows, a name in :data:`cells.compute.results.COMPLETIONS`.
        :param notes: what that has to know.
        :param seconds: after which the agent must not begin any more.
        """
        if self.action_uuid is None and self.action.record is None:
            self._leave_trace()
        op_id = '%s.%d' % (self.key, self.ordered)
        self.ordered += 1
        orders.give(
            self.connection,
            orders.Order(
                op_id=op_id,
                host=host,
                method=method,
                args=dict(args or {}),
                then=then or method,
                notes=dict(notes or {}),
                action_uuid=self.action_uuid,
                seconds=seconds,
            ),
            self.instance,
            self.ctxt,
        )
        return op_id

    def outcome_of(self, op_id: str, answer: Callable[[], Any] = lambda: None) -> Any:
        """Return the answer to who waits for the end of an order.

        :param answer: returns it when the order has been carried out.
        """
        database, seconds = self.means.database, self.seconds
        if not self.answered or database is None:
            return None

        def later() -> Any:
            orders.wait(database, op_id, seconds)
            return answer()

        return dispatch.Later(later)

    def cancel_unsent(self, reason: str) -> None:
        """Drop what was ordered and no agent has heard of; the actions it was for have failed."""
        for one in db_operations.ops_cancel_unsent(self.connection, self.instance.uuid):
            self._cancelled(one, reason)

    def cancel_on(self, host: str, reason: str) -> None:
        """Drop what was ordered of a host that is lost; when it is back, it is told."""
        for one in db_operations.ops_open(self.connection, self.instance.uuid):
            cancelled = db_operations.CANCELLED
            if one['host'] == host and db_operations.op_end(
                self.connection, one['op_id'], cancelled, None
            ):
                self._cancelled(one, reason)

    def _cancelled(self, operation: Mapping[str, Any], reason: str) -> None:
        builds.dropped(self.connection, operation)
        if operation['event_uuid'] is not None:
            db_actions.event_end(self.connection, operation['event_uuid'], db_actions.ERROR, reason)
        if operation['action_uuid'] is not None:
            db_actions.action_end(self.connection, operation['action_uuid'], db_actions.ERROR)

    def reload(self) -> None:
        """Read the instance as it is now."""
        self.instance = db_instances.instance_get(self.connection, self.instance.uuid)

    def already(self, *names: str) -> None:
        """Take it that nothing is to be done, and have the cells above look at what is so."""
        db_instances.instance_touch(
            self.connection, self.instance.uuid, names or ('vm_state', 'task_state')
        )

    def done(self) -> None:
        """Note that it is done, if no agent had to do anything for it."""
        if self.action_uuid is None:
            uuid = self._leave_trace()
            if uuid is not None:
                db_actions.action_end(self.connection, uuid)

    def _leave_trace(self) -> str | None:
        name = self.action.trace
        return None if name is None else self.record(name)

    def _action_uuid(self, name: str) -> str:
        return keys.derived(self.key, name)


def _id(value: str | None) -> str | None:
    return value if value is None else str(value)[:LONGEST_ID]


def _start_time(ctxt: context.RequestContext) -> Any:
    try:
        return times.parse('timestamp', ctxt.timestamp)
    except exceptions.Invalid:
        return models.utcnow()
