"""Casts survive kill -9, the broker and the database: each is executed, and none twice.

Every test runs twice: with ours, where nothing may be missing, and with a
stock oslo.messaging server doing the same work, where something must be. So a
test that has lost its teeth fails.
"""

import collections
import concurrent.futures
import os
import signal
import subprocess
import sys
import threading
import time

import oslo_messaging
import pytest
import sqlalchemy as sa
from oslo_config import cfg

from cells import rpc, rpcapi
from cells.client import base as client_base
from tests import deploy

CASTS = 1000
DATABASE_AWAY_SECONDS = 10


class Ours:
    """An API cell and a child, two workers each; a cast is done when the child has done it."""

    def __init__(self, rabbit, postgresql, workdir, name: str) -> None:
        self.tree = deploy.Tree(
            workdir / name,
            rabbit,
            postgresql.create_database,
            {'api': None, 'child': 'api'},
            prefix=name + '_',
            options='receipt_timeout = 3',
        )
        self.tree.start()
        api = self.tree.api('api')
        self.cast = lambda project_id: api.sync_instances(deploy.admin(), project_id)

    def kill_and_start(self) -> None:
        """Kill the whole top, and one worker of the child, which its master replaces."""
        os.kill(self.tree['child'].worker_pids()[-1], signal.SIGKILL)
        self.tree['api'].kill()
        self.tree['api'].start()

    def pause(self, paused: bool) -> None:
        for deployed in self.tree.cells.values():
            for pid in deployed.worker_pids():
                os.kill(pid, signal.SIGSTOP if paused else signal.SIGCONT)

    def executed(self) -> collections.Counter:
        database = self.tree['child'].database()
        with database.read() as connection:
            found = connection.execute(sa.text('SELECT project_id FROM sync_requests'))
            counted = collections.Counter(row[0] for row in found)
        database.dispose()
        return counted

    def stop(self) -> None:
        self.tree.stop()


class Stock:
    """A stock RPC server, and a stock client."""

    def __init__(self, rabbit, postgresql, workdir, name: str) -> None:
        rabbit.add_vhost(name)
        self._arguments = [rabbit.url(name), postgresql.create_database(name)]
        self._engine = sa.create_engine(self._arguments[1], pool_pre_ping=True)
        with self._engine.begin() as connection:
            connection.execute(sa.text('CREATE TABLE done (project_id VARCHAR(64))'))
        self._start()
        conf = deploy_conf(self._arguments[0])
        self._transport = oslo_messaging.get_rpc_transport(conf)
        client = oslo_messaging.get_rpc_client(
            self._transport, oslo_messaging.Target(topic='cells')
        )
        arguments = {'updated_since': None, 'deleted': False}
        self.cast = lambda project_id: client.cast(
            {}, 'sync_instances', project_id=project_id, **arguments
        )

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, '-W', 'ignore', '-m', 'tests.functional.stock_server']
            + self._arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b'ready\n'

    def kill_and_start(self) -> None:
        self._kill()
        self._start()

    def pause(self, paused: bool) -> None:
        self._process.send_signal(signal.SIGSTOP if paused else signal.SIGCONT)

    def executed(self) -> collections.Counter:
        with self._engine.connect() as connection:
            found = connection.execute(sa.text('SELECT project_id FROM done'))
            return collections.Counter(row[0] for row in found)

    def stop(self) -> None:
        self._transport.cleanup()
        self._kill()

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()


def deploy_conf(url: str):
    """Return a configuration of oslo.messaging with its defaults."""
    conf = cfg.ConfigOpts()
    rpc.prepare(conf)
    conf([], project='stock')
    conf.set_override('transport_url', url)
    return conf


class Casting:
    """Casts in a thread of its own and keeps count."""

    def __init__(self, server) -> None:
        self._server = server
        self.returned: list[str] = []
        self.failed: list[Exception] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for number in range(CASTS):
            project_id = 'p%d' % number
            try:
                self._server.cast(project_id)
            except oslo_messaging.MessagingException as error:
                self.failed.append(error)
            else:
                self.returned.append(project_id)

    def reached(self, number: int) -> None:
        """Wait until so many casts have returned."""
        deploy.wait_until(lambda: len(self.returned) >= number, 120, '%d casts' % number)

    def finish(self) -> None:
        """Wait for the last."""
        self._thread.join(180)
        assert not self._thread.is_alive()


