"""What follows from an order to a host to take an instance in: it runs, or the next host.

When a host refuses a build, fails at it or stays away, the next one is tried. When none
is left, nothing of the instance stays in this cell and the decider is told, who tries the
next cell (C2). A machine that comes up after it was given up is removed again
(:class:`cells.compute.host_outcomes.HostOutcomes`).
"""

import logging
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells import context, exceptions, placement
from cells.amounts import Amount
from cells.compute import build_rows, builds, host_ops, placing, states
from cells.db import claims, models
from cells.db import instances as db_instances

LOG = logging.getLogger(__name__)

#: How many hosts are tried in one cell.
MOST_HOSTS: Final = 3


class BuildEnds:
    """Takes what came of builds, in the transactions that end the operations.

    :param service_down_time: seconds without a report after which a host is down.
    :param most_hosts: how many hosts are tried.
    """

    def __init__(self, *, service_down_time: float, most_hosts: int = MOST_HOSTS) -> None:
        self._down_after = service_down_time
        self._most_hosts = most_hosts

    def ended(
        self, connection: sa.Connection, operation: Mapping[str, Any], outcome: host_ops.Outcome
    ) -> None:
        """Take the outcome of an operation that builds, in the transaction that ends it."""
        present = build_rows.present(connection, operation['instance_uuid'])
        if outcome.ok:
            self._built(connection, operation, outcome, present)
        else:
            self._not_built(connection, operation, outcome, present)

    def _built(
        self,
        connection: sa.Connection,
        operation: Mapping[str, Any],
        outcome: host_ops.Outcome,
        present: Mapping[str, Any] | None,
    ) -> None:
        uuid, host = operation['instance_uuid'], operation['host']
        if present is None or present['deleted'] or present['host'] != host:
            host_ops.order_stray_terminate(
                connection, operation['op_id'], host, operation['instance']
            )
            build_rows.end_event(connection, operation, 'it was not wanted any more when it ran')
            return
        values: dict[str, Any] = {
            'vm_state': states.ACTIVE,
            'power_state': outcome.power_state,
            'launched_at': models.utcnow(),
            'launched_on': host,
            'node': outcome.values.get('node') or present['node'],
            'progress': 0,
        }
        if present['task_state'] not in states.DELETIONS:
            values['task_state'] = None
        fields = {}
        if 'network_info' in outcome.values:
            fields['info_cache'] = build_rows.info_cache(uuid, outcome.values['network_info'])
        db_instances.instance_update(connection, uuid, values, fields=fields)
        build_rows.end_event(connection, operation, None)
        placement.build_over(connection, uuid, operation['notes']['attempt'], None)

    def _not_built(
        self,
        connection: sa.Connection,
        operation: Mapping[str, Any],
        outcome: host_ops.Outcome,
        present: Mapping[str, Any] | None,
    ) -> None:
        uuid, host, notes = operation['instance_uuid'], operation['host'], operation['notes']
        reason = '%s' % (outcome.error_message or outcome.error_type)
        LOG.warning('Instance %s was not built on host %s: %s', uuid, host, reason)
        if (
            present is None
            or present['deleted']
            or present['host'] != host
            or present['task_state'] in states.DELETIONS
        ):
            # Whoever deletes it deals with what is there.
            build_rows.end_event(connection, operation, reason)
            placement.build_over(connection, uuid, notes['attempt'], None)
            return
        build_rows.end_event(connection, operation, reason, action_goes_on=True)
        reasons = {**notes['reasons'], host: reason}
        found = self._next_host(connection, uuid, notes, reasons)
        if isinstance(found, list):
            self._give_up(connection, uuid, notes, reasons, found)
            return
        placing.release(connection, uuid, host)
        db_instances.instance_update(
            connection,
            uuid,
            {'host': found[0], 'node': found[1], 'task_state': states.SCHEDULING},
        )
        builds.order(
            connection,
            uuid,
            found[0],
            operation['args'],
            operation['action_uuid'],
            context.RequestContext.from_wire(operation['ctxt']),
            {**notes, 'number': notes['number'] + 1, 'reasons': reasons},
        )

    def _next_host(
        self,
        connection: sa.Connection,
        uuid: str,
        notes: Mapping[str, Any],
        reasons: Mapping[str, str],
    ) -> tuple[str, str] | list[str]:
        if len(reasons) >= self._most_hosts:
            return ['%d hosts are tried at most' % self._most_hosts]
        amount = Amount(*notes['demand'])
        given = notes['wanted']
        # A look before the claim: who gives up must not hold what others wait for.
        found = placing.choose_host(
            connection,
            *amount,
            exclude=reasons,
            only=given['hosts'],
            nodes=given['nodes'],
            zone=given['zone'],
            service_down_time=self._down_after,
        )
        if isinstance(found, list):
            return found
        wanted = placing.Wanted(
            None if given['hosts'] is None else frozenset(given['hosts']),
            None if given['nodes'] is None else frozenset(given['nodes']),
            given['zone'],
        )
        return placing.place(
            connection,
            uuid,
            amount,
            service_down_time=self._down_after,
            wanted=wanted,
            exclude=reasons,
        )

    def _give_up(
        self,
        connection: sa.Connection,
        uuid: str,
        notes: Mapping[str, Any],
        reasons: Mapping[str, str],
        others: list[str],
    ) -> None:
        told = ['host %s: %s' % one for one in reasons.items()]
        placement.build_over(
            connection, uuid, notes['attempt'], '; '.join([*told, 'no other host: %s' % others[0]])
        )
        build_rows.drop(connection, uuid, notes)

    def progress(
        self,
        connection: sa.Connection,
        operation: Mapping[str, Any],
        task_state: str,
        percent: int | None,
    ) -> None:
        """Take it that a build is so far; nothing when it is not the one that counts."""
        if task_state not in build_rows.TASK_STATES:
            return
        values: dict[str, Any] = {'task_state': task_state}
        if percent is not None:
            values['progress'] = percent
        expected = {'task_state': build_rows.TASK_STATES, 'host': operation['host']}
        try:
            db_instances.instance_update(
                connection, operation['instance_uuid'], values, expected=expected
            )
        except (exceptions.InstanceNotFound, exceptions.InstanceUpdateConflict) as error:
            LOG.debug('Progress of %s does not count: %s', operation['op_id'], error)

    # -- other operations that bring an instance to a host --

    def elsewhere(
        self, connection: sa.Connection, operation: Mapping[str, Any], outcome: host_ops.Outcome
    ) -> bool:
        """Have another host do what one has not taken; False when there is none, or no need.

        That is for operations whose notes say ``elsewhere`` and ``demand``: memory, disk and
        processors. The claim goes along.
        """
        notes = operation['notes']
        if outcome.ok or not outcome.refused or not notes.get('elsewhere'):
            return False
        tried = {*notes.get('tried', ()), operation['host']}
        if len(tried) >= self._most_hosts:
            return False
        uuid, kind = operation['instance_uuid'], notes.get('kind', claims.INSTANCE)
        present = build_rows.present(connection, uuid)
        if present is None or present['deleted'] or present['task_state'] in states.DELETIONS:
            return False
        found = placing.place(
            connection,
            uuid,
            Amount(*notes['demand']),
            service_down_time=self._down_after,
            exclude=tried,
            kind=kind,
        )
        if isinstance(found, list):
            return False
        placing.release(connection, uuid, operation['host'], kind)
        return host_ops.order(
            connection,
            op_id='%.60s+%d' % (operation['op_id'].partition('+')[0], len(tried)),
            host=found[0],
            method=operation['method'],
            instance={**operation['instance'], 'node': found[1]},
            args=operation['args'],
            action_uuid=operation['action_uuid'],
            event_uuid=operation['event_uuid'],
            notes={**notes, 'tried': sorted(tried)},
            ctxt=context.RequestContext.from_wire(operation['ctxt']),
            deadline=notes.get('seconds', host_ops.DEADLINE_SECONDS),
        )
