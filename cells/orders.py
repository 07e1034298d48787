"""What orders for instances are called in their history, and how they show while they run.

Rules of ``spec/compute_api.json``: ``instance_action``, ``events``, ``task_state_set``. Where
that has no name for an action, it has the one of later releases, or its own.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from cells import messages


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """An order for one instance.

    :ivar action: its name among the actions of an instance.
    :ivar event: the name of its first step.
    :ivar task_states: that the instance is in because it was ordered, and not yet begun.
    :ivar ages: whether it is not carried out any more when it is old: what deletes has no age.
    """

    action: str
    event: str
    task_states: frozenset[str] = frozenset()
    ages: bool = True


def _order(action: str, event: str, *task_states: str, ages: bool = True) -> Order:
    return Order(action, 'compute_' + event, frozenset(task_states), ages)


_MESSAGES: Final[dict[str, Order]] = {
    'backup_instance': _order('createBackup', 'backup_instance', 'image_backup'),
    'build_instances': _order('create', 'build_and_run_instance', 'scheduling', ages=False),
    'confirm_resize': _order('confirmResize', 'confirm_resize', 'resize_confirming'),
    'inject_network_info': _order('injectNetworkInfo', 'inject_network_info'),
    'instance_delete_everywhere': _order(
        'delete', 'terminate_instance', 'deleting', 'soft-deleting', ages=False
    ),
    'live_migrate_instance': _order('live-migration', 'live_migration', 'migrating'),
    'pause_instance': _order('pause', 'pause_instance', 'pausing'),
    'reboot_instance': _order('reboot', 'reboot_instance', 'rebooting', 'rebooting_hard'),
    'rebuild_instance': _order('rebuild', 'rebuild_instance', 'rebuilding'),
    'reset_network': _order('resetNetwork', 'reset_network'),
    'resize_instance': _order('resize', 'prep_resize', 'resize_prep'),
    'resume_instance': _order('resume', 'resume_instance', 'resuming'),
    'revert_resize': _order('revertResize', 'revert_resize', 'resize_reverting'),
    'set_admin_password': _order('changePassword', 'set_admin_password', 'updating_password'),
    'snapshot_instance': _order('createImage', 'snapshot_instance', 'image_snapshot_pending'),
    'soft_delete_instance': _order('delete', 'soft_delete_instance', 'soft-deleting', ages=False),
    'start_instance': _order('start', 'start_instance', 'powering-on'),
    'stop_instance': _order('stop', 'stop_instance', 'powering-off'),
    'suspend_instance': _order('suspend', 'suspend_instance', 'suspending'),
    'terminate_instance': _order('delete', 'terminate_instance', 'deleting', ages=False),
    'unpause_instance': _order('unpause', 'unpause_instance', 'unpausing'),
}

#: Of what comes as ``run_compute_api_method``; other names stand for themselves.
_METHODS: Final[dict[str, Order]] = {
    'rescue': _order('rescue', 'rescue_instance', 'rescuing'),
    'unrescue': _order('unrescue', 'unrescue_instance', 'unrescuing'),
    'shelve': _order('shelve', 'shelve_instance', 'shelving'),
    'shelve_offload': _order('shelveOffload', 'shelve_offload_instance', 'shelving_offloading'),
    'unshelve': _order('unshelve', 'unshelve_instance', 'unshelving'),
    'restore': _order('restore', 'restore_instance', 'restoring'),
    'evacuate': _order('evacuate', 'rebuild_instance', 'rebuilding'),
}

#: Those after which an instance is to be gone.
DELETIONS: Final = frozenset(
    ('instance_delete_everywhere', 'soft_delete_instance', 'terminate_instance')
)
#: Task states in which an instance is to be gone.
DELETING: Final = frozenset(('deleting', 'soft-deleting'))

_LONGEST: Final = 100


def order_of(message: messages.Message) -> Order | None:
    """Return what a message orders for an instance, None when it is no order for one."""
    return by_name(message.method_name, message.method_kwargs)


def by_name(operation: str, method_kwargs: Mapping[str, Any]) -> Order | None:
    """Return what an operation with such arguments orders, None when it is no order."""
    if operation != 'run_compute_api_method':
        return _MESSAGES.get(operation)
    info = method_kwargs.get('method_info')
    name = info.get('method') if isinstance(info, Mapping) else None
    if not isinstance(name, str) or not name.isidentifier() or len(name) > _LONGEST:
        return None
    return _METHODS.get(name) or Order(name, 'compute_' + name)
