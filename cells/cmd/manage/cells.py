"""``cell``: the neighbours of this cell, as they are written down in its database."""

import json
import time
from collections.abc import Sequence
from typing import Any

from cells import exceptions
from cells.cmd.manage import base, neighbours, urls, words
from cells.db import cell_instances, drains, path_aliases
from cells.db import journal as db_journal
from cells.db import neighbours as db_neighbours
from cells.paths import CellPath

#: Seconds between two looks whether a new neighbour answers.
LOOK_SECONDS = 0.5


def _add_weights(parser: Any) -> None:
    parser.add_argument('--weight-offset', type=float, help='is added to the weight of the cell')
    parser.add_argument('--weight-scale', type=float, help='what memory counts there; 1 is usual')


class Create(neighbours.Neighbour):
    """Make a neighbour known to this cell. The other side needs the same the other way round.

    Its message bus is connected to before anything is written. With --handshake the daemon of
    this cell asks the new neighbour whether it knows this cell, until it does or --timeout ends.

    Example: nova-cells-manage --config-file api.conf cell create region-1 child \\
      --broker broker-1:5672 --username cells --password-file secret --virtual-host region-1
    """

    def get_parser(self, prog_name: str) -> Any:
        """Add the arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument('name', help='its [cells] name')
        parser.add_argument('side', choices=('parent', 'child'), help='what it is to this cell')
        parser.add_argument('transport_url', nargs='?', help='its own transport_url, as a whole')
        _add_weights(parser)
        parser.add_argument(
            '--no-verify', action='store_true', help='do not connect to its message bus'
        )
        parser.add_argument(
            '--handshake', action='store_true', help='ask it whether it knows this cell'
        )
        urls.add_arguments(parser)
        return parser

    def take_action(self, parsed_args: Any) -> None:
        """Do it."""
        self.check_editable()
        url = urls.given(parsed_args)
        if url is None:
            raise exceptions.Invalid(
                'The message bus of the cell is missing: give its transport_url, --url-file, '
                '--url-env, or --broker with --username, --password-file and --virtual-host'
            )
        values = self.checked(
            {
                'name': parsed_args.name,
                'transport_url': url,
                'is_parent': parsed_args.side == 'parent',
                'weight_offset': parsed_args.weight_offset or 0.0,
                'weight_scale': 1.0
                if parsed_args.weight_scale is None
                else parsed_args.weight_scale,
            }
        )
        if any(row['name'] == parsed_args.name for row in self.rows()):
            raise exceptions.CellExists(name=parsed_args.name)
        if not parsed_args.no_verify:
            self.verify(parsed_args.name, url)
        db_neighbours.cell_create(self.app.database(), values, self.app.own_name)
        own, other = self.app.own_name, 'child' if parsed_args.side == 'parent' else 'parent'
        self.say('Cell %s is a %s of this cell, %s, now.', values['name'], parsed_args.side, own)
        if values['is_parent']:
            with self.app.database().write() as connection:
                known = [row['name'] for row in self.rows()]
                moved = db_journal.outbox_readdress(connection, values['name'], known)
            if moved:
                self.say('It gets %s that waited for an old parent.', words.count(moved, 'report'))
        if parsed_args.handshake:
            self._handshake(parsed_args.name, other)
        else:
            self.say(
                'Run there: nova-cells-manage --config-file CONF cell create %s %s URL-OF-%s',
                own,
                other,
                own.upper(),
            )

    def _handshake(self, name: str, other: str) -> None:
        ops, until = self.app.ops(), time.monotonic() + self.app.timeout
        while True:
            try:
                found = ops.hello(self.app.request(), name)
            except exceptions.CellNotFound:  # the daemon has not read it yet
                found = {'known': False, 'as': None, 'reason': 'the daemon has not read it yet'}
            if found['known']:
                self.say('Cell %s knows this cell as its %s.', name, other)
                return
            if found['as'] is not None or time.monotonic() > until:
                break
            time.sleep(LOOK_SECONDS)
        reason = found['reason'] or 'it has this cell as its %s' % found['as']
        self.warn(
            'Cell %s is written down here, but does not know this cell as its %s: %s. Run there: '
            'nova-cells-manage --config-file CONF cell create %s %s URL',
            name,
            other,
            reason,
            self.app.own_name,
            other,
        )


class List(neighbours.Neighbour, base.Lister):
    """List the neighbours of this cell, without passwords.

    Example: nova-cells-manage --config-file cells.conf cell list -f json
    """

    def take_action(self, parsed_args: Any) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        """Return columns and rows."""
        database = self.app.database()
        drained = drains.drain_get_all(database)
        reports = db_neighbours.reports_get_all(database)
        people = parsed_args.formatter == 'table'
        rows: list[tuple[Any, ...]] = []
        for row in self.rows():
            seen = reports.get(row['name'], {}).get('last_seen')
            silent = time.time() - seen if seen else None
            rows.append(
                (
                    row['name'],
                    'parent' if row['is_parent'] else 'child',
                    words.brokers(row['transport_url']),
                    row['weight_offset'],
                    row['weight_scale'],
                    words.yes(row['name'] in drained) if people else row['name'] in drained,
                    words.duration(silent) if people else silent,
                )
            )
        columns = ('Name', 'Side', 'Broker', 'Weight offset', 'Weight scale', 'Drained')
        return (*columns, 'Seconds since heard' if not people else 'Last heard'), rows


class Show(neighbours.Neighbour, base.ShowOne):
    """Show a neighbour of this cell and what is known of it, without its password.

    All of it is in the database of this cell; "topology" asks the cells themselves.

    Example: nova-cells-manage --config-file api.conf cell show region-1
    """

    def get_parser(self, prog_name: str) -> Any:
        """Add the arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument('name', help='name of the neighbour')
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Sequence[str], tuple[Any, ...]]:
        """Return names and values."""
        row = self.find(parsed_args.name)
        database = self.app.database()
        name = row['name']
        seen = db_neighbours.reports_get_all(database).get(name, {})
        drain = drains.drain_get_all(database).get(name)
        waiting = db_journal.outbox_waiting(database).get(name, 0)
        oldest = db_journal.outbox_oldest(database).get(name)
        here = CellPath((self.app.own_name, name))
        counts = cell_instances.counts(database)
        aliases = path_aliases.aliases(database).prefixes
        below = cell_instances.names_below(counts, here, aliases)
        capacities = json.loads(seen.get('capacities') or '{}')
        shown = {
            'name': name,
            'side': 'parent' if row['is_parent'] else 'child',
            'broker': words.brokers(row['transport_url']),
            'virtual_host': row['transport_url'].rpartition('/')[2].partition('?')[0],
            'weight_offset': row['weight_offset'],
            'weight_scale': row['weight_scale'],
            'drained': drain is not None,
            'drain_reason': drain['reason'] if drain else None,
            'id': seen.get('cell_id'),
            'protocol': {-1: 'unknown', 0: 'plain'}.get(seen.get('protocol', -1), 'ours'),
            'silent_seconds': round(time.time() - seen['last_seen'], 1) if seen else None,
            'clock_offset': seen.get('clock_offset'),
            'free_memory_mb': capacities.get('ram_free', {}).get('total_mb'),
            'free_disk_mb': capacities.get('disk_free', {}).get('total_mb'),
            'orders_waiting': waiting,
            'oldest_order_seconds': None if oldest is None else round(oldest, 1),
            'records_of_instances': sum(counts[one] for one in below),
        }
        return tuple(shown), tuple(shown.values())


