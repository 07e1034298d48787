"""Orders to build instances: they go to this cell first, which looks for a place."""

from collections.abc import Iterable
from typing import Any

from cells import context, paths, rpc
from cells.endpoints import build_request, orders, refusals
from cells.objects import base as objects_base


class BuildMethods(orders.Orders):
    """How instances are ordered."""

    @rpc.served
    def build_instances(self, ctxt: context.RequestContext, build_inst_kwargs: Any) -> None:
        """Build instances, wherever there is room for them.

        A request that cannot be one puts the records of its instances into the error state.

        :param build_inst_kwargs: see :mod:`cells.endpoints.build_request`.
        """
        with self.refusals_noted(ctxt, refusals.BUILD, *_instances_in(build_inst_kwargs)):
            wanted = build_request.checked(build_inst_kwargs)
            own = paths.CellPath((self._state.topology.own_name,))
            self._runner.change(ctxt, refusals.BUILD, {'build_inst_kwargs': wanted}, own)


def _instances_in(request: Any) -> Iterable[Any]:
    found = request.get('instances') if isinstance(request, dict) else None
    return found if isinstance(found, list | tuple | objects_base.CellsObjectList) else ()
