"""What all tables share: types, the naming of keys, soft deletion."""

import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import mysql
from sqlalchemy.ext import compiler

#: Whole envelopes; MySQL's TEXT ends at 64 KiB.
LongText = sa.Text().with_variant(mysql.LONGTEXT(), 'mysql', 'mariadb')

#: SQLite counts rows only in a column that is exactly INTEGER.
BigId = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')

#: Microseconds, which MySQL leaves out by default.
Moment = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), 'mysql', 'mariadb')


class Key(sa.String):
    """A text that is compared sign by sign, as everywhere but on MySQL and MariaDB.

    Those take ``a``, ``A`` and ``ä`` for the same, and drop blanks at the end.
    """

    inherit_cache = True


@compiler.compiles(Key, 'mysql')
@compiler.compiles(Key, 'mariadb')
def _key_mysql(element: Any, compiler: Any, **kwargs: Any) -> str:
    exact = 'utf8mb4_nopad_bin' if compiler.dialect.is_mariadb else 'utf8mb4_0900_bin'
    return 'VARCHAR(%d) CHARACTER SET utf8mb4 COLLATE %s' % (element.length, exact)


def utcnow() -> datetime.datetime:
    """Return the time in UTC, without a zone, as the contract has it."""
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None)


class Base(orm.DeclarativeBase):
    """The root of the models."""

    metadata = sa.MetaData(
        naming_convention={
            'ix': 'ix_%(table_name)s_%(column_0_N_name)s',
            'uq': 'uq_%(table_name)s_%(column_0_N_name)s',
            'pk': 'pk_%(table_name)s',
        }
    )


class SoftDelete:
    """Timestamps and soft deletion, as in nova's tables: ``deleted`` is the id or 0."""

    created_at: orm.Mapped[datetime.datetime | None] = orm.mapped_column(Moment, default=utcnow)
    updated_at: orm.Mapped[datetime.datetime | None] = orm.mapped_column(Moment, onupdate=utcnow)
    deleted_at: orm.Mapped[datetime.datetime | None] = orm.mapped_column(Moment)
    deleted: orm.Mapped[int] = orm.mapped_column(BigId, default=0)
