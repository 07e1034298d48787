"""nova-cells-manage: the schema of a cell's database, and its neighbours.

It works on the local database and needs neither a broker nor another cell.
"""

import logging
import sys
from collections.abc import Sequence
from typing import Any

from cliff import app, command, commandmanager, lister
from oslo_config import cfg

from cells.cmd import concurrency

concurrency.hush()  # before what follows imports eventlet

from cells import cell, exceptions, neighbour_sources, paths  # noqa: E402
from cells.db import engine, migration, neighbours, path_aliases  # noqa: E402

NAMESPACE = 'cells.manage'


class ManageApp(app.App):
    """The program: reads the configuration before any command runs."""

    def __init__(self) -> None:
        super().__init__(
            description='Manage one cell: its database and its neighbours.',
            version='',
            command_manager=commandmanager.CommandManager(NAMESPACE),
            deferred_help=True,
        )
        self.conf = cfg.ConfigOpts()

    def build_option_parser(self, *args: Any, **kwargs: Any) -> Any:
        """Add the options of a configuration."""
        parser = super().build_option_parser(*args, **kwargs)
        parser.add_argument(
            '--config-file',
            action='append',
            default=[],
            metavar='PATH',
            help='configuration of the cell; may be given several times',
        )
        return parser

    def initialize_app(self, argv: list[str]) -> None:
        """Read the configuration."""
        logging.getLogger('alembic').setLevel(logging.WARNING)
        cell.prepare(self.conf)
        files = [word for path in self.options.config_file for word in ('--config-file', path)]
        self.conf(files, project='cells', prog='nova-cells')

    def database(self) -> engine.Database:
        """Return the database of the cell."""
        return engine.Database(cell.connection(self.conf))


class _Command(command.Command):
    """A command that says in one line that the database cannot be used."""

    app: ManageApp

    def run(self, parsed_args: Any) -> int:
        """Run it; cliff shows the error and makes the exit code."""
        try:
            return super().run(parsed_args)
        except engine.ERRORS as error:
            reason = 'the database cannot be used: %s' % engine.brief(error)
        raise exceptions.CellsError(reason)


class DbSync(_Command):
    """Bring the schema of the database to the newest revision.

    Example: nova-cells-manage --config-file cells.conf db sync
    """

    def take_action(self, parsed_args: Any) -> None:
        """Do it."""
        database = self.app.database()
        migration.sync(database)
        self.app.stdout.write('The schema is at revision %s.\n' % migration.version(database))


class DbVersion(_Command):
    """Show the revision of the schema.

    Example: nova-cells-manage --config-file cells.conf db version
    """

    def take_action(self, parsed_args: Any) -> None:
        """Do it."""
        found = migration.version(self.app.database())
        self.app.stdout.write('%s (this version needs %s)\n' % (found or 'none', migration.head()))


class CellCreate(_Command):
    """Make a neighbour known to this cell. The other side needs the same the other way round.

    Example: nova-cells-manage --config-file api.conf cell create region-1 child \\
    rabbit://user:password@broker-1:5672/region-1
    """

    def get_parser(self, prog_name: str) -> Any:
        """Add the arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument('name', help='its [cells] name')
        parser.add_argument('side', choices=('parent', 'child'), help='what it is to this cell')
        parser.add_argument('transport_url', help='its message bus, as its own transport_url')
        parser.add_argument('--weight-offset', type=float, default=0.0)
        parser.add_argument('--weight-scale', type=float, default=1.0)
        return parser

    def take_action(self, parsed_args: Any) -> None:
        """Do it."""
        database = self.app.database()
        options = self.app.conf.cells
        if not cell.source(self.app.conf, database).editable:
            raise exceptions.CellsUpdateUnsupported
        parents = [row['name'] for row in neighbours.cell_get_all(database) if row['is_parent']]
        values = neighbour_sources.new_values(
            {
                'name': parsed_args.name,
                'transport_url': parsed_args.transport_url,
                'is_parent': parsed_args.side == 'parent',
                'weight_offset': parsed_args.weight_offset,
                'weight_scale': parsed_args.weight_scale,
            },
            own_name=options.name,
            is_top=options.cell_type == 'api',
            parents=parents,
            many_parents=options.allow_multiple_parents,
        )
        neighbours.cell_create(database, values)


class CellList(_Command, lister.Lister):
    """List the neighbours of this cell, without passwords.

    Example: nova-cells-manage --config-file cells.conf cell list -f json
    """

    def take_action(self, parsed_args: Any) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        """Return columns and rows."""
        rows = []
        for row in cell.source(self.app.conf, self.app.database()).read():
            broker = _brokers(row['transport_url'])
            side = 'parent' if row['is_parent'] else 'child'
            rows.append((row['name'], side, broker, row['weight_offset'], row['weight_scale']))
        return ('Name', 'Side', 'Broker', 'Weight offset', 'Weight scale'), rows


class AliasCreate(_Command):
    """Say where a cell is now that was renamed or moved, with all below it.

    Records of instances, and names such as cell@id that users hold, stay as they are. Paths begin
    with this cell. A child that is renamed by "cell_update" of the RPC has this already; what
    was renamed or moved further down has to be told here, at the top and wherever else API
    services ask for it.

    Example: nova-cells-manage --config-file api.conf cell alias-create api!leaf api!region!leaf
    """

    def get_parser(self, prog_name: str) -> Any:
        """Add the arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument('old', help='the path that it had, as in api!leaf')
        parser.add_argument('new', help='the path that it has')
        return parser

    def take_action(self, parsed_args: Any) -> None:
        """Do it."""
        own_name = self.app.conf.cells.name
        old, new = (_below(own_name, text) for text in (parsed_args.old, parsed_args.new))
        with self.app.database().write() as connection:
            path_aliases.alias_create(connection, old, new)


class AliasList(_Command, lister.Lister):
    """List the paths that cells had, and those that they have.

    Example: nova-cells-manage --config-file api.conf cell alias-list
    """

    def take_action(self, parsed_args: Any) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        """Return columns and rows."""
        return ('Old', 'New'), list(path_aliases.alias_get_all(self.app.database()))


class AliasDelete(_Command):
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
        old = _below(self.app.conf.cells.name, parsed_args.old)
        with self.app.database().write() as connection:
            if not path_aliases.alias_delete(connection, old):
                raise exceptions.Invalid(reason='there is no alias of %s' % old)


def _below(own_name: str, text: str) -> paths.CellPath:
    try:
        path = paths.CellPath.parse(text)
    except ValueError as error:
        raise exceptions.Invalid(reason=str(error)) from None
    if len(path) < 2 or path.names[0] != own_name:
        raise exceptions.Invalid(
            reason='%s is not the path of a cell below this one, such as %s!child'
            % (text, own_name)
        )
    return path


def _brokers(transport_url: str) -> str:
    try:
        hosts = neighbour_sources.hosts(transport_url)
    except ValueError as error:
        return str(error)
    return ', '.join('%s:%s' % (host.hostname, host.port or 5672) for host in hosts)


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    return ManageApp().run(sys.argv[1:] if argv is None else argv)
