"""Agents with fake hosts in this process, beside the cells of :mod:`tests.fake_cells`."""

import contextlib
from typing import Any

from oslo_config import cfg

from cells import conf as cells_conf
from cells import rpc
from cells.host import agent, cell_client, orders, store
from cells.host.virt import loading
from tests import fake_cells


def conf_of(workdir, cell: str, host: str, **compute: Any) -> cfg.ConfigOpts:
    """Return the configuration of an agent of a cell; ``compute`` is that group of it."""
    conf = cfg.ConfigOpts()
    cells_conf.register_opts(conf)
    rpc.prepare(conf)
    conf([], project='cells', default_config_files=[])
    for name, value in {
        'host': host,
        'state_path': str(workdir / ('agent-%s' % host)),
        'transport_url': fake_cells.address(workdir, cell),
        'control_exchange': fake_cells.address(workdir, cell),
        'report_interval': 0.3,
    }.items():
        conf.set_override(name, value)
    for name, value in {
        'check_interval': 0.1,
        'virt_driver': 'fake',
        'fake_images_path': str(workdir / 'shared'),
        **compute,
    }.items():
        conf.set_override(name, value, group='compute')
    return conf


class FakeAgents:
    """The agents of the hosts of one cell.

    :param compute: the group of that name of all of them.
    """

    def __init__(self, workdir, cell: str, **compute: Any) -> None:
        self._workdir = workdir
        self._cell = cell
        self._compute = compute
        self.running: dict[str, agent.HostAgent] = {}

    def start(self, host: str, **compute: Any) -> agent.HostAgent:
        """Start an agent, or one that was stopped again."""
        found = agent.build(
            conf_of(self._workdir, self._cell, host, **{**self._compute, **compute})
        )
        found.start()
        self.running[host] = found
        return found

    def stop(self, host: str) -> None:
        """Stop an agent; what it was at is left as if it had been killed."""
        self.running.pop(host).stop()

    def power_states(self, host: str) -> dict[str, int]:
        """Return what is on a host, as its driver says."""
        return self.running[host]._driver.power_states()

    def order(self, host: str, op_id: str) -> orders.Order | None:
        """Return an order as an agent has it."""
        return self.running[host]._book.find(op_id)

    def client(self, host: str, called: str | None = None) -> cell_client.CellClient:
        """Return what tells the cell of a host, or of another name for the same machine."""
        one = self.running[host]
        return cell_client.CellClient(
            one._transport,
            'cells',
            host=called or host,
            machine_id=one._store.machine_id,
            timeout=5.0,
        )

    def lose_machine(self, host: str, uuid: str) -> None:
        """Let a machine vanish from a host whose agent does not run."""
        found = loading.load(conf_of(self._workdir, self._cell, host))
        found.start()
        with found._host.work() as work:
            work.drop(uuid)
        found.stop()

    def lose_orders(self, host: str) -> None:
        """Let an agent that does not run forget what it has accepted."""
        found = store.Store(str(self._workdir / ('agent-%s' % host)))
        found.open()
        with found.file.write() as connection:
            connection.execute('DELETE FROM orders')
        found.close()

    @contextlib.contextmanager
    def all_stopped(self):
        """Stop them all at the end of a block."""
        try:
            yield self
        finally:
            for host in list(self.running):
                self.stop(host)
