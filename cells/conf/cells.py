"""Options of the group ``cells``.

Names, types and defaults of those that nova had are in ``spec/config.json``.
"""

from collections.abc import Iterable

from oslo_config import cfg

from cells import versions

CONTRACT_OPTS = [
    cfg.BoolOpt(
        'enable',
        default=False,
        help='Whether API services use cells at all. nova-cells itself starts regardless; with '
        'false, clients answer what needs no cell without asking.',
    ),
    cfg.StrOpt(
        'topic',
        default='cells',
        help='Topic on which the workers of this cell serve the RPC calls of API services.',
    ),
    cfg.StrOpt(
        'name',
        default='nova',
        help='Name of this cell. It must be the name under which the neighbours know this '
        'cell, and no two cells of a tree may share one.',
    ),
    cfg.StrOpt(
        'cell_type',
        default='compute',
        choices=[
            ('api', 'the top of the tree, where API services run'),
            ('compute', 'every other cell'),
        ],
        help='What this cell is.',
    ),
    cfg.ListOpt(
        'capabilities',
        default=[],
        help='What this cell can do, as key=value or key=value1;value2. It is told to the '
        'parents and may be asked for by filters. Nothing is claimed that is not listed here.',
    ),
    cfg.IntOpt(
        'call_timeout',
        default=60,
        min=1,
        help='Seconds within which a question to other cells is answered, whatever their depth. '
        'Each cell on the way answers a little earlier, with what it has by then.',
    ),
    cfg.StrOpt(
        'driver',
        default='rpc',
        help='How messages get to the neighbours: a name from the entry points cells.drivers, '
        'or the path of a class.',
    ),
    cfg.StrOpt(
        'cells_config',
        help='JSON file with the neighbours, an object of name -> {"transport_url": ..., '
        '"is_parent": false, "weight_offset": 0, "weight_scale": 1}, instead of the table "cells". '
        'It is read again when it changes; while it is wrong, the last good tree stays.',
    ),
    cfg.IntOpt(
        'mute_child_interval',
        default=300,
        min=1,
        help='Seconds without any message after which a plain nova-cells counts as mute. A '
        'neighbour of our own kind is pinged, and is mute after 17 seconds or this, whatever is '
        'less. The answer of a mute cell is waited for no longer than 2 seconds, and its '
        'capacity counts for nothing.',
    ),
    cfg.IntOpt(
        'max_hop_count',
        default=10,
        min=1,
        help='How many cells a message from here may pass.',
    ),
    cfg.IntOpt(
        'db_check_interval',
        default=60,
        help='Seconds between two looks at the table of neighbours, at least 1.',
    ),
    cfg.FloatOpt(
        'reserve_percent',
        default=10.0,
        min=0,
        max=100,
        help='Percentage of the whole memory and of the whole disk of each host that is kept '
        'back when counting how many instances fit on it.',
    ),
    cfg.StrOpt(
        'rpc_driver_queue_base',
        default='cells.intercell',
        help='Prefix of the topics on which cells talk to each other.',
    ),
]

OWN_OPTS = [
    cfg.StrOpt(
        'object_release',
        default='liberty',
        choices=list(versions.OBJECT_VERSIONS),
        help='Release at whose versions objects travel between cells: the same for a whole tree, '
        'and no newer than its oldest nova-cells. All releases accept those of liberty.',
    ),
    cfg.BoolOpt(
        'standalone',
        default=False,
        help='Let a compute cell run without a parent; --standalone of nova-cells does the same. '
        'What happens in it is not known above.',
    ),
    cfg.BoolOpt(
        'allow_multiple_parents',
        default=False,
        help='Let this cell have several parents. A change is still carried out once; a listing '
        'from above may show this cell once for each way to it when it has several workers.',
    ),
    cfg.StrOpt(
        'queue_type',
        default='quorum',
        choices=[
            ('quorum', 'intake queues keep their messages over a restart of the broker'),
            ('classic', 'as every nova-cells declares them: what waits is lost with the broker'),
        ],
        help='Type of the queues that take messages in. Changing it needs the old queues deleted.',
    ),
    cfg.IntOpt(
        'intake_prefetch',
        default=64,
        min=1,
        max=1000,
        help='How many messages a worker takes from a queue before the first of them is in the '
        'journal. It bounds what a worker holds in memory.',
    ),
    cfg.IntOpt(
        'send_queue_length',
        default=1000,
        min=1,
        help='How many messages may wait for one neighbour in a worker. When they are more, '
        'questions are refused at once; changes wait in the database.',
    ),
    cfg.IntOpt(
        'rpc_threads',
        default=256,
        min=4,
        help='How many RPC calls of API services a worker serves at the same time. No more than '
        'a quarter of them may wait for the same neighbour; further ones fail at once.',
    ),
    cfg.IntOpt(
        'handler_threads',
        default=16,
        min=1,
        help='How many questions of other cells a worker answers at the same time.',
    ),
    cfg.IntOpt(
        'max_message_bytes',
        default=8 * 1024 * 1024,
        min=1024,
        help='Largest message that is read or sent.',
    ),
    cfg.FloatOpt(
        'receipt_timeout',
        default=15.0,
        min=0.1,
        help='Seconds after which a change is sent again to a cell that has not confirmed it.',
    ),
    cfg.IntOpt(
        'workers',
        default=1,
        min=1,
        help='Number of worker processes; --workers of nova-cells comes before it.',
    ),
    cfg.BoolOpt(
        'partial_results',
        default=True,
        help='What a listing of the RPC contract does when a cell does not answer, as its '
        'return value has no place to say so: leave that cell out and log a warning (true), '
        'or raise an error (false). OpsAPI names the missing cells in both cases.',
    ),
]

OPTS = CONTRACT_OPTS + OWN_OPTS


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register the options."""
    conf.register_opts(OPTS, group='cells')


def list_opts() -> list[tuple[str, Iterable[cfg.Opt]]]:
    """Return the options by group."""
    return [('cells', OPTS)]
