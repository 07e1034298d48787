"""How an order to an agent ends: what follows on its outcome, in one transaction.

A :class:`Completion` is a row that says what an instance is after an order, and what more
is to be done. It is applied by compare-and-set: an instance that has moved on meanwhile,
or that is being deleted, is left alone.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells import context, exceptions
from cells.compute import host_ops, orders, placing, states
from cells.compute.host_ops import Outcome
from cells.db import faults as db_faults
from cells.db import instance_actions as db_actions
from cells.db import instances as db_instances
from cells.db import models
from cells.objects.instance import Instance

DEFAULT_CODE: Final = 500


@dataclasses.dataclass(frozen=True, slots=True)
class Completion:
    """What follows on an order.

    :ivar tasks: the task states that the instance may have meanwhile, in their order; none for
        what is no task.
    :ivar reset: whether it counts as well when somebody has reset the task meanwhile: for what
        changes where a machine is.
    :ivar vm_state: what it is afterwards; None for what it was.
    :ivar failed: what it is if it went wrong; None for what it was.
    :ivar succeeded: does what is more than that; ``failing`` the same if it went wrong.
    """

    tasks: tuple[str | None, ...] = ()
    vm_state: str | None = None
    failed: str | None = None
    reset: bool = False
    succeeded: 'Callable[[End], None] | None' = None
    failing: 'Callable[[End], None] | None' = None


@dataclasses.dataclass(slots=True)
class End:
    """The end of one order.

    :ivar operation: its row, values by column.
    :ivar notes: that were made with it.
    :ivar found: the instance as it was, its row is locked; None when it is gone.
    :ivar followed: how many orders came of it; ``goes_on`` tells whether the action does.
    """

    connection: sa.Connection
    operation: Mapping[str, Any]
    outcome: Outcome
    notes: Mapping[str, Any]
    completion: Completion
    ctxt: context.RequestContext
    found: Instance | None
    followed: int = 0
    goes_on: bool = False
    changed: bool = False

    @property
    def uuid(self) -> str:
        """The uuid of the instance."""
        return str(self.operation['instance_uuid'])

    @property
    def instance(self) -> Instance | None:
        """The instance as it is now; None when it is gone."""
        if self.changed:
            self.found = db_instances.instance_get(self.connection, self.uuid)
            self.changed = False
        return self.found

    @property
    def host(self) -> str:
        """The host that had the order."""
        return str(self.operation['host'])

    def run(self) -> None:
        """Do what follows, and note that the step is over."""
        if self.outcome.ok:
            if self.completion.succeeded is not None:
                self.completion.succeeded(self)
            else:
                self.settle()
        elif self.completion.failing is not None:
            self.completion.failing(self)
        else:
            self.fail()
        self._close()

    # -- the instance --

    @property
    def expected(self) -> tuple[str | None, ...]:
        """The task states in which the instance is the one that the order was for."""
        return (*self.completion.tasks, *((None,) if self.completion.reset else ()))

    def is_ours(self) -> bool:
        """Tell whether the instance is still there, with the task that the order was for."""
        if self.instance is None:
            return False
        if not self.completion.tasks:
            return self.instance.task_state not in states.DELETIONS
        return self.instance.task_state in self.expected

    def settle(
        self, values: Mapping[str, Any] | None = None, fields: Mapping[str, Any] | None = None
    ) -> bool:
        """Write what the instance is after it; False for one that is to be left alone.

        :param values: columns, beside the states of the completion; ``fields`` what is no column.
        """
        changed: dict[str, Any] = {}
        if self.completion.tasks:
            changed['task_state'] = None
            if self.outcome.ok and self.completion.vm_state is not None:
                changed['vm_state'] = self.completion.vm_state
            changed.update(self._power_state(values or {}))
        changed.update(values or {})
        return self.change(changed, fields)

    def change(self, values: Mapping[str, Any], fields: Mapping[str, Any] | None = None) -> bool:
        """Change the instance; False for one that is to be left alone."""
        if not self.is_ours():
            return False
        expected = {'task_state': self.expected} if self.completion.tasks else None
        db_instances.instance_update(self.connection, self.uuid, values, expected, fields)
        self.changed = True
        return True

    def _power_state(self, values: Mapping[str, Any]) -> dict[str, Any]:
        assert self.instance is not None or not self.is_ours()
        host = values.get('host', self.instance.host if self.instance is not None else None)
        if self.outcome.power_state is None or host not in (None, self.host):
            return {}
        return {'power_state': self.outcome.power_state}

    def fail(
        self, values: Mapping[str, Any] | None = None, fields: Mapping[str, Any] | None = None
    ) -> bool:
        """Note the error, and write what the instance is after it.

        :param values: columns, beside the states of the completion.
        :returns: False for an instance that is to be left alone.
        """
        changed = dict(values or {})
        if self.completion.failed is not None:
            changed.setdefault('vm_state', self.completion.failed)
        if not self.settle(changed, fields):
            return False
        self.fault()
        return True

    def fault(self) -> None:
        """Note the error among those of the instance."""
        db_faults.fault_create(
            self.connection,
            self.uuid,
            self.outcome.error_message or self.outcome.error_type or 'The operation failed',
            code=_code(self.outcome.error_type),
            details='%s on host %s: %s: %s'
            % (
                self.operation['method'],
                self.host,
                self.outcome.error_type,
                self.outcome.error_message,
            ),
            host=self.host,
        )

    def remove_machine(self) -> None:
        """Have a machine removed that has come to a host where nobody wants it any more."""
        host_ops.order_stray_terminate(
            self.connection, str(self.operation['op_id']), self.host, self.operation['instance']
        )
        placing.release(self.connection, self.uuid, self.host)

    # -- what comes next --

    def follow(
        self,
        host: str,
        method: str,
        args: Mapping[str, Any] | None = None,
        *,
        then: str | None = None,
        notes: Mapping[str, Any] | None = None,
        seconds: float = orders.SECONDS,
        apart: bool = False,
    ) -> None:
        """Order the next step.

        :param then: as for :meth:`cells.compute.actions.Request.order`.
        :param apart: it is not a step of the action, which may end before.
        """
        assert self.instance is not None
        op_id = '%s.%d' % (self.operation['op_id'], self.followed)
        self.followed += 1
        action_uuid = None if apart else self.operation['action_uuid']
        orders.give(
            self.connection,
            orders.Order(
                op_id=op_id,
                host=host,
                method=method,
                args=dict(args or {}),
                then=then or method,
                notes={**self._kept_notes(), **(notes or {})},
                action_uuid=action_uuid,
                seconds=seconds,
            ),
            self.instance,
            self.ctxt,
        )
        self.goes_on = self.goes_on or not apart

    def _kept_notes(self) -> dict[str, Any]:
        # Of a step that failed the action has failed, whatever is done to mend it.
        return {'failed': True} if self.notes.get('failed') or not self.outcome.ok else {}

    def _close(self) -> None:
        ok = self.outcome.ok
        event = self.operation.get('event_uuid')
        if event is not None:
            db_actions.event_end(
                self.connection,
                event,
                db_actions.SUCCESS if ok else db_actions.ERROR,
                None if ok else self.outcome.error_message,
                instance_uuid=self.uuid,
            )
        action = self.operation.get('action_uuid')
        if action is not None and not self.goes_on:
            failed = not ok or self.notes.get('failed')
            db_actions.action_end(
                self.connection,
                action,
                db_actions.ERROR if failed else None,
                instance_uuid=self.uuid,
            )


def now() -> Any:
    """Return the time for columns such as ``launched_at``."""
    return models.utcnow()


def _code(error_type: str | None) -> int:
    found = getattr(exceptions, error_type or '', None)
    return int(getattr(found, 'code', DEFAULT_CODE)) if isinstance(found, type) else DEFAULT_CODE
