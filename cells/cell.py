"""The life of a worker of a cell: how it starts, wakes, reloads and ends."""

import dataclasses
import logging
import threading
from collections.abc import Callable
from typing import Any, Final

from oslo_config import cfg

from cells import (
    arrivals,
    exceptions,
    figures,
    identity,
    parts,
    patience,
    published,
    rpc,
    slots,
    vitals,
)
from cells.db import engine, migration
from cells.db import services as db_services

LOG = logging.getLogger(__name__)

#: Seconds that waiting calls get when a worker stops.
DRAIN_SECONDS: Final = 5.0

BINARY: Final = 'nova-cells'


class Cell(parts.Parts):
    """A worker of a cell.

    :param conf: parsed, with the options of :func:`cells.configured.prepare`.
    :param slot: gives this worker its name; released at the end.
    """

    def __init__(self, conf: cfg.ConfigOpts, slot: slots.WorkerSlot) -> None:
        super().__init__(conf, '%s.%d' % (conf.host, slot.number))
        self._conf = conf
        self._slot = slot
        self._server: Any = None
        self._bus_away = False
        self.vitals = vitals.Vitals(
            name=self.name,
            server=self.server,
            state=self.state,
            stats=self.stats,
            neighbours=self.status.links,
            silences=self._bus_silences,
            load=self.runner.load,
            enabled=self.takes_builds,
            parents=self.sync.parents,
        )

    def start(self) -> None:
        """Serve. Waits for a database or a broker that is away, and says so.

        :raises ConfigurationError: it will never work as it is configured.
        """
        self.vitals.doing = 'waits for its database'
        self._wait_for_database()
        try:
            self.state.start()
        except ValueError as error:
            raise exceptions.ConfigurationError(
                reason='The neighbours of cell %s are wrong: %s' % (self.name, error)
            ) from None
        self.vitals.doing = 'waits for its message bus'
        self._transport = rpc.get_transport(self._conf)
        identity.check_alone(self._transport, self._conf.cells.topic, self.state.cell_id, self.name)
        self.vitals.doing = 'waits for its database'
        self.journal.start()
        self.vitals.doing = 'waits for its message bus'
        self.outbox.start()
        self.runner.start(self.journal, self.outbox)
        self.driver.start(self.runner.receive)
        self.lease.start()
        self.reports.start()
        self.pings.start()
        self.placer.start()
        self.operations.start()
        self.vitals.doing = 'waits for its database'
        self.sync.start()
        self.healing.start()
        self.vitals.doing = 'waits for its message bus'
        self.sweep.start()
        self.notifications.start()
        self._server = rpc.get_server(
            self._transport,
            self._conf.cells.topic,
            self._conf.host,
            self._endpoints,
            prefetch=self._conf.cells.intake_prefetch,
            queue_type=self._conf.cells.queue_type,
            worker=self.server,
            max_bytes=self._conf.cells.max_message_bytes,
            stats=self.stats,
            most_deliveries=arrivals.MOST_DELIVERIES,
            on_dead=self.runner.park_cast,
        )
        # A cast holds a thread until it is journaled; calls must not run short of them for that.
        self._server.start(
            override_pool_size=self._conf.cells.rpc_threads + self._conf.cells.intake_prefetch
        )
        self.report()
        self.vitals.doing = published.SERVES
        LOG.info('Cell %s: worker %s serves', self.name, self.server)

    def meditation(self) -> dict[str, Callable[[], Any]]:
        """Return what a Guru Meditation report says of this worker; no secret is in it."""
        reader = figures.FiguresReader(self.database, self._conf.service_down_time)
        return {
            'Cell': lambda: {**self.vitals.read(), 'neighbours': None, 'counters': None},
            'Neighbours': self.status.links,
            'Mailboxes': self.runner.open_questions,
            'Journal': lambda: dataclasses.asdict(reader.read()),
            'Counters': self.stats.snapshot,
        }

    def _bus_silences(self) -> dict[str, float]:
        """Return for how many seconds the message bus has been away, for each who listens."""
        found = {'neighbours': self.driver.bus_silence}
        if self._server is not None:
            found['clients'] = getattr(self._server, 'bus_silence', 0.0)
        return found

    def look_at_bus(self) -> None:
        """Say in the log, once, that the message bus of this cell is away, or there again."""
        away = max(self._bus_silences().values()) > published.BUS_SECONDS
        if away and not self._bus_away:
            LOG.error('Cell %s: the message bus is away, trying until it is there', self.name)
        elif self._bus_away and not away:
            LOG.info('Cell %s: the message bus is there again', self.name)
        self._bus_away = away

    def report(self) -> None:
        """Note in the table of services that this cell lives."""
        try:
            db_services.service_report(
                self.database, self._conf.host, BINARY, self._conf.cells.topic
            )
        except engine.ERRORS as error:
            LOG.warning(
                'The report that %s lives could not be written: %s',
                self.server,
                engine.brief(error),
            )

    def reload(self) -> None:
        """Read the neighbours anew, and whether this cell takes new instances."""
        self._conf.mutate_config_files()
        self.enabled = self._conf.cells.enabled
        self.state.refresh()

    def stop(self) -> None:
        """Drain and end: stop intake, answer who waits, send what waits, release."""
        self.vitals.doing = 'stops'
        if self._server is not None:
            self._server.stop()
        self.notifications.stop()
        self.sweep.stop()
        self.healing.stop()
        self.sync.stop()
        self.operations.stop()
        self.placer.stop()
        self.pings.stop()
        self.reports.stop()
        self.lease.stop()
        self.driver.stop()
        self.runner.drain(DRAIN_SECONDS)
        # Casts that wait for a database that is away go back to the broker.
        self.journal.stop()
        if self._server is not None:
            rpc.wait_for_end(self._server, DRAIN_SECONDS)
        self.runner.stop()
        self.outbox.hold()
        self.driver.close()
        self.outbox.finish()
        self.state.stop()
        if self._transport is not None:
            self._transport.cleanup()
        self.database.dispose()
        self._slot.release()
        LOG.info('Cell %s: worker %s has stopped', self.name, self.server)

    def _wait_for_database(self) -> None:
        what = 'The start of cell %s' % self.name
        # Who starts it looks for the cause here, and the second is often not the first.
        waiting = patience.Patience(what, threading.Event(), each=True)
        try:
            waiting.insist(lambda: migration.check(self.database))
        except engine.ERRORS as error:
            raise exceptions.ConfigurationError(
                reason='[database] connection cannot be used: %s' % error
            ) from None
