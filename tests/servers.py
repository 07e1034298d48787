"""Private servers for tests and benchmarks: RabbitMQ, PostgreSQL and MariaDB.

Each object is one server of its own: data, log, credentials and ports belong to it alone, it
listens on 127.0.0.1 only, and any number of them run side by side on one machine, next to servers
that the machine runs anyway. Only the standard library and the servers' own programs are used.

Three rules make them fit for tests that break things:

* Nothing that makes data durable is switched off. What a server confirmed is there again after
  ``kill()`` and ``start()``, as it would be in production.
* ``kill()`` is a crash: SIGKILL for the server first, then for whatever it leaves behind.
* No server outlives the process that started it, however that process ends. Neither ``atexit``
  (not run on a signal) nor a parent-death signal set here (it follows the *thread* that forked)
  can promise this. So every server runs under a guardian, this file run as a program, which waits
  for the end of file on a pipe from the test process.

As root the servers run under the account of their package, because PostgreSQL refuses root.
"""

import abc
import base64
import collections
import contextlib
import ctypes
import glob
import hashlib
import json
import os
import pathlib
import pwd
import random
import re
import secrets
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
import typing
import urllib.parse
import weakref

START_SECONDS = 60.0
STOP_SECONDS = 60.0
COMMAND_SECONDS = 120.0
# How long a server whose test process is gone may take to remove its shared memory.
ABANDONED_SECONDS = 5.0

USER = 'cells'

# Below the range from which Linux takes the ports of outgoing connections, so that no client
# gets the port of a server that is down for a moment.
PORTS = range(10000, 32000)

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


class ServerError(RuntimeError):
    """Raised when a server or one of its programs is missing, fails or does not answer."""


