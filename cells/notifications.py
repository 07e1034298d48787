"""Tells events of instances to who listens, through oslo.messaging's notifier.

Which way they take is what ``[oslo_messaging_notifications]`` says; with no driver there nothing
is written and nothing told. An event is dropped when the notifier has taken it, so that one may
be told twice when a process is killed in between; ``event_id`` is the same then.
"""

import logging
import threading
from typing import Any, Final

import orjson
import oslo_messaging
from oslo_config import cfg

from cells import exceptions
from cells.db import engine
from cells.db import notifications as db_notifications
from cells.patience import Patience
from cells.stats import Stats

LOG = logging.getLogger(__name__)

CLAIM_SIZE: Final = 50
CLAIM_SECONDS: Final = 120.0
POLL_SECONDS: Final = 1.0


def wanted(conf: cfg.ConfigOpts) -> bool:
    """Tell whether somebody is to be told of events."""
    return any(name != 'noop' for name in conf.oslo_messaging_notifications.driver)


class Notifications:
    """Tells what is written, for one worker; does nothing when nobody listens."""

    def __init__(
        self, *, conf: cfg.ConfigOpts, database: engine.Database, worker: str, stats: Stats
    ) -> None:
        self._conf = conf
        self._database = database
        self._worker = worker
        self._stats = stats
        self._transport: Any = None
        self._notifier: Any = None
        self._stopped = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name='notifications', daemon=True)

    def start(self) -> None:
        """Begin.

        :raises ConfigurationError: the driver or its URL cannot be used.
        """
        if not wanted(self._conf):
            return
        try:
            self._transport = oslo_messaging.get_notification_transport(self._conf)
            self._notifier = oslo_messaging.Notifier(
                self._transport, publisher_id='compute.%s' % self._conf.host
            )
        except (oslo_messaging.MessagingException, ImportError, ValueError) as error:
            raise exceptions.ConfigurationError(
                reason='[oslo_messaging_notifications] cannot be used: %s' % type(error).__name__
            ) from None
        self._thread.start()

    def wake(self) -> None:
        """Look for events now. Any thread."""
        self._woken.set()

    def stop(self) -> None:
        """End; what is not told waits."""
        self._stopped.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(5)
        if self._transport is not None:
            self._transport.cleanup()

    def _run(self) -> None:
        patience = Patience('Notifications', self._stopped)
        while not self._stopped.is_set():
            self._woken.wait(POLL_SECONDS)
            self._woken.clear()
            try:
                while not self._stopped.is_set() and db_notifications.due(self._database):
                    if not self._tell():
                        break
            except engine.ERRORS as error:
                patience.wait(error)
            except Exception:  # noqa: BLE001 - without this thread no event is told
                LOG.exception('Notifications met what they do not know, going on')
                self._stopped.wait(POLL_SECONDS)
            else:
                patience.succeeded()

    def _tell(self) -> bool:
        with self._database.write() as connection:
            rows = db_notifications.claim(connection, self._worker, CLAIM_SECONDS, CLAIM_SIZE)
        for row in rows:
            if self._stopped.is_set():
                return False
            payload = {**orjson.loads(row['payload']), 'event_id': row['uuid']}
            tell = self._notifier.error if row['priority'] == 'ERROR' else self._notifier.info
            tell({}, row['event_type'], payload)
            self._stats.count('notifications_sent')
            with self._database.write() as connection:
                db_notifications.drop(connection, [row['id']])
        return bool(rows)
