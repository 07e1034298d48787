"""Where a message goes next: values in, values out.

Rules of ``spec/intercell.json`` (``routing``):

1. ``routing_path`` ends with the present cell, its target is a path from the
   same source.
2. Equal paths: the message has arrived. Else the routing path must be a true
   beginning of the target; the next name is looked up among the parents (up)
   or the children (down).
3. A message that has passed ``max_hop_count`` cells goes no further: a
   targeted one fails, a broadcast names the cells that it leaves out (R5).
4. No cell is passed twice (R6), and the last hop is a neighbour on the side
   that the message comes from (X1).

Nothing here knows a clock, a configuration or a connection.
"""

import dataclasses
from collections.abc import Collection

from cells import exceptions, messages, paths
from cells.operations import Direction


@dataclasses.dataclass(frozen=True, slots=True)
class Neighbours:
    """The names next to this cell, by side."""

    own_name: str
    parents: frozenset[str] = frozenset()
    children: frozenset[str] = frozenset()

    def towards(self, direction: Direction) -> frozenset[str]:
        """The neighbours that a message of this direction goes to."""
        return self.parents if direction is Direction.UP else self.children


def check_arrival(message: messages.Message, neighbours: Neighbours) -> None:
    """Refuse a message that cannot have come this way.

    :param message: as received, before the own hop.
    :raises CellRoutingInconsistency: it is in a loop, or not from a neighbour on that side.
    """
    if neighbours.own_name in message.routing_path.names:
        raise exceptions.CellRoutingInconsistency(
            reason='routing_path %s comes back to %s' % (message.routing_path, neighbours.own_name)
        )
    sender = message.routing_path.last
    if sender not in neighbours.towards(message.direction.opposite):
        side = 'children' if message.direction is Direction.UP else 'parents'
        raise exceptions.CellRoutingInconsistency(
            reason='%s is not one of the %s of %s' % (sender, side, neighbours.own_name)
        )


def next_hop(
    routing_path: paths.CellPath,
    target: paths.CellPath,
    direction: Direction,
    neighbours: Neighbours,
) -> str | None:
    """Return the neighbour that leads to ``target``, None when this is the target.

    :raises CellRoutingInconsistency: no way leads from here to there.
    """
    if target == routing_path:
        return None
    if len(target) <= len(routing_path) or not target.starts_with(routing_path):
        raise exceptions.CellRoutingInconsistency(
            reason='destination is %s but routing_path is %s' % (target, routing_path)
        )
    name = target.names[len(routing_path)]
    if name not in neighbours.towards(direction):
        side = 'parent' if direction is Direction.UP else 'child'
        raise exceptions.CellRoutingInconsistency(
            reason='Unknown %s when routing to %s' % (side, target)
        )
    return name


def check_hops(message: messages.Message, own_limit: int) -> None:
    """Refuse to send a message further than it may go.

    :raises CellMaxHopCountReached: it has passed as many cells as it may.
    """
    limit = own_limit if message.max_hop_count is None else message.max_hop_count
    if message.hop_count >= limit:
        raise exceptions.CellMaxHopCountReached(hop_count=message.hop_count)


@dataclasses.dataclass(frozen=True, slots=True)
class BroadcastHops:
    """Where a broadcast goes from here.

    :ivar send_to: neighbours that get it.
    :ivar cut_off: neighbours that the hop limit leaves out.
    """

    send_to: tuple[str, ...]
    cut_off: tuple[str, ...] = ()


def broadcast_hops(
    message: messages.Message, neighbours: Neighbours, own_limit: int
) -> BroadcastHops:
    """Return where a broadcast goes from here; never back to where it came from."""
    names: Collection[str] = neighbours.towards(message.direction)
    names = tuple(sorted(set(names) - {message.neighbour}))
    try:
        check_hops(message, own_limit)
    except exceptions.CellMaxHopCountReached:
        return BroadcastHops((), names)
    return BroadcastHops(names)


def way_back(message: messages.Message) -> paths.CellPath:
    """Return the path of the answer, this cell first.

    The answer to a targeted message goes all the way back; one to a broadcast
    goes one hop, as every cell on the way merges the answers from below.
    """
    back = message.routing_path.backwards()
    if isinstance(message, messages.BroadcastMessage):
        return paths.CellPath(back.names[:2])
    return back
