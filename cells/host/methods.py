"""The operations that a cell may order of an agent: arguments, results, what after a crash.

An agent checks an order by this table before it accepts it, so a driver gets all
arguments, each of the right kind. Every result has a power state besides what is listed.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from cells import arguments, exceptions
from cells.host.virt.base import Demand, PowerState

#: Stands for an argument that must be given.
REQUIRED: Final = object()

LONGEST_TEXT: Final = 65535
MOST_MEMORY: Final = 2**40
MOST_VCPUS: Final = 2**20
MOST_GB: Final = 2**40

Check = Callable[[str, object], Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Method:
    """An operation on an instance.

    :ivar takes: argument -> (what checks it, its default or ``REQUIRED``).
    :ivar gives: the values of its result.
    :ivar creates: it brings a machine to this host, which needs room there.
    :ivar repeats: whether it is run anew when the agent died under way; if not, it is reported as
        interrupted.
    """

    takes: Mapping[str, tuple[Check, object]] = dataclasses.field(default_factory=dict)
    gives: Sequence[str] = ()
    creates: bool = False
    repeats: bool = True


# -- kinds of arguments --


def _text(name: str, value: object) -> str:
    return arguments.text(name, value, longest=LONGEST_TEXT, empty=True)


def _id(name: str, value: object) -> str:
    return arguments.text(name, value)


def _or_null(check: Check) -> Check:
    return lambda name, value: None if value is None else check(name, value)


def _list(name: str, value: object) -> list[Any]:
    return [] if value is None else arguments.sequence(name, value)


def _objects(name: str, value: object) -> list[dict[str, Any]]:
    return [
        arguments.mapping('%s[%d]' % (name, index), one)
        for index, one in enumerate(_list(name, value))
    ]


def _object(name: str, value: object) -> dict[str, Any]:
    return {} if value is None else arguments.mapping(name, value)


def _password(name: str, value: object) -> str | None:
    return arguments.secret(name, value, longest=LONGEST_TEXT)


def _new_password(name: str, value: object) -> str:
    if value is None:
        raise exceptions.Invalid(reason='%s is not given' % name)
    return str(_password(name, value))


def _one_of(*words: str) -> Check:
    return lambda name, value: arguments.word(name, value, words)


def _power_state(name: str, value: object) -> int:
    number = arguments.number(name, value)
    if number not in set(PowerState):
        raise exceptions.Invalid(
            reason='%s is %d, not one of %s'
            % (name, number, ', '.join('%d (%s)' % (one, one.name) for one in PowerState))
        )
    return number


def _flavor(name: str, value: object) -> dict[str, Any]:
    flavor = arguments.mapping(name, value)
    _size(name, flavor)
    return flavor


_IDS: Final = (_id, REQUIRED)
_MAYBE_ID: Final = (_or_null(_id), None)
_PASSWORD: Final = (_password, None)
_NETWORK_INFO: Final = ('network_info',)

#: name -> what it is
METHODS: Final[Mapping[str, Method]] = {
    # its life
    'build': Method(
        {
            'admin_password': _PASSWORD,
            'injected_files': (_list, ()),
            'networks': (_objects, ()),
            'block_devices': (_objects, ()),
            'metadata': (_object, None),
        },
        ('network_info', 'node'),
        creates=True,
    ),
    'rebuild': Method(
        {
            'image_ref': (_or_null(_text), None),
            'admin_password': _PASSWORD,
            'files': (_list, ()),
        },
        _NETWORK_INFO,
    ),
    'terminate': Method(),
    'soft_delete': Method(),
    'restore': Method(),
    'rescue': Method({'password': _PASSWORD, 'image_ref': (_or_null(_text), None)}),
    'unrescue': Method(),
    # its power
    'start': Method(),
    'stop': Method({'clean_shutdown': (arguments.boolean, True)}),
    'reboot': Method({'type': (_one_of('SOFT', 'HARD'), 'SOFT')}),
    'pause': Method(),
    'unpause': Method(),
    'suspend': Method(),
    'resume': Method(),
    'crash_dump': Method(),
    # its images: one that was begun is dropped, as nobody knows how much of it is there
    'snapshot': Method({'image_id': _IDS, 'name': (_or_null(_text), None)}, repeats=False),
    'backup': Method(
        {
            'image_id': _IDS,
            'backup_type': (_text, REQUIRED),
            'rotation': (arguments.number, REQUIRED),
        },
        ('deleted_images',),
        repeats=False,
    ),
    'shelve': Method({'image_id': (_or_null(_id), None)}, repeats=False),
    'shelve_offload': Method(),
    'unshelve': Method({'image_id': (_or_null(_id), None)}, ('network_info', 'node'), creates=True),
    # what is in it
    'set_admin_password': Method({'password': (_new_password, REQUIRED)}),
    'change_metadata': Method({'metadata': (_object, REQUIRED)}),
    'attach_volume': Method(
        {
            'volume_id': _IDS,
            'device': _MAYBE_ID,
            'disk_bus': _MAYBE_ID,
            'device_type': _MAYBE_ID,
            'bdm_uuid': _MAYBE_ID,
        },
        ('device',),
    ),
    'detach_volume': Method({'volume_id': _IDS}),
    'swap_volume': Method({'old_volume_id': _IDS, 'new_volume_id': _IDS}),
    # its network
    'reset_network': Method(),
    'inject_network_info': Method({'network_info': (_list, ())}),
    'attach_interface': Method(
        {'network_id': _MAYBE_ID, 'port_id': _MAYBE_ID, 'requested_ip': _MAYBE_ID}, _NETWORK_INFO
    ),
    'detach_interface': Method({'port_id': _IDS}, _NETWORK_INFO),
    'add_fixed_ip': Method({'network_id': _MAYBE_ID}, _NETWORK_INFO),
    'remove_fixed_ip': Method({'address': _IDS}, _NETWORK_INFO),
    # its host: the halves of a resize, and of a live migration
    'resize_migrate': Method({'flavor': (_flavor, REQUIRED)}),
    'resize_finish': Method(
        {'flavor': (_flavor, REQUIRED), 'power_on': (arguments.boolean, True)},
        ('network_info', 'node'),
        creates=True,
    ),
    'resize_confirm': Method(),
    'resize_revert_destroy': Method(),
    'resize_revert_finish': Method(
        {'power_on': (arguments.boolean, True)}, ('network_info', 'node')
    ),
    'migrate_in': Method(
        {'power_state': (_power_state, int(PowerState.RUNNING))},
        ('network_info', 'node'),
        creates=True,
    ),
    'migrate_out': Method(),
}


def arguments_of(method: object, given: object) -> dict[str, Any]:
    """Return all arguments of an operation, those that were not given by their defaults.

    :raises Invalid: there is no such operation, or it does not take these; the text names them.
    """
    if not isinstance(method, str) or method not in METHODS:
        raise exceptions.Invalid(
            reason='operation is %.80s, not one of %s' % (ascii(method), ', '.join(sorted(METHODS)))
        )
    takes = METHODS[method].takes
    values = arguments.mapping('args', {} if given is None else given)
    unknown = sorted(values.keys() - takes.keys())
    if unknown:
        raise exceptions.Invalid(
            reason='%s takes no %.80s; it takes %s'
            % (method, ascii(', '.join(unknown)), ', '.join(takes) or 'nothing')
        )
    found = {}
    for name, (check, default) in takes.items():
        value = values.get(name, default)
        if value is REQUIRED:
            raise exceptions.Invalid(reason='%s needs %s' % (method, name))
        # What is given as null stands for the default, as in a call in Python.
        found[name] = check(name, default if value is None and default is not REQUIRED else value)
    return found


def demand(method: str, instance: Mapping[str, Any], args: Mapping[str, Any]) -> Demand:
    """Return the room that an operation which creates a machine needs.

    :raises Invalid: a size of the instance, or of its new flavor, is missing or is none.
    """
    of_flavor = 'flavor' in METHODS[method].takes
    memory_mb, vcpus, disk_gb = (
        _size('flavor', args['flavor']) if of_flavor else _size('instance', instance)
    )
    node = instance.get('node')
    return Demand(
        uuid=str(instance['uuid']),
        name=str(instance.get('display_name') or ''),
        node=node if isinstance(node, str) else None,
        memory_mb=memory_mb,
        vcpus=vcpus,
        disk_gb=disk_gb,
    )


def _size(name: str, values: Mapping[str, Any]) -> tuple[int, int, int]:
    return (
        arguments.number('%s.memory_mb' % name, values.get('memory_mb'), most=MOST_MEMORY),
        arguments.number('%s.vcpus' % name, values.get('vcpus'), most=MOST_VCPUS),
        sum(
            arguments.number('%s.%s' % (name, key), values.get(key) or 0, most=MOST_GB)
            for key in ('root_gb', 'ephemeral_gb')
        ),
    )
