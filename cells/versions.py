"""Every version number of the project, each written once.

``RPC_HISTORY`` is the client-to-manager contract (``spec/rpc_client.json``),
``RELEASE_CAPS`` says which of it a release speaks; what each version takes for an argument
is in :mod:`cells.client.forms`. The cell-to-cell protocol was always 1.0; what ours adds to
an envelope has its own number. ``OBJECT_VERSIONS`` says at which version each release has
each object (``spec/objects.json``).
"""

from typing import Final

#: version -> what it brought
RPC_HISTORY: Final[dict[str, str]] = {
    '1.0': 'instance updates and faults to the top, run_compute_api_method',
    '1.1': 'get_cell_info_for_neighbors, sync_instances',
    '1.2': 'service_get_all, service_get_by_compute_host, proxy_rpc_to_manager',
    '1.3': 'task_log_get_all',
    '1.4': 'compute_node_get, compute_node_get_all, compute_node_stats',
    '1.5': 'actions_get, action_get_by_request_id, action_events_get',
    '1.6': 'consoleauth_delete_tokens, validate_console_port',
    '1.7': 'service_update',
    '1.8': 'build_instances',
    '1.9': 'get_capacities',
    '1.10': 'bdm_update_or_create_at_top, bdm_destroy_at_top',
    '1.11': 'get_migrations',
    '1.12': 'start_instance, stop_instance',
    '1.13': 'cell_create, cell_update, cell_delete, cell_get',
    '1.14': 'reboot_instance',
    '1.15': 'suspend_instance, resume_instance',
    '1.16': 'instance_update_from_api',
    '1.17': 'get_host_uptime',
    '1.18': 'terminate_instance, soft_delete_instance',
    '1.19': 'pause_instance, unpause_instance',
    '1.20': 'resize_instance, live_migrate_instance',
    '1.21': 'revert_resize, confirm_resize',
    '1.22': 'reset_network',
    '1.23': 'inject_network_info',
    '1.24': 'backup_instance, snapshot_instance',
    '1.25': 'rebuild_instance',
    '1.26': 'service_delete',
    '1.27': 'instance_delete_everywhere with an Instance',
    '1.28': 'bdm_update_or_create_at_top with a BlockDeviceMapping',
    '1.29': 'set_admin_password',
    '1.30': 'build_instances with a Flavor',
    '1.31': 'stop_instance with clean_shutdown',
    '1.32': 'build_instances with Instances',
    '1.33': 'resize_instance with clean_shutdown',
    '1.34': 'build_instances with BlockDeviceMappings',
    '1.35': 'instance updates to the top with Instances',
    '1.36': 'terminate_instance with delete_type',
    '1.37': 'get_keypair_at_top',
}

#: What the client may send at most.
RPC_VERSION: Final = list(RPC_HISTORY)[-1]

#: What clients from Pike on may send beyond it: version -> what it brought.
LATER_HISTORY: Final[dict[str, str]] = {
    '1.38': 'compute_node_get by uuid',
}
#: What the manager takes at most.
SERVED_VERSION: Final = list(LATER_HISTORY)[-1]

#: The namespace that every service of nova serves, see ``endpoints.base_api``.
BASE_NAMESPACE: Final = 'baseapi'
BASE_VERSION: Final = '1.1'

#: The namespace for operators beside the contract, see ``rpcapi.OpsAPI``.
OPS_NAMESPACE: Final = 'cells.ops'
#: version -> what it brought
OPS_HISTORY: Final[dict[str, str]] = {
    '1.0': 'status, whoami, ping, hello, query, sync_status',
    '1.1': 'differences',
    '1.2': 'query_within',
}
OPS_VERSION: Final = list(OPS_HISTORY)[-1]
#: method, or query_within for query with a limit in time -> the version that brought it
OPS_SINCE: Final[dict[str, str]] = {
    method: version for version, brought in OPS_HISTORY.items() for method in brought.split(', ')
}

#: The namespace for records of instances beside the contract, see ``rpcapi.InstancesAPI``.
INSTANCES_NAMESPACE: Final = 'cells.instances'
INSTANCES_VERSION: Final = '1.0'

#: The namespace in which agents report to their cell, see ``endpoints.agents``.
HOST_NAMESPACE: Final = 'cells.host'
#: version -> what it brought
HOST_HISTORY: Final[dict[str, str]] = {
    '1.0': 'report',
    '1.1': 'done, progress, reconcile',
}
HOST_VERSION: Final = list(HOST_HISTORY)[-1]

#: What agents serve to their cell: version -> what it brought
AGENT_HISTORY: Final[dict[str, str]] = {
    '1.0': 'ping, uptime, flags and power of the host, validate_console_port',
    '1.1': 'accept, and what is asked of an instance directly',
}
AGENT_VERSION: Final = list(AGENT_HISTORY)[-1]

