"""What a change is about: the instance, and its place in the order of what concerns that one.

Of one instance one change is carried out at a time. What goes down goes by when it was
ordered (``ctxt.timestamp``), as it may arrive by several ways; what comes up, by when it
arrived: the context there is that of whatever the cell below was doing.
"""

import datetime
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from cells import exceptions, messages, times
from cells.operations import Direction

LONGEST_UUID: Final = 36
#: A longer one is not kept.
LONGEST_REQUEST: Final = 64

#: Before all times.
FIRST: Final = ''

_TIME: Final = re.compile(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?')


class Subject(NamedTuple):
    """What a change is about.

    :ivar instance_uuid: None when it is about no instance, or about several.
    :ivar ordering: a text; the smaller one goes first.
    :ivar request_id: under which it was ordered.
    """

    instance_uuid: str | None = None
    ordering: str | None = None
    request_id: str | None = None


def subject_of(message: messages.Message, now: float) -> Subject:
    """Return what a change is about.

    :param now: seconds since the epoch, for one that does not say when it was ordered.
    """
    uuid, request_id = instance_of(message), request_of(message)
    if uuid is None:
        return Subject(request_id=request_id)
    if message.direction is Direction.UP:
        return Subject(uuid, FIRST, request_id)
    return Subject(uuid, moment(message.ctxt.get('timestamp'), now), request_id)


def request_of(message: messages.Message) -> str | None:
    """Return the id of the request that a message is of, None for one that is no id."""
    value = message.ctxt.get('request_id')
    usable = isinstance(value, str) and 0 < len(value) <= LONGEST_REQUEST and value.isprintable()
    return value if usable else None


def instance_of(message: messages.Message) -> str | None:
    """Return the uuid of the instance that a message names, None when it names no single one."""
    found = instances_of(message)
    return found[0] if len(found) == 1 else None


def instances_of(message: messages.Message) -> list[str]:
    """Return the uuids of the instances that a message names; what cannot be one is left out."""
    kwargs = message.method_kwargs
    named: list[Any] = []
    build, info = kwargs.get('build_inst_kwargs'), kwargs.get('method_info')
    if isinstance(build, Mapping):
        listed = build.get('instances')
        if isinstance(listed, Mapping):  # what a nova-cells makes of an old client's
            data = listed.get('nova_object.data')
            listed = data.get('objects') if isinstance(data, Mapping) else None
        named = [_uuid_in(one) for one in listed] if isinstance(listed, list) else []
    elif isinstance(info, Mapping):
        args = info.get('method_args')
        named = [args[0]] if isinstance(args, list | tuple) and args else []
    elif 'instance' in kwargs:
        named = [_uuid_in(kwargs['instance'])]
    else:
        named = [kwargs.get('instance_uuid')]
    return [uuid for uuid in named if _is_uuid(uuid)]


def _uuid_in(value: Any) -> Any:
    """Return the uuid in an instance on the wire: an envelope, or plain before liberty."""
    if not isinstance(value, Mapping):
        return value
    data = value.get('nova_object.data')
    return (data if isinstance(data, Mapping) else value).get('uuid')


def _is_uuid(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_UUID and value.isprintable()


def moment(value: Any, now: float) -> str:
    """Return a time as a text of one form, so that the earlier one is the smaller one.

    :param now: stands for what is no time.
    """
    if isinstance(value, str) and _TIME.fullmatch(value):
        whole, _, part = value.partition('.')
        return '%s.%s' % (whole, part.ljust(6, '0'))
    try:
        found = times.parse('timestamp', value)
    except exceptions.Invalid:
        found = datetime.datetime.fromtimestamp(now, datetime.UTC).replace(tzinfo=None)
    return found.isoformat(timespec='microseconds')
