"""Classes that a configuration names: by entry point, or by their own path."""

import importlib
from typing import Any

import stevedore

from cells import exceptions


def known(namespace: str) -> Any:
    """Return the entry points of a namespace, by name.

    :raises ConfigurationError: one of them cannot be loaded.
    """
    return stevedore.ExtensionManager(namespace, on_load_failure_callback=_raise)


def find(
    option: str, name: str, *, entries: Any, base: type[Any], kind: str, also: str = ''
) -> Any:
    """Return the class that an option names.

    :param option: what it is called in errors, such as ``[cells] driver``.
    :param entries: from :func:`known`.
    :param base: what the class must be of.
    :param kind: what such a class is called in errors.
    :param also: further names, for the error.
    :raises ConfigurationError: the name stands for nothing; those that do are listed.
    """
    if name in entries:
        cls = entries[name].plugin
    elif '.' in name and name.partition('.')[0] != 'nova':
        cls = _import(option, name)
    else:
        raise exceptions.ConfigurationError(
            reason='%s = %s: there is no such %s. There are %s%s; a class of your own is given by '
            'its path' % (option, name, kind, ', '.join(sorted(entries.names())), also)
        )
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise exceptions.ConfigurationError(
            reason='%s = %s is not a %s' % (option, name, base.__name__)
        )
    return cls


def _import(option: str, path: str) -> Any:
    module, _, attribute = path.rpartition('.')
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, ValueError) as error:
        reason = str(error)
    except AttributeError:
        reason = 'module %s has no %s' % (module, attribute)
    raise exceptions.ConfigurationError(
        reason='%s = %s cannot be imported: %s' % (option, path, reason)
    )


def _raise(manager: Any, entry_point: Any, error: BaseException) -> None:
    raise exceptions.ConfigurationError(
        reason='plugin %s (%s) cannot be loaded: %s' % (entry_point.name, entry_point.value, error)
    ) from error