class Server(abc.ABC):
    """One private server: its directory, its port and its life.

    The methods may be called in any state: starting a running server and stopping a stopped one do
    nothing. An object is not made for use by several threads at once.
    """

    PACKAGE: typing.ClassVar[str]
    ACCOUNT: typing.ClassVar[str]
    # Ends the server in order, without waiting for its clients.
    STOP_SIGNAL: typing.ClassVar[signal.Signals] = signal.SIGTERM
    # Ends it at once when nobody needs its data any more.
    ABANDON_SIGNAL: typing.ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(self, base: pathlib.Path) -> None:
        """Reserve a directory and a port.

        :param base: where the server's directory is made. It is made itself when missing, and
            opened for the account that the server will run under.
        :raises ServerError: if the server is not installed, or its account cannot reach ``base``.
        """
        self._account = _unprivileged_account(self.ACCOUNT)
        base.mkdir(parents=True, exist_ok=True)
        base = base.resolve()
        if self._account is not None:
            _let_in(self._account, base)
        prefix = type(self).__name__.lower() + '-'
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir=base))
        self._give(self.directory)
        self.log = self.directory / 'server.log'
        self.password = secrets.token_hex(8)
        self._port = _ReservedPort()
        self._guardian: subprocess.Popen[bytes] | None = None
        self._abandon: weakref.finalize[typing.Any, typing.Any] | None = None

    @property
    def port(self) -> int:
        """The port for clients, the same for the whole life of the object."""
        return self._port.number

    def start(self) -> None:
        """Start the server and return when it accepts connections.

        :raises ServerError: with the end of the server's log, if it fails or takes too long.
        """
        if self.is_running():
            return
        self._prepare()
        self._launch()
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if not self.is_running() or time.monotonic() > deadline:
                self.kill()
                raise ServerError(f'{self.PACKAGE} did not come up; its log ends:\n{self._tail()}')
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the server in order.

        :raises ServerError: if it had to be killed because it did not stop in time.
        """
        if self._guardian is None:
            return
        self._guardian.send_signal(signal.SIGTERM)
        try:
            self._guardian.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerError(
                f'{self.PACKAGE} did not stop; its log ends:\n{self._tail()}'
            ) from None
        self._forget()

    def kill(self) -> None:
        """Kill the server and everything it started; its data stays as it is on disk."""
        if self._guardian is None:
            return
        self._guardian.send_signal(signal.SIGUSR1)
        self._guardian.wait()
        self._forget()

    def restart(self) -> None:
        """Stop the server in order and start it again on the same port with the same data."""
        self.stop()
        self.start()

    def is_running(self) -> bool:
        """Whether the server's process exists; it says nothing about its health."""
        return self._guardian is not None and self._guardian.poll() is None

    @abc.abstractmethod
    def _prepare(self) -> None:
        """Make what the server needs on disk; called before every start."""

    @abc.abstractmethod
    def _command(self) -> list[str]:
        """The command whose process is the server; it must not fork into the background."""

    @abc.abstractmethod
    def _greeting(self) -> tuple[bytes, bytes]:
        """What a client says first, and the bytes with which a server that is ready replies.

        Accepting a connection proves little: the kernel does it before a server has recovered.
        """

    def _environment(self) -> dict[str, str]:
        """The whole environment of the server, so that nothing of the caller's leaks into it."""
        return {
            'PATH': os.environ.get('PATH', '') + ':/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin',
            'HOME': str(self.directory),
            'TMPDIR': str(self.directory),
            'LANG': 'C.UTF-8',
        }

    def _launch(self) -> None:
        order = {
            'command': self._command(),
            'environment': self._environment(),
            'directory': str(self.directory),
            'account': _ids(self._account),
            'stop_signal': int(self.STOP_SIGNAL),
            'abandon_signal': int(self.ABANDON_SIGNAL),
        }
        with self.log.open('ab') as log:
            guardian = subprocess.Popen(
                [sys.executable, '-I', '-S', __file__, 'guard', json.dumps(order)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                # Ctrl-C ends the test run; the servers are still needed for its tear-down.
                start_new_session=True,
            )
        self._guardian = guardian
        self._abandon = weakref.finalize(self, _abandon, guardian, os.getpid())

    def _forget(self) -> None:
        if self._abandon is not None:
            self._abandon()
        self._guardian = self._abandon = None

    def _answers(self) -> bool:
        hello, welcome = self._greeting()
        with contextlib.suppress(OSError):
            with socket.create_connection(('127.0.0.1', self.port), timeout=5) as connection:
                connection.sendall(hello)
                reply = connection.recv(1)
                return reply != b'' and reply.startswith(welcome)
        return False

    def _run(self, *command: str, environment: dict[str, str] | None = None) -> str:
        """Run one of the server's programs to its end, as the server's account.

        :raises ServerError: with its output, if it fails or takes too long.
        """
        try:
            done: subprocess.CompletedProcess[str] = subprocess.run(
                command,
                env=self._environment() | (environment or {}),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=COMMAND_SECONDS,
                **_as_account(_ids(self._account)),
            )
        except subprocess.TimeoutExpired as e:
            raise ServerError(f'{command[0]} took more than {e.timeout:.0f} s') from e
        if done.returncode:
            raise ServerError(
                f'{command[0]} exited with {done.returncode}:\n{done.stdout}{done.stderr}'
            )
        return done.stdout

    def _write(self, name: str, text: str) -> pathlib.Path:
        """Put a file that only the server may read into its directory."""
        path = self.directory / name
        path.touch(mode=0o600)
        path.write_text(text)
        self._give(path)
        return path

    def _give(self, path: pathlib.Path) -> None:
        if self._account is not None:
            os.chown(path, *_ids(self._account))

    def _tail(self) -> str:
        with self.log.open(errors='replace') as log:
            return ''.join(collections.deque(log, maxlen=40))


class RabbitMQ(Server):
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

    def __init__(self, base: pathlib.Path) -> None:
        super().__init__(base)
        self._server = _program(self.PACKAGE)
        self._ctl = str(pathlib.Path(self._server).with_name('rabbitmqctl'))
        self._epmd_port = _ReservedPort()
        self._distribution_port = _ReservedPort()
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
        return f'rabbit://{USER}:{self.password}@127.0.0.1:{self.port}/{path}'

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
                    'name': USER,
                    'password_hash': _rabbit_password_hash(self.password),
                    'hashing_algorithm': 'rabbit_password_hashing_sha256',
                    'tags': 'administrator',
                }
            ],
            'vhosts': [{'name': vhost} for vhost in self._vhosts],
            'permissions': [
                {'user': USER, 'vhost': vhost, 'configure': '.*', 'write': '.*', 'read': '.*'}
                for vhost in self._vhosts
            ],
        }
        return self._write('definitions.json', json.dumps(definitions))


