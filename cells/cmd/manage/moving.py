"""``cell rename`` and ``move``: cells get other names and places, instances stay known (R12)."""

from collections.abc import Sequence
from typing import Any

from cells import exceptions, paths
from cells.cmd.manage import base, neighbours, words
from cells.db import cell_instances, path_aliases
from cells.db import journal as db_journal


class Rename(neighbours.Neighbour):
    """Know a neighbour by another name.

    Drain and stop the cell first, and rename it on both sides and in its own configuration. What
    is known of instances below a child stays, as the old path leads to the new one.

    Example: nova-cells-manage --config-file api.conf cell rename region-1 europe
    """

    def get_parser(self, prog_name: str) -> Any:
        """Add the arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument('name', help='name of the neighbour')
        parser.add_argument('new_name', help='its new [cells] name')
        return parser

    def take_action(self, parsed_args: Any) -> None:
        """Do it."""
        self.check_editable()
        old, new = parsed_args.name, parsed_args.new_name
        row = self.find(old)
        values = self.checked({'name': new}, old)
        if new == old:
            raise exceptions.Invalid('Cell %s has this name already' % old)
        waiting = db_journal.outbox_waiting(self.app.database()).get(old, 0)
        if waiting:
            raise exceptions.Invalid(
                '%s for cell %s by its old name: wait until "cell show %s" has none, then stop it '
                'and rename it'
                % (words.count(waiting, 'order') + (' wait' if waiting > 1 else ' waits'), old, old)
            )
        self.cell_update(old, values)
        own = self.app.own_name
        self.say('Cell %s is %s for this cell, %s, now. Left to do:', old, new, own)
        if row['is_parent']:
            self.say('- there: [cells] name = %s, if it has not got it yet', new)
            return
        self.say('- there: [cells] name = %s, and start its nova-cells again', new)
        self.say('- in each cell below it: nova-cells-manage cell rename %s %s', old, new)
        if self.app.conf.cells.cell_type != 'api':
            paths_ = tuple('TOP!...!%s!%s' % (own, one) for one in (old, new))
            self.say('- at the top of the tree: nova-cells-manage cell move %s %s', *paths_)


class Move(base.Command):
    """Say where a cell is now that was renamed or moved further down, with all below it.

    Records of instances, and names such as cell@id that users hold, stay as they are. Paths begin
    with this cell. It is for the top, and for other cells whose API services ask for cells below.

    Example: nova-cells-manage --config-file api.conf cell move api!leaf api!region!leaf
    """

    def get_parser(self, prog_name: str) -> Any:
        """Add the arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument('old', help='the path that it had, as in api!leaf')
        parser.add_argument('new', help='the path that it has')
        return parser

    def take_action(self, parsed_args: Any) -> None:
        """Do it."""
        old, new = (_below(self.app.own_name, text) for text in (parsed_args.old, parsed_args.new))
        database = self.app.database()
        rows = neighbours.rows_of(self.app)
        children = [row['name'] for row in rows if not row['is_parent']]
        if new.names[1] not in children:
            raise exceptions.Invalid(
                '%s leads nowhere: cell %s has no child %s; there %s'
                % (new, self.app.own_name, new.names[1], words.there(children))
            )
        counts = cell_instances.counts(database)
        with database.write() as connection:
            path_aliases.alias_create(connection, old, new)
        aliases = path_aliases.aliases(database).prefixes
        names = cell_instances.names_below(counts, new, aliases)
        moved = [one for one in names if paths.CellPath.parse(one).starts_with(old)]
        self.say('What was below %s is below %s now.', old, new)
        number = sum(counts[one] for one in moved)
        self.say('%s known there by the old path.', words.are(number, 'instance'))
        if len(old) == 2 and old.last in children:
            self.say('If it is no child of this cell any more: cell delete %s', old.last)


class AliasList(base.Lister):
    """List the paths that cells had, and those that they have.

    Example: nova-cells-manage --config-file api.conf cell alias-list
    """

    def take_action(self, parsed_args: Any) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        """Return columns and rows."""
        return ('Old', 'New'), list(path_aliases.alias_get_all(self.app.database()))


class AliasDelete(base.Command):
    """Forget where a cell is that had a path; what is known by that path is lost then.

    Example: nova-cells-manage --config-file api.conf cell alias-delete api!leaf
    """

    def get_parser(self, prog_name: str) -> Any:
        """Add the arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument('old', help='the path that it had')
        return parser

    def take_action(self, parsed_args: Any) -> None:
        """Do it."""
        old = _below(self.app.own_name, parsed_args.old)
        with self.app.database().write() as connection:
            if not path_aliases.alias_delete(connection, old):
                raise exceptions.Invalid('There is no alias of %s; see "cell alias-list"' % old)


def _below(own_name: str, text: str) -> paths.CellPath:
    try:
        path = paths.CellPath.parse(text)
    except ValueError as error:
        raise exceptions.Invalid(str(error)) from None
    if len(path) < 2 or path.names[0] != own_name:
        raise exceptions.Invalid(
            '%s is not the path of a cell below this one, such as %s!child' % (text, own_name)
        )
    return path
