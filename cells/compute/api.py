"""What parents may have done with an instance through ``run_compute_api_method``.

A method is a row in :data:`METHODS`; nothing else can be called. Before it changes
anything its arguments are bound to its signature and checked, the instance is locked,
and policy, lock and state are looked at, in this order (``spec/compute_api.json``,
``common_rules``).
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from cells import arguments, context, exceptions, policy
from cells.db import instances as db_instances
from cells.objects.instance import Instance

#: Items that an instance may have in its metadata.
MOST_METADATA: Final = 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Method:
    """What can be done with an instance.

    :ivar perform: called with (connection, context, instance, arguments).
    :ivar check: called with the arguments alone before; raises for what cannot be meant.
    :ivar unlocked: whether the instance must not be locked, except for administrators.
    :ivar vm_states: in which of them it can be done; None for all.
    :ivar launched: whether the instance must have run once.
    """

    perform: Callable[..., Any]
    check: Callable[..., None]
    unlocked: bool = False
    vm_states: frozenset[str] | None = None
    launched: bool = False

    @property
    def signature(self) -> inspect.Signature:
        """What may be given beside the instance."""
        return inspect.signature(self.check)


def run(
    connection: sa.Connection,
    ctxt: context.RequestContext,
    name: object,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Any:
    """Do something with an instance, in a transaction, and return what came of it.

    :param name: of a method in :data:`METHODS`.
    :param args: the uuid of the instance, and what else the method takes.
    :raises CellServiceAPIMethodNotFound: there is no such method.
    :raises Invalid: the arguments do not fit.
    :raises InstanceNotFound: there is no such instance.
    :raises PolicyNotAuthorized: the request may not.
    :raises InstanceInvalidState: it cannot be done now; InstanceIsLocked when it is locked.
    """
    method = METHODS.get(name) if isinstance(name, str) else None
    if method is None:
        raise exceptions.CellServiceAPIMethodNotFound(
            detail='%.80s; there are %s' % (ascii(name), ', '.join(METHODS))
        )
    if not args:
        raise exceptions.Invalid(reason='%s names no instance: method_args is empty' % name)
    try:
        method.signature.bind(*args[1:], **kwargs)
    except TypeError as error:
        raise exceptions.Invalid(reason='%s: %s' % (name, error)) from None
    method.check(*args[1:], **kwargs)
    uuid = arguments.text('the uuid of the instance', args[0])
    instance = db_instances.instance_get(connection, uuid, lock=True)
    _check_instance(ctxt, str(name), method, instance)
    return method.perform(connection, ctxt, instance, *args[1:], **kwargs)


def _check_instance(
    ctxt: context.RequestContext, name: str, method: Method, instance: Instance
) -> None:
    policy.check(ctxt, 'compute:%s' % name, instance)
    if method.unlocked and instance.locked and not ctxt.is_admin:
        raise exceptions.InstanceIsLocked(instance_uuid=instance.uuid)
    attribute = None
    if method.vm_states is not None and instance.vm_state not in method.vm_states:
        attribute = 'vm_state'
    elif method.launched and instance.launched_at is None:
        attribute = 'launched_at'
    if attribute is not None:
        raise exceptions.InstanceInvalidState(
            attr=attribute,
            instance_uuid=instance.uuid,
            state=getattr(instance, attribute),
            method=name,
        )


# -- locks --


def _no_arguments() -> None:
    """Stand for what takes nothing beside the instance."""


def _lock(connection: sa.Connection, ctxt: context.RequestContext, instance: Instance) -> None:
    owner = _is_owner(ctxt, instance)
    if instance.locked and owner:
        return
    db_instances.instance_update(
        connection,
        instance.uuid,
        {'locked': True, 'locked_by': 'owner' if owner else 'admin'},
        expected={'locked': instance.locked, 'locked_by': instance.locked_by},
    )


def _unlock(connection: sa.Connection, ctxt: context.RequestContext, instance: Instance) -> None:
    by_others = 'admin' if _is_owner(ctxt, instance) else 'owner'
    if instance.locked and instance.locked_by == by_others:
        policy.check(ctxt, 'compute:unlock_override', instance)
    if instance.locked or instance.locked_by is not None:
        db_instances.instance_update(
            connection,
            instance.uuid,
            {'locked': False, 'locked_by': None},
            expected={'locked': instance.locked, 'locked_by': instance.locked_by},
        )


def _is_owner(ctxt: context.RequestContext, instance: Instance) -> bool:
    return instance.project_id is not None and ctxt.project_id == instance.project_id


# -- metadata --


def _get_metadata(
    connection: sa.Connection, ctxt: context.RequestContext, instance: Instance
) -> dict[str, str]:
    return dict(instance.metadata)


def _check_update(metadata: object, delete: object = False) -> None:
    given = arguments.mapping('metadata', metadata)
    for key, value in given.items():
        arguments.text('a key of metadata', key)
        arguments.text('metadata %.40s' % ascii(key), value, empty=True)
    if len(given) > MOST_METADATA:
        raise exceptions.Invalid(
            reason='metadata has %d items, at most %d are allowed' % (len(given), MOST_METADATA)
        )
    if not isinstance(delete, bool):
        raise exceptions.Invalid(reason='delete is %.60s, not true or false' % ascii(delete))


def _update_metadata(
    connection: sa.Connection,
    ctxt: context.RequestContext,
    instance: Instance,
    metadata: Mapping[str, str],
    delete: bool = False,
) -> dict[str, str]:
    result = dict(metadata) if delete else {**instance.metadata, **metadata}
    if len(result) > MOST_METADATA:
        raise exceptions.Invalid(
            reason='instance %s would have %d items of metadata, at most %d are allowed'
            % (instance.uuid, len(result), MOST_METADATA)
        )
    if result != instance.metadata:
        db_instances.metadata_set(connection, instance.uuid, metadata, replace=delete)
        db_instances.instance_update(connection, instance.uuid, {})
    return result


def _check_key(key: object) -> None:
    arguments.text('key', key)


def _delete_metadata(
    connection: sa.Connection, ctxt: context.RequestContext, instance: Instance, key: str
) -> None:
    if key in instance.metadata:
        db_instances.metadata_delete(connection, instance.uuid, [key])
        db_instances.instance_update(connection, instance.uuid, {})


_AT_WORK: Final = frozenset({'active', 'paused', 'suspended', 'stopped'})

METHODS: Final[dict[str, Method]] = {
    'delete_instance_metadata': Method(
        _delete_metadata, _check_key, unlocked=True, vm_states=_AT_WORK, launched=True
    ),
    'get_instance_metadata': Method(_get_metadata, _no_arguments),
    'lock': Method(_lock, _no_arguments),
    'unlock': Method(_unlock, _no_arguments),
    'update_instance_metadata': Method(
        _update_metadata, _check_update, unlocked=True, vm_states=_AT_WORK, launched=True
    ),
}
