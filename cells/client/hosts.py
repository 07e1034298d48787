"""Hosts, their services and resources, and what ran on them."""

from collections.abc import Mapping
from typing import Any

from cells.client import base


class HostCalls(base.Client):
    """What is asked about hosts. A host is named ``cell!path@host``."""

    def service_get_all(self, ctxt: Any, filters: Mapping[str, Any] | None = None) -> list[Any]:
        """Return the services of all cells as ``ServiceProxy``.

        A cell that does not answer is left out, or raises: ``[cells]
        partial_results`` of the own cell. :meth:`OpsAPI.query` names it.

        :param filters: ``disabled``, and any attribute of a service with the value it must have.
        """
        return self._call(ctxt, '1.2', 'service_get_all', filters=filters)

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
        return self._call(
            ctxt,
            '1.3',
            'task_log_get_all',
            task_name=task_name,
            period_beginning=str(period_beginning),
            period_ending=str(period_ending),
            host=host,
            state=state,
        )
