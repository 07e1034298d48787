"""Builds in this cell: how one begins, and how one is dropped that nobody wants any more.

A build is an attempt that this cell has decided for itself (:mod:`cells.placement`). The
row of the instance, the claim on a host and the order for its agent are written in one
transaction, which also looks for a tombstone (S5). What follows from the order is in
:mod:`cells.compute.build_ends`.
"""

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells import context, placement
from cells.compute import build_args, build_rows, host_ops, placing
from cells.db import host_operations, tombstones
from cells.db import instances as db_instances
from cells.objects.instance import Instance

METHOD: Final = 'build'
#: The name that nova gives to this step.
EVENT: Final = 'compute__do_build_and_run_instance'
#: Seconds after which the next host is tried when one does not take a build, or is down.
HOST_SECONDS: Final = 120.0


class Builds:
    """What this cell does for builds, in the transactions of others.

    :param service_down_time: seconds without a report after which a host is down.
    :param host_seconds: until the next host is tried when one is silent or down.
    """

    def __init__(self, *, service_down_time: float, host_seconds: float = HOST_SECONDS) -> None:
        self._down_after = service_down_time
        self._host_seconds = host_seconds

    def build_here(
        self,
        connection: sa.Connection,
        ctxt: context.RequestContext,
        instance: Instance,
        request_kwargs: Mapping[str, Any],
        attempt: int,
    ) -> str | None:
        """Begin to build an instance; return None, or why it cannot be built here.

        The same attempt may come again; an instance that is there stays as it is (R3). Wake
        the cell after the commit. What comes of it, ``placement.build_over`` is told.

        :param instance: its own properties, whatever else the request is about (C11).
        :param request_kwargs: ``build_inst_kwargs``.
        :param attempt: the number of the attempt, from 1 on.
        :raises Invalid: a value cannot be one.
        """
        uuid = instance.uuid
        buried = tombstones.tombstone_check(connection, uuid, attempt)
        if buried is not None:
            return 'it is not to be built any more: %s' % buried
        present = build_rows.present(connection, uuid)
        if present is not None and not _is_record_only(connection, present):
            return self._again(connection, present, attempt)
        properties = request_kwargs.get('filter_properties')
        zone = instance.availability_zone if 'availability_zone' in instance else None
        wanted = placing.wanted_of(properties if isinstance(properties, Mapping) else {}, zone)
        sizes = build_args.sizes_of(instance, build_args.flavor_of(instance, request_kwargs))
        amount = build_args.amount_of(sizes)
        found = placing.place(
            connection, uuid, amount, service_down_time=self._down_after, wanted=wanted
        )
        if isinstance(found, list):
            return '; '.join(found)
        host, node = found
        devices = build_args.block_devices_of(instance, request_kwargs)
        write = build_rows.create if present is None else build_rows.adopt
        write(connection, instance, request_kwargs, devices, host=host, node=node)
        order(
            connection,
            uuid,
            host,
            build_args.args_of(instance, request_kwargs, devices),
            build_rows.begin_action(connection, ctxt, uuid),
            ctxt,
            {
                'attempt': attempt,
                'number': 1,
                'seconds': self._host_seconds,
                'adopted': present is not None,
                'reasons': {},
                'demand': list(amount),
                'wanted': {
                    'hosts': None if wanted.hosts is None else sorted(wanted.hosts),
                    'nodes': None if wanted.nodes is None else sorted(wanted.nodes),
                    'zone': wanted.zone,
                },
            },
        )
        return None

    def _again(
        self, connection: sa.Connection, present: Mapping[str, Any], attempt: int
    ) -> str | None:
        """Say what becomes of an attempt at an instance that is there already."""
        uuid = present['uuid']
        if present['deleted']:
            return 'it has been deleted in this cell'
        ops = _builds_of(connection, uuid)
        if ops and ops[-1]['state'] in host_operations.OPEN:
            notes = ops[-1]['notes']
            if notes['attempt'] < attempt:
                # Who decides has lost sight of the earlier one; this is the one that counts.
                host_operations.op_note(connection, ops[-1]['op_id'], {**notes, 'attempt': attempt})
            return None
        placement.build_over(connection, uuid, attempt, None)
        return None

    # -- what is not wanted any more --

    def cancel_build(self, connection: sa.Connection, instance_uuid: str, attempt: int) -> None:
        """Drop an attempt: it is not begun any more; what it has come to is removed.

        The cells above are not told of that. Nothing happens to an instance that another
        attempt has built. Wake the cell after the commit.
        """
        tombstones.tombstone_put(
            connection,
            instance_uuid,
            tombstones.of_own_attempt(attempt),
            'the attempt was cancelled',
        )
        present = build_rows.present(connection, instance_uuid)
        ops = _builds_of(connection, instance_uuid)
        if not ops or ops[-1]['notes']['attempt'] != attempt:
            return
        where = {}
        if present is not None and not present['deleted'] and present['host']:
            # It may have moved since it was built.
            where[present['host']] = '%s.moved' % ops[-1]['op_id']
        for operation in ops:
            ended = host_operations.op_end(
                connection, operation['op_id'], host_operations.CANCELLED, None
            )
            if ended and not operation['attempts']:
                where.pop(operation['host'], None)
            elif ended or operation['state'] == host_operations.DONE:
                where[operation['host']] = operation['op_id']
        host_operations.ops_cancel_unsent(connection, instance_uuid)
        for host, op_id in sorted(where.items()):
            host_ops.order_stray_terminate(connection, op_id, host, ops[-1]['instance'])
        if present is not None and not present['deleted']:
            build_rows.drop(connection, instance_uuid, ops[-1]['notes'])


def is_build(operation: Mapping[str, Any]) -> bool:
    """Tell whether an operation is a build; a machine is made anew with the same method."""
    return operation['method'] == METHOD and 'attempt' in operation['notes']


def dropped(connection: sa.Connection, operation: Mapping[str, Any]) -> None:
    """Take it that an operation was cancelled before its agent knew of it, for a deletion."""
    if is_build(operation):
        attempt = operation['notes']['attempt']
        placement.build_over(connection, operation['instance_uuid'], attempt, None)


def _builds_of(connection: sa.Connection, uuid: str) -> list[dict[str, Any]]:
    """Return all builds of an instance, locked, oldest first."""
    found = host_operations.ops_of(connection, uuid, METHOD, lock=True)
    return [one for one in found if is_build(one)]


def order(
    connection: sa.Connection,
    uuid: str,
    host: str,
    args: Mapping[str, Any],
    action_uuid: str | None,
    ctxt: context.RequestContext,
    notes: Mapping[str, Any],
) -> None:
    """Order a build of an instance that is written, of the agent of a host."""
    host_ops.order(
        connection,
        op_id='%s.%d.%d' % (uuid, notes['attempt'], notes['number']),
        host=host,
        method=METHOD,
        instance=db_instances.instance_get(connection, uuid),
        args=args,
        action_uuid=action_uuid,
        event=EVENT,
        notes=notes,
        ctxt=ctxt,
        deadline=notes['seconds'],
    )


def _is_record_only(connection: sa.Connection, present: Mapping[str, Any]) -> bool:
    """Tell whether an instance is only a record yet, as a cell with an API has it from the API."""
    return (
        not present['deleted']
        and present['host'] is None
        and present['launched_at'] is None
        and not host_operations.ops_open(connection, present['uuid'])
    )