def kill(server, rabbit, postgresql, casting) -> None:
    """Kill -9 in the middle of it."""
    casting.reached(CASTS // 2)
    server.kill_and_start()


def restart_broker(server, rabbit, postgresql, casting) -> None:
    """Restart the broker while it holds messages."""
    casting.reached(CASTS // 4)
    server.pause(True)
    casting.reached(CASTS // 2)
    rabbit.restart()
    server.pause(False)


def stop_database(server, rabbit, postgresql, casting) -> None:
    """Stop the database for ten seconds."""
    casting.reached(CASTS // 4)
    postgresql.stop()
    time.sleep(DATABASE_AWAY_SECONDS)
    postgresql.start()


def read_only(server, rabbit, postgresql, casting) -> None:
    """Make the database read-only for three seconds, as a failover does."""
    admin = sa.create_engine(postgresql.url('postgres'), isolation_level='AUTOCOMMIT')
    casting.reached(CASTS // 4)
    for setting in ('on', 'off'):
        with admin.connect() as connection:
            for statement in (
                'ALTER SYSTEM SET default_transaction_read_only = %s' % setting,
                'SELECT pg_reload_conf()',
            ):
                connection.execute(sa.text(statement))
        time.sleep(3)
    admin.dispose()


def everything(server, rabbit, postgresql, casting) -> None:
    """All of it in one run."""
    kill(server, rabbit, postgresql, casting)
    restart_broker(server, rabbit, postgresql, casting)
    stop_database(server, rabbit, postgresql, casting)


def count_missing(server, casting, seconds: float) -> set[str]:
    """Return which of the casts that returned were not executed within some seconds."""
    until = time.monotonic() + seconds
    while True:
        missing = set(casting.returned) - set(server.executed())
        if not missing or time.monotonic() > until:
            return missing
        time.sleep(0.2)


FAULTS = [kill, restart_broker, stop_database]


@pytest.mark.parametrize(
    'fault', [*FAULTS, read_only, everything], ids=lambda fault: fault.__name__
)
def test_r16_every_cast_is_executed_and_none_twice(fault, rabbit, postgresql, workdir):
    server = Ours(rabbit, postgresql, workdir, 'ours_' + fault.__name__)
    try:
        casting = Casting(server)
        fault(server, rabbit, postgresql, casting)
        casting.finish()
        missing = count_missing(server, casting, 60)
        executed = server.executed()
    finally:
        server.stop()
    assert casting.failed == []
    assert len(casting.returned) == CASTS
    assert missing == set()
    assert [name for name, times in executed.items() if times > 1] == []


@pytest.mark.parametrize('fault', FAULTS, ids=lambda fault: fault.__name__)
def test_a_stock_server_loses_casts_to_the_same_fault(fault, rabbit, postgresql, workdir):
    server = Stock(rabbit, postgresql, workdir, 'stock_' + fault.__name__)
    try:
        casting = Casting(server)
        fault(server, rabbit, postgresql, casting)
        casting.finish()
        # Eight threads at 20 ms each need 2.5 seconds for all of them.
        missing = count_missing(server, casting, 10)
    finally:
        server.stop()
    assert missing, 'the fault does no harm, so surviving it shows nothing'


def test_an_api_service_is_told_when_its_broker_is_away():
    conf = deploy_conf('rabbit://nova:secret@127.0.0.1:1/x')
    api = rpcapi.CellsAPI.from_conf(conf)
    with pytest.raises(oslo_messaging.MessageDeliveryFailure, match='not sent') as raised:
        api.sync_instances(deploy.admin(), 'p1')
    assert 'secret' not in str(raised.value)


@pytest.mark.parametrize('waits', [False, True], ids=['cast', 'call'])
def test_an_api_service_is_told_when_no_daemon_listens(rabbit, monkeypatch, waits):
    monkeypatch.setattr(client_base, 'UNROUTABLE_SECONDS', 3)
    rabbit.add_vhost('nobody')
    conf = deploy_conf(rabbit.url('nobody'))
    # Nobody listens: it is unroutable for as long as the client is ready to repeat it.
    api = rpcapi.CellsAPI.from_conf(conf)
    ask = api.compute_node_stats if waits else api.sync_instances
    begun = time.monotonic()
    with pytest.raises(oslo_messaging.MessageDeliveryFailure, match='No nova-cells listens at'):
        ask(deploy.admin())
    api.close()
    assert time.monotonic() - begun < 10


def test_a_call_waits_for_a_daemon_that_comes_later(rabbit, postgresql, workdir, monkeypatch):
    monkeypatch.setattr(client_base, 'UNROUTABLE_SECONDS', 2 * deploy.START_SECONDS)
    tree = deploy.Tree(
        workdir, rabbit, postgresql.create_database, {'late': None}, prefix='late_', workers=1
    )
    conf = tree.conf('late')
    conf.set_override('call_timeout', 2 * deploy.START_SECONDS, group='cells')
    api = rpcapi.CellsAPI.from_conf(conf)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(api.get_cell_info_for_neighbors, deploy.admin())
        time.sleep(1)
        assert not asked.done()
        with tree.running():
            assert asked.result(2 * deploy.START_SECONDS) == []
    api.close()
