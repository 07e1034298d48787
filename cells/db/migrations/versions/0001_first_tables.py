"""The first tables: neighbours, services, task logs, the journal, orders to sync.

Revision ID: 0001
Revises: nothing
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from cells.db import models

revision = '0001'
down_revision = None

MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), 'mysql', 'mariadb')
LONG_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), 'mysql', 'mariadb')
BIG_ID = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.create_table(
        'cells',
        sa.Column('id', BIG_ID, nullable=False),
        sa.Column('name', models.Key(255), nullable=False),
        sa.Column('api_url', sa.Text(), nullable=True),
        sa.Column('transport_url', sa.Text(), nullable=False),
        sa.Column('weight_offset', sa.Float(), nullable=False),
        sa.Column('weight_scale', sa.Float(), nullable=False),
        sa.Column('is_parent', sa.Boolean(), nullable=False),
        sa.Column('created_at', MOMENT, nullable=True),
        sa.Column('updated_at', MOMENT, nullable=True),
        sa.Column('deleted_at', MOMENT, nullable=True),
        sa.Column('deleted', BIG_ID, nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_cells')),
        sa.UniqueConstraint('name', 'deleted', name=op.f('uq_cells_name_deleted')),
    )
    op.create_table(
        'inbox',
        sa.Column('id', BIG_ID, nullable=False),
        sa.Column('uuid', models.Key(160), nullable=False),
        sa.Column('operation', sa.String(length=64), nullable=False),
        sa.Column('envelope', LONG_TEXT, nullable=False),
        sa.Column('state', sa.String(length=16), nullable=False),
        sa.Column('attempts', sa.Integer(), nullable=False),
        sa.Column('claimed_by', models.Key(255), nullable=True),
        sa.Column('claimed_until', sa.Double(), nullable=False),
        sa.Column('received_at', sa.Double(), nullable=False),
        sa.Column('ended_at', sa.Double(), nullable=True),
        sa.Column('reason', sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_inbox')),
        sa.UniqueConstraint('uuid', name=op.f('uq_inbox_uuid')),
    )
    op.create_index(op.f('ix_inbox_ended_at'), 'inbox', ['ended_at'], unique=False)
    op.create_index(
        op.f('ix_inbox_state_claimed_until'), 'inbox', ['state', 'claimed_until'], unique=False
    )
    op.create_table(
        'neighbour_reports',
        sa.Column('name', models.Key(255), nullable=False),
        sa.Column('protocol', sa.Integer(), nullable=False),
        sa.Column('plain_in_a_row', sa.Integer(), nullable=False),
        sa.Column('last_plain_at', sa.Double(), nullable=True),
        sa.Column('last_seen', sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint('name', name=op.f('pk_neighbour_reports')),
    )
    op.create_table(
        'outbox',
        sa.Column('id', BIG_ID, nullable=False),
        sa.Column('uuid', models.Key(160), nullable=False),
        sa.Column('neighbour', models.Key(255), nullable=False),
        sa.Column('kind', sa.String(length=16), nullable=False),
        sa.Column('envelope', LONG_TEXT, nullable=False),
        sa.Column('state', sa.String(length=16), nullable=False),
        sa.Column('attempts', sa.Integer(), nullable=False),
        sa.Column('claimed_by', models.Key(255), nullable=True),
        sa.Column('claimed_until', sa.Double(), nullable=False),
        sa.Column('created_at', sa.Double(), nullable=False),
        sa.Column('sent_at', sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_outbox')),
        sa.UniqueConstraint('uuid', 'neighbour', name=op.f('uq_outbox_uuid_neighbour')),
    )
    op.create_index(
        op.f('ix_outbox_neighbour_state_claimed_until'),
        'outbox',
        ['neighbour', 'state', 'claimed_until'],
        unique=False,
    )
    op.create_table(
        'services',
        sa.Column('id', BIG_ID, nullable=False),
        sa.Column('host', models.Key(255), nullable=False),
        sa.Column('binary', models.Key(255), nullable=False),
        sa.Column('topic', sa.String(length=255), nullable=True),
        sa.Column('report_count', sa.Integer(), nullable=False),
        sa.Column('disabled', sa.Boolean(), nullable=False),
        sa.Column('disabled_reason', sa.String(length=255), nullable=True),
        sa.Column('availability_zone', sa.String(length=255), nullable=True),
        sa.Column('last_seen_up', MOMENT, nullable=True),
        sa.Column('forced_down', sa.Boolean(), nullable=False),
        sa.Column('version', sa.Integer(), nullable=False),
        sa.Column('created_at', MOMENT, nullable=True),
        sa.Column('updated_at', MOMENT, nullable=True),
        sa.Column('deleted_at', MOMENT, nullable=True),
        sa.Column('deleted', BIG_ID, nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_services')),
        sa.UniqueConstraint(
            'host', 'binary', 'deleted', name=op.f('uq_services_host_binary_deleted')
        ),
    )
    op.create_table(
        'sync_requests',
        sa.Column('uuid', models.Key(160), nullable=False),
        sa.Column('project_id', sa.String(length=255), nullable=True),
        sa.Column('updated_since', MOMENT, nullable=True),
        sa.Column('deleted', sa.Boolean(), nullable=False),
        sa.Column('requested_by', sa.Text(), nullable=False),
        sa.Column('request_id', sa.String(length=255), nullable=True),
        sa.Column('requested_at', sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint('uuid', name=op.f('pk_sync_requests')),
    )
    op.create_table(
        'task_log',
        sa.Column('id', BIG_ID, nullable=False),
        sa.Column('task_name', sa.String(length=191), nullable=False),
        sa.Column('state', sa.String(length=255), nullable=False),
        sa.Column('host', models.Key(191), nullable=False),
        sa.Column('period_beginning', MOMENT, nullable=False),
        sa.Column('period_ending', MOMENT, nullable=False),
        sa.Column('message', sa.Text(), nullable=False),
        sa.Column('task_items', sa.Integer(), nullable=True),
        sa.Column('errors', sa.Integer(), nullable=True),
        sa.Column('created_at', MOMENT, nullable=True),
        sa.Column('updated_at', MOMENT, nullable=True),
        sa.Column('deleted_at', MOMENT, nullable=True),
        sa.Column('deleted', BIG_ID, nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_task_log')),
        sa.UniqueConstraint(
            'task_name',
            'host',
            'period_beginning',
            'period_ending',
            name=op.f('uq_task_log_task_name_host_period_beginning_period_ending'),
        ),
    )
    op.create_index(
        'ix_task_log_period',
        'task_log',
        ['task_name', 'period_beginning', 'period_ending'],
        unique=False,
    )
