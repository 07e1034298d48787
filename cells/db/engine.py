"""The connection to the database of a cell.

:class:`Database` hands out plain SQLAlchemy connections: ``read()`` for single
statements, ``write()`` for a transaction. SQLite is set up for several readers
beside one writer that waits its turn (write-ahead log, ``BEGIN IMMEDIATE``);
the others come from oslo.db. All errors are those of ``oslo_db.exception``.
"""

import contextlib
import math
import pathlib
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

import sqlalchemy as sa
from oslo_db import exception as db_exc
from oslo_db.sqlalchemy import engines, exc_filters
from sqlalchemy import pool
from sqlalchemy.ext import compiler
from sqlalchemy.sql import expression

#: What a caller may see when the database is away or refuses to go on.
ERRORS: Final = (
    db_exc.DBError,
    db_exc.DBInvalidUnicodeParameter,
    sa.exc.SQLAlchemyError,
)

_TRANSIENT: Final = (db_exc.DBConnectionError, db_exc.DBDeadlock, sa.exc.TimeoutError)

#: SQLite: busy, locked, read-only, I/O error, full, cannot open.
_SQLITE_CODES: Final = frozenset((5, 6, 8, 10, 13, 14))
#: MySQL: too many connections, shutdown, network, lock wait, deadlock, read-only, away, lost.
_MYSQL_CODES: Final = frozenset(
    (1040, 1053, 1158, 1159, 1160, 1161, 1205, 1213, 1290, 1836, 1927, 2002, 2003, 2006, 2013, 2055)
)
#: PostgreSQL: connection, resources, intervention, rollback, lock not available, read-only.
_POSTGRESQL_CLASSES: Final = ('08', '53', '57', '40', '55P03', '25006')

SQLITE_BUSY_SECONDS: Final = 5
#: A connection that was not used for longer may be one that the server has dropped.
IDLE_SECONDS: Final = 1.0


def is_transient(error: BaseException) -> bool:
    """Tell whether the same statement may succeed later: a database that is away, or busy."""
    if isinstance(error, _TRANSIENT):
        return True
    inner = getattr(error, 'inner_exception', None) or error
    if isinstance(inner, _TRANSIENT) or getattr(inner, 'connection_invalidated', False):
        return True
    original = getattr(inner, 'orig', None)
    if original is None:
        return False
    if hasattr(original, 'sqlite_errorcode'):
        return original.sqlite_errorcode & 0xFF in _SQLITE_CODES
    if hasattr(original, 'pgcode'):
        if original.pgcode is None:  # it did not come from the server
            return isinstance(inner, sa.exc.OperationalError | sa.exc.InterfaceError)
        return original.pgcode.startswith(_POSTGRESQL_CLASSES)
    return bool(original.args) and original.args[0] in _MYSQL_CODES


def is_data_error(error: BaseException) -> bool:
    """Tell whether a database refused values, and will refuse them however often they come."""
    if isinstance(error, db_exc.DBDataError | db_exc.DBInvalidUnicodeParameter):
        return True
    inner = getattr(error, 'inner_exception', None) or error
    return isinstance(inner, sa.exc.DataError | sa.exc.IntegrityError | ValueError)


def is_deadlock(error: BaseException) -> bool:
    """Tell whether a transaction was only in the way of another and may go again at once."""
    return isinstance(error, db_exc.DBDeadlock)


def brief(error: BaseException) -> str:
    """Return the first line of an error; the rest shows statements and their values."""
    return str(error).partition('\n')[0]


class now(expression.FunctionElement):  # noqa: N801 - reads as the SQL function that it is
    """Seconds since the epoch by the clock of the database, which all workers share."""

    type = sa.Double()
    inherit_cache = True


