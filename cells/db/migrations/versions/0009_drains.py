"""Which cells take no new instances.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

from cells.db import models

revision = '0009'
down_revision = '0008'


def upgrade() -> None:
    op.create_table(
        'drains',
        sa.Column('name', models.Key(255), nullable=False),
        sa.Column('reason', sa.String(255), nullable=False),
        sa.Column('created_at', sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint('name', name=op.f('pk_drains')),
    )
