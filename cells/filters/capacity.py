"""Room: memory, disk and processors, less what is on its way (C3).

A cell has no room only when it says so: a size that it does not list, in a report
without ``free``, passes. The own cell passes always, as its hosts are asked themselves.
"""

from typing import Final

from cells import candidates
from cells.filters import base

_KINDS: Final = (('ram_free', 'memory'), ('disk_free', 'disk'))


class CapacityFilter(base.CellFilter):
    """Leaves the cells that have room, as far as is known."""

    by_load = True

    def refusal(
        self, request: candidates.Request, cell: candidates.Cell, load: candidates.Load
    ) -> str | None:
        """Refuse a cell that says that there is no room, and name what is short."""
        if cell.is_own:
            return None
        short = []
        sizes = (request.memory_mb, request.disk_gb * 1024)
        under_way = (load.memory_mb, load.disk_gb * 1024)
        for (key, name), size, taken in zip(_KINDS, sizes, under_way, strict=True):
            number = cell.room.units(key, size) if size > 0 else None
            if number is not None and number - taken / size < 1:
                short.append(_shortage(name, size, number, load))
        if not short:
            short = _without_host(request, cell)
        return 'no room: %s' % '; '.join(short) if short else None


def _shortage(name: str, size: int, number: int, load: candidates.Load) -> str:
    if number < 1:
        return '%s for none of %d MB' % (name, size)
    return '%s for %d of %d MB, and %d builds are on their way' % (name, number, size, load.builds)


def _without_host(request: candidates.Request, cell: candidates.Cell) -> list[str]:
    """Return what no single host has, of what was asked for."""
    wanted = {
        'memory_mb': request.memory_mb,
        'disk_gb': request.disk_gb,
        'vcpus': request.vcpus,
    }
    if cell.room.hosts(**wanted) != 0:
        return []
    texts = {
        'memory_mb': '%d MB of memory' % request.memory_mb,
        'disk_gb': '%d GB of disk' % request.disk_gb,
        'vcpus': '%d vCPUs' % request.vcpus,
    }
    short = [
        'no host has %s' % text
        for name, text in texts.items()
        if cell.room.hosts(**{name: wanted[name]}) == 0
    ]
    return short or ['no host has %s together' % ', '.join(texts.values())]
