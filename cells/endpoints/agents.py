"""What the agents on the hosts of a cell report: namespace ``cells.host``."""

import ipaddress
import logging
import math
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

import oslo_messaging

from cells import arguments, context, exceptions, rpc, versions
from cells.db import engine, host_reports
from cells.objects import compute_node

LOG = logging.getLogger(__name__)

#: Nodes behind one host.
MOST_NODES: Final = 1000
#: Characters of ``cpu_info`` and the like.
LONGEST_INFO: Final = 65535
#: How often a report is written again when it was in the way of another.
ATTEMPTS: Final = 5

_SMALL: Final = 2**31 - 1
_LARGE: Final = 2**53

#: A host is named ``cell!path@host``, and is a part of the name of a queue.
_HOST: Final = re.compile(r'[^\s@!\x00-\x1f\x7f]{1,200}')


class HostEndpoint:
    """Takes the reports of agents.

    :param own_name: of this cell, for errors.
    :param service_down_time: seconds without a report after which a host is down.
    """

    target = oslo_messaging.Target(namespace=versions.HOST_NAMESPACE, version=versions.HOST_VERSION)

    def __init__(
        self, *, database: engine.Database, own_name: str, service_down_time: float
    ) -> None:
        self._database = database
        self._own_name = own_name
        self._down_after = service_down_time
        self._refused: dict[str, str] = {}
        self._lock = threading.Lock()

    @rpc.served
    def report(
        self,
        ctxt: context.RequestContext,
        host: object,
        binary: object,
        topic: object,
        machine_id: object,
        resources: object,
        enabled: object = True,
        maintenance: object = False,
    ) -> None:
        """Note that a host lives, and what it has.

        :param machine_id: tells this machine from others that report under its name.
        :param resources: its compute nodes, each a dictionary of the fields of ``ComputeNode``.
        :param enabled: whether it takes new instances, as far as it is up to the host itself.
        :raises HostNameInUse: another machine of this name is alive.
        :raises Invalid: a value cannot be one; the text names it.
        :raises DatabaseUnavailable: the database of this cell does not answer.
        """
        report = host_reports.HostReport(
            host=_host(host),
            binary=arguments.text('binary', binary),
            topic=arguments.text('topic', topic),
            machine_id=arguments.text('machine_id', machine_id, longest=64),
            nodes=nodes_of(resources),
            unwilling=_unwilling(enabled, maintenance),
        )
        try:
            self._write(report)
        except exceptions.HostNameInUse as error:
            self._note_refusal(report, str(error))
            raise
        except engine.ERRORS as error:
            if not engine.is_transient(error):
                raise
            raise exceptions.DatabaseUnavailable(cell_name=self._own_name) from None
        with self._lock:
            self._refused.pop(report.host, None)

    def _write(self, report: host_reports.HostReport) -> None:
        for left in reversed(range(ATTEMPTS)):
            try:
                host_reports.host_report(self._database, report, self._down_after)
            except engine.ERRORS as error:
                if not left or not engine.is_deadlock(error):
                    raise
            else:
                return

    def _note_refusal(self, report: host_reports.HostReport, text: str) -> None:
        """Log each stranger once."""
        with self._lock:
            known = self._refused.get(report.host) == report.machine_id
            self._refused[report.host] = report.machine_id
        if not known:
            LOG.warning('Refused the report of machine %s: %s', report.machine_id, text)


def _host(value: object) -> str:
    name = arguments.text('host', value)
    if not _HOST.fullmatch(name):
        raise exceptions.Invalid(
            reason='host is %.80s: it may have 200 characters, and no "@", "!", white space '
            'or control characters' % ascii(name)
        )
    return name


def _unwilling(enabled: object, maintenance: object) -> str | None:
    for name, value in (('enabled', enabled), ('maintenance', maintenance)):
        if not isinstance(value, bool):
            raise exceptions.Invalid(reason='%s is %.60s, not true or false' % (name, ascii(value)))
    if maintenance:
        return 'the host is in maintenance'
    return None if enabled else 'the host is disabled'


# -- compute nodes --


