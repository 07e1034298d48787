"""Options of the group ``monitoring``."""

from collections.abc import Iterable

from oslo_config import cfg

OPTS = [
    cfg.PortOpt(
        'port',
        default=0,
        help='Port on which the daemon tells by HTTP how it does: /healthz, /readyz and /metrics, '
        'of all its workers together. 0 for none. Each daemon on a host needs its own.',
    ),
    cfg.HostAddressOpt(
        'address',
        default='127.0.0.1',
        help='Address that it listens on. Whoever reaches it may read: there is no password, and '
        'what is told has names of cells and hosts in it, though no secret.',
    ),
    cfg.FloatOpt(
        'wedged_after',
        default=30.0,
        min=5,
        help='Seconds without a sign of life after which a worker that runs is taken to be wedged, '
        'and /healthz fails.',
    ),
    cfg.StrOpt(
        'report_dir',
        help='Directory for the reports that a process makes of itself when it is sent SIGUSR2: '
        'the Guru Meditation reports. By default they go to standard error.',
    ),
]


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register the options."""
    conf.register_opts(OPTS, group='monitoring')


def list_opts() -> list[tuple[str, Iterable[cfg.Opt]]]:
    """Return the options by group."""
    return [('monitoring', OPTS)]
