"""A lease: of all workers of a cell one does a thing, and another when that one is gone.

It is kept in the database, on the database's clock. The holder renews it and
stops believing in it well before the others may take it; what is done under a
lease must bear being done twice all the same.
"""

import logging
import threading
import time
from typing import Final

from cells.db import engine
from cells.db import leases as db_leases

LOG = logging.getLogger(__name__)

TTL: Final = 15.0
#: Seconds between two renewals, and between two attempts to take it.
RENEW: Final = 5.0
ATTEMPT: Final = 2.0
#: A holder that could not renew for so long does as if it had lost it.
TRUST: Final = 10.0


class Lease:
    """One lease, as one worker sees it.

    :param holder: the name of this worker.
    """

    def __init__(self, *, database: engine.Database, name: str, holder: str) -> None:
        self._database = database
        self._name = name
        self._holder = holder
        self._trusted_until = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name='lease-' + name, daemon=True)

    @property
    def held(self) -> bool:
        """Whether this worker has it."""
        return time.monotonic() < self._trusted_until

    def start(self) -> None:
        """Try to take it, now and from time to time."""
        self._thread.start()

    def stop(self) -> None:
        """Give it back."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(5)
        if not self.held:
            return
        self._trusted_until = 0.0
        try:
            db_leases.lease_release(self._database, self._name, self._holder)
        except engine.ERRORS as error:
            LOG.info('Lease %s was not given back: %s', self._name, engine.brief(error))

    def _run(self) -> None:
        while True:
            self._try()
            if self._stopped.wait(RENEW if self.held else ATTEMPT):
                return

    def _try(self) -> None:
        begun = time.monotonic()
        had = self.held
        try:
            taken = db_leases.lease_take(self._database, self._name, self._holder, TTL)
        except engine.ERRORS as error:
            LOG.debug('Lease %s cannot be renewed: %s', self._name, engine.brief(error))
            return
        self._trusted_until = begun + TRUST if taken else 0.0
        if taken != had:
            LOG.info('Worker %s %s lease %s', self._holder, 'has' if taken else 'lost', self._name)
