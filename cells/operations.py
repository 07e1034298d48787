"""What cells can ask of each other: one row for each operation.

Routing, journaling, the wire and the start-up check read this table; adding
an operation is a row here, a handler, a client method and a manager method.
A message that names anything else is refused: no attribute of anything is
callable because a message names it (``spec/intercell.json``, ``methods``).
"""

import dataclasses
import enum
from typing import Final


class Kind(enum.Enum):
    """The three kinds of messages; the value is its word on the wire and in its topic."""

    TARGETED = 'targeted'
    BROADCAST = 'broadcast'
    RESPONSE = 'response'


class Direction(enum.Enum):
    """Towards the parents or towards the children."""

    UP = 'up'
    DOWN = 'down'

    @property
    def opposite(self) -> 'Direction':
        """The way an answer takes."""
        return Direction.DOWN if self is Direction.UP else Direction.UP


class Side(enum.Enum):
    """Where a message comes from."""

    PARENT = 'parent'
    CHILD = 'child'
    SELF = 'self'


_ALLOWED: Final = {
    Direction.DOWN: frozenset({Side.PARENT, Side.SELF}),
    Direction.UP: frozenset({Side.CHILD, Side.SELF}),
    None: frozenset(Side),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """One operation.

    :ivar name: ``method_name`` on the wire.
    :ivar kinds: how it may travel.
    :ivar direction: the way it takes; None for both.
    :ivar replies: whether its source may wait for an answer.
    :ivar changes: whether it changes anything: then it runs once, journaled first unless its
        source waits for the answer; else it is a read, which may run twice and may be lost
        with its asker.
    :ivar notice: goes one way and is repeated by its sender, so that it may be lost.
    :ivar external: a change that acts on something else than the database.
    :ivar runs_at_source: a broadcast that its source takes part in.
    :ivar at_top: carried out by the top of the tree alone.
    :ivar next_door: not sent on: only a neighbour may ask for it, and about itself.
    :ivar extension: known to our cells only; it is never sent to a plain nova-cells.
    :ivar raw: its arguments hold no objects: the handler has them as they came.
    :ivar repeatable: a change that says by itself whether it is news: it may run as often as it
        comes, and is not kept to know a copy of it.
    """

    name: str
    kinds: frozenset[Kind]
    direction: Direction | None
    replies: bool = False
    changes: bool = False
    notice: bool = False
    external: bool = False
    runs_at_source: bool = False
    at_top: bool = False
    next_door: bool = False
    extension: bool = False
    raw: bool = False
    repeatable: bool = False

    @property
    def allowed_from(self) -> frozenset[Side]:
        """Who may send it here: what goes down comes from the parent, what goes up from a child."""
        return _ALLOWED[self.direction]


_T = frozenset({Kind.TARGETED})
_B = frozenset({Kind.BROADCAST})

#: What operators ask of this cell and all below it.
ASKED: Final = (
    'x_drift',
    'x_instance_places',
    'x_placements',
    'x_request',
    'x_sync_progress',
)

#: Says which changes a neighbour has safely in its journal.
RECEIPT: Final = 'x_receipt'
#: Asks a cell who it is and what time it has there.
PING: Final = 'x_ping'

#: What is ordered for one instance, goes down to its cell and is journaled on the way.
INSTANCE_ACTIONS: Final = (
    'backup_instance',
    'confirm_resize',
    'inject_network_info',
    'live_migrate_instance',
    'pause_instance',
    'reboot_instance',
    'rebuild_instance',
    'reset_network',
    'resize_instance',
    'resume_instance',
    'revert_resize',
    'set_admin_password',
    'snapshot_instance',
    'soft_delete_instance',
    'start_instance',
    'suspend_instance',
    'terminate_instance',
    'unpause_instance',
)

#: What a cell reports of its instances, one message for each change, as nova-cells does.
_REPORTS: Final = (
    'bdm_destroy_at_top',
    'bdm_update_or_create_at_top',
    'bw_usage_update_at_top',
    'instance_destroy_at_top',
    'instance_fault_create_at_top',
    'instance_update_at_top',
)

_ROWS = (
    Operation('service_get_all', _B, Direction.DOWN, replies=True, runs_at_source=True),
    Operation('sync_instances', _B, Direction.DOWN, changes=True),
    Operation('task_log_get_all', _T | _B, Direction.DOWN, replies=True, runs_at_source=True),
    Operation('action_events_get', _T, Direction.DOWN, replies=True),
    Operation('action_get_by_request_id', _T, Direction.DOWN, replies=True),
    Operation('actions_get', _T, Direction.DOWN, replies=True),
    Operation('consoleauth_delete_tokens', _B, Direction.UP, changes=True, at_top=True),
    Operation('get_keypair_at_top', _B, Direction.UP, replies=True, at_top=True),
    Operation('get_migrations', _T | _B, Direction.DOWN, replies=True),
    Operation('run_compute_api_method', _T, Direction.DOWN, replies=True, changes=True),
    Operation('validate_console_port', _T, Direction.DOWN, replies=True),
    Operation('compute_node_get', _T, Direction.DOWN, replies=True),
    Operation('compute_node_get_all', _B, Direction.DOWN, replies=True, runs_at_source=True),
    Operation('compute_node_stats', _B, Direction.DOWN, replies=True, runs_at_source=True),
    Operation('get_host_uptime', _T, Direction.DOWN, replies=True),
    Operation(
        'proxy_rpc_to_manager', _T, Direction.DOWN, replies=True, changes=True, external=True
    ),
    Operation('service_delete', _T, Direction.DOWN, replies=True, changes=True),
    Operation('service_get_by_compute_host', _T, Direction.DOWN, replies=True),
    Operation('service_update', _T, Direction.DOWN, replies=True, changes=True),
    Operation('announce_capabilities', _T, Direction.DOWN, notice=True, next_door=True),
    Operation('announce_capacities', _T, Direction.DOWN, notice=True, next_door=True),
    Operation('update_capabilities', _T, Direction.UP, notice=True, next_door=True),
    Operation('update_capacities', _T, Direction.UP, notice=True, next_door=True),
    *(Operation(name, _T, Direction.DOWN, changes=True) for name in INSTANCE_ACTIONS),
    *(Operation(name, _B, Direction.UP, changes=True, at_top=True) for name in _REPORTS),
    Operation('stop_instance', _T, Direction.DOWN, replies=True, changes=True),
    Operation('build_instances', _T, Direction.DOWN, changes=True),
    Operation('instance_update_from_api', _T, Direction.DOWN, changes=True),
    Operation('instance_delete_everywhere', _B, Direction.DOWN, changes=True, runs_at_source=True),
    # The dirty set repeats what is not answered: nothing is journaled on the way.
    Operation(
        'x_instances_update_at_top',
        _B,
        Direction.UP,
        replies=True,
        changes=True,
        at_top=True,
        extension=True,
        raw=True,
        repeatable=True,
    ),
    Operation(
        'x_instances_compare',
        _B,
        Direction.UP,
        replies=True,
        changes=True,
        at_top=True,
        extension=True,
        raw=True,
        repeatable=True,
    ),
    Operation(
        'x_instances_state',
        _T,
        Direction.DOWN,
        replies=True,
        changes=True,
        extension=True,
        raw=True,
        repeatable=True,
    ),
    Operation('x_action_failed', _B, Direction.UP, changes=True, at_top=True, extension=True),
    Operation(
        'x_status',
        _B,
        Direction.DOWN,
        replies=True,
        runs_at_source=True,
        extension=True,
        raw=True,
    ),
    Operation('x_build_answer', _T, Direction.UP, changes=True, extension=True),
    Operation('x_build_cancel', _T, Direction.DOWN, changes=True, extension=True),
    # What operators ask; see :mod:`cells.handlers.operators`.
    *(
        Operation(
            name, _B, Direction.DOWN, replies=True, runs_at_source=True, extension=True, raw=True
        )
        for name in ASKED
    ),
    Operation('x_instance_contents', _T, Direction.DOWN, replies=True, extension=True, raw=True),
    Operation(RECEIPT, _T, None, notice=True, next_door=True, extension=True),
    Operation(PING, _T, None, replies=True, extension=True),
)

OPERATIONS: Final[dict[str, Operation]] = {row.name: row for row in _ROWS}


def find(name: str, extensions: bool = True) -> Operation | None:
    """Return an operation, None when a cell does not know it.

    :param extensions: whether the cell has what nova-cells do not have.
    """
    row = OPERATIONS.get(name)
    return row if extensions or row is None or not row.extension else None


#: Operations that the runner itself consumes, without a handler.
CONSUMED: Final = frozenset({RECEIPT, PING})


def counted_as(name: str) -> str:
    """Return the name of an operation for counters; all that are not known here share one."""
    return name if name in OPERATIONS else 'unknown'
