"""Changes of this cell's own for its neighbours, written in the transaction that calls for them.

They lie in the outbox when the transaction commits, and nowhere when it does not.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from cells import messages, paths, subjects, wire
from cells.db import journal as db_journal
from cells.messages import BroadcastMessage, Message, TargetedMessage
from cells.objects import base as objects_base
from cells.operations import OPERATIONS, Direction
from cells.state import CellStateManager


class Letters:
    """Writes for one worker.

    :param outward: makes the envelope of a message for the next cell.
    :param object_release: at whose versions objects leave this cell.
    :param max_hop_count: how many cells a message from here may pass.
    """

    def __init__(
        self,
        *,
        state: CellStateManager,
        outward: Callable[[Message], str],
        object_release: str,
        max_hop_count: int,
    ) -> None:
        self._state = state
        self._outward = outward
        self._object_release = object_release
        self._max_hop_count = max_hop_count

    def put(self, connection: sa.Connection, letters: Iterable[tuple[Message, str]]) -> None:
        """Write messages as they are, each for a neighbour."""
        rows = [
            (
                message.uuid,
                hop,
                wire.kind_of(message).value,
                self._outward(message),
                subjects.instance_of(message),
                subjects.request_of(message),
            )
            for message, hop in letters
        ]
        db_journal.outbox_add(connection, rows)

    def write(
        self,
        connection: sa.Connection,
        operation: str,
        target: paths.CellPath,
        kwargs: Mapping[str, Any],
        ctxt: Mapping[str, Any],
    ) -> None:
        """Write a change for one cell.

        :param target: the path to it, this cell first.
        :param ctxt: the context in its form on the wire.
        """
        fields = self._fields(operation, kwargs, ctxt)
        self.put(connection, [(TargetedMessage(target_cell=target, **fields), target.names[1])])

    def broadcast_up(
        self,
        connection: sa.Connection,
        operation: str,
        kwargs: Mapping[str, Any],
        ctxt: Mapping[str, Any],
    ) -> None:
        """Write a change for all cells above."""
        message = BroadcastMessage(**self._fields(operation, kwargs, ctxt))
        self.put(connection, [(message, hop) for hop in sorted(self._state.topology.parents)])

    def _fields(
        self, operation: str, kwargs: Mapping[str, Any], ctxt: Mapping[str, Any]
    ) -> dict[str, Any]:
        return {
            'ctxt': dict(ctxt),
            'method_name': operation,
            'method_kwargs': objects_base.to_primitive(dict(kwargs), self._object_release),
            'direction': OPERATIONS[operation].direction or Direction.DOWN,
            'routing_path': paths.CellPath((self._state.topology.own_name,)),
            'uuid': messages.new_uuid(),
            'max_hop_count': self._max_hop_count,
        }
