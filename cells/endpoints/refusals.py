"""What is written to the record of an instance when an order for it is refused here."""

from typing import Final

from cells import context, exceptions, failures, messages
from cells.compute import states
from cells.db import engine
from cells.db import instances as db_instances

BUILD: Final = 'build_instances'


def refusal(
    ctxt: context.RequestContext,
    own_name: str,
    instance_uuid: str,
    operation: str,
    error: exceptions.WireError,
) -> failures.Failed:
    """Return what came of an order that a client gave to this cell.

    :param own_name: of this cell.
    :param error: why it is refused.
    """
    return failures.Failed(
        # The same when the client's cast comes twice.
        uuid=ctxt.delivery_id or messages.new_uuid(),
        instance_uuid=instance_uuid,
        operation=operation,
        reason=str(error)[: failures.LONGEST_TEXT],
        code=error.code,
        cell=own_name,
        target=own_name,
        request_id=ctxt.request_id,
        user_id=ctxt.user_id,
        project_id=ctxt.project_id,
        moment=ctxt.timestamp,
    )


def note(database: engine.Database, failed: failures.Failed) -> None:
    """Write it down: a fault, a failed action, and that nothing is being done any more.

    An instance that is not known here has nowhere to note it.
    """
    with database.write() as connection:
        try:
            instance = db_instances.instance_get(connection, failed.instance_uuid, lock=True)
        except exceptions.InstanceNotFound:
            return
        if failed.operation == BUILD:
            if instance.vm_state != states.BUILDING or instance.host:
                return  # it has been ordered before, and that order counts
            db_instances.instance_update(
                connection, instance.uuid, {'vm_state': states.ERROR, 'task_state': None}
            )
        failures.end_task(connection, failed)
        failures.note(connection, failed)
