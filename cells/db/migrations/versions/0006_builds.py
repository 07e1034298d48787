"""Builds, claims on hosts, and what agents are to do.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from cells.db import models

revision = '0006'
down_revision = '0005'

LONG_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), 'mysql', 'mariadb')
BIG_ID = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.create_table(
        'build_requests',
        sa.Column('uuid', models.Key(160), nullable=False),
        sa.Column('envelope', LONG_TEXT, nullable=False),
        sa.Column('created_at', sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint('uuid', name=op.f('pk_build_requests')),
    )
    op.create_table(
        'claims',
        sa.Column('instance_uuid', models.Key(36), nullable=False),
        sa.Column('host', models.Key(255), nullable=False),
        sa.Column('node', models.Key(255), nullable=False),
        sa.Column('kind', models.Key(16), nullable=False),
        sa.Column('memory_mb', sa.Integer(), nullable=False),
        sa.Column('disk_gb', sa.Integer(), nullable=False),
        sa.Column('vcpus', sa.Integer(), nullable=False),
        sa.Column('created_at', sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint('instance_uuid', 'host', 'node', name=op.f('pk_claims')),
    )
    op.create_index(op.f('ix_claims_host_node'), 'claims', ['host', 'node'], unique=False)
    op.create_table(
        'host_operations',
        sa.Column('op_id', models.Key(64), nullable=False),
        sa.Column('instance_uuid', models.Key(36), nullable=False),
        sa.Column('host', models.Key(255), nullable=False),
        sa.Column('method', sa.String(64), nullable=False),
        sa.Column('args', LONG_TEXT, nullable=False),
        sa.Column('instance', LONG_TEXT, nullable=False),
        sa.Column('notes', LONG_TEXT, nullable=False),
        sa.Column('ctxt', LONG_TEXT, nullable=False),
        sa.Column('action_uuid', models.Key(36), nullable=True),
        sa.Column('event_uuid', models.Key(36), nullable=True),
        sa.Column('state', models.Key(16), nullable=False),
        sa.Column('attempts', sa.Integer(), nullable=False),
        sa.Column('due', sa.Double(), nullable=False),
        sa.Column('deadline', sa.Double(), nullable=False),
        sa.Column('claimed_by', models.Key(255), nullable=True),
        sa.Column('created_at', sa.Double(), nullable=False),
        sa.Column('ended_at', sa.Double(), nullable=True),
        sa.Column('result', LONG_TEXT, nullable=True),
        sa.PrimaryKeyConstraint('op_id', name=op.f('pk_host_operations')),
    )
    op.create_index(
        op.f('ix_host_operations_host_state'), 'host_operations', ['host', 'state'], unique=False
    )
    op.create_index(
        op.f('ix_host_operations_instance_uuid_state'),
        'host_operations',
        ['instance_uuid', 'state'],
        unique=False,
    )
    op.create_index(
        op.f('ix_host_operations_state_due'), 'host_operations', ['state', 'due'], unique=False
    )
    op.create_table(
        'placements',
        sa.Column('id', BIG_ID, nullable=False),
        sa.Column('instance_uuid', models.Key(36), nullable=False),
        sa.Column('attempt', sa.Integer(), nullable=False),
        sa.Column('request_uuid', models.Key(160), nullable=False),
        sa.Column('attempt_above', sa.Integer(), nullable=True),
        sa.Column('next_cell', models.Key(255), nullable=False),
        sa.Column('message_uuid', models.Key(160), nullable=True),
        sa.Column('state', models.Key(16), nullable=False),
        sa.Column('reasons', LONG_TEXT, nullable=True),
        sa.Column('memory_mb', sa.Integer(), nullable=False),
        sa.Column('disk_gb', sa.Integer(), nullable=False),
        sa.Column('vcpus', sa.Integer(), nullable=False),
        sa.Column('created_at', sa.Double(), nullable=False),
        sa.Column('expires', sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_placements')),
        sa.UniqueConstraint(
            'instance_uuid', 'attempt', name=op.f('uq_placements_instance_uuid_attempt')
        ),
    )
    op.create_index(
        op.f('ix_placements_request_uuid'), 'placements', ['request_uuid'], unique=False
    )
    op.create_index(
        op.f('ix_placements_state_expires'), 'placements', ['state', 'expires'], unique=False
    )
    op.create_table(
        'tombstones',
        sa.Column('instance_uuid', models.Key(36), nullable=False),
        sa.Column('attempt', sa.Integer(), nullable=False),
        sa.Column('reason', sa.String(255), nullable=False),
        sa.Column('created_at', sa.Double(), nullable=False),
        sa.Column('expires', sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint('instance_uuid', 'attempt', name=op.f('pk_tombstones')),
    )
    op.create_index(op.f('ix_tombstones_expires'), 'tombstones', ['expires'], unique=False)
