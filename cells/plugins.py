"""The plugins of the scheduler by name: entry points, nova's names, and paths of classes.

What cannot be found stops the start, and the error says what there is.
"""

import importlib
from collections.abc import Iterable, Mapping
from typing import Any

import stevedore

from cells import exceptions, filters, weights
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
    known: stevedore.ExtensionManager[Any] = stevedore.ExtensionManager(
        namespace, on_load_failure_callback=_raise
    )
    found: dict[Any, None] = {}
    for name in names:
        for short in others.get(name, (name,)):
            cls = known[short].plugin if short in known else _import(option, short, known, others)
            if not (isinstance(cls, type) and issubclass(cls, base)):
                raise exceptions.ConfigurationError(
                    reason='%s: %s is not a %s' % (option, name, base.__name__)
                )
            found[cls] = None
    return list(found)


def _import(option: str, name: str, known: Any, others: Mapping[str, Any]) -> Any:
    module, dot, attribute = name.rpartition('.')
    reason = 'there is no such plugin'
    if dot and name.partition('.')[0] != 'nova':
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, ValueError) as error:
            reason = str(error)
        except AttributeError:
            reason = 'module %s has no %s' % (module, attribute)
    raise exceptions.ConfigurationError(
        reason='%s = %s: %s. There are %s; of nova %s are known; a class of your own is given by '
        'its path' % (option, name, reason, ', '.join(sorted(known.names())), ', '.join(others))
    )


def _raise(manager: Any, entry_point: Any, error: BaseException) -> None:
    raise exceptions.ConfigurationError(
        reason='plugin %s (%s) cannot be loaded: %s' % (entry_point.name, entry_point.value, error)
    ) from error
