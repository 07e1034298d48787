"""What the daemons share: from the command line to workers that run, and the exit code."""

import gc
import logging
import sys
from collections.abc import Callable
from importlib import metadata

from oslo_config import cfg
from oslo_log import log
from oslo_service import service as oslo_service

from cells import exceptions, logs, meditation
from cells import outcome as outcomes
from cells.cmd import option_names
from cells.monitor import http
from cells.monitor import service as monitor_service
from cells.readings import Reader

LOG = logging.getLogger(__name__)

Make = Callable[
    [cfg.ConfigOpts, outcomes.Outcome, meditation.Meditation],
    tuple[oslo_service.ServiceBase, int],
]


def parse(conf: cfg.ConfigOpts, args: list[str] | None, prog: str) -> None:
    """Parse the command line of a daemon, and what it names.

    :raises oslo_config.cfg.Error: it cannot be parsed.
    """
    conf(args, project='cells', prog=prog, version=metadata.version('cells'))


def run(
    prog: str,
    read_conf: Callable[[], cfg.ConfigOpts],
    check: Callable[[cfg.ConfigOpts], None],
    make: Make,
    *,
    name: Callable[[cfg.ConfigOpts], str],
    reader: Callable[[cfg.ConfigOpts], Reader] | None = None,
) -> int:
    """Run a daemon and return its exit code: 0 stopped, 1 cannot run, 2 bad usage.

    :param check: refuses, before anything is forked, what could not work.
    :param make: returns the service and how many workers of it are to run.
    :param name: of the cell or the host, for the log.
    :param reader: makes what reads the database for the monitor, where there is one.
    """
    try:
        conf = read_conf()
    except cfg.Error as error:
        sys.stderr.write('%s: %s\n' % (prog, error))
        return 2
    try:
        logs.setup(conf, name(conf))
        check(conf)
        if conf.monitoring.port:
            http.check(conf.monitoring.address, conf.monitoring.port)
    except (exceptions.ConfigurationError, log.LogConfigError, cfg.Error) as error:
        sys.stderr.write('%s: %s\n' % (prog, error))
        return 1
    for text in hints(conf):
        LOG.warning('%s', text)
    outcome = outcomes.Outcome()
    report = meditation.Meditation(prog, conf, conf.monitoring.report_dir)
    report.listen()
    made, workers = make(conf, outcome, report)
    spare_the_interpreter()
    launcher = oslo_service.ProcessLauncher(conf, restart_method='mutate')
    launcher.launch_service(made, workers=workers)
    if conf.monitoring.port:
        launcher.launch_service(_monitor(conf, workers, reader, report), workers=1)
    ended = 0
    try:
        launcher.wait()
    except SystemExit as error:  # so does a master on native threads, with 0 in any case
        ended = int(error.code or 0)
    return 1 if outcome.failed else ended


def hints(conf: cfg.ConfigOpts) -> list[str]:
    """Return what a configuration leaves to chance, and what of it nobody reads."""
    try:
        found = option_names.brief(option_names.unread(option_names.files_of(conf)))
    except (OSError, cfg.Error) as error:  # gone, or changed, since it was read
        found = ['The configuration cannot be looked at for options that nobody reads: %s' % error]
    place = conf.get_location('transport_url')
    if place is None or place.location == cfg.Locations.opt_default:
        found.append(
            '[DEFAULT] transport_url is not set: the broker of this host is used, as user guest'
        )
    return found


def spare_the_interpreter() -> None:
    """Have it spend its time on work: ``benchmarks.actions`` went from 35 to 43 per second.

    Statements and messages make very many objects and few cycles, for which it looks after every
    700 objects otherwise; and a worker has many threads, of which each waits for an answer soon.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    sys.setswitchinterval(0.02)


def _monitor(
    conf: cfg.ConfigOpts,
    workers: int,
    reader: Callable[[cfg.ConfigOpts], Reader] | None,
    report: meditation.Meditation,
) -> monitor_service.MonitorService:
    options = conf.monitoring
    return monitor_service.MonitorService(
        address=options.address,
        port=options.port,
        state_path=conf.state_path,
        expected=workers,
        wedged_after=options.wedged_after,
        database=None if reader is None else lambda: reader(conf),
        begun=lambda: report.watch({}),
    )