class Database(Server):
    """A server that holds databases by name."""

    def create_database(self, name: str) -> str:
        """Create an empty database and return its SQLAlchemy URL.

        :raises ServerError: if the database exists or the server is down.
        """
        if not re.fullmatch('[a-z][a-z0-9_]{0,59}', name):
            raise ValueError(f'{name!r} would need quoting as the name of a database')
        self._create_database(name)
        return self.url(name)

    @abc.abstractmethod
    def url(self, name: str) -> str:
        """The SQLAlchemy URL of a database, whether it exists or not."""

    @abc.abstractmethod
    def _create_database(self, name: str) -> None:
        """Create a database whose name needs no quoting."""


class PostgreSQL(Database):
    """A PostgreSQL cluster of the newest version that is installed."""

    PACKAGE = 'postgresql'
    ACCOUNT = 'postgres'
    STOP_SIGNAL = signal.SIGINT
    # Drops everything at once, but unlike SIGKILL gives the shared memory back to the system.
    ABANDON_SIGNAL = signal.SIGQUIT

    def __init__(self, base: pathlib.Path) -> None:
        super().__init__(base)
        self._binaries = pathlib.Path(_program(self.PACKAGE)).parent
        self._data = self.directory / 'data'

    def url(self, name: str) -> str:
        return f'postgresql+psycopg2://{USER}:{self.password}@127.0.0.1:{self.port}/{name}'

    def _create_database(self, name: str) -> None:
        self._run(
            str(self._binaries / 'psql'),
            *('--no-psqlrc', '--quiet', '--host=127.0.0.1', f'--port={self.port}'),
            *(f'--username={USER}', '--dbname=postgres', f'--command=CREATE DATABASE {name}'),
            environment={'PGPASSWORD': self.password},
        )

    def _prepare(self) -> None:
        if (self._data / 'PG_VERSION').exists():
            return
        password = self._write('password', self.password)
        # --no-sync: an empty cluster that a power cut destroys is made again, nothing is lost.
        self._run(
            str(self._binaries / 'initdb'),
            *(f'--pgdata={self._data}', f'--username={USER}', f'--pwfile={password}'),
            *('--auth=scram-sha-256', '--encoding=UTF8', '--locale=C.UTF-8', '--no-sync'),
        )

    def _command(self) -> list[str]:
        settings = {
            'listen_addresses': '127.0.0.1',
            'port': str(self.port),
            # The directory's name may be too long for a socket, and nobody needs one.
            'unix_socket_directories': '',
            'max_connections': '200',
            'shared_buffers': '16MB',
            # The default, /dev/shm, is tiny in many containers and not cleaned after a SIGKILL.
            'dynamic_shared_memory_type': 'mmap',
            'timezone': 'UTC',
            'log_timezone': 'UTC',
        }
        command = [str(self._binaries / 'postgres'), '-D', str(self._data)]
        return command + [f'--{name}={value}' for name, value in settings.items()]

    def _greeting(self) -> tuple[bytes, bytes]:
        startup = struct.pack('!I', 3 << 16) + f'user\0{USER}\0database\0postgres\0\0'.encode()
        return struct.pack('!I', len(startup) + 4) + startup, b'R'


