"""Of which request a change is, and why a build was given to its cell.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from cells.db import models

revision = '0008'
down_revision = '0007'

LONG_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), 'mysql', 'mariadb')


def upgrade() -> None:
    op.add_column('inbox', sa.Column('request_id', models.Key(64), nullable=True))
    op.add_column('outbox', sa.Column('request_id', models.Key(64), nullable=True))
    op.add_column('placements', sa.Column('choice', LONG_TEXT, nullable=True))
