"""``cell delete``: a neighbour is taken out of the tree, and nothing is lost by mistake."""

from typing import Any, Final

from cells import exceptions, lost
from cells.cmd.manage import base, neighbours, trees, words
from cells.db import cell_instances, path_aliases
from cells.db import journal as db_journal
from cells.db import neighbours as db_neighbours
from cells.paths import CellPath

#: Instances that are listed.
LISTED: Final = 20
_SHOWN: Final = ('uuid', 'vm_state', 'cell_name', 'display_name')


class Delete(neighbours.Neighbour):
    """Take a neighbour out of the tree, on this side.

    It is refused while instances are in it or below it, which are listed then, or while orders
    for it wait. With --force their records are in error from then on, with a fault that says so,
    and the orders are forgotten. What waits for a parent is kept for the next one.

    Example: nova-cells-manage --config-file api.conf cell delete region-1
    """

    def get_parser(self, prog_name: str) -> Any:
        """Add the arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument('name', help='name of the neighbour')
        parser.add_argument(
            '--force', action='store_true', help='delete it with what is in it, as lost'
        )
        return parser

    def take_action(self, parsed_args: Any) -> None:
        """Do it."""
        self.check_editable()
        row = self.find(parsed_args.name)
        name, force = row['name'], parsed_args.force
        database = self.app.database()
        names: set[str] = set()
        if row['is_parent']:
            self._check_parent(name, force)
        elif self.app.conf.cells.cell_type == 'api':
            counts = cell_instances.counts(database)
            below = CellPath((self.app.own_name, name))
            aliases = path_aliases.aliases(database).prefixes
            names = cell_instances.names_below(counts, below, aliases)
            if names and not force:
                self._refuse(name, names, sum(counts[one] for one in names))
        elif not force:
            self._check_below(name)
        waiting = db_journal.outbox_waiting(database).get(name, 0)
        if waiting and not force:
            raise exceptions.Invalid(
                '%s for cell %s have not been confirmed: wait until "cell show %s" has none, or '
                'forget them with --force' % (words.count(waiting, 'order'), name, name)
            )
        db_neighbours.cell_delete(database, name)
        text = 'Cell %s, which had the instance, was taken out of the tree' % name
        number = lost.mark_lost(database, names, text) if names else 0
        dropped = 0
        if not row['is_parent']:
            with database.write() as connection:
                dropped = db_journal.outbox_drop(connection, name)
        self.say('Cell %s is not a neighbour of this cell, %s, any more.', name, self.app.own_name)
        if number or dropped:
            self.say(
                'Lost: %s, %s.', words.count(number, 'instance'), words.count(dropped, 'order')
            )
        if row['is_parent'] and not any(one['is_parent'] for one in self.rows()):
            self.say(
                'It has no parent now: nova-cells goes on with the old one until it is started '
                'again, and starts only with --standalone, or when there is another.'
            )

    def _refuse(self, name: str, names: set[str], number: int) -> None:
        with self.app.database().read() as connection:
            rows = cell_instances.page(connection, names, LISTED)
        for row in rows:
            self.say('%s', '  '.join(str(row[key]) for key in _SHOWN))
        if number > len(rows):
            self.say('... and %d more', number - len(rows))
        raise exceptions.Invalid(
            '%s still there: drain cell %s ("cell drain %s") and delete or move them first, or '
            'give them up with --force' % (words.are(number, 'instance'), name, name)
        )

    def _check_parent(self, name: str, force: bool) -> None:
        number = sum(cell_instances.counts(self.app.database()).values())
        if number and not force:
            raise exceptions.Invalid(
                'What becomes of the %s of this cell would not be known above any more. If it gets '
                'another parent, --force deletes %s, then "cell create" makes the new one: what '
                'is not told yet is kept for it' % (words.count(number, 'instance'), name)
            )

    def _check_below(self, name: str) -> None:
        """Ask the cells below how many instances they have: only the top has records of them."""
        try:
            tree = trees.ask(self.app)
        except base.ERRORS as error:
            raise exceptions.Invalid(
                'Whether instances are in cell %s cannot be known (%s); --force deletes it all '
                'the same' % (name, ' '.join(str(error).split()))
            ) from None
        path = '%s!%s' % (self.app.own_name, name)
        inside = [one for one in tree if one.path == path or one.path.startswith(path + '!')]
        unknown = [one.path for one in inside if one.instances is None]
        if unknown:
            raise exceptions.Invalid(
                'Whether instances are in %s cannot be known, as nothing is heard from there; '
                '--force deletes cell %s all the same' % (', '.join(unknown), name)
            )
        number = sum(one.instances or 0 for one in inside)
        if number:
            raise exceptions.Invalid(
                '%s in %s: drain cell %s and delete or move them first; --force deletes it all '
                'the same, and their records at the top stay as they are'
                % (
                    words.count(number, 'instance'),
                    ', '.join(one.path for one in inside if one.instances),
                    name,
                )
            )
