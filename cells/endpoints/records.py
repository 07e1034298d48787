"""Records of instances in this cell, for an API service: namespace ``cells.instances``.

An API service keeps no database of its own. It creates records here before it orders
builds, changes them when users do, and reads them: cells below keep them up to date. All
of it is answered from the database of this cell, whatever is the matter with others.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import oslo_messaging
import sqlalchemy as sa

from cells import arguments, context, exceptions, paths, policy, rpc, versions
from cells.db import engine, faults, instance_actions, instance_history, instance_listing
from cells.db import instances as db_instances
from cells.endpoints import base, build_request, given, orders, record_values
from cells.objects import instance as instance_objects

#: Most records that are answered, or written, at once.
PAGE_SIZE: Final = 1000

#: What a cell decides alone: it does not go down.
_STATES: Final = frozenset({'vm_state', 'task_state'})


class RecordEndpoint(orders.Orders):
    """Writes and reads the records of this cell.

    A request that is not an administrator's sees the records of its own project.
    """

    target = oslo_messaging.Target(
        namespace=versions.INSTANCES_NAMESPACE, version=versions.INSTANCES_VERSION
    )

    # -- writing --

    @rpc.served
    def create(self, ctxt: context.RequestContext, instances: Any) -> list[Any]:
        """Write the records of instances that are to be built; all of them, or none.

        They are ``building`` and ``scheduling``, and belong to the request's user and project
        unless they say to whom. One that is there already is fine if it is the same.

        :param instances: a list of Instance, without what only a cell can say.
        :returns: the records, in the order of what was given.
        :raises InstanceExists: there is another of the uuid, or it has been deleted.
        :raises Invalid: a value cannot be one.
        """
        found = build_request.instances(instances)
        if len(found) > PAGE_SIZE:
            raise exceptions.Invalid(
                reason='there are %d instances, at most %d are allowed' % (len(found), PAGE_SIZE)
            )
        new = [_NewRecord(ctxt, index, one) for index, one in enumerate(found)]
        with self.using_database() as database:
            try:
                return self._create(database, new)
            except exceptions.InstanceExists:
                # Perhaps the same request, a moment earlier: then they are there now.
                return self._create(database, new)

    def _create(self, database: engine.Database, new: Sequence['_NewRecord']) -> list[Any]:
        with database.write() as connection:
            for one in new:
                one.write(connection)
            return [db_instances.instance_get(connection, one.uuid) for one in new]

    @rpc.served
    def save(
        self,
        ctxt: context.RequestContext,
        uuid: Any,
        values: Any,
        expected: Any = None,
        admin_state_reset: Any = False,
    ) -> Any:
        """Change a record that is as expected, and order the same in the cell of the instance.

        Both or neither is done. The cell's answer comes up later, as any change of it.

        :param values: see :func:`cells.endpoints.record_values.saved_values`.
        :param expected: by column a value, or a list of those that are allowed; None for null.
        :param admin_state_reset: set ``vm_state`` and ``task_state`` in the cell as well.
        :returns: the record.
        :raises InstanceNotFound: there is none.
        :raises UnexpectedTaskStateError: or InstanceUpdateConflict: it is not as expected.
        """
        wanted_uuid = arguments.text('uuid', uuid, longest=given.LONGEST_UUID)
        reset = arguments.boolean('admin_state_reset', admin_state_reset)
        if reset and not ctxt.is_admin:
            raise exceptions.PolicyNotAuthorized(action='compute:reset_state')
        wanted = record_values.saved_values(values, reset)
        conditions = record_values.expected_values(expected)
        with self.using_database() as database, database.write() as connection:
            instance = db_instances.instance_get(connection, wanted_uuid, lock=True)
            policy.check(ctxt, 'compute:update', instance)
            metadata = wanted.pop('metadata', None)
            changed = db_instances.instance_update(connection, wanted_uuid, wanted, conditions)
            for name in changed:
                setattr(instance, name, wanted[name])
            if changed - _STATES or (changed and reset):
                self._send_down(connection, ctxt, instance, conditions, reset)
            if metadata is not None and metadata != instance.metadata:
                self._set_metadata(connection, ctxt, instance, metadata)
            record = db_instances.instance_get(connection, wanted_uuid)
        self._runner.wake()
        return record

    def _send_down(
        self,
        connection: sa.Connection,
        ctxt: context.RequestContext,
        instance: instance_objects.Instance,
        conditions: Mapping[str, Any],
        reset: bool,
    ) -> None:
        kwargs = {
            'instance': instance,
            'expected_vm_state': _listed(conditions.get('vm_state')),
            'expected_task_state': _listed(conditions.get('task_state')),
            'admin_state_reset': reset,
        }
        self._order_below(connection, ctxt, instance, 'instance_update_from_api', kwargs)

    def _set_metadata(
        self,
        connection: sa.Connection,
        ctxt: context.RequestContext,
        instance: instance_objects.Instance,
        metadata: Mapping[str, str],
    ) -> None:
        db_instances.metadata_set(connection, instance.uuid, metadata, replace=True)
        db_instances.instance_touch(connection, instance.uuid, [db_instances.METADATA])
        info = {
            'method': 'update_instance_metadata',
            'method_args': [instance.uuid, dict(metadata)],
            'method_kwargs': {'delete': True},
        }
        kwargs = {'method_info': info}
        self._order_below(connection, ctxt, instance, 'run_compute_api_method', kwargs)

    def _order_below(
        self,
        connection: sa.Connection,
        ctxt: context.RequestContext,
        instance: instance_objects.Instance,
        operation: str,
        kwargs: Mapping[str, Any],
    ) -> None:
        """Order something in the cell of an instance, unless that is this one or not known yet."""
        own = paths.CellPath((self._state.topology.own_name,))
        if instance.cell_name:
            target = base.cell_path(instance.cell_name)
            if target != own:
                self._runner.change_within(connection, ctxt, operation, kwargs, target)

    # -- reading --

    @rpc.served
    def get(self, ctxt: context.RequestContext, uuid: Any) -> Any:
        """Return the record of an instance.

        :raises InstanceNotFound: there is none that the request may see.
        """
        with self.using_database() as database:
            return self._readable(database, ctxt, uuid, ctxt.read_deleted)

    @rpc.served
    def faults(self, ctxt: context.RequestContext, uuid: Any) -> list[dict[str, Any]]:
        """Return what went wrong with an instance, newest first.

        :raises InstanceNotFound: there is no record of it, not even a deleted one.
        """
        with self.using_database() as database:
            found = self._readable(database, ctxt, uuid, 'yes')
            return faults.fault_get_all(database, found.uuid)

    @rpc.served
    def actions(self, ctxt: context.RequestContext, uuid: Any) -> list[dict[str, Any]]:
        """Return what was ordered for an instance, newest first, as this cell knows it (S16).

        :raises InstanceNotFound: there is no record of it, not even a deleted one.
        """
        with self.using_database() as database:
            found = self._readable(database, ctxt, uuid, 'yes')
            return instance_actions.actions_get(database, found.uuid)

    @rpc.served
    def action_events(
        self, ctxt: context.RequestContext, uuid: Any, request_id: Any
    ) -> list[dict[str, Any]]:
        """Return the steps of what a request ordered for an instance, newest first (S16).

        :raises InstanceNotFound: there is no record of it, not even a deleted one.
        """
        request = arguments.text('request_id', request_id)
        with self.using_database() as database:
            found = self._readable(database, ctxt, uuid, 'yes')
            return instance_history.events_of_request(database, found.uuid, request)

    @rpc.served
    def usage(self, ctxt: context.RequestContext, project_id: Any = None) -> dict[str, int]:
        """Return what a project uses: instances, cores, ram_mb.

        :param project_id: None for that of the request.
        """
        project = _project(ctxt, project_id)
        with self.using_database() as database, database.read() as connection:
            return instance_listing.usage_get(connection, project)

    @rpc.served
    def list(
        self,
        ctxt: context.RequestContext,
        filters: Any = None,
        limit: Any = None,
        marker: Any = None,
    ) -> Any:
        """Return records that all filters fit, newest first.

        :param filters: see :func:`cells.endpoints.record_values.filters`.
        :param limit: how many at most, up to :data:`PAGE_SIZE`; None for that.
        :param marker: the uuid of the last one of the page before.
        """
        wanted = dict(arguments.mapping('filters', {} if filters is None else filters))
        if not ctxt.is_admin:
            wanted['project_id'] = _project(ctxt, wanted.get('project_id'))
        found = record_values.filters(wanted, ctxt.read_deleted)
        most = PAGE_SIZE if limit is None else arguments.number('limit', limit, 1, PAGE_SIZE)
        if marker is not None:
            arguments.text('marker', marker, longest=given.LONGEST_UUID)
        with self.using_database() as database, database.read() as connection:
            try:
                return instance_listing.instance_get_page(connection, found, most, marker)
            except exceptions.InstanceNotFound:
                raise exceptions.Invalid(
                    reason='marker is %r, of which there is no record' % marker
                ) from None

    def _readable(
        self,
        database: engine.Database,
        ctxt: context.RequestContext,
        uuid: object,
        read_deleted: str,
    ) -> instance_objects.Instance:
        wanted = arguments.text('uuid', uuid, longest=given.LONGEST_UUID)
        with database.read() as connection:
            found = db_instances.instance_get(connection, wanted, read_deleted)
        if not policy.allows(ctxt, 'compute:get', found.project_id):
            # That it is there is not for others to know.
            raise exceptions.InstanceNotFound(instance_id=wanted)
        return found


class _NewRecord:
    """A record that is to be written, checked before anything is."""

    def __init__(
        self, ctxt: context.RequestContext, index: int, instance: instance_objects.Instance
    ) -> None:
        where = 'instances[%d]' % index
        self.uuid = instance.uuid
        self._values = record_values.new_values(where, instance)
        self._values.setdefault('user_id', ctxt.user_id)
        self._values.setdefault('project_id', ctxt.project_id)
        if not policy.allows(ctxt, 'compute:create', self._values['project_id']):
            raise exceptions.PolicyNotAuthorized(action='compute:create')
        self._metadata = record_values.metadata(
            '%s.metadata' % where, instance.metadata if 'metadata' in instance else {}
        )
        self._fields = record_values.new_fields(instance)

    def write(self, connection: sa.Connection) -> None:
        """Write the record, unless it is there.

        :raises InstanceExists: another is there, or it has been deleted.
        """
        try:
            found = db_instances.instance_get(connection, self.uuid, 'yes')
        except exceptions.InstanceNotFound:
            db_instances.instance_create(connection, self._values, self._metadata, self._fields)
            return
        if found.deleted or not record_values.is_same(found, self._values):
            raise exceptions.InstanceExists(name=self.uuid)


def _listed(values: tuple[Any, ...] | None) -> Any:
    return None if values is None else [*values]


def _project(ctxt: context.RequestContext, project_id: object) -> str:
    """Return the project that a request asks about, its own for None.

    :raises PolicyNotAuthorized: it is another one.
    """
    given_id = ctxt.project_id if project_id is None else project_id
    found = arguments.text('project_id', given_id)
    if not policy.allows(ctxt, 'compute:get_all', found):
        raise exceptions.PolicyNotAuthorized(action='compute:get_all')
    return found
