"""The tree: reports of neighbours, leases, the id of the cell; answers to orders; dead messages.

Revision ID: 0002
Revises: 0001
"""

import uuid

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from cells.db import models

revision = '0002'
down_revision = '0001'

LONG_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), 'mysql', 'mariadb')
BIG_ID = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    for column in (
        sa.Column('cell_id', sa.String(36), nullable=True),
        sa.Column('clock_offset', sa.Double(), nullable=True),
        sa.Column('capabilities', LONG_TEXT, nullable=True),
        sa.Column('capacities', LONG_TEXT, nullable=True),
    ):
        op.add_column('neighbour_reports', column)
    op.add_column('inbox', sa.Column('result', LONG_TEXT, nullable=True))
    op.create_table(
        'leases',
        sa.Column('name', models.Key(64), nullable=False),
        sa.Column('holder', models.Key(255), nullable=False),
        sa.Column('expires', sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint('name', name=op.f('pk_leases')),
    )
    op.create_table(
        'changes',
        sa.Column('name', models.Key(64), nullable=False),
        sa.Column('version', BIG_ID, nullable=False),
        sa.PrimaryKeyConstraint('name', name=op.f('pk_changes')),
    )
    identity = op.create_table(
        'cell_identity',
        sa.Column('id', sa.String(36), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_cell_identity')),
    )
    op.bulk_insert(identity, [{'id': str(uuid.uuid4())}])
    op.create_table(
        'dead_messages',
        sa.Column('id', BIG_ID, nullable=False),
        sa.Column('uuid', models.Key(160), nullable=False),
        sa.Column('operation', sa.String(64), nullable=False),
        sa.Column('came_by', sa.Text(), nullable=False),
        sa.Column('envelope', LONG_TEXT, nullable=False),
        sa.Column('reason', sa.Text(), nullable=False),
        sa.Column('parked_at', sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_dead_messages')),
    )