@compiler.compiles(now, 'sqlite')
def _now_sqlite(element: Any, compiler: Any, **kwargs: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiler.compiles(now, 'postgresql')
def _now_postgresql(element: Any, compiler: Any, **kwargs: Any) -> str:
    return 'extract(epoch from clock_timestamp())'


@compiler.compiles(now, 'mysql')
@compiler.compiles(now, 'mariadb')
def _now_mysql(element: Any, compiler: Any, **kwargs: Any) -> str:
    return "(timestampdiff(microsecond, '1970-01-01', utc_timestamp(6)) / 1000000.0)"


def fault(url: str) -> str | None:
    """Return what is wrong with a URL as far as can be told without using it; no password."""
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        return 'cannot be used: it is not an SQLAlchemy URL; signs in a password are to be quoted'
    try:
        parsed.get_dialect()
    except (sa.exc.ArgumentError, ImportError):
        return 'cannot be used: there is no dialect %s' % parsed.drivername
    path = parsed.database if parsed.drivername.startswith('sqlite') else None
    if path and path != ':memory:' and not pathlib.Path(path).parent.is_dir():
        return 'cannot be used: there is no directory %s' % pathlib.Path(path).parent
    return None


def time_of(connection: sa.Connection) -> float:
    """Return the time by the clock of the database, in seconds since the epoch."""
    return float(connection.execute(sa.select(now())).scalar_one())


def replicates(connection: sa.Connection) -> bool:
    """Tell whether what happens to instances is noted for the cells above."""
    return bool(connection.get_execution_options().get('cells_replicates'))


def notifies(connection: sa.Connection) -> bool:
    """Tell whether what happens to instances is noted for who listens to events."""
    return bool(connection.get_execution_options().get('cells_notifies'))


class Database:
    """One database.

    :param url: an SQLAlchemy URL.
    :param pool_size: connections kept open; as many again may come for a while.
    :param replicates: whether what happens to instances is noted for the cells above.
    :param notifies: whether it is noted for who listens to events.
    """

    def __init__(
        self, url: str, pool_size: int = 10, replicates: bool = False, notifies: bool = False
    ) -> None:
        self.url = url
        self._replicates = replicates
        self._notifies = notifies
        self._pool_size = pool_size
        # SQLite waits for another writer inside of C: under eventlet that would stop the
        # very thread that it waits for.
        self._turn = threading.Lock()
        self._engine: sa.Engine | None = None
        self._reader: sa.Engine | None = None

    @property
    def engine(self) -> sa.Engine:
        """The engine, made at the first use. Connections are made later still."""
        if self._engine is None:
            engine = (
                _sqlite(self.url, self._pool_size)
                if self.url.startswith('sqlite')
                else _server(self.url, self._pool_size)
            )
            engine.update_execution_options(
                cells_replicates=self._replicates, cells_notifies=self._notifies
            )
            self._reader = (
                engine.execution_options(cells_read=True)
                if engine.dialect.name == 'sqlite'
                else engine.execution_options(isolation_level='AUTOCOMMIT')
            )
            # Values of users would otherwise show in errors and logs (X4).
            engine.hide_parameters = True
            self._engine = engine
        return self._engine

    @property
    def dialect(self) -> str:
        """sqlite, postgresql, mysql or mariadb."""
        return self.engine.dialect.name

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Give a connection for single reading statements, each on its own."""
        assert self.engine is not None  # makes both
        assert self._reader is not None
        with self._no_raw_errors(), self._reader.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Give a connection in a transaction that ends with the block."""
        turn = self._turn if self.dialect == 'sqlite' else contextlib.nullcontext()
        with turn, self._no_raw_errors(), self.engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def _no_raw_errors(self) -> Iterator[None]:
        """Raise what the driver says of a connection that is lost while it is given back."""
        try:
            yield
        except self.engine.dialect.loaded_dbapi.Error as error:
            raise db_exc.DBConnectionError(error) from error

    def dispose(self) -> None:
        """Close all connections."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = self._reader = None


def _server(url: str, pool_size: int) -> sa.Engine:
    engine: sa.Engine = engines.create_engine(
        url,
        max_pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=10,
        max_retries=0,
        # The default yields when a connection is given back, which can come from the
        # garbage collector and then stops the hub of eventlet.
        thread_checkin=False,
        mysql_sql_mode='TRADITIONAL',
        connection_parameters=_timeouts(url),
        _engine_target=_unpinged,
    )
    _ping_idle(engine)
    return engine


def _unpinged(url: Any, **arguments: Any) -> tuple[sa.Engine, sa.Engine]:
    """Make an engine as oslo.db does, but for its ping before every use of a connection."""
    engine = sa.create_engine(url, **{**arguments, 'pool_pre_ping': False})
    return engine, engine


def _ping_idle(engine: sa.Engine) -> None:
    """Have a connection looked at before it is used, if it was not a moment ago.

    A server that is restarted drops all connections. Of those that were used just before, the
    first use says so, and the pool is made anew.
    """

    @sa.event.listens_for(engine, 'checkin')
    def _note(connection: Any, record: Any) -> None:
        record.info['used'] = time.monotonic()

    @sa.event.listens_for(engine, 'checkout')
    def _look(connection: Any, record: Any, proxy: Any) -> None:
        if time.monotonic() - record.info.get('used', math.inf) <= IDLE_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise sa.exc.InvalidatePoolError from error


def _timeouts(url: str) -> str:
    # A connection to a host that is gone must not hold a thread for ever.
    if url.startswith('mysql'):
        return 'connect_timeout=5&read_timeout=30&write_timeout=30'
    if url.startswith('postgresql'):
        timeouts = 'keepalives_idle=10&keepalives_interval=5&tcp_user_timeout=30000'
        # Compiling a statement is for long analyses: ours would take a hundred times as long.
        no_jit = '' if 'options=' in url else '&options=-c%20jit%3Doff'
        return 'connect_timeout=5&' + timeouts + no_jit
    return ''


def _sqlite(url: str, pool_size: int) -> sa.Engine:
    arguments: dict[str, Any] = {'timeout': SQLITE_BUSY_SECONDS, 'check_same_thread': False}
    if sa.make_url(url).database in (None, '', ':memory:'):
        engine = sa.create_engine(url, poolclass=pool.StaticPool, connect_args=arguments)
    else:
        engine = sa.create_engine(
            url,
            poolclass=pool.QueuePool,
            pool_size=pool_size,
            max_overflow=pool_size,
            connect_args=arguments,
        )
    exc_filters.register_engine(engine)

    @sa.event.listens_for(engine, 'connect')
    def _set_up(connection: Any, record: Any) -> None:
        connection.isolation_level = None
        connection.execute('PRAGMA journal_mode = WAL')
        connection.execute('PRAGMA synchronous = NORMAL')

    @sa.event.listens_for(engine, 'begin')
    def _begin(connection: sa.Connection) -> None:
        # A transaction that starts as a reader cannot wait for the writer's turn.
        if not connection.get_execution_options().get('cells_read'):
            connection.exec_driver_sql('BEGIN IMMEDIATE')

    return engine
