"""Takes what came of an operation on a host, once, to whoever knows what it means.

That happens in the transaction that ends the operation. What comes for one that has ended
already is dropped, but for a machine that came up after it had been given up: nobody would
know of that one, so it is removed again.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells import exceptions
from cells.compute import build_ends, builds, host_ops, placing
from cells.db import engine, host_operations, instance_actions

LOG = logging.getLogger(__name__)

#: Operations that bring a machine to a host.
CREATING: Final = frozenset((builds.METHOD, 'unshelve', 'resize_finish', 'migrate_in'))
#: How often a transaction is done again that was in the way of another.
MOST_DEADLOCKS: Final = 5

#: Does what follows from an outcome: (connection, operation, outcome).
Finish = Callable[[sa.Connection, Mapping[str, Any], host_ops.Outcome], object]
#: Notes how far an operation is: (connection, operation, task state, percent).
Progress = Callable[[sa.Connection, Mapping[str, Any], str, int | None], object]


class HostOutcomes:
    """Ends operations.

    :param of_builds: what follows from builds.
    :param finish: what follows from all others.
    :param progress: notes how far all others are.
    """

    def __init__(
        self,
        *,
        database: engine.Database,
        of_builds: build_ends.BuildEnds,
        finish: Finish,
        progress: Progress,
    ) -> None:
        self._database = database
        self._builds = of_builds
        self._finish = finish
        self._progress = progress

    def end(self, op_id: str, outcome: host_ops.Outcome, host: str | None = None) -> bool:
        """End an operation with all that follows from it; False when nobody waited for it.

        Wake the cell afterwards.

        :param host: that says so.
        :raises Invalid: it is an operation of another host.
        """
        try:
            return self._undisturbed(op_id, outcome, host, self._end)
        except _UnfinishedError as error:
            # Whatever is wrong with the instance, an agent must not repeat itself for ever.
            LOG.error('What came of operation %s cannot be noted: %s', op_id, error)
            return self._undisturbed(op_id, outcome, host, self._end_only)

    def progress(
        self,
        connection: sa.Connection,
        op_id: str,
        host: str,
        task_state: str,
        percent: int | None,
    ) -> bool:
        """Note how far an operation is; False when it is over, or not one of the host."""
        operation = host_operations.op_find(connection, op_id)
        if (
            operation is None
            or operation['host'] != host
            or operation['state'] not in host_operations.OPEN
            or operation['instance_uuid'] == host_operations.STRAY
        ):
            return False
        note = self._builds.progress if _is_build(operation) else self._progress
        note(connection, operation, task_state, percent)
        return True

    def _undisturbed(
        self,
        op_id: str,
        outcome: host_ops.Outcome,
        host: str | None,
        work: Callable[[sa.Connection, Mapping[str, Any], host_ops.Outcome], None],
    ) -> bool:
        for left in reversed(range(MOST_DEADLOCKS)):
            try:
                with self._database.write() as connection:
                    return self._take(connection, op_id, outcome, host, work)
            except engine.ERRORS as error:
                if not left or not engine.is_deadlock(error):
                    raise
        return False

    def _take(
        self,
        connection: sa.Connection,
        op_id: str,
        outcome: host_ops.Outcome,
        host: str | None,
        work: Callable[[sa.Connection, Mapping[str, Any], host_ops.Outcome], None],
    ) -> bool:
        operation = host_operations.op_find(connection, op_id, lock=True)
        if operation is None:
            LOG.info('Host %s has ended %s, which is not known here', host, op_id)
            return False
        if host is not None and operation['host'] != host:
            raise exceptions.Invalid(
                reason='operation %s is one of host %s, not of %s'
                % (op_id, operation['host'], host)
            )
        if operation['state'] not in host_operations.OPEN:
            self._late(connection, operation, outcome)
            return False
        state = host_operations.DONE if outcome.ok else host_operations.FAILED
        host_operations.op_end(connection, op_id, state, _brief(outcome))
        if operation['instance_uuid'] != host_operations.STRAY:
            work(connection, operation, outcome)
        return True

    def _end(
        self, connection: sa.Connection, operation: Mapping[str, Any], outcome: host_ops.Outcome
    ) -> None:
        try:
            if _is_build(operation):
                self._builds.ended(connection, operation, outcome)
            elif not self._builds.elsewhere(connection, operation, outcome):
                self._finish(connection, operation, outcome)
        except Exception as error:  # an agent that is not answered repeats itself for ever
            if isinstance(error, engine.ERRORS) and engine.is_transient(error):
                raise
            raise _UnfinishedError(reason='%s: %s' % (type(error).__name__, error)) from error

    def _end_only(
        self, connection: sa.Connection, operation: Mapping[str, Any], outcome: host_ops.Outcome
    ) -> None:
        if operation['event_uuid'] is not None:
            result = instance_actions.SUCCESS if outcome.ok else instance_actions.ERROR
            instance_actions.event_end(
                connection, operation['event_uuid'], result, outcome.error_message
            )

    def _late(
        self, connection: sa.Connection, operation: Mapping[str, Any], outcome: host_ops.Outcome
    ) -> None:
        if not outcome.ok or operation['state'] == host_operations.DONE:
            return
        uuid, host = operation['instance']['uuid'], operation['host']
        if operation['method'] not in CREATING or placing.belongs(connection, uuid, host):
            LOG.info('Host %s has done %s, which was given up', host, operation['op_id'])
            return
        LOG.warning(
            'Host %s runs instance %s now, which was given up (%s): removing it',
            host,
            uuid,
            operation['op_id'],
        )
        # Of its own name: one that was ordered when it was given up may have come too early.
        late = '%.52s.late' % operation['op_id']
        host_ops.order_stray_terminate(connection, late, host, operation['instance'])


class _UnfinishedError(exceptions.CellsError):
    """Raised to undo a transaction that could not do what follows from an outcome."""

    msg_fmt = '%(reason)s'


def _is_build(operation: Mapping[str, Any]) -> bool:
    # An evacuation builds as well, and says in its notes what is to follow.
    return operation['method'] == builds.METHOD and 'then' not in operation['notes']


def _brief(outcome: host_ops.Outcome) -> dict[str, Any]:
    return {
        'ok': outcome.ok,
        'power_state': outcome.power_state,
        'error': None
        if outcome.ok
        else {'type': outcome.error_type, 'message': outcome.error_message},
    }