class Set(neighbours.Neighbour):
    """Change the message bus or the weights of a neighbour; a daemon that runs sees it at once.

    Example: nova-cells-manage --config-file api.conf cell set region-1 --weight-offset 5
    """

    def get_parser(self, prog_name: str) -> Any:
        """Add the arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument('name', help='name of the neighbour')
        parser.add_argument('transport_url', nargs='?', help='its own transport_url, as a whole')
        _add_weights(parser)
        parser.add_argument(
            '--no-verify', action='store_true', help='do not connect to its message bus'
        )
        urls.add_arguments(parser)
        return parser

    def take_action(self, parsed_args: Any) -> None:
        """Do it."""
        self.check_editable()
        self.find(parsed_args.name)
        given = {
            'transport_url': urls.given(parsed_args),
            'weight_offset': parsed_args.weight_offset,
            'weight_scale': parsed_args.weight_scale,
        }
        given = {key: value for key, value in given.items() if value is not None}
        if not given:
            raise exceptions.Invalid(
                'Nothing is to be changed: give --weight-offset, --weight-scale or a message bus'
            )
        values = self.checked(given, parsed_args.name)
        if 'transport_url' in values and not parsed_args.no_verify:
            self.verify(parsed_args.name, values['transport_url'])
        self.cell_update(parsed_args.name, values)
        self.say('Cell %s: %s changed.', parsed_args.name, ' and '.join(values))
