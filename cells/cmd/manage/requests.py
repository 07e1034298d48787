"""``request``: what a request came to, in all cells."""

from collections.abc import Sequence
from typing import Any

from cells import exceptions
from cells.cmd.manage import base, shown, tree

COLUMNS = ('Time', 'Cell', 'Kind', 'Instance', 'What', 'State', 'Detail')


class Show(tree.TreeCommand, base.Lister):
    """Show what a request came to: actions and their steps, journals, builds, faults, in order.

    All cells are asked; times are by the clock of the cell that they are of. Of what is in the
    journal no argument is shown.

    Example: nova-cells-manage --config-file api.conf request show \\
    req-3f0e4a52-6f6b-4f0e-9c1d-0a8d3c6f5a11
    """

    def get_parser(self, prog_name: str) -> Any:
        """Add the arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument('request_id', help='its id, req-...')
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        """Return columns and rows."""
        wanted = tree.check_id('request', parsed_args.request_id)
        found = self.ask('x_request', {'request_id': wanted}, local=parsed_args.local)
        traces = [(cell, one) for cell, answer in found for one in answer]
        if not traces:
            raise exceptions.CellsError(
                'No cell that answered knows request %s: what is done is kept in journals for a '
                'day; the actions of an instance are in "instance show"' % wanted
            )
        first_hand = {one['key'] for _, one in traces if one['key'] and not one['is_copy']}
        seen: set[str] = set()
        rows = []
        for cell, one in sorted(traces, key=lambda pair: (pair[1]['at'], pair[0])):
            key = one['key']
            if key and (key in seen or (one['is_copy'] and key in first_hand)):
                continue  # told by the cell below, which says it itself
            seen.add(key)
            rows.append(
                (
                    shown.Moment(one['at']),
                    cell,
                    one['kind'],
                    one['instance'],
                    one['what'],
                    one['state'],
                    one['detail'],
                )
            )
        return COLUMNS, rows
