"""What neighbours tell of themselves, and ask to be told."""

from collections.abc import Mapping
from typing import Any, Final

from cells import context, exceptions, messages
from cells.db import changes, engine
from cells.reports import NODES, has_node
from cells.state import CellStateManager

#: How deep the numbers of a report may be nested.
DEEPEST: Final = 4
#: What a number of a report may be at most: sums of whole and other numbers must work.
LARGEST: Final = 2**63


class ReportHandlers:
    """Takes reports in. Notices: they come again."""

    OPERATIONS: Final = (
        'announce_capabilities',
        'announce_capacities',
        'update_capabilities',
        'update_capacities',
    )

    def __init__(self, database: engine.Database, state: CellStateManager) -> None:
        self._database = database
        self._state = state

    def announce_capabilities(
        self, ctxt: context.RequestContext, message: messages.Message
    ) -> None:
        """Have the capabilities told to the parents soon."""
        with self._database.write() as connection:
            changes.bump(connection, changes.WANTED)

    announce_capacities = announce_capabilities

    def update_capabilities(
        self,
        ctxt: context.RequestContext,
        message: messages.Message,
        cell_name: str,
        capabilities: Mapping[str, Any],
    ) -> None:
        """Keep what a child and those below it can do.

        :raises Invalid: it is not values by name.
        :raises CellRoutingInconsistency: this cell is among those below it (R6).
        """
        name = self._sender(message, cell_name)
        if not isinstance(capabilities, Mapping) or not all(
            isinstance(values, list) and all(isinstance(one, str) for one in values)
            for values in capabilities.values()
        ):
            raise exceptions.Invalid(
                reason='capabilities is %.60r, not lists of texts by name' % (capabilities,)
            )
        if has_node(capabilities, self._state.cell_id):
            # The rest of it counts for nothing, and its capacities neither.
            self._keep(name, 'capabilities', {NODES: capabilities[NODES]})
            raise exceptions.CellRoutingInconsistency(
                reason='the tree has a cycle: %s is a child of %s and has it below itself'
                % (name, self._state.topology.own_name)
            )
        self._keep(name, 'capabilities', capabilities)

    def update_capacities(
        self,
        ctxt: context.RequestContext,
        message: messages.Message,
        cell_name: str,
        capacities: Mapping[str, Any],
    ) -> None:
        """Keep what a child and those below it have free.

        :raises Invalid: it is not numbers by name.
        """
        name = self._sender(message, cell_name)
        if not isinstance(capacities, Mapping) or not _numbers(capacities, DEEPEST):
            raise exceptions.Invalid(
                reason='capacities is %.60r, not numbers by name' % (capacities,)
            )
        self._keep(name, 'capacities', capacities)

    def _sender(self, message: messages.Message, cell_name: object) -> str:
        """Return who reports: where the message came from decides, not what it says (X1)."""
        assert message.neighbour is not None
        if cell_name != message.neighbour:
            raise exceptions.Invalid(
                reason='%s reports for cell %.60r' % (message.neighbour, cell_name)
            )
        return message.neighbour

    def _keep(self, name: str, what: str, value: Mapping[str, Any]) -> None:
        if self._state.sightings.reported(name, what, dict(value)):
            self._state.share()


def _numbers(value: Any, depth: int) -> bool:
    if isinstance(value, Mapping):
        return depth > 0 and all(_numbers(one, depth - 1) for one in value.values())
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and -LARGEST <= value <= LARGEST