#: Version of ``process_message`` between cells, unchanged from Grizzly to Stein.
INTERCELL_VERSION: Final = '1.0'

#: Version of what our cells add to an envelope.
EXTENSION_VERSION: Final = 1

#: Release -> the highest RPC version that may be sent to its manager.
RELEASE_CAPS: Final[dict[str, str]] = {
    'grizzly': '1.6',
    'havana': '1.24',
    'icehouse': '1.27',
    'juno': '1.29',
    'kilo': '1.34',
    'liberty': '1.37',
    'mitaka': '1.37',
    'newton': '1.37',
    'ocata': '1.37',
    'pike': '1.37',
    'queens': '1.37',
    'rocky': '1.37',
    'stein': '1.37',
}


_OBJECT_RELEASES: Final = tuple(release for release in RELEASE_CAPS if release != 'grizzly')

#: object -> its version in each release from havana on, ``-`` where it is not there yet.
#: Liberty, which takes Instance and InstanceList as 1.x and 2.0, sends 2.0.
_OBJECT_HISTORY: Final[dict[str, str]] = {
    'BlockDeviceMapping': '- 1.1 1.3 1.8 1.15 1.16 1.17 1.17 1.18 1.19 1.19 1.20',
    'BlockDeviceMappingList': '- 1.2 1.4 1.9 1.16 1.17 1.17 1.17 1.17 1.17 1.17 1.17',
    'ComputeNode': '1.2 1.3 1.5 1.11 1.14 1.16 1.16 1.16 1.18 1.18 1.18 1.18',
    'ComputeNodeList': '1.0 1.1 1.5 1.11 1.14 1.14 1.15 1.16 1.17 1.17 1.17 1.17',
    'DeviceBus': '- - - - - - 1.0 1.0 1.0 1.0 1.0 1.0',
    'DeviceMetadata': '- - - - - - 1.0 1.0 1.0 1.0 1.0 1.0',
    'EC2Ids': '- - - - 1.0 1.0 1.0 1.0 1.0 1.0 1.0 1.0',
    'Flavor': '- 1.0 1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.2 1.2 1.2',
    'HVSpec': '- - - 1.0 1.1 1.2 1.2 1.2 1.2 1.2 1.2 1.2',
    'Instance': '1.9 1.13 1.15 1.19 2.0 2.1 2.3 2.3 2.3 2.3 2.4 2.4',
    'InstanceAction': '1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.1',
    'InstanceActionEvent': '1.0 1.0 1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.2 1.2',
    'InstanceActionEventList': '1.0 1.0 1.0 1.0 1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.1',
    'InstanceActionList': '1.0 1.0 1.0 1.0 1.0 1.0 1.0 1.0 1.0 1.1 1.1 1.1',
    'InstanceDeviceMetadata': '- - - - - - 1.0 1.0 1.0 1.0 1.0 1.0',
    'InstanceFault': '1.1 1.1 1.2 1.2 1.2 1.2 1.2 1.2 1.2 1.2 1.2 1.2',
    'InstanceInfoCache': '1.4 1.5 1.5 1.5 1.5 1.5 1.5 1.5 1.5 1.5 1.5 1.5',
    'InstanceList': '1.0 1.6 1.9 1.16 2.0 2.0 2.1 2.2 2.4 2.4 2.4 2.4',
    'InstanceNUMACell': '- - 1.0 1.2 1.2 1.3 1.3 1.4 1.4 1.4 1.4 1.4',
    'InstanceNUMATopology': '- - 1.0 1.1 1.2 1.2 1.2 1.3 1.3 1.3 1.3 1.3',
    'InstancePCIRequest': '- - 1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.2 1.2 1.3',
    'InstancePCIRequests': '- - 1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.1',
    'KeyPair': '1.1 1.1 1.1 1.3 1.3 1.3 1.4 1.4 1.4 1.4 1.4 1.4',
    'KeyPairList': '1.0 1.0 1.0 1.2 1.2 1.2 1.3 1.3 1.3 1.3 1.3 1.3',
    'Migration': '1.1 1.1 1.1 1.1 1.2 1.4 1.4 1.4 1.4 1.5 1.5 1.5',
    'MigrationContext': '- - - - 1.0 1.0 1.1 1.1 1.1 1.1 1.1 1.1',
    'MigrationList': '1.0 1.1 1.1 1.1 1.2 1.3 1.3 1.3 1.3 1.4 1.4 1.4',
    'NetworkRequest': '- - 1.0 1.1 1.1 1.1 1.2 1.2 1.2 1.2 1.2 1.2',
    'NetworkRequestList': '- - 1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.1',
    'PciDevice': '1.1 1.1 1.2 1.3 1.3 1.5 1.5 1.5 1.6 1.6 1.6 1.6',
    'PciDeviceList': '1.0 1.0 1.1 1.2 1.2 1.3 1.3 1.3 1.3 1.3 1.3 1.3',
    'PciDevicePool': '- - - 1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.1',
    'PciDevicePoolList': '- - - 1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.1',
    'RequestSpec': '- - - - 1.4 1.5 1.6 1.8 1.8 1.8 1.11 1.12',
    'SecurityGroup': '1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.2 1.2 1.2 1.2 1.2',
    'SecurityGroupList': '1.0 1.0 1.0 1.0 1.0 1.0 1.0 1.0 1.1 1.1 1.1 1.1',
    'Service': '1.2 1.2 1.4 1.12 1.18 1.19 1.20 1.20 1.22 1.22 1.22 1.22',
    'ServiceList': '1.0 1.0 1.2 1.10 1.16 1.18 1.19 1.19 1.19 1.19 1.19 1.19',
    'Tag': '- - - 1.0 1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.1',
    'TagList': '- - - 1.0 1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.1',
    'TrustedCerts': '- - - - - - - - - - 1.0 1.0',
    'VirtCPUFeature': '- - - 1.0 1.0 1.0 1.0 1.0 1.0 1.0 1.0 1.0',
    'VirtCPUModel': '- - - 1.0 1.0 1.0 1.0 1.0 1.0 1.0 1.0 1.0',
    'VirtCPUTopology': '- - - 1.0 1.0 1.0 1.0 1.0 1.0 1.0 1.0 1.0',
}

