"""Hosts, their services and resources, and what ran on them."""

from collections.abc import Mapping
from typing import Any

from cells import context, exceptions, paths, rpc
from cells.endpoints import base
from cells.objects import base as objects_base
from cells.objects import proxy


class HostMethods(base.Endpoint):
    """What is asked about hosts."""

    @rpc.served
    def service_get_all(
        self, ctxt: context.RequestContext, filters: Mapping[str, Any] | None
    ) -> list[Any]:
        """Return the services of this cell and all below, each with its cell."""
        return [
            proxy.add_cell(service, proxy.ServiceProxy, response.cell_name)
            for response in self.ask_all(ctxt, 'service_get_all', {'filters': filters})
            for service in response.value
            if objects_base.is_envelope(service)
        ]

    @rpc.served
    def task_log_get_all(
        self,
        ctxt: context.RequestContext,
        task_name: str,
        period_beginning: object,
        period_ending: object,
        host: str | None = None,
        state: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return task logs of all cells, or of the one that ``host`` names."""
        arguments = {
            'task_name': task_name,
            'period_beginning': str(period_beginning),
            'period_ending': str(period_ending),
            'host': None,
            'state': state,
        }
        if host is None:
            found = self.ask_all(ctxt, 'task_log_get_all', arguments)
        else:
            target, arguments['host'] = _cell_and_host(host)
            found = [self.ask(ctxt, 'task_log_get_all', target, arguments)]
        return [_with_cell(row, one.cell_name) for one in found for row in one.value]


def _cell_and_host(host: str) -> tuple[paths.CellPath, str | None]:
    try:
        path, name = paths.split_item(host)
        return (paths.CellPath.parse(name), None) if path is None else (path, name)
    except ValueError as error:
        raise exceptions.Invalid(
            reason='host is %.120r, not of the form cell!path@host: %s' % (host, error)
        ) from None


def _with_cell(row: dict[str, Any], cell_name: str) -> dict[str, Any]:
    return {
        **row,
        'id': paths.with_cell(cell_name, row['id']),
        'host': paths.with_cell(cell_name, row['host']),
    }
