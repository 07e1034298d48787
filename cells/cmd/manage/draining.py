"""``cell drain`` and ``undrain``: which cells take no new instances (C7)."""

from typing import Any

from cells import exceptions
from cells.cmd.manage import neighbours, words
from cells.db import cell_instances, drains, path_aliases
from cells.paths import CellPath


class _Draining(neighbours.Neighbour):
    def get_parser(self, prog_name: str) -> Any:
        """Add the arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'name', nargs='?', help='a child of this cell; this cell itself if left'
        )
        return parser

    def name_of(self, parsed_args: Any) -> str:
        """Return which cell it is: this one, or a child.

        :raises CellNotFound: there is no such neighbour.
        :raises Invalid: it is a parent.
        """
        name = parsed_args.name or self.app.own_name
        if name != self.app.own_name and self.find(name)['is_parent']:
            raise exceptions.Invalid(
                'Cell %s is a parent of this cell, %s: drain it with its own configuration, or '
                'with that of its parent' % (name, self.app.own_name)
            )
        return str(name)


class Drain(_Draining):
    """Let this cell, or a child of it with all below, take no new instances.

    What is there goes on as before. It is written in the database of this cell, so that it holds
    until "cell undrain", whether the daemons are up or not, and those that run know it within a
    second or two.

    Example: nova-cells-manage --config-file api.conf cell drain region-1 --reason 'new switches'
    """

    def get_parser(self, prog_name: str) -> Any:
        """Add the arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument('--reason', default='', help='why, for those who wonder')
        return parser

    def take_action(self, parsed_args: Any) -> None:
        """Do it."""
        name = self.name_of(parsed_args)
        database = self.app.database()
        with database.write() as connection:
            drains.drain_create(connection, name, parsed_args.reason)
        counts = cell_instances.counts(database)
        if name == self.app.own_name:
            number = sum(counts.values())
        else:
            here = CellPath((self.app.own_name, name))
            aliases = path_aliases.aliases(database).prefixes
            number = sum(counts[one] for one in cell_instances.names_below(counts, here, aliases))
        self.say('Cell %s takes no new instances.', name)
        if number:
            self.say('%s there, and will stay.', words.are(number, 'instance'))


class Undrain(_Draining):
    """Let this cell, or a child of it, take new instances again.

    Example: nova-cells-manage --config-file api.conf cell undrain region-1
    """

    def take_action(self, parsed_args: Any) -> None:
        """Do it."""
        name = self.name_of(parsed_args)
        with self.app.database().write() as connection:
            gone = drains.drain_delete(connection, name)
        if not gone:
            self.say('Cell %s is not drained here.', name)
        else:
            self.say('Cell %s takes new instances.', name)
        if name == self.app.own_name and not self.app.conf.cells.enabled:
            self.warn('It takes none as long as [cells] enabled = no stands in its configuration.')
