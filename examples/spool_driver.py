"""A driver that carries messages between cells as files in a directory that all of them share.

::

    [cells]
    driver = spool_driver.SpoolDriver

    [spool]
    path = /var/spool/cells

Every cell of the tree has the same. Neighbours keep their transport URLs, which API services
and agents need anyway; here they only say whose directory is meant. It bears kill -9 of any
process, as a message is a file until it is settled; it does not bear a power failure, and it is
slow. It is an example, and it keeps the whole contract: ``tests/functional/test_drivers.py``.

A worker that listens has one directory for each topic, ``<path>/<cell>/<topic>/<worker>``, and a
lock on the file ``lock`` in it. Who sends writes into the directory of a worker whose lock is
held. What a worker leaves behind is taken over by another one of its cell, or by itself.
"""

import contextlib
import fcntl
import itertools
import os
import pathlib
import threading
import time
from typing import IO
from urllib.parse import quote, urlsplit

from oslo_config import cfg

from cells import exceptions, operations
from cells.drivers import base, sender
from cells.drivers.settings import DriverSettings
from cells.state import CellState

OPTS = [cfg.StrOpt('path', help='Directory that all cells share.')]

#: Seconds between two looks for messages, and for what other workers have left behind.
LOOK, ADOPT = 0.01, 0.2

NUMBERS = itertools.count()


class SpoolDriver(base.CellsDriver):
    """The driver. The limits and the log of each link are those of :mod:`cells.drivers.sender`."""

    def __init__(self, settings: DriverSettings) -> None:
        settings.conf.register_opts(OPTS, group='spool')
        if not settings.conf.spool.path or settings.transport_url is None:
            raise exceptions.ConfigurationError(
                reason='the spool driver needs [spool] path and [DEFAULT] transport_url'
            )
        self._root = pathlib.Path(settings.conf.spool.path)
        self._settings = settings
        self._intakes: dict[operations.Kind, Intake] = {}
        self._turns = itertools.count()
        self._senders = sender.Senders(
            lambda name, url: sender.Sender(
                name,
                lambda outgoing: self._deliver(name, url, outgoing),
                lambda: None,
                settings.send_queue_length,
            )
        )

    def start(self, receive: base.Receive) -> None:
        assert self._settings.transport_url is not None
        for kind in operations.Kind:
            place = self._place(self._settings.transport_url, kind)
            try:
                self._intakes[kind] = Intake(
                    place / quote(self._settings.server, safe=''),
                    receive,
                    prefetch=self._settings.prefetch,
                    # An answer is for who waits for it; nobody waits after a restart.
                    keeps=kind is not operations.Kind.RESPONSE,
                )
            except OSError as error:
                raise exceptions.ConfigurationError(
                    reason='[spool] path = %s: %s' % (self._root, error.strerror)
                ) from None

    def stop(self) -> None:
        self._leave(operations.Kind.TARGETED, operations.Kind.BROADCAST)

    def close(self) -> None:
        self._leave(*operations.Kind)
        self._senders.close()

    def _leave(self, *kinds: operations.Kind) -> None:
        for kind in kinds:
            intake = self._intakes.pop(kind, None)
            if intake is not None:
                intake.close()

    def send(self, neighbour: CellState, outgoing: base.Outgoing) -> None:
        self._senders.to(neighbour.name, neighbour.transport_url).put(outgoing)

    def heard(self, name: str) -> None:
        self._senders.heard(name)

    def link(self, name: str) -> base.LinkState:
        return self._senders.link(name)

    def forget(self, keep: frozenset[str]) -> None:
        self._senders.forget(keep)

    def _place(self, url: str, kind: operations.Kind) -> pathlib.Path:
        """Return the directory of a cell for a kind of messages; no password is in its name."""
        found = urlsplit(url)
        hosts = ','.join(host.rpartition('@')[2] for host in found.netloc.split(','))
        topic = '%s.%s' % (self._settings.queue_base, kind.value)
        return self._root / quote(hosts + found.path, safe='') / quote(topic, safe='')

    def _deliver(self, name: str, url: str, outgoing: base.Outgoing) -> None:
        """Write a message; called in the thread of one neighbour's sender."""
        place = self._place(url, outgoing.kind)
        workers = sorted(lock.parent for lock in place.glob('*/lock') if is_held(lock))
        if not workers:
            raise exceptions.NotSent(
                cell_name=name, reason='no nova-cells listens in %s' % self._root
            )
        if outgoing.server is not None:
            workers = [one for one in workers if one.name == quote(outgoing.server, safe='')]
            if not workers:
                raise exceptions.Unroutable(
                    cell_name=name, reason='worker %s is not there' % outgoing.server
                )
        elif not outgoing.fanout:
            workers = [workers[next(self._turns) % len(workers)]]
        try:
            for worker in workers:
                write(worker, outgoing.text)
        except OSError as error:
            raise exceptions.NotSent(cell_name=name, reason=str(error.strerror)) from None


