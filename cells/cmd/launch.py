"""What the daemons share: from the command line to workers that run, and the exit code."""

import sys
from collections.abc import Callable

from oslo_config import cfg
from oslo_log import log
from oslo_service import service as oslo_service

from cells import exceptions
from cells import outcome as outcomes


def run(
    prog: str,
    read_conf: Callable[[], cfg.ConfigOpts],
    check: Callable[[cfg.ConfigOpts], None],
    make: Callable[[cfg.ConfigOpts, outcomes.Outcome], tuple[oslo_service.ServiceBase, int]],
) -> int:
    """Run a daemon and return its exit code: 0 stopped, 1 cannot run, 2 bad usage.

    :param check: refuses, before anything is forked, what could not work.
    :param make: returns the service and how many workers of it are to run.
    """
    try:
        conf = read_conf()
    except cfg.Error as error:
        sys.stderr.write('%s: %s\n' % (prog, error))
        return 2
    log.setup(conf, 'cells')
    try:
        check(conf)
    except exceptions.ConfigurationError as error:
        sys.stderr.write('%s: %s\n' % (prog, error))
        return 1
    outcome = outcomes.Outcome()
    made, workers = make(conf, outcome)
    launcher = oslo_service.ProcessLauncher(conf, restart_method='mutate')
    launcher.launch_service(made, workers=workers)
    launcher.wait()
    return 1 if outcome.failed else 0
