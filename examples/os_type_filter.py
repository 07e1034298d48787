"""A filter: an image that says its operating system goes to cells that say they run it.

A cell says so in its configuration; what cells below it say is added on the way up::

    [cells]
    capabilities = os=linux;windows

The cells above choose with this filter::

    [cells]
    scheduler_filter_classes = nova.cells.filters.all_filters, os_type_filter.OsTypeFilter
"""

from cells import candidates
from cells.filters import base

CAPABILITY = 'os'
PROPERTY = 'os_type'


class OsTypeFilter(base.CellFilter):
    """Leaves out cells that name operating systems, and not that of the image."""

    def refusal(
        self, request: candidates.Request, cell: candidates.Cell, load: candidates.Load
    ) -> str | None:
        """Refuse a cell that says what it runs, when the image is something else."""
        wanted = request.image_properties.get(PROPERTY)
        offered = cell.capabilities.get(CAPABILITY)
        if not wanted or not offered or wanted in offered:
            return None
        return 'it runs %s, not %s' % (', '.join(sorted(offered)), wanted)
