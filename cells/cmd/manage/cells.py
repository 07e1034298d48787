"""``cell``: the neighbours of this cell, as they are written down in its database."""

from collections.abc import Sequence
from typing import Any

from cells import cell, exceptions, neighbour_sources
from cells.cmd.manage import base
from cells.db import neighbours


class Create(base.Command):
    """Make a neighbour known to this cell. The other side needs the same the other way round.

    Example: nova-cells-manage --config-file api.conf cell create region-1 child \\
    rabbit://user:password@broker-1:5672/region-1
    """

    def get_parser(self, prog_name: str) -> Any:
        """Add the arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument('name', help='its [cells] name')
        parser.add_argument('side', choices=('parent', 'child'), help='what it is to this cell')
        parser.add_argument('transport_url', help='its message bus, as its own transport_url')
        parser.add_argument('--weight-offset', type=float, default=0.0)
        parser.add_argument('--weight-scale', type=float, default=1.0)
        return parser

    def take_action(self, parsed_args: Any) -> None:
        """Do it."""
        database = self.app.database()
        options = self.app.conf.cells
        if not cell.source(self.app.conf, database).editable:
            raise exceptions.CellsUpdateUnsupported
        parents = [row['name'] for row in neighbours.cell_get_all(database) if row['is_parent']]
        values = neighbour_sources.new_values(
            {
                'name': parsed_args.name,
                'transport_url': parsed_args.transport_url,
                'is_parent': parsed_args.side == 'parent',
                'weight_offset': parsed_args.weight_offset,
                'weight_scale': parsed_args.weight_scale,
            },
            own_name=options.name,
            is_top=options.cell_type == 'api',
            parents=parents,
            many_parents=options.allow_multiple_parents,
        )
        neighbours.cell_create(database, values, options.name)


class List(base.Lister):
    """List the neighbours of this cell, without passwords.

    Example: nova-cells-manage --config-file cells.conf cell list -f json
    """

    def take_action(self, parsed_args: Any) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        """Return columns and rows."""
        rows = []
        for row in cell.source(self.app.conf, self.app.database()).read():
            broker = _brokers(row['transport_url'])
            side = 'parent' if row['is_parent'] else 'child'
            rows.append((row['name'], side, broker, row['weight_offset'], row['weight_scale']))
        return ('Name', 'Side', 'Broker', 'Weight offset', 'Weight scale'), rows


def _brokers(transport_url: str) -> str:
    try:
        hosts = neighbour_sources.hosts(transport_url)
    except ValueError as error:
        return str(error)
    return ', '.join('%s:%s' % (host.hostname, host.port or 5672) for host in hosts)
