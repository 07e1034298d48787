"""Who is told of an order that came to nothing, in the transaction that ends it.

- In the cell that has the instance, and at the top, it is noted there. From the cell it
  goes up like every other change, by the dirty set; so does the true task state, as the
  record above may show that of the order.
- A cell on the way, and the one that was to have the instance and does not, tell the top
  with ``x_action_failed``. A plain parent gets a fault and a task state of null instead, in
  the name of the cell that the order was for, as it takes the sender for the owner.
- That a cell has no record of an instance is no reason to give up the one at the top (S4).
"""

import dataclasses
import logging
from typing import Any, Final

import sqlalchemy as sa

from cells import build_requests, context, exceptions, failures, orders, paths, subjects
from cells.db import dirty, tombstones
from cells.db import instances as db_instances
from cells.failures import Failed
from cells.letters import Letters
from cells.messages import BroadcastMessage, Message, TargetedMessage
from cells.objects import base as objects_base
from cells.objects import instance as instance_objects
from cells.operations import Direction
from cells.state import CellStateManager
from cells.stats import Stats

LOG = logging.getLogger(__name__)

OPERATION: Final = 'x_action_failed'
#: What a record at the top shows of an order.
_SHOWN: Final = ('task_state', 'vm_state')


class FailureReports:
    """Tells of failures for one worker.

    :param letters: writes into the outbox.
    :param object_release: at whose versions objects leave this cell.
    """

    def __init__(
        self, *, state: CellStateManager, letters: Letters, object_release: str, stats: Stats
    ) -> None:
        self._state = state
        self._letters = letters
        self._object_release = object_release
        self._stats = stats

    def report(self, connection: sa.Connection, message: Message, error: Exception) -> None:
        """Tell of a change that has failed, if it was an order for instances.

        :param message: as it is in this cell.
        """
        if message.direction is Direction.UP:
            return
        for uuid in subjects.instances_of(message):
            if message.method_name == 'instance_update_from_api':
                self._show_truth(connection, uuid)
            elif orders.order_of(message) is not None:
                self._report(connection, message, uuid, error)

    def _show_truth(self, connection: sa.Connection, uuid: str) -> None:
        # What the record above was changed to does not hold.
        if not self._state.topology.is_top and _deleted(connection, uuid) is False:
            db_instances.instance_touch(connection, uuid, dirty.ALL)

    def _report(
        self, connection: sa.Connection, message: Message, uuid: str, error: Exception
    ) -> None:
        self._stats.count('orders_failed', operation=message.method_name)
        failed = failures.of_message(message, uuid, error)
        if self._state.topology.is_top:
            self._note_at_top(connection, failed)
            return
        if message.method_name == 'build_instances':
            self._refuse_build(connection, message, failed)
            return
        here = self._is_here(message)
        deleted = _deleted(connection, uuid) if here else None
        if deleted is not None:
            self._note_here(connection, failed, deleted)
        elif isinstance(message, TargetedMessage):
            if here and message.method_name in orders.DELETIONS:
                # A build that is slower must not bring it back.
                tombstones.tombstone_put(connection, uuid)
            self.tell_above(connection, dataclasses.replace(failed, not_found=here))

    def _is_here(self, message: Message) -> bool:
        if isinstance(message, TargetedMessage):
            return message.target_cell == message.routing_path
        return True

    def _note_at_top(self, connection: sa.Connection, failed: Failed) -> None:
        try:
            failures.end_task(connection, failed)
        except exceptions.InstanceNotFound:
            LOG.info('Instance %s is not there any more: %s', failed.instance_uuid, failed.text)
            return
        failures.note(connection, failed)

    def _note_here(self, connection: sa.Connection, failed: Failed, deleted: bool) -> None:
        if deleted:
            # Who ordered it does not know yet.
            db_instances.instance_touch(connection, failed.instance_uuid, dirty.ALL)
            return
        db_instances.instance_touch(connection, failed.instance_uuid, _SHOWN)
        failures.note(connection, failed)

    def _refuse_build(self, connection: sa.Connection, message: Message, failed: Failed) -> None:
        """Have the cell above, which placed a build here, try the next one."""
        attempts = build_requests.attempts_above(message.method_kwargs.get('build_inst_kwargs'))
        if (
            message.extension is None
            or message.neighbour is None
            or failed.instance_uuid not in attempts
        ):
            self.tell_above(connection, failed)
            return
        self._letters.write(
            connection,
            'x_build_answer',
            paths.CellPath((self._state.topology.own_name, message.neighbour)),
            {
                'instance_uuid': failed.instance_uuid,
                'attempt': attempts[failed.instance_uuid],
                'accepted': False,
                'reasons': {failed.cell: failed.reason},
            },
            context.background().to_dict(),
        )

    def tell_above(self, connection: sa.Connection, failed: Failed) -> None:
        """Tell the top of a failure."""
        ours = BroadcastMessage(
            ctxt=context.background().to_dict(),
            method_name=OPERATION,
            method_kwargs=failures.to_kwargs(failed),
            direction=Direction.UP,
            routing_path=paths.CellPath((self._state.topology.own_name,)),
            uuid=failures.name_of(OPERATION, failed.uuid, failed.instance_uuid),
        )
        for parent in sorted(self._state.topology.parents):
            told = [ours] if self._state.sightings.is_ours(parent) else self.plain(failed)
            self._letters.put(connection, [(message, parent) for message in told])

    def plain(self, failed: Failed) -> list[BroadcastMessage]:
        """Return what a plain parent is told of a failure, as if the cell it was for did."""
        own = self._state.topology.own_name
        target = paths.CellPath.parse(failed.target).names
        way = paths.CellPath(target[target.index(own) :][::-1] if own in target else (own,))
        told: dict[str, dict[str, Any]] = {
            'instance_fault_create_at_top': {'instance_fault': _fault(failed)},
            'instance_update_at_top': {'instance': self._part(failed, task_state=None)},
        }
        if failed.not_found and failed.operation in orders.DELETIONS:
            # It is to be gone, and it is.
            told = {'instance_destroy_at_top': {'instance': self._part(failed)}}
        return [
            BroadcastMessage(
                ctxt=context.background().to_dict(),
                method_name=operation,
                method_kwargs=kwargs,
                direction=Direction.UP,
                routing_path=way,
                hop_count=len(way),
                uuid=failures.name_of(operation, failed.uuid, failed.instance_uuid),
            )
            for operation, kwargs in told.items()
        ]

    def _part(self, failed: Failed, **values: Any) -> dict[str, Any]:
        """Return an instance of which only so much is known."""
        instance = instance_objects.Instance(uuid=failed.instance_uuid, **values)
        instance.obj_reset_changes(['uuid'])
        found: dict[str, Any] = objects_base.to_primitive(instance, self._object_release)
        return found


def _fault(failed: Failed) -> dict[str, Any]:
    """Return a fault as the contract has it: an object of columns."""
    return {
        'instance_uuid': failed.instance_uuid,
        'code': failed.code,
        'message': failed.text[:255],
        'details': failed.text,
        'host': None,
    }


def _deleted(connection: sa.Connection, uuid: str) -> bool | None:
    """Tell whether an instance of this cell is deleted; None when there is none of this uuid."""
    try:
        return bool(db_instances.instance_get(connection, uuid, 'yes').deleted)
    except exceptions.InstanceNotFound:
        return None
