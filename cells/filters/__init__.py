"""Which cells may take an instance: one filter for each file.

The entry points ``cells.filters`` name them, ``[cells] scheduler_filter_classes`` chooses.
"""

from typing import Final

NAMESPACE: Final = 'cells.filters'

#: Those that are here, in the order in which they are asked.
SHIPPED: Final = ('target_cell', 'image_properties', 'different_cell', 'capacity')

#: What nova calls them, found in configurations that are taken over.
NOVA_NAMES: Final[dict[str, tuple[str, ...]]] = {
    'nova.cells.filters.all_filters': SHIPPED,
    'nova.cells.filters.target_cell.TargetCellFilter': ('target_cell',),
    'nova.cells.filters.image_properties.ImagePropertiesFilter': ('image_properties',),
    'nova.cells.filters.different_cell.DifferentCellFilter': ('different_cell',),
}
