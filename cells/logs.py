"""What stands in every line of the log: for which request it is, and the way that this came.

A thread that works for a request says so with :class:`scope`; :func:`setup` has each line say
it, also those of libraries. Lines that are for no request name the cell alone. Formats are the
defaults of oslo.log's options, so an operator's own come before them, and the JSON formatter
has the same two values under ``context``.
"""

import logging
import math
import re
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

import amqp.exceptions
import kombu.exceptions
import oslo_messaging
from oslo_config import cfg
from oslo_log import log

from cells import paths

_PREFIX: Final = '%(asctime)s.%(msecs)03d %(process)d'
FORMAT: Final = _PREFIX + ' %(levelname)s %(name)s [%(request)s %(cell)s] %(instance)s%(message)s'
EXCEPTION_PREFIX: Final = _PREFIX + ' ERROR %(name)s [%(request)s %(cell)s] %(instance)s'
DEFAULTS: Final = {
    'logging_context_format_string': FORMAT,
    'logging_default_format_string': FORMAT,
    'logging_exception_prefix': EXCEPTION_PREFIX,
}

#: An id comes from clients and neighbours: it must not look like another line.
_ID: Final = re.compile(r'[\w.:-]{1,64}', re.ASCII)

#: What complains about brokers, and after how many seconds it may say the same again.
CHATTY: Final = 'oslo.messaging._drivers.impl_rabbit'
BROKERS: Final = (CHATTY, 'oslo_messaging._drivers.amqpdriver')
SPARING_SECONDS: Final = 300.0
MOST_KEPT: Final = 1000
_AWAY: Final = (
    OSError,
    amqp.exceptions.ConnectionError,
    kombu.exceptions.OperationalError,
    oslo_messaging.MessageDeliveryFailure,
)

_local = threading.local()


class scope:  # noqa: N801 - reads as the statement that it is
    """What this thread logs within the block is for a request.

    :param request_id: as it came from whoever asks; None while it is not known, see :func:`note`.
    :param path: the way that it came, this cell last.
    """

    __slots__ = ('_before', 'path', 'request_id')

    def __init__(self, request_id: Any = None, path: paths.CellPath | None = None) -> None:
        self.request_id = request_id
        self.path = path
        self._before: scope | None = None

    def __enter__(self) -> 'scope':
        self._before = getattr(_local, 'scope', None)
        _local.scope = self
        return self

    def __exit__(self, *exc: object) -> None:
        _local.scope = self._before


def note(request_id: Any, path: paths.CellPath | None) -> None:
    """Say for what request the innermost :class:`scope` of this thread is."""
    found: scope | None = getattr(_local, 'scope', None)
    if found is not None:
        found.request_id, found.path = request_id, path


class Naming(logging.Filter):
    """Gives each record ``request`` and ``cell``; lets everything pass.

    :param name: of the cell, or of the host of an agent.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._cell = name

    def filter(self, record: logging.LogRecord) -> bool:
        """Take note of the request that the thread works for."""
        found: scope | None = getattr(_local, 'scope', None)
        cell, request_id = self._cell, None
        if found is not None:
            request_id = found.request_id
            cell = str(found.path) if found.path is not None else cell
        if not isinstance(request_id, str) or not _ID.fullmatch(request_id):
            request_id = None
        # Formatters of oslo.log copy what is in the context into the record.
        record.context = {'request_id': request_id, 'request': request_id or '-', 'cell': cell}
        record.request, record.cell = request_id or '-', cell
        record.instance = getattr(record, 'instance', '')
        return True


class Sparing(logging.Filter):
    """Lets a complaint about a broker pass once in a while, not with each attempt and message.

    oslo.messaging has one for each connection and attempt. What has changed, and since when, is
    said by lines of our own. That a broker was away while it had a message is no reason for a
    traceback: it delivers that one again. An error of any other kind passes each time.
    """

    def __init__(self, seconds: float = SPARING_SECONDS) -> None:
        super().__init__()
        self._seconds = seconds
        self._passed: dict[Any, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether it is to be written."""
        if record.levelno < logging.WARNING:
            return True
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, _AWAY):
            record.exc_info = None
        elif error is not None or record.name != CHATTY:
            return True
        now = time.monotonic()
        key = _what(record), type(error)
        if now - self._passed.get(key, -math.inf) < self._seconds:
            return False
        if len(self._passed) >= MOST_KEPT:
            self._passed.clear()
        self._passed[key] = now
        return True


def _what(record: logging.LogRecord) -> Any:
    """Return what a complaint is about: without its connection, its attempt and its time."""
    if isinstance(record.args, Mapping):
        return record.msg, record.args.get('hostname'), record.args.get('port')
    return record.msg, str(record.args[0]) if record.args else None


def setup(conf: cfg.ConfigOpts, name: str) -> None:
    """Set logging up as a configuration says, with what a line names by default.

    :param name: of the cell, or of the host of an agent.
    """
    for option, value in DEFAULTS.items():
        conf.set_default(option, value)
    log.setup(conf, 'cells')
    sparing = Sparing()
    for library in BROKERS:
        logging.getLogger(library).addFilter(sparing)
    naming = Naming(name)
    for handler in logging.getLogger().handlers:
        handler.addFilter(naming)
