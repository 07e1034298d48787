"""Options of the group ``database``: the ones of oslo.db that apply here."""

from collections.abc import Iterable

from oslo_config import cfg

OPTS = [
    cfg.StrOpt(
        'connection',
        secret=True,
        help='The database of this cell, as an SQLAlchemy URL. SQLite serves demonstrations and '
        'a single worker; PostgreSQL and MariaDB the rest.',
    ),
]


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register the options."""
    conf.register_opts(OPTS, group='database')


def list_opts() -> list[tuple[str, Iterable[cfg.Opt]]]:
    """Return the options by group."""
    return [('database', OPTS)]
