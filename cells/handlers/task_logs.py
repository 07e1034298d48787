"""Task logs."""

from typing import Any, Final

from cells import arguments, context, times
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
        task_name: object,
        period_beginning: object,
        period_ending: object,
        host: object = None,
        state: object = None,
    ) -> list[dict[str, Any]]:
        """Return the logs of a task over exactly this period.

        :raises Invalid: the period is not made of times, or something else no text.
        """
        return db_task_log.task_log_get_all(
            self._database,
            arguments.text('task_name', task_name),
            times.parse('period_beginning', period_beginning),
            times.parse('period_ending', period_ending),
            None if host is None else arguments.text('host', host),
            None if state is None else arguments.text('state', state),
        )
