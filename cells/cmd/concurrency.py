"""Native threads or eventlet, chosen before anything else is imported.

``CELLS_CONCURRENCY`` is ``eventlet`` (the default) or ``threading``. Importing
this module does nothing; a program calls :func:`choose` as its first act.
"""

import os
import sys
import warnings

VARIABLE = 'CELLS_CONCURRENCY'


def hush() -> None:
    """Keep back eventlet's advice to choose something else, which is for developers."""
    warnings.filterwarnings('ignore', message=r'\s*Eventlet is deprecated')


def choose(default: str = 'eventlet') -> str:
    """Set the process up and return which of the two it is."""
    name = os.environ.get(VARIABLE, default).strip().lower()
    if name not in ('eventlet', 'threading'):
        sys.stderr.write(
            '%s is %r in the environment; it may be eventlet or threading\n' % (VARIABLE, name)
        )
        raise SystemExit(2)
    hush()
    if name == 'eventlet':
        import eventlet  # noqa: PLC0415 - must come before everything else, and only here

        eventlet.monkey_patch()
    from oslo_service import backend  # noqa: PLC0415 - must come after the patching

    backend.init_backend(backend.BackendType(name))
    return name
