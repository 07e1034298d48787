"""Counters of a machine that runs: values in, values out.

They go up with the time that it has been running, at a pace that is its own.
"""

from typing import Any, Final

from cells.host.virt.fake.machine import Machine, fingerprint

_NANOSECONDS: Final = 10**9
_KIB: Final = 1024
_MIB: Final = 1024**2


def uptime(machine: Machine, now: float) -> int:
    """Return the seconds since a machine has booted."""
    return 0 if machine.booted_at is None else max(0, int(now - machine.booted_at))


def by_driver(machine: Machine, now: float) -> dict[str, Any]:
    """Return counters under names such as a hypervisor has."""
    seconds = uptime(machine, now)
    found: dict[str, Any] = {
        'uptime': seconds,
        'memory': machine.memory_mb * _KIB,
        'memory-actual': machine.memory_mb * _KIB,
        'memory-rss': machine.memory_mb * _KIB // 2,
    }
    for number in range(machine.vcpus):
        found['cpu%d_time' % number] = _cpu_time(machine, seconds, number)
    for disk in _disks(machine):
        name = disk.rpartition('/')[2]
        for what, value in _disk(machine, seconds, disk).items():
            found['%s_%s' % (name, what)] = value
    for one in machine.interfaces:
        for what, value in _nic(one['port_id'], seconds).items():
            found['tap%s_%s' % (one['port_id'][:11], what)] = value
    return found


def by_name(machine: Machine, now: float) -> dict[str, Any]:
    """Return counters under the names that are the same for all drivers."""
    seconds = uptime(machine, now)
    return {
        'version': '1.0',
        'state': 'running',
        'driver': 'fake',
        'hypervisor_os': 'fake',
        'uptime': seconds,
        'config_drive': False,
        'cpu_details': [
            {'time': _cpu_time(machine, seconds, number)} for number in range(machine.vcpus)
        ],
        'nic_details': [
            {
                'mac_address': one['mac'],
                'rx_octets': _nic(one['port_id'], seconds)['rx'],
                'rx_packets': _nic(one['port_id'], seconds)['rx_packets'],
                'rx_drop': 0,
                'rx_errors': 0,
                'tx_octets': _nic(one['port_id'], seconds)['tx'],
                'tx_packets': _nic(one['port_id'], seconds)['tx_packets'],
                'tx_drop': 0,
                'tx_errors': 0,
            }
            for one in machine.interfaces
        ],
        'disk_details': [
            {
                'id': disk,
                'read_bytes': _disk(machine, seconds, disk)['read'],
                'read_requests': _disk(machine, seconds, disk)['read_req'],
                'write_bytes': _disk(machine, seconds, disk)['write'],
                'write_requests': _disk(machine, seconds, disk)['write_req'],
                'errors_count': 0,
            }
            for disk in _disks(machine)
        ],
        'memory_details': {'maximum': machine.memory_mb, 'used': machine.memory_mb // 2},
    }


def _disks(machine: Machine) -> list[str]:
    volumes = [one['device'] for one in machine.volumes if 'reserved_at' not in one]
    return sorted({one['device'] for one in machine.disks} | set(volumes))


def _pace(*parts: object) -> int:
    """Return a number from 1 to 256 that belongs to something."""
    return int(fingerprint(*parts)[:2], 16) + 1


def _cpu_time(machine: Machine, seconds: int, number: int) -> int:
    return seconds * _NANOSECONDS * _pace(machine.uuid, 'cpu', number) // 256


def _disk(machine: Machine, seconds: int, device: str) -> dict[str, int]:
    pace = _pace(machine.uuid, device)
    return {
        'read': _MIB * pace + _KIB * pace * seconds,
        'read_req': pace * (seconds + 1),
        'write': _KIB * pace * (seconds + 1),
        'write_req': pace * (seconds + 1),
        'errors': 0,
    }


def _nic(port_id: str, seconds: int) -> dict[str, int]:
    pace = _pace(port_id)
    return {
        'rx': _KIB * pace * seconds,
        'rx_packets': pace * seconds,
        'tx': _KIB * pace * seconds // 2,
        'tx_packets': pace * seconds // 2,
    }
