"""Which cells had rather take an instance: one weigher for each file.

The entry points ``cells.weights`` name them, ``[cells] scheduler_weight_classes`` chooses.
:mod:`cells.scheduler` says what is made of their weights.
"""

from typing import Final

NAMESPACE: Final = 'cells.weights'

#: Those that are here.
SHIPPED: Final = ('mute_child', 'ram_by_instance_type', 'weight_offset')

#: What nova calls them, found in configurations that are taken over.
NOVA_NAMES: Final[dict[str, tuple[str, ...]]] = {
    'nova.cells.weights.all_weighers': SHIPPED,
    'nova.cells.weights.mute_child.MuteChildWeigher': ('mute_child',),
    'nova.cells.weights.ram_by_instance_type.RamByInstanceTypeWeigher': ('ram_by_instance_type',),
    'nova.cells.weights.weight_offset.WeightOffsetWeigher': ('weight_offset',),
}
