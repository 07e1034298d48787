"""Queries on task logs."""

import datetime
import functools
from typing import Any

import sqlalchemy as sa

from cells.db import engine, models, rows

_COLUMNS = models.TaskLog.__table__.c


def task_log_get_all(
    database: engine.Database,
    task_name: str,
    period_beginning: datetime.datetime,
    period_ending: datetime.datetime,
    host: str | None = None,
    state: str | None = None,
) -> list[dict[str, Any]]:
    """Return the logs of a task over exactly this period, as plain dictionaries.

    :param host: only those of this host.
    :param state: only those in this state.
    """
    values = {
        'task_name': task_name,
        'period_beginning': period_beginning,
        'period_ending': period_ending,
    }
    if host is not None:
        values['host'] = host
    if state is not None:
        values['state'] = state
    with database.read() as connection:
        found = connection.execute(_query(tuple(values)), values)
        return [rows.plain(row) for row in found.mappings()]


@functools.lru_cache
def _query(names: tuple[str, ...]) -> sa.Select[Any]:
    # Building a statement costs more than running it.
    conditions = [_COLUMNS[name] == sa.bindparam(name) for name in names]
    return sa.select(*_COLUMNS).where(_COLUMNS.deleted == 0, *conditions).order_by(_COLUMNS.id)


def task_log_begin(database: engine.Database, **values: Any) -> None:
    """Write the log of a task that starts; ``values`` by column."""
    with database.write() as connection:
        connection.execute(sa.insert(models.TaskLog).values(**values))
