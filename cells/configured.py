"""What a cell reads from its configuration, and how."""

from oslo_config import cfg

from cells import conf as cells_conf
from cells import exceptions, neighbour_sources, rpc, sightings, state
from cells.db import engine


def prepare(conf: cfg.ConfigOpts) -> None:
    """Register on a ConfigOpts all that a cell reads."""
    cells_conf.register_opts(conf)
    rpc.prepare(conf)


def place(conf: cfg.ConfigOpts) -> state.Place:
    """Return what the configuration says this cell is in the tree."""
    options = conf.cells
    return state.Place(
        options.name,
        is_top=options.cell_type == 'api',
        standalone=options.standalone,
        many_parents=options.allow_multiple_parents,
    )


def source(conf: cfg.ConfigOpts, database: engine.Database) -> neighbour_sources.Source:
    """Return where the neighbours are written down.

    :raises ConfigurationError: the file that is named is not there.
    """
    path = conf.cells.cells_config
    if not path:
        return neighbour_sources.TableSource(database)
    found = conf.find_file(path)
    if found is None:
        raise exceptions.ConfigurationError(
            reason='[cells] cells_config = %s: there is no such file' % path
        )
    return neighbour_sources.FileSource(found)


def connection(conf: cfg.ConfigOpts) -> str:
    """Return the URL of the database.

    :raises ConfigurationError: it is not set, or cannot be one.
    """
    url = conf.database.connection
    if not url:
        raise exceptions.ConfigurationError(
            reason='[database] connection is not set; it is an SQLAlchemy URL such as '
            'sqlite:////var/lib/cells/cells.sqlite or postgresql+psycopg2://user:password@host/cells'
        )
    reason = engine.fault(url)
    if reason:
        raise exceptions.ConfigurationError(reason='[database] connection %s' % reason)
    return url


def neighbours(
    conf: cfg.ConfigOpts, database: engine.Database, where: state.Place
) -> state.CellStateManager:
    """Return what keeps the neighbours of a cell and what is known of them.

    :param where: the place of the cell in the tree.
    :raises ValueError: the cell cannot have its name.
    :raises ConfigurationError: the file of the neighbours is not there.
    """
    return state.CellStateManager(
        place=where,
        source=source(conf, database),
        seen=sightings.Sightings(
            database=database,
            mute_interval=conf.cells.mute_child_interval,
            extensions=conf.cells.envelope_extensions,
        ),
        database=database,
        check_interval=max(1, conf.cells.db_check_interval),
    )
