"""``topology``, ``capacity`` and ``cell ping``: what the cells of the tree say."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Final

from cells import exceptions, sightings
from cells.cmd.manage import base, neighbours, trees, words
from cells.cmd.manage.trees import Node

_FIELDS: Final = tuple(
    field.name for field in dataclasses.fields(Node) if field.name not in ('capacities',)
)


class Topology(base.Lister):
    """Show the tree below this cell: what is up, how far behind it is, what is in it.

    Each cell says how it does; of one that does not answer, the cell above it says why. With
    --local nobody is asked: what the database of this cell knows is shown, also without a daemon.
    The exit code is 3 when a cell does not answer.

    Example: nova-cells-manage --config-file api.conf topology -f json
    """

    def get_parser(self, prog_name: str) -> Any:
        """Add the arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument('--local', action='store_true', help='ask no other cell and no daemon')
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        """Return columns and rows."""
        if parsed_args.local:
            found = trees.of_database(self.app, neighbours.rows_of(self.app))
        else:
            found = trees.ask(self.app)
            for node in found:
                if node.state != trees.UP:
                    self.warn('%s does not answer: %s', node.path, node.why or 'the cell above it')
        if parsed_args.formatter != 'table':
            rows = [
                (*(getattr(node, name) for name in _FIELDS), *_free(node).values())
                for node in found
            ]
            return (*_FIELDS, *_free(found[0])), rows
        return (
            ('Cell', 'State', 'Protocol', 'Lag', 'Hosts', 'Instances', 'Free memory', 'Free disk')
            + ('Waiting', 'Notes'),
            [
                (
                    tree,
                    node.state,
                    node.protocol,
                    words.duration(node.lag),
                    _hosts(node),
                    '-' if node.instances is None else node.instances,
                    _gib(_free(node)['free_memory_mb']),
                    _gib(_free(node)['free_disk_mb']),
                    _waiting(node),
                    _notes(node),
                )
                for tree, node in zip(drawn(found), found, strict=True)
            ],
        )


class Capacity(neighbours.Neighbour, base.Lister):
    """Show what is free in this cell and all below, or in one child and below it.

    Example: nova-cells-manage --config-file api.conf capacity region-1
    """

    def get_parser(self, prog_name: str) -> Any:
        """Add the arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument('name', nargs='?', help='a child; all if left')
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        """Return columns and rows."""
        if parsed_args.name:
            self.find(parsed_args.name)
        found = self.app.api().get_capacities(self.app.request(), cell_name=parsed_args.name)
        rows: list[tuple[Any, ...]] = []
        for what, title in (('ram_free', 'memory'), ('disk_free', 'disk')):
            part = found.get(what, {})
            rows.append((title, 'in all', part.get('total_mb', 0), None))
            units = part.get('units_by_mb', {})
            rows += [
                (title, 'slots', int(size), number)
                for size, number in sorted(units.items(), key=lambda item: int(item[0]))
            ]
        return ('Of', 'Kind', 'Size (MB)', 'Number'), rows


class Ping(neighbours.Neighbour, base.ShowOne):
    """Ask a cell who it is, over all cells on the way, and a neighbour whether it knows this cell.

    Example: nova-cells-manage --config-file api.conf cell ping api!region!leaf
    """

    def get_parser(self, prog_name: str) -> Any:
        """Add the arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument('name', nargs='?', help='a neighbour, or a path; this cell if left')
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Sequence[str], tuple[Any, ...]]:
        """Return names and values."""
        name = parsed_args.name
        ops, request = self.app.ops(), self.app.request()
        if name and '!' not in name and name != self.app.own_name:
            row = self.find(name)
            found = ops.hello(request, name)
            if not found['known'] and found['as'] is None and found['reason']:
                raise exceptions.CellsError('Cell %s did not answer: %s' % (name, found['reason']))
            if not found['known']:
                raise exceptions.CellsError(
                    'Cell %s does not know this cell, %s, as its %s: %s'
                    % (
                        name,
                        self.app.own_name,
                        'child' if row['is_parent'] else 'parent',
                        found['reason'] or 'it has it as its %s' % found['as'],
                    )
                )
        answer = ops.ping(request, name)
        shown = {
            'cell': answer['cell'],
            'id': answer['id'],
            'round_trip_ms': round(answer['seconds'] * 1000, 1),
            'protocol': answer['protocol'],
        }
        return tuple(shown), tuple(shown.values())


def _free(node: Node) -> dict[str, Any]:
    return {
        'free_memory_mb': node.capacities.get('ram_free', {}).get('total_mb'),
        'free_disk_mb': node.capacities.get('disk_free', {}).get('total_mb'),
    }


def _gib(megabytes: int | None) -> str:
    return '-' if megabytes is None else '%.0f GiB' % (megabytes / 1024)


def _hosts(node: Node) -> str:
    if node.hosts_up is None or node.hosts_down is None:
        return '-'
    return '%d of %d up' % (node.hosts_up, node.hosts_up + node.hosts_down)


def _waiting(node: Node) -> str:
    if not node.waiting:
        return '-' if node.waiting is None else '0'
    return '%d, %s' % (node.waiting, words.duration(node.oldest))


def _notes(node: Node) -> str:
    found = []
    if node.state == trees.DOWN:
        found.append('does not answer')
    if node.silent is not None and node.state != trees.UP:
        found.append('silent for %s' % words.duration(node.silent))
    if node.drained:
        found.append('takes no new instances')
    if node.parked:
        found.append('%s put aside' % words.count(node.parked, 'message'))
    if abs(node.clock_offset or 0.0) > sightings.OFFSET_ALARM:
        found.append('its clock is off by %s' % words.duration(node.clock_offset))
    return '; '.join(found)


def drawn(nodes: Sequence[Node]) -> Iterable[str]:
    """Return the names of the cells, drawn as a tree."""
    last_at: dict[int, bool] = {}
    for index, node in enumerate(nodes):
        depth = node.depth
        later = [one.depth for one in nodes[index + 1 :]]
        until = next((at for at, one in enumerate(later) if one < depth), len(later))
        last_at[depth] = depth not in later[:until]
        if not depth:
            yield node.name
            continue
        lines = ''.join('   ' if last_at[above] else '│  ' for above in range(1, depth))
        yield '%s%s %s' % (lines, '└─' if last_at[depth] else '├─', node.name)
