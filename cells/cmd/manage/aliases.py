"""``cell alias-*``: where cells are now that were renamed or moved."""

from collections.abc import Sequence
from typing import Any

from cells import exceptions, paths
from cells.cmd.manage import base
from cells.db import path_aliases


class Create(base.Command):
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
        own_name = self.app.own_name
        old, new = (_below(own_name, text) for text in (parsed_args.old, parsed_args.new))
        with self.app.database().write() as connection:
            path_aliases.alias_create(connection, old, new)


class List(base.Lister):
    """List the paths that cells had, and those that they have.

    Example: nova-cells-manage --config-file api.conf cell alias-list
    """

    def take_action(self, parsed_args: Any) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        """Return columns and rows."""
        return ('Old', 'New'), list(path_aliases.alias_get_all(self.app.database()))


class Delete(base.Command):
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
