"""``db``: the cell's database: its schema, whether it can be used, what may go from it."""

import argparse
import collections
import datetime
import time
from collections.abc import Sequence
from typing import Any, Final

from oslo_utils import timeutils

from cells import exceptions
from cells.cmd.manage import base
from cells.db import engine, migration, models, neighbours, purging

#: A clock that is off by more is worth a word.
CLOCK_SECONDS: Final = 1.0


class Sync(base.Command):
    """Bring the schema of the database to the newest revision.

    Example: nova-cells-manage --config-file cells.conf db sync
    """

    def take_action(self, parsed_args: Any) -> None:
        """Do it."""
        database = self.app.database()
        migration.sync(database)
        self.say('The schema is at revision %s.', migration.version(database))


class Version(base.Command):
    """Show the revision of the schema.

    Example: nova-cells-manage --config-file cells.conf db version
    """

    def take_action(self, parsed_args: Any) -> None:
        """Do it."""
        found = migration.version(self.app.database())
        self.say('%s (this version needs %s)', found or 'none', migration.head())


class Check(base.Lister):
    """Check that the database can be used: connection, schema, tables, clock.

    The exit code is 1 when it cannot.

    Example: nova-cells-manage --config-file cells.conf db check
    """

    def take_action(self, parsed_args: Any) -> tuple[Sequence[str], list[tuple[str, str, str]]]:
        """Return columns and rows."""
        database = self.app.database()
        rows = [('connection', 'ok', database.dialect)]
        try:
            migration.check(database)
            rows.append(('schema', 'ok', 'revision %s' % migration.version(database)))
        except exceptions.SchemaError as error:
            rows.append(('schema', 'wrong', str(error)))
        else:
            missing = _missing(database)
            rows.append(('tables', 'wrong' if missing else 'ok', _without(missing)))
            if not missing:
                rows.append(('cell id', 'ok', neighbours.cell_id(database)))
        offset = _clock_offset(database)
        rows.append(
            (
                'clock',
                'ok' if abs(offset) <= CLOCK_SECONDS else 'wrong',
                '%+.1f s against this machine' % offset,
            )
        )
        if any(row[1] != 'ok' for row in rows):
            self.exit_code = base.FAILED
        return ('Check', 'Result', 'Details'), rows


class Purge(base.Lister):
    """Delete what has been over for some time: deleted instances, ended rows.

    Deleted instances go with all that is theirs, once the cells above know of them; beside them
    attempts to build and operations of hosts that have ended, messages that were put aside, orders
    to sync that are done, and rows of deleted services, nodes, flavors, key pairs and neighbours.
    Daemons may run meanwhile.

    Example: nova-cells-manage --config-file cells.conf db purge --days 90 --dry-run
    """

    def get_parser(self, prog_name: str) -> Any:
        """Add the arguments."""
        parser = super().get_parser(prog_name)
        since = parser.add_mutually_exclusive_group(required=True)
        since.add_argument('--days', type=_days, help='what ended so many days ago, at least')
        since.add_argument('--before', type=_moment, help='what ended before, in UTC: 2026-05-31')
        parser.add_argument(
            '--batch-size',
            type=_batch,
            default=500,
            help='rows, or instances, that are deleted at a time (default %(default)s)',
        )
        parser.add_argument('--dry-run', action='store_true', help='only count')
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Sequence[str], list[tuple[str, int]]]:
        """Return columns and rows."""
        now = models.utcnow()
        before = parsed_args.before or now - datetime.timedelta(days=parsed_args.days)
        if before > now:
            raise exceptions.Invalid('--before %s is in the future' % before.isoformat(' '))
        database = self.app.database()
        if parsed_args.dry_run:
            return ('Table', 'Rows to delete'), sorted(purging.counts(database, before).items())
        found: collections.Counter[str] = collections.Counter()
        for part in purging.purge(database, before, parsed_args.batch_size):
            found.update(part)
        return ('Table', 'Rows deleted'), sorted(found.items())


def _missing(database: engine.Database) -> list[str]:
    """Return tables and columns that should be there."""
    with database.read() as connection:
        return migration.missing(connection)


def _without(missing: Sequence[str]) -> str:
    return 'missing: %s' % ', '.join(missing) if missing else 'all there'


def _clock_offset(database: engine.Database) -> float:
    """Return by how many seconds the clock of the database is ahead."""
    begun = time.time()
    with database.read() as connection:
        theirs = engine.time_of(connection)
    return theirs - (begun + time.time()) / 2


def _days(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 36500:
        raise argparse.ArgumentTypeError('%r is not a number of days' % text)
    return value


def _batch(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 10000:
        raise argparse.ArgumentTypeError('%r is not a number from 1 to 10000' % text)
    return int(text)


def _moment(text: str) -> datetime.datetime:
    try:
        found = timeutils.parse_isotime(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            '%r is not a time such as 2026-05-31 or 2026-05-31T12:00:00Z' % text
        ) from None
    return timeutils.normalize_time(found)
