"""Instances and what belongs to them."""

from cells import context, rpc, times
from cells.endpoints import base


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
        if updated_since is not None:
            times.parse('updated_since', updated_since)
        self._runner.change(
            ctxt,
            'sync_instances',
            {'project_id': project_id, 'updated_since': updated_since, 'deleted': deleted},
        )
