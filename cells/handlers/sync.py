"""Orders to send the state of instances up again."""

from typing import Final

import sqlalchemy as sa

from cells import messages, times
from cells.db import sync_requests


class SyncHandlers:
    """Notes orders; the table is what the synchronisation works from."""

    OPERATIONS: Final = ('sync_instances',)

    def sync_instances(
        self,
        connection: sa.Connection,
        message: messages.Message,
        project_id: str | None = None,
        updated_since: str | None = None,
        deleted: bool = False,
    ) -> None:
        """Note the order, once, in the transaction of its message.

        :raises Invalid: ``updated_since`` is not a time.
        """
        since = None if updated_since is None else times.parse('updated_since', updated_since)
        sync_requests.sync_request_create(
            connection,
            uuid=message.uuid,
            project_id=project_id,
            updated_since=since,
            deleted=bool(deleted),
            requested_by=str(message.routing_path),
            request_id=message.ctxt.get('request_id'),
        )
