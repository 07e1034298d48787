"""Options of the group ``DEFAULT``."""

import socket
from collections.abc import Iterable

from oslo_config import cfg

OPTS = [
    cfg.HostAddressOpt(
        'host',
        default=socket.gethostname(),
        sample_default='<this machine>',
        help='Name of this host: the server part of the queues that its workers listen on. '
        'It must be unique among the hosts of one cell.',
    ),
    cfg.StrOpt(
        'state_path',
        default='/var/lib/cells',
        help='Directory for what must survive a restart of a worker, such as the locks of '
        'the worker slots. Each cell on a host needs its own.',
    ),
]


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register the options."""
    conf.register_opts(OPTS)


def list_opts() -> list[tuple[str, Iterable[cfg.Opt]]]:
    """Return the options by group."""
    return [('DEFAULT', OPTS)]
