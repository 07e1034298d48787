"""What clients send for each method of the contract, by its version.

A method has one or several forms, the newest first. Under a cap (``[upgrade_levels] cells``)
the newest form goes out that the cap allows; where even the oldest is too new nothing does.
An older form is the newest with something left out, or with objects as dictionaries
(``spec/rpc_client.json``, ``lower_caps``). What versions objects have is not said here: see
:func:`cells.objects.base.compatible`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

from cells import versions
from cells.objects import base as objects_base
from cells.objects import plain

Arguments = dict[str, Any]
Make = Callable[[Arguments], Arguments]

#: What nova's clients leave an object in instances that are plain otherwise.
LEFT_OBJECTS: Final = ('InstanceInfoCache',)


def _as_it_is(arguments: Arguments) -> Arguments:
    return arguments


@dataclasses.dataclass(frozen=True, slots=True)
class Form:
    """The arguments of a method as one version of the contract has them.

    :ivar version: that the message carries.
    :ivar change: how they differ from the newest form, in words; empty in that.
    :ivar make: makes them of those of the newest form.
    """

    version: str
    change: str = ''
    make: Make = _as_it_is


# -- how arguments become those of older versions --


def _without(name: str) -> Make:
    return lambda arguments: {key: value for key, value in arguments.items() if key != name}


def _plain(name: str, moment: Callable[[Any], Any] = plain.moment_text) -> Make:
    return lambda arguments: {**arguments, name: plain.flatten(arguments[name], moment=moment)}


def plain_instance(instance: Any) -> Any:
    """Return an instance as a dictionary, its network as the object that nova leaves there."""
    made = plain.flatten(instance, kept=LEFT_OBJECTS)
    return made if objects_base.is_ours(instance) else objects_base.to_primitive(made)


def _instance_with_cache(arguments: Arguments) -> Arguments:
    return {**arguments, 'instance': plain_instance(arguments['instance'])}


def _build(*steps: Make) -> Make:
    """Return what makes ``build_inst_kwargs`` older, step by step."""

    def make(arguments: Arguments) -> Arguments:
        request = dict(arguments['build_inst_kwargs'])
        for step in steps:
            request = step(request)
        return {**arguments, 'build_inst_kwargs': request}

    return make


def _plain_devices(request: Arguments) -> Arguments:
    devices = request.get('block_device_mapping')
    if hasattr(devices, 'obj_to_primitive'):
        made = plain.flatten(devices, moment=str)
    elif isinstance(devices, list | tuple):
        # What is not ours in a list that is no object goes out as it is, as from nova's clients.
        made = [
            plain.flatten(one, moment=str) if objects_base.is_ours(one) else one for one in devices
        ]
    else:
        return request
    return {**request, 'block_device_mapping': made}


def _plain_instances(request: Arguments) -> Arguments:
    if 'instances' not in request:
        return request
    return {**request, 'instances': [plain_instance(one) for one in request['instances']]}


def _plain_flavor(request: Arguments) -> Arguments:
    properties = request.get('filter_properties')
    if not properties or not hasattr(properties.get('instance_type'), 'obj_to_primitive'):
        return request
    flavor = plain.flatten(properties['instance_type'], moment=str)
    return {**request, 'filter_properties': {**properties, 'instance_type': flavor}}


def _networks_as_lists(request: Arguments) -> Arguments:
    """Give networks the form from before there were objects of them, which came with Juno."""
    networks = request.get('requested_networks')
    if not hasattr(networks, 'obj_to_primitive'):
        return request
    names = ('network_id', 'address', 'port_id')
    found = [[one.get(name) for name in names] for one in plain.flatten(networks)]
    return {**request, 'requested_networks': found}


# -- the table --


def _since(version: str) -> tuple[Form, ...]:
    """Return the forms of a method that has but one."""
    return (Form(version),)


_UP: Final = (
    Form('1.35'),
    # As clients of that time did; nova's of later times send nothing under a cap below 1.34.
    Form('1.34', 'instance as a dictionary', _plain('instance', str)),
    Form('1.0', 'instance as a dictionary', _plain('instance')),
)

#: Method on the wire -> its forms, the newest first.
FORMS: Final[Mapping[str, tuple[Form, ...]]] = {
    'action_events_get': _since('1.5'),
    'action_get_by_request_id': _since('1.5'),
    'actions_get': _since('1.5'),
    'backup_instance': _since('1.24'),
    'bdm_destroy_at_top': _since('1.10'),
    'bdm_update_or_create_at_top': (
        Form('1.28'),
        Form('1.10', 'bdm as a dictionary', _plain('bdm', str)),
    ),
    'build_instances': (
        Form('1.34', '', _build(_without('legacy_bdm'))),
        Form('1.32', 'block devices as dictionaries', _build(_plain_devices)),
        Form(
            '1.30',
            'block devices and instances as dictionaries',
            _build(_plain_devices, _plain_instances),
        ),
        Form(
            '1.8',
            'block devices, instances and flavor as dictionaries, networks as lists of '
            'network, address and port',
            _build(_plain_devices, _plain_instances, _plain_flavor, _networks_as_lists),
        ),
    ),
    'bw_usage_update_at_top': _since('1.0'),
    'cell_create': _since('1.13'),
    'cell_delete': _since('1.13'),
    'cell_get': _since('1.13'),
    'cell_update': _since('1.13'),
    'compute_node_get': _since('1.4'),
    'compute_node_get_all': _since('1.4'),
    'compute_node_stats': _since('1.4'),
    'confirm_resize': _since('1.21'),
    'consoleauth_delete_tokens': _since('1.6'),
    'get_capacities': _since('1.9'),
    'get_cell_info_for_neighbors': _since('1.1'),
    'get_host_uptime': _since('1.17'),
    'get_keypair_at_top': _since('1.37'),
    'get_migrations': _since('1.11'),
    'inject_network_info': _since('1.23'),
    'instance_delete_everywhere': (
        Form('1.27'),
        Form('1.0', 'instance as a dictionary', _instance_with_cache),
    ),
    'instance_destroy_at_top': _UP,
    'instance_fault_create_at_top': _since('1.0'),
    'instance_update_at_top': _UP,
    'instance_update_from_api': _since('1.16'),
    'live_migrate_instance': _since('1.20'),
    'pause_instance': _since('1.19'),
    'proxy_rpc_to_manager': _since('1.2'),
    'reboot_instance': _since('1.14'),
    'rebuild_instance': _since('1.25'),
    'reset_network': _since('1.22'),
    'resize_instance': (
        Form('1.33'),
        Form('1.20', 'without clean_shutdown', _without('clean_shutdown')),
    ),
    'resume_instance': _since('1.15'),
    'revert_resize': _since('1.21'),
    'run_compute_api_method': _since('1.0'),
    'service_delete': _since('1.26'),
    'service_get_all': _since('1.2'),
    'service_get_by_compute_host': _since('1.2'),
    'service_update': _since('1.7'),
    'set_admin_password': _since('1.29'),
    'snapshot_instance': _since('1.24'),
    'soft_delete_instance': _since('1.18'),
    'start_instance': _since('1.12'),
    'stop_instance': (
        Form('1.31'),
        Form('1.12', 'without clean_shutdown', _without('clean_shutdown')),
    ),
    'suspend_instance': _since('1.15'),
    'sync_instances': _since('1.1'),
    'task_log_get_all': _since('1.3'),
    'terminate_instance': (
        Form('1.36'),
        Form('1.18', 'without delete_type', _without('delete_type')),
    ),
    'unpause_instance': _since('1.19'),
    'validate_console_port': _since('1.6'),
}


def form_of(method: str, cap: str | None) -> Form | None:
    """Return the form in which a method is sent under a cap, None where it cannot be sent.

    :param cap: an RPC version, None for no cap.
    """
    allowed = (form for form in FORMS[method] if versions.allows(cap, form.version))
    return next(allowed, None)
