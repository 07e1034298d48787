"""``journal``: changes on their way in and out of this cell, from its database."""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import sqlalchemy as sa

from cells import exceptions, journal_entries, offline
from cells.cmd.manage import base, neighbours, shown
from cells.db import journal_rows
from cells.journal_entries import Entry

BOXES: Final = tuple(journal_rows.OPEN)
COLUMNS: Final = (
    'ID',
    'Operation',
    'Neighbour',
    'State',
    'Age',
    'Attempts',
    'Instances',
    'Request',
    'Reason',
)
LONGEST_REASON: Final = 120
MOST: Final = 100_000

Work = Callable[[sa.Connection, Entry], None]


class List(base.Lister):
    """List changes that wait in this cell, came to nothing, or were put aside.

    "inbox" is what came in and is not done, or has failed; "outbox" what a neighbour has not
    confirmed; "dead" what was delivered again and again and never came to an end. It works
    with the daemon and the message bus away.

    Example: nova-cells-manage --config-file api.conf journal list --box outbox --neighbour region-1
    """

    def get_parser(self, prog_name: str) -> Any:
        """Add the filters."""
        parser = super().get_parser(prog_name)
        parser.add_argument('--box', choices=BOXES, help='this one only')
        parser.add_argument(
            '--state',
            choices=journal_rows.STATES,
            help='in this state; without it what is done is left out',
        )
        parser.add_argument('--neighbour', metavar='NAME', help='from or for this cell')
        parser.add_argument('--instance', metavar='UUID', help='about this instance')
        parser.add_argument(
            '--limit', type=int, default=100, help='rows of each box (default %(default)s)'
        )
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        """Return columns and rows."""
        if not 0 < parsed_args.limit <= MOST:
            raise exceptions.CellsError(
                '--limit is %d, not from 1 to %d' % (parsed_args.limit, MOST)
            )
        rows = []
        for box in [parsed_args.box] if parsed_args.box else BOXES:
            for number, entry in enumerate(self._entries(box, parsed_args)):
                if number == parsed_args.limit:
                    self.app.stderr.write('There are more in %s: see them with --limit\n' % box)
                    break
                rows.append(_line(entry))
        if parsed_args.neighbour is not None and not rows:
            try:
                neighbours.find(self.app, parsed_args.neighbour)
            except exceptions.CellNotFound as error:  # or it was one: none of its changes is left
                self.app.stderr.write('%s\n' % error)
        return COLUMNS, rows

    def _entries(self, box: str, parsed_args: Any) -> Iterator[Entry]:
        states = journal_rows.OPEN[box]
        if parsed_args.state:
            states = tuple(
                state
                for state in (*journal_rows.OPEN[box], *journal_rows.OVER[box])
                if state == parsed_args.state
            )
        if not states:
            return
        neighbour, instance = parsed_args.neighbour, parsed_args.instance
        for row in journal_rows.rows(self.app.database(), box, states, neighbour, instance):
            entry = journal_entries.entry_of(row, self.app.own_name)
            if neighbour is not None and entry.neighbour != neighbour:
                continue
            if instance is not None and instance not in entry.instances:
                continue
            yield entry


def _line(entry: Entry) -> tuple[Any, ...]:
    row, reason = entry.row, entry.row.reason
    return (
        entry.name,
        entry.what,
        entry.neighbour,
        row.state,
        shown.Age(row.age),
        row.attempts,
        ', '.join(entry.instances),
        entry.request_id,
        reason
        if reason is None or len(reason) <= LONGEST_REASON
        else reason[:LONGEST_REASON] + '…',
    )


class Show(base.ShowOne):
    """Show all that is known of a change, but for the values that it was ordered with.

    Example: nova-cells-manage --config-file api.conf journal show inbox:17
    """

    def get_parser(self, prog_name: str) -> Any:
        """Add the argument."""
        parser = super().get_parser(prog_name)
        parser.add_argument('id', help='as "journal list" shows it: inbox:17, outbox:3, dead:1')
        return parser

    def take_action(self, parsed_args: Any) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        """Return names and values."""
        with self.app.database().read() as connection:
            entry = _find(connection, parsed_args.id, self.app.own_name)
        found = entry.details()
        found['age'] = shown.Age(found['age'])
        return tuple(found), tuple(found.values())


