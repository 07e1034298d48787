"""What an operation does in the cell that it is for, one module for each subject.

A question's handler takes (context, arguments) and returns a value; a
change's takes (connection, message, arguments) and works in that transaction.
"""

from collections.abc import Callable
from typing import Any

from cells.db import engine
from cells.handlers import base, hosts, instances, reports, services, sync, task_logs
from cells.state import CellStateManager


def handlers(
    database: engine.Database,
    state: CellStateManager,
    host_caller: base.HostCaller,
    *,
    compute_topic: str = 'compute',
    service_down_time: float = 60.0,
) -> dict[str, Callable[..., Any]]:
    """Return the handler of every operation, by its name.

    :param service_down_time: seconds without a report after which a host is down.
    """
    found: dict[str, Callable[..., Any]] = {}
    for subject in (
        hosts.HostHandlers(
            database,
            host_caller,
            compute_topic=compute_topic,
            service_down_time=service_down_time,
        ),
        instances.InstanceHandlers(database, host_caller),
        reports.ReportHandlers(database, state),
        services.ServiceHandlers(database),
        sync.SyncHandlers(),
        task_logs.TaskLogHandlers(database),
    ):
        for name in subject.OPERATIONS:
            found[name] = getattr(subject, name)
    return found
