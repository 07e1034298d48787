"""``instance sync``: have the cells below compare their instances with the records, and wait."""

import datetime
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import rich.console
import rich.progress

from cells import exceptions, times
from cells.cmd.manage import base, tree
from cells.db import sync_requests

COLUMNS: Final = ('Cell', 'State', 'Looked at', 'Told again', 'Total')
#: Seconds between two questions how far they are.
PAUSE: Final = 0.5
LONGEST_WAIT: Final = 7 * 86400.0
#: What the state is of a cell that has not got the order yet.
ON_ITS_WAY: Final = 'on its way'


class Sync(tree.TreeCommand, base.Lister):
    """Have all cells below compare their instances with the records here, and tell what differs.

    It waits until all of them have, and shows how far they are. Exit code 3 when a cell did not
    answer or is not through in time; it goes on there all the same.

    Example: nova-cells-manage --config-file api.conf instance sync --project demo \\
    --updated-since 2016-03-01T12:00:00Z
    """

    may_be_local = False

    def get_parser(self, prog_name: str) -> Any:
        """Add the arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument('--project', metavar='ID', help='only instances of this project')
        parser.add_argument(
            '--updated-since', metavar='TIME', help='only what changed since, in UTC'
        )
        parser.add_argument('--deleted', action='store_true', help='deleted ones as well')
        parser.add_argument(
            '--wait',
            type=float,
            default=600.0,
            metavar='SECONDS',
            help='how long to wait for the cells, 0 not to (default %(default)g)',
        )
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        """Return columns and rows."""
        if not 0 <= parsed_args.wait <= LONGEST_WAIT:
            raise exceptions.CellsError(
                '--wait is %g, not from 0 to %g seconds' % (parsed_args.wait, LONGEST_WAIT)
            )
        since = parsed_args.updated_since
        if since is not None:
            since = times.parse('--updated-since', since).replace(tzinfo=datetime.UTC).isoformat()
        ctxt = self.app.request()
        neighbours = self.app.api().get_cell_info_for_neighbors(ctxt)
        if all(one['is_parent'] for one in neighbours):
            raise exceptions.CellsError(
                'There is no cell below %s: order it in a cell that has others below it'
                % self.app.own_name
            )
        self.app.api().sync_instances(ctxt, parsed_args.project, since, parsed_args.deleted)
        found = self._wait(ctxt, parsed_args.wait)
        self.name_missing(found['missing'])
        if not found['over'] and parsed_args.wait:
            self.warn('Not all cells are through; see "request show %s"', ctxt.request_id)
        silent = {one['cell'] for one in found['missing']}
        return COLUMNS, [
            (
                cell,
                (None if cell in silent else ON_ITS_WAY) if one is None else one['state'],
                *((one or {}).get(name) for name in ('looked_at', 'repaired', 'total')),
            )
            for cell, one in sorted(found['cells'].items())
        ]

    def _others(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the other cells said, or that they said nothing."""
        found: dict[str, Any] = {one['cell']: None for one in answer['missing']}
        found.update({one['cell']: one['value'] for one in answer['answers']})
        found.pop(self.app.own_name, None)
        return found

    def _wait(self, ctxt: Any, seconds: float) -> dict[str, Any]:
        until = time.monotonic() + seconds
        console = rich.console.Console(file=sys.stderr)
        bar = rich.progress.Progress(
            rich.progress.TextColumn('{task.description}'),
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        with bar:
            task = bar.add_task('Instances', total=None)
            while True:
                answer = self.app.ops().query(
                    ctxt,
                    'x_sync_progress',
                    {'request_id': ctxt.request_id},
                    self.app.answer_seconds,
                )
                cells = self._others(answer)
                mute = {one['cell'] for one in answer['missing'] if tree.cannot_be_asked(one)}
                known = [one for one in cells.values() if one is not None]
                over = all(
                    one is not None and one['state'] == sync_requests.DONE
                    for cell, one in cells.items()
                    if cell not in mute
                )
                total = sum(one['total'] for one in known)
                looked_at = sum(min(one['looked_at'], one['total']) for one in known)
                bar.update(task, total=total or None, completed=looked_at)
                if over or time.monotonic() >= until:
                    return {'cells': cells, 'missing': answer['missing'], 'over': over}
                time.sleep(min(PAUSE, max(0.0, until - time.monotonic())))
