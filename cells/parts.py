"""The composition root: one cell, one object graph.

:class:`Parts` reads the configuration once, builds the parts and hands each its collaborators and
plain values. Two cells in one process share nothing.
"""

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from oslo_config import cfg

from cells import (
    configured,
    context,
    dispatch,
    exceptions,
    handlers,
    heal,
    host_capacity,
    journal,
    known_cells,
    leases,
    letters,
    manager,
    messaging,
    notifications,
    outbox,
    paths,
    pings,
    placer,
    plugins,
    reports,
    status,
    sweep,
    sync,
    versions,
)
from cells.compute import build_ends, builds, host_outcomes, host_sender, hosts, results
from cells.db import engine
from cells.drivers import settings
from cells.endpoints import agents, base_api, host_results, ops, records
from cells.stats import Stats

#: The part of ``call_timeout`` that an agent may take, and how many seconds at most.
AGENT_PART: Final = 0.8
AGENT_SECONDS: Final = 30.0


class Parts:
    """What a worker of a cell is made of.

    :param conf: parsed, with the options of :func:`cells.configured.prepare`.
    :param server: the name of this worker.
    """

    def __init__(self, conf: cfg.ConfigOpts, server: str) -> None:
        options = conf.cells
        self.name = options.name
        self.server = server
        self.stats = Stats()
        below = options.cell_type != 'api'
        self.database = engine.Database(
            configured.connection(conf),
            replicates=below,
            notifies=below and notifications.wanted(conf),
        )
        #: ``[cells] enabled``.
        self.enabled: bool = options.enabled
        chooser = plugins.load_scheduler(options)
        try:
            capabilities = reports.parse_capabilities(options.capabilities)
        except ValueError as error:
            raise exceptions.ConfigurationError(reason='[cells] capabilities: %s' % error) from None
        try:
            self.state = configured.neighbours(conf, self.database, configured.place(conf))
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
        #: Made when the cell starts.
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
