"""Records of instances in the own cell: what an API service keeps there, and reads."""

import builtins
from collections.abc import Mapping, Sequence
from typing import Any

from oslo_config import cfg

from cells import versions
from cells.client import base


class InstancesAPI(base.Client):
    """The records of instances that an API service works with, at the top of the tree.

    A record is created before :meth:`cells.rpcapi.CellsAPI.build_instances` is called;
    afterwards the cells keep it up to date. Instances are objects as in the contract;
    what is not an administrator's request sees its own project only.
    """

    def __init__(self, transport: Any, **kwargs: Any) -> None:
        super().__init__(transport, namespace=versions.INSTANCES_NAMESPACE, **kwargs)

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts, transport: Any = None) -> 'InstancesAPI':
        """Return the client that a configuration describes; ours is registered on it."""
        transport = base.transport_of(conf, transport)
        return cls(transport, topic=conf.cells.topic, call_timeout=conf.cells.call_timeout)

    def create(self, ctxt: Any, instances: Sequence[Any]) -> builtins.list[Any]:
        """Write records of instances that are to be built: all of them, or none.

        :param instances: Instance objects with ``uuid``, ``flavor`` and what else is known;
            user and project are those of the request unless they say otherwise.
        :returns: the records, ``building`` and ``scheduling``. Those that were there already,
            as after an answer that got lost, are returned as they are.
        :raises InstanceExists: there is another of a uuid, or it has been deleted.
        :raises Invalid: a value cannot be one.
        """
        return self._ask(ctxt, 'create', instances=builtins.list(instances))

    def save(
        self,
        ctxt: Any,
        uuid: str,
        values: Mapping[str, Any],
        expected: Mapping[str, Any] | None = None,
        admin_state_reset: bool = False,
    ) -> Any:
        """Change a record that is as expected, and have its cell do the same.

        :param values: any of display_name, display_description, metadata (all of it),
            locked, locked_by, access_ip_v4, access_ip_v6, auto_disk_config,
            disable_terminate, shutdown_terminate; and task_state, which stays here.
        :param expected: by column a value, or a list of those that it may have; None for null.
        :param admin_state_reset: for administrators: set vm_state and task_state in the cell
            too.
        :returns: the record.
        :raises InstanceNotFound: there is none.
        :raises UnexpectedTaskStateError: another task has it; InstanceUpdateConflict:
            something else is not as expected.
        """
        return self._ask(
            ctxt,
            'save',
            uuid=uuid,
            values=dict(values),
            expected=None if expected is None else dict(expected),
            admin_state_reset=admin_state_reset,
        )

    def get(self, ctxt: Any, uuid: str) -> Any:
        """Return the record of an instance.

        :raises InstanceNotFound: there is none.
        """
        return self._ask(ctxt, 'get', uuid=uuid)

    def faults(self, ctxt: Any, uuid: str) -> builtins.list[dict[str, Any]]:
        """Return what went wrong with an instance, newest first: code, message, details."""
        return self._ask(ctxt, 'faults', uuid=uuid)

    def actions(self, ctxt: Any, uuid: str) -> builtins.list[dict[str, Any]]:
        """Return what was ordered for an instance, newest first; also with its cell away."""
        return self._ask(ctxt, 'actions', uuid=uuid)

    def action_events(self, ctxt: Any, uuid: str, request_id: str) -> builtins.list[dict[str, Any]]:
        """Return the steps of what a request ordered, newest first; also with the cell away."""
        return self._ask(ctxt, 'action_events', uuid=uuid, request_id=request_id)

    def usage(self, ctxt: Any, project_id: str | None = None) -> dict[str, int]:
        """Return what a project uses: instances, cores, ram_mb; None for the request's own."""
        return self._ask(ctxt, 'usage', project_id=project_id)

    def list(
        self,
        ctxt: Any,
        filters: Mapping[str, Any] | None = None,
        limit: int | None = None,
        marker: str | None = None,
    ) -> builtins.list[Any]:
        """Return the records that all filters fit, newest first.

        :param filters: project_id, user_id, vm_state, task_state, host (each one value or a
            list, None for null), cell_name (and all below it), name (a part of it), deleted.
        :param limit: how many at most, 1000 for None.
        :param marker: the uuid of the last one of the page before.
        :raises Invalid: there is no such filter, or no such marker.
        """
        return self._ask(
            ctxt,
            'list',
            filters=None if filters is None else dict(filters),
            limit=limit,
            marker=marker,
        )

    def _ask(self, ctxt: Any, method: str, **kwargs: Any) -> Any:
        return self._call(ctxt, versions.INSTANCES_VERSION, method, **kwargs)
