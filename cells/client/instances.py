"""Instances and what belongs to them."""

from collections.abc import Mapping
from typing import Any

from cells import exceptions
from cells.client import contract


class InstanceCalls(contract.ContractClient):
    """What is asked about instances, and ordered.

    An instance is anything that has ``uuid`` and ``cell_name``, as items or as attributes.
    """

    _enabled: bool

    def sync_instances(
        self,
        ctxt: Any,
        project_id: str | None = None,
        updated_since: str | None = None,
        deleted: bool = False,
    ) -> None:
        """Order all cells below to send the state of their instances up again.

        :param project_id: only those of this project.
        :param updated_since: only those changed since then, ISO 8601.
        :param deleted: deleted ones as well.
        """
        self._order(
            ctxt,
            'sync_instances',
            project_id=project_id,
            updated_since=updated_since,
            deleted=deleted,
        )

    def actions_get(self, ctxt: Any, instance: Any) -> list[dict[str, Any]]:
        """Return the actions of an instance, newest first.

        :raises InstanceUnknownCell: the instance has no cell yet; nothing is sent.
        """
        return self._ask(
            ctxt,
            'actions_get',
            cell_name=_cell_of(instance),
            instance_uuid=_value_of(instance, 'uuid'),
        )

    def action_get_by_request_id(
        self, ctxt: Any, instance: Any, request_id: str
    ) -> dict[str, Any] | None:
        """Return the action of an instance that a request ordered, None when there is none.

        :raises InstanceUnknownCell: the instance has no cell yet; nothing is sent.
        """
        return self._ask(
            ctxt,
            'action_get_by_request_id',
            cell_name=_cell_of(instance),
            instance_uuid=_value_of(instance, 'uuid'),
            request_id=request_id,
        )

    def action_events_get(self, ctxt: Any, instance: Any, action_id: int) -> list[dict[str, Any]]:
        """Return the steps of an action, newest first.

        :param action_id: ``id`` of what :meth:`actions_get` returned.
        :raises InstanceUnknownCell: the instance has no cell yet; nothing is sent.
        """
        return self._ask(
            ctxt,
            'action_events_get',
            cell_name=_cell_of(instance),
            action_id=action_id,
        )

    def get_migrations(self, ctxt: Any, filters: Mapping[str, Any]) -> Any:
        """Return migrations of all cells below as a ``MigrationList``; those of the own are not in.

        :param filters: ``cell_name``, as seen from the own cell, asks that one alone;
            ``status`` (one or several), ``host``, ``source_compute``, ``dest_compute``,
            ``migration_type``, ``instance_uuid``, ``uuid``, ``hidden``, ``changes-since``.
        :raises Invalid: one of them is not known, or cannot be used.
        """
        return self._ask(ctxt, 'get_migrations', filters=filters)

    def get_keypair_at_top(self, ctxt: Any, user_id: str, name: str) -> Any:
        """Return a ``KeyPair`` of a user from the top of the tree; None without cells.

        :raises KeypairNotFound: the top has none of that name.
        """
        if not self._enabled:
            return None
        found = self._ask(ctxt, 'get_keypair_at_top', user_id=user_id, name=name)
        if found is None:
            raise exceptions.KeypairNotFound(user_id=user_id, name=name)
        return found

    def validate_console_port(
        self, ctxt: Any, instance_uuid: str, console_port: Any, console_type: str
    ) -> bool:
        """Tell whether a port is that of the console of an instance, as its host sees it.

        :raises InstanceNotFound: the own cell has no record of it, or its cell has none.
        :raises InstanceUnknownCell: its record does not say in which cell it is.
        """
        return self._ask(
            ctxt,
            'validate_console_port',
            instance_uuid=instance_uuid,
            console_port=console_port,
            console_type=console_type,
        )

    def consoleauth_delete_tokens(self, ctxt: Any, instance_uuid: str) -> None:
        """Have the top take all rights to the consoles of an instance away."""
        self._order(ctxt, 'consoleauth_delete_tokens', instance_uuid=instance_uuid)

    def call_compute_api_method(
        self, ctxt: Any, cell_name: str, method: str, *args: Any, **kwargs: Any
    ) -> Any:
        """Have a cell do something with one of its instances and return what came of it.

        :param cell_name: the path of the cell, as instances have it.
        :param args: the uuid of the instance, and what else the method takes.
        :raises CellServiceAPIMethodNotFound: the cell does not offer the method.
        """
        return self._ask(
            ctxt,
            'run_compute_api_method',
            cell_name=cell_name,
            method_info={'method': method, 'method_args': args, 'method_kwargs': kwargs},
            call=True,
        )

    def cast_compute_api_method(
        self, ctxt: Any, cell_name: str, method: str, *args: Any, **kwargs: Any
    ) -> None:
        """Order what :meth:`call_compute_api_method` does, without waiting for it."""
        self._order(
            ctxt,
            'run_compute_api_method',
            cell_name=cell_name,
            method_info={'method': method, 'method_args': args, 'method_kwargs': kwargs},
            call=False,
        )


def _value_of(instance: Any, name: str) -> Any:
    return instance[name] if hasattr(instance, '__getitem__') else getattr(instance, name)


def _cell_of(instance: Any) -> str:
    try:
        cell_name = _value_of(instance, 'cell_name')
    except (KeyError, AttributeError):
        cell_name = None
    if not cell_name:
        raise exceptions.InstanceUnknownCell(instance_uuid=_value_of(instance, 'uuid'))
    return cell_name
