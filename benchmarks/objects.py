"""How fast objects go to the wire and come back, on one core.

    python -m benchmarks.objects [--seconds 2] [--repetitions 5]

takes a whole instance (every column, flavor, network, security groups, metadata)
from an object to the JSON text of its envelope and back to an object.
"""

import argparse
import datetime
import statistics
import time
from collections.abc import Callable

from cells import wire
from cells.objects import base, flavor, instance, security_group

#: Round trips per second that are asked for.
ASKED = 2500
NOW = datetime.datetime(2016, 3, 1, 12, tzinfo=datetime.UTC)
UUID = '11111111-1111-4111-8111-111111111111'
STORED = {'created_at': NOW, 'updated_at': NOW, 'deleted_at': None, 'deleted': False}


def whole_instance() -> instance.Instance:
    """Return an instance as a database has it."""
    kind = flavor.Flavor(
        id=1,
        name='m1.small',
        memory_mb=2048,
        vcpus=1,
        root_gb=20,
        ephemeral_gb=0,
        flavorid='2',
        swap=0,
        rxtx_factor=1.0,
        vcpu_weight=0,
        disabled=False,
        is_public=True,
        extra_specs={'hw:cpu_policy': 'shared'},
        projects=[],
        **STORED,
    )
    address = {'address': '192.0.2.10', 'type': 'fixed', 'version': 4, 'meta': {}}
    subnet = {'cidr': '192.0.2.0/24', 'dns': [], 'ips': [address], 'routes': [], 'version': 4}
    vif = {
        'id': UUID,
        'address': 'fa:16:3e:00:00:01',
        'network': {'id': UUID, 'bridge': 'br-int', 'label': 'private', 'subnets': [subnet]},
        'type': 'ovs',
        'devname': 'tap0',
        'active': True,
        'vnic_type': 'normal',
    }
    group = security_group.SecurityGroup(
        id=1, name='default', description='default', user_id='u1', project_id='p1', **STORED
    )
    numbers = ('power_state', 'vcpus', 'memory_mb', 'root_gb', 'ephemeral_gb', 'launch_index')
    texts = (
        'image_ref kernel_id ramdisk_id hostname vm_state key_name key_data host node os_type '
        'reservation_id launched_on display_name display_description availability_zone project_id '
        'user_id user_data config_drive root_device_name architecture cell_name'
    )
    made = instance.Instance(
        id=7,
        uuid=UUID,
        instance_type_id=1,
        progress=0,
        task_state='powering-off',
        launched_at=NOW,
        terminated_at=None,
        access_ip_v4=None,
        access_ip_v6=None,
        locked=False,
        locked_by=None,
        auto_disk_config=True,
        cleaned=False,
        shutdown_terminate=False,
        disable_terminate=False,
        default_ephemeral_device=None,
        default_swap_device=None,
        ephemeral_key_uuid=None,
        vm_mode=None,
        metadata={'role': 'web', 'owner': 'someone'},
        system_metadata={'image_%d' % index: 'value %d' % index for index in range(20)},
        flavor=kind,
        old_flavor=None,
        new_flavor=None,
        info_cache=instance.InstanceInfoCache(instance_uuid=UUID, network_info=[vif], **STORED),
        security_groups=security_group.SecurityGroupList(objects=[group]),
        numa_topology=None,
        pci_requests=None,
        fault=None,
        **dict.fromkeys(numbers, 1),
        **{name: 'some %s' % name for name in texts.split()},
        **STORED,
    )
    made.obj_reset_changes(recursive=True)
    made.task_state = None
    return made


def rate(work: Callable[[], object], seconds: float) -> float:
    """Return how often per second of CPU time something can be done."""
    count, begun = 0, time.process_time()
    while (spent := time.process_time() - begun) < seconds:
        for _ in range(50):
            work()
        count += 50
    return count / spent


def main() -> int:
    """Measure; exit code 1 when round trips miss what is asked."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.objects', description=__doc__)
    parser.add_argument('--seconds', type=float, default=1.0)
    parser.add_argument('--repetitions', type=int, default=5)
    args = parser.parse_args()
    one = whole_instance()
    text = wire.dumps(one)

    def read() -> object:
        return base.from_primitive(wire.loads(text, 'an object'))

    cases: dict[str, Callable[[], object]] = {
        'object to text': lambda: wire.dumps(one),
        'object to text, liberty': lambda: wire.dumps(base.to_primitive(one, 'liberty')),
        'text to object': read,
        'round trip': lambda: base.from_primitive(wire.loads(wire.dumps(one), 'an object')),
    }
    print('%d fields set, %d bytes of JSON' % (len(dict(one.items())), len(text)))
    for name, work in cases.items():
        rates = [rate(work, args.seconds) for _ in range(args.repetitions)]
        middle = statistics.median(rates)
        print('%-24s %8.0f/s (%.0f to %.0f)' % (name, middle, min(rates), max(rates)))
    good = middle >= ASKED
    print('asked: at least %d round trips/s: %s' % (ASKED, 'yes' if good else 'NO'))
    return 0 if good else 1


if __name__ == '__main__':
    raise SystemExit(main())
