"""RabbitMQ."""

import base64
import hashlib
import json
import pathlib
import secrets
import typing
import urllib.parse

from tests.servers import base, programs


class RabbitMQ(base.Server):
    """A broker of one node, with its own Erlang port mapper, cookie and node name.

    Users and virtual hosts are kept here and given to the broker as definitions: it loads them
    while it boots, so what is added before ``start()`` costs nothing, while every ``rabbitmqctl``
    costs the start of an Erlang machine. Ask for many at once.

    One thing RabbitMQ itself does not promise: for a few seconds a new quorum queue is known only
    in memory, and a node killed meanwhile comes back with a queue that never finds a leader. A
    test that declares quorum queues and then calls ``kill()`` calls ``settle()`` in between.
    """

    PACKAGE = 'rabbitmq-server'
    ACCOUNT = 'rabbitmq'

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__(directory)
        self._server = programs.program(self.PACKAGE)
        self._ctl = str(pathlib.Path(self._server).with_name('rabbitmqctl'))
        self._epmd_port = base.ReservedPort()
        self._distribution_port = base.ReservedPort()
        self._vhosts = ['/']

    def add_vhost(self, name: str) -> None:
        """Add one virtual host; see ``add_vhosts``."""
        self.add_vhosts([name])

    def add_vhosts(self, names: typing.Iterable[str]) -> None:
        """Add virtual hosts to which the user has all rights, now or with the next start."""
        self._vhosts.extend(name for name in names if name not in self._vhosts)
        definitions = self._write_definitions()
        if self.is_running():
            self.ctl('import_definitions', str(definitions))

    def url(self, vhost: str = '/') -> str:
        """The address of a virtual host in the form of oslo.messaging's ``transport_url``."""
        path = urllib.parse.quote(vhost, safe='/')
        return f'rabbit://{base.USER}:{self.password}@127.0.0.1:{self.port}/{path}'

    def settle(self) -> None:
        """Have the broker write down which quorum queues exist, so that a crash keeps them."""
        self.ctl('eval', '[ok = dets:sync(Table) || Table <- dets:all()].')

    def ctl(self, *args: str) -> str:
        """Run ``rabbitmqctl`` on this broker and return its output.

        :raises ServerError: if it fails, for instance because the broker is down.
        """
        return self._run(self._ctl, '--silent', *args)

    def list_queues(self, vhost: str = '/') -> list[dict[str, typing.Any]]:
        """Name, type, durable, messages and consumers of each queue of a virtual host.

        The numbers of quorum queues are those of the broker's last tick, up to a second old.
        """
        columns = ('name', 'type', 'durable', 'messages', 'consumers')
        listing = self.ctl('--vhost', vhost, '--formatter', 'json', 'list_queues', *columns)
        queues: list[dict[str, typing.Any]] = json.loads(listing)
        return queues

    def _prepare(self) -> None:
        definitions = self._write_definitions()
        # Brokers of one machine share its disk and memory. A write-ahead log of the usual half
        # gigabyte would only grow the temporary directory.
        self._write(
            'rabbitmq.conf',
            f'listeners.tcp.1 = 127.0.0.1:{self.port}\n'
            f'load_definitions = {definitions}\n'
            'raft.wal_max_size_bytes = 33554432\n',
        )
        self._write('enabled_plugins', '[].\n')
        self._write('rabbitmq-env.conf', '')

    def _command(self) -> list[str]:
        return [self._server, '-noinput']

    def _greeting(self) -> tuple[bytes, bytes]:
        return b'AMQP\x00\x00\x09\x01', b'\x01'

    def _environment(self) -> dict[str, str]:
        home = self.directory
        loopback = '-kernel inet_dist_use_interface {127,0,0,1}'
        return super()._environment() | {
            'RABBITMQ_NODENAME': f'cells-{self.port}@localhost',
            'RABBITMQ_DIST_PORT': str(self._distribution_port.number),
            'ERL_EPMD_PORT': str(self._epmd_port.number),
            'ERL_EPMD_ADDRESS': '127.0.0.1',
            # Any free ports, instead of the eleven that all rabbitmqctl of a machine share.
            'RABBITMQ_CTL_DIST_PORT_MIN': '0',
            'RABBITMQ_CTL_DIST_PORT_MAX': '0',
            # A port mapper started here, for a broker that is down, would have no guardian.
            'RABBITMQ_CTL_ERL_ARGS': f'+S 1:1 +sbwt none -start_epmd false {loopback}',
            'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS': (
                f'+S 2:2 +sbwt none {loopback} -rabbit quorum_tick_interval 1000'
            ),
            'RABBITMQ_CONF_ENV_FILE': str(home / 'rabbitmq-env.conf'),
            'RABBITMQ_CONFIG_FILE': str(home / 'rabbitmq.conf'),
            'RABBITMQ_ADVANCED_CONFIG_FILE': str(home / 'advanced.config'),
            'RABBITMQ_GENERATED_CONFIG_DIR': str(home / 'generated'),
            'RABBITMQ_ENABLED_PLUGINS_FILE': str(home / 'enabled_plugins'),
            'RABBITMQ_PLUGINS_EXPAND_DIR': str(home / 'plugins'),
            'RABBITMQ_MNESIA_BASE': str(home / 'mnesia'),
            'RABBITMQ_MNESIA_DIR': str(home / 'mnesia' / 'node'),
            'RABBITMQ_FEATURE_FLAGS_FILE': str(home / 'mnesia' / 'feature_flags'),
            'RABBITMQ_PID_FILE': str(home / 'server.pid'),
            'RABBITMQ_LOG_BASE': str(home),
            'RABBITMQ_LOGS': '-',
            # Makes the start script become the Erlang machine instead of waiting for it: signals
            # then reach the broker. That it reads no input is said by _command().
            'RABBITMQ_ALLOW_INPUT': '1',
        }

    def _write_definitions(self) -> pathlib.Path:
        definitions = {
            'users': [
                {
                    'name': base.USER,
                    'password_hash': _rabbit_password_hash(self.password),
                    'hashing_algorithm': 'rabbit_password_hashing_sha256',
                    'tags': 'administrator',
                }
            ],
            'vhosts': [{'name': vhost} for vhost in self._vhosts],
            'permissions': [
                {'user': base.USER, 'vhost': vhost, 'configure': '.*', 'write': '.*', 'read': '.*'}
                for vhost in self._vhosts
            ],
        }
        return self._write('definitions.json', json.dumps(definitions))


def _rabbit_password_hash(password: str) -> str:
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
