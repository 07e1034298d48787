"""How the driver of virtual machines is found by the name in the configuration."""

import importlib
from typing import Any

import stevedore
from oslo_config import cfg

from cells import exceptions
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
    known: stevedore.ExtensionManager[Any] = stevedore.ExtensionManager(
        base.NAMESPACE, on_load_failure_callback=_raise
    )
    cls: Any
    if name in known:
        cls = known[name].plugin
    elif '.' in name:
        cls = _import(name)
    else:
        raise exceptions.ConfigurationError(
            reason='[compute] virt_driver = %s: there is no such driver. There are %s; a class of '
            'your own is given by its path' % (name, ', '.join(sorted(known.names())))
        )
    if not (isinstance(cls, type) and issubclass(cls, base.VirtDriver)):
        raise exceptions.ConfigurationError(
            reason='[compute] virt_driver = %s is not a VirtDriver' % name
        )
    return cls


def _import(path: str) -> Any:
    module, _, attribute = path.rpartition('.')
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, ValueError) as error:
        reason = str(error)
    except AttributeError:
        reason = 'module %s has no %s' % (module, attribute)
    raise exceptions.ConfigurationError(
        reason='[compute] virt_driver = %s cannot be imported: %s' % (path, reason)
    )


def _raise(manager: Any, entry_point: Any, error: BaseException) -> None:
    raise exceptions.ConfigurationError(
        reason='driver %s (%s) cannot be loaded: %s' % (entry_point.name, entry_point.value, error)
    ) from error
