"""What an old cell does at the destination of a message, over records in memory.

One class for messages to one cell and one for those to all, as their methods are looked up by
name: a name that is not there is an AttributeError, an argument that is not there a TypeError.
"""

import copy
import datetime
import threading
from typing import Any

from .cell import Cell, Failed
from .values import CHANGES, DATA, NAME

#: Incoming task state -> what the stored one must be; the same for ``building``.
RULES = {
    'rebuild_block_device_mapping': ('rebuild_block_device_mapping', 'rebuilding'),
    'rebuild_spawning': ('rebuild_spawning', 'rebuild_block_device_mapping', 'rebuilding'),
    'resize_migrating': ('resize_migrating', 'resize_prep'),
    'resize_migrated': ('resize_migrated', 'resize_migrating', 'resize_prep'),
    'resize_finish': ('resize_finish', 'resize_migrated', 'resize_migrating', 'resize_prep'),
}
NOT_AT_TOP = frozenset(('id', 'security_groups', 'volumes', 'cell_name', 'name', 'metadata'))
#: Of the properties of an instance, what a new record in a child does not have.
NOT_BUILT = frozenset(
    ('id', 'name', 'info_cache', 'security_groups', 'flavor', 'pci_requests', 'ec2_ids', 'keypairs')
)
#: Action -> vm_state afterwards.
ENDS = {
    'start_instance': 'active',
    'stop_instance': 'stopped',
    'reboot_instance': 'active',
    'pause_instance': 'paused',
    'unpause_instance': 'active',
    'suspend_instance': 'suspended',
    'resume_instance': 'active',
}


class Records:
    """What one cell knows.

    :param hosts: the names of its hosts.
    """

    def __init__(self, hosts: list[str]) -> None:
        self.lock = threading.RLock()
        self.hosts = hosts
        self.instances: dict[str, dict[str, Any]] = {}
        self.deleted: list[str] = []
        self.faults: list[dict[str, Any]] = []
        self.devices: dict[str, list[dict[str, Any]]] = {}
        self.actions: dict[str, list[dict[str, Any]]] = {}
        self.told: dict[str, dict[str, Any]] = {'capabilities': {}, 'capacities': {}}

    # -- at the top --

    def save(self, instance: dict[str, Any], cell_name: str) -> None:
        """Take over what has changed in an instance; without changes, nothing but its cell (S1)."""
        data, changes = instance[DATA], set(instance.get(CHANGES, ())) - NOT_AT_TOP
        uuid = data['uuid']
        with self.lock:
            stored = self.instances.get(uuid)
            if stored is None:
                if 'id' in data:  # never repaired (S3)
                    text = 'Object action create failed because: already created'
                    raise Failed('ObjectActionError', text, code=500)
                self.instances[uuid] = {**_plain(data), 'cell_name': cell_name}
                return
            self._check(stored, data)
            for key, value in data.items():
                if isinstance(value, dict) and NAME in value:
                    inner = stored.setdefault(key, {})
                    if inner is not None:
                        inner.update(
                            _plain({one: value[DATA][one] for one in value.get(CHANGES, ())})
                        )
                elif key in changes:
                    stored[key] = _plain(value)
            stored['cell_name'] = cell_name

    def _check(self, stored: dict[str, Any], data: dict[str, Any]) -> None:
        if data.get('vm_state') == 'building' and stored.get('vm_state') not in ('building', None):
            raise Failed('InstanceUpdateConflict', 'vm_state is %s' % stored.get('vm_state'))
        allowed = RULES.get(data.get('task_state', ''))
        if allowed is not None and stored.get('task_state') not in allowed:
            raise Failed('UnexpectedTaskStateError', 'it is %s' % stored.get('task_state'))

    # -- in a child --

    def find(self, uuid: str) -> dict[str, Any]:
        with self.lock:
            if uuid not in self.instances:
                text = 'Instance %s could not be found.' % uuid
                raise Failed('InstanceNotFound', text, instance_id=uuid, code=404)
            return self.instances[uuid]

    def update(self, cell: Cell, uuid: str, **values: Any) -> None:
        """Change an instance and tell the cells above."""
        with self.lock:
            self.instances[uuid].update(values)
            data = dict(self.instances[uuid])
        self.tell(cell, data, list(values))

    def tell(self, cell: Cell, data: dict[str, Any], changes: list[str] | None = None) -> None:
        """Tell the cells above of an instance, as a record of it that was loaded is sent."""
        sent = cell.objects.make('Instance', data, changes)
        cell.broadcast('instance_update_at_top', {'instance': sent})

    def heal(self, cell: Cell) -> None:
        """Tell of all instances again; nothing is marked as changed."""
        with self.lock:
            found = [dict(one) for one in self.instances.values()]
        for data in found:
            self.tell(cell, data)

    def report(self, cell: Cell) -> None:
        """Tell the parents what this cell and those below can do and have free."""
        with self.lock:
            told = copy.deepcopy(self.told)
        capabilities: dict[str, Any] = {}
        for one in ({'hypervisor': ['kvm']}, *told['capabilities'].values()):
            for key, items in one.items():
                capabilities[key] = sorted({*capabilities.get(key, ()), *items})
        capacities = _sum([self.own_capacities(), *told['capacities'].values()])
        for parent in cell.parents:
            target = '%s!%s' % (cell.name, parent)
            for what, value in (('capabilities', capabilities), ('capacities', capacities)):
                cell.cast(target, 'update_' + what, {'cell_name': cell.name, what: value}, 'up')

    def own_capacities(self) -> dict[str, Any]:
        """Return the capacities of the hosts, of a size of which there is much."""
        if not self.hosts:
            return {}
        number, mb = len(self.hosts), 100_000 * len(self.hosts)
        units = {'512': 100 * number, '1024': 50 * number}
        return {
            'ram_free': {'total_mb': mb, 'units_by_mb': units},
            'disk_free': {'total_mb': mb, 'units_by_mb': {'1024': 90 * number}},
        }

    def service(self, cell: Cell, number: int) -> Any:
        """Return the service of a host as an object."""
        data = {
            'id': number,
            'host': self.hosts[number],
            'binary': 'nova-compute',
            'topic': 'compute',
            'report_count': 5,
            'disabled': False,
            'disabled_reason': None,
            'last_seen_up': _now(),
            'updated_at': _now(),
            'deleted': False,
        }
        return cell.objects.make('Service', data)