class MariaDB(Database):
    """A MariaDB server with InnoDB tables and utf8mb4."""

    PACKAGE = 'mariadb-server'
    ACCOUNT = 'mysql'

    def __init__(self, base: pathlib.Path) -> None:
        super().__init__(base)
        self._server = _program(self.PACKAGE)
        self._data = self.directory / 'data'

    def url(self, name: str) -> str:
        where = f'127.0.0.1:{self.port}/{name}'
        return f'mysql+pymysql://{USER}:{self.password}@{where}?charset=utf8mb4'

    def _create_database(self, name: str) -> None:
        self._run(
            _which('mariadb', self.PACKAGE),
            *('--no-defaults', '--protocol=tcp', '--host=127.0.0.1', f'--port={self.port}'),
            *(f'--user={USER}', f'--execute=CREATE DATABASE {name} CHARACTER SET utf8mb4'),
            environment={'MYSQL_PWD': self.password},
        )

    def _prepare(self) -> None:
        account = f"'{USER}'@'127.0.0.1'"
        self._write(
            'users.sql',
            f"CREATE USER IF NOT EXISTS {account} IDENTIFIED BY '{self.password}';\n"
            f'GRANT ALL PRIVILEGES ON *.* TO {account} WITH GRANT OPTION;\n',
        )
        if (self._data / 'mysql').exists():
            return
        # By socket, of which there is none: the user above is the only way in.
        self._run(
            _which('mariadb-install-db', self.PACKAGE),
            *('--no-defaults', f'--datadir={self._data}', '--skip-test-db'),
            '--auth-root-authentication-method=socket',
        )

    def _command(self) -> list[str]:
        return [
            self._server,
            '--no-defaults',
            f'--datadir={self._data}',
            f'--tmpdir={self.directory}',
            f'--pid-file={self.directory / "server.pid"}',
            f'--init-file={self.directory / "users.sql"}',
            '--bind-address=127.0.0.1',
            f'--port={self.port}',
            '--socket=',
            '--skip-name-resolve',
            '--character-set-server=utf8mb4',
            '--max-connections=200',
            '--innodb-buffer-pool-size=32M',
            '--innodb-log-file-size=16M',
        ]

    def _greeting(self) -> tuple[bytes, bytes]:
        return b'', b''


def missing_packages() -> list[str]:
    """The Debian packages of the servers that are not installed."""
    missing = []
    for package in _PROGRAMS:
        try:
            _program(package)
        except ServerError:
            missing.append(package)
    return missing


# The server program of each package, by the places where it may be; the last match is taken, and
# failing that the first name that the PATH knows. Debian's own rabbitmq-server in the PATH is a
# wrapper that insists on the system's directories.
_PROGRAMS = {
    'rabbitmq-server': ['/usr/lib/rabbitmq/bin/rabbitmq-server'],
    'postgresql': ['/usr/lib/postgresql/*/bin/postgres'],
    'mariadb-server': ['/usr/sbin/mariadbd'],
}


def _program(package: str) -> str:
    found = [path for pattern in _PROGRAMS[package] for path in glob.glob(pattern)]
    if found:
        return max(found, key=lambda path: [int(number) for number in re.findall('[0-9]+', path)])
    return _which(pathlib.Path(_PROGRAMS[package][0]).name, package)


