"""Whether the values of options can be ones: what agents check as well, which know no database."""

from collections.abc import Iterator

from oslo_config import cfg

from cells import conf as cells_conf
from cells import exceptions


def check(conf: cfg.ConfigOpts) -> None:
    """Look at every option of this project.

    oslo.config does so when a value is asked for, which may be hours after the start.

    :raises ConfigurationError: a value cannot be one.
    """
    for reason in wrong(conf):
        raise exceptions.ConfigurationError(reason=reason)


def wrong(conf: cfg.ConfigOpts) -> Iterator[str]:
    """Yield what is wrong with the values of options, one by one."""
    for group, options in cells_conf.list_opts():
        section = conf if group == 'DEFAULT' else conf[group]
        for option in options:
            try:
                getattr(section, option.dest)
            except cfg.Error as error:
                yield '[%s] %s' % (group, error)
