"""Orders to build instances: they go to this cell first, which looks for a place."""

from typing import Any

from cells import context, paths, rpc
from cells.endpoints import build_request, given, orders, refusals


class BuildMethods(orders.Orders):
    """How instances are ordered."""

    @rpc.served
    def build_instances(self, ctxt: context.RequestContext, build_inst_kwargs: Any) -> None:
        """Build instances, wherever there is room for them.

        A request that cannot be one puts the records of its instances into the error state.

        :param build_inst_kwargs: see :mod:`cells.endpoints.build_request`.
        """
        instances = given.instances_in({'build_inst_kwargs': build_inst_kwargs})
        with self.refusals_noted(ctxt, refusals.BUILD, *instances):
            wanted = build_request.checked(build_inst_kwargs)
            own = paths.CellPath((self._state.topology.own_name,))
            self._runner.change(ctxt, refusals.BUILD, {'build_inst_kwargs': wanted}, own)
