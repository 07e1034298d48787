"""Orders for one instance, as messages of their own: each is an action of the cell.

What the sender knows of the instance is out of date by now: only its uuid counts, the rest
is read from the own row. ``instance_update_from_api`` alone brings values along.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells import arguments, deadlines, dispatch, exceptions, messages, operations
from cells.compute import actions, api_fields, deletion
from cells.compute import api as compute_api
from cells.compute.means import Means
from cells.db import instances as db_instances
from cells.objects.instance import Instance

Handler = Callable[..., Any]

#: Message -> action, where the arguments have the same names.
ACTIONS: Final[dict[str, str]] = {
    'backup_instance': 'backup',
    'confirm_resize': 'confirm_resize',
    'inject_network_info': 'inject_network_info',
    'live_migrate_instance': 'live_migrate',
    'pause_instance': 'pause',
    'reset_network': 'reset_network',
    'resume_instance': 'resume',
    'revert_resize': 'revert_resize',
    'snapshot_instance': 'snapshot',
    'soft_delete_instance': 'soft_delete',
    'start_instance': 'start',
    'stop_instance': 'stop',
    'suspend_instance': 'suspend',
    'unpause_instance': 'unpause',
}

REBOOTS: Final = {'SOFT': 'reboot_soft'}
DELETE_TYPES: Final = ('delete', 'force_delete', 'soft_delete')


class ActionHandlers:
    """Does with instances what is ordered."""

    OPERATIONS: Final = (*operations.INSTANCE_ACTIONS, 'stop_instance', 'instance_update_from_api')

    def __init__(self, means: Means) -> None:
        self._means = means

    def by_name(self) -> dict[str, Handler]:
        """Return the handlers by the names of their operations."""
        named = {name: self._same(action) for name, action in ACTIONS.items()}
        own = {name: getattr(self, name) for name in self.OPERATIONS if name not in named}
        return {**named, **own}

    def _same(self, action: str) -> Handler:
        def handler(
            connection: sa.Connection, message: messages.Message, instance: object, **kwargs: Any
        ) -> Any:
            return self._perform(connection, message, action, instance, kwargs)

        return handler

    def reboot_instance(
        self,
        connection: sa.Connection,
        message: messages.Message,
        instance: object,
        reboot_type: object,
    ) -> None:
        """Reboot an instance: ``SOFT``, or anything else for a hard one."""
        kind = arguments.text('reboot_type', reboot_type)
        self._perform(connection, message, REBOOTS.get(kind, 'reboot_hard'), instance, {})

    def terminate_instance(
        self,
        connection: sa.Connection,
        message: messages.Message,
        instance: object,
        delete_type: object = 'delete',
    ) -> None:
        """Delete an instance; one that is not here any more is deleted."""
        action = arguments.word('delete_type', delete_type, DELETE_TYPES)
        try:
            self._perform(connection, message, action, instance, {})
        except exceptions.InstanceNotFound:
            deletion.bury_unknown(connection, _object(instance))

    def set_admin_password(
        self,
        connection: sa.Connection,
        message: messages.Message,
        instance: object,
        new_pass: object = None,
    ) -> None:
        """Set the password of the guest's administrator."""
        self._perform(connection, message, 'set_admin_password', instance, {'password': new_pass})

    def resize_instance(
        self,
        connection: sa.Connection,
        message: messages.Message,
        instance: object,
        flavor: object,
        extra_instance_updates: object = None,
        clean_shutdown: object = True,
    ) -> None:
        """Give an instance the size of a flavor.

        :param flavor: its fields; ``flavorid`` at least.
        """
        described = dict(flavor.items()) if hasattr(flavor, 'items') else flavor
        given = arguments.mapping('flavor', described)
        values = arguments.mapping('extra_instance_updates', extra_instance_updates or {})
        kwargs = {
            **values,
            'flavor_id': arguments.text('flavorid of the flavor', given.get('flavorid')),
            'flavor': given,
            'clean_shutdown': clean_shutdown,
        }
        self._perform(connection, message, 'resize', instance, kwargs)

    def rebuild_instance(
        self,
        connection: sa.Connection,
        message: messages.Message,
        instance: object,
        image_href: object,
        admin_password: object,
        files_to_inject: object = None,
        preserve_ephemeral: object = False,
        kwargs: object = None,
    ) -> None:
        """Make the disk of an instance anew.

        :param kwargs: what of the instance changes with it.
        """
        given = {
            **arguments.mapping('kwargs', kwargs or {}),
            'preserve_ephemeral': preserve_ephemeral,
            'image_href': image_href,
            'admin_password': admin_password,
            'files_to_inject': files_to_inject,
        }
        self._perform(connection, message, 'rebuild', instance, given)

    def instance_update_from_api(
        self,
        connection: sa.Connection,
        message: messages.Message,
        instance: object,
        expected_vm_state: object = None,
        expected_task_state: object = None,
        admin_state_reset: object = False,
    ) -> None:
        """Take over what has changed of an instance above and is the API's (S12).

        It is not sent up again (S11).

        :param expected_vm_state: a state or a list of them; null for any, which is why no task
            is a list with null in it (S14).
        :param admin_state_reset: whether the states count, which are the cell's otherwise.
        :raises UnexpectedTaskStateError: the task state is another one.
        """
        changed = _object(instance)
        reset = arguments.boolean('admin_state_reset', admin_state_reset)
        columns, fields = api_fields.of_api(changed, reset)
        expected = {
            'vm_state': _expected('expected_vm_state', expected_vm_state),
            'task_state': _expected('expected_task_state', expected_task_state),
        }
        db_instances.instance_update(
            connection, changed.uuid, columns, expected, fields, sync=False
        )

    def _perform(
        self,
        connection: sa.Connection,
        message: messages.Message,
        action: str,
        instance: object,
        kwargs: Mapping[str, Any],
    ) -> Any:
        return compute_api.perform(
            connection,
            dispatch.context_of(message),
            action,
            uuid_of(instance),
            kwargs,
            means=self._means,
            message_uuid=message.uuid,
            answered=message.need_response,
            seconds=seconds_of(message, self._means),
        )


def uuid_of(instance: object) -> str:
    """Return the uuid of an instance as a message has it.

    :raises Invalid: it has none.
    """
    if isinstance(instance, Instance):
        found: object = instance.uuid if 'uuid' in instance else None
    else:
        found = arguments.mapping('instance', instance).get('uuid')
    return arguments.text('the uuid of the instance', found, actions.LONGEST_UUID)


def _object(instance: object) -> Instance:
    uuid = uuid_of(instance)
    if isinstance(instance, Instance):
        return instance
    return Instance(uuid=uuid)


def seconds_of(message: messages.Message, means: Means) -> float:
    """Return for how long whoever sent a message waits for the answer."""
    left = deadlines.remaining(message.extension, time.time(), means.call_timeout)
    return deadlines.shorter(max(0.0, left))


def _expected(name: str, value: object) -> Any:
    if value is None:
        return db_instances.ANY
    given = value if isinstance(value, list | tuple) else [value]
    found = tuple(None if one is None else arguments.text(name, one) for one in given)
    return found or db_instances.ANY
