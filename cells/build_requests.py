"""What ``build_instances`` asks for: ``build_inst_kwargs``, checked before anything is done.

What a child gets is what came, but for the instances that are not for it and for what
cells of our kind tell each other in ``filter_properties``. So nothing is lost on the way
down that a later cell could need (C11, C12).
"""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NamedTuple

from cells import arguments, candidates, exceptions, paths
from cells.filters import image_properties as image_filter
from cells.objects import flavor as flavor_objects
from cells.objects import instance as instance_objects

#: Where a cell of our kind finds the attempt at each instance, by uuid.
PLACEMENT: Final = 'cells.placement'
MOST_INSTANCES: Final = 10_000
LARGEST_SIZE: Final = 2**31 - 1
_UUID: Final = re.compile('[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}')


class Size(NamedTuple):
    """What an instance takes."""

    memory_mb: int
    disk_gb: int
    vcpus: int


class Wanted(NamedTuple):
    """One instance of a request.

    :ivar attempt_above: the number that the cell above gave to its attempt, None when it
        expects no answer.
    """

    instance: instance_objects.Instance
    size: Size
    attempt_above: int | None


#: Returns the values of a flavor that is only named, or raises FlavorNotFound.
FindFlavor = Callable[[str], Mapping[str, Any]]


def instances_of(kwargs: Any) -> list[str]:
    """Return the uuids in a request that may be wrong otherwise, as far as there are any."""
    given = kwargs.get('instances') if isinstance(kwargs, Mapping) else None
    found = []
    if isinstance(given, instance_objects.InstanceList):
        given = list(given)
    for one in given if isinstance(given, list | tuple) else ():
        try:
            uuid = one['uuid']
        except (AttributeError, KeyError, TypeError):
            continue
        if isinstance(uuid, str) and _UUID.fullmatch(uuid) and uuid not in found:
            found.append(uuid)
    return found


def attempts_above(kwargs: Any) -> dict[str, int]:
    """Return the attempts of the cell above, by the uuid of the instance."""
    properties = kwargs.get('filter_properties') if isinstance(kwargs, Mapping) else None
    given = properties.get(PLACEMENT) if isinstance(properties, Mapping) else None
    if not isinstance(given, Mapping):
        return {}
    return {
        uuid: number
        for uuid, number in given.items()
        if isinstance(number, int) and not isinstance(number, bool) and number > 0
    }


def without_attempts(kwargs: Any) -> Any:
    """Return a request without what cells of our kind tell each other in it.

    A plain cell passes it on unread, and expects no answer.
    """
    properties = kwargs.get('filter_properties') if isinstance(kwargs, Mapping) else None
    if not isinstance(properties, Mapping) or PLACEMENT not in properties:
        return kwargs
    left = {name: value for name, value in properties.items() if name != PLACEMENT}
    return {**kwargs, 'filter_properties': left}


def parse(kwargs: Any, find_flavor: FindFlavor) -> list[Wanted]:
    """Return the instances of a request.

    :param kwargs: ``build_inst_kwargs`` with objects.
    :raises Invalid: something cannot be meant.
    :raises FlavorNotFound: the flavor is not known.
    """
    values = arguments.mapping('build_inst_kwargs', kwargs)
    given = values.get('instances')
    if isinstance(given, instance_objects.InstanceList):
        given = list(given)
    if not isinstance(given, list | tuple) or not 0 < len(given) <= MOST_INSTANCES:
        raise exceptions.Invalid(
            reason='instances is not a list of 1 to %d instances' % MOST_INSTANCES
        )
    properties = _properties(values)
    flavor = properties.get('instance_type')
    size = None if flavor is None else _flavor_size(flavor, find_flavor)
    above = attempts_above(values)
    found: dict[str, Wanted] = {}
    for number, one in enumerate(given):
        uuid = _check_instance(number, one)
        if uuid in found:
            raise exceptions.Invalid(reason='instance %s is in the request twice' % uuid)
        found[uuid] = Wanted(one, size or _own_size(one, find_flavor), above.get(uuid))
    return list(found.values())


def request(
    kwargs: Mapping[str, Any],
    size: Size,
    path: paths.CellPath,
    tried: Collection[str] = (),
) -> candidates.Request:
    """Return what the scheduler is to know of an instance of a request.

    :param path: of this cell, as the request came.
    :raises Invalid: hints or properties of the image cannot be meant.
    """
    hints = _properties(kwargs).get('scheduler_hints')
    image = kwargs.get('image')
    image = {} if image is None else arguments.mapping('image', image)
    properties = image.get('properties')
    return candidates.Request(
        *size,
        path,
        {} if hints is None else arguments.mapping('scheduler_hints', hints),
        {} if properties is None else arguments.mapping('properties of the image', properties),
        frozenset(tried),
    )


