"""What a cell knows of instances that the top sees under way for long."""

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells import arguments, exceptions, messages
from cells.db import healing, host_operations, sweeping

#: Instances in one question at most.
MOST: Final = 500
LONGEST_UUID: Final = 36
#: What ended less than so many seconds ago may still be on its way up.
JUST_ENDED: Final = 5.0


class StateHandlers:
    """Answers the sweep of the top."""

    OPERATIONS: Final = ('x_instances_state',)

    def x_instances_state(
        self, connection: sa.Connection, message: messages.Message, instances: object
    ) -> dict[str, dict[str, Any]]:
        """Return what is so here, by uuid; what the top sees otherwise is told again.

        ``known``: whether the instance is, or was, here; ``task_state``; ``busy``: whether
        work for it is under way, or the news of it.

        :param instances: uuid -> the task state that the top sees.
        :raises Invalid: it cannot be.
        """
        given = _given(instances)
        found = sweeping.states(connection, given)
        busy = (
            sweeping.ordered(connection, found.keys())
            | sweeping.told(connection, found.keys())
            | host_operations.instances_at_work(connection, found.keys(), JUST_ENDED)
        )
        again = {
            uuid: None
            for uuid, row in found.items()
            if uuid not in busy and (row.deleted or row.task_state != given[uuid])
        }
        healing.tell_again(connection, again)
        return {
            uuid: {
                'known': uuid in found,
                'task_state': found[uuid].task_state if uuid in found else None,
                'deleted': bool(found[uuid].deleted) if uuid in found else False,
                'busy': uuid in busy,
            }
            for uuid in given
        }


def _given(value: object) -> dict[str, str | None]:
    if not isinstance(value, Mapping) or len(value) > MOST:
        raise exceptions.Invalid(
            reason='instances is %.60s, not at most %d uuids with task states'
            % (ascii(value), MOST)
        )
    return {
        arguments.text('uuid', uuid, longest=LONGEST_UUID): (
            None if task is None else arguments.text('task_state', task)
        )
        for uuid, task in value.items()
    }
