"""Options about hosts: of the group ``DEFAULT``, as in nova, and of the agent, ``compute``."""

from collections.abc import Iterable

from oslo_config import cfg

DEFAULT_OPTS = [
    cfg.StrOpt(
        'compute_topic',
        default='compute',
        help='Topic on which the agents of this cell, nova-cells-compute, serve. It must be the '
        'same for nova-cells and all its agents.',
    ),
    cfg.FloatOpt(
        'report_interval',
        default=10.0,
        min=0.1,
        help='Seconds between two reports of an agent that it lives. What changes noticeably is '
        'reported at once.',
    ),
    cfg.FloatOpt(
        'service_down_time',
        default=60.0,
        min=0.2,
        help='Seconds without a report after which a host is down and counts for nothing. It '
        'should be several times report_interval.',
    ),
]

COMPUTE_OPTS = [
    cfg.StrOpt(
        'instances_path',
        default='$state_path/instances',
        help='Directory for the disks of instances; what is measured is the file system that it '
        'is on, or is going to be on.',
    ),
    cfg.IntOpt(
        'reserved_memory_mb',
        default=512,
        min=0,
        help='Memory that is kept for the host itself, in MiB.',
    ),
    cfg.IntOpt(
        'reserved_disk_gb',
        default=0,
        min=0,
        help='Disk that is kept for the host itself, in GiB.',
    ),
    cfg.FloatOpt(
        'cpu_allocation_ratio',
        default=16.0,
        min=0.1,
        help='Virtual CPUs of instances for each CPU of the host.',
    ),
    cfg.FloatOpt(
        'check_interval',
        default=1.0,
        min=0.1,
        help='Seconds between two looks at the resources of the host.',
    ),
    cfg.DictOpt(
        'power_commands',
        default={},
        help='Commands by which the host is told to "startup", "shutdown" or "reboot", as '
        'action:command with its arguments. What has no command here is refused. They run as '
        'the account of nova-cells-compute.',
    ),
]


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register the options."""
    conf.register_opts(DEFAULT_OPTS)
    conf.register_opts(COMPUTE_OPTS, group='compute')


def list_opts() -> list[tuple[str, Iterable[cfg.Opt]]]:
    """Return the options by group."""
    return [('DEFAULT', DEFAULT_OPTS), ('compute', COMPUTE_OPTS)]
