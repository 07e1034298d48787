"""What is looked at in a configuration before anything is done with it; no bus, no database."""

from collections.abc import Callable
from typing import Final

import sqlalchemy as sa
from oslo_config import cfg

from cells import configured, exceptions, paths, plugins, reports, rpc
from cells.cmd.concurrency import VARIABLE
from cells.drivers import settings

#: Database drivers that let other green threads run meanwhile.
YIELDING_DRIVERS: Final = ('pymysql', 'psycopg2')


def driver(conf: cfg.ConfigOpts) -> None:
    """Look whether there is the driver to neighbours.

    :raises ConfigurationError: there is none of the name.
    """
    settings.find(conf.cells.driver)


def scheduler(conf: cfg.ConfigOpts) -> None:
    """Look whether there are the filters and weighers.

    :raises ConfigurationError: one cannot be found or used.
    """
    plugins.load_scheduler(conf.cells)


def name(conf: cfg.ConfigOpts) -> None:
    """Look at the name of the cell.

    :raises ConfigurationError: a cell may not be called so.
    """
    try:
        paths.check_name(conf.cells.name)
    except ValueError as error:
        raise exceptions.ConfigurationError(reason='[cells] name: %s' % error) from None


def transport(conf: cfg.ConfigOpts) -> None:
    """Look at the URL of the message bus, without connecting to it.

    :raises ConfigurationError: it is none.
    """
    rpc.get_transport(conf).cleanup()


def capabilities(conf: cfg.ConfigOpts) -> None:
    """Look at what the cell claims to be able to do.

    :raises ConfigurationError: it is not values by name.
    """
    try:
        reports.parse_capabilities(conf.cells.capabilities)
    except ValueError as error:
        raise exceptions.ConfigurationError(reason='[cells] capabilities: %s' % error) from None


def database(conf: cfg.ConfigOpts) -> None:
    """Look at the URL of the database, without connecting to it.

    :raises ConfigurationError: it is none.
    """
    configured.connection(conf)


#: In the order in which a daemon looks at them, after the values.
SUBJECTS: Final[tuple[Callable[[cfg.ConfigOpts], None], ...]] = (
    driver,
    scheduler,
    name,
    transport,
    capabilities,
    database,
)


def advice(conf: cfg.ConfigOpts, workers: int, concurrency: str) -> list[str]:
    """Return what works but not well.

    :param concurrency: eventlet or threading.
    """
    found = []
    used = sa.make_url(configured.connection(conf)).get_driver_name()
    if used == 'pysqlite' and workers > 1:
        found.append(
            '%d workers share an SQLite database and take turns at writing; PostgreSQL or '
            'MariaDB serve several workers better' % workers
        )
    if concurrency == 'eventlet' and used not in YIELDING_DRIVERS:
        found.append(
            'Under eventlet every statement of the database driver %s stops the whole worker; '
            'use %s, or %s=threading' % (used, ' or '.join(YIELDING_DRIVERS), VARIABLE)
        )
    return found
