"""``instance locate`` and ``instance explain``: where an instance is, and why there."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from cells import exceptions, paths
from cells.cmd.manage import base, shown, tree
from cells.cmd.manage.instances import LONGEST_UUID
from cells.db import path_aliases, placements

PLACES: Final = ('Cell', 'What', 'Host', 'State', 'Task', 'Deleted', 'Updated')
ATTEMPTS: Final = ('Chosen in', 'Attempt', 'Cell', 'Verdict', 'Weight', 'Weighers', 'Reason')

#: State of an attempt -> what people call it.
VERDICTS: Final[Mapping[str, str]] = {
    placements.WAITING: 'waits for room',
    placements.PLACED: 'building',
    placements.TOLD: 'building',
    placements.PASSED: 'building',
    placements.BUILT: 'built',
    placements.DONE: 'built',
    placements.REFUSED: 'refused',
    placements.ERRORED: 'refused',
    placements.HOPELESS: 'refused',
    placements.FAILED: 'refused',
    placements.CANCEL: 'cancelled',
    placements.CANCELLED: 'cancelled',
}


class Locate(tree.TreeCommand, base.Lister):
    """Ask all cells for an instance, and say what does not fit.

    A cell above has a record of it; one cell should have the instance itself. Exit code 3 when
    that is not so, or a cell did not answer.

    Example: nova-cells-manage --config-file api.conf instance locate \\
    6b1d7f4e-6e8d-4c35-9a55-0e7f8b1d2c3a
    """

    def get_parser(self, prog_name: str) -> Any:
        """Add the argument."""
        parser = super().get_parser(prog_name)
        parser.add_argument('uuid')
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        """Return columns and rows."""
        uuid = tree.check_id('instance', parsed_args.uuid, LONGEST_UUID)
        answers = self.ask('x_instance_places', {'instance_uuid': uuid}, local=parsed_args.local)
        found = {cell: place for cell, place in answers if place is not None}
        if not found:
            raise exceptions.CellsError('No cell that answered knows instance %s' % uuid)
        if not parsed_args.local:
            self._judge(uuid, found)
        rows = []
        for cell, place in sorted(found.items(), key=lambda pair: (pair[0].count('!'), pair[0])):
            record = place['cell_name']
            rows.append(
                (
                    cell,
                    'record, of %s' % record if record else 'instance',
                    place['host'],
                    place['vm_state'],
                    place['task_state'],
                    place['deleted'],
                    place['updated_at'],
                )
            )
        return PLACES, rows

    def _judge(self, uuid: str, found: Mapping[str, Mapping[str, Any]]) -> None:
        aliases = path_aliases.aliases(self.app.database())
        having = sorted(
            cell for cell, one in found.items() if not one['cell_name'] and not one['deleted']
        )
        below = [cell for cell in having if cell != self.app.own_name]
        if len(below) > 1:
            self.warn('It is in several cells: %s', ', '.join(below))
        for cell, one in sorted(found.items()):
            if one['inconsistent']:
                self.warn('The record in %s does not fit: %s', cell, one['inconsistent'])
            if one['cell_name'] and not one['deleted']:
                present = str(aliases.resolve(paths.CellPath.parse(one['cell_name'])))
                if present in found and present not in having:
                    self.warn('By the record in %s it is in %s, which deleted it', cell, present)
                elif present not in found and self.exit_code == 0:
                    self.warn(
                        'By the record in %s it is in %s, which does not know it', cell, present
                    )


class Explain(tree.TreeCommand, base.Lister):
    """Show why an instance was built where it is, or nowhere: each attempt, in each cell.

    For each attempt there is the cell that was chosen and what came of it, then the best of the
    others with their weights and what each weigher gave, and the cells that a filter refused.
    Attempts are kept for a day after they have ended.

    Example: nova-cells-manage --config-file api.conf instance explain \\
    6b1d7f4e-6e8d-4c35-9a55-0e7f8b1d2c3a
    """

    def get_parser(self, prog_name: str) -> Any:
        """Add the argument."""
        parser = super().get_parser(prog_name)
        parser.add_argument('uuid')
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        """Return columns and rows."""
        uuid = tree.check_id('instance', parsed_args.uuid, LONGEST_UUID)
        answers = self.ask('x_placements', {'instance_uuid': uuid}, local=parsed_args.local)
        tried = [(cell, row) for cell, found in answers for row in found]
        if not tried:
            raise exceptions.CellsError(
                'No cell that answered has tried to build instance %s within the last day' % uuid
            )
        tried.sort(key=lambda one: (one[1]['created_at'], one[0].count('!')))
        return ATTEMPTS, [line for cell, row in tried for line in _lines(cell, row)]


def _lines(cell: str, row: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    choice = row['choice'] or {'weighed': [], 'refused': {}, 'numbers': [0, 0]}
    weighed = {one['cell']: one for one in choice['weighed']}
    chosen = weighed.pop(row['cell'], None)
    reasons = '; '.join(
        '%s: %s' % (path, reason) if path else reason
        for path, reason in sorted(row['reasons'].items())
    )
    at = (cell, row['attempt'])
    verdict = VERDICTS.get(row['state'], row['state'])
    if not row['cell'] and row['state'] in placements.OVER:
        verdict = 'no cell is left'
    weight = (None, None) if chosen is None else (chosen['weight'], chosen['parts'])
    yield (*at, row['cell'] or None, verdict, *_weights(*weight), reasons or None)
    for name, one in weighed.items():
        yield (*at, name, 'not chosen', *_weights(one['weight'], one['parts']), None)
    refused = {name: why for name, why in choice['refused'].items() if name != row['cell']}
    for name, (by, reason) in refused.items():
        text = '%s: %s' % (by, reason) if by else reason
        yield (*at, name, 'out of the question', *_weights(None, None), text)
    left = sum(choice['numbers']) - len(choice['weighed']) - len(choice['refused'])
    if left > 0:
        yield (*at, '(%d more)' % left, 'not chosen', *_weights(None, None), None)


def _weights(weight: float | None, parts: Mapping[str, Any] | None) -> tuple[Any, Any]:
    return None if weight is None else round(weight, 3), shown.Numbers(parts)
