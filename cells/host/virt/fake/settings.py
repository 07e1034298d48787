"""What a fake host is made with, read once from the configuration."""

import dataclasses
import ipaddress
import pathlib
from typing import Self

from oslo_config import cfg

from cells import exceptions
from cells.host.virt.fake import faults, networks


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """A fake host.

    :ivar directory: for what it remembers.
    :ivar shared: for what the hosts of its cell share.
    :ivar memory_mb: and ``vcpus``, ``local_gb``: of each node.
    :ivar missing_images: ids of images that there are not.
    :ivar reboots: whether its machines are off when the agent starts.
    """

    host: str
    directory: pathlib.Path
    shared: pathlib.Path
    nodes: tuple[str, ...]
    vcpus: int
    memory_mb: int
    local_gb: int
    cpu_allocation_ratio: float
    subnet: ipaddress.IPv4Network
    console_url: str
    missing_images: frozenset[str]
    reboots: bool
    delays: tuple[faults.Delay, ...]
    failures: tuple[faults.Failure, ...]
    seed: str

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> Self:
        """Return what a configuration says.

        :raises ConfigurationError: a value cannot be one.
        """
        options = conf.compute
        try:
            subnet = networks.subnet(options.fake_subnet, conf.host)
        except ValueError as error:
            raise exceptions.ConfigurationError(
                reason='[compute] fake_subnet = %s: %s. It is a subnet such as 10.1.2.0/24'
                % (options.fake_subnet, error)
            ) from None
        return cls(
            host=conf.host,
            directory=pathlib.Path(conf.state_path),
            shared=pathlib.Path(options.fake_images_path),
            nodes=_nodes(conf.host, options.fake_nodes),
            vcpus=options.fake_vcpus,
            memory_mb=options.fake_memory_mb,
            local_gb=options.fake_local_gb,
            cpu_allocation_ratio=options.cpu_allocation_ratio,
            subnet=subnet,
            console_url=options.fake_console_url.rstrip('/'),
            missing_images=frozenset(options.fake_missing_images),
            reboots=options.fake_host_reboot,
            delays=tuple(faults.delay(one) for one in options.fake_delays),
            failures=tuple(faults.failure(one) for one in options.fake_failures),
            seed=options.fake_seed,
        )


def _nodes(host: str, several: int) -> tuple[str, ...]:
    if several == 1:
        return (host,)
    return tuple('%s-%d' % (host, number + 1) for number in range(several))
