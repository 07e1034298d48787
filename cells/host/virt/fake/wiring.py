"""Operations of a fake host: what is in a machine and what is plugged into it."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from cells.host.virt.base import Result, Task
from cells.host.virt.fake import machine as machines
from cells.host.virt.fake import networks, power, volumes
from cells.host.virt.fake.host import FakeHost
from cells.host.virt.fake.machine import Machine
from cells.host.virt.fake.store import Work

Alter = Callable[[FakeHost, Task, Work, Machine], Machine]
Tell = Callable[[FakeHost, Task, Machine], Mapping[str, Any]]


def _operation(alter: Alter, tell: Tell | None = None) -> Callable[[FakeHost, Task], Result]:
    """Return an operation that alters a machine, and tells something of it afterwards."""

    def operation(host: FakeHost, task: Task) -> Result:
        fate = host.fate(task)
        host.see(task.uuid)
        fate.take()
        fate.strike()
        return host.change(
            task,
            lambda work, machine: alter(host, task, work, machine),
            tell=lambda machine: tell(host, task, machine) if tell else {},
        )

    return operation


# -- what is in it --


def _password(host: FakeHost, task: Task, work: Work, machine: Machine) -> Machine:
    power.need_running(machine, 'set_admin_password')
    return machine.but(password=machines.hashed(task.args['password']))


def _metadata(host: FakeHost, task: Task, work: Work, machine: Machine) -> Machine:
    """All of it, or a difference as nova sends it: ``['+', value]`` and ``['-']`` by key."""
    given = task.args['metadata']
    if not given or not all(isinstance(one, list) for one in given.values()):
        return machine.but(metadata=dict(given))
    metadata = dict(machine.metadata)
    for key, change in given.items():
        if change[:1] == ['+'] and len(change) == 2:
            metadata[key] = change[1]
        else:
            metadata.pop(key, None)
    return machine.but(metadata=metadata)


# -- volumes --


def _attach(host: FakeHost, task: Task, work: Work, machine: Machine) -> Machine:
    return volumes.attached(machine, task.args, host.now())


def _detach(host: FakeHost, task: Task, work: Work, machine: Machine) -> Machine:
    return volumes.detached(machine, task.args['volume_id'])


def _swap(host: FakeHost, task: Task, work: Work, machine: Machine) -> Machine:
    return volumes.swapped(machine, task.args['old_volume_id'], task.args['new_volume_id'])


def _device(host: FakeHost, task: Task, machine: Machine) -> Mapping[str, Any]:
    found = volumes.find(machine, task.args['volume_id'])
    return {'device': found['device'] if found else None}


# -- network --


def _reset(host: FakeHost, task: Task, work: Work, machine: Machine) -> Machine:
    return machine.but(network_resets=machine.network_resets + 1)


def _inject(host: FakeHost, task: Task, work: Work, machine: Machine) -> Machine:
    own = networks.network_info(machine.interfaces, host.settings.subnet)
    return machine.but(guest_network=tuple(task.args['network_info'] or own))


def _plug(host: FakeHost, task: Task, work: Work, machine: Machine) -> Machine:
    args = task.args
    return networks.plugged(
        machine,
        networks.interface(
            args['network_id'],
            args['port_id'],
            args['requested_ip'],
            task.op_id,
            0,
            host.addresses(work),
        ),
    )


def _unplug(host: FakeHost, task: Task, work: Work, machine: Machine) -> Machine:
    return networks.unplugged(machine, task.args['port_id'])


def _add_address(host: FakeHost, task: Task, work: Work, machine: Machine) -> Machine:
    return networks.with_address(machine, task.args['network_id'], host.addresses(work))


def _remove_address(host: FakeHost, task: Task, work: Work, machine: Machine) -> Machine:
    return networks.without_address(machine, task.args['address'])


def _network_info(host: FakeHost, task: Task, machine: Machine) -> Mapping[str, Any]:
    return host.network_info(machine)


OPERATIONS: Final[Mapping[str, Callable[[FakeHost, Task], Result]]] = {
    'set_admin_password': _operation(_password),
    'change_metadata': _operation(_metadata),
    'attach_volume': _operation(_attach, _device),
    'detach_volume': _operation(_detach),
    'swap_volume': _operation(_swap),
    'reset_network': _operation(_reset),
    'inject_network_info': _operation(_inject),
    'attach_interface': _operation(_plug, _network_info),
    'detach_interface': _operation(_unplug, _network_info),
    'add_fixed_ip': _operation(_add_address, _network_info),
    'remove_fixed_ip': _operation(_remove_address, _network_info),
}
