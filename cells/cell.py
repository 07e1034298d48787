"""One cell, one object graph: the composition root.

:class:`Cell` reads the configuration once, builds every part and hands each
its collaborators and plain values. Two cells in one process share nothing.
"""

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import sqlalchemy as sa
from oslo_config import cfg

from cells import (
    arrivals,
    context,
    dispatch,
    exceptions,
    figures,
    handlers,
    heal,
    host_capacity,
    identity,
    journal,
    known_cells,
    leases,
    letters,
    manager,
    messaging,
    neighbour_sources,
    notifications,
    outbox,
    paths,
    pings,
    placer,
    plugins,
    published,
    reports,
    rpc,
    sightings,
    slots,
    state,
    status,
    sweep,
    sync,
    versions,
    vitals,
)
from cells import conf as cells_conf
from cells.compute import build_ends, builds, host_outcomes, host_sender, hosts, results
from cells.db import engine, migration
from cells.db import services as db_services
from cells.drivers import settings
from cells.endpoints import agents, base_api, host_results, ops, records
from cells.stats import Stats

LOG = logging.getLogger(__name__)

#: Seconds that waiting calls get when a worker stops.
DRAIN_SECONDS: Final = 5.0
#: The part of ``call_timeout`` that an agent may take, and how many seconds at most.
AGENT_PART: Final = 0.8
AGENT_SECONDS: Final = 30.0
#: Seconds between two attempts to reach the database at start.
DATABASE_PAUSE: Final = 2.0

BINARY: Final = 'nova-cells'


def prepare(conf: cfg.ConfigOpts) -> None:
    """Register on a ConfigOpts all that a cell reads."""
    cells_conf.register_opts(conf)
    rpc.prepare(conf)


