"""Objects that show with ``id`` and ``host`` which cell they are from.

The manager adds two keys to the envelope of such an object
(``spec/objects.json``, ``cell_proxy``); other receivers ignore them.
"""

from collections.abc import Iterator
from typing import Any, Final

from cells import paths
from cells.objects import base

_CLASS_KEY: Final = 'cell_proxy.class_name'
_PATH_KEY: Final = 'cell_proxy.cell_path'


class ObjectProxy:
    """An object of a cell: ``id`` and ``host`` read ``<cell path>@<value>``."""

    HIDDEN: frozenset[str] = frozenset()

    def __init__(self, instance: Any, cell_path: str) -> None:
        self._obj = instance
        self._cell_path = cell_path

    @property
    def cell_path(self) -> str:
        """The path of the cell that it is from."""
        return self._cell_path

    @property
    def id(self) -> str:
        """The id with its cell."""
        return paths.with_cell(self._cell_path, self._obj.id)

    @property
    def host(self) -> str:
        """The host with its cell."""
        return paths.with_cell(self._cell_path, self._obj.host)

    def __getattr__(self, name: str) -> Any:
        if name in self.HIDDEN or name.startswith('__'):
            raise AttributeError(name)
        return getattr(self._obj, name)

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def __contains__(self, name: str) -> bool:
        return name not in self.HIDDEN and name in self._obj

    def items(self) -> Iterator[tuple[str, Any]]:
        """Yield the fields that are set, ``id`` and ``host`` with their cell."""
        for name, value in self._obj.items():
            if name not in self.HIDDEN:
                yield name, getattr(self, name) if name in ('id', 'host') else value

    def __repr__(self) -> str:
        return '%s(%r, %r)' % (type(self).__name__, self._obj, self._cell_path)


class ServiceProxy(ObjectProxy):
    """A service of a cell."""

    HIDDEN = frozenset({'compute_node'})


class ComputeNodeProxy(ObjectProxy):
    """A compute node of a cell."""


_CLASSES: Final[dict[str, type[ObjectProxy]]] = {
    cls.__name__: cls for cls in (ServiceProxy, ComputeNodeProxy)
}


def add_cell(envelope: dict[str, Any], cls: type[ObjectProxy], cell_path: str) -> dict[str, Any]:
    """Return the envelope with the cell that it is from."""
    return {**envelope, _CLASS_KEY: cls.__name__, _PATH_KEY: cell_path}


def from_envelope(envelope: dict[str, Any]) -> Any:
    """Return the object of an envelope, behind a proxy when it says which cell it is from."""
    instance = base.from_primitive(envelope)
    name, cell_path = envelope.get(_CLASS_KEY), envelope.get(_PATH_KEY)
    if not isinstance(name, str) or name not in _CLASSES or not isinstance(cell_path, str):
        return instance
    return _CLASSES[name](instance, cell_path)
