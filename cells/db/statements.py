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
    # Of the table and not of the model, which would take long over each value.
    table: Any = model.__table__
    statement: Any
    if name == 'sqlite':
        statement = sqlite.insert(table).on_conflict_do_nothing()
    elif name == 'postgresql':
        statement = postgresql.insert(table).on_conflict_do_nothing()
    else:
        statement = mysql.insert(table).prefix_with('IGNORE')
    if len(values) == 1:
        # Unlike the one for several, this statement is compiled once and then kept.
        return connection.execute(statement.values(dict(values[0])).inline()).rowcount
    # One statement for all: a SQL expression among the values rules out executemany.
    return connection.execute(statement.values([dict(row) for row in values])).rowcount


def insert_or_update(
    connection: sa.Connection,
    model: type[models.Base],
    values: Mapping[str, Any],
    changed: Mapping[str, Any],
) -> None:
    """Insert a row, or change the one that has its primary key already."""
    connection.execute(upsert(connection.dialect.name, model, values, changed))


def upsert(
    dialect: str,
    model: type[models.Base],
    values: Mapping[str, Any],
    changed: Mapping[str, Any],
) -> sa.Insert:
    """Return the statement that inserts a row, or changes the one of its primary key.

    :param values: and ``changed``: by column, values, expressions or parameters.
    """
    table: Any = model.__table__
    statement: Any
    if dialect in ('sqlite', 'postgresql'):
        insert = sqlite.insert if dialect == 'sqlite' else postgresql.insert
        statement = insert(table).on_conflict_do_update(
            index_elements=list(table.primary_key), set_=dict(changed)
        )
    else:
        statement = mysql.insert(table).on_duplicate_key_update(dict(changed))
    made: sa.Insert = statement.values(dict(values)).inline()
    return made


def put_many(
    connection: sa.Connection,
    model: type[models.Base],
    names: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
) -> None:
    """Insert rows, and of those whose primary key is there already change some columns.

    :param names: of the columns that change.
    """
    if not rows:
        return
    dialect = connection.dialect.name
    statement: Any
    if dialect in ('sqlite', 'postgresql'):
        statement = (sqlite.insert if dialect == 'sqlite' else postgresql.insert)(model)
        statement = statement.on_conflict_do_update(
            index_elements=list(model.__table__.primary_key),
            set_={name: statement.excluded[name] for name in names},
        )
    else:
        statement = mysql.insert(model)
        statement = statement.on_duplicate_key_update(
            {name: statement.inserted[name] for name in names}
        )
    connection.execute(statement, [dict(row) for row in rows])


def update_many(
    connection: sa.Connection,
    model: type[models.Base],
    names: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
) -> None:
    """Change many rows, each in its own way, in as few round trips as the database allows.

    :param names: of the columns that change.
    :param rows: ``id`` and a value for each of the names.
    """
    if not rows or not names:
        return
    if connection.dialect.name == 'postgresql':
        columns = ('id', *names)
        given = {name: [row[name] for row in rows] for name in columns}
        connection.execute(_unnested(connection, model, columns), given)
        return
    table = model.__table__
    statement = (
        sa.update(model)
        .where(table.c.id == sa.bindparam('row_id'))
        .values({name: sa.bindparam('to_' + name) for name in names})
    )
    connection.execute(
        statement,
        [{'row_id': row['id'], **{'to_' + name: row[name] for name in names}} for row in rows],
    )


def _unnested(
    connection: sa.Connection, model: type[models.Base], names: Sequence[str]
) -> sa.TextClause:
    table = model.__table__.c
    kinds = {name: table[name].type.compile(connection.dialect) for name in names}
    arrays = ', '.join('CAST(:%s AS %s[])' % (name, kinds[name]) for name in names)
    changes = ', '.join('%s = v.%s' % (name, name) for name in names[1:])
    return sa.text(
        'UPDATE %s AS t SET %s FROM unnest(%s) AS v(%s) WHERE t.id = v.id'
        % (model.__tablename__, changes, arrays, ', '.join(names))
    )


def locks(connection: sa.Connection) -> bool:
    """Tell whether rows are to be locked; the writer of SQLite is alone."""
    return connection.dialect.name != 'sqlite'


def locked(
    connection: sa.Connection, query: sa.Select[Any], free_only: bool
) -> list[dict[str, Any]]:
    """Run a query whose rows are about to be changed, and keep others from them.

    Give it an order: transactions that lock rows in one order cannot block each other.

    :param free_only: leave out rows that another transaction has.
    """
    if locks(connection):
        query = query.with_for_update(skip_locked=free_only)
    return [dict(row) for row in connection.execute(query).mappings()]


def visible(columns: Any, read_deleted: str) -> sa.ColumnElement[bool]:
    """Return the condition that shows what a request may see of a table with soft deletion.

    :param read_deleted: of its context: ``no``, ``yes`` or ``only``.
    """
    if read_deleted == 'yes':
        return sa.true()
    return columns.deleted != 0 if read_deleted == 'only' else columns.deleted == 0
