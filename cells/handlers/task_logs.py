"""Task logs."""

from typing import Any, Final

from cells import context, times
from cells.db import engine
from cells.db import task_log as db_task_log


class TaskLogHandlers:
    """Answers questions on task logs from the database."""

    OPERATIONS: Final = ('task_log_get_all',)

    def __init__(self, database: engine.Database) -> None:
        self._database = database

    def task_log_get_all(
        self,
        ctxt: context.RequestContext,
        task_name: str,
        period_beginning: object,
        period_ending: object,
        host: str | None = None,
        state: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return the logs of a task over exactly this period.

        :raises Invalid: the period is not made of times.
        """
        return db_task_log.task_log_get_all(
            self._database,
            task_name,
            times.parse('period_beginning', period_beginning),
            times.parse('period_ending', period_ending),
            host,
            state,
        )