class Methods:
    """What both kinds of messages share."""

    def __init__(self, cell: Cell, records: Records) -> None:
        self.cell = cell
        self.records = records


class Targeted(Methods):
    """Methods of messages to one cell."""

    def announce_capabilities(self, message: Any) -> None:
        self.records.report(self.cell)

    def announce_capacities(self, message: Any) -> None:
        self.records.report(self.cell)

    def _update(self, what: str, cell_name: str, value: Any) -> None:
        if cell_name not in self.cell.children:
            return
        with self.records.lock:
            self.records.told[what][cell_name] = value
        self.records.report(self.cell)

    def update_capabilities(self, message: Any, cell_name: str, capabilities: Any) -> None:
        self._update('capabilities', cell_name, capabilities)

    def update_capacities(self, message: Any, cell_name: str, capacities: Any) -> None:
        self._update('capacities', cell_name, capacities)

    def task_log_get_all(
        self,
        message: Any,
        task_name: Any,
        period_beginning: Any,
        period_ending: Any,
        host: Any,
        state: Any,
    ) -> Any:
        return []

    def service_get_by_compute_host(self, message: Any, host_name: str) -> Any:
        if host_name not in self.records.hosts:
            text = 'Compute host %s could not be found.' % host_name
            raise Failed('ComputeHostNotFound', text, host=host_name, code=404)
        return self.records.service(self.cell, self.records.hosts.index(host_name))

    def actions_get(self, message: Any, instance_uuid: str) -> Any:
        return self.records.actions.get(instance_uuid, [])

    def action_get_by_request_id(self, message: Any, instance_uuid: str, request_id: str) -> Any:
        found = self.records.actions.get(instance_uuid, [])
        return next((one for one in found if one['request_id'] == request_id), None)

    def instance_update_from_api(
        self,
        message: Any,
        instance: Any,
        expected_vm_state: Any,
        expected_task_state: Any,
        admin_state_reset: Any,
    ) -> None:
        changes = set(instance.get(CHANGES, ())) - {'metadata', 'system_metadata'}
        if not admin_state_reset:
            changes -= {'vm_state', 'task_state'}
        stored = self.records.find(instance[DATA]['uuid'])
        stored.update({key: _plain(instance[DATA][key]) for key in changes})

    def build_instances(self, message: Any, build_inst_kwargs: Any) -> None:
        if self.cell.children:
            child = min(self.cell.children)
            kwargs = {'build_inst_kwargs': build_inst_kwargs}
            self.cell.cast('%s!%s' % (self.cell.name, child), 'build_instances', kwargs)
            return
        flavor = build_inst_kwargs['filter_properties']['instance_type']
        wanted = build_inst_kwargs['instances']
        for one in wanted['nova_object.data']['objects'] if isinstance(wanted, dict) else wanted:
            values = {key: value for key, value in one[DATA].items() if key not in NOT_BUILT}
            data = {**values, 'id': len(self.records.instances) + 1, 'vm_state': 'building'}
            data.update(task_state='scheduling', flavor=flavor, cell_name=None)
            uuid = data['uuid']
            data = _saved(data)
            with self.records.lock:
                self.records.instances[uuid] = data
            self.records.tell(self.cell, data, ['vm_state', 'task_state'])
            self._note(message, uuid, 'create')
            if data.get('display_name') == 'no-host':
                self.records.update(self.cell, uuid, vm_state='error', task_state=None)
                fault = {'instance_uuid': uuid, 'code': 500, 'message': 'No valid host was found.'}
                self.cell.broadcast('instance_fault_create_at_top', {'instance_fault': fault})
                continue
            host = self.records.hosts[0]
            self.records.update(self.cell, uuid, host=host, node=host, task_state='spawning')
            self.records.update(
                self.cell,
                uuid,
                vm_state='active',
                task_state=None,
                power_state=1,
                launched_at=_now(),
            )

    def terminate_instance(self, message: Any, instance: Any, delete_type: str = 'delete') -> None:
        self._refreshed(instance)
        self._destroy(instance[DATA]['uuid'])

    def _destroy(self, uuid: str) -> None:
        with self.records.lock:
            data = self.records.instances.pop(uuid)
            self.records.deleted.append(uuid)
        sent = self.cell.objects.make('Instance', {**data, 'deleted': True})
        self.cell.broadcast('instance_destroy_at_top', {'instance': sent})

    def _refreshed(self, instance: Any) -> dict[str, Any]:
        uuid = instance[DATA]['uuid']
        try:
            return self.records.find(uuid)
        except Failed:
            # It is taken for deleted, and the record above for a leftover (S4).
            gone = self.cell.objects.make('Instance', {'uuid': uuid}, ['uuid'])
            self.cell.broadcast('instance_destroy_at_top', {'instance': gone})
            raise

    def _note(self, message: Any, uuid: str, action: str) -> None:
        row = {
            'id': len(self.records.actions) + 1,
            'action': action,
            'instance_uuid': uuid,
            'request_id': message['ctxt']['request_id'],
            'user_id': 'u1',
            'project_id': 'p1',
            'start_time': _now(),
            'finish_time': None,
            'message': None,
            'created_at': _now(),
            'updated_at': None,
            'deleted_at': None,
            'deleted': 0,
        }
        with self.records.lock:
            self.records.actions.setdefault(uuid, []).append(row)

    def _act(self, message: Any, instance: Any) -> None:
        self._refreshed(instance)
        name = message['method_name']
        self._note(message, instance[DATA]['uuid'], name.partition('_')[0])
        self.records.update(self.cell, instance[DATA]['uuid'], vm_state=ENDS[name], task_state=None)

    def start_instance(self, message: Any, instance: Any) -> None:
        self._act(message, instance)

    def stop_instance(self, message: Any, instance: Any, clean_shutdown: bool = True) -> None:
        self._act(message, instance)

    def reboot_instance(self, message: Any, instance: Any, reboot_type: str) -> None:
        self._act(message, instance)


