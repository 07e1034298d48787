"""Instances and what belongs to them."""

from typing import Any

from cells.client import base


class InstanceCalls(base.Client):
    """What is asked about instances, and ordered."""

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
        self._cast(
            ctxt,
            '1.1',
            'sync_instances',
            project_id=project_id,
            updated_since=updated_since,
            deleted=deleted,
        )