def write(directory: pathlib.Path, text: str) -> None:
    """Make a file for a message. Names are in the order of sending and end with the deliveries."""
    name = '%020d-%08d-%d.0' % (time.time_ns(), next(NUMBERS), os.getpid())
    new = directory / ('.' + name)
    new.write_text(text, 'utf-8', newline='')
    new.rename(directory / name)


def is_held(lock: pathlib.Path) -> bool:
    """Tell whether a worker has a lock."""
    try:
        with open(lock) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


class Arrived:
    """A message that was taken in; its file goes when it is settled."""

    def __init__(self, path: pathlib.Path, intake: 'Intake') -> None:
        self.deliveries = int(path.suffix[1:])
        self._path = path
        self._intake = intake
        with open(path, encoding='utf-8', newline='') as file:
            self.text = file.read()

    def settle(self) -> None:
        self._intake.settle(self._path)


class Intake:
    """One directory of a worker, and the thread that reads it.

    :param prefetch: how many messages may be taken in and not settled.
    :param keeps: whether what is not settled comes again.
    """

    def __init__(
        self, directory: pathlib.Path, receive: base.Receive, *, prefetch: int, keeps: bool
    ) -> None:
        self._directory = directory
        self._receive = receive
        self._prefetch = prefetch
        self._keeps = keeps
        self._unsettled: set[pathlib.Path] = set()
        self._closed = threading.Event()
        directory.mkdir(parents=True, exist_ok=True)
        self._lock: IO[str] = open(directory / 'lock', 'w')  # noqa: SIM115 - held while it listens
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._take_over(directory)
        self._thread = threading.Thread(target=self._run, name='spool-intake', daemon=True)
        self._thread.start()

    def settle(self, path: pathlib.Path) -> None:
        """Forget a message; what comes too late for that is delivered again."""
        if not self._closed.is_set():
            path.unlink(missing_ok=True)
        self._unsettled.discard(path)

    def close(self) -> None:
        """Leave everything that is not settled to the next worker."""
        self._closed.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        self._lock.close()

    def _run(self) -> None:
        looked = time.monotonic()
        while not self._closed.is_set():
            if self._keeps and time.monotonic() - looked > ADOPT:
                looked = time.monotonic()
                self._adopt()
            if not self._read():
                self._closed.wait(LOOK)

    def _read(self) -> bool:
        """Hand on what is new, as many as may be unsettled; tell whether there was anything."""
        # Taken before the files are listed: what is settled in between must not look new.
        unsettled = frozenset(self._unsettled)
        room = self._prefetch - len(unsettled)
        new = [path for path in messages(self._directory) if path not in unsettled][:room]
        for path in new:
            if self._closed.is_set():
                break
            self._unsettled.add(path)
            self._receive(Arrived(path, self))
        return bool(new)

    def _adopt(self) -> None:
        for lock in self._directory.parent.glob('*/lock'):
            if lock.parent == self._directory:
                continue
            with open(lock) as file, contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._take_over(lock.parent)

    def _take_over(self, directory: pathlib.Path) -> None:
        """Make what is in a directory, whose lock is held here, come again from the own one."""
        for path in messages(directory):
            if not self._keeps:
                path.unlink()
                continue
            stem, _, deliveries = path.name.rpartition('.')
            path.rename(self._directory / ('%s.%d' % (stem, int(deliveries) + 1)))


def messages(directory: pathlib.Path) -> list[pathlib.Path]:
    """Return the files of messages, oldest first."""
    found = [path for path in directory.iterdir() if path.name[0].isdigit()]
    return sorted(found)
