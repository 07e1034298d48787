"""The deletion of an instance of which it is not known where it is, or whether it is (S5).

It goes to all cells below. Each leaves a tombstone, so that a build that is slower comes to
nothing there, and deletes what it has. The top gives up its record at once: nobody else
knows of it, and whoever has the instance all the same is told to end it when it says so.
"""

import logging
from typing import Final

import sqlalchemy as sa

from cells import arguments, dispatch, exceptions, failures, messages, placement
from cells.compute import api as compute_api
from cells.compute.means import Means
from cells.db import instances as db_instances
from cells.db import models, sweeping
from cells.db import placements as db_placements
from cells.objects.instance import Instance
from cells.state import CellStateManager

LOG = logging.getLogger(__name__)

SOFT: Final = 'soft'
LONGEST_UUID: Final = 36


class DeletionHandlers:
    """Deletes an instance wherever it is."""

    OPERATIONS: Final = ('instance_delete_everywhere',)

    def __init__(self, *, state: CellStateManager, means: Means) -> None:
        self._state = state
        self._means = means

    def instance_delete_everywhere(
        self,
        connection: sa.Connection,
        message: messages.Message,
        instance: object,
        delete_type: object = 'delete',
    ) -> None:
        """Delete an instance here, if it is here, and have it built here no more.

        :param instance: an Instance, or of older releases its fields as a dictionary.
        :param delete_type: ``soft`` for one that can be restored; all else deletes.
        :raises Invalid: it is neither.
        """
        uuid = _uuid(instance)
        soft = delete_type == SOFT
        db_placements.lock(connection)
        # Where a build that is given up has come to something, that goes without a word.
        building = bool(sweeping.placed(connection, [uuid]))
        placement.bury(connection, uuid)
        try:
            found = db_instances.instance_get(connection, uuid, lock=True)
        except exceptions.InstanceNotFound:
            return
        if not self._state.topology.is_top or (found.host and not found.cell_name):
            self._delete(connection, message, found, soft)
        elif building or not found.cell_name:
            self._give_up(connection, found, soft and not building)

    def _give_up(self, connection: sa.Connection, found: Instance, soft: bool) -> None:
        """Give up a record at the top of which no cell will tell any more."""
        if soft:
            values = {'vm_state': 'soft-delete', 'task_state': None, 'deleted_at': models.utcnow()}
            db_instances.instance_update(connection, found.uuid, values)
            return
        values = {'vm_state': 'deleted', 'task_state': None, 'terminated_at': models.utcnow()}
        db_instances.instance_update(connection, found.uuid, values)
        db_instances.instance_destroy(connection, found.uuid)

    def _delete(
        self, connection: sa.Connection, message: messages.Message, found: Instance, soft: bool
    ) -> None:
        """Delete an instance of this cell; what is in the way of that stays with the instance."""
        ctxt = dispatch.context_of(message)
        action = 'soft_delete' if soft and found.launched_at is not None else 'delete'
        try:
            with connection.begin_nested():
                compute_api.perform(
                    connection,
                    ctxt,
                    action,
                    found.uuid,
                    {},
                    means=self._means,
                    message_uuid=message.uuid,
                )
        except exceptions.WireError as error:
            # The cells below are to hear of it all the same.
            LOG.warning('Instance %s is not deleted here: %s', found.uuid, error)
            self._note(connection, message, found.uuid, error)

    def _note(
        self, connection: sa.Connection, message: messages.Message, uuid: str, error: Exception
    ) -> None:
        db_instances.instance_touch(connection, uuid, ('task_state', 'vm_state'))
        failures.note(connection, failures.of_message(message, uuid, error))


def _uuid(value: object) -> str:
    uuid = getattr(value, 'uuid', None)
    if uuid is None and isinstance(value, dict):
        uuid = value.get('uuid')
    if not isinstance(uuid, str):
        raise exceptions.Invalid(reason='instance is %.60s, not one with a uuid' % ascii(value))
    return arguments.text('instance.uuid', uuid, longest=LONGEST_UUID)
