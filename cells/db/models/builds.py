"""Builds: where they were sent, and what hosts have promised."""

import sqlalchemy as sa
from sqlalchemy import orm

from cells.db.models import base


class BuildRequest(base.Base):
    """What was asked for, kept as long as one of its instances is to find a place.

    It may hold passwords, and goes when it is not needed any more.
    """

    __tablename__ = 'build_requests'

    uuid: orm.Mapped[str] = orm.mapped_column(base.Key(160), primary_key=True)
    envelope: orm.Mapped[str] = orm.mapped_column(base.LongText)
    created_at: orm.Mapped[float] = orm.mapped_column(sa.Double())


class Placement(base.Base):
    """An attempt to build an instance in a cell: this one or one below. Times of the database."""

    __tablename__ = 'placements'
    __table_args__ = (
        sa.UniqueConstraint('instance_uuid', 'attempt'),
        sa.Index(None, 'state', 'expires'),
        sa.Index(None, 'request_uuid'),
    )

    id: orm.Mapped[int] = orm.mapped_column(base.BigId, primary_key=True)
    instance_uuid: orm.Mapped[str] = orm.mapped_column(base.Key(36))
    attempt: orm.Mapped[int] = orm.mapped_column(sa.Integer())
    request_uuid: orm.Mapped[str] = orm.mapped_column(base.Key(160))
    #: The number that the cell above gave to its attempt, null at the top.
    attempt_above: orm.Mapped[int | None] = orm.mapped_column(sa.Integer())
    next_cell: orm.Mapped[str] = orm.mapped_column(base.Key(255))
    message_uuid: orm.Mapped[str | None] = orm.mapped_column(base.Key(160))
    state: orm.Mapped[str] = orm.mapped_column(base.Key(16))
    #: JSON: cell -> reason.
    reasons: orm.Mapped[str | None] = orm.mapped_column(base.LongText)
    #: JSON: what the cell was chosen by, see :class:`cells.scheduler.Choice`.
    choice: orm.Mapped[str | None] = orm.mapped_column(base.LongText)
    memory_mb: orm.Mapped[int] = orm.mapped_column(sa.Integer())
    disk_gb: orm.Mapped[int] = orm.mapped_column(sa.Integer())
    vcpus: orm.Mapped[int] = orm.mapped_column(sa.Integer())
    created_at: orm.Mapped[float] = orm.mapped_column(sa.Double())
    expires: orm.Mapped[float] = orm.mapped_column(sa.Double())


class Tombstone(base.Base):
    """An instance, or one attempt at it, that is not to be built here any more."""

    __tablename__ = 'tombstones'
    __table_args__ = (sa.Index(None, 'expires'),)

    instance_uuid: orm.Mapped[str] = orm.mapped_column(base.Key(36), primary_key=True)
    #: 0 for all attempts.
    attempt: orm.Mapped[int] = orm.mapped_column(sa.Integer(), primary_key=True)
    reason: orm.Mapped[str] = orm.mapped_column(sa.String(255))
    created_at: orm.Mapped[float] = orm.mapped_column(sa.Double())
    expires: orm.Mapped[float] = orm.mapped_column(sa.Double())


class Claim(base.Base):
    """What an instance has, or is about to have, of a node."""

    __tablename__ = 'claims'
    __table_args__ = (sa.Index(None, 'host', 'node'),)

    instance_uuid: orm.Mapped[str] = orm.mapped_column(base.Key(36), primary_key=True)
    host: orm.Mapped[str] = orm.mapped_column(base.Key(255), primary_key=True)
    node: orm.Mapped[str] = orm.mapped_column(base.Key(255), primary_key=True)
    kind: orm.Mapped[str] = orm.mapped_column(base.Key(16))
    memory_mb: orm.Mapped[int] = orm.mapped_column(sa.Integer())
    disk_gb: orm.Mapped[int] = orm.mapped_column(sa.Integer())
    vcpus: orm.Mapped[int] = orm.mapped_column(sa.Integer())
    created_at: orm.Mapped[float] = orm.mapped_column(sa.Double())


class HostOperation(base.Base):
    """Something that the agent on a host is to do with an instance. Times of the database."""

    __tablename__ = 'host_operations'
    __table_args__ = (
        sa.Index(None, 'instance_uuid', 'state'),
        sa.Index(None, 'host', 'state'),
        sa.Index(None, 'state', 'due'),
    )

    op_id: orm.Mapped[str] = orm.mapped_column(base.Key(64), primary_key=True)
    instance_uuid: orm.Mapped[str] = orm.mapped_column(base.Key(36))
    host: orm.Mapped[str] = orm.mapped_column(base.Key(255))
    method: orm.Mapped[str] = orm.mapped_column(sa.String(64))
    #: JSON: what the agent gets, what it needs to know of the instance, what comes after.
    args: orm.Mapped[str] = orm.mapped_column(base.LongText)
    instance: orm.Mapped[str] = orm.mapped_column(base.LongText)
    notes: orm.Mapped[str] = orm.mapped_column(base.LongText)
    ctxt: orm.Mapped[str] = orm.mapped_column(base.LongText)
    action_uuid: orm.Mapped[str | None] = orm.mapped_column(base.Key(36))
    event_uuid: orm.Mapped[str | None] = orm.mapped_column(base.Key(36))
    state: orm.Mapped[str] = orm.mapped_column(base.Key(16))
    attempts: orm.Mapped[int] = orm.mapped_column(sa.Integer())
    due: orm.Mapped[float] = orm.mapped_column(sa.Double())
    deadline: orm.Mapped[float] = orm.mapped_column(sa.Double())
    claimed_by: orm.Mapped[str | None] = orm.mapped_column(base.Key(255))
    created_at: orm.Mapped[float] = orm.mapped_column(sa.Double())
    ended_at: orm.Mapped[float | None] = orm.mapped_column(sa.Double())
    #: JSON.
    result: orm.Mapped[str | None] = orm.mapped_column(base.LongText)
