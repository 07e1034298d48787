"""What the commands on neighbours share: where they are written, whether their bus can be used."""

from collections.abc import Mapping
from typing import Any

from cells import configured, exceptions, neighbour_sources, paths, rabbit
from cells.cmd.manage import app, base, words
from cells.db import cell_instances, path_aliases
from cells.db import neighbours as db_neighbours

#: Seconds that a broker gets to answer.
BROKER_SECONDS = 5.0


def rows_of(program: app.ManageApp) -> list[dict[str, Any]]:
    """Return the neighbours of the cell.

    :raises ConfigurationError: they cannot be read.
    """
    try:
        return configured.source(program.conf, program.database()).read()
    except ValueError as error:
        raise exceptions.ConfigurationError(reason=str(error)) from None


def find(program: app.ManageApp, name: str) -> dict[str, Any]:
    """Return a neighbour of the cell.

    :raises CellNotFound: there is none of the name; the text has those that there are.
    """
    rows = rows_of(program)
    for row in rows:
        if row['name'] == name:
            return row
    raise exceptions.CellNotFound(
        'Cell %s has no neighbour %s; there %s'
        % (program.own_name, name, words.there([row['name'] for row in rows]))
    )


def check_path(program: app.ManageApp, path: str) -> None:
    """Look whether a path can be one of this tree, as far as this cell knows it.

    :raises CellNotFound: it is not; the text has the cells that are known.
    """
    database = program.database()
    aliases = path_aliases.aliases(database)
    place = aliases.resolve(paths.CellPath.parse(path))
    if cell_instances.names_below(cell_instances.counts(database), place, aliases.prefixes):
        return
    names = place.names
    if program.own_name in names:
        names = names[names.index(program.own_name) + 1 :]
    elif program.conf.cells.cell_type != 'api':
        return  # a cell above, or beside, of which this one knows nothing
    for name in names[:1]:
        find(program, name)


class Neighbour(base.Command):
    """A command on a neighbour that is a row of the table ``cells``."""

    def check_editable(self) -> None:
        """Refuse to change neighbours that are written in a file.

        :raises CellsUpdateUnsupported: they are.
        """
        path = self.app.conf.cells.cells_config
        if path:
            raise exceptions.CellsUpdateUnsupported(
                'Cannot update cells configuration file: the neighbours of cell %s are written in '
                '%s ([cells] cells_config); change them there, the daemon reads it at once'
                % (self.app.own_name, path)
            )

    def rows(self) -> list[dict[str, Any]]:
        """Return the neighbours.

        :raises ConfigurationError: they cannot be read.
        """
        return rows_of(self.app)

    def find(self, name: str) -> dict[str, Any]:
        """Return a neighbour.

        :raises CellNotFound: there is none of the name; the text has those that there are.
        """
        return find(self.app, name)

    def checked(self, values: Mapping[str, Any], name: str | None = None) -> dict[str, Any]:
        """Return the columns of a neighbour that is made, or changed if it has a name.

        :raises Invalid: a value is not allowed.
        """
        options = self.app.conf.cells
        parents = {row['name'] for row in self.rows() if row['is_parent']} - {name}
        found = neighbour_sources.new_values(
            values,
            own_name=options.name,
            is_top=options.cell_type == 'api',
            parents=parents,
            many_parents=options.allow_multiple_parents,
            complete=name is None,
        )
        if 'transport_url' in found and self._is_own(found['transport_url']):
            raise exceptions.Invalid(
                'That is the message bus of cell %s itself; its neighbour has another one, or '
                'another virtual host' % self.app.own_name
            )
        return found

    def verify(self, name: str, transport_url: str) -> None:
        """Connect to the message bus of a neighbour; say what is there, or why it cannot be used.

        :raises Invalid: none of its brokers can be used.
        """
        if transport_url.startswith('fake'):
            return
        queue = '%s.targeted' % self.app.conf.cells.rpc_driver_queue_base
        found = rabbit.brokers(
            self.app.conf,
            transport_url,
            seconds=min(BROKER_SECONDS, self.app.timeout),
            queues=(queue,),
        )
        bad = ['%s: %s' % (one.address, one.error) for one in found if one.error]
        if len(bad) == len(found):
            raise exceptions.Invalid(
                'The message bus of cell %s cannot be used; %s. Nothing is changed; --no-verify '
                'does without this check' % (name, '; '.join(bad))
            )
        for text in bad:
            self.warn('One of its brokers cannot be used; %s', text)
        good = next(one for one in found if not one.error)
        self.say('Message bus of %s: RabbitMQ %s at %s', name, good.version, good.address)
        if not good.consumers[queue]:
            self.say('No nova-cells listens there yet.')

    def _is_own(self, transport_url: str) -> bool:
        own = self.app.conf.transport_url
        return own is not None and _place(own) == _place(transport_url)

    def cell_update(self, name: str, values: Mapping[str, Any]) -> None:
        """Change a neighbour, with the paths that lead to it when it gets another name."""
        db_neighbours.cell_update(self.app.database(), name, values, self.app.own_name)


def _place(transport_url: str) -> tuple[Any, ...] | None:
    """Return what tells one message bus from another."""
    try:
        hosts = neighbour_sources.hosts(transport_url)
    except ValueError:
        return None
    where = sorted((host.hostname, host.port or rabbit.DEFAULT_PORT) for host in hosts)
    return (*where, transport_url.partition('://')[2].partition('/')[2]) if where else None
