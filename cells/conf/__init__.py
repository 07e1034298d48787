"""Configuration: one module for each group, registered on a ConfigOpts that is passed in."""

from collections.abc import Iterable

from oslo_config import cfg

from cells.conf import base, cells, compute, database, monitoring, upgrade_levels

_MODULES = (base, cells, compute, database, monitoring, upgrade_levels)


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register all options of this project."""
    for module in _MODULES:
        module.register_opts(conf)


def list_opts() -> list[tuple[str, Iterable[cfg.Opt]]]:
    """Return all options by group, for oslo-config-generator and -validator."""
    return [pair for module in _MODULES for pair in module.list_opts()]
