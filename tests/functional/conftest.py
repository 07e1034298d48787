"""The servers that tests run against, each started by the first test that asks for it."""

import itertools
import pathlib
import shutil
from collections.abc import Iterator
from typing import TypeVar

import pytest
import sqlalchemy as sa

from cells import context
from cells.db import engine, migration, models
from tests import mixed, servers
from tests.conftest import open_directory

Server = TypeVar('Server', bound=servers.Server)

NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
def _asked_now(request: pytest.FixtureRequest) -> None:
    """Let the contexts that all tests of a module use be of now.

    From a plain cell nobody knows when a question was sent but by that, and refuses what is old.
    """
    for one in vars(request.module).values() if mixed.mode() else ():
        if isinstance(one, context.RequestContext):
            one.timestamp = context.RequestContext().timestamp


@pytest.fixture(scope='session')
def server_directory() -> Iterator[pathlib.Path]:
    """Where the servers of this test run keep their data."""
    directory = open_directory()
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope='session')
def rabbit(server_directory: pathlib.Path) -> Iterator[servers.RabbitMQ]:
    """A running RabbitMQ."""
    yield from running(servers.RabbitMQ(server_directory))


@pytest.fixture(scope='session')
def postgresql(server_directory: pathlib.Path) -> Iterator[servers.PostgreSQL]:
    """A running PostgreSQL."""
    yield from running(servers.PostgreSQL(server_directory, synced=False))


@pytest.fixture(scope='session')
def mariadb(server_directory: pathlib.Path) -> Iterator[servers.MariaDB]:
    """A running MariaDB."""
    yield from running(servers.MariaDB(server_directory, synced=False))


def running(server: Server) -> Iterator[Server]:
    server.start()
    yield server
    server.stop()


def new_database(request: pytest.FixtureRequest, kind: str) -> str:
    """Return the URL of a fresh, empty database."""
    if kind == 'sqlite':
        return 'sqlite:///%s' % (request.getfixturevalue('workdir') / 'cells.sqlite')
    server: servers.Database = request.getfixturevalue(kind)
    return server.create_database('test_%d' % next(NUMBERS))


KINDS = ('sqlite', 'postgresql', 'mariadb')


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database, of each kind that is supported."""
    return new_database(request, request.param)


@pytest.fixture(scope='session')
def migrated_urls() -> dict[str, str]:
    """Databases with the schema, by kind, used by one test after the other."""
    return {}


@pytest.fixture(params=KINDS)
def database(
    request: pytest.FixtureRequest, migrated_urls: dict[str, str]
) -> Iterator[engine.Database]:
    """A database with the schema and empty tables, of each kind that is supported.

    A server has one for all tests: a hundred databases would keep its disk busy for long.
    """
    url = migrated_urls.get(request.param) or new_database(request, request.param)
    database = engine.Database(url)
    migration.sync(database)
    if request.param != 'sqlite':
        migrated_urls[request.param] = url
        with database.write() as connection:
            for table in models.Base.metadata.tables.values():
                connection.execute(sa.delete(table))
    yield database
    database.dispose()
