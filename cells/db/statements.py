"""Statements that the databases spell differently."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from cells.db import models


def insert_new(
    connection: sa.Connection, model: type[models.Base], values: Sequence[Mapping[str, Any]]
) -> int:
    """Insert rows and return how many; one whose key is there already is left as it is."""
    if not values:
        return 0
    name = connection.dialect.name
    statement: Any
    if name == 'sqlite':
        statement = sqlite.insert(model).on_conflict_do_nothing()
    elif name == 'postgresql':
        statement = postgresql.insert(model).on_conflict_do_nothing()
    else:
        statement = mysql.insert(model).prefix_with('IGNORE')
    # One statement for all: a SQL expression among the values rules out executemany.
    return connection.execute(statement.values([dict(row) for row in values])).rowcount


def insert_or_update(
    connection: sa.Connection,
    model: type[models.Base],
    values: Mapping[str, Any],
    changed: Mapping[str, Any],
) -> None:
    """Insert a row, or change the one that has its primary key already."""
    name = connection.dialect.name
    statement: Any
    if name in ('sqlite', 'postgresql'):
        insert = sqlite.insert if name == 'sqlite' else postgresql.insert
        statement = insert(model).on_conflict_do_update(
            index_elements=list(model.__table__.primary_key), set_=dict(changed)
        )
    else:
        statement = mysql.insert(model).on_duplicate_key_update(dict(changed))
    connection.execute(statement.values(dict(values)))


def locked(
    connection: sa.Connection, query: sa.Select[Any], free_only: bool
) -> list[dict[str, Any]]:
    """Run a query whose rows are about to be changed, and keep others from them.

    Give it an order: transactions that lock rows in one order cannot block each other.

    :param free_only: leave out rows that another transaction has.
    """
    if connection.dialect.name != 'sqlite':  # whose writer is alone
        query = query.with_for_update(skip_locked=free_only)
    return [dict(row) for row in connection.execute(query).mappings()]


def visible(columns: Any, read_deleted: str) -> sa.ColumnElement[bool]:
    """Return the condition that shows what a request may see of a table with soft deletion.

    :param read_deleted: of its context: ``no``, ``yes`` or ``only``.
    """
    if read_deleted == 'yes':
        return sa.true()
    return columns.deleted != 0 if read_deleted == 'only' else columns.deleted == 0
