"""What works on the database of a cell by itself, whether its daemons run or not.

Operators need it most when these do not. What is written here, daemons find within a second.
"""

import dataclasses

from oslo_config import cfg

from cells import configured, exceptions, failure_reports, letters, notifications, post
from cells.db import engine
from cells.stats import Stats


class OfflineCell:
    """A cell as far as its database and its configuration tell.

    :param conf: parsed, with the options of :func:`cells.configured.prepare`.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        options = conf.cells
        below = options.cell_type != 'api'
        self.database = engine.Database(
            configured.connection(conf),
            pool_size=2,
            replicates=below,
            notifies=below and notifications.wanted(conf),
        )
        # What cannot run as it is written down is looked at all the same.
        place = dataclasses.replace(configured.place(conf), standalone=True)
        self.state = configured.neighbours(conf, self.database, place)
        #: Tells of orders that came to nothing, as a daemon does.
        self.failure_reports = failure_reports.FailureReports(
            state=self.state,
            letters=letters.Letters(
                state=self.state,
                outward=lambda message: post.outward(
                    message, self.state.cell_id, extensions=options.envelope_extensions
                ),
                object_release=options.object_release,
                max_hop_count=options.max_hop_count,
            ),
            object_release=options.object_release,
            stats=Stats(),
        )

    def load(self) -> None:
        """Read the neighbours, and what is known of them.

        :raises ConfigurationError: what is written down describes no tree.
        """
        try:
            self.state.load()
        except ValueError as error:
            raise exceptions.ConfigurationError(
                reason='The neighbours of cell %s are wrong: %s'
                % (self.state.topology.own_name, error)
            ) from None

    def close(self) -> None:
        """Close the connections."""
        self.database.dispose()
