"""Who may do what with an instance: rules in code, applied by the cell that does it.

``compute:<method>`` is for administrators and for members of the project that the
instance belongs to, unless a rule of its own stands below. ``cells_scheduler_filter:<filter>``
says who may give the hint that the filter is for; that is asked in every cell on the way.
"""

from collections.abc import Mapping
from typing import Any, Final

from cells import context, exceptions

#: By hint of a build.
HINTS: Final = {
    'target_cell': 'cells_scheduler_filter:TargetCellFilter',
    'different_cell': 'cells_scheduler_filter:DifferentCellFilter',
}

ADMIN_ONLY: Final = frozenset({'compute:unlock_override', HINTS['target_cell']})


def allows(ctxt: context.RequestContext, action: str, project_id: str | None) -> bool:
    """Tell whether a request may do something with what belongs to a project."""
    if ctxt.is_admin:
        return True
    return action not in ADMIN_ONLY and project_id is not None and ctxt.project_id == project_id


def check(ctxt: context.RequestContext, action: str, instance: Any) -> None:
    """Refuse what a request may not do with an instance.

    :param action: such as ``compute:lock``.
    :raises PolicyNotAuthorized: it may not.
    """
    if not allows(ctxt, action, instance.project_id):
        raise exceptions.PolicyNotAuthorized(action=action)


def check_hints(ctxt: context.RequestContext, hints: Mapping[str, Any]) -> None:
    """Refuse a build with hints that a request may not give (C8).

    :raises PolicyNotAuthorized: it may not.
    """
    for hint, action in HINTS.items():
        if hints.get(hint) and not allows(ctxt, action, ctxt.project_id):
            raise exceptions.PolicyNotAuthorized(action=action)
