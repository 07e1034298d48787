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