class _Change(base.Command):
    """A command that does something with changes, each in a transaction of its own."""

    def get_parser(self, prog_name: str) -> Any:
        """Add the arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'id', nargs='+', help='as "journal list" shows it: inbox:17, outbox:3, dead:1'
        )
        return parser

    def _each(self, cell: offline.OfflineCell, ids: Sequence[str], work: Work, done: str) -> None:
        """Do it; what cannot be done is named at the end, and keeps no other from it."""
        refused = []
        for one in ids:
            try:
                with cell.database.write() as connection:
                    work(connection, _find(connection, one, self.app.own_name, lock=True))
            except journal_entries.Refused as error:
                refused.append(str(error))
            else:
                self.say('%s: %s', one, done)
        if refused:
            raise exceptions.CellsError('; '.join(refused))


class Retry(_Change):
    """Have changes carried out, or sent, at once.

    A change that has failed is taken up as if it had just come; one that waits for a neighbour
    is sent now; one that was put aside is read again. It is the daemon that does it, as soon as
    it runs.

    Example: nova-cells-manage --config-file api.conf journal retry outbox:3 outbox:4
    """

    def take_action(self, parsed_args: Any) -> None:
        """Do it."""
        cell = offline.OfflineCell(self.app.conf)
        seconds = self.app.conf.cells.action_timeout
        try:
            cell.load()

            def work(connection: sa.Connection, entry: Entry) -> None:
                plain = entry.neighbour is not None and cell.state.sightings.is_plain(
                    entry.neighbour
                )
                journal_entries.retry(connection, entry, seconds, plain)

            self._each(cell, parsed_args.id, work, 'it is tried again')
        finally:
            cell.close()


class Drop(_Change):
    """Have changes not carried out, or not sent, any more.

    What is lost is said first, and asked for, unless --yes is given. An order for an instance
    is reported as failed, to its user as a fault and a failed action.

    Example: nova-cells-manage --config-file api.conf journal drop --yes dead:1
    """

    def get_parser(self, prog_name: str) -> Any:
        """Add the arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument('--yes', action='store_true', help='do not ask')
        return parser

    def take_action(self, parsed_args: Any) -> None:
        """Do it."""
        cell = offline.OfflineCell(self.app.conf)
        try:
            cell.load()
            with cell.database.read() as connection:
                entries = [_find(connection, one, self.app.own_name) for one in parsed_args.id]
            for entry in entries:
                journal_entries.check_drop(entry)
            for entry in entries:
                self.say('%s is lost: %s', entry.name, journal_entries.loss(entry))
            if not parsed_args.yes:
                self._ask(len(entries))

            def work(connection: sa.Connection, entry: Entry) -> None:
                journal_entries.drop(connection, entry, cell.failure_reports)

            self._each(cell, [entry.name for entry in entries], work, 'dropped')
        finally:
            cell.close()

    def _ask(self, number: int) -> None:
        if not sys.stdin.isatty():
            raise exceptions.CellsError('Nothing is dropped: give --yes if that is to be so')
        self.app.stdout.write('Drop %s? [y/N] ' % ('it' if number == 1 else 'all %d' % number))
        self.app.stdout.flush()
        if sys.stdin.readline().strip().lower() not in ('y', 'yes'):
            raise exceptions.CellsError('Nothing is dropped')


def _find(connection: sa.Connection, name: str, own_name: str, lock: bool = False) -> Entry:
    box, _, number = name.partition(':')
    if box not in BOXES or not number.isascii() or not number.isdigit() or len(number) > 18:
        raise exceptions.CellsError(
            '%.60r is no id of the journal: these are %s and a number, as in inbox:17'
            % (name, ', '.join(BOXES))
        )
    row = journal_rows.row_get(connection, box, int(number), lock=lock)
    if row is None:
        raise exceptions.CellsError(
            '%s is not in the journal (any more): see "journal list"' % name
        )
    return journal_entries.entry_of(row, own_name)
