"""Names of cells, paths through the tree and what is named with its cell.

A path is written ``api!region!leaf``, top first as seen from its source; an
item of a cell is written ``api!region!leaf@item``. The three signs that this
syntax needs cannot be part of a name (R11).
"""

import dataclasses
import functools
import re
from collections.abc import Mapping

SEPARATOR = '!'
ITEM_SEPARATOR = '@'
MAX_NAME_LENGTH = 255
MAX_PATH_LENGTH = 4096

_BAD_IN_NAME = re.compile(r'[!@.\s\x00-\x1f\x7f\ud800-\udfff]')


def check_name(name: object) -> str:
    """Return the name when a cell may be called so.

    :raises ValueError: it may not; the text says why.
    """
    if not isinstance(name, str) or not name:
        raise ValueError('a cell name is a text that is not empty, not %r' % (name,))
    if len(name) > MAX_NAME_LENGTH:
        raise ValueError(
            'cell name %r... has %d characters, at most %d are allowed'
            % (name[:20], len(name), MAX_NAME_LENGTH)
        )
    if _BAD_IN_NAME.search(name):
        raise ValueError(
            'cell name %r has a character that is not allowed: "!", "@", ".", white space '
            'and control characters are not' % name
        )
    return name


@dataclasses.dataclass(frozen=True, slots=True)
class CellPath:
    """The cells from one place in the tree to another, never empty."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise ValueError('a cell path has at least one cell')
        for name in self.names:
            check_name(name)

    @staticmethod
    def parse(text: object) -> 'CellPath':
        """Read a path as it is written on the wire.

        :raises ValueError: it is not one.
        """
        if not isinstance(text, str):
            raise ValueError('a cell path is a text such as "api!child", not %r' % (text,))
        if len(text) > MAX_PATH_LENGTH:
            raise ValueError(
                'cell path %r... has %d characters, at most %d are allowed'
                % (text[:20], len(text), MAX_PATH_LENGTH)
            )
        return _parsed(text)

    def __str__(self) -> str:
        return SEPARATOR.join(self.names)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def last(self) -> str:
        """The cell the path ends at."""
        return self.names[-1]

    def hopped(self, name: str) -> 'CellPath':
        """Return the path that goes on to ``name``."""
        return CellPath((*self.names, name))

    def starts_with(self, other: 'CellPath') -> bool:
        """Tell whether ``other`` is a beginning of this path, or all of it."""
        return self.names[: len(other.names)] == other.names

    def backwards(self) -> 'CellPath':
        """Return the way back."""
        return CellPath(self.names[::-1])


@dataclasses.dataclass(frozen=True, slots=True)
class Aliases:
    """Where cells are now that were renamed or moved, and with them all below them (R12).

    :ivar prefixes: the path that a cell had -> the path that it has.
    """

    prefixes: Mapping[CellPath, CellPath] = dataclasses.field(default_factory=dict)

    def resolve(self, path: CellPath) -> CellPath:
        """Return the path that a cell has now; the longest prefix that is known counts.

        :raises ValueError: the aliases lead round in circles.
        """
        if not self.prefixes:
            return path
        found = path
        for _ in range(len(self.prefixes) + 1):
            following = self._step(found)
            if following is None:
                return found
            found = following
        raise ValueError('the aliases of paths lead %s round in circles' % path)

    def _step(self, path: CellPath) -> CellPath | None:
        for length in range(len(path), 0, -1):
            new = self.prefixes.get(CellPath(path.names[:length]))
            if new is not None:
                return CellPath(new.names + path.names[length:])
        return None


# Topologies are small and stable: the same few paths come with every message.
@functools.lru_cache(maxsize=4096)
def _parsed(text: str) -> CellPath:
    return CellPath(tuple(text.split(SEPARATOR)))


def with_cell(path: object, item: object) -> str:
    """Return ``path@item``, the name of an item outside of its cell."""
    return '%s%s%s' % (path, ITEM_SEPARATOR, item)


def split_item(text: str) -> tuple[CellPath | None, str]:
    """Split ``path@item`` at its last ``@``; without one there is no path (R14).

    :raises ValueError: what stands before the ``@`` is not a path.
    """
    path, sign, item = text.rpartition(ITEM_SEPARATOR)
    return (CellPath.parse(path) if sign else None), item