class Cell:
    """A worker of a cell.

    :param conf: parsed, with the options of :func:`prepare`.
    :param slot: gives this worker its name; released at the end.
    """

    def __init__(self, conf: cfg.ConfigOpts, slot: slots.WorkerSlot) -> None:
        options = conf.cells
        self.name = options.name
        self._conf = conf
        self._slot = slot
        self.server = '%s.%d' % (conf.host, self._slot.number)
        self.stats = Stats()
        below = options.cell_type != 'api'
        self.database = engine.Database(
            connection(conf), replicates=below, notifies=below and notifications.wanted(conf)
        )
        #: ``[cells] enabled``.
        self.enabled: bool = options.enabled
        chooser = plugins.load_scheduler(options)
        try:
            capabilities = reports.parse_capabilities(options.capabilities)
        except ValueError as error:
            raise exceptions.ConfigurationError(reason='[cells] capabilities: %s' % error) from None
        try:
            self.state = state.CellStateManager(
                place=place(conf),
                source=source(conf, self.database),
                seen=sightings.Sightings(
                    database=self.database,
                    mute_interval=options.mute_child_interval,
                    extensions=options.envelope_extensions,
                ),
                database=self.database,
                check_interval=max(1, options.db_check_interval),
            )
        except ValueError as error:
            raise exceptions.ConfigurationError(reason='[cells] name: %s' % error) from None
        self.driver = settings.load(
            options.driver,
            settings.DriverSettings(
                conf=conf,
                transport_url=conf.transport_url,
                queue_base=options.rpc_driver_queue_base,
                server=self.server,
                prefetch=options.intake_prefetch,
                queue_type=options.queue_type,
                send_queue_length=options.send_queue_length,
                max_message_bytes=options.max_message_bytes,
                version_cap=versions.intercell_cap(conf.upgrade_levels.intercell),
                stats=self.stats,
            ),
        )
        self._transport: Any = None
        # Half of the threads that answer questions may wait for agents.
        self.hosts = hosts.HostClient(
            lambda: self._transport,
            conf.compute_topic,
            timeout=min(options.call_timeout * AGENT_PART, AGENT_SECONDS),
            waiting=max(1, options.handler_threads // 2),
        )
        self.runner = messaging.MessageRunner(
            state=self.state,
            driver=self.driver,
            dispatcher=dispatch.Dispatcher(
                handlers=handlers.handlers(
                    self.database,
                    self.state,
                    self.hosts,
                    stats=self.stats,
                    order=self._order,
                    summary=lambda: self.status.summary(),
                    compute_topic=conf.compute_topic,
                    service_down_time=conf.service_down_time,
                    own_name=options.name,
                    call_timeout=options.call_timeout,
                    shelved_offload_time=conf.shelved_offload_time,
                ),
                database=self.database,
                own_name=options.name,
                object_release=options.object_release,
                stats=self.stats,
                on_change=self.wake,
            ),
            stats=self.stats,
            server=self.server,
            object_release=options.object_release,
            call_timeout=options.call_timeout,
            max_hop_count=options.max_hop_count,
            max_message_bytes=options.max_message_bytes,
            handler_threads=options.handler_threads,
            waiting_per_neighbour=options.rpc_threads // 4,
            action_timeout=options.action_timeout,
            extensions=options.envelope_extensions,
        )
        self.outbox = outbox.Outbox(
            database=self.database,
            worker=self.server,
            driver=self.driver,
            state=self.state,
            stats=self.stats,
            receipt_timeout=options.receipt_timeout,
        )
        self.journal = journal.Journal(
            database=self.database,
            worker=self.server,
            perform=self.runner.perform,
            reach_out=self.runner.reach_out,
            report=self.runner.report,
            on_accepted=self.runner.send_receipts,
            on_performed=self.wake,
            stats=self.stats,
        )
        self.sync = sync.UpSync(
            database=self.database,
            worker=self.server,
            runner=self.runner,
            state=self.state,
            stats=self.stats,
            object_release=options.object_release,
            max_message_bytes=options.max_message_bytes,
        )
        self.healing = heal.Healing(
            database=self.database,
            worker=self.server,
            runner=self.runner,
            state=self.state,
            stats=self.stats,
            pace=heal.Pace(
                page_length=options.instance_update_sync_database_limit,
                page_interval=options.heal_page_interval,
                round_interval=options.heal_round_interval,
                plain_number=options.instance_update_num_instances,
                plain_recent=options.instance_updated_at_threshold,
            ),
        )
        self.sweep = sweep.make(
            is_top=options.cell_type == 'api',
            database=self.database,
            state=self.state,
            runner=self.runner,
            worker=self.server,
            own_name=options.name,
            service_down_time=conf.service_down_time,
            action_timeout=options.action_timeout,
            stats=self.stats,
        )
        self.notifications = notifications.Notifications(
            conf=conf, database=self.database, worker=self.server, stats=self.stats
        )
        self.state.on_change(lambda topology: self.driver.forget(topology.names))
        self.lease = leases.Lease(database=self.database, name='reports', holder=self.server)
        self.reports = reports.Reports(
            state=self.state,
            runner=self.runner,
            lease=self.lease,
            capabilities=capabilities,
            count=lambda: host_capacity.own_capacities(
                self.database, options.reserve_percent, conf.service_down_time
            ),
            enabled=self.takes_builds,
            extensions=options.envelope_extensions,
        )
        self.status = status.CellStatus(
            database=self.database,
            state=self.state,
            driver=self.driver,
            stats=self.stats,
            own_capacities=self.reports.own_capacities,
            takes_builds=self.takes_builds,
            service_down_time=conf.service_down_time,
        )
        self.builds = builds.Builds(
            service_down_time=conf.service_down_time, host_seconds=options.build_host_timeout
        )
        outcomes = host_outcomes.HostOutcomes(
            database=self.database,
            of_builds=build_ends.BuildEnds(
                service_down_time=conf.service_down_time, most_hosts=options.build_hosts
            ),
            finish=results.finish,
            progress=results.progress,
        )
        self.operations = host_sender.HostOperations(
            database=self.database,
            worker=self.server,
            # Of its own: what is asked of hosts must not wait for what is ordered of them.
            caller=hosts.HostClient(
                lambda: self._transport,
                conf.compute_topic,
                timeout=host_sender.ACCEPT_SECONDS,
                waiting=host_sender.LANES,
            ),
            outcomes=outcomes,
            service_down_time=conf.service_down_time,
            on_ended=self.wake,
            stats=self.stats,
        )
        self.placer = placer.make(
            database=self.database,
            cells=known_cells.KnownCells(
                state=self.state,
                own_capacities=self.reports.own_capacities,
                own_capabilities=capabilities,
            ),
            chooser=chooser,
            writer=letters.Letters(
                state=self.state,
                outward=self.runner.outward,
                object_release=options.object_release,
                max_hop_count=options.max_hop_count,
            ),
            builder=self.builds,
            enabled=self.takes_builds,
            link_error=lambda name: self.driver.link(name).error,
            on_change=self.wake,
            retries=options.scheduler_retries,
            retry_delay=options.scheduler_retry_delay,
            build_timeout=options.build_timeout,
            max_hop_count=options.max_hop_count,
            stats=self.stats,
        )
        self.pings = pings.Pings(state=self.state, runner=self.runner, lease=self.lease)
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
        self._endpoints = [
            manager.CellsManager(
                runner=self.runner,
                state=self.state,
                reports=self.reports,
                database=self.database,
                partial_results=options.partial_results,
            ),
            records.RecordEndpoint(
                runner=self.runner,
                state=self.state,
                reports=self.reports,
                database=self.database,
                partial_results=options.partial_results,
            ),
            ops.OpsManager(
                runner=self.runner,
                state=self.state,
                database=self.database,
                reports=self.reports,
                stats=self.stats,
                server=self.server,
                sync=self.sync,
                healing=self.healing,
                sweep=self.sweep,
                status=self.status,
            ),
            agents.HostEndpoint(
                database=self.database,
                own_name=self.name,
                service_down_time=conf.service_down_time,
            ),
            host_results.HostResultsEndpoint(
                database=self.database,
                own_name=self.name,
                outcomes=outcomes,
                power_sync=results.power_sync,
                on_change=self.wake,
                on_success=self.wake_to_tell,
            ),
            base_api.BaseAPI(options.topic),
        ]
        self._server: Any = None
        self._bus_away = False

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

    def _order(
        self,
        connection: sa.Connection,
        ctxt: context.RequestContext,
        operation: str,
        kwargs: Mapping[str, Any],
        target: paths.CellPath,
    ) -> None:
        # The runner, which has the handlers, is made after them.
        self.runner.change_within(connection, ctxt, operation, kwargs, target)

    def takes_builds(self) -> bool:
        """Tell whether this cell takes new instances, by its configuration and its database."""
        return self.enabled and self.name not in self.state.drained

    def wake(self) -> None:
        """Look at once for what a change has left to do."""
        self.placer.wake()
        self.wake_to_tell()

    def wake_to_tell(self) -> None:
        """Look at once for what is to be told: neighbours, agents, the cells above, listeners."""
        self.outbox.wake()
        self.operations.wake()
        self.sync.wake()
        self.notifications.wake()

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
        self._wait_for_server()
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

    def _wait_for_server(self) -> None:
        if self._server is None:
            return
        # A reply is offered to a broker that is away without end.
        waiting = threading.Thread(target=self._server.wait, name='server-wait', daemon=True)
        waiting.start()
        waiting.join(DRAIN_SECONDS)

    def _wait_for_database(self) -> None:
        said = ''
        while True:
            try:
                migration.check(self.database)
            except engine.ERRORS as error:
                if not engine.is_transient(error):
                    raise exceptions.ConfigurationError(
                        reason='[database] connection cannot be used: %s' % error
                    ) from None
                reason = engine.brief(error)
            else:
                return
            # Not in the handler of the error, as oslo.log would add the error to the line.
            if reason != said:
                said = reason
                LOG.warning(
                    'Cell %s waits for its database, trying until it answers: %s',
                    self.name,
                    reason,
                )
            time.sleep(DATABASE_PAUSE)


def place(conf: cfg.ConfigOpts) -> state.Place:
    """Return what the configuration says this cell is in the tree."""
    options = conf.cells
    return state.Place(
        options.name,
        is_top=options.cell_type == 'api',
        standalone=options.standalone,
        many_parents=options.allow_multiple_parents,
    )


def source(conf: cfg.ConfigOpts, database: engine.Database) -> neighbour_sources.Source:
    """Return where the neighbours are written down.

    :raises ConfigurationError: the file that is named is not there.
    """
    path = conf.cells.cells_config
    if not path:
        return neighbour_sources.TableSource(database)
    found = conf.find_file(path)
    if found is None:
        raise exceptions.ConfigurationError(
            reason='[cells] cells_config = %s: there is no such file' % path
        )
    return neighbour_sources.FileSource(found)


def connection(conf: cfg.ConfigOpts) -> str:
    """Return the URL of the database.

    :raises ConfigurationError: it is not set, or cannot be one.
    """
    url = conf.database.connection
    if not url:
        raise exceptions.ConfigurationError(
            reason='[database] connection is not set; it is an SQLAlchemy URL such as '
            'sqlite:////var/lib/cells/cells.sqlite or postgresql+psycopg2://user:password@host/cells'
        )
    reason = engine.fault(url)
    if reason:
        raise exceptions.ConfigurationError(reason='[database] connection %s' % reason)
    return url
