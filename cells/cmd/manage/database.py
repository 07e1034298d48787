"""``db``: the schema of the cell's database."""

from typing import Any

from cells.cmd.manage import base
from cells.db import migration


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
