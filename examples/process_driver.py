"""A driver of virtual machines, small enough to begin with: each machine is a process of the host.

::

    [compute]
    virt_driver = process_driver.ProcessDriver
    instances_path = /var/lib/cells/instances

    [process_driver]
    command = python3 -m http.server 0

A machine is a directory ``<instances_path>/<uuid>`` with ``machine.json``, the size of the
machine and what came of its operations, and ``pid``, written by the process itself. So the
driver knows after kill -9 what it had done and what runs: the processes outlive it. Under
systemd that needs ``KillMode=process``.

What it does not offer (volumes, networks, images, moves, consoles) is refused when it is ordered.
"""

import contextlib
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn, Self

import psutil
from oslo_config import cfg

from cells import amounts, exceptions
from cells.host import methods, resources
from cells.host.virt import base

OPTS = [
    cfg.StrOpt('command', default='sleep infinity', help='What a machine runs.'),
    cfg.FloatOpt('stop_timeout', default=5.0, min=0, help='Seconds from SIGTERM to SIGKILL.'),
]

#: The shell notes its own pid, and becomes the program: nobody can die in between.
NOTING = 'echo $$ >pid && exec "$@"'


class ProcessDriver(base.VirtDriver):
    """The driver.

    :param path: where the directories of the machines are.
    :param command: what a machine runs, in words.
    """

    def __init__(
        self, path: str, command: Sequence[str], stop_timeout: float, settings: resources.Settings
    ) -> None:
        self._path = pathlib.Path(path)
        self._command = command
        self._stop_timeout = stop_timeout
        self._settings = settings
        self._stopped = threading.Event()

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> Self:
        conf.register_opts(OPTS, group='process_driver')
        options = conf.process_driver
        try:
            command = shlex.split(options.command)
        except ValueError:
            command = []
        if not command or shutil.which(command[0]) is None:
            raise exceptions.ConfigurationError(
                reason='[process_driver] command = %s: there is no such program' % options.command
            )
        path = conf.compute.instances_path
        return cls(path, command, options.stop_timeout, resources.settings(conf))

    def start(self) -> None:
        try:
            self._path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise exceptions.ConfigurationError(
                reason='[compute] instances_path = %s: %s' % (self._path, error.strerror)
            ) from None

    def stop(self) -> None:
        self._stopped.set()

    # -- what there is --

    def nodes(self) -> list[dict[str, Any]]:
        [node] = resources.measure(self._settings)
        taken = self._taken()
        node.update(
            hypervisor_type='process',
            vcpus_used=taken.vcpus,
            memory_mb_used=self._settings.reserved_memory_mb + taken.memory_mb,
            free_ram_mb=self._room(node).memory_mb - taken.memory_mb,
            local_gb_used=self._settings.reserved_disk_gb + taken.disk_gb,
            free_disk_gb=self._room(node).disk_gb - taken.disk_gb,
            running_vms=list(self.power_states().values()).count(base.PowerState.RUNNING),
            stats=amounts.stats_of(taken),
        )
        return [node]

    def power_states(self) -> dict[str, int]:
        return {uuid: self._power(uuid) for uuid, _ in self._all()}

    def power_state(self, uuid: str) -> int | None:
        return self._power(uuid) if self._file(uuid).exists() else None

    def admit(self, demand: base.Demand, coming: Sequence[base.Demand]) -> None:
        [node] = resources.measure(self._settings)
        taken = self._taken()
        for one in coming:
            taken = taken.plus(_amount(one))
        wanted = taken.plus(_amount(demand))
        if not wanted.fits(self._room(node)):
            raise exceptions.ComputeResourcesUnavailable(
                reason='%s of %s are taken and %s are needed (MiB of memory, GiB of disk, CPUs)'
                % (tuple(taken), tuple(self._room(node)), tuple(_amount(demand)))
            )

    def finished(self, op_id: str) -> base.Result | None:
        for _, content in self._all():
            found = content['done'].get(op_id)
            if found is not None:
                return base.Result(found['power_state'], found['values'])
        return None

    def clean_up(self, task: base.Task) -> None:
        # A build that failed leaves nothing; of anything else the machine stays as it is.
        if task.method == 'build':
            self._remove(task.uuid)

    # -- what is ordered --

    def operations(self) -> Mapping[str, base.Operation]:
        return {
            'build': self._build,
            'start': self._start,
            'stop': self._stop,
            'reboot': self._reboot,
            'terminate': self._terminate,
        }

    def _build(self, task: base.Task) -> base.Result:
        demand = methods.demand(task.method, task.instance, task.args)
        self._directory(task.uuid).mkdir(exist_ok=True)
        if not self._file(task.uuid).exists():
            self._write(task.uuid, {'size': list(_amount(demand)), 'done': {}})
        task.progress('spawning', 50)
        self._switch_on(task.uuid)
        node = resources.measure(self._settings)[0]['hypervisor_hostname']
        return self._done(task, {'network_info': [], 'node': node})

    def _start(self, task: base.Task) -> base.Result:
        self._switch_on(task.uuid)
        return self._done(task)

    def _stop(self, task: base.Task) -> base.Result:
        self._switch_off(task.uuid)
        return self._done(task)

    def _reboot(self, task: base.Task) -> base.Result:
        self._switch_off(task.uuid)
        self._switch_on(task.uuid)
        return self._done(task)

    def _terminate(self, task: base.Task) -> base.Result:
        # What is gone already is gone: the order may come twice.
        self._remove(task.uuid)
        return base.Result(base.PowerState.NOSTATE)

    def _done(self, task: base.Task, values: Mapping[str, Any] | None = None) -> base.Result:
        result = base.Result(self._power(task.uuid), values or {})
        found = self._read(task.uuid)
        found['done'][task.op_id] = {'power_state': result.power_state, 'values': result.values}
        self._write(task.uuid, found)
        return result

    # -- processes --

    def _switch_on(self, uuid: str) -> None:
        self._read(uuid)
        if self._process(uuid) is not None:
            return
        directory = self._directory(uuid)
        (directory / 'pid').unlink(missing_ok=True)
        with open(directory / 'console', 'ab') as console:
            found = subprocess.Popen(
                ['/bin/sh', '-c', NOTING, 'sh', *self._command],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        while not self._noted(uuid) and found.poll() is None:
            self._wait(0.01)
        if self._process(uuid) is None:
            raise exceptions.DriverError(reason='the machine ended as soon as it was started')

    def _switch_off(self, uuid: str) -> None:
        self._read(uuid)
        for number, seconds in (
            (signal.SIGTERM, self._stop_timeout),
            (signal.SIGKILL, 60.0),
        ):
            process = self._process(uuid)
            if process is None:
                return
            os.killpg(process.pid, number)
            while seconds > 0 and self._process(uuid) is not None:
                self._wait(0.02)
                seconds -= 0.02
        if self._process(uuid) is not None:
            raise exceptions.DriverError(reason='the machine cannot be killed')

    def _wait(self, seconds: float) -> None:
        """Wait, unless the agent ends: then what is under way is left as it is."""
        if self._stopped.wait(seconds):
            raise exceptions.AgentStopped

    def _noted(self, uuid: str) -> bool:
        pid = self._directory(uuid) / 'pid'
        return pid.exists() and pid.read_text().endswith('\n')

    def _process(self, uuid: str) -> psutil.Process | None:
        """Return the process of a machine that runs."""
        if not self._noted(uuid):
            return None
        try:
            found = psutil.Process(int((self._directory(uuid) / 'pid').read_text()))
            # After a reboot of the host another process may have the pid.
            runs = found.status() != psutil.STATUS_ZOMBIE and (
                pathlib.Path(found.cwd()) == self._directory(uuid).resolve()
            )
        except psutil.Error:
            return None
        return found if runs else None

    def _power(self, uuid: str) -> int:
        on = self._process(uuid) is not None
        return int(base.PowerState.RUNNING if on else base.PowerState.SHUTDOWN)

    # -- files --

    def _directory(self, uuid: str) -> pathlib.Path:
        return self._path / uuid

    def _file(self, uuid: str) -> pathlib.Path:
        return self._directory(uuid) / 'machine.json'

    def _all(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for found in sorted(self._path.glob('*/machine.json')):
            with contextlib.suppress(exceptions.InstanceNotFound):  # it may go meanwhile
                yield found.parent.name, self._read(found.parent.name)

    def _read(self, uuid: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._file(uuid).read_text())
        except FileNotFoundError:
            raise exceptions.InstanceNotFound(instance_id=uuid) from None
        return found

    def _write(self, uuid: str, content: Mapping[str, Any]) -> None:
        new = self._file(uuid).with_suffix('.new')
        with open(new, 'w') as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._file(uuid))

    def _remove(self, uuid: str) -> None:
        if self._file(uuid).exists():
            self._switch_off(uuid)
        shutil.rmtree(self._directory(uuid), ignore_errors=True)

    # -- room --

    def _taken(self) -> amounts.Amount:
        taken = amounts.NOTHING
        for _, content in self._all():
            taken = taken.plus(amounts.Amount(*content['size']))
        return taken

    def _room(self, node: Mapping[str, Any]) -> amounts.Amount:
        return amounts.Amount(
            node['memory_mb'] - self._settings.reserved_memory_mb,
            node['local_gb'] - self._settings.reserved_disk_gb,
            int(node['vcpus'] * self._settings.cpu_allocation_ratio),
        )

    # -- what is asked directly --

    def diagnostics(self, uuid: str) -> dict[str, Any]:
        process = self._running(uuid, 'get_diagnostics')
        return {'cpu_seconds': sum(process.cpu_times()[:2]), 'memory': process.memory_info().rss}

    def instance_diagnostics(self, uuid: str) -> dict[str, Any]:
        process = self._running(uuid, 'get_instance_diagnostics')
        uptime = int(time.time() - process.create_time())
        return {'version': '1.0', 'state': 'running', 'driver': 'process', 'uptime': uptime}

    def _running(self, uuid: str, method: str) -> psutil.Process:
        self._read(uuid)
        process = self._process(uuid)
        if process is None:
            raise exceptions.InstanceInvalidState(
                instance_uuid=uuid, attr='power_state', state='shutdown', method=method
            )
        return process

    def console_output(self, uuid: str, lines: int | None) -> str:
        self._read(uuid)
        text = (self._directory(uuid) / 'console').read_text(errors='replace')
        return text if lines is None else ''.join(text.splitlines(keepends=True)[-lines:])

    def console(self, uuid: str, console_type: str, token: str) -> base.Console:
        self._read(uuid)
        raise exceptions.ConsoleTypeInvalid(console_type=console_type)

    def reserve_device(self, uuid: str, device: str | None, volume_id: str) -> NoReturn:
        self._read(uuid)
        raise exceptions.InvalidVolume(reason='a process has no volumes')


def _amount(demand: base.Demand) -> amounts.Amount:
    return amounts.Amount(demand.memory_mb, demand.disk_gb, demand.vcpus)
