"""Services and hosts of this cell."""

import datetime

import sqlalchemy as sa
from sqlalchemy import orm

from cells.db.models import base


class Service(base.SoftDelete, base.Base):
    """A service of this cell and the last that was heard of it."""

    __tablename__ = 'services'
    __table_args__ = (sa.UniqueConstraint('host', 'binary', 'deleted'),)

    id: orm.Mapped[int] = orm.mapped_column(base.BigId, primary_key=True)
    host: orm.Mapped[str] = orm.mapped_column(base.Key(255))
    binary: orm.Mapped[str] = orm.mapped_column(base.Key(255))
    topic: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    report_count: orm.Mapped[int] = orm.mapped_column(sa.Integer(), default=0)
    disabled: orm.Mapped[bool] = orm.mapped_column(sa.Boolean(), default=False)
    disabled_reason: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    availability_zone: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    last_seen_up: orm.Mapped[datetime.datetime | None] = orm.mapped_column(base.Moment)
    forced_down: orm.Mapped[bool] = orm.mapped_column(sa.Boolean(), default=False)
    version: orm.Mapped[int] = orm.mapped_column(sa.Integer(), default=0)


class TaskLog(base.SoftDelete, base.Base):
    """An audit task that ran on a host for a period."""

    __tablename__ = 'task_log'
    __table_args__ = (
        sa.UniqueConstraint('task_name', 'host', 'period_beginning', 'period_ending'),
        sa.Index('ix_task_log_period', 'task_name', 'period_beginning', 'period_ending'),
    )

    id: orm.Mapped[int] = orm.mapped_column(base.BigId, primary_key=True)
    task_name: orm.Mapped[str] = orm.mapped_column(sa.String(191))
    state: orm.Mapped[str] = orm.mapped_column(sa.String(255))
    host: orm.Mapped[str] = orm.mapped_column(base.Key(191))
    period_beginning: orm.Mapped[datetime.datetime] = orm.mapped_column(base.Moment)
    period_ending: orm.Mapped[datetime.datetime] = orm.mapped_column(base.Moment)
    message: orm.Mapped[str] = orm.mapped_column(sa.Text())
    task_items: orm.Mapped[int | None] = orm.mapped_column(sa.Integer(), default=0)
    errors: orm.Mapped[int | None] = orm.mapped_column(sa.Integer(), default=0)