def nodes_of(resources: object) -> list[dict[str, Any]]:
    """Return the compute nodes of a report, values by column; other fields are left out.

    :raises Invalid: they are not; the text names the value.
    """
    if not isinstance(resources, list | tuple) or len(resources) > MOST_NODES:
        raise exceptions.Invalid(
            reason='resources is %.60s, not a list of at most %d nodes'
            % (ascii(resources), MOST_NODES)
        )
    found = [_node('resources[%d]' % index, one) for index, one in enumerate(resources)]
    if len({node['hypervisor_hostname'] for node in found}) != len(found):
        raise exceptions.Invalid(reason='two of resources have the same hypervisor_hostname')
    return found


def _node(where: str, given: object) -> dict[str, Any]:
    values = arguments.mapping(where, given)
    missing = sorted(_REQUIRED - values.keys())
    if missing:
        raise exceptions.Invalid(reason='%s has no %s' % (where, ', '.join(missing)))
    return {
        name: check('%s.%s' % (where, name), values[name])
        for name, check in _FIELDS.items()
        if name in values
    }


def _small(name: str, value: object) -> int:
    return arguments.number(name, value, most=_SMALL)


def _large(name: str, value: object) -> int:
    return arguments.number(name, value, most=_LARGE)


def _ratio(name: str, value: object) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not (math.isfinite(value) and 0 <= value <= _SMALL)
    ):
        raise exceptions.Invalid(reason='%s is %.60s, not a ratio' % (name, ascii(value)))
    return float(value)


def _address(name: str, value: object) -> str:
    try:
        return str(ipaddress.ip_address(arguments.text(name, value)))
    except ValueError:
        raise exceptions.Invalid(reason='%s is %.60s, not an address' % (name, value)) from None


def _info(name: str, value: object) -> str:
    return arguments.text(name, value, longest=LONGEST_INFO, empty=True)


def _kind(name: str, value: object) -> str:
    return arguments.text(name, value, empty=True)


def _stats(name: str, value: object) -> dict[str, str | None]:
    return {
        arguments.text('a key of %s' % name, key): (
            None if item is None else _info('%s[%.40r]' % (name, key), item)
        )
        for key, item in arguments.mapping(name, value).items()
    }


def _specs(name: str, value: object) -> list[list[str]]:
    if not isinstance(value, list | tuple):
        raise exceptions.Invalid(reason='%s is %.60s, not a list' % (name, ascii(value)))
    found = []
    for spec in value:
        try:
            arch, hv_type, vm_mode = spec
            compute_node.HVSpec(arch=arch, hv_type=hv_type, vm_mode=vm_mode)
        except (TypeError, ValueError):
            raise exceptions.Invalid(
                reason='%s has %.80s, not architecture, hypervisor and mode' % (name, ascii(spec))
            ) from None
        found.append([arch, hv_type, vm_mode])
    return found


Check = Callable[[str, object], Any]


def _or_null(check: Check) -> Check:
    return lambda name, value: None if value is None else check(name, value)


#: Field of a compute node -> what makes a value of what was reported.
_FIELDS: Final[Mapping[str, Check]] = {
    'hypervisor_hostname': arguments.text,
    'hypervisor_type': _kind,
    'hypervisor_version': _small,
    'host_ip': _or_null(_address),
    'vcpus': _small,
    'vcpus_used': _small,
    'memory_mb': _large,
    'memory_mb_used': _large,
    'free_ram_mb': _large,
    'local_gb': _large,
    'local_gb_used': _large,
    'free_disk_gb': _large,
    'disk_available_least': _or_null(_large),
    'current_workload': _or_null(_small),
    'running_vms': _or_null(_small),
    'cpu_allocation_ratio': _ratio,
    'ram_allocation_ratio': _ratio,
    'disk_allocation_ratio': _ratio,
    'cpu_info': _or_null(_info),
    'metrics': _or_null(_info),
    'numa_topology': _or_null(_info),
    'stats': _or_null(_stats),
    'supported_hv_specs': _specs,
}

_REQUIRED: Final = frozenset(
    {
        'hypervisor_hostname',
        'vcpus',
        'vcpus_used',
        'memory_mb',
        'memory_mb_used',
        'free_ram_mb',
        'local_gb',
        'local_gb_used',
        'free_disk_gb',
    }
)
