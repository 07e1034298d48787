"""The synchronisation upwards."""

import datetime

import sqlalchemy as sa
from sqlalchemy import orm

from cells.db.models import base


class SyncRequest(base.Base):
    """An order to send the state of instances upwards again; one row per order."""

    __tablename__ = 'sync_requests'

    uuid: orm.Mapped[str] = orm.mapped_column(base.Key(160), primary_key=True)
    project_id: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    updated_since: orm.Mapped[datetime.datetime | None] = orm.mapped_column(base.Moment)
    deleted: orm.Mapped[bool] = orm.mapped_column(sa.Boolean())
    requested_by: orm.Mapped[str] = orm.mapped_column(sa.Text())
    request_id: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    requested_at: orm.Mapped[float] = orm.mapped_column(sa.Double())
    #: How far it is: the uuid of the last instance that was looked at, and the counts.
    state: orm.Mapped[str | None] = orm.mapped_column(base.Key(16))
    position: orm.Mapped[str | None] = orm.mapped_column(base.Key(36))
    looked_at: orm.Mapped[int | None] = orm.mapped_column(sa.Integer())
    repaired: orm.Mapped[int | None] = orm.mapped_column(sa.Integer())
    claimed_by: orm.Mapped[str | None] = orm.mapped_column(base.Key(255))
    claimed_until: orm.Mapped[float | None] = orm.mapped_column(sa.Double())
    ended_at: orm.Mapped[float | None] = orm.mapped_column(sa.Double())


class Dirty(base.Base):
    """Something of an instance that the cells above do not know yet.

    The row that is sent is read when it is sent, so that of many changes the newest goes.
    ``names`` are the fields that have changed, with commas between them, or ``*``.
    """

    __tablename__ = 'dirty'
    __table_args__ = (sa.Index(None, 'claimed_until', 'marked_at'),)

    instance_uuid: orm.Mapped[str] = orm.mapped_column(base.Key(36), primary_key=True)
    part: orm.Mapped[str] = orm.mapped_column(base.Key(16), primary_key=True)
    key: orm.Mapped[str] = orm.mapped_column(base.Key(100), primary_key=True)
    names: orm.Mapped[str] = orm.mapped_column(base.LongText)
    epoch: orm.Mapped[int] = orm.mapped_column(base.BigId)
    seq: orm.Mapped[int] = orm.mapped_column(base.BigId)
    marked_at: orm.Mapped[float] = orm.mapped_column(sa.Double())
    attempts: orm.Mapped[int] = orm.mapped_column(sa.Integer())
    claimed_by: orm.Mapped[str | None] = orm.mapped_column(base.Key(255))
    claimed_until: orm.Mapped[float] = orm.mapped_column(sa.Double())


class HealPosition(base.Base):
    """How far the comparison with the cells above is; one row."""

    __tablename__ = 'heal_positions'

    name: orm.Mapped[str] = orm.mapped_column(base.Key(64), primary_key=True)
    position: orm.Mapped[str | None] = orm.mapped_column(base.Key(36))
    round: orm.Mapped[int] = orm.mapped_column(sa.Integer())
    looked_at: orm.Mapped[int] = orm.mapped_column(sa.Integer())
    repaired: orm.Mapped[int] = orm.mapped_column(sa.Integer())
    started_at: orm.Mapped[float] = orm.mapped_column(sa.Double())
    claimed_by: orm.Mapped[str | None] = orm.mapped_column(base.Key(255))
    claimed_until: orm.Mapped[float] = orm.mapped_column(sa.Double())


class Notification(base.Base):
    """An event that is to be told to who listens, until it is."""

    __tablename__ = 'notifications'
    __table_args__ = (sa.Index(None, 'claimed_until', 'id'),)

    id: orm.Mapped[int] = orm.mapped_column(base.BigId, primary_key=True)
    uuid: orm.Mapped[str] = orm.mapped_column(base.Key(36))
    event_type: orm.Mapped[str] = orm.mapped_column(sa.String(255))
    priority: orm.Mapped[str] = orm.mapped_column(sa.String(16))
    payload: orm.Mapped[str] = orm.mapped_column(base.LongText)
    made_at: orm.Mapped[float] = orm.mapped_column(sa.Double())
    claimed_by: orm.Mapped[str | None] = orm.mapped_column(base.Key(255))
    claimed_until: orm.Mapped[float] = orm.mapped_column(sa.Double())


class PathAlias(base.Base):
    """A path that cells had before they were renamed or moved; what is below it moved along."""

    __tablename__ = 'path_aliases'

    old_prefix: orm.Mapped[str] = orm.mapped_column(base.Key(512), primary_key=True)
    new_prefix: orm.Mapped[str] = orm.mapped_column(sa.Text())
    created_at: orm.Mapped[float] = orm.mapped_column(sa.Double())
