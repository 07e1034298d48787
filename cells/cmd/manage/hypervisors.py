"""``hypervisor``: what the hosts of this cell and of all below it have."""

import collections
from collections.abc import Sequence
from typing import Any

from cells import paths
from cells.cmd.manage import base, services


class List(services.Query, base.Lister):
    """List the compute nodes of this cell and of all below it.

    The exit code is 3 when a cell does not answer.

    Example: nova-cells-manage --config-file api.conf hypervisor list --matching host-1
    """

    def get_parser(self, prog_name: str) -> Any:
        """Add the arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument('--matching', metavar='TEXT', help='only those with it in their name')
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        """Return columns and rows."""
        rows = [
            (
                paths.with_cell(cell, one.id),
                one.hypervisor_hostname,
                one.hypervisor_type,
                one.running_vms,
                one.vcpus_used,
                one.vcpus,
                one.memory_mb_used,
                one.memory_mb,
                one.local_gb_used,
                one.local_gb,
            )
            for cell, nodes in self.query(
                'compute_node_get_all', hypervisor_match=parsed_args.matching
            )
            for one in nodes
        ]
        columns = ('ID', 'Name', 'Type', 'VMs', 'vCPUs used', 'vCPUs', 'Memory used (MB)')
        return (*columns, 'Memory (MB)', 'Disk used (GB)', 'Disk (GB)'), rows


class Stats(services.Query, base.ShowOne):
    """Show totals over the hosts that are up and not disabled, of this cell and of all below it.

    The exit code is 3 when a cell does not answer.

    Example: nova-cells-manage --config-file api.conf hypervisor stats -f json
    """

    def take_action(self, parsed_args: Any) -> tuple[Sequence[str], Sequence[Any]]:
        """Return names and values."""
        totals: collections.Counter[str] = collections.Counter()
        for _, value in self.query('compute_node_stats'):
            totals.update(value)
        return tuple(totals), tuple(totals.values())
