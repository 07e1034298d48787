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
    cfg.IntOpt(
        'shelved_offload_time',
        default=0,
        min=-1,
        max=0,
        help='When a shelved instance leaves its host: 0 for at once, -1 for when it is ordered '
        'to.',
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

#: How the agent carries out what its cell orders.
OPERATION_OPTS = [
    cfg.StrOpt(
        'virt_driver',
        default='none',
        help='What runs the virtual machines of this host: "none" runs none and reports this '
        'machine as it is; "fake" pretends to, for demonstrations and tests. The names are those '
        'of the entry points "cells.virt_drivers"; a class of your own is given by its path.',
    ),
    cfg.IntOpt(
        'operation_threads',
        default=8,
        min=1,
        max=1000,
        help='Operations that are carried out at a time. Those of one instance are carried out '
        'one after the other.',
    ),
    cfg.FloatOpt(
        'reconcile_interval',
        default=600.0,
        min=0.1,
        help='Seconds between two comparisons of what the agent runs and has accepted with what '
        'its cell knows. The first one is made at the start, and nothing is carried out before.',
    ),
]

#: The host that the driver "fake" pretends to be.
FAKE_OPTS = [
    cfg.IntOpt(
        'fake_vcpus',
        default=16,
        min=1,
        help='CPUs of each node of a fake host; cpu_allocation_ratio applies.',
    ),
    cfg.IntOpt(
        'fake_memory_mb',
        default=65536,
        min=1,
        help='Memory of each node of a fake host, in MiB. All of it is for instances, also those '
        'that are switched off.',
    ),
    cfg.IntOpt(
        'fake_local_gb',
        default=1000,
        min=0,
        help='Disk of each node of a fake host, in GiB.',
    ),
    cfg.IntOpt(
        'fake_nodes',
        default=1,
        min=1,
        max=100,
        help='Nodes of a fake host. One is named as the host, several have -1, -2 and so on behind '
        'the name.',
    ),
    cfg.StrOpt(
        'fake_subnet',
        default='',
        help='Subnet that a fake host takes addresses for its instances from, such as '
        '10.1.2.0/24. By default one of 4094 addresses in 10.0.0.0/8, chosen by the name of the '
        'host; hosts whose addresses must not be the same want one each.',
    ),
    cfg.StrOpt(
        'fake_console_url',
        default='http://127.0.0.1:6080',
        help='What the URLs of the consoles of a fake host begin with.',
    ),
    cfg.StrOpt(
        'fake_images_path',
        default='$state_path/shared',
        help='Directory for what the fake hosts of a cell share: images that were made of '
        'instances, and what an instance takes with it to another host. Let all of them have the '
        'same, or an instance that moves begins anew.',
    ),
    cfg.ListOpt(
        'fake_missing_images',
        default=[],
        help='Ids of images that a fake host does not find. Any other id that it does not know '
        'counts as an image that somebody has uploaded.',
    ),
    cfg.BoolOpt(
        'fake_host_reboot',
        default=False,
        help='Whether a fake host has rebooted whenever its agent starts: machines that were '
        'running or paused are found switched off. Otherwise they run on.',
    ),
    cfg.ListOpt(
        'fake_delays',
        default=[],
        help='How long operations of a fake host take, as operation:seconds or '
        'operation:least-most, for instance "build:0.5,snapshot:1-3". Operations are named as the '
        'cell orders them: build, start, stop, reboot, terminate, snapshot, resize_finish and so '
        'on; "*" stands for any. With "@text" at the end it is only for instances whose display '
        'name contains the text: "build:30@slow". The first that fits counts.',
    ),
    cfg.ListOpt(
        'fake_failures',
        default=[],
        help='Which operations of a fake host fail, in the middle of their work, as '
        'operation:when. When is a probability from 0 to 1, "always", or "once", which is the '
        'first time that it comes to it, also over restarts: "build:0.1,stop:once". "*" and '
        '"@text" are as in fake_delays: "rebuild:always@broken". The operation "accept" stands for '
        'the host refusing an instance, for want of room, before anything is begun. The first '
        'that fits counts.',
    ),
    cfg.StrOpt(
        'fake_seed',
        default='',
        help='With a seed, delays and failures are decided by it, the host, the operation, the '
        'display name and how often that was tried: a run with the same names goes the same way. '
        'Without one they differ each time.',
    ),
]

_GROUP = [*COMPUTE_OPTS, *OPERATION_OPTS, *FAKE_OPTS]


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register the options."""
    conf.register_opts(DEFAULT_OPTS)
    conf.register_opts(_GROUP, group='compute')


def list_opts() -> list[tuple[str, Iterable[cfg.Opt]]]:
    """Return the options by group."""
    return [('DEFAULT', DEFAULT_OPTS), ('compute', _GROUP)]
