"""Operations of a fake host: images that are made of a machine, and machines made of them."""

from collections.abc import Callable, Mapping
from typing import Final

from cells.host import methods
from cells.host.virt.base import PowerState, Result, Task
from cells.host.virt.fake import faults, power
from cells.host.virt.fake.host import FakeHost
from cells.host.virt.fake.machine import Machine, fingerprint
from cells.host.virt.fake.running import boot
from cells.host.virt.fake.shared import ACTIVE, Image
from cells.host.virt.fake.store import HELD, LIVE, Work


def _save(host: FakeHost, task: Task, fate: faults.Fate, kind: str, states: list[str]) -> None:
    """Make an image of a machine, of which half is there until the end.

    :param states: task states while it is prepared, waits, and is sent.
    """
    machine = host.see(task.uuid)
    pending, waiting, sending = states
    task.progress(pending, 10)
    fate.take(0.3)
    image = Image(
        id=task.args['image_id'],
        name=task.args.get('name') or '',
        op_id=task.op_id,
        instance_uuid=task.uuid,
        kind=kind,
        backup_type=task.args.get('backup_type'),
        content=machine.root['content'],
        size_gb=machine.root['size_gb'],
        created_at=host.now(),
    )
    host.shared.keep_image(image)
    task.progress(waiting, 40)
    fate.take(0.3)
    task.progress(sending, 70)
    fate.take(0.4)
    fate.strike()
    host.shared.keep_image(image.saved())


_SNAPSHOT: Final = ['image_snapshot', 'image_pending_upload', 'image_uploading']
_SHELVE: Final = ['shelving', 'shelving_image_pending_upload', 'shelving_image_uploading']


def snapshot(host: FakeHost, task: Task) -> Result:
    """Make an image of the root disk; the machine goes on."""
    _save(host, task, host.fate(task), 'snapshot', _SNAPSHOT)
    return host.change(task, lambda work, machine: machine)


def backup(host: FakeHost, task: Task) -> Result:
    """Make an image, and delete the oldest backups of its type beyond ``rotation``."""
    _save(host, task, host.fate(task), 'backup', _SNAPSHOT)
    found = host.shared.images(task.uuid, 'backup', task.args['backup_type'])
    too_many = [one.id for one in found if one.status == ACTIVE]
    too_many = too_many[: max(0, len(too_many) - task.args['rotation'])]
    result = host.change(
        task,
        lambda work, machine: machine,
        tell=lambda machine: {'deleted_images': too_many},
    )
    for image_id in too_many:
        host.shared.drop_image(image_id)
    return result


def shelve(host: FakeHost, task: Task) -> Result:
    """Make an image, if one is asked for, and switch off."""
    fate = host.fate(task)
    if task.args['image_id']:
        _save(host, task, fate, 'shelve', _SHELVE)
    else:
        host.see(task.uuid)
        fate.take()
        fate.strike()
    return host.change(task, lambda work, machine: power.off(machine), lines=['-- shelved --'])


def shelve_offload(host: FakeHost, task: Task) -> Result:
    """Remove the machine; what it takes to its next host is kept."""
    fate = host.fate(task)
    fate.take()
    fate.strike()
    with host.work() as work:
        for role in (LIVE, HELD):
            work.drop(task.uuid, role)
        return work.finish(task.op_id, Result(PowerState.SHUTDOWN))


def unshelve(host: FakeHost, task: Task) -> Result:
    """Make a machine of the image that it was shelved to, and switch it on."""
    fate = host.fate(task)
    kept = host.shared.machine(task.uuid)
    image_id = task.args['image_id']
    own = kept.root['content'] if kept is not None else fingerprint(task.op_id)
    content = host.shared.content(image_id, own)
    demand = methods.demand(task.method, task.instance, task.args)
    host.make(task, demand, kept, content)
    task.progress('spawning', 50)
    fate.take()
    fate.strike()

    def complete(work: Work, machine: Machine) -> Machine:
        return boot(host, work, machine.but(complete=True))

    return host.change(task, complete, tell=host.told)


OPERATIONS: Final[Mapping[str, Callable[[FakeHost, Task], Result]]] = {
    'snapshot': snapshot,
    'backup': backup,
    'shelve': shelve,
    'shelve_offload': shelve_offload,
    'unshelve': unshelve,
}
