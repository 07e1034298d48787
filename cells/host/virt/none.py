"""A host that runs no virtual machines, and tells what this machine has."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, Self

from oslo_config import cfg

from cells import exceptions
from cells.host import resources
from cells.host.virt import base


class NoDriver(base.VirtDriver):
    """The driver ``none``."""

    def __init__(self, settings: resources.Settings) -> None:
        self._settings = settings

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> Self:
        return cls(resources.settings(conf))

    def start(self) -> None:
        """There is nothing to find out."""

    def stop(self) -> None:
        """There is nothing under way."""

    def nodes(self) -> list[dict[str, Any]]:
        return resources.measure(self._settings)

    def power_states(self) -> dict[str, int]:
        return {}

    def power_state(self, uuid: str) -> int | None:
        return None

    def operations(self) -> Mapping[str, base.Operation]:
        # An instance that is to go is gone, and that is all that can be asked for.
        return {'terminate': lambda task: base.Result(base.PowerState.NOSTATE)}

    def admit(self, demand: base.Demand, coming: Sequence[base.Demand]) -> None:
        raise exceptions.ComputeResourcesUnavailable(
            reason='this host runs no instances: [compute] virt_driver = none'
        )

    def finished(self, op_id: str) -> base.Result | None:
        return None

    def clean_up(self, task: base.Task) -> None:
        """There is nothing left of anything."""

    def diagnostics(self, uuid: str) -> dict[str, Any]:
        _unknown(uuid)

    def instance_diagnostics(self, uuid: str) -> dict[str, Any]:
        _unknown(uuid)

    def console_output(self, uuid: str, lines: int | None) -> str:
        _unknown(uuid)

    def console(self, uuid: str, console_type: str, token: str) -> base.Console:
        _unknown(uuid)

    def reserve_device(self, uuid: str, device: str | None, volume_id: str) -> str:
        _unknown(uuid)


def _unknown(uuid: str) -> NoReturn:
    raise exceptions.InstanceNotFound(instance_id=uuid)
