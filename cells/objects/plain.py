"""Objects in their plain form, for peers of RPC versions before objects."""

import datetime
from collections.abc import Callable
from typing import Any, Final

from cells.objects import base, fields

_PLAIN: Final = frozenset((str, int, float, bool, type(None)))


def moment_text(moment: datetime.datetime) -> str:
    """Return a moment as plain forms have it: ``YYYY-MM-DDTHH:MM:SS.ffffff``, in UTC."""
    return moment.replace(tzinfo=None).isoformat(timespec='microseconds')


def flatten(
    value: Any,
    moment: Callable[[datetime.datetime], Any] = moment_text,
    instance_name_template: str = 'instance-%08x',
) -> Any:
    """Return a value with every object in it as a dictionary of the fields that are set.

    List objects become lists. It is what peers of RPC versions before objects take.

    :param moment: what stands for a time.
    :param instance_name_template: how an instance is called by its ``id``.
    """

    def plain(value: Any) -> Any:
        if type(value) in _PLAIN:
            return value
        if isinstance(value, datetime.datetime):
            return moment(value)
        if isinstance(value, fields.Foreign):
            return plain(value.envelope['nova_object.data'])
        if isinstance(value, base.CellsObjectList | list | tuple):
            return [plain(item) for item in value]
        if isinstance(value, set):
            return sorted(value)
        if isinstance(value, dict) or hasattr(value, 'obj_to_primitive'):
            made = {key: plain(item) for key, item in value.items()}
            if isinstance(value, base.CellsObject):
                made.update(value.flattened_extras(instance_name_template))
            return made
        return value

    return plain(value)
