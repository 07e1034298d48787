"""Fake hosts to test with: configurations, drivers, and operations on them."""

import itertools
import time
import uuid

from oslo_config import cfg

from cells import conf as cells_conf
from cells import rpc
from cells.host import methods
from cells.host.virt import base, loading

NUMBERS = itertools.count()


def configured(directory, exchange='nova', compute=None, **options):
    """Return the configuration of the agent of a fake host."""
    conf = cfg.ConfigOpts()
    cells_conf.register_opts(conf)
    rpc.prepare(conf)
    conf([], project='cells', default_config_files=[])
    for name, value in {
        'host': 'h1',
        'state_path': str(directory),
        'transport_url': 'fake:///' + exchange,
        'control_exchange': exchange,
        'report_interval': 0.2,
        **options,
    }.items():
        conf.set_override(name, value)
    for name, value in {
        'check_interval': 0.1,
        'virt_driver': 'fake',
        'fake_images_path': str(directory.parent / 'shared'),
        **(compute or {}),
    }.items():
        conf.set_override(name, value, group='compute')
    return conf


def instance(name='vm', **values):
    """Return what a cell says of an instance."""
    return {
        'uuid': str(uuid.uuid4()),
        'display_name': name,
        'hostname': name,
        'memory_mb': 1024,
        'vcpus': 1,
        'root_gb': 10,
        'ephemeral_gb': 0,
        'image_ref': 'image-1',
        'power_state': 0,
        'vm_state': 'building',
        'task_state': None,
        'metadata': {},
        'flavorid': '1',
        'key_name': None,
        'node': None,
        **values,
    }


class Host:
    """A fake host, driven as by an agent."""

    def __init__(self, directory, **compute):
        self.directory = directory
        self.name = directory.name
        self.conf = configured(directory, host=self.name, compute=compute)
        self.seen = []
        self.driver = loading.load(self.conf)
        self.driver.start()

    def stop(self):
        self.driver.stop()

    def again(self, **compute):
        """Return the host after its agent has ended and come back."""
        self.stop()
        return Host(self.directory, **compute)

    def task(self, method, vm, op_id=None, **args):
        return base.Task(
            op_id=op_id or 'op-%d' % next(NUMBERS),
            method=method,
            instance=vm,
            args=methods.arguments_of(method, args),
            progress=lambda state, percent: self.seen.append(state),
        )

    def run(self, method, vm, op_id=None, **args):
        """Carry an operation out and return its result."""
        return self.driver.operations()[method](self.task(method, vm, op_id, **args))

    def build(self, name='vm', **values):
        """Build an instance and return what the cell says of it."""
        vm = instance(name, **values)
        assert self.run('build', vm).power_state == base.PowerState.RUNNING
        return vm

    def admit(self, vm, *coming, method='build', **args):
        def demand(one):
            return methods.demand(method, one, methods.arguments_of(method, args))

        self.driver.admit(demand(vm), [demand(one) for one in coming])

    def state(self, vm):
        return self.driver.power_state(vm['uuid'])

    def machine(self, vm):
        """Return everything that is known of a machine."""
        return self.driver.machine(vm['uuid'])

    def console(self, vm):
        return self.driver.console_output(vm['uuid'], None)


def soon(seconds=60.0):
    """Return a deadline."""
    return time.time() + seconds
