"""Changes on their way in and out."""

import sqlalchemy as sa
from sqlalchemy import orm

from cells.db.models import base


class Inbox(base.Base):
    """A change that came in: received -> claimed -> done | failed. Times are of the database."""

    __tablename__ = 'inbox'
    __table_args__ = (
        sa.UniqueConstraint('uuid'),
        sa.Index(None, 'state', 'claimed_until'),
        sa.Index(None, 'state', 'id'),
        sa.Index(None, 'ended_at'),
        sa.Index(None, 'instance_uuid', 'state', 'ordering', 'id'),
    )

    id: orm.Mapped[int] = orm.mapped_column(base.BigId, primary_key=True)
    uuid: orm.Mapped[str] = orm.mapped_column(base.Key(160))
    operation: orm.Mapped[str] = orm.mapped_column(sa.String(64))
    envelope: orm.Mapped[str] = orm.mapped_column(base.LongText)
    state: orm.Mapped[str] = orm.mapped_column(sa.String(16))
    attempts: orm.Mapped[int] = orm.mapped_column(sa.Integer())
    claimed_by: orm.Mapped[str | None] = orm.mapped_column(base.Key(255))
    claimed_until: orm.Mapped[float] = orm.mapped_column(sa.Double())
    received_at: orm.Mapped[float] = orm.mapped_column(sa.Double())
    ended_at: orm.Mapped[float | None] = orm.mapped_column(sa.Double())
    reason: orm.Mapped[str | None] = orm.mapped_column(sa.Text())
    result: orm.Mapped[str | None] = orm.mapped_column(base.LongText)
    #: What it is about; of one instance, one change is carried out at a time, in this order.
    instance_uuid: orm.Mapped[str | None] = orm.mapped_column(base.Key(36))
    ordering: orm.Mapped[str | None] = orm.mapped_column(base.Key(32))
    #: When it was refused first, by a lock or a state that an earlier change may still end.
    refused_at: orm.Mapped[float | None] = orm.mapped_column(sa.Double())
    #: Under which it was ordered, for people who look for it.
    request_id: orm.Mapped[str | None] = orm.mapped_column(base.Key(64))


class DeadMessage(base.Base):
    """A message that was delivered again and again and never came to an end."""

    __tablename__ = 'dead_messages'

    id: orm.Mapped[int] = orm.mapped_column(base.BigId, primary_key=True)
    uuid: orm.Mapped[str] = orm.mapped_column(base.Key(160))
    operation: orm.Mapped[str] = orm.mapped_column(sa.String(64))
    came_by: orm.Mapped[str] = orm.mapped_column(sa.Text())
    envelope: orm.Mapped[str] = orm.mapped_column(base.LongText)
    reason: orm.Mapped[str] = orm.mapped_column(sa.Text())
    parked_at: orm.Mapped[float] = orm.mapped_column(sa.Double())


class Outbox(base.Base):
    """A change on its way to a neighbour, until that one has confirmed it."""

    __tablename__ = 'outbox'
    __table_args__ = (
        sa.UniqueConstraint('uuid', 'neighbour'),
        sa.Index(None, 'neighbour', 'state', 'claimed_until'),
        sa.Index(None, 'instance_uuid', 'neighbour', 'id'),
    )

    id: orm.Mapped[int] = orm.mapped_column(base.BigId, primary_key=True)
    uuid: orm.Mapped[str] = orm.mapped_column(base.Key(160))
    neighbour: orm.Mapped[str] = orm.mapped_column(base.Key(255))
    kind: orm.Mapped[str] = orm.mapped_column(sa.String(16))
    envelope: orm.Mapped[str] = orm.mapped_column(base.LongText)
    state: orm.Mapped[str] = orm.mapped_column(sa.String(16))
    attempts: orm.Mapped[int] = orm.mapped_column(sa.Integer())
    claimed_by: orm.Mapped[str | None] = orm.mapped_column(base.Key(255))
    claimed_until: orm.Mapped[float] = orm.mapped_column(sa.Double())
    created_at: orm.Mapped[float] = orm.mapped_column(sa.Double())
    sent_at: orm.Mapped[float | None] = orm.mapped_column(sa.Double())
    #: What it is about; of one instance, one change is on its way at a time.
    instance_uuid: orm.Mapped[str | None] = orm.mapped_column(base.Key(36))
    request_id: orm.Mapped[str | None] = orm.mapped_column(base.Key(64))
