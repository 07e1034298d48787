"""Trees of which some cells add nothing to their envelopes, for all tests of trees.

``CELLS_TEST_PLAIN`` says which cells those are: ``top``, ``middle`` (with a parent and children),
``leaf`` or ``all``. Who makes a cell of a tree asks here for what that means for it. Tests that
cannot hold then are marked with ``needs_extensions``, with the reason, and are left out.
"""

import os
from typing import Any, Final

VARIABLE: Final = 'CELLS_TEST_PLAIN'
MODES: Final = ('top', 'middle', 'leaf', 'all')


def mode() -> str | None:
    """Return which cells are to be plain, None for none.

    :raises ValueError: the variable has a value without a meaning.
    """
    found = os.environ.get(VARIABLE) or None
    if found is not None and found not in MODES:
        raise ValueError('%s = %r is none of %s' % (VARIABLE, found, ', '.join(MODES)))
    return found


def options(has_parent: bool, has_children: bool) -> dict[str, Any]:
    """Return the options of the group ``cells`` by which a cell is as plain as is wanted."""
    place = 'top' if not has_parent else 'middle' if has_children else 'leaf'
    return {'envelope_extensions': False} if mode() in (place, 'all') else {}
