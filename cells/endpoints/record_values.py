"""What may be written into the records of instances, and asked of them.

A record at the top has two owners. What users say about an instance is kept here and
sent down; its state is kept by its cell and comes up. So a save takes the former, and of
the latter only what says that an order is on its way: the task state (S12).
"""

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells import arguments, exceptions, paths
from cells.compute import states
from cells.db import instance_fields, instance_listing, models
from cells.db import instances as db_instances
from cells.objects import instance as instance_objects

BUILDING: Final = 'building'
SCHEDULING: Final = 'scheduling'

#: Most items of metadata.
MOST_METADATA: Final = 1024
_LARGEST: Final = 2**31 - 1

_COLUMNS: Final = models.Instance.__table__.c

#: What an instance has of its cell, and has not before it is in one.
_OF_CELL: Final = frozenset({'cell_name', 'host', 'node', 'launched_on', 'launched_at'})
#: What the database says by itself.
_OF_ROW: Final = frozenset(
    {'id', 'created_at', 'updated_at', 'deleted', 'deleted_at', 'terminated_at', 'cleaned'}
)
#: Fields of a flavor -> columns that say the same.
_OF_FLAVOR: Final = {
    'id': 'instance_type_id',
    'memory_mb': 'memory_mb',
    'vcpus': 'vcpus',
    'root_gb': 'root_gb',
    'ephemeral_gb': 'ephemeral_gb',
}
#: By these a record that is asked for again is known as the same.
_IDENTITY: Final = (
    'user_id',
    'project_id',
    'reservation_id',
    'launch_index',
    'image_ref',
    'key_name',
    'instance_type_id',
    'memory_mb',
    'vcpus',
    'root_gb',
    'ephemeral_gb',
)


# -- new ones --


def new_values(where: str, instance: instance_objects.Instance) -> dict[str, Any]:
    """Return the columns of the record of an instance that is to be built.

    What its flavor says and it does not say itself is filled in.

    :raises Invalid: it has what an instance cannot have that is not built yet, or a value
        that does not fit.
    """
    given = {
        name: value
        for name, value in instance.items()
        if name in _COLUMNS and name not in _OF_ROW and value is not None
    }
    for name in sorted(_OF_CELL & given.keys()):
        _refuse('%s.%s' % (where, name), given[name], 'null before the instance is built')
    if 'deleted' in instance and instance.deleted:
        _refuse('%s.deleted' % where, True, 'false')
    for name, wanted in (('vm_state', BUILDING), ('task_state', SCHEDULING)):
        if given.setdefault(name, wanted) != wanted:
            _refuse('%s.%s' % (where, name), given[name], repr(wanted))
    if 'flavor' in instance:
        for field, column in _OF_FLAVOR.items():
            if field in instance.flavor:
                given.setdefault(column, getattr(instance.flavor, field))
    for name, value in given.items():
        _check_fits('%s.%s' % (where, name), _COLUMNS[name].type, value)
    return given


def new_fields(instance: instance_objects.Instance) -> dict[str, Any]:
    """Return what else of an instance is kept."""
    return {
        name: value
        for name, value in instance.items()
        if name in instance_fields.NAMES and value is not None
    }


def is_same(record: instance_objects.Instance, values: Mapping[str, Any]) -> bool:
    """Tell whether a record is of what is asked for, rather than of something else."""
    return all(getattr(record, name) == values.get(name) for name in _IDENTITY)


def _check_fits(name: str, kind: Any, value: Any) -> None:
    if isinstance(kind, sa.String) and isinstance(value, str):
        arguments.text(name, value, longest=kind.length or arguments.LARGEST_ID, empty=True)
    elif isinstance(kind, sa.Integer) and not isinstance(value, bool):
        arguments.number(name, value, least=-_LARGEST, most=_LARGEST)


def _refuse(name: str, value: object, wanted: str) -> None:
    raise exceptions.Invalid(reason='%s is %.80s, not %s' % (name, ascii(value), wanted))


# -- changes --


def _optional(check: Callable[[str, object], Any]) -> Callable[[str, object], Any]:
    return lambda name, value: None if value is None else check(name, value)


def _description(name: str, value: object) -> str:
    return arguments.text(name, value, empty=True)


def _address(version: int) -> Callable[[str, object], str | None]:
    def check(name: str, value: object) -> str | None:
        try:
            found = None if value is None else ipaddress.ip_address(arguments.text(name, value))
        except ValueError:
            found = None
        if value is not None and (found is None or found.version != version):
            _refuse(name, value, 'an IPv%d address' % version)
        return None if found is None else str(found)

    return check


def _locked_by(name: str, value: object) -> str:
    return arguments.word(name, value, ('owner', 'admin'))


def _task_state(name: str, value: object) -> str:
    return arguments.word(name, value, states.TASK_STATES)


