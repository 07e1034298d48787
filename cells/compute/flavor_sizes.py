"""The size of an instance, and what it takes of a host."""

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells import arguments, exceptions
from cells.amounts import Amount
from cells.db import flavors as db_flavors
from cells.objects import plain
from cells.objects.flavor import Flavor
from cells.objects.instance import Instance

LARGEST: Final = 2**31 - 1
_SIZES: Final = ('memory_mb', 'vcpus', 'root_gb', 'ephemeral_gb')
#: What an agent is told of a flavor.
_TOLD: Final = ('name', 'flavorid', *_SIZES, 'swap')


def of_instance(instance: Instance) -> Flavor:
    """Return the flavor of an instance; of what it takes, if that is all that is known."""
    if 'flavor' in instance and instance.flavor is not None:
        return instance.flavor
    sizes = {name: getattr(instance, name) or 0 for name in _SIZES}
    return Flavor(id=instance.instance_type_id or 0, name=None, swap=0, **sizes)


def amount_of(flavor: Flavor) -> Amount:
    """Return what an instance of a flavor takes."""
    return Amount(flavor.memory_mb, flavor.root_gb + flavor.ephemeral_gb, flavor.vcpus)


def columns_of(flavor: Flavor) -> dict[str, Any]:
    """Return the columns of an instance that depend on its flavor."""
    values = {name: getattr(flavor, name) for name in _SIZES}
    return {**values, 'instance_type_id': flavor.id}


def told(flavor: Flavor) -> dict[str, Any]:
    """Return what an agent is told of a flavor."""
    return {name: getattr(flavor, name) for name in _TOLD if name in flavor}


def find(connection: sa.Connection, flavor_id: str, described: Mapping[str, Any] | None) -> Flavor:
    """Return a flavor that is not disabled.

    :param described: as whoever asks for it knows it: for one that this cell does not (D4).
    :raises FlavorNotFound: this cell does not know it, and it is not described.
    :raises Invalid: what is described cannot be one.
    """
    try:
        row = db_flavors.flavor_find(connection, flavor_id)
    except exceptions.FlavorNotFound:
        if described is None or not all(name in described for name in _SIZES):
            raise
        for name in _SIZES:
            arguments.number('%s of flavor %.60s' % (name, flavor_id), described[name], 0, LARGEST)
        row = {'id': 0, 'swap': 0, 'name': None, **described}
    if row.get('disabled'):
        raise exceptions.FlavorNotFound(flavor_id=flavor_id)
    try:
        return plain.build('Flavor', row)
    except (TypeError, ValueError) as error:
        raise exceptions.Invalid(reason='flavor %.60s: %s' % (flavor_id, error)) from None