#: Release -> object -> the version that it sends.
OBJECT_VERSIONS: Final[dict[str, dict[str, str]]] = {
    release: {
        name: found
        for name, history in _OBJECT_HISTORY.items()
        if (found := history.split()[index]) != '-'
    }
    for index, release in enumerate(_OBJECT_RELEASES)
}


def object_versions(name: str) -> list[str]:
    """Return the versions of an object that releases have, oldest first.

    :raises ValueError: no release has it.
    """
    if name not in _OBJECT_HISTORY:
        raise ValueError('%s is not an object of any release' % name)
    return [version for version in _OBJECT_HISTORY[name].split() if version != '-']


def newest_object_version(name: str) -> str:
    """Return the newest version of an object that any release has.

    :raises ValueError: no release has it.
    """
    return object_versions(name)[-1]


def intercell_cap(setting: str | None) -> str | None:
    """Return the version of the RPC between cells that ``[upgrade_levels] intercell`` stands for.

    :param setting: a release name, a version, or None.
    :returns: a version, None for no cap.
    :raises ValueError: the setting is neither.
    """
    if setting is None:
        return None
    word = setting.strip().lower()
    if word != INTERCELL_VERSION and word not in RELEASE_CAPS:
        raise ValueError(
            '[upgrade_levels] intercell = %r is neither a release (%s) nor %s, the only version '
            'that there is' % (setting, ', '.join(RELEASE_CAPS), INTERCELL_VERSION)
        )
    return INTERCELL_VERSION


def rpc_cap(setting: str | None) -> str | None:
    """Return the RPC version that ``[upgrade_levels] cells`` stands for.

    :param setting: a release name, a version such as ``1.34``, or None.
    :returns: a version, None for no cap.
    :raises ValueError: the setting is neither.
    """
    if setting is None:
        return None
    word = setting.strip().lower()
    cap = RELEASE_CAPS.get(word, word)
    if cap not in RPC_HISTORY:
        raise ValueError(
            '[upgrade_levels] cells = %r is neither a release (%s) nor a version from 1.0 to %s'
            % (setting, ', '.join(RELEASE_CAPS), RPC_VERSION)
        )
    return cap


def cap_release(setting: str | None) -> str | None:
    """Return the release at whose versions objects are sent under ``[upgrade_levels] cells``.

    :param setting: a release name, a version such as ``1.34``, or None.
    :returns: the release itself, or the first that knows the version and has objects; None
        for no cap.
    :raises ValueError: the setting is neither.
    """
    cap = rpc_cap(setting)
    if setting is None or cap is None:
        return None
    word = setting.strip().lower()
    if word in OBJECT_VERSIONS:
        return word
    return next(release for release in OBJECT_VERSIONS if allows(RELEASE_CAPS[release], cap))


def allows(cap: str | None, version: str) -> bool:
    """Tell whether a version may be sent under a cap, None for no cap."""
    return cap is None or minor(version) <= minor(cap)


def minor(version: str) -> int:
    """Return the second number of a version of the RPC contract."""
    return int(version.partition('.')[2])
