"""The tables. ``migrations/`` makes the same ones; a test compares the two."""

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


class Cell(SoftDelete, Base):
    """A neighbour of this cell."""

    __tablename__ = 'cells'
    __table_args__ = (sa.UniqueConstraint('name', 'deleted'),)

    id: orm.Mapped[int] = orm.mapped_column(BigId, primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(Key(255))
    api_url: orm.Mapped[str | None] = orm.mapped_column(sa.Text())
    transport_url: orm.Mapped[str] = orm.mapped_column(sa.Text())
    weight_offset: orm.Mapped[float] = orm.mapped_column(sa.Float(), default=0.0)
    weight_scale: orm.Mapped[float] = orm.mapped_column(sa.Float(), default=1.0)
    is_parent: orm.Mapped[bool] = orm.mapped_column(sa.Boolean(), default=False)


class Service(SoftDelete, Base):
    """A service of this cell and the last that was heard of it."""

    __tablename__ = 'services'
    __table_args__ = (sa.UniqueConstraint('host', 'binary', 'deleted'),)

    id: orm.Mapped[int] = orm.mapped_column(BigId, primary_key=True)
    host: orm.Mapped[str] = orm.mapped_column(Key(255))
    binary: orm.Mapped[str] = orm.mapped_column(Key(255))
    topic: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    report_count: orm.Mapped[int] = orm.mapped_column(sa.Integer(), default=0)
    disabled: orm.Mapped[bool] = orm.mapped_column(sa.Boolean(), default=False)
    disabled_reason: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    availability_zone: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    last_seen_up: orm.Mapped[datetime.datetime | None] = orm.mapped_column(Moment)
    forced_down: orm.Mapped[bool] = orm.mapped_column(sa.Boolean(), default=False)
    version: orm.Mapped[int] = orm.mapped_column(sa.Integer(), default=0)


class TaskLog(SoftDelete, Base):
    """An audit task that ran on a host for a period."""

    __tablename__ = 'task_log'
    __table_args__ = (
        sa.UniqueConstraint('task_name', 'host', 'period_beginning', 'period_ending'),
        sa.Index('ix_task_log_period', 'task_name', 'period_beginning', 'period_ending'),
    )

    id: orm.Mapped[int] = orm.mapped_column(BigId, primary_key=True)
    task_name: orm.Mapped[str] = orm.mapped_column(sa.String(191))
    state: orm.Mapped[str] = orm.mapped_column(sa.String(255))
    host: orm.Mapped[str] = orm.mapped_column(Key(191))
    period_beginning: orm.Mapped[datetime.datetime] = orm.mapped_column(Moment)
    period_ending: orm.Mapped[datetime.datetime] = orm.mapped_column(Moment)
    message: orm.Mapped[str] = orm.mapped_column(sa.Text())
    task_items: orm.Mapped[int | None] = orm.mapped_column(sa.Integer(), default=0)
    errors: orm.Mapped[int | None] = orm.mapped_column(sa.Integer(), default=0)


class Inbox(Base):
    """A change that came in: received -> claimed -> done | failed. Times are of the database."""

    __tablename__ = 'inbox'
    __table_args__ = (
        sa.UniqueConstraint('uuid'),
        sa.Index(None, 'state', 'claimed_until'),
        sa.Index(None, 'ended_at'),
    )

    id: orm.Mapped[int] = orm.mapped_column(BigId, primary_key=True)
    uuid: orm.Mapped[str] = orm.mapped_column(Key(160))
    operation: orm.Mapped[str] = orm.mapped_column(sa.String(64))
    envelope: orm.Mapped[str] = orm.mapped_column(LongText)
    state: orm.Mapped[str] = orm.mapped_column(sa.String(16))
    attempts: orm.Mapped[int] = orm.mapped_column(sa.Integer())
    claimed_by: orm.Mapped[str | None] = orm.mapped_column(Key(255))
    claimed_until: orm.Mapped[float] = orm.mapped_column(sa.Double())
    received_at: orm.Mapped[float] = orm.mapped_column(sa.Double())
    ended_at: orm.Mapped[float | None] = orm.mapped_column(sa.Double())
    reason: orm.Mapped[str | None] = orm.mapped_column(sa.Text())


class Outbox(Base):
    """A change on its way to a neighbour, until that one has confirmed it."""

    __tablename__ = 'outbox'
    __table_args__ = (
        sa.UniqueConstraint('uuid', 'neighbour'),
        sa.Index(None, 'neighbour', 'state', 'claimed_until'),
    )

    id: orm.Mapped[int] = orm.mapped_column(BigId, primary_key=True)
    uuid: orm.Mapped[str] = orm.mapped_column(Key(160))
    neighbour: orm.Mapped[str] = orm.mapped_column(Key(255))
    kind: orm.Mapped[str] = orm.mapped_column(sa.String(16))
    envelope: orm.Mapped[str] = orm.mapped_column(LongText)
    state: orm.Mapped[str] = orm.mapped_column(sa.String(16))
    attempts: orm.Mapped[int] = orm.mapped_column(sa.Integer())
    claimed_by: orm.Mapped[str | None] = orm.mapped_column(Key(255))
    claimed_until: orm.Mapped[float] = orm.mapped_column(sa.Double())
    created_at: orm.Mapped[float] = orm.mapped_column(sa.Double())
    sent_at: orm.Mapped[float | None] = orm.mapped_column(sa.Double())


class NeighbourReport(Base):
    """What all workers know of a neighbour."""

    __tablename__ = 'neighbour_reports'

    name: orm.Mapped[str] = orm.mapped_column(Key(255), primary_key=True)
    protocol: orm.Mapped[int] = orm.mapped_column(sa.Integer())
    plain_in_a_row: orm.Mapped[int] = orm.mapped_column(sa.Integer())
    last_plain_at: orm.Mapped[float | None] = orm.mapped_column(sa.Double())
    last_seen: orm.Mapped[float] = orm.mapped_column(sa.Double())


class SyncRequest(Base):
    """An order to send the state of instances upwards again; one row per order."""

    __tablename__ = 'sync_requests'

    uuid: orm.Mapped[str] = orm.mapped_column(Key(160), primary_key=True)
    project_id: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    updated_since: orm.Mapped[datetime.datetime | None] = orm.mapped_column(Moment)
    deleted: orm.Mapped[bool] = orm.mapped_column(sa.Boolean())
    requested_by: orm.Mapped[str] = orm.mapped_column(sa.Text())
    request_id: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    requested_at: orm.Mapped[float] = orm.mapped_column(sa.Double())
