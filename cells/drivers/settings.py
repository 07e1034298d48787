"""What a driver is made with, and how it is found by name."""

import dataclasses
from typing import Any

from cells import plugin_classes
from cells.drivers import base
from cells.stats import Stats

NAMESPACE = 'cells.drivers'


@dataclasses.dataclass(frozen=True, slots=True)
class DriverSettings:
    """Plain values for a driver, read once from the configuration.

    :ivar conf: for libraries that want one; a driver reads no option of ours from it.
    :ivar transport_url: the bus of this cell, None for the default of ``conf``.
    :ivar queue_base: prefix of the three topics.
    :ivar server: the server name of this worker.
    :ivar prefetch: how many messages may be taken in and not settled.
    :ivar queue_type: 'quorum' or 'classic'.
    :ivar send_queue_length: how many messages may wait for one neighbour.
    :ivar max_message_bytes: of an envelope; what cannot be as short need not be read.
    :ivar version_cap: highest version of the RPC between cells that is sent, None for no limit.
    :ivar stats: counts what is refused because no envelope is in it.
    """

    conf: Any
    transport_url: str | None
    queue_base: str
    server: str
    prefetch: int
    queue_type: str
    send_queue_length: int
    max_message_bytes: int = 8 * 1024 * 1024
    version_cap: str | None = None
    stats: Stats = dataclasses.field(default_factory=Stats)


def find(name: str) -> type[base.CellsDriver]:
    """Return the class of the driver of this name, or of this class path.

    :raises ConfigurationError: there is none; the known ones are listed.
    """
    # nova's own default, found in configurations that are taken over
    name = {'nova.cells.rpc_driver.CellsRPCDriver': 'rpc'}.get(name, name)
    entries = plugin_classes.known(NAMESPACE)
    cls: type[base.CellsDriver] = plugin_classes.find(
        '[cells] driver', name, entries=entries, base=base.CellsDriver, kind='driver'
    )
    return cls


def load(name: str, settings: DriverSettings) -> base.CellsDriver:
    """Return a driver, see :func:`find`.

    :raises ConfigurationError: there is none, or it does not accept the settings.
    """
    return find(name)(settings)  # type: ignore[call-arg]