def check(made: candidates.Request) -> None:
    """Refuse hints and properties of an image that no filter could read.

    :raises Invalid: one of them cannot be meant.
    """
    target, different = made.target, made.different
    if target is not None and target in different:
        raise exceptions.Invalid(
            reason='the hints ask for cell %s and for a different one' % target
        )
    asked = made.image_properties.get(image_filter.PROPERTY)
    if asked:
        image_filter.conditions(asked)


def with_present_paths(kwargs: Mapping[str, Any], aliases: paths.Aliases) -> Mapping[str, Any]:
    """Return a request whose hints name cells by the paths that they have now (R12).

    :param kwargs: in the form of the wire.
    """
    properties = kwargs.get('filter_properties') or {}
    hints = properties.get('scheduler_hints') or {}

    def present(text: Any) -> Any:
        if isinstance(text, list):
            return [present(one) for one in text]
        return str(aliases.resolve(paths.CellPath.parse(text))) if text else text

    named = {
        name: present(hints[name])
        for name in (candidates.TARGET_CELL, candidates.DIFFERENT_CELL)
        if name in hints
    }
    if not aliases.prefixes or not named:
        return kwargs
    return {
        **kwargs,
        'filter_properties': {**properties, 'scheduler_hints': {**hints, **named}},
    }


def subset(
    kwargs: Mapping[str, Any], attempts: Mapping[str, int], ours: bool, without_target: bool
) -> dict[str, Any]:
    """Return what a child gets of a request, in the form of the wire.

    :param kwargs: as they came, in that form.
    :param attempts: at the instances that are for it, by uuid.
    :param ours: whether the child says what comes of these.
    :param without_target: leave the hint out that has led to the child; nova's cells
        read it in a way of their own.
    """
    made = dict(kwargs)
    made['instances'] = [one for one in envelopes(kwargs) if uuid_of(one) in attempts]
    properties = dict(kwargs.get('filter_properties') or {})
    properties.pop(PLACEMENT, None)
    hints = properties.get('scheduler_hints')
    if without_target and hints and candidates.TARGET_CELL in hints:
        hints = {name: one for name, one in hints.items() if name != candidates.TARGET_CELL}
        properties['scheduler_hints'] = hints
    if ours:
        properties[PLACEMENT] = dict(attempts)
    if properties or 'filter_properties' in kwargs:
        made['filter_properties'] = properties or kwargs.get('filter_properties')
    return made


def envelopes(kwargs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the instances of a request in the form of the wire.

    From plain instances of an old client a nova-cells makes a list that is itself an object.
    """
    given = kwargs['instances']
    return list(given['nova_object.data']['objects'] if isinstance(given, Mapping) else given)


def uuid_of(envelope: Mapping[str, Any]) -> str:
    """Return the uuid of an instance in the form of the wire."""
    return str(envelope['nova_object.data']['uuid'])


def _properties(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    given = kwargs.get('filter_properties')
    return {} if given is None else arguments.mapping('filter_properties', given)


def _check_instance(number: int, one: Any) -> str:
    if not isinstance(one, instance_objects.Instance):
        raise exceptions.Invalid(
            reason='instance %d of the request is a %s, not an Instance'
            % (number, type(one).__name__)
        )
    if not one.obj_attr_is_set('uuid') or not _UUID.fullmatch(one.uuid):
        raise exceptions.Invalid(reason='instance %d of the request has no uuid' % number)
    return str(one.uuid)


def _flavor_size(flavor: Any, find_flavor: FindFlavor) -> Size:
    if not isinstance(flavor, flavor_objects.Flavor | Mapping):
        raise exceptions.Invalid(
            reason='instance_type is a %s, not a Flavor' % type(flavor).__name__
        )
    values = dict(flavor.items())
    if any(values.get(name) is None for name in ('memory_mb', 'vcpus', 'root_gb')):
        values = dict(find_flavor(str(values.get('flavorid'))))
    return _size('flavor %.80s' % (values.get('name') or values.get('flavorid')), values)


def _own_size(instance: instance_objects.Instance, find_flavor: FindFlavor) -> Size:
    values = dict(instance.items())
    if values.get('flavor') is not None:
        return _flavor_size(values['flavor'], find_flavor)
    if values.get('memory_mb') is None or values.get('vcpus') is None:
        raise exceptions.FlavorNotFound(flavor_id=values.get('instance_type_id'))
    return _size('instance %s' % values['uuid'], values)


def _size(name: str, values: Mapping[str, Any]) -> Size:
    def part(key: str, least: int) -> int:
        value = values.get(key)
        return arguments.number(
            '%s of %s' % (key, name), 0 if value is None else value, least, LARGEST_SIZE
        )

    disk_gb = part('root_gb', 0) + part('ephemeral_gb', 0)
    arguments.number('the disks of %s together' % name, disk_gb, 0, LARGEST_SIZE)
    return Size(part('memory_mb', 1), disk_gb, part('vcpus', 1))
