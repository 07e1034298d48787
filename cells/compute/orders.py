"""Orders to agents: what an action gives, and what follows on the outcome of another.

The orders for one instance are carried out one after the other, whichever hosts have them
(:mod:`cells.db.host_operations`).
"""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells import context, exceptions, remote_errors
from cells.compute import host_ops
from cells.db import engine
from cells.db import host_operations as db_operations
from cells.objects.instance import Instance

#: Seconds after which an agent must not begin what it was ordered.
SECONDS: Final = host_ops.DEADLINE_SECONDS
#: Seconds between two looks at an order that somebody waits for.
PAUSE: Final = 0.05

#: What the steps of an action are called in the history of an instance, by what follows on
#: them; others are called after their method.
EVENTS: Final[dict[str, str]] = {
    'crash_dump': 'compute_trigger_crash_dump',
    'evacuate': 'compute_rebuild_instance',
    'migrate_in': 'compute_live_migration',
    'migrate_out': 'compute_post_live_migration',
    'resize_confirm': 'compute_confirm_resize',
    'resize_finish': 'compute_finish_resize',
    'resize_migrate': 'compute_resize_instance',
    'resize_revert_destroy': 'compute_revert_resize',
    'resize_revert_finish': 'compute_finish_revert_resize',
    'set_admin_password': 'compute_set_admin_password',
}


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """An order.

    :ivar op_id: the same for each copy of what it comes of.
    :ivar then: what follows on its outcome; ``notes`` is for that.
    :ivar action_uuid: of the action that it is a step of, None for none.
    :ivar seconds: after which the agent must not begin it.
    """

    op_id: str
    host: str
    method: str
    args: Mapping[str, Any]
    then: str
    notes: Mapping[str, Any]
    action_uuid: str | None
    seconds: float = SECONDS


def give(
    connection: sa.Connection, order: Order, instance: Instance, ctxt: context.RequestContext
) -> None:
    """Give an order, in the transaction of what it comes of."""
    event = EVENTS.get(order.then) or EVENTS.get(order.method)
    host_ops.order(
        connection,
        op_id=order.op_id,
        host=order.host,
        method=order.method,
        instance=instance,
        args=order.args,
        action_uuid=order.action_uuid,
        event=event or 'compute_%s_instance' % order.method,
        notes={**order.notes, 'then': order.then},
        ctxt=ctxt,
        deadline=order.seconds,
    )


def wait(database: engine.Database, op_id: str, seconds: float) -> None:
    """Wait until an order has been carried out.

    :raises CellTimeout: it did not end in time; it goes on.
    :raises WireError: what it ended with.
    """
    until = time.monotonic() + seconds
    while True:
        with database.read() as connection:
            found = db_operations.op_find(connection, op_id)
        if found is not None and found['state'] == db_operations.DONE:
            return
        if found is not None and found['state'] not in db_operations.OPEN:
            raise _error(found)
        if time.monotonic() >= until:
            raise exceptions.CellTimeout(
                'Order %s did not end within %.1f seconds; it goes on' % (op_id, seconds)
            )
        time.sleep(PAUSE)


def _error(row: Mapping[str, Any]) -> Exception:
    error = (row['result'] or {}).get('error') or {}
    return remote_errors.rebuild(
        str(error.get('type') or exceptions.ComputeServiceUnavailable.__name__),
        str(error.get('message') or '%s was not carried out' % row['method']),
    )
