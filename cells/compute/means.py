"""What the actions of a cell work with, beside the transaction that they run in."""

import dataclasses
from typing import Any, Protocol

from cells import context, exceptions
from cells.db import engine


class HostCaller(Protocol):
    """Reaches the agents on the hosts of this cell."""

    def call(
        self,
        ctxt: context.RequestContext,
        host: str,
        method: str,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> Any:
        """Have an agent do something and return what came of it."""

    def cast(self, ctxt: context.RequestContext, host: str, method: str, **kwargs: Any) -> None:
        """Have an agent do something and do not wait for it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Means:
    """Collaborators and plain values of one cell.

    :ivar cell: its name.
    :ivar hosts: for what is asked of an agent while a caller waits.
    :ivar database: for what such an answer changes.
    :ivar service_down_time: seconds without a report after which a host is down.
    :ivar call_timeout: seconds that a caller waits at most.
    :ivar shelved_offload_time: 0 when a shelved instance leaves its host at once.
    """

    cell: str = ''
    hosts: HostCaller | None = None
    database: engine.Database | None = None
    service_down_time: float = 60.0
    call_timeout: float = 60.0
    shelved_offload_time: int = 0

    def call(self, ctxt: context.RequestContext, host: str, method: str, **kwargs: Any) -> Any:
        """Have an agent do something and return what came of it; outside of transactions only.

        :raises ComputeServiceUnavailable: it cannot be reached.
        :raises WireError: what the agent answered.
        """
        if self.hosts is None:
            raise exceptions.ComputeServiceUnavailable(host=host)
        return self.hosts.call(ctxt, host, method, **kwargs)
