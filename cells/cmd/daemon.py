"""What nova-cells does once the kind of concurrency is settled."""

import logging
from typing import Final

import sqlalchemy as sa
from oslo_config import cfg
from oslo_log import log

from cells import (
    cell,
    exceptions,
    neighbour_sources,
    paths,
    plugins,
    reports,
    rpc,
    service,
    slots,
    state,
)
from cells import outcome as outcomes
from cells.cmd import launch
from cells.cmd.concurrency import VARIABLE
from cells.db import engine, migration
from cells.drivers import settings

LOG = logging.getLogger(__name__)

#: Database drivers that let other green threads run meanwhile.
YIELDING_DRIVERS: Final = ('pymysql', 'psycopg2')

CLI_OPTS = [
    cfg.IntOpt('workers', min=1, help='Number of worker processes, before [cells] workers.'),
    cfg.BoolOpt('standalone', help='Run a compute cell without a parent.'),
]


def read_conf(args: list[str] | None = None) -> cfg.ConfigOpts:
    """Return the parsed configuration of the daemon.

    :raises oslo_config.cfg.Error: it cannot be parsed.
    """
    conf = cfg.ConfigOpts()
    log.register_options(conf)
    log.set_defaults(default_log_levels=[*log.get_default_log_levels(), 'alembic=WARN'])
    cell.prepare(conf)
    conf.register_cli_opts(CLI_OPTS)
    conf(args, project='cells', prog='nova-cells')
    if conf.standalone:
        conf.set_override('standalone', True, group='cells')
    return conf


def check(conf: cfg.ConfigOpts) -> None:
    """Refuse, before a worker is forked, what no worker could work with.

    :raises ConfigurationError: the text says what, and what is allowed.
    """
    launch.check_values(conf)
    settings.find(conf.cells.driver)
    plugins.load_scheduler(conf.cells)
    try:
        paths.check_name(conf.cells.name)
    except ValueError as error:
        raise exceptions.ConfigurationError(reason='[cells] name: %s' % error) from None
    rpc.get_transport(conf).cleanup()
    try:
        reports.parse_capabilities(conf.cells.capabilities)
    except ValueError as error:
        raise exceptions.ConfigurationError(reason='[cells] capabilities: %s' % error) from None
    database = engine.Database(cell.connection(conf))
    source = cell.source(conf, database)
    try:
        migration.check(database)
        _check_neighbours(conf, source)
    except engine.ERRORS as error:
        if not engine.is_transient(error):
            raise exceptions.ConfigurationError(
                reason='[database] connection cannot be used: %s' % engine.brief(error)
            ) from None
    finally:
        database.dispose()
    slots.WorkerSlot.take(conf.state_path).release()


def _check_neighbours(conf: cfg.ConfigOpts, source: neighbour_sources.Source) -> None:
    try:
        state.topology_of(cell.place(conf), source.read())
    except ValueError as error:
        raise exceptions.ConfigurationError(
            reason='The neighbours of cell %s are wrong: %s' % (conf.cells.name, error)
        ) from None


def _advise(conf: cfg.ConfigOpts, workers: int, concurrency: str) -> None:
    """Say what works but not well."""
    driver = sa.make_url(cell.connection(conf)).get_driver_name()
    if driver == 'pysqlite' and workers > 1:
        LOG.warning(
            '%d workers share an SQLite database and take turns at writing; PostgreSQL or '
            'MariaDB serve several workers better',
            workers,
        )
    if concurrency == 'eventlet' and driver not in YIELDING_DRIVERS:
        LOG.warning(
            'Under eventlet every statement of the database driver %s stops the whole worker; '
            'use %s, or %s=threading',
            driver,
            ' or '.join(YIELDING_DRIVERS),
            VARIABLE,
        )


def run(concurrency: str) -> int:
    """Run the daemon and return its exit code.

    :param concurrency: eventlet or threading, as chosen.
    """

    def make(conf: cfg.ConfigOpts, outcome: outcomes.Outcome) -> tuple[service.CellsService, int]:
        workers = conf.workers or conf.cells.workers
        _advise(conf, workers, concurrency)
        return service.CellsService(conf, outcome), workers

    return launch.run('nova-cells', read_conf, check, make)
