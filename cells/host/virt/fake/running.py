"""Operations of a fake host: what is done with the power of a machine."""

from collections.abc import Callable, Mapping
from typing import Final

from cells.host.virt.base import PowerState, Result, Task
from cells.host.virt.fake import consoles, power
from cells.host.virt.fake.host import FakeHost
from cells.host.virt.fake.machine import Machine
from cells.host.virt.fake.store import Work

Alter = Callable[[Machine], Machine]


def boot(host: FakeHost, work: Work, machine: Machine, alter: Alter | None = None) -> Machine:
    """Return a machine that was switched on, which it has written to its console.

    :param alter: switches it on; what runs already stays as it is.
    """
    booted = alter(machine) if alter else power.booted(machine, host.now())
    if booted.boots != machine.boots:
        work.write(machine.uuid, consoles.boot_lines(booted))
    return booted


def _plainly(alter: Alter, line: str) -> Callable[[FakeHost, Task], Result]:
    """Return an operation that only changes what the machine does."""

    def operation(host: FakeHost, task: Task) -> Result:
        fate = host.fate(task)
        host.see(task.uuid)
        fate.take()
        fate.strike()
        return host.change(task, lambda work, machine: alter(machine), lines=[line])

    return operation


def start(host: FakeHost, task: Task) -> Result:
    """Switch on what is off."""
    fate = host.fate(task)
    host.see(task.uuid)
    fate.take()
    fate.strike()
    return host.change(
        task,
        lambda work, machine: boot(
            host, work, machine, lambda found: power.started(found, host.now())
        ),
    )


def reboot(host: FakeHost, task: Task) -> Result:
    """Restart what runs; what does not is switched off and on, as is asked for by HARD."""
    hard = task.args['type'] == 'HARD'
    fate = host.fate(task)
    host.see(task.uuid)
    task.progress('reboot_pending_hard' if hard else 'reboot_pending', 25)
    fate.take(0.5)
    task.progress('reboot_started_hard' if hard else 'reboot_started', 50)
    fate.take(0.5)
    fate.strike()

    def again(work: Work, machine: Machine) -> Machine:
        if hard or machine.power_state != PowerState.RUNNING:
            return boot(host, work, power.off(machine))
        return boot(host, work, machine)

    return host.change(task, again, lines=['-- reboot, %s --' % task.args['type']])


OPERATIONS: Final[Mapping[str, Callable[[FakeHost, Task], Result]]] = {
    'start': start,
    'stop': _plainly(power.off, '-- power off --'),
    'reboot': reboot,
    'pause': _plainly(power.paused, '-- paused --'),
    'unpause': _plainly(power.unpaused, '-- running again --'),
    'suspend': _plainly(power.suspended, '-- suspended --'),
    'resume': _plainly(power.resumed, '-- resumed --'),
    'crash_dump': _plainly(power.dumped, '-- memory dumped --'),
}
