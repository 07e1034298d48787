"""``drift``: what differs between the cells and the records at the top, now."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import rich.console
import rich.progress

from cells import exceptions, paths
from cells.cmd.manage import base, shown, tree
from cells.cmd.manage.instances import check_path
from cells.db import drift, path_aliases

COLUMNS: Final = (
    'Cell',
    'Instances',
    'Records',
    'Differ',
    'Missing',
    'Deleted',
    'Extra',
    'Foreign',
    'Moving',
    'Odd',
    'Waiting',
    'Oldest',
    'Compared',
    'Repaired',
    'Ago',
)
ONES: Final = ('Instance', 'Cell', 'Difference')
#: What the daemon calls a difference -> for people.
KINDS: Final[Mapping[str, str]] = {
    'differ': 'the record differs',
    'missing': 'there is no record',
    'gone': 'the record is deleted',
    'extra': 'the cell does not have it',
    'refused': 'the record is of another cell',
}
#: Records that do not fit that are shown one by one.
MOST: Final = 10_000


class Drift(tree.TreeCommand, base.Lister):
    """Compare all cells with the records at the top, now, and change nothing.

    For each cell: how many instances it has, and how many records there are of them. Of how
    many the record differs, is missing or deleted, of how many there is an extra record or
    one of a foreign cell. How many are moving, as they have just changed; how many records
    are odd, as the cell did not find the instance. How much waits to be told, since when. Then
    what the last round of healing came to: how many it compared and repaired, and how long ago
    it ended. Exit code 3 when anything differs or a cell did not answer. "instance sync" has it
    repaired at once.

    Below the top only what a cell knows by itself is shown.

    Example: nova-cells-manage --config-file api.conf drift --instances
    """

    may_be_local = False

    def get_parser(self, prog_name: str) -> Any:
        """Add the arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument('--cell', metavar='PATH', help='only this cell, and those below it')
        parser.add_argument(
            '--quick', action='store_true', help='compare nothing, show what is known already'
        )
        parser.add_argument(
            '--instances', action='store_true', help='list what differs, instance by instance'
        )
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        """Return columns and rows."""
        if parsed_args.quick and parsed_args.instances:
            raise exceptions.CellsError('--instances needs a comparison: leave --quick out')
        only = None if parsed_args.cell is None else check_path(parsed_args.cell)
        cells = {
            cell: value
            for cell, value in self.ask('x_drift', {})
            if only is None or (cell + '!').startswith(only + '!')
        }
        if not cells:
            raise exceptions.CellsError('No cell that answered is %s, or below it' % only)
        is_top = self.app.conf.cells.cell_type == 'api'
        if parsed_args.instances and not is_top:
            raise exceptions.CellsError(
                'Cell %s is not the top of the tree, where the records are: ask there'
                % self.app.own_name
            )
        compared: dict[str, dict[str, Any]] = {}
        if is_top and not parsed_args.quick:
            compared = self._compare(cells)
        if parsed_args.instances:
            return ONES, list(self._ones(compared, only))
        records = self._records() if is_top else {}
        return COLUMNS, [
            self._line(cell, value, records, compared.get(cell, {}))
            for cell, value in sorted(cells.items())
        ]

    def _compare(self, cells: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Compare each cell but this one, page by page."""
        below = [cell for cell in sorted(cells) if cell != self.app.own_name]
        console = rich.console.Console(file=sys.stderr)
        total = sum(cells[cell]['instances'] for cell in below)
        found: dict[str, dict[str, Any]] = {}
        with rich.progress.Progress(
            console=console, transient=True, disable=not console.is_terminal
        ) as bar:
            task = bar.add_task('Instances', total=total or None)
            for cell in below:
                try:
                    for page in self._pages(cell):
                        _add(found.setdefault(cell, {}), page)
                        bar.advance(task, page['compared'])
                except exceptions.WireError as error:
                    found.pop(cell, None)
                    self.warn('Cell %s could not be compared: %s', cell, error)
        return found

    def _pages(self, cell: str) -> Iterator[dict[str, Any]]:
        after = None
        while True:
            page = self.app.ops().differences(
                self.app.request(), cell, after, self.app.answer_seconds
            )
            yield page
            after = page['until']
            if after is None:
                return

    def _ones(
        self, compared: Mapping[str, Mapping[str, Any]], only: str | None
    ) -> Iterator[tuple[str, str | None, str]]:
        for cell, found in sorted(compared.items()):
            for kind, text in KINDS.items():
                for uuid in found[kind]:
                    self.exit_code = base.TROUBLE
                    yield uuid, cell, text
        with self.app.database().read() as connection:
            odd = drift.inconsistent(connection, MOST)
        for uuid, path, reason in odd:
            if only is None or ((path or '') + '!').startswith(only + '!'):
                self.exit_code = base.TROUBLE
                yield uuid, path, reason

    def _records(self) -> dict[str, tuple[int, int]]:
        """Return how many records there are, and how many do not fit, by the present path."""
        database = self.app.database()
        aliases = path_aliases.aliases(database)
        found: dict[str, tuple[int, int]] = {}
        with database.read() as connection:
            for text, (number, odd) in drift.records_by_cell(connection).items():
                path = str(aliases.resolve(paths.CellPath.parse(text))) if text else ''
                known = found.get(path, (0, 0))
                found[path] = known[0] + number, known[1] + odd
        return found

    def _line(
        self,
        cell: str,
        value: Mapping[str, Any],
        records: Mapping[str, tuple[int, int]],
        found: Mapping[str, Any],
    ) -> tuple[Any, ...]:
        own = cell == self.app.own_name
        number, odd = records.get(cell, (0, 0)) if records and not own else (None, None)
        differing = [None if not found else len(found[kind]) for kind in KINDS]
        if any(differing) or odd:
            self.exit_code = base.TROUBLE
        differ, missing, gone, extra, refused = differing
        last = value['last_round'] or {}
        ended = last.get('ended_at')
        return (
            cell,
            value['instances'],
            number,
            differ,
            missing,
            gone,
            extra,
            refused,
            found.get('unsettled'),
            odd,
            value['waiting']['rows'],
            shown.Age(value['waiting']['oldest_seconds']),
            last.get('looked_at'),
            last.get('repaired'),
            shown.Age(None if ended is None else value['time'] - ended),
        )


def _add(found: dict[str, Any], page: Mapping[str, Any]) -> None:
    for kind in KINDS:
        found.setdefault(kind, []).extend(page[kind])
    for name in ('compared', 'unsettled'):
        found[name] = found.get(name, 0) + page[name]
