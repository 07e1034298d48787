"""What nova-cells does once the kind of concurrency is settled."""

import logging

from oslo_config import cfg
from oslo_log import log

from cells import (
    configured,
    exceptions,
    figures,
    meditation,
    neighbour_sources,
    service,
    slots,
    state,
)
from cells import outcome as outcomes
from cells.cmd import checks, launch, option_values
from cells.db import engine, migration

LOG = logging.getLogger(__name__)

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
    configured.prepare(conf)
    conf.register_cli_opts(CLI_OPTS)
    launch.parse(conf, args, 'nova-cells')
    if conf.standalone:
        conf.set_override('standalone', True, group='cells')
    return conf


def check(conf: cfg.ConfigOpts) -> None:
    """Refuse, before a worker is forked, what no worker could work with.

    :raises ConfigurationError: the text says what, and what is allowed.
    """
    option_values.check(conf)
    for check_subject in checks.SUBJECTS:
        check_subject(conf)
    database = engine.Database(configured.connection(conf))
    source = configured.source(conf, database)
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
        state.topology_of(configured.place(conf), source.read())
    except ValueError as error:
        raise exceptions.ConfigurationError(
            reason='The neighbours of cell %s are wrong: %s' % (conf.cells.name, error)
        ) from None


def run(concurrency: str) -> int:
    """Run the daemon and return its exit code.

    :param concurrency: eventlet or threading, as chosen.
    """

    def make(
        conf: cfg.ConfigOpts, outcome: outcomes.Outcome, report: meditation.Meditation
    ) -> tuple[service.CellsService, int]:
        workers = conf.workers or conf.cells.workers
        for text in checks.advice(conf, workers, concurrency):
            LOG.warning('%s', text)
        return service.CellsService(conf, outcome, report), workers

    return launch.run(
        'nova-cells',
        read_conf,
        check,
        make,
        name=lambda conf: conf.cells.name,
        reader=_figures,
    )


def _figures(conf: cfg.ConfigOpts) -> figures.FiguresReader:
    """Return what reads the figures of the cell for the monitor."""
    found = engine.Database(configured.connection(conf), pool_size=1)
    return figures.FiguresReader(found, conf.service_down_time)
