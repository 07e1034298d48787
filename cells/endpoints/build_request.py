"""What a request to build instances must be, whatever release it comes from.

Values in, values out: older callers give instances and flavor as dictionaries, later
ones as objects; what comes out has objects (``spec/rpc_server.json``, ``compat_shims``).
Block devices stay as they came, their old form says ``legacy_bdm``.
"""

from collections.abc import Mapping
from typing import Any, Final

from cells import arguments, exceptions
from cells.endpoints import given
from cells.objects import base as objects_base

#: What a request may have; plain cells take nothing else.
KEYS: Final = frozenset(
    {
        'admin_password',
        'block_device_mapping',
        'filter_properties',
        'image',
        'injected_files',
        'instances',
        'legacy_bdm',
        'requested_networks',
        'security_groups',
    }
)
_SIZES: Final = ('memory_mb', 'vcpus', 'root_gb', 'ephemeral_gb')


def checked(request: object) -> dict[str, Any]:
    """Return a request as all cells take it.

    :raises Invalid: it cannot be one; the text names the value.
    """
    wanted = arguments.mapping('build_inst_kwargs', request)
    unknown = sorted(wanted.keys() - KEYS)
    if unknown:
        raise exceptions.Invalid(
            reason='build_inst_kwargs has %s; there are %s'
            % (', '.join('%.60s' % ascii(name) for name in unknown), ', '.join(sorted(KEYS)))
        )
    wanted['instances'] = instances(wanted.get('instances'))
    if wanted.get('image') is not None:
        arguments.mapping('image', wanted['image'])
    if 'filter_properties' in wanted:
        wanted['filter_properties'] = _filter_properties(wanted['filter_properties'])
    if 'admin_password' in wanted:
        arguments.secret('admin_password', wanted['admin_password'])
    if 'injected_files' in wanted:
        wanted['injected_files'] = given.files('injected_files', wanted['injected_files'])
    if wanted.get('block_device_mapping') is not None:
        _check_listed('block_device_mapping', wanted['block_device_mapping'])
    if wanted.get('security_groups') is not None:
        _check_listed('security_groups', wanted['security_groups'])
    return wanted


def instances(value: object) -> list[Any]:
    """Return the instances of a request.

    :param value: a list of Instance or of their fields as dictionaries.
    :raises Invalid: there is none, or one of them cannot be one.
    """
    if isinstance(value, objects_base.CellsObjectList):
        value = list(value)
    if not isinstance(value, list | tuple) or not value:
        raise exceptions.Invalid(
            reason='instances is %.80s, not a list of instances' % ascii(value)
        )
    found = [given.instance(one, 'instances[%d]' % index) for index, one in enumerate(value)]
    seen = set()
    for index, one in enumerate(found):
        _check_sizes('instances[%d]' % index, one)
        if 'flavor' in one:
            _check_sizes('instances[%d].flavor' % index, one.flavor)
        if one.uuid in seen:
            raise exceptions.Invalid(reason='two of instances have the uuid %s' % one.uuid)
        seen.add(one.uuid)
    return found


def _filter_properties(value: object) -> dict[str, Any]:
    found = arguments.mapping('filter_properties', {} if value is None else value)
    if found.get('instance_type') is not None:
        flavor = given.flavor_of(found['instance_type'], 'filter_properties.instance_type')
        _check_sizes('filter_properties.instance_type', flavor)
        found['instance_type'] = flavor
    if found.get('scheduler_hints') is not None:
        arguments.mapping('filter_properties.scheduler_hints', found['scheduler_hints'])
    return found


def _check_sizes(where: str, one: Any) -> None:
    for name in _SIZES:
        if name in one and getattr(one, name) is not None:
            arguments.number('%s.%s' % (where, name), getattr(one, name), most=2**31 - 1)


def _check_listed(name: str, value: object) -> None:
    if isinstance(value, Mapping) or not isinstance(
        value, list | tuple | objects_base.CellsObjectList
    ):
        raise exceptions.Invalid(reason='%s is %.80s, not a list' % (name, ascii(value)))
