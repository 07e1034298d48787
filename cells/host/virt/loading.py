"""How the driver of virtual machines is found by the name in the configuration."""

from oslo_config import cfg

from cells import plugin_classes
from cells.host.virt import base


def load(conf: cfg.ConfigOpts) -> base.VirtDriver:
    """Return the driver that ``[compute] virt_driver`` names, not started.

    :raises ConfigurationError: there is none, with those that there are, or it can never work.
    """
    return find(conf.compute.virt_driver).from_conf(conf)


def find(name: str) -> type[base.VirtDriver]:
    """Return the class of a driver by its name, or by its path.

    :raises ConfigurationError: there is none; the known ones are listed.
    """
    entries = plugin_classes.known(base.NAMESPACE)
    cls: type[base.VirtDriver] = plugin_classes.find(
        '[compute] virt_driver', name, entries=entries, base=base.VirtDriver, kind='driver'
    )
    return cls
