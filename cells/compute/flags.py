"""Locks of instances, and the fields of them that are the API's."""

from collections.abc import Mapping
from typing import Any, Final

from cells import policy
from cells.compute import api_fields
from cells.compute.actions import Action, Request
from cells.db import instances as db_instances


def _lock(request: Request) -> None:
    instance, owner = request.instance, _is_owner(request)
    if instance.locked and owner:
        return
    _set(request, {'locked': True, 'locked_by': 'owner' if owner else 'admin'})


def _unlock(request: Request) -> None:
    instance = request.instance
    by_others = 'admin' if _is_owner(request) else 'owner'
    if instance.locked and instance.locked_by == by_others:
        policy.check(request.ctxt, 'compute:unlock_override', instance)
    _set(request, {'locked': False, 'locked_by': None})


def _is_owner(request: Request) -> bool:
    project_id = request.instance.project_id
    return project_id is not None and request.ctxt.project_id == project_id


def _update_arguments(**kwargs: Any) -> dict[str, Any]:
    return {'values': api_fields.with_action('update', kwargs)}


def _update(request: Request, values: Mapping[str, Any]) -> None:
    _set(request, values)


def _set(request: Request, values: Mapping[str, Any]) -> None:
    db_instances.instance_update(request.connection, request.instance.uuid, values)


ACTIONS: Final = (
    Action('lock', perform=_lock, policy='compute:lock'),
    Action('unlock', perform=_unlock, policy='compute:unlock'),
    # What parents up to juno send when a name or an address is changed.
    Action(
        'update', perform=_update, accepts=_update_arguments, policy='compute:update', unlocked=True
    ),
)
