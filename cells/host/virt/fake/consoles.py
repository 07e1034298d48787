"""What a machine writes to its console, and where its consoles are: values in, values out."""

import datetime
from typing import Final

from cells.host.virt.base import Console
from cells.host.virt.fake.machine import Machine

#: Type of console -> what is behind the address of the proxy.
_PAGES: Final = {
    'novnc': 'vnc_auto.html',
    'xvpvnc': 'console',
    'spice-html5': 'spice_auto.html',
    'rdp-html5': 'rdp.html',
    'serial': 'serial',
}
TYPES: Final = tuple(_PAGES)


def console(
    machine: Machine, console_type: str, *, host: str, port: int, base_url: str, token: str
) -> Console:
    """Return where a console of a machine is."""
    return Console(
        host=host,
        port=port,
        internal_access_path='/%s/%s' % (machine.uuid, console_type),
        access_url='%s/%s?token=%s' % (base_url, _PAGES[console_type], token),
    )


def boot_lines(machine: Machine) -> list[str]:
    """Return what a machine writes when it has booted."""
    disk = machine.rescue or machine.root
    moment = datetime.datetime.fromtimestamp(machine.booted_at or 0, datetime.UTC)
    addresses = [address for one in machine.interfaces for address in one['addresses']]
    return [
        '[    0.000000] Booting from %s, content %s' % (disk['device'], disk['content']),
        '[    0.000000] Memory: %d MiB, %d CPUs' % (machine.memory_mb, machine.vcpus),
        '[    0.100000] boot %d at %s' % (machine.boots, moment.strftime('%Y-%m-%dT%H:%M:%SZ')),
        *('[    0.200000] eth%d: %s' % pair for pair in enumerate(addresses)),
        '%s login:' % (machine.name or machine.uuid),
    ]
