"""Operations of a fake host: the two halves of a resize, and of a live migration.

While a resize waits to be confirmed, the host that the instance came from holds what
was there, switched off. Both may be the same host.
"""

from collections.abc import Callable, Mapping
from typing import Final

from cells import exceptions
from cells.host import methods
from cells.host.virt.base import PowerState, Result, Task
from cells.host.virt.fake import power
from cells.host.virt.fake.host import FakeHost
from cells.host.virt.fake.machine import Machine, fingerprint
from cells.host.virt.fake.running import boot
from cells.host.virt.fake.store import HELD, Work


def resize_migrate(host: FakeHost, task: Task) -> Result:
    """Switch off and hand out the disk. At the source."""
    fate = host.fate(task)
    _any(host, task)
    task.progress('resize_migrating', 25)
    fate.take()
    fate.strike()
    with host.work() as work:
        machine = work.get(task.uuid)
        if machine is not None:
            work.drop(task.uuid)
            machine = power.off(machine)
            work.put(machine, HELD)
        else:
            work.need(task.uuid, HELD)
        result = work.finish(task.op_id, Result(PowerState.SHUTDOWN))
    if machine is not None:
        host.shared.keep_machine(machine)
    return result


def _any(host: FakeHost, task: Task) -> None:
    with host.work() as work:
        if work.get(task.uuid, HELD) is None:
            work.need(task.uuid)


def resize_finish(host: FakeHost, task: Task) -> Result:
    """Make a machine of other sizes of the disk that was handed out. At the destination."""
    fate = host.fate(task)
    _arrive(host, task)
    task.progress('resize_finish', 50)
    fate.take()
    fate.strike()

    def complete(work: Work, machine: Machine) -> Machine:
        done = machine.but(complete=True)
        return boot(host, work, done) if task.args['power_on'] else power.off(done)

    return host.change(task, complete, lines=['-- resized --'], tell=host.told)


def _arrive(host: FakeHost, task: Task) -> Machine:
    kept = host.shared.machine(task.uuid)
    content = kept.root['content'] if kept is not None else fingerprint('moved', task.uuid)
    demand = methods.demand(task.method, task.instance, task.args)
    return host.make(task, demand, kept, content)


def resize_confirm(host: FakeHost, task: Task) -> Result:
    """Delete what was held. At the source; there may be nothing any more."""
    fate = host.fate(task)
    fate.take()
    fate.strike()
    with host.work() as work:
        work.drop(task.uuid, HELD)
        machine = work.get(task.uuid)
        return work.finish(task.op_id, Result(machine.power_state if machine else None))


def resize_revert_destroy(host: FakeHost, task: Task) -> Result:
    """Delete the machine of the new sizes. At the destination; there may be none any more."""
    fate = host.fate(task)
    fate.take()
    fate.strike()
    with host.work() as work:
        work.drop(task.uuid)
        return work.finish(task.op_id, Result(None))


def resize_revert_finish(host: FakeHost, task: Task) -> Result:
    """Let the machine be again what it was. At the source."""
    fate = host.fate(task)
    _any(host, task)
    fate.take()
    fate.strike()
    with host.work() as work:
        held = work.get(task.uuid, HELD)
        machine = work.need(task.uuid) if held is None else held
        if held is not None:
            if work.get(task.uuid) is not None:
                raise exceptions.InstanceExists(name=task.uuid)
            work.drop(task.uuid, HELD)
            machine = boot(host, work, held) if task.args['power_on'] else power.off(held)
        result = host.end(work, task, machine, ['-- resize reverted --'], host.told(machine))
    host.shared.keep_machine(machine)
    return result


def migrate_in(host: FakeHost, task: Task) -> Result:
    """Take over a machine as it is, in whatever power state. At the destination."""
    fate = host.fate(task)
    arrived = _arrive(host, task)
    fate.take()
    fate.strike()
    state = task.args['power_state']

    def complete(work: Work, machine: Machine) -> Machine:
        on = state in (PowerState.RUNNING, PowerState.PAUSED)
        booted_at = (arrived.booted_at or host.now()) if on else None
        return machine.but(complete=True, power_state=state, booted_at=booted_at)

    return host.change(task, complete, lines=['-- migrated --'], tell=host.told)


def migrate_out(host: FakeHost, task: Task) -> Result:
    """Forget a machine that runs on another host. At the source."""
    fate = host.fate(task)
    fate.take()
    fate.strike()
    with host.work() as work:
        work.drop(task.uuid)
        return work.finish(task.op_id, Result(None))


OPERATIONS: Final[Mapping[str, Callable[[FakeHost, Task], Result]]] = {
    'resize_migrate': resize_migrate,
    'resize_finish': resize_finish,
    'resize_confirm': resize_confirm,
    'resize_revert_destroy': resize_revert_destroy,
    'resize_revert_finish': resize_revert_finish,
    'migrate_in': migrate_in,
    'migrate_out': migrate_out,
}
