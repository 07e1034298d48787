"""Services have a uuid, by which clients from Pike on name them.

Revision ID: 0007
Revises: 0006
"""

import uuid

import sqlalchemy as sa
from alembic import op

from cells.db import models

revision = '0007'
down_revision = '0006'


def upgrade() -> None:
    op.add_column('services', sa.Column('uuid', models.Key(36), nullable=True))
    op.create_index('ix_services_uuid', 'services', ['uuid'], unique=True)
    services = sa.table('services', sa.column('id'), sa.column('uuid'))
    connection = op.get_bind()
    for row_id in connection.execute(sa.select(services.c.id)).scalars().all():
        change = sa.update(services).where(services.c.id == row_id)
        connection.execute(change.values(uuid=str(uuid.uuid4())))
