"""Operations of a fake host: the beginning and the end of a machine, and what it boots from."""

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from cells.host import methods
from cells.host.virt.base import PowerState, Result, Task
from cells.host.virt.fake import machine as machines
from cells.host.virt.fake import power, volumes
from cells.host.virt.fake.host import FakeHost
from cells.host.virt.fake.machine import Machine, fingerprint
from cells.host.virt.fake.running import boot
from cells.host.virt.fake.store import HELD, LIVE, Work


def build(host: FakeHost, task: Task) -> Result:
    """Make a machine and switch it on.

    An instance that was on another host keeps what it had there but for its disks, as
    after the loss of that host.
    """
    fate = host.fate(task)
    content = host.shared.content(task.instance.get('image_ref'), fingerprint(task.op_id))
    task.progress('networking', 10)
    fate.take(0.2)
    kept = host.shared.machine(task.uuid)
    demand = methods.demand(task.method, task.instance, task.args)
    host.make(task, demand, kept, content)
    task.progress('block_device_mapping', 30)
    fate.take(0.2)
    task.progress('spawning', 50)
    fate.take(0.6)
    fate.strike()

    def filled(work: Work, made: Machine) -> Machine:
        with_volumes = _with_volumes(made, task.args['block_devices'], host.now())
        complete = with_volumes.but(
            complete=True,
            password=machines.hashed(task.args['admin_password']) or made.password,
            files=files(task.args['injected_files']) or made.files,
            metadata={**(task.instance.get('metadata') or {}), **task.args['metadata']},
        )
        return boot(host, work, complete)

    return host.change(task, filled, tell=host.told)


def _with_volumes(made: Machine, wanted: Iterable[Mapping[str, Any]], now: float) -> Machine:
    found = made
    for one in wanted:
        volume_id = one.get('volume_id')
        if not volume_id or volumes.find(found, volume_id) is not None:
            continue
        if one.get('boot_index') == 0:  # it stands in the place of the disk of an image
            root = {**found.root, 'content': 'volume %s' % volume_id}
            booted = {'volume_id': volume_id, 'device': root['device'], 'disk_bus': 'virtio'}
            found = found.but(disks=(root, *found.disks[1:]), volumes=(*found.volumes, booted))
        else:
            values = {**one, 'device': one.get('device_name')}
            found = volumes.attached(found, values, now)
    return found


def files(wanted: Iterable[Any]) -> tuple[str, ...]:
    """Return what is kept of files that are put into a machine: paths and contents' ids."""
    found = []
    for one in wanted:
        path, content = (
            (one.get('path'), one.get('contents')) if isinstance(one, Mapping) else one[:2]
        )
        found.append(
            '%s %s' % (path, fingerprint(base64.b64encode(str(content).encode()).decode()))
        )
    return tuple(found)


def rebuild(host: FakeHost, task: Task) -> Result:
    """Replace the root disk; a machine that was stopped stays off."""
    fate = host.fate(task)
    machine = host.see(task.uuid)
    image = task.args['image_ref'] or machine.root['image']
    content = host.shared.content(image, fingerprint(task.op_id))
    task.progress('rebuild_block_device_mapping', 20)
    fate.take(0.3)
    task.progress('rebuild_spawning', 50)
    fate.take(0.7)
    fate.strike()
    stays_off = task.instance.get('vm_state') == 'stopped'

    def anew(work: Work, found: Machine) -> Machine:
        root = {**found.root, 'image': image, 'content': content}
        empty = tuple({**one, 'content': 'empty'} for one in found.disks[1:])
        replaced = power.off(found).but(
            disks=(root, *empty),
            rescue=None,
            password=machines.hashed(task.args['admin_password']),
            files=files(task.args['files']),
        )
        return replaced if stays_off else boot(host, work, replaced)

    return host.change(task, anew, lines=['-- rebuilt --'], tell=host.network_info)


def terminate(host: FakeHost, task: Task) -> Result:
    """Remove whatever there is of an instance; there may be nothing."""
    fate = host.fate(task)
    fate.take()
    fate.strike()
    with host.work() as work:
        for role in (LIVE, HELD):
            work.drop(task.uuid, role)
        result = work.finish(task.op_id, Result(PowerState.NOSTATE))
    host.shared.drop_machine(task.uuid)
    return result


def soft_delete(host: FakeHost, task: Task) -> Result:
    """Switch off and keep everything."""
    fate = host.fate(task)
    host.see(task.uuid)
    fate.take()
    fate.strike()
    return host.change(task, lambda work, machine: power.soft_deleted(machine))


def restore(host: FakeHost, task: Task) -> Result:
    """Switch on what was soft-deleted."""
    fate = host.fate(task)
    host.see(task.uuid)
    fate.take()
    fate.strike()

    def restored(work: Work, machine: Machine) -> Machine:
        if machine.power_state == PowerState.RUNNING:
            return machine.but(soft_deleted=False)
        return boot(host, work, machine)

    return host.change(task, restored)


def rescue(host: FakeHost, task: Task) -> Result:
    """Boot from another disk; the machine's own are kept."""
    fate = host.fate(task)
    machine = host.see(task.uuid)
    image = task.args['image_ref'] or machine.root['image']
    content = host.shared.content(image, fingerprint(task.op_id))
    fate.take()
    fate.strike()

    def rescued(work: Work, found: Machine) -> Machine:
        disk = machines.rescue_disk(image, content)
        disk['password'] = machines.hashed(task.args['password'])
        return boot(host, work, power.off(found).but(rescue=disk))

    return host.change(task, rescued, lines=['-- rescue --'])


def unrescue(host: FakeHost, task: Task) -> Result:
    """Boot from the machine's own disk again."""
    fate = host.fate(task)
    host.see(task.uuid)
    fate.take()
    fate.strike()

    def unrescued(work: Work, machine: Machine) -> Machine:
        if machine.rescue is None and machine.power_state == PowerState.RUNNING:
            return machine
        return boot(host, work, power.off(machine).but(rescue=None))

    return host.change(task, unrescued, lines=['-- end of rescue --'])


OPERATIONS: Final[Mapping[str, Callable[[FakeHost, Task], Result]]] = {
    'build': build,
    'rebuild': rebuild,
    'terminate': terminate,
    'soft_delete': soft_delete,
    'restore': restore,
    'rescue': rescue,
    'unrescue': unrescue,
}
