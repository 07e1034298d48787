"""One compute API over a tree of compute deployments: see ``README.rst``."""

import importlib.util

from oslo_service import backend


def _default_backend() -> backend.BackendType:
    """Return what oslo.service falls back to when a process has chosen nothing.

    oslo.messaging loads it, and its own fall-back cannot be loaded without eventlet,
    which a client of ours does not need.
    """
    try:
        found = importlib.util.find_spec('eventlet') is not None
    except ImportError:
        found = False
    return backend.BackendType.EVENTLET if found else backend.BackendType.THREADING


backend.register_backend_default_hook(_default_backend)
