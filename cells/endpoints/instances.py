"""Instances and what belongs to them."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from oslo_versionedobjects import exception as object_exceptions

from cells import (
    arguments,
    context,
    exceptions,
    messages,
    paths,
    remote_errors,
    rpc,
    times,
    versions,
    wire,
)
from cells.db import instances as db_instances
from cells.endpoints import base
from cells.objects import base as objects_base
from cells.objects import migration

LOG = logging.getLogger(__name__)

#: Characters of a path to a cell.
LONGEST_PATH: Final = 4096


class InstanceMethods(base.Endpoint):
    """What is asked about instances, and ordered."""

    @rpc.served
    def sync_instances(
        self,
        ctxt: context.RequestContext,
        project_id: str | None,
        updated_since: str | None,
        deleted: bool,
    ) -> None:
        """Order all cells below to send the state of their instances up again."""
        if project_id is not None:
            arguments.text('project_id', project_id)
        if updated_since is not None:
            times.parse('updated_since', updated_since)
        if not isinstance(deleted, bool):
            raise exceptions.Invalid(reason='deleted is %.60r, not true or false' % (deleted,))
        self._runner.change(
            ctxt,
            'sync_instances',
            {'project_id': project_id, 'updated_since': updated_since, 'deleted': deleted},
        )

    @rpc.served
    def actions_get(
        self, ctxt: context.RequestContext, cell_name: str, instance_uuid: str
    ) -> list[dict[str, Any]]:
        """Return the actions of an instance, newest first."""
        uuid = arguments.text('instance_uuid', instance_uuid)
        target = base.cell_path(cell_name)
        return self.ask(ctxt, 'actions_get', target, {'instance_uuid': uuid}).value

    @rpc.served
    def action_get_by_request_id(
        self, ctxt: context.RequestContext, cell_name: str, instance_uuid: str, request_id: str
    ) -> dict[str, Any] | None:
        """Return the action of an instance that a request ordered, None when there is none."""
        wanted = {
            'instance_uuid': arguments.text('instance_uuid', instance_uuid),
            'request_id': arguments.text('request_id', request_id),
        }
        target = base.cell_path(cell_name)
        return self.ask(ctxt, 'action_get_by_request_id', target, wanted).value

    @rpc.served
    def action_events_get(
        self, ctxt: context.RequestContext, cell_name: str, action_id: int
    ) -> list[dict[str, Any]]:
        """Return the steps of an action of a cell, newest first."""
        number = arguments.number('action_id', action_id)
        target = base.cell_path(cell_name)
        return self.ask(ctxt, 'action_events_get', target, {'action_id': number}).value

    @rpc.served
    def get_migrations(
        self, ctxt: context.RequestContext, filters: Mapping[str, Any]
    ) -> migration.MigrationList:
        """Return the migrations of all cells below, or of the one that the filters name.

        :param filters: with ``cell_name``, seen from this cell, only that one is asked.
        """
        wanted = _sendable('filters', arguments.mapping('filters', filters))
        cell_name = wanted.get('cell_name')
        kwargs = {'filters': wanted}
        if cell_name is None:
            found = self._runner.broadcast(ctxt, 'get_migrations', kwargs)
            answers = self.answers(ctxt, 'get_migrations', [_readable(one) for one in found])
        else:
            text = arguments.text('filter cell_name', cell_name, longest=LONGEST_PATH)
            own_name = self._state.topology.own_name
            target = base.cell_path(paths.SEPARATOR.join((own_name, text)))
            response = _readable(self._runner.call(ctxt, 'get_migrations', target, kwargs))
            if response.failure is not None:
                raise remote_errors.exception_of(response.failure)
            answers = [response]
        made = migration.MigrationList(objects=[one for answer in answers for one in answer.value])
        # All versions of a list have the same field, and clients of every release read the oldest.
        made.VERSION = versions.object_versions('MigrationList')[0]
        return made

    @rpc.served
    def get_keypair_at_top(self, ctxt: context.RequestContext, user_id: str, name: str) -> Any:
        """Return a key pair of a user from the top of the tree, None when there is none.

        :raises WireError: the top did not answer, or failed (T9).
        """
        wanted = {
            'user_id': arguments.text('user_id', user_id),
            'name': arguments.text('name', name),
        }
        responses = self._runner.broadcast(ctxt, 'get_keypair_at_top', wanted)
        found = [one for one in responses if one.failure is None and one.value is not None]
        if found:
            if len(found) > 1:
                LOG.warning(
                    'Several cells have key pair %s of user %s, that of %s is taken: %s',
                    name,
                    user_id,
                    found[0].cell_name,
                    ', '.join(one.cell_name for one in found),
                )
            return found[0].value
        for response in responses:
            if response.failure is not None:
                raise remote_errors.exception_of(response.failure)
        return None

    @rpc.served
    def validate_console_port(
        self,
        ctxt: context.RequestContext,
        instance_uuid: str,
        console_port: Any,
        console_type: str,
    ) -> bool:
        """Tell whether a port is that of the console of an instance, as its host sees it.

        :raises InstanceNotFound: this cell has no record of it, or its cell has none.
        :raises InstanceUnknownCell: the record does not say in which cell it is.
        """
        wanted = {
            'instance_uuid': arguments.text('instance_uuid', instance_uuid),
            'console_port': arguments.port('console_port', console_port),
            'console_type': arguments.text('console_type', console_type),
        }
        with self.using_database() as database, database.read() as connection:
            cell_name = db_instances.instance_get(
                connection, instance_uuid, ctxt.read_deleted
            ).cell_name
        if not cell_name:
            raise exceptions.InstanceUnknownCell(instance_uuid=instance_uuid)
        target = base.cell_path(cell_name)
        return self.ask(ctxt, 'validate_console_port', target, wanted).value

    @rpc.served
    def consoleauth_delete_tokens(self, ctxt: context.RequestContext, instance_uuid: str) -> None:
        """Have the top take all rights to the consoles of an instance away."""
        uuid = arguments.text('instance_uuid', instance_uuid)
        self._runner.change(ctxt, 'consoleauth_delete_tokens', {'instance_uuid': uuid})

    @rpc.served
    def run_compute_api_method(
        self,
        ctxt: context.RequestContext,
        cell_name: str,
        method_info: Mapping[str, Any],
        call: bool,
    ) -> Any:
        """Have a cell do something with one of its instances.

        :param method_info: ``method``, ``method_args`` with the uuid of the instance
            first, ``method_kwargs``; the cell that it is for knows what is allowed.
        :param call: whether to wait for the result and return it.
        """
        info = _sendable('method_info', arguments.mapping('method_info', method_info))
        arguments.text('method', info.get('method'))
        target = base.cell_path(cell_name)
        kwargs = {'method_info': info}
        if call:
            return self.ask(ctxt, 'run_compute_api_method', target, kwargs).value
        self._runner.change(ctxt, 'run_compute_api_method', kwargs, target)
        return None


def _sendable(name: str, value: dict[str, Any]) -> dict[str, Any]:
    """Return what other cells are to look at, if it gets to them.

    :raises Invalid: it cannot be written down, as a lone surrogate cannot.
    """
    try:
        wire.dumps(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        reason = '%s cannot be sent to a cell: %s' % (name, type(error).__name__)
        raise exceptions.Invalid(reason=reason) from None
    return value


def _readable(response: messages.Response) -> messages.Response:
    """Return an answer with a list of Migration as its value; a failure for what is none."""
    if response.failure is not None:
        return response
    try:
        value = objects_base.transform(response.value, objects_base.from_primitive)
        if value is None or not all(isinstance(one, migration.Migration) for one in value):
            raise TypeError('it is no list of migrations')
        return messages.Response(response.cell_name, list(value))
    except (object_exceptions.VersionedObjectsException, TypeError) as error:
        broken = exceptions.CellsError(
            'What cell %s answered to get_migrations cannot be read: %.200s'
            % (response.cell_name, error)
        )
        return messages.Response(response.cell_name, failure=remote_errors.failure_of(broken))
