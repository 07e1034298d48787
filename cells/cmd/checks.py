"""What is looked at in a configuration before anything is done with it; no bus, no database."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from oslo_config import cfg

from cells import cell, exceptions, paths, plugins, reports, rpc
from cells.cmd.concurrency import VARIABLE
from cells.drivers import settings

#: Database drivers that let other green threads run meanwhile.
YIELDING_DRIVERS: Final = ('pymysql', 'psycopg2')
#: Whose options may stand in a configuration of ours, as in etc/cells/cells-config-generator.conf.
NAMESPACES: Final = ('cells', 'oslo.messaging', 'oslo.log', 'oslo.service.service')


def driver(conf: cfg.ConfigOpts) -> None:
    """Look whether there is the driver to neighbours.

    :raises ConfigurationError: there is none of the name.
    """
    settings.find(conf.cells.driver)


def scheduler(conf: cfg.ConfigOpts) -> None:
    """Look whether there are the filters and weighers.

    :raises ConfigurationError: one cannot be found or used.
    """
    plugins.load_scheduler(conf.cells)


def name(conf: cfg.ConfigOpts) -> None:
    """Look at the name of the cell.

    :raises ConfigurationError: a cell may not be called so.
    """
    try:
        paths.check_name(conf.cells.name)
    except ValueError as error:
        raise exceptions.ConfigurationError(reason='[cells] name: %s' % error) from None


def transport(conf: cfg.ConfigOpts) -> None:
    """Look at the URL of the message bus, without connecting to it.

    :raises ConfigurationError: it is none.
    """
    rpc.get_transport(conf).cleanup()


def capabilities(conf: cfg.ConfigOpts) -> None:
    """Look at what the cell claims to be able to do.

    :raises ConfigurationError: it is not values by name.
    """
    try:
        reports.parse_capabilities(conf.cells.capabilities)
    except ValueError as error:
        raise exceptions.ConfigurationError(reason='[cells] capabilities: %s' % error) from None


def database(conf: cfg.ConfigOpts) -> None:
    """Look at the URL of the database, without connecting to it.

    :raises ConfigurationError: it is none.
    """
    cell.connection(conf)


#: In the order in which a daemon looks at them, after the values.
SUBJECTS: Final[tuple[Callable[[cfg.ConfigOpts], None], ...]] = (
    driver,
    scheduler,
    name,
    transport,
    capabilities,
    database,
)


def advice(conf: cfg.ConfigOpts, workers: int, concurrency: str) -> list[str]:
    """Return what works but not well.

    :param concurrency: eventlet or threading.
    """
    found = []
    used = sa.make_url(cell.connection(conf)).get_driver_name()
    if used == 'pysqlite' and workers > 1:
        found.append(
            '%d workers share an SQLite database and take turns at writing; PostgreSQL or '
            'MariaDB serve several workers better' % workers
        )
    if concurrency == 'eventlet' and used not in YIELDING_DRIVERS:
        found.append(
            'Under eventlet every statement of the database driver %s stops the whole worker; '
            'use %s, or %s=threading' % (used, ' or '.join(YIELDING_DRIVERS), VARIABLE)
        )
    return found


class Unknown(NamedTuple):
    """An option in a file that nobody reads.

    :ivar place: the file.
    :ivar meant: what may be meant, '' for nothing.
    """

    place: str
    group: str
    name: str
    meant: str


def unknown_options(files: Iterable[str]) -> list[Unknown]:
    """Return the options in configuration files that this project does not have.

    :raises oslo_config.cfg.ParseError: a file is not one.
    """
    known = _known()
    found = []
    for path in files:
        sections: dict[str, dict[str, Any]] = {}
        cfg.ConfigParser(path, sections).parse()
        for group, options in sections.items():
            here = known.get(group.lower(), set())
            for one in options:
                if one.replace('-', '_') not in here:
                    found.append(Unknown(path, group, one, _meant(known, group, one)))
    return found


def _known() -> dict[str, set[str]]:
    """Return the names of all options, those that are not to be used any more as well, by group."""
    found: dict[str, set[str]] = {}
    for entry in metadata.entry_points(group='oslo.config.opts'):
        if entry.name not in NAMESPACES:
            continue
        for group, options in entry.load()():
            title = str(getattr(group, 'name', group) or 'DEFAULT')
            for option in options:
                found.setdefault(title.lower(), set()).add(option.dest)
                for old in option.deprecated_opts:
                    place = found.setdefault((old.group or title).lower(), set())
                    place.add((old.name or option.dest).replace('-', '_'))
    return found


def _meant(known: Mapping[str, set[str]], group: str, one: str) -> str:
    close = difflib.get_close_matches(one.replace('-', '_'), known.get(group.lower(), ()), 1)
    if close:
        return '[%s] %s' % (group, close[0])
    elsewhere = [title for title, names in sorted(known.items()) if one in names]
    if elsewhere:
        title = elsewhere[0]
        return '[%s] %s' % ('DEFAULT' if title == 'default' else title, one)
    return ''
