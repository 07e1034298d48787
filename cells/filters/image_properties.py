"""Images that ask for versions of the hypervisor, such as ``>=6.0,<6.2``.

The property ``hypervisor_version_requires`` of the image is compared with the
capability ``prominent_hypervisor_version`` of the cell. A cell with others below it
has the versions of all of them: one that fits is enough.
"""

import operator
import re
from collections.abc import Callable
from typing import Any, Final

from cells import candidates, exceptions
from cells.filters import base

PROPERTY: Final = 'hypervisor_version_requires'
CAPABILITY: Final = 'prominent_hypervisor_version'

_COMPARED: Final[dict[str, Callable[[Any, Any], bool]]] = {
    '<': operator.lt,
    '<=': operator.le,
    '==': operator.eq,
    '!=': operator.ne,
    '>': operator.gt,
    '>=': operator.ge,
}
_CONDITION: Final = re.compile(r'\s*(<=|>=|<|>|!=|==)\s*(\S+)\s*')
#: Two or three numbers, and possibly a or b and a number for what comes before the version.
_VERSION: Final = re.compile(r'(\d{1,9})(?:\.(\d{1,9}))?(?:\.(\d{1,9}))?(?:([ab])(\d{1,9}))?')


def version(text: str) -> tuple[Any, ...] | None:
    """Return a version in a form that compares, None when it is none."""
    match = _VERSION.fullmatch(text.strip())
    if match is None:
        return None
    numbers = tuple(int(number or 0) for number in match.group(1, 2, 3))
    # What is alpha or beta comes before the version itself.
    return numbers, (match[4], int(match[5])) if match[4] else ('c', 0)


def conditions(text: object) -> list[tuple[str, tuple[Any, ...]]]:
    """Return what an image asks for, as comparison and version.

    :raises Invalid: it cannot be read.
    """
    found = []
    for part in str(text).split(','):
        match = _CONDITION.fullmatch(part)
        wanted = version(match[2]) if match else None
        if match is None or wanted is None:
            raise exceptions.Invalid(
                reason='image property %s is %.80r, not conditions such as ">=6.0,<6.2"'
                % (PROPERTY, text)
            )
        found.append((match[1], wanted))
    return found


class ImagePropertiesFilter(base.CellFilter):
    """Leaves the cells that have a hypervisor which the image may run on."""

    def refusal(
        self, request: candidates.Request, cell: candidates.Cell, load: candidates.Load
    ) -> str | None:
        """Refuse a cell none of whose versions fits."""
        asked = request.image_properties.get(PROPERTY)
        if not asked:
            return None
        versions = [version(str(text)) for text in cell.capabilities.get(CAPABILITY) or ()]
        known = [one for one in versions if one is not None]
        wanted = conditions(asked)
        if not known or any(
            all(_COMPARED[sign](one, other) for sign, other in wanted) for one in known
        ):
            return None
        return 'the image wants a hypervisor %s, it has %s' % (
            asked,
            ', '.join(cell.capabilities[CAPABILITY]),
        )
