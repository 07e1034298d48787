"""What this machine has, measured, in the terms of a compute node.

:func:`measure` is what an agent asks. It returns a list, as a driver of virtual
machines may find several nodes behind one host.
"""

import dataclasses
import datetime
import ipaddress
import json
import pathlib
import platform
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import psutil
from oslo_config import cfg

MIB: Final = 1024**2
GIB: Final = 1024**3

#: What goes up and down all the time -> the total that it is a part of.
_FLUCTUATES: Final = {
    'free_ram_mb': 'memory_mb',
    'memory_mb_used': 'memory_mb',
    'free_disk_gb': 'local_gb',
    'local_gb_used': 'local_gb',
    'disk_available_least': 'local_gb',
}
#: The part of a total by which such a value must differ to be noticed, and the least of it.
_NOTICED_PART: Final = 50
_NOTICED_LEAST: Final = {'memory_mb': 64, 'local_gb': 1}


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """How to measure.

    :ivar instances_path: the file system that it is on is measured; it need not be there yet.
    :ivar reserved_memory_mb: and ``reserved_disk_gb``: counted as used.
    """

    instances_path: str
    reserved_memory_mb: int
    reserved_disk_gb: int
    cpu_allocation_ratio: float


def settings(conf: cfg.ConfigOpts) -> Settings:
    """Return how a configuration wants this machine to be measured."""
    return Settings(
        instances_path=conf.compute.instances_path,
        reserved_memory_mb=conf.compute.reserved_memory_mb,
        reserved_disk_gb=conf.compute.reserved_disk_gb,
        cpu_allocation_ratio=conf.compute.cpu_allocation_ratio,
    )


def measure(settings: Settings) -> list[dict[str, Any]]:
    """Return the compute nodes of this machine: one, itself.

    :raises OSError: its disk cannot be measured.
    """
    memory = psutil.virtual_memory()
    disk = psutil.disk_usage(_existing(settings.instances_path))
    memory_mb, local_gb = memory.total // MIB, disk.total // GIB
    free_ram_mb = max(0, memory.available // MIB - settings.reserved_memory_mb)
    free_disk_gb = max(0, disk.free // GIB - settings.reserved_disk_gb)
    return [
        {
            'hypervisor_hostname': platform.node() or socket.gethostname(),
            'hypervisor_type': 'none',
            'hypervisor_version': 0,
            'host_ip': _address(),
            'vcpus': psutil.cpu_count() or 1,
            'vcpus_used': 0,
            'memory_mb': memory_mb,
            'memory_mb_used': memory_mb - free_ram_mb,
            'free_ram_mb': free_ram_mb,
            'local_gb': local_gb,
            'local_gb_used': local_gb - free_disk_gb,
            'free_disk_gb': free_disk_gb,
            'disk_available_least': free_disk_gb,
            'current_workload': 0,
            'running_vms': 0,
            'cpu_allocation_ratio': settings.cpu_allocation_ratio,
            'ram_allocation_ratio': 1.0,
            'disk_allocation_ratio': 1.0,
            'cpu_info': json.dumps(
                {
                    'arch': platform.machine(),
                    'model': platform.processor() or platform.machine(),
                    'topology': {'cores': psutil.cpu_count(logical=False) or 1},
                },
                sort_keys=True,
            ),
            'metrics': '[]',
            'numa_topology': None,
            'stats': {},
            'supported_hv_specs': [],
        }
    ]


def uptime() -> str:
    """Return how long this machine has been running, in the words of ``uptime``."""
    seconds = int(time.time() - psutil.boot_time())
    days, rest = divmod(max(0, seconds), 86400)
    hours, minutes = rest // 3600, rest % 3600 // 60
    loads = ', '.join('%.2f' % load for load in psutil.getloadavg())
    users = len(psutil.users())
    return '%s up %s%2d:%02d,  %d user%s,  load average: %s' % (
        datetime.datetime.now().strftime('%H:%M:%S'),
        '%d day%s, ' % (days, '' if days == 1 else 's') if days else '',
        hours,
        minutes,
        users,
        '' if users == 1 else 's',
        loads,
    )


def noticeable(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether resources differ by more than what goes up and down all the time."""
    if len(before) != len(after):
        return True
    return any(_differ(one, other) for one, other in zip(before, after, strict=True))


def _differ(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    if before.keys() != after.keys():
        return True
    for name, value in after.items():
        old = before[name]
        if old == value:
            continue
        total = _FLUCTUATES.get(name)
        if total is None or old is None or value is None:
            return True
        if abs(old - value) > max(_NOTICED_LEAST[total], after[total] // _NOTICED_PART):
            return True
    return False


def _existing(path: str) -> str:
    wanted = pathlib.Path(path).absolute()
    return str(next(one for one in (wanted, *wanted.parents) if one.exists()))


def _address() -> str | None:
    """Return an address under which this machine may be known to others."""
    found = []
    for addresses in psutil.net_if_addrs().values():
        for one in addresses:
            if one.family == socket.AF_INET:
                address = ipaddress.ip_address(one.address)
                if not (address.is_loopback or address.is_link_local):
                    found.append(address)
    return str(min(found, key=int)) if found else None