def _vm_state(name: str, value: object) -> str:
    return arguments.word(name, value, states.VM_STATES)


def metadata(name: str, value: object) -> dict[str, str]:
    """Return what a user notes on an instance.

    :raises Invalid: it is not texts by texts, or too much.
    """
    found = arguments.mapping(name, value)
    for key, item in found.items():
        arguments.text('a key of %s' % name, key)
        arguments.text('%s[%.40s]' % (name, ascii(key)), item, empty=True)
    if len(found) > MOST_METADATA:
        _refuse('the number of items in %s' % name, len(found), 'at most %d' % MOST_METADATA)
    return found


#: What a save may change -> what makes a value of what is given.
_SAVED: Final[Mapping[str, Callable[[str, object], Any]]] = {
    'access_ip_v4': _address(4),
    'access_ip_v6': _address(6),
    'auto_disk_config': arguments.boolean,
    'disable_terminate': arguments.boolean,
    'display_description': _optional(_description),
    'display_name': arguments.text,
    'locked': arguments.boolean,
    'locked_by': _optional(_locked_by),
    'metadata': metadata,
    'shutdown_terminate': arguments.boolean,
    'task_state': _optional(_task_state),
}
#: What an administrator may change besides, when a state is to be reset.
_RESET: Final[Mapping[str, Callable[[str, object], Any]]] = {'vm_state': _vm_state}


def saved_values(values: object, reset: bool) -> dict[str, Any]:
    """Return what a save changes, by name.

    :param reset: whether the state is to be set as well, by an administrator.
    :raises Invalid: something is not for the caller to change, or cannot be a value.
    """
    known = {**_SAVED, **(_RESET if reset else {})}
    found = arguments.mapping('values', values)
    unknown = sorted(found.keys() - known.keys())
    if unknown:
        raise exceptions.Invalid(
            reason='values has %s, which are not for a caller to change; there are %s'
            % (', '.join('%.60s' % ascii(name) for name in unknown), ', '.join(sorted(known)))
        )
    return {name: known[name]('values.%s' % name, value) for name, value in found.items()}


def expected_values(expected: object) -> dict[str, Any]:
    """Return what a save expects, by column: a value, or a tuple of those that are allowed.

    :raises Invalid: there is no such column, or a list is empty.
    """
    found = {}
    for name, value in arguments.mapping('expected', {} if expected is None else expected).items():
        if name not in db_instances.OBJECT_COLUMNS:
            _refuse('a key of expected', name, 'the name of a column')
        values = value if isinstance(value, list | tuple) else [value]
        if not values or not all(
            one is None or isinstance(one, str | int | float) for one in values
        ):
            _refuse('expected.%s' % name, value, 'a value or a list of values')
        found[name] = tuple(values)
    return found


# -- questions --

#: Columns by whose value records are found.
_FILTERS: Final = ('project_id', 'user_id', 'vm_state', 'task_state', 'host')
_OTHER_FILTERS: Final = ('cell_name', 'deleted', 'name')


def filters(given: object, read_deleted: str) -> instance_listing.Filters:
    """Return the filters of a listing.

    :param given: by name; of a column one value or a list of them, None for null.
    :param read_deleted: of the request; ``deleted`` among the filters goes before it.
    :raises Invalid: there is no such filter, or it cannot have the value.
    """
    wanted = arguments.mapping('filters', {} if given is None else given)
    unknown = sorted(wanted.keys() - set(_FILTERS) - set(_OTHER_FILTERS))
    if unknown:
        raise exceptions.Invalid(
            reason='instances have no filter %s; there are %s'
            % (
                ', '.join('%.60s' % ascii(name) for name in unknown),
                ', '.join(sorted((*_FILTERS, *_OTHER_FILTERS))),
            )
        )
    cell_name = wanted.get('cell_name')
    if cell_name is not None:
        try:
            cell_name = str(paths.CellPath.parse(cell_name))
        except ValueError as error:
            raise exceptions.Invalid(reason='filter cell_name: %s' % error) from None
    name = wanted.get('name')
    if 'deleted' in wanted:
        deleted = arguments.boolean('filter deleted', wanted['deleted'])
        read_deleted = 'only' if deleted else 'no'
    return instance_listing.Filters(
        values={key: _allowed(key, wanted[key]) for key in _FILTERS if key in wanted},
        cell_name=cell_name,
        name=None if name is None else arguments.text('filter name', name),
        read_deleted=read_deleted,
    )


def _allowed(name: str, value: object) -> tuple[str | None, ...]:
    values = value if isinstance(value, list | tuple) else [value]
    if not values:
        _refuse('filter %s' % name, value, 'a value or a list of values')
    return tuple(None if one is None else arguments.text('filter %s' % name, one) for one in values)
