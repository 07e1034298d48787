"""The plugins of the scheduler by name: entry points, nova's names, and paths of classes.

What cannot be found stops the start, and the error says what there is.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from cells import filters, plugin_classes, weights
from cells.filters.base import CellFilter
from cells.scheduler import CellsScheduler
from cells.weights.base import CellWeigher


def load_scheduler(options: Any) -> CellsScheduler:
    """Return the scheduler that the options of ``[cells]`` ask for.

    :raises ConfigurationError: one of them names what there is not.
    """
    chosen_filters = find(
        '[cells] scheduler_filter_classes',
        options.scheduler_filter_classes,
        namespace=filters.NAMESPACE,
        base=CellFilter,
        others=filters.NOVA_NAMES,
    )
    chosen_weighers = find(
        '[cells] scheduler_weight_classes',
        options.scheduler_weight_classes,
        namespace=weights.NAMESPACE,
        base=CellWeigher,
        others=weights.NOVA_NAMES,
    )
    return CellsScheduler(
        [cls() for cls in chosen_filters],
        [cls(1.0 if cls.option is None else options[cls.option]) for cls in chosen_weighers],
    )


def find(
    option: str,
    names: Iterable[str],
    *,
    namespace: str,
    base: type[Any],
    others: Mapping[str, tuple[str, ...]],
) -> list[type[Any]]:
    """Return the classes that an option names, in its order; each once.

    :param option: what it is called in errors.
    :param namespace: of the entry points.
    :param base: what the classes must be of.
    :param others: further names, each for one or several of the short ones.
    :raises ConfigurationError: a name stands for nothing.
    """
    entries = plugin_classes.known(namespace)
    also = '; of nova %s are known' % ', '.join(others)
    found: dict[Any, None] = {}
    for name in names:
        for short in others.get(name, (name,)):
            cls = plugin_classes.find(
                option, short, entries=entries, base=base, kind='plugin', also=also
            )
            found[cls] = None
    return list(found)