class Broadcast(Methods):
    """Methods of messages to all cells."""

    def service_get_all(self, message: Any, filters: Any) -> Any:
        return [
            self.records.service(self.cell, number) for number in range(len(self.records.hosts))
        ]

    def compute_node_get_all(self, message: Any, hypervisor_match: Any) -> Any:
        nodes = [
            self.cell.objects.make(
                'ComputeNode',
                {
                    'id': number,
                    'host': host,
                    'hypervisor_hostname': host,
                    'hypervisor_type': 'fake',
                    'hypervisor_version': 1,
                    'memory_mb': 100_000,
                    'memory_mb_used': 512,
                    'local_gb': 1000,
                    'local_gb_used': 1,
                    'vcpus': 64,
                    'vcpus_used': 1,
                    'cpu_info': '{}',
                    'free_ram_mb': 99_488,
                    'free_disk_gb': 999,
                },
            )
            for number, host in enumerate(self.records.hosts)
        ]
        return self.cell.objects.make('ComputeNodeList', {'objects': nodes})

    def sync_instances(
        self, message: Any, project_id: Any, updated_since: Any, deleted: Any
    ) -> None:
        self.records.heal(self.cell)

    def instance_delete_everywhere(self, message: Any, instance: Any, delete_type: str) -> None:
        if instance[DATA]['uuid'] in self.records.instances:
            Targeted(self.cell, self.records).terminate_instance(message, instance)

    # -- for the top --

    def instance_update_at_top(self, message: Any, instance: Any) -> None:
        if self.cell.is_top:
            path = '!'.join(message['routing_path'].split('!')[::-1])
            self.records.save(instance, path)

    def instance_destroy_at_top(self, message: Any, instance: Any) -> None:
        if self.cell.is_top:
            with self.records.lock:
                if self.records.instances.pop(instance[DATA]['uuid'], None) is not None:
                    self.records.deleted.append(instance[DATA]['uuid'])

    def instance_fault_create_at_top(self, message: Any, instance_fault: Any) -> None:
        if self.cell.is_top:
            instance_fault.pop('id', None)
            made = self.cell.objects.make('InstanceFault', instance_fault)
            with self.records.lock:
                self.records.faults.append(made[DATA])

    def bdm_update_or_create_at_top(self, message: Any, bdm: Any, create: Any) -> None:
        if self.cell.is_top:
            row = {key: value for key, value in bdm.items() if key != 'id'}
            self.cell.objects.make('BlockDeviceMapping', row)
            with self.records.lock:
                rows = self.records.devices.setdefault(row['instance_uuid'], [])
                same = [one for one in rows if one['device_name'] == row['device_name']]
                if same and create is not True:
                    same[0].update(row)
                else:
                    rows.append(row)

    def bdm_destroy_at_top(
        self, message: Any, instance_uuid: str, device_name: Any, volume_id: Any
    ) -> None:
        if self.cell.is_top:
            key, value = ('device_name', device_name) if device_name else ('volume_id', volume_id)
            with self.records.lock:
                rows = self.records.devices.get(instance_uuid, [])
                rows[:] = [one for one in rows if one[key] != value]

    def bw_usage_update_at_top(self, message: Any, bw_update_info: Any) -> None:
        datetime.datetime.fromisoformat(bw_update_info['start_period'])

    def consoleauth_delete_tokens(self, message: Any, instance_uuid: str) -> None:
        return None

    def get_keypair_at_top(self, message: Any, user_id: str, name: str) -> Any:
        if not self.cell.is_top or name == 'nosuch':
            return None
        data = {'id': 1, 'name': name, 'user_id': user_id, 'fingerprint': 'ab', 'public_key': 'k'}
        return self.cell.objects.make('KeyPair', data)


def local(records: dict[str, Records]) -> Any:
    """Return what carries out a message at its destination."""

    def run(cell: Cell, message: dict[str, Any], kwargs: dict[str, Any]) -> Any:
        kind = message['message_type']
        cls = Targeted if kind == 'targeted' else Broadcast
        name = message['method_name']
        if name.startswith('_') or not hasattr(cls, name):
            text = "'_%sMessageMethods' object has no attribute '%s'" % (kind.capitalize(), name)
            raise AttributeError(text)
        return getattr(cls(cell, records[cell.name]), name)(message, **kwargs)

    return run


def _saved(value: Any) -> Any:
    """Return a value whose objects have no changes any more."""
    if isinstance(value, list):
        return [_saved(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {key: _saved(one) for key, one in value.items() if key != CHANGES}


def _plain(value: Any) -> Any:
    """Return a value with the fields of objects in it in their places."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    if NAME in value:
        return _plain(value[DATA])
    return {key: _plain(one) for key, one in value.items()}


def _sum(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return sums key by key."""
    found: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            if isinstance(value, dict):
                found[key] = _sum([found.get(key, {}), value])
            else:
                found[key] = found.get(key, 0) + value
    return found


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None).isoformat()[:19] + 'Z'
