"""A fake host: what its operations work with."""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cells import exceptions
from cells.host.virt.base import Demand, PowerState, Result, Task
from cells.host.virt.fake import capacity, faults, machine, networks, shared, store
from cells.host.virt.fake.machine import Machine
from cells.host.virt.fake.settings import Settings
from cells.host.virt.fake.store import HELD, LIVE


class FakeHost:
    """A host with its machines. Any thread may use it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.shared = shared.Shared(settings.shared, settings.host, settings.missing_images)
        self._store = store.FakeStore(settings.directory)
        self._stopped = threading.Event()
        self._faults = faults.Faults(
            host=settings.host,
            delays=settings.delays,
            failures=settings.failures,
            seed=settings.seed,
            counters=self._store,
            stopped=self._stopped,
        )

    def open(self) -> None:
        """Find the machines, and switch them off if the host has been.

        :raises ConfigurationError: a directory cannot be used.
        """
        self.shared.open()
        self._store.open()
        with self._store.work() as work:
            work.forget()
            for role, one in work.all():
                if self.settings.reboots and one.booted_at is not None:
                    one = one.but(power_state=_after_reboot(one), booted_at=None)
                    work.write(one.uuid, ['-- the host has been rebooted --'])
                    work.close_ports(one.uuid)
                    work.put(one, role)
                if role == LIVE and one.complete:
                    self.shared.mend_machine(one)

    def close(self) -> None:
        """Leave what is under way."""
        self._stopped.set()
        self._store.close()

    # -- what is there --

    def see(self, uuid: str) -> Machine:
        """Return a machine.

        :raises InstanceNotFound: it is not here.
        """
        with self._store.work() as work:
            return work.need(uuid)

    def power_state(self, uuid: str) -> int | None:
        """Return the power state of an instance, None when nothing of it is here."""
        with self._store.work() as work:
            found = work.get(uuid) or work.get(uuid, HELD)
        return None if found is None else int(found.power_state)

    def all(self) -> list[tuple[str, Machine]]:
        """Return everything that is here, with its role."""
        with self._store.work() as work:
            return work.all()

    def finished(self, op_id: str) -> Result | None:
        """Return what came of an operation, None when it is not done."""
        with self._store.work() as work:
            result = work.finished(op_id)
            came = [one for role, one in work.all() if role == LIVE and one.made_by == op_id]
        if result is not None and came:
            self.shared.keep_machine(came[0])  # the process may have died before it could
        return result

    def refused(self, demand: Demand, coming: Sequence[Demand]) -> str | None:
        """Return why there is no room for a machine, None when there is."""
        reason = self._faults.refused(demand.name)
        if reason is not None:
            return '[compute] fake_failures wants it so: %s' % reason
        with self._store.work() as work:
            here = {one.uuid for role, one in work.all() if role == LIVE}
            others = [one for one in coming if one.uuid not in here]
            node, why = capacity.place(self.settings, demand, [*work.taken(), *others])
        return why if node is None else None

    # -- what is done --

    def fate(self, task: Task) -> faults.Fate:
        """Decide how long an operation takes, and whether it fails."""
        return self._faults.fate(task.method, str(task.instance.get('display_name') or ''))

    def work(self) -> contextlib.AbstractContextManager[store.Work]:
        """Change something: all of the block or nothing."""
        return self._store.work()

    def change(
        self,
        task: Task,
        alter: Callable[[store.Work, Machine], Machine],
        *,
        lines: Sequence[str] = (),
        tell: Callable[[Machine], Mapping[str, Any]] = lambda changed: {},
    ) -> Result:
        """Let an operation end with a machine that is on this host as it is altered.

        :param lines: that it writes to its console.
        :param tell: returns the values of the result.
        :raises InstanceNotFound: it is not here.
        """
        with self._store.work() as work:
            changed = alter(work, work.need(task.uuid))
            result = self.end(work, task, changed, lines, tell(changed))
        self.shared.keep_machine(changed)
        return result

    @staticmethod
    def end(
        work: store.Work,
        task: Task,
        changed: Machine,
        lines: Sequence[str],
        values: Mapping[str, Any],
    ) -> Result:
        """Let an operation end within a transaction; what is shared is up to the caller."""
        work.put(changed)
        work.write(changed.uuid, lines)
        if changed.booted_at is None:
            work.close_ports(changed.uuid)
        return work.finish(task.op_id, Result(changed.power_state, values))

    def make(self, task: Task, demand: Demand, kept: Machine | None, content: str) -> Machine:
        """Make a machine that takes room and does nothing yet.

        :param kept: what it was on another host, if it comes from one.
        :param content: of its root disk.
        :raises ComputeResourcesUnavailable: there is no room.
        :raises InstanceExists: it is here already.
        """
        with self._store.work() as work:
            present = work.get(task.uuid)
            if present is not None and present.made_by != task.op_id:
                raise exceptions.InstanceExists(name=task.uuid)
            if present is not None:
                work.drop(task.uuid)
            node, reason = capacity.place(self.settings, demand, work.taken())
            if node is None:
                raise exceptions.ComputeResourcesUnavailable(reason=reason)
            made = _made(task, demand, node, kept, content)
            if kept is None:
                made = made.but(
                    interfaces=networks.interfaces(
                        task.args.get('networks') or (),
                        task.op_id,
                        self.addresses(work),
                    )
                )
            work.put(made)
        return made

    def addresses(self, work: store.Work) -> networks.Addresses:
        """Return what gives out addresses within a transaction."""
        used = work.addresses()

        def give(wanted: str | None) -> str:
            found, number = networks.free(
                self.settings.subnet, wanted, used, work.number('address')
            )
            used.add(found)
            work.keep_number('address', number)
            return found

        return give

    def clean_up(self, task: Task) -> None:
        """Remove what an operation that failed has left half done."""
        with self._store.work() as work:
            present = work.get(task.uuid)
            if present is not None and not present.complete and present.made_by == task.op_id:
                work.drop(task.uuid)
        image_id = task.args.get('image_id')
        if image_id and task.method != 'unshelve':
            image = self.shared.image(image_id)
            if image is not None and image.op_id == task.op_id:
                self.shared.drop_image(image_id)

    def told(self, changed: Machine) -> dict[str, Any]:
        """Return what the cell is told of a machine that has come here."""
        return {**self.network_info(changed), 'node': changed.node}

    def network_info(self, changed: Machine) -> dict[str, Any]:
        """Return what the cell is told of a machine whose interfaces may have changed."""
        return {'network_info': networks.network_info(changed.interfaces, self.settings.subnet)}

    @staticmethod
    def now() -> float:
        """Return the seconds since the epoch."""
        return time.time()


def _after_reboot(one: Machine) -> int:
    return PowerState.SUSPENDED if one.power_state == PowerState.SUSPENDED else PowerState.SHUTDOWN


def _made(task: Task, demand: Demand, node: str, kept: Machine | None, content: str) -> Machine:
    sizes = machine.sizes(task.args.get('flavor') or task.instance)
    if kept is None:
        return Machine(
            uuid=task.uuid,
            name=demand.name,
            node=node,
            memory_mb=sizes.memory_mb,
            vcpus=sizes.vcpus,
            root_gb=sizes.root_gb,
            ephemeral_gb=sizes.ephemeral_gb,
            made_by=task.op_id,
            disks=machine.disks(task.instance.get('image_ref'), sizes, content),
            metadata=dict(task.instance.get('metadata') or {}),
        )
    moved = machine.resized(kept, sizes)
    root = {**moved.root, 'content': content}
    return moved.but(
        node=node,
        made_by=task.op_id,
        complete=False,
        power_state=PowerState.NOSTATE,
        disks=(root, *moved.disks[1:]),
    )
