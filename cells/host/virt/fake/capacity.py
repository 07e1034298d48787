"""How much room a fake host has, and how much of it is taken: values in, values out."""

from collections.abc import Iterable
from typing import Any

from cells import amounts
from cells.host.virt.base import Demand, PowerState
from cells.host.virt.fake.machine import Machine
from cells.host.virt.fake.settings import Settings


def place(settings: Settings, demand: Demand, taken: Iterable[Demand]) -> tuple[str | None, str]:
    """Return the node on which a machine has room; None and why, when there is none.

    The node that the cell wants, if it is one of this host, is the only one that comes
    into question.

    :param taken: of those that name no node of this host, nobody knows where they come: each
        counts on all.
    """
    taken = list(taken)
    reasons = []
    for node in (demand.node,) if demand.node in settings.nodes else settings.nodes:
        assert node is not None
        others = [one for one in taken if one.node == node or one.node not in settings.nodes]
        missing = _missing(settings, demand, others)
        if not missing:
            return node, ''
        reasons.append('node %s has %s' % (node, ', '.join(missing)))
    return None, '; '.join(reasons)


def _missing(settings: Settings, demand: Demand, others: list[Demand]) -> list[str]:
    vcpus = int(settings.vcpus * settings.cpu_allocation_ratio)
    return [
        '%d %s free and %d are needed' % (total - used, what, needed)
        for what, total, used, needed in (
            (
                'MiB of memory',
                settings.memory_mb,
                sum(one.memory_mb for one in others),
                demand.memory_mb,
            ),
            ('GiB of disk', settings.local_gb, sum(one.disk_gb for one in others), demand.disk_gb),
            ('virtual CPUs', vcpus, sum(one.vcpus for one in others), demand.vcpus),
        )
        if used + needed > total
    ]


def nodes(settings: Settings, machines: Iterable[Machine]) -> list[dict[str, Any]]:
    """Return the nodes of a host as fields of ``ComputeNode``."""
    machines = list(machines)
    return [
        _node(settings, name, [one for one in machines if one.node == name])
        for name in settings.nodes
    ]


def _node(settings: Settings, name: str, machines: list[Machine]) -> dict[str, Any]:
    memory_mb = sum(one.memory_mb for one in machines)
    disk_gb = sum(one.demand.disk_gb for one in machines)
    return {
        'hypervisor_hostname': name,
        'hypervisor_type': 'fake',
        'hypervisor_version': 1,
        'host_ip': None,
        'vcpus': settings.vcpus,
        'vcpus_used': sum(one.vcpus for one in machines),
        'memory_mb': settings.memory_mb,
        'memory_mb_used': memory_mb,
        'free_ram_mb': max(0, settings.memory_mb - memory_mb),
        'local_gb': settings.local_gb,
        'local_gb_used': disk_gb,
        'free_disk_gb': max(0, settings.local_gb - disk_gb),
        'disk_available_least': max(0, settings.local_gb - disk_gb),
        'current_workload': sum(not one.complete for one in machines),
        'running_vms': sum(one.power_state == PowerState.RUNNING for one in machines),
        'cpu_allocation_ratio': settings.cpu_allocation_ratio,
        'ram_allocation_ratio': 1.0,
        'disk_allocation_ratio': 1.0,
        'cpu_info': '{"arch": "x86_64", "model": "fake"}',
        'metrics': '[]',
        'numa_topology': None,
        'stats': {
            'num_instances': str(len(machines)),
            **amounts.stats_of(
                amounts.Amount(memory_mb, disk_gb, sum(one.vcpus for one in machines))
            ),
        },
        'supported_hv_specs': [['x86_64', 'fake', 'hvm']],
    }
