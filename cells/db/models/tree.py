"""What a cell knows of its place in the tree."""

import sqlalchemy as sa
from sqlalchemy import orm

from cells.db.models import base


class Cell(base.SoftDelete, base.Base):
    """A neighbour of this cell."""

    __tablename__ = 'cells'
    __table_args__ = (sa.UniqueConstraint('name', 'deleted'),)

    id: orm.Mapped[int] = orm.mapped_column(base.BigId, primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(base.Key(255))
    api_url: orm.Mapped[str | None] = orm.mapped_column(sa.Text())
    transport_url: orm.Mapped[str] = orm.mapped_column(sa.Text())
    weight_offset: orm.Mapped[float] = orm.mapped_column(sa.Float(), default=0.0)
    weight_scale: orm.Mapped[float] = orm.mapped_column(sa.Float(), default=1.0)
    is_parent: orm.Mapped[bool] = orm.mapped_column(sa.Boolean(), default=False)


class NeighbourReport(base.Base):
    """What all workers know of a neighbour."""

    __tablename__ = 'neighbour_reports'

    name: orm.Mapped[str] = orm.mapped_column(base.Key(255), primary_key=True)
    protocol: orm.Mapped[int] = orm.mapped_column(sa.Integer())
    plain_in_a_row: orm.Mapped[int] = orm.mapped_column(sa.Integer())
    last_plain_at: orm.Mapped[float | None] = orm.mapped_column(sa.Double())
    last_seen: orm.Mapped[float] = orm.mapped_column(sa.Double())
    cell_id: orm.Mapped[str | None] = orm.mapped_column(sa.String(36))
    clock_offset: orm.Mapped[float | None] = orm.mapped_column(sa.Double())
    capabilities: orm.Mapped[str | None] = orm.mapped_column(base.LongText)
    capacities: orm.Mapped[str | None] = orm.mapped_column(base.LongText)


class Drain(base.Base):
    """A cell, this one or a child, that takes no new instances."""

    __tablename__ = 'drains'

    name: orm.Mapped[str] = orm.mapped_column(base.Key(255), primary_key=True)
    reason: orm.Mapped[str] = orm.mapped_column(sa.String(255))
    created_at: orm.Mapped[float] = orm.mapped_column(sa.Double())


class CellIdentity(base.Base):
    """The id of this cell, one row, made with the schema."""

    __tablename__ = 'cell_identity'

    id: orm.Mapped[str] = orm.mapped_column(sa.String(36), primary_key=True)


class Lease(base.Base):
    """Which worker does what only one is to do."""

    __tablename__ = 'leases'

    name: orm.Mapped[str] = orm.mapped_column(base.Key(64), primary_key=True)
    holder: orm.Mapped[str] = orm.mapped_column(base.Key(255))
    expires: orm.Mapped[float] = orm.mapped_column(sa.Double())


class Change(base.Base):
    """A counter for each thing that workers keep a copy of, raised when it changes."""

    __tablename__ = 'changes'

    name: orm.Mapped[str] = orm.mapped_column(base.Key(64), primary_key=True)
    version: orm.Mapped[int] = orm.mapped_column(base.BigId)
