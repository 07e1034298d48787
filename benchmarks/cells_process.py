"""Several cells in one process: as many children as a broadcast is to reach."""

import sys
import threading

from oslo_config import cfg

from cells import cell, configured, slots
from cells.cmd import launch


def main(*conf_files: str) -> None:
    """Serve the cells of these configurations until killed, as the daemon does."""
    launch.spare_the_interpreter()
    for conf_file in conf_files:
        conf = cfg.ConfigOpts()
        configured.prepare(conf)
        conf(['--config-file', conf_file], project='cells')
        cell.Cell(conf, slots.WorkerSlot.take(conf.state_path)).start()
    print('ready', flush=True)
    threading.Event().wait()


if __name__ == '__main__':
    main(*sys.argv[1:])
