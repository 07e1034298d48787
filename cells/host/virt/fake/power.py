"""What happens to a machine when it is switched on, off, paused and so on: values in, values out.

A function returns the machine as it is afterwards. What is so already stays as it is.
"""

from collections.abc import Collection

from cells import exceptions
from cells.host.virt.base import PowerState
from cells.host.virt.fake.machine import Machine

_ON = (PowerState.RUNNING, PowerState.PAUSED)


def _need(machine: Machine, states: Collection[int], method: str) -> None:
    """Refuse what cannot be done in the state that a machine is in.

    :raises InstanceInvalidState: it is none of ``states``.
    """
    if machine.power_state not in states:
        raise exceptions.InstanceInvalidState(
            attr='power_state',
            instance_uuid=machine.uuid,
            state=PowerState(machine.power_state).name.lower(),
            method=method,
        )


def need_running(machine: Machine, method: str) -> None:
    """Refuse what needs a machine that runs.

    :raises InstanceInvalidState: it does not.
    """
    _need(machine, (PowerState.RUNNING,), method)


def is_on(machine: Machine) -> bool:
    """Tell whether a machine is on, running or paused."""
    return machine.power_state in _ON


def booted(machine: Machine, now: float) -> Machine:
    """Switch on from the beginning, whatever it does now."""
    return machine.but(
        power_state=PowerState.RUNNING, booted_at=now, boots=machine.boots + 1, soft_deleted=False
    )


def off(machine: Machine) -> Machine:
    """Switch off, whatever it does now."""
    return machine.but(power_state=PowerState.SHUTDOWN, booted_at=None)


def started(machine: Machine, now: float) -> Machine:
    """Switch on what is off.

    :raises InstanceInvalidState: it is paused, or is still being built.
    """
    if machine.power_state == PowerState.RUNNING:
        return machine
    _need(machine, (PowerState.SHUTDOWN, PowerState.CRASHED, PowerState.SUSPENDED), 'start')
    return booted(machine, now)


def paused(machine: Machine) -> Machine:
    """Let the processors stand still.

    :raises InstanceInvalidState: it does not run.
    """
    _need(machine, _ON, 'pause')
    return machine.but(power_state=PowerState.PAUSED)


def unpaused(machine: Machine) -> Machine:
    """Let the processors go on.

    :raises InstanceInvalidState: it is not paused.
    """
    _need(machine, _ON, 'unpause')
    return machine.but(power_state=PowerState.RUNNING)


def suspended(machine: Machine) -> Machine:
    """Write the memory to the disk and switch off.

    :raises InstanceInvalidState: it is off.
    """
    _need(machine, (*_ON, PowerState.SUSPENDED), 'suspend')
    return machine.but(power_state=PowerState.SUSPENDED)


def resumed(machine: Machine) -> Machine:
    """Read the memory back and go on.

    :raises InstanceInvalidState: it is not suspended.
    """
    _need(machine, (PowerState.SUSPENDED, PowerState.RUNNING), 'resume')
    return machine.but(power_state=PowerState.RUNNING)


def soft_deleted(machine: Machine) -> Machine:
    """Switch off, and keep everything."""
    return off(machine).but(soft_deleted=True)


def dumped(machine: Machine) -> Machine:
    """Have the system in it write down what it does.

    :raises InstanceInvalidState: it does not run.
    """
    need_running(machine, 'trigger_crash_dump')
    return machine.but(dumps=machine.dumps + 1)
