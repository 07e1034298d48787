"""What all private servers have in common: directory, port, account, start and end."""

import abc
import collections
import contextlib
import json
import os
import pathlib
import pwd
import random
import re
import secrets
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import typing
import weakref

from tests.servers import guardian, programs

START_SECONDS = 60.0
STOP_SECONDS = 60.0
COMMAND_SECONDS = 120.0

USER = 'cells'

# Below the range from which Linux takes the ports of outgoing connections, so that no client
# gets the port of a server that is down for a moment.
PORTS = range(10000, 32000)


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
        self._port = ReservedPort()
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
                raise programs.ServerError(
                    f'{self.PACKAGE} did not come up; its log ends:\n{self._tail()}'
                )
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
            raise programs.ServerError(
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
            self._guardian = subprocess.Popen(
                [sys.executable, '-I', '-S', guardian.__file__, json.dumps(order)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                # Ctrl-C ends the test run; the servers are still needed for its tear-down.
                start_new_session=True,
            )
        self._abandon = weakref.finalize(self, _abandon, self._guardian, os.getpid())

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
                **guardian.as_account(_ids(self._account)),
            )
        except subprocess.TimeoutExpired as e:
            raise programs.ServerError(f'{command[0]} took more than {e.timeout:.0f} s') from e
        if done.returncode:
            raise programs.ServerError(
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


class ReservedPort:
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


def free_port() -> int:
    """Return a port for what a test starts itself; no client is given one of these."""
    while True:
        number = random.SystemRandom().choice(PORTS)
        with socket.socket() as found, contextlib.suppress(OSError):
            found.bind(('127.0.0.1', number))
            return number


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
            raise programs.ServerError(
                f'{account.pw_name}, under which the server runs when root starts it, cannot enter '
                f"{directory}. Give a directory of tempfile.mkdtemp(), not pytest's tmp_path, "
                'whose parents are private to root.'
            )


def _abandon(guardian: subprocess.Popen[bytes], owner: int) -> None:
    """End a server that nobody refers to any more, also at the end of the interpreter."""
    # A child that was forked without exec inherits this finaliser, but not the server.
    if os.getpid() == owner and guardian.stdin is not None:
        guardian.stdin.close()
        guardian.wait()
