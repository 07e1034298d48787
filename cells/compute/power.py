"""Power: start, stop, reboot, pause, suspend and what undoes them; crash dumps."""

from typing import Any, Final

from cells import arguments
from cells.compute import states
from cells.compute.actions import Action
from cells.compute.ending import Completion, End

#: In the system metadata: what an instance was before it was suspended.
OLD_VM_STATE: Final = 'old_vm_state'
#: In the system metadata: what is known of an instance that is shelved.
SHELVE_KEYS: Final = ('shelved_at', 'shelved_image_id', 'shelved_host')


def _stop(do_cast: bool = True, clean_shutdown: bool = True) -> dict[str, Any]:
    arguments.boolean('do_cast', do_cast)
    return {'clean_shutdown': arguments.boolean('clean_shutdown', clean_shutdown)}


def _started(end: End) -> None:
    """Start: what was kept for an instance that had been shelved is not needed any more."""
    if end.instance is not None:
        end.settle(fields={'system_metadata': without(end.instance.system_metadata, *SHELVE_KEYS)})


def _reboot_failed(end: End) -> None:
    """Reboot: an instance that runs all the same is not in error."""
    power = end.outcome.power_state
    if power is None or power == states.RUNNING:
        end.fail()
    else:
        end.fail({'vm_state': states.ERROR})


def _suspended(end: End) -> None:
    if end.instance is not None:
        old = {**end.instance.system_metadata, OLD_VM_STATE: end.instance.vm_state}
        end.settle(fields={'system_metadata': old})


def _resumed(end: End) -> None:
    if end.instance is not None:
        system = end.instance.system_metadata
        end.settle(
            {'vm_state': system.get(OLD_VM_STATE) or states.ACTIVE},
            {'system_metadata': without(system, OLD_VM_STATE)},
        )


def without(metadata: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Return metadata without some keys."""
    return {key: value for key, value in metadata.items() if key not in keys}


def _reboot(kind: str, **kwargs: Any) -> Action:
    return Action(
        'reboot_%s' % kind.lower(),
        perform=lambda request: _order_reboot(request, kind),
        policy='compute:reboot',
        unlocked=True,
        launched=True,
        record='reboot',
        method='_%s_reboot' % kind.lower(),
        **kwargs,
    )


def _order_reboot(request: Any, kind: str) -> None:
    host = request.host()
    request.begin()
    request.order(host, 'reboot', {'type': kind}, then='reboot_%s' % kind.lower())


def _change(name: str, vm_state: str, task_state: str) -> Action:
    """Return the row of what only an instance in one state, without a task, takes."""
    return Action(
        name,
        orders=name,
        policy='compute:%s' % name,
        unlocked=True,
        vm_states=frozenset({vm_state}),
        task_states=states.IDLE,
        launched=True,
        task_state=task_state,
        expects=states.IDLE,
        record=name,
    )


_BEFORE_A_HARD_REBOOT: Final = frozenset(
    {
        None,
        states.REBOOTING,
        states.REBOOT_PENDING,
        states.REBOOT_STARTED,
        states.REBOOTING_HARD,
        states.RESUMING,
        states.UNPAUSING,
        states.SUSPENDING,
    }
)

ACTIONS: Final = (
    Action(
        'start',
        orders='start',
        unlocked=True,
        host=True,
        vm_states=frozenset({states.STOPPED}),
        task_states=states.IDLE,
        launched=True,
        task_state=states.POWERING_ON,
        expects=states.IDLE,
        record='start',
    ),
    Action(
        'stop',
        orders='stop',
        accepts=_stop,
        unlocked=True,
        host=True,
        vm_states=frozenset({states.ACTIVE, states.ERROR}),
        task_states=states.IDLE,
        launched=True,
        task_state=states.POWERING_OFF,
        expects=states.IDLE,
        record='stop',
        restarts=True,
        waits=True,
    ),
    _reboot(
        'SOFT',
        vm_states=frozenset({states.ACTIVE}),
        task_states=states.IDLE,
        task_state=states.REBOOTING,
        expects=states.IDLE,
    ),
    _reboot(
        'HARD',
        vm_states=frozenset(
            {states.ACTIVE, states.STOPPED, states.PAUSED, states.SUSPENDED, states.ERROR}
        ),
        # One that is being paused passes here, and is refused by what the write expects.
        task_states=_BEFORE_A_HARD_REBOOT | {states.PAUSING},
        task_state=states.REBOOTING_HARD,
        expects=_BEFORE_A_HARD_REBOOT,
    ),
    _change('pause', states.ACTIVE, states.PAUSING),
    _change('unpause', states.PAUSED, states.UNPAUSING),
    _change('suspend', states.ACTIVE, states.SUSPENDING),
    _change('resume', states.SUSPENDED, states.RESUMING),
    Action(
        'trigger_crash_dump',
        orders='crash_dump',
        unlocked=True,
        host=True,
        vm_states=frozenset(
            {states.ACTIVE, states.PAUSED, states.RESCUED, states.RESIZED, states.ERROR}
        ),
        task_states=states.IDLE,
        launched=True,
        record='trigger_crash_dump',
    ),
)

COMPLETIONS: Final = {
    'start': Completion((states.POWERING_ON,), states.ACTIVE, succeeded=_started),
    'stop': Completion((states.POWERING_OFF,), states.STOPPED, reset=True),
    'reboot_soft': Completion(
        (states.REBOOTING, states.REBOOT_PENDING, states.REBOOT_STARTED),
        states.ACTIVE,
        failing=_reboot_failed,
    ),
    'reboot_hard': Completion(
        (states.REBOOTING_HARD, states.REBOOT_PENDING_HARD, states.REBOOT_STARTED_HARD),
        states.ACTIVE,
        failing=_reboot_failed,
    ),
    'pause': Completion((states.PAUSING,), states.PAUSED),
    'unpause': Completion((states.UNPAUSING,), states.ACTIVE),
    'suspend': Completion((states.SUSPENDING,), states.SUSPENDED, succeeded=_suspended),
    'resume': Completion((states.RESUMING,), states.ACTIVE, succeeded=_resumed),
    'crash_dump': Completion(),
}
