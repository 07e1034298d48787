"""The driver ``fake``."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Self

from oslo_config import cfg

from cells import exceptions
from cells.host.virt import base
from cells.host.virt.fake import (
    capacity,
    consoles,
    diagnostics,
    imaging,
    living,
    moving,
    power,
    running,
    volumes,
    wiring,
)
from cells.host.virt.fake.host import FakeHost
from cells.host.virt.fake.machine import Machine
from cells.host.virt.fake.settings import Settings
from cells.host.virt.fake.store import LIVE

_OPERATIONS: Final[Mapping[str, Callable[[FakeHost, base.Task], base.Result]]] = {
    **running.OPERATIONS,
    **living.OPERATIONS,
    **imaging.OPERATIONS,
    **wiring.OPERATIONS,
    **moving.OPERATIONS,
}


class FakeDriver(base.VirtDriver):
    """A driver whose machines are only pretended."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._host = FakeHost(settings)

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> Self:
        return cls(Settings.from_conf(conf))

    def start(self) -> None:
        self._host.open()

    def stop(self) -> None:
        self._host.close()

    def nodes(self) -> list[dict[str, Any]]:
        return capacity.nodes(self._settings, [machine for _, machine in self._host.all()])

    def power_states(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for role, machine in self._host.all():
            if role == LIVE or machine.uuid not in found:
                found[machine.uuid] = int(machine.power_state)
        return found

    def power_state(self, uuid: str) -> int | None:
        return self._host.power_state(uuid)

    def operations(self) -> Mapping[str, base.Operation]:
        return {
            name: functools.partial(operation, self._host)
            for name, operation in _OPERATIONS.items()
        }

    def admit(self, demand: base.Demand, coming: Sequence[base.Demand]) -> None:
        reason = self._host.refused(demand, coming)
        if reason is not None:
            raise exceptions.ComputeResourcesUnavailable(reason=reason)

    def finished(self, op_id: str) -> base.Result | None:
        return self._host.finished(op_id)

    def clean_up(self, task: base.Task) -> None:
        self._host.clean_up(task)

    def machine(self, uuid: str) -> Machine:
        """Return a machine as it is now; for those who know that it is pretended.

        :raises InstanceNotFound: it is not on this host.
        """
        return self._host.see(uuid)

    # -- what is asked directly --

    def diagnostics(self, uuid: str) -> dict[str, Any]:
        machine = self._running(uuid, 'get_diagnostics')
        return diagnostics.by_driver(machine, self._host.now())

    def instance_diagnostics(self, uuid: str) -> dict[str, Any]:
        machine = self._running(uuid, 'get_instance_diagnostics')
        return diagnostics.by_name(machine, self._host.now())

    def _running(self, uuid: str, method: str) -> Machine:
        machine = self._host.see(uuid)
        power.need_running(machine, method)
        return machine

    def console_output(self, uuid: str, lines: int | None) -> str:
        with self._host.work() as work:
            work.need(uuid)
            return ''.join('%s\n' % line for line in work.lines(uuid, lines))

    def console(self, uuid: str, console_type: str, token: str) -> base.Console:
        if console_type not in consoles.TYPES:
            raise exceptions.ConsoleTypeInvalid(console_type=console_type)
        with self._host.work() as work:
            machine = work.need(uuid)
            if not power.is_on(machine):
                raise exceptions.InstanceNotReady(instance_id=uuid)
            port = work.port(uuid, console_type)
        return consoles.console(
            machine,
            console_type,
            host=self._settings.host,
            port=port,
            base_url=self._settings.console_url,
            token=token,
        )

    def reserve_device(self, uuid: str, device: str | None, volume_id: str) -> str:
        with self._host.work() as work:
            machine = volumes.reserved(work.need(uuid), device, volume_id, self._host.now())
            work.put(machine)
            found = volumes.find(machine, volume_id)
        assert found is not None
        return str(found['device'])
