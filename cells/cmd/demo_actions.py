"""Everything that can be done with an instance, as an API service does it.

A :class:`Course` begins and ends with an instance that is active, so that any course can
follow any other. The demo runs each once; the tests that break things run them by chance.
"""

import dataclasses
import uuid
from collections.abc import Callable
from typing import Any, Final

from cells import messages, rpcapi
from cells.objects.flavor import Flavor

ACTIVE: Final = frozenset({'active'})


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One thing that is done.

    :ivar name: what users call it.
    :ivar order: called with (client, context, instance).
    :ivar ends: the states of which the instance is in one afterwards.
    :ivar answered: whether ``order`` returns when it is done.
    :ivar settled: tells, beside the state, whether an instance shows that it is done.
    """

    name: str
    order: Callable[[rpcapi.CellsAPI, Any, Any], Any]
    ends: frozenset[str] = ACTIVE
    answered: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Course:
    """Steps that follow each other."""

    name: str
    steps: tuple[Step, ...]


def _call(name: str, *args: Any, **kwargs: Any) -> Callable[[rpcapi.CellsAPI, Any, Any], Any]:
    return lambda api, ctxt, instance: api.call_compute_api_method(
        ctxt, instance.cell_name, name, instance.uuid, *args, **kwargs
    )


def _cast(name: str, *args: Any, **kwargs: Any) -> Callable[[rpcapi.CellsAPI, Any, Any], Any]:
    return lambda api, ctxt, instance: api.cast_compute_api_method(
        ctxt, instance.cell_name, name, instance.uuid, *args, **kwargs
    )


def _order(name: str, *args: Any, **kwargs: Any) -> Callable[[rpcapi.CellsAPI, Any, Any], Any]:
    return lambda api, ctxt, instance: getattr(api, name)(ctxt, instance, *args, **kwargs)


def _one(name: str, step: Step) -> Course:
    return Course(name, (step,))


def _volume(instance: Any, number: int) -> str:
    """Return the id of a volume that belongs to an instance."""
    return str(uuid.uuid5(uuid.UUID(instance.uuid), 'volume-%d' % number))


def _rebuild(api: rpcapi.CellsAPI, ctxt: Any, instance: Any) -> None:
    api.rebuild_instance(ctxt, instance, 'new-pass', [], 'image-2', instance.image_ref, {}, None)


def _resize(larger: Flavor) -> Callable[[rpcapi.CellsAPI, Any, Any], Any]:
    return lambda api, ctxt, instance: api.resize_instance(ctxt, instance, {}, {}, larger, None)


def _attach(api: rpcapi.CellsAPI, ctxt: Any, instance: Any) -> Any:
    return _call('attach_volume', _volume(instance, 1), None, None, None)(api, ctxt, instance)


def _swap(api: rpcapi.CellsAPI, ctxt: Any, instance: Any) -> None:
    volumes = [{'id': _volume(instance, number)} for number in (1, 2)]
    _cast('swap_volume', *volumes)(api, ctxt, instance)


def _detach(api: rpcapi.CellsAPI, ctxt: Any, instance: Any) -> None:
    _cast('detach_volume', {'id': _volume(instance, 2)})(api, ctxt, instance)


def _snapshot(api: rpcapi.CellsAPI, ctxt: Any, instance: Any) -> None:
    api.snapshot_instance(ctxt, instance, messages.new_uuid())


def _backup(api: rpcapi.CellsAPI, ctxt: Any, instance: Any) -> None:
    api.backup_instance(ctxt, instance, messages.new_uuid(), 'daily', 2)


def _interfaces(instance: Any) -> Any:
    return list(instance.info_cache.network_info)


def _add_fixed_ip(api: rpcapi.CellsAPI, ctxt: Any, instance: Any) -> None:
    _cast('add_fixed_ip', _interfaces(instance)[0]['network']['id'])(api, ctxt, instance)


def _remove_fixed_ip(api: rpcapi.CellsAPI, ctxt: Any, instance: Any) -> None:
    subnet = _interfaces(instance)[0]['network']['subnets'][0]
    _cast('remove_fixed_ip', subnet['ips'][-1]['address'])(api, ctxt, instance)


def _attach_interface(api: rpcapi.CellsAPI, ctxt: Any, instance: Any) -> None:
    port = str(uuid.uuid5(uuid.UUID(instance.uuid), 'port'))
    _call('attach_interface', None, port, None)(api, ctxt, instance)


def _detach_interface(api: rpcapi.CellsAPI, ctxt: Any, instance: Any) -> None:
    _cast('detach_interface', _interfaces(instance)[-1]['id'])(api, ctxt, instance)


def _console(api: rpcapi.CellsAPI, ctxt: Any, instance: Any) -> None:
    found = _call('get_vnc_connect_info', 'novnc')(api, ctxt, instance)
    if not api.validate_console_port(ctxt, instance.uuid, found['port'], 'novnc'):
        raise RuntimeError('the port of a console of %s is not its port' % instance.uuid)


RESCUED: Final = 'rescued'
RESIZED: Final = 'resized'
HARD_REBOOT: Final = Step('reboot', _order('reboot_instance', None, 'HARD'))
UNRESCUE: Final = Step('unrescue', _cast('unrescue'))
REVERT: Final = Step('revert', _order('revert_resize', None, None, None))


def courses(larger: Flavor) -> tuple[Course, ...]:
    """Return all courses.

    :param larger: what an instance is resized to.
    """
    stopped, paused = frozenset({'stopped'}), frozenset({'paused'})
    suspended, rescued = frozenset({'suspended'}), frozenset({RESCUED})
    resized, gone = frozenset({RESIZED}), frozenset({'soft-delete'})
    shelved = frozenset({'shelved', 'shelved_offloaded'})
    offloaded = frozenset({'shelved_offloaded'})
    start = Step('start', _order('start_instance'))
    resize = Step('resize', _resize(larger), resized)
    shelve = Step('shelve', _cast('shelve', clean_shutdown=True), shelved)
    unshelve = Step('unshelve', _cast('unshelve'))
    key = {'demo': 'yes'}
    return (
        Course('stop, start', (Step('stop', _order('stop_instance'), stopped), start)),
        Course(
            'stop and wait, start',
            (Step('stop', _order('stop_instance', do_cast=False), stopped, True), start),
        ),
        _one('soft reboot', Step('reboot', _order('reboot_instance', None, 'SOFT'))),
        _one('hard reboot', HARD_REBOOT),
        Course(
            'pause, unpause',
            (
                Step('pause', _order('pause_instance'), paused),
                Step('unpause', _order('unpause_instance')),
            ),
        ),
        Course(
            'suspend, resume',
            (
                Step('suspend', _order('suspend_instance'), suspended),
                Step('resume', _order('resume_instance')),
            ),
        ),
        Course(
            'soft delete, restore',
            (
                Step('soft delete', _order('soft_delete_instance'), gone),
                Step('restore', _cast('restore')),
            ),
        ),
        Course(
            'resize, confirm',
            (resize, Step('confirm', _order('confirm_resize', None, None, None))),
        ),
        Course(
            'resize, revert',
            (resize, REVERT),
        ),
        _one(
            'live migration',
            Step('live migration', _order('live_migrate_instance', None, False, False)),
        ),
        _one('rebuild', Step('rebuild', _rebuild)),
        _one('snapshot', Step('snapshot', _snapshot)),
        _one('backup', Step('backup', _backup)),
        _one('reset network', Step('reset network', _order('reset_network'))),
        _one('inject network info', Step('inject network info', _order('inject_network_info'))),
        _one('new password', Step('new password', _order('set_admin_password', 'secret'))),
        Course(
            'rescue, unrescue',
            (
                Step('rescue', _cast('rescue', rescue_password='secret'), rescued),
                UNRESCUE,
            ),
        ),
        Course('shelve, unshelve', (shelve, unshelve)),
        Course(
            'shelve, offload, unshelve',
            (
                shelve,
                Step('offload', _cast('shelve_offload', clean_shutdown=True), offloaded),
                unshelve,
            ),
        ),
        Course('lock, unlock', (Step('lock', _cast('lock')), Step('unlock', _cast('unlock')))),
        Course(
            'metadata',
            (
                Step('update metadata', _cast('update_instance_metadata', key, delete=False)),
                Step('delete metadata', _cast('delete_instance_metadata', 'demo')),
            ),
        ),
        Course(
            'attach, swap, detach a volume',
            (
                Step('attach volume', _attach, answered=True),
                Step('swap volume', _swap),
                Step('detach volume', _detach),
            ),
        ),
        Course(
            'fixed IP',
            (
                Step('add fixed IP', _add_fixed_ip),
                Step('remove fixed IP', _remove_fixed_ip),
            ),
        ),
        Course(
            'interface',
            (
                Step('attach interface', _attach_interface, answered=True),
                Step('detach interface', _detach_interface),
            ),
        ),
        _one('crash dump', Step('crash dump', _cast('trigger_crash_dump'))),
        _one('diagnostics', Step('diagnostics', _call('get_diagnostics'), answered=True)),
        _one('console output', Step('output', _call('get_console_output', 10), answered=True)),
        _one('console', Step('console', _console, answered=True)),
    )
