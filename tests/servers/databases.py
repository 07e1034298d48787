"""PostgreSQL and MariaDB."""

import pathlib
import signal
import struct

from tests.servers import base, programs


class PostgreSQL(base.Database):
    """A PostgreSQL cluster of the newest version that is installed."""

    PACKAGE = 'postgresql'
    ACCOUNT = 'postgres'
    STOP_SIGNAL = signal.SIGINT
    # Drops everything at once, but unlike SIGKILL gives the shared memory back to the system.
    ABANDON_SIGNAL = signal.SIGQUIT

    def __init__(self, directory: pathlib.Path, *, synced: bool = True) -> None:
        """See the base class.

        :param synced: whether what is committed outlasts a power cut, not only the server's end.
        """
        super().__init__(directory)
        self._synced = synced
        self._binaries = pathlib.Path(programs.program(self.PACKAGE)).parent
        self._data = self.directory / 'data'

    def url(self, name: str) -> str:
        return f'postgresql+psycopg2://{base.USER}:{self.password}@127.0.0.1:{self.port}/{name}'

    def _create_database(self, name: str) -> None:
        self._run(
            str(self._binaries / 'psql'),
            *('--no-psqlrc', '--quiet', '--host=127.0.0.1', f'--port={self.port}'),
            *(f'--username={base.USER}', '--dbname=postgres', f'--command=CREATE DATABASE {name}'),
            environment={'PGPASSWORD': self.password},
        )

    def _prepare(self) -> None:
        if (self._data / 'PG_VERSION').exists():
            return
        password = self._write('password', self.password)
        # --no-sync: an empty cluster that a power cut destroys is made again, nothing is lost.
        self._run(
            str(self._binaries / 'initdb'),
            *(f'--pgdata={self._data}', f'--username={base.USER}', f'--pwfile={password}'),
            *('--auth=scram-sha-256', '--encoding=UTF8', '--locale=C.UTF-8', '--no-sync'),
        )

    def _command(self) -> list[str]:
        settings = {
            'listen_addresses': '127.0.0.1',
            'port': str(self.port),
            'fsync': 'on' if self._synced else 'off',
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
        startup = struct.pack('!I', 3 << 16) + f'user\0{base.USER}\0database\0postgres\0\0'.encode()
        return struct.pack('!I', len(startup) + 4) + startup, b'R'


class MariaDB(base.Database):
    """A MariaDB server with InnoDB tables and utf8mb4."""

    PACKAGE = 'mariadb-server'
    ACCOUNT = 'mysql'

    def __init__(self, directory: pathlib.Path, *, synced: bool = True) -> None:
        """See the base class.

        :param synced: whether what is committed outlasts a power cut, not only the server's end.
        """
        super().__init__(directory)
        self._synced = synced
        self._server = programs.program(self.PACKAGE)
        self._data = self.directory / 'data'

    def url(self, name: str) -> str:
        where = f'127.0.0.1:{self.port}/{name}'
        return f'mysql+pymysql://{base.USER}:{self.password}@{where}?charset=utf8mb4'

    def _create_database(self, name: str) -> None:
        self._run(
            programs.which('mariadb', self.PACKAGE),
            *('--no-defaults', '--protocol=tcp', '--host=127.0.0.1', f'--port={self.port}'),
            *(f'--user={base.USER}', f'--execute=CREATE DATABASE {name} CHARACTER SET utf8mb4'),
            environment={'MYSQL_PWD': self.password},
        )

    def _prepare(self) -> None:
        account = f"'{base.USER}'@'127.0.0.1'"
        self._write(
            'users.sql',
            f"CREATE USER IF NOT EXISTS {account} IDENTIFIED BY '{self.password}';\n"
            f'GRANT ALL PRIVILEGES ON *.* TO {account} WITH GRANT OPTION;\n',
        )
        if (self._data / 'mysql').exists():
            return
        # By socket, of which there is none: the user above is the only way in.
        self._run(
            programs.which('mariadb-install-db', self.PACKAGE),
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
            f'--innodb-flush-log-at-trx-commit={1 if self._synced else 2}',
        ]

    def _greeting(self) -> tuple[bytes, bytes]:
        return b'', b''
