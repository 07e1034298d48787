"""``config``: whether a configuration can work."""

from collections.abc import Sequence
from typing import Any

from cells import configured, exceptions, neighbour_sources, state
from cells.cmd import checks, option_names, option_values
from cells.cmd.manage import base


class Validate(base.Lister):
    """Check the configuration of a cell, without its message bus and its database.

    Options that nobody reads, such as those with a letter too much, are found as well. The exit
    code is 1 when something is wrong, 3 when there is such an option.

    Example: nova-cells-manage --config-file cells.conf config validate
    """

    def take_action(self, parsed_args: Any) -> tuple[Sequence[str], list[tuple[str, str]]]:
        """Return columns and rows."""
        conf = self.app.conf
        wrong = list(option_values.wrong(conf))
        if not wrong:
            for check in (*checks.SUBJECTS, _neighbours):
                try:
                    check(conf)
                except exceptions.ConfigurationError as error:
                    wrong.append(str(error))
        files = option_names.files_of(conf)
        unread = [
            '%s: nobody reads [%s] %s%s'
            % (one.place, one.group, one.name, '; is it %s?' % one.meant if one.meant else '')
            for one in option_names.unread(files)
        ]
        rows = [('wrong', text) for text in wrong] + [('unread', text) for text in unread]
        if wrong:
            self.exit_code = base.FAILED
        elif unread:
            self.exit_code = base.TROUBLE
        return ('Result', 'Details'), rows or [('ok', ', '.join(files) or 'the defaults')]


def _neighbours(conf: Any) -> None:
    """Look at neighbours that are written in a file.

    :raises ConfigurationError: they are wrong.
    """
    path = conf.cells.cells_config
    if not path:
        return
    found = conf.find_file(path)
    if found is None:
        raise exceptions.ConfigurationError(
            reason='[cells] cells_config = %s: there is no such file' % path
        )
    try:
        state.topology_of(configured.place(conf), neighbour_sources.FileSource(found).read())
    except ValueError as error:
        raise exceptions.ConfigurationError(reason='[cells] cells_config: %s' % error) from None