def _which(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise ServerError(f'{name} not found; Debian has it in the package {package}')
    return found


class _ReservedPort:
    """A port that nobody else on this machine is given while this object lives.

    The socket stays bound but never listens. Only a server that asks for SO_REUSEADDR can listen
    on the port beside it, and all of ours do; another reservation does not ask and moves on.
    """

    def __init__(self) -> None:
        while True:
            self._socket = socket.socket()
            self.number = random.SystemRandom().choice(PORTS)
            try:
                self._socket.bind(('127.0.0.1', self.number))
            except OSError:
                self._socket.close()
                continue
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            return


def _unprivileged_account(name: str) -> pwd.struct_passwd | None:
    """The account to become, or None when this process has no privileges to give up."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return pwd.getpwnam('nobody')


def _ids(account: pwd.struct_passwd | None) -> tuple[int, int]:
    return (account.pw_uid, account.pw_gid) if account else (-1, -1)


def _as_account(ids: typing.Sequence[int]) -> dict[str, typing.Any]:
    """The arguments of ``subprocess`` that make the child run under these ids; -1 for unchanged."""
    user, group = ids
    return {} if user == -1 else {'user': user, 'group': group, 'extra_groups': []}


def _let_in(account: pwd.struct_passwd, base: pathlib.Path) -> None:
    """Let the account pass through ``base``, and see that it gets there at all.

    Directories above ``base`` are not ours to open: another test run may depend on their modes.
    """
    if base.stat().st_uid == os.geteuid():
        base.chmod(stat.S_IMODE(base.stat().st_mode) | stat.S_IXOTH)
    for directory in (base, *base.parents):
        status = directory.stat()
        owned = status.st_uid == account.pw_uid
        if not status.st_mode & (stat.S_IXUSR if owned else stat.S_IXOTH):
            raise ServerError(
                f'{account.pw_name}, under which the server runs when root starts it, cannot enter '
                f"{directory}. Give a directory of tempfile.mkdtemp(), not pytest's tmp_path, "
                'whose parents are private to root.'
            )


def _rabbit_password_hash(password: str) -> str:
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _abandon(guardian: subprocess.Popen[bytes], owner: int) -> None:
    """End a server that nobody refers to any more, also at the end of the interpreter."""
    # A child that was forked without exec inherits this finaliser, but not the server.
    if os.getpid() == owner and guardian.stdin is not None:
        guardian.stdin.close()
        guardian.wait()


def _guard(order: dict[str, typing.Any]) -> int:
    """Run a server as the only child of this process until it ends or the parent is gone.

    SIGTERM asks the server to stop, SIGUSR1 kills it. What it leaves behind, down to daemons that
    left its session, ends with it: a subreaper inherits every orphan below it.
    """
    parent = os.getppid()
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)

    def die_with_guardian() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    # The preexec function runs before there is a second thread, and this thread, to which the
    # death signal is tied, lives as long as the guardian.
    server = subprocess.Popen(
        order['command'],
        env=order['environment'],
        cwd=order['directory'],
        stdin=subprocess.DEVNULL,
        preexec_fn=die_with_guardian,
        **_as_account(order['account']),
    ).pid
    signal.signal(signal.SIGTERM, lambda *_: os.kill(server, order['stop_signal']))
    signal.signal(signal.SIGUSR1, lambda *_: os.kill(server, signal.SIGKILL))

    def watch_parent() -> None:
        # A child that the parent forked without exec keeps the pipe open beyond the parent's end.
        while os.getppid() == parent and not select.select([0], [], [], 1.0)[0]:
            pass
        os.kill(server, order['abandon_signal'])
        time.sleep(ABANDONED_SECONDS)
        os.kill(server, signal.SIGKILL)

    threading.Thread(target=watch_parent, daemon=True).start()
    pid, status = os.wait()
    while pid != server:
        pid, status = os.wait()
    _kill_all_children()
    return 0 if status == 0 else 1


def _kill_all_children() -> None:
    while True:
        for pid in _descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            return


def _descendants(ancestor: int) -> list[int]:
    children = collections.defaultdict(list)
    for path in glob.glob('/proc/[0-9]*/stat'):
        with contextlib.suppress(OSError), open(path) as file:
            # The name, in parentheses, may itself contain spaces and parentheses.
            pid, _, rest = file.read().partition(' ')
            children[int(rest.rpartition(')')[2].split()[1])].append(int(pid))
    found: list[int] = []
    pending = [ancestor]
    while pending:
        offspring = children[pending.pop()]
        found += offspring
        pending += offspring
    return found


def main() -> int:
    """Be the guardian of one server, or print the packages that are missing."""
    match sys.argv[1:]:
        case ['guard', order]:
            return _guard(json.loads(order))
        case ['missing']:
            print(*missing_packages(), sep='\n')
            return 0
    print('usage: servers.py missing', file=sys.stderr)
    return 2


if __name__ == '__main__':
    sys.exit(main())
