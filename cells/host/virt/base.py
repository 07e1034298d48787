"""The contract between an agent and its driver of virtual machines.

A driver is found by the name of its entry point in ``cells.virt_drivers``, or by the
path of its class, and made by :meth:`VirtDriver.from_conf`. An agent has one, and
calls :meth:`VirtDriver.start` before anything else and :meth:`VirtDriver.stop` last.

Threads
    Everything may be called from many threads at once, but there is never more than
    one operation on the same instance under way. An operation may take hours; all
    other methods answer at once, also while operations are under way.
Ending
    When :meth:`VirtDriver.stop` is called, what is under way is left: operations raise
    ``AgentStopped``. It is as if the process had been killed, see below.
Errors
    What is wrong with an order or a state is told by an error of
    :mod:`cells.exceptions`, such as ``InstanceNotFound``, ``InstanceInvalidState`` or
    ``ImageNotFound``, and what the driver fails at by ``DriverError``. Their first line
    goes to the cell. Any other exception is a fault of the driver, and is logged as one.
Dying
    A process may die at any point. The operation that was under way is brought to an
    end at the next start: :meth:`VirtDriver.finished` tells whether it had been done
    after all. If not, :meth:`VirtDriver.clean_up` removes what it left half done, and it
    is run anew where ``cells.host.methods`` says so, else reported as interrupted.
Repeats
    So an operation may find its work done. It then does what is missing, and is content:
    to start what runs is no error.
"""

import abc
import dataclasses
import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Self

from oslo_config import cfg

NAMESPACE = 'cells.virt_drivers'


class PowerState(enum.IntEnum):
    """What a virtual machine does (``spec/compute_api.json``, ``power_states``)."""

    NOSTATE = 0
    RUNNING = 1
    PAUSED = 3
    SHUTDOWN = 4
    CRASHED = 6
    SUSPENDED = 7


class Progress(Protocol):
    """Tells the cell how far an operation is; never fails, never waits."""

    def __call__(self, task_state: str, percent: int) -> None: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """An operation that is to be carried out on an instance.

    :ivar op_id: the same whenever the operation is run again.
    :ivar method: which one, a name in ``cells.host.methods``.
    :ivar instance: what the cell says of the instance: ``uuid``, ``display_name`` and so on.
    :ivar args: the arguments of the method, all of them, checked.
    """

    op_id: str
    method: str
    instance: Mapping[str, Any]
    args: Mapping[str, Any]
    progress: Progress

    @property
    def uuid(self) -> str:
        """The uuid of the instance."""
        return str(self.instance['uuid'])


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What came of an operation.

    :ivar power_state: of the machine now; None when it is not up to this host to tell, as after
        it has gone to another.
    :ivar values: what else the cell is to know, see ``cells.host.methods``.
    """

    power_state: int | None
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Demand:
    """The room that an instance needs on a host.

    :ivar name: the display name of the instance.
    :ivar node: where the cell wants it; None for anywhere.
    """

    uuid: str
    name: str
    node: str | None
    memory_mb: int
    vcpus: int
    disk_gb: int


@dataclasses.dataclass(frozen=True, slots=True)
class Console:
    """Where the console of a machine is reached.

    :ivar host: and ``port``: where the machine offers it, for the proxy.
    :ivar internal_access_path: what the proxy asks for there.
    :ivar access_url: what the user opens; it has the token in it.
    """

    host: str
    port: int
    internal_access_path: str | None
    access_url: str


Operation = Callable[[Task], Result]


class VirtDriver(abc.ABC):
    """A driver. Constructors store; I/O begins in :meth:`start`."""

    @classmethod
    @abc.abstractmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> Self:
        """Return the driver that a configuration describes.

        :raises ConfigurationError: it can never work.
        """

    @abc.abstractmethod
    def start(self) -> None:
        """Find out what is there. Machines that ran before are left running.

        :raises ConfigurationError: it can never work.
        """

    @abc.abstractmethod
    def stop(self) -> None:
        """Leave what is under way. Machines are left running."""

    @abc.abstractmethod
    def nodes(self) -> list[dict[str, Any]]:
        """Return the compute nodes behind this host, as fields of ``ComputeNode``.

        :raises OSError: they cannot be measured now.
        """

    @abc.abstractmethod
    def power_states(self) -> dict[str, int]:
        """Return the power state of each instance that has anything on this host, by uuid."""

    @abc.abstractmethod
    def power_state(self, uuid: str) -> int | None:
        """Return the power state of an instance, None when it is not on this host."""

    @abc.abstractmethod
    def operations(self) -> Mapping[str, Operation]:
        """Return what carries the operations out, by the names of ``cells.host.methods``.

        An operation that is not in it is refused when it is ordered.
        """

    @abc.abstractmethod
    def admit(self, demand: Demand, coming: Sequence[Demand]) -> None:
        """Say whether there is room for one more instance. It is not reserved.

        :param coming: those that were admitted and may not be on the host yet.
        :raises ComputeResourcesUnavailable: there is none; the cell tries another host.
        """

    @abc.abstractmethod
    def finished(self, op_id: str) -> Result | None:
        """Return what came of an operation, None when it was not done or is not remembered.

        To remember a week is enough.
        """

    @abc.abstractmethod
    def clean_up(self, task: Task) -> None:
        """Remove what an operation that failed, or that died, has left half done.

        What was there before stays. There may be nothing to remove.
        """

    # -- what is asked directly; each raises InstanceNotFound for what is not on this host --

    @abc.abstractmethod
    def diagnostics(self, uuid: str) -> dict[str, Any]:
        """Return counters of a machine, under names of the driver's own.

        :raises InstanceInvalidState: it does not run.
        """

    @abc.abstractmethod
    def instance_diagnostics(self, uuid: str) -> dict[str, Any]:
        """Return counters of a machine, under names that are the same for all drivers.

        :raises InstanceInvalidState: it does not run.
        """

    @abc.abstractmethod
    def console_output(self, uuid: str, lines: int | None) -> str:
        """Return the last lines that a machine has written to its console, None for all."""

    @abc.abstractmethod
    def console(self, uuid: str, console_type: str, token: str) -> Console:
        """Return where a console is; it stays there while the machine is on.

        :param console_type: novnc, xvpvnc, spice-html5, rdp-html5 or serial.
        :param token: by which the user is let in.
        :raises ConsoleTypeInvalid: the driver does not offer it.
        :raises InstanceNotReady: the machine is off.
        """

    @abc.abstractmethod
    def reserve_device(self, uuid: str, device: str | None, volume_id: str) -> str:
        """Return the name under which a volume is going to be attached, and keep it for that.

        :param device: the name that is wanted, None for the next free one.
        :raises InvalidDevicePath: it is no name of a disk.
        :raises DevicePathInUse: another disk has it.
        """
