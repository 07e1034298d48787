"""What an operation does in the cell that it is for, one module for each subject.

A question's handler takes (context, arguments) and returns a value; a
change's takes (connection, message, arguments) and works in that transaction.
"""

from collections.abc import Callable
from typing import Any

from cells.db import engine
from cells.handlers import services, sync, task_logs


def handlers(database: engine.Database) -> dict[str, Callable[..., Any]]:
    """Return the handler of every operation, by its name."""
    found: dict[str, Callable[..., Any]] = {}
    for subject in (
        services.ServiceHandlers(database),
        sync.SyncHandlers(),
        task_logs.TaskLogHandlers(database),
    ):
        for name in subject.OPERATIONS:
            found[name] = getattr(subject, name)
    return found
