"""What of an instance an API may change: each field has one owner (S12).

The cell that has an instance owns where and what it is, and what is being done with it.
Names, addresses, flags and the like are the API's; metadata goes by actions of its own.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from cells import exceptions
from cells.db import instance_fields, models
from cells.objects.instance import Instance

_COLUMNS: Final = models.Instance.__table__.c

#: What an action may bring along, such as a rebuild.
WITH_ACTIONS: Final = (
    'access_ip_v4',
    'access_ip_v6',
    'auto_disk_config',
    'config_drive',
    'display_description',
    'display_name',
    'hostname',
    'key_data',
    'key_name',
    'user_data',
)

#: Columns that are the cell's, whatever comes down.
_OF_THE_CELL: Final = frozenset(
    {
        'cell_name',
        'created_at',
        'deleted',
        'deleted_at',
        'ephemeral_gb',
        'host',
        'id',
        'image_ref',
        'inconsistent',
        'instance_type_id',
        'kernel_id',
        'launched_at',
        'launched_on',
        'memory_mb',
        'node',
        'power_state',
        'project_id',
        'ramdisk_id',
        'root_gb',
        'sync_epoch',
        'sync_seq',
        'terminated_at',
        'updated_at',
        'user_id',
        'uuid',
        'vcpus',
    }
)
#: Columns that an administrator may reset.
RESET: Final = frozenset({'vm_state', 'task_state'})

#: Fields that are no columns and are the API's.
_FIELDS: Final = frozenset({'ec2_ids', 'keypairs', 'security_groups', 'tags', 'trusted_certs'})


def of_api(instance: Instance, reset: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what has changed of an instance above and counts here: columns, and other fields.

    :param reset: whether an administrator resets the states.
    """
    changed = instance.obj_what_changed()
    columns = {
        name: getattr(instance, name)
        for name in sorted(changed)
        if name in _COLUMNS and name not in _OF_THE_CELL and (reset or name not in RESET)
    }
    fields = {
        name: getattr(instance, name)
        for name in sorted(changed & _FIELDS & instance_fields.NAMES)
        if name in instance
    }
    return fitting(columns), fields


def with_action(
    method: str, given: Mapping[str, Any], names: Iterable[str] = WITH_ACTIONS
) -> dict[str, Any]:
    """Return columns that are to change with an action.

    :param method: of the action, for the error.
    :param names: of those that may.
    :raises Invalid: one of them may not, or cannot have the value.
    """
    allowed = sorted(names)
    unknown = sorted(set(given) - set(allowed))
    if unknown:
        raise exceptions.Invalid(
            reason='%s takes no %s; it takes %s'
            % (method, ', '.join('%.60s' % ascii(name) for name in unknown), ', '.join(allowed))
        )
    return fitting(given)


def fitting(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as the columns take them.

    :raises Invalid: one cannot be stored.
    """
    found = {}
    for name, value in values.items():
        try:
            found[name] = getattr(Instance(**{name: value}), name)
        except (ValueError, TypeError) as error:
            raise exceptions.Invalid(reason='%s: %s' % (name, error)) from None
        longest = getattr(_COLUMNS[name].type, 'length', None)
        text = found[name]
        if isinstance(text, str) and (
            '\0' in text
            or any('\ud800' <= sign <= '\udfff' for sign in text)
            or (longest is not None and len(text) > longest)
        ):
            raise exceptions.Invalid(
                reason='%s is %.60s, not a text of at most %s characters that can be stored'
                % (name, ascii(text), longest or 'any number of')
            )
    return found
