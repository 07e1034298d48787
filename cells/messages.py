"""The messages that travel between cells, as frozen values.

A hop makes a new message (:meth:`Message.hopped`); nothing is changed in
place, so what a cell sends on equals what it received (R9, R10).
"""

import dataclasses
import uuid
from collections.abc import Mapping
from typing import Any

from cells import operations, paths

JSON = Any


@dataclasses.dataclass(frozen=True, slots=True)
class Extension:
    """What our cells add to an envelope for the next cell on the way.

    :ivar version: see ``versions.EXTENSION_VERSION``.
    :ivar sent_at: when the neighbour sent it, seconds since the epoch by its clock.
    :ivar budget_ms: within how many milliseconds of that the neighbour wants the answer.
    :ivar reply_server: the server name of the worker that waits for it.
    :ivar cell_id: the id of the cell that sent it.
    """

    version: int
    sent_at: float
    budget_ms: int | None = None
    reply_server: str | None = None
    cell_id: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """What the three kinds have in common.

    :ivar ctxt: the request context in its wire form, as received.
    :ivar method_kwargs: arguments in their wire form, not decoded by a cell that forwards.
    :ivar routing_path: the cells passed so far, the present one last.
    :ivar max_hop_count: the limit that the source set; None: the receiver's own holds.
    :ivar extension: set when the message comes from, or goes to, one of our cells.
    :ivar unknown: keys of the envelope that this version does not know, sent on as they came.
    """

    ctxt: Mapping[str, JSON]
    method_name: str
    method_kwargs: Mapping[str, JSON]
    direction: operations.Direction
    routing_path: paths.CellPath
    uuid: str
    need_response: bool = False
    fanout: bool = False
    hop_count: int = 1
    max_hop_count: int | None = None
    extension: Extension | None = None
    unknown: Mapping[str, JSON] = dataclasses.field(default_factory=dict)

    @property
    def source(self) -> str:
        """The cell that made the message."""
        return self.routing_path.names[0]

    @property
    def neighbour(self) -> str | None:
        """The cell that it came from last, None at its source."""
        return self.routing_path.names[-2] if len(self.routing_path) > 1 else None

    def hopped(self, name: str) -> 'Message':
        """Return the message as it is in the next cell."""
        return dataclasses.replace(
            self, routing_path=self.routing_path.hopped(name), hop_count=self.hop_count + 1
        )


@dataclasses.dataclass(frozen=True, slots=True)
class TargetedMessage(Message):
    """A message for one cell. ``target_cell`` is the path from the source to it."""

    target_cell: paths.CellPath = paths.CellPath(('unset',))


@dataclasses.dataclass(frozen=True, slots=True)
class BroadcastMessage(Message):
    """A message for all cells above or below."""


@dataclasses.dataclass(frozen=True, slots=True)
class ResponseMessage(Message):
    """An answer on its way back.

    :ivar target_cell: the way back, the answering cell first.
    :ivar response_uuid: of the message that it answers.
    """

    target_cell: paths.CellPath = paths.CellPath(('unset',))
    response_uuid: str = ''


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """An error in the form in which it crosses (``failure_value_json``); no traceback (X6)."""

    name: str
    module: str
    message: str
    args: tuple[JSON, ...] = ()
    kwargs: Mapping[str, JSON] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Response:
    """The answer of one cell: a value or a failure, never both.

    :ivar cell_name: the path from the source to the cell that answered.
    :ivar value: in wire form.
    """

    cell_name: str
    value: JSON = None
    failure: Failure | None = None


def new_uuid() -> str:
    """Return the id of a new message."""
    return str(uuid.uuid4())


def with_extension(message: Message, extension: Extension | None) -> Message:
    """Return the message with what this cell adds for the next one."""
    return dataclasses.replace(message, extension=extension)


def without_extension(message: Message) -> Message:
    """Return what is left of the message in a nova-cells, which knows no key of ours."""
    return dataclasses.replace(message, extension=None, unknown={})


def with_fanout(message: ResponseMessage, fanout: bool) -> ResponseMessage:
    """Return the answer with what it says about its last hop."""
    return dataclasses.replace(message, fanout=fanout)
