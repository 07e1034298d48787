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
    cfg.ListOpt(
        'scheduler_filter_classes',
        default=['nova.cells.filters.all_filters'],
        help='Filters that say which cells may take a new instance, asked in this order: names '
        'from the entry points cells.filters, which are target_cell, image_properties, '
        'different_cell and capacity, the paths that nova has for them, or the path of a class. '
        'The default stands for all four.',
    ),
    cfg.ListOpt(
        'scheduler_weight_classes',
        default=['nova.cells.weights.all_weighers'],
        help='Weighers that say which of these cells come first: names from the entry points '
        'cells.weights, which are mute_child, ram_by_instance_type and weight_offset, the paths '
        'that nova has for them, or the path of a class. The default stands for all three.',
    ),
    cfg.IntOpt(
        'scheduler_retries',
        default=10,
        help='How often a build waits for scheduler_retry_delay when cells have room, but as many '
        'builds on their way as there is room for. After that it is sent to one of them all the '
        'same. When no cell has room, nothing is waited for. Below 0 counts as 0.',
    ),
    cfg.IntOpt(
        'scheduler_retry_delay',
        default=2,
        help='Seconds of each such wait, at least 1.',
    ),
    cfg.FloatOpt(
        'ram_weight_multiplier',
        default=10.0,
        help='What memory counts when cells are weighed: the cell that has memory for the most '
        'instances of the size gets so much, the one with the least 0, others in between. A '
        'negative value fills one cell before the next.',
    ),
    cfg.FloatOpt(
        'mute_weight_multiplier',
        default=-10000.0,
        help='What it counts when cells are weighed that one is mute.',
    ),
    cfg.FloatOpt(
        'offset_weight_multiplier',
        default=1.0,
        help='What weight_offset of a child counts when cells are weighed. The weight of a cell is '
        'weight_scale times the sum of the other weighers, plus this times weight_offset: with '
        'an offset of 999999999999999 a child comes first as long as it lives and has room, '
        'with a negative one of that size last. To leave a cell out see "enabled".',
    ),
    cfg.IntOpt(
        'instance_update_num_instances',
        default=60,
        min=0,
        help='How many instances a parent that is a plain nova-cells is told of in a minute by '
        'each worker, whether they have changed or not, so that what it knows of them wrongly is '
        'repaired. Parents of our own kind are told what differs, see heal_page_interval.',
    ),
    cfg.IntOpt(
        'instance_updated_at_threshold',
        default=0,
        help='A plain nova-cells is told in this way only of instances that have changed within so '
        'many seconds; 0 for all.',
    ),
    cfg.IntOpt(
        'instance_update_sync_database_limit',
        default=200,
        min=1,
        max=500,
        help='How many instances are read, and compared with what the cells above know, at a time.',
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
        'envelope_extensions',
        default=True,
        help='Whether this cell adds to its messages what only cells of this kind know: deadlines, '
        'confirmations, states of many instances at a time. With false, what it sends is what a '
        'nova-cells sends, it leaves unread what its neighbours add, and they and it treat each '
        'other as nova-cells. A nova-cells needs no such setting, as it leaves out what it does '
        'not know.',
    ),
    cfg.BoolOpt(
        'enabled',
        default=True,
        mutable=True,
        help='Whether new instances may be built in this cell and in those below it. With no, '
        'the cells above are told to choose others, and what is there goes on as before. SIGHUP '
        'has it read again.',
    ),
    cfg.FloatOpt(
        'build_timeout',
        default=3600.0,
        min=1,
        help='Seconds after which a build that a child was given, and never said anything about, '
        'is taken from it and given to the next one.',
    ),
    cfg.FloatOpt(
        'build_host_timeout',
        default=120.0,
        min=1,
        help='Seconds after which a build in this cell is given to another host when its host does '
        'not take it, or is down. On a host that is up it may take as long as it needs.',
    ),
    cfg.IntOpt(
        'build_hosts',
        default=3,
        min=1,
        help='How many hosts of this cell are tried for an instance, before the cells above are '
        'told that it cannot be built here.',
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
    cfg.FloatOpt(
        'heal_page_interval',
        default=1.0,
        min=0.01,
        help='Seconds between two groups of instances that a worker compares with what the cells '
        'above know of them: in the rounds of the healing, and for an order to sync.',
    ),
    cfg.FloatOpt(
        'heal_round_interval',
        default=600.0,
        min=1,
        help='Seconds between the beginnings of two rounds of the healing, at least.',
    ),
    cfg.FloatOpt(
        'action_timeout',
        default=600.0,
        min=1,
        help='Seconds within which a cell carries out what it was ordered to do with an instance. '
        'An order that waits longer, as its cell cannot be reached or has too much to do, is not '
        'carried out any more but reported as failed, to the user as a fault of the instance. '
        'Deletions have no such bound.',
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
