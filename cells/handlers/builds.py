"""Builds: what was asked for is kept; :class:`cells.placer.Placer` does the rest."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from cells import (
    arguments,
    build_requests,
    dispatch,
    exceptions,
    messages,
    placement,
    policy,
    wire,
)
from cells.build_requests import Wanted
from cells.compute import states
from cells.db import engine
from cells.db import flavors as db_flavors
from cells.db import instances as db_instances
from cells.db import placements as db_placements
from cells.db.placements import Reasons
from cells.handlers import base
from cells.objects import instance as instance_objects
from cells.state import CellStateManager

LOG = logging.getLogger(__name__)

#: What a record at the top does not take from what an API service asks to be built: it is
#: not yet so, or the database says it.
_NOT_TAKEN: Final = frozenset(
    (
        'cell_name',
        'created_at',
        'deleted',
        'deleted_at',
        'fault',
        'host',
        'id',
        'launched_at',
        'launched_on',
        'metadata',
        'node',
        'services',
        'terminated_at',
        'updated_at',
    )
)
_OPEN: Final = frozenset((*db_placements.OPEN, db_placements.DONE))


class BuildHandlers:
    """Takes requests, answers and cancellations."""

    OPERATIONS: Final = ('build_instances', 'x_build_answer', 'x_build_cancel')

    def __init__(self, state: CellStateManager) -> None:
        self._state = state

    def build_instances(
        self, connection: sa.Connection, message: messages.Message, build_inst_kwargs: object
    ) -> None:
        """Have instances built, here or below.

        What is wrong with a request becomes the fault of its instances.

        :raises WireError: it is wrong, and names no instance.
        """
        if message.extension is None:
            build_inst_kwargs = build_requests.without_attempts(build_inst_kwargs)
        try:
            wanted = self._checked(connection, message, build_inst_kwargs)
            message = self._with_present_paths(message)
        except exceptions.WireError as error:
            uuids = build_requests.instances_of(build_inst_kwargs)
            if not uuids:
                raise
            self._refuse(connection, message, uuids, build_inst_kwargs, error)
            return
        if self._state.topology.is_top:
            wanted = [one for one in wanted if _recorded(connection, one.instance)]
        last = db_placements.attempts_last(connection, [one.instance.uuid for one in wanted])
        # A copy of a request is none more; nor is one that comes in another message (R3).
        fresh = [one for one in wanted if _is_new(one, last.get(one.instance.uuid))]
        self._keep(
            connection,
            message,
            [
                {
                    'instance_uuid': one.instance.uuid,
                    'attempt_above': one.attempt_above,
                    **one.size._asdict(),
                }
                for one in fresh
            ],
            last,
        )

    def _checked(
        self, connection: sa.Connection, message: messages.Message, kwargs: object
    ) -> list[Wanted]:
        def find_flavor(flavorid: str) -> Mapping[str, Any]:
            return db_flavors.flavor_find(connection, flavorid)

        wanted = build_requests.parse(kwargs, find_flavor)
        assert isinstance(kwargs, Mapping)
        request = build_requests.request(kwargs, wanted[0].size, message.routing_path)
        build_requests.check(request)
        policy.check_hints(dispatch.context_of(message), request.hints)
        return wanted

    def _with_present_paths(self, message: messages.Message) -> messages.Message:
        if message.neighbour is not None:
            return message  # what was asked for was asked elsewhere
        kwargs = message.method_kwargs['build_inst_kwargs']
        try:
            present = build_requests.with_present_paths(kwargs, self._state.aliases)
        except ValueError as error:
            raise exceptions.Invalid(reason=str(error)) from None
        if present is kwargs:
            return message
        changed = {**message.method_kwargs, 'build_inst_kwargs': present}
        return dataclasses.replace(message, method_kwargs=changed)

    def _refuse(
        self,
        connection: sa.Connection,
        message: messages.Message,
        uuids: Sequence[str],
        kwargs: object,
        error: exceptions.WireError,
    ) -> None:
        """Have the instances of a request end in an error, wherever they are recorded."""
        if self._state.topology.is_top:
            _record_all(connection, kwargs)
        above = build_requests.attempts_above(kwargs)
        reasons = Reasons({str(message.routing_path): str(error)}, error.code)
        last = db_placements.attempts_last(connection, uuids)
        self._keep(
            connection,
            message,
            [
                {
                    'instance_uuid': uuid,
                    'attempt_above': above.get(uuid),
                    'state': db_placements.HOPELESS,
                    'reasons': reasons.text(),
                }
                for uuid in uuids
                if uuid not in last or last[uuid]['state'] not in _OPEN
            ],
            last,
        )

    def _keep(
        self,
        connection: sa.Connection,
        message: messages.Message,
        rows: Sequence[Mapping[str, Any]],
        last: Mapping[str, Mapping[str, Any]],
    ) -> None:
        if not rows:
            return
        db_placements.request_add(connection, message.uuid, wire.encode(message))
        numbers = {uuid: row['attempt'] for uuid, row in last.items()}
        db_placements.attempts_add(
            connection,
            [
                {
                    **row,
                    'request_uuid': message.uuid,
                    'attempt': numbers.get(row['instance_uuid'], 0) + 1,
                }
                for row in rows
            ],
        )

    def x_build_answer(
        self,
        connection: sa.Connection,
        message: messages.Message,
        instance_uuid: object,
        attempt: object,
        accepted: object,
        reasons: object,
    ) -> None:
        """Take from a child what came of an attempt.

        :param accepted: see :func:`cells.placement.answered`.
        :raises Invalid: an argument cannot be one.
        """
        assert message.neighbour is not None
        told = arguments.mapping('reasons', reasons)
        texts = {
            arguments.text('a cell in reasons', path, longest=4096): arguments.text(
                'the reason of a cell', text, longest=1_000_000, empty=True
            )[: placement.LONGEST_REASON]
            for path, text in list(told.items())[: placement.MOST_REASONS]
        }
        placement.answered(
            connection,
            message.neighbour,
            arguments.text('instance_uuid', instance_uuid, longest=36),
            arguments.number('attempt', attempt, least=1, most=2**31 - 1),
            None if accepted is None else base.boolean('accepted', accepted),
            texts,
        )

    def x_build_cancel(
        self,
        connection: sa.Connection,
        message: messages.Message,
        instance_uuid: object,
        attempt: object,
    ) -> None:
        """Drop an attempt of the cell above, whether it is here already or not.

        :raises Invalid: an argument cannot be one.
        """
        placement.cancelled_above(
            connection,
            arguments.text('instance_uuid', instance_uuid, longest=36),
            arguments.number('attempt', attempt, least=1, most=2**31 - 1),
        )


def _is_new(wanted: Wanted, last: Mapping[str, Any] | None) -> bool:
    if last is None:
        return True
    if last['state'] not in _OPEN:
        return True
    # The cell above has taken it from here and given it here again.
    return (
        last['state'] == db_placements.DONE
        and wanted.attempt_above is not None
        and last['attempt_above'] not in (None, wanted.attempt_above)
    )


def _record_all(connection: sa.Connection, kwargs: object) -> None:
    """Have records of the instances of a request that is wrong, as far as they can be stored."""
    given = kwargs.get('instances') if isinstance(kwargs, Mapping) else None
    for one in given if isinstance(given, list | tuple) else ():
        if isinstance(one, instance_objects.Instance) and 'uuid' in one:
            try:
                with connection.begin_nested():
                    _recorded(connection, one)
            except (exceptions.WireError, *engine.ERRORS) as error:
                if isinstance(error, engine.ERRORS) and engine.is_transient(error):
                    raise
                LOG.info('Instance %s cannot be recorded: %s', one.uuid, engine.brief(error))


def _recorded(connection: sa.Connection, wanted: instance_objects.Instance) -> bool:
    """Have a record of an instance at the top; False when it is not to be built (any more)."""
    try:
        found = db_instances.instance_get(connection, wanted.uuid, read_deleted='yes', lock=True)
    except exceptions.InstanceNotFound:
        values = {name: value for name, value in wanted.items() if name not in _NOT_TAKEN}
        values['vm_state'] = states.BUILDING
        values['task_state'] = states.SCHEDULING
        metadata = wanted.metadata if 'metadata' in wanted else None
        db_instances.instance_create(connection, values, metadata)
        return True
    if found.deleted or found.task_state in states.DELETIONS:
        return False
    return found.host is None and found.cell_name is None
