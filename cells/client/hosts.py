"""Hosts, their services and resources, and what ran on them."""

from collections.abc import Mapping
from typing import Any

from cells.client import contract


class HostCalls(contract.ContractClient):
    """What is asked about hosts. A host is named ``cell!path@host``."""

    def service_get_all(self, ctxt: Any, filters: Mapping[str, Any] | None = None) -> list[Any]:
        """Return the services of all cells as ``ServiceProxy``.

        A cell that does not answer is left out, or raises: ``[cells]
        partial_results`` of the own cell. :meth:`OpsAPI.query` names it.

        :param filters: ``disabled``, and any attribute of a service with the value it must have.
        """
        return self._ask(ctxt, 'service_get_all', filters=filters)

    def service_get_by_compute_host(self, ctxt: Any, host_name: str) -> Any:
        """Return the compute service of a host as ``ServiceProxy``.

        :param host_name: ``cell!path@host``.
        """
        return self._ask(ctxt, 'service_get_by_compute_host', host_name=host_name)

    def service_update(
        self, ctxt: Any, host_name: str, binary: str, params_to_update: Mapping[str, Any]
    ) -> Any:
        """Change a service and return it as ``ServiceProxy``.

        :param host_name: ``cell!path@host``.
        :param params_to_update: ``disabled``, ``disabled_reason``, ``forced_down``.
        """
        return self._ask(
            ctxt,
            'service_update',
            host_name=host_name,
            binary=binary,
            params_to_update=params_to_update,
        )

    def service_delete(self, ctxt: Any, cell_service_id: str) -> None:
        """Delete a service.

        :param cell_service_id: ``cell!path@id``, the ``id`` of a ``ServiceProxy``.
        """
        self._ask(ctxt, 'service_delete', cell_service_id=cell_service_id)

    def compute_node_get(self, ctxt: Any, compute_id: str) -> Any:
        """Return a compute node as ``ComputeNodeProxy``.

        :param compute_id: ``cell!path@id``.
        """
        return self._ask(ctxt, 'compute_node_get', compute_id=compute_id)

    def compute_node_get_all(self, ctxt: Any, hypervisor_match: str | None = None) -> list[Any]:
        """Return the compute nodes of all cells as ``ComputeNodeProxy``.

        A cell that does not answer is left out, or raises, as in :meth:`service_get_all`.

        :param hypervisor_match: only those with this in their ``hypervisor_hostname``.
        """
        return self._ask(ctxt, 'compute_node_get_all', hypervisor_match=hypervisor_match)

    def compute_node_stats(self, ctxt: Any) -> dict[str, int]:
        """Return totals over the hosts of all cells that are up and not disabled."""
        return self._ask(ctxt, 'compute_node_stats')

    def get_host_uptime(self, ctxt: Any, host_name: str) -> str:
        """Return since when a host runs, in the words of ``uptime``.

        :param host_name: ``cell!path@host``.
        """
        return self._ask(ctxt, 'get_host_uptime', host_name=host_name)

    def proxy_rpc_to_manager(
        self,
        ctxt: Any,
        rpc_message: Mapping[str, Any],
        topic: str,
        call: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Have the agent of a host do something.

        :param rpc_message: ``method`` and ``args``.
        :param topic: ``<compute_topic>.cell!path@host``.
        :param call: wait for what comes of it and return that; else return when it is
            certain to be passed on.
        :param timeout: seconds that the agent may take.
        """
        return self._ask_within(
            timeout,
            ctxt,
            'proxy_rpc_to_manager',
            topic=topic,
            rpc_message=rpc_message,
            call=call,
            timeout=timeout,
        )

    def task_log_get_all(
        self,
        ctxt: Any,
        task_name: str,
        period_beginning: Any,
        period_ending: Any,
        host: str | None = None,
        state: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return the logs of a task over a period, ``id`` and ``host`` with their cell.

        :param period_beginning: and ``period_ending``: datetimes, or texts of them.
        :param host: ``path@host`` or ``path`` of the one cell that is asked; None for all.
        """
        return self._ask(
            ctxt,
            'task_log_get_all',
            task_name=task_name,
            period_beginning=str(period_beginning),
            period_ending=str(period_ending),
            host=host,
            state=state,
        )
