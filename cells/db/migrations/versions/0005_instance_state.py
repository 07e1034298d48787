"""The whole state of instances, and how it travels upwards.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from cells.db import models

revision = '0005'
down_revision = '0004'

MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), 'mysql', 'mariadb')
LONG_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), 'mysql', 'mariadb')
BIG_ID = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.create_table(
        'block_device_mapping',
        sa.Column('id', BIG_ID, nullable=False),
        sa.Column('uuid', models.Key(36), nullable=False),
        sa.Column('instance_uuid', models.Key(36), nullable=False),
        sa.Column('device_name', models.Key(255), nullable=True),
        sa.Column('source_type', sa.String(255), nullable=True),
        sa.Column('destination_type', sa.String(255), nullable=True),
        sa.Column('guest_format', sa.String(255), nullable=True),
        sa.Column('device_type', sa.String(255), nullable=True),
        sa.Column('disk_bus', sa.String(255), nullable=True),
        sa.Column('boot_index', sa.Integer(), nullable=True),
        sa.Column('image_id', sa.String(255), nullable=True),
        sa.Column('snapshot_id', models.Key(36), nullable=True),
        sa.Column('volume_id', models.Key(36), nullable=True),
        sa.Column('volume_size', sa.Integer(), nullable=True),
        sa.Column('attachment_id', sa.String(36), nullable=True),
        sa.Column('tag', sa.String(255), nullable=True),
        sa.Column('connection_info', LONG_TEXT, nullable=True),
        sa.Column('no_device', sa.Boolean(), nullable=False),
        sa.Column('delete_on_termination', sa.Boolean(), nullable=False),
        sa.Column('created_at', MOMENT, nullable=True),
        sa.Column('updated_at', MOMENT, nullable=True),
        sa.Column('deleted_at', MOMENT, nullable=True),
        sa.Column('deleted', BIG_ID, nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_block_device_mapping')),
        sa.UniqueConstraint(
            'instance_uuid',
            'volume_id',
            'deleted',
            name=op.f('uq_block_device_mapping_instance_uuid_volume_id_deleted'),
        ),
        sa.UniqueConstraint('uuid', name=op.f('uq_block_device_mapping_uuid')),
    )
    op.create_index(
        op.f('ix_block_device_mapping_instance_uuid_device_name'),
        'block_device_mapping',
        ['instance_uuid', 'device_name'],
        unique=False,
    )
    op.create_table(
        'bw_usage_cache',
        sa.Column('id', BIG_ID, nullable=False),
        sa.Column('uuid', models.Key(36), nullable=False),
        sa.Column('mac', models.Key(255), nullable=False),
        sa.Column('start_period', MOMENT, nullable=False),
        sa.Column('last_refreshed', MOMENT, nullable=True),
        sa.Column('bw_in', sa.BigInteger(), nullable=True),
        sa.Column('bw_out', sa.BigInteger(), nullable=True),
        sa.Column('last_ctr_in', sa.BigInteger(), nullable=True),
        sa.Column('last_ctr_out', sa.BigInteger(), nullable=True),
        sa.Column('created_at', MOMENT, nullable=True),
        sa.Column('updated_at', MOMENT, nullable=True),
        sa.Column('deleted_at', MOMENT, nullable=True),
        sa.Column('deleted', BIG_ID, nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_bw_usage_cache')),
        sa.UniqueConstraint(
            'uuid', 'mac', 'start_period', name=op.f('uq_bw_usage_cache_uuid_mac_start_period')
        ),
    )
    op.create_table(
        'dirty',
        sa.Column('instance_uuid', models.Key(36), nullable=False),
        sa.Column('part', models.Key(16), nullable=False),
        sa.Column('key', models.Key(100), nullable=False),
        sa.Column('names', LONG_TEXT, nullable=False),
        sa.Column('epoch', BIG_ID, nullable=False),
        sa.Column('seq', BIG_ID, nullable=False),
        sa.Column('marked_at', sa.Double(), nullable=False),
        sa.Column('attempts', sa.Integer(), nullable=False),
        sa.Column('claimed_by', models.Key(255), nullable=True),
        sa.Column('claimed_until', sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint('instance_uuid', 'part', 'key', name=op.f('pk_dirty')),
    )
    op.create_index(
        op.f('ix_dirty_claimed_until_marked_at'),
        'dirty',
        ['claimed_until', 'marked_at'],
        unique=False,
    )
    op.create_table(
        'heal_positions',
        sa.Column('name', models.Key(64), nullable=False),
        sa.Column('position', models.Key(36), nullable=True),
        sa.Column('round', sa.Integer(), nullable=False),
        sa.Column('looked_at', sa.Integer(), nullable=False),
        sa.Column('repaired', sa.Integer(), nullable=False),
        sa.Column('started_at', sa.Double(), nullable=False),
        sa.Column('claimed_by', models.Key(255), nullable=True),
        sa.Column('claimed_until', sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint('name', name=op.f('pk_heal_positions')),
    )
    op.create_table(
        'instance_faults',
        sa.Column('id', BIG_ID, nullable=False),
        sa.Column('uuid', models.Key(36), nullable=False),
        sa.Column('instance_uuid', models.Key(36), nullable=False),
        sa.Column('code', sa.Integer(), nullable=False),
        sa.Column('message', sa.String(255), nullable=True),
        sa.Column('details', LONG_TEXT, nullable=True),
        sa.Column('host', sa.String(255), nullable=True),
        sa.Column('created_at', MOMENT, nullable=True),
        sa.Column('updated_at', MOMENT, nullable=True),
        sa.Column('deleted_at', MOMENT, nullable=True),
        sa.Column('deleted', BIG_ID, nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_instance_faults')),
        sa.UniqueConstraint('uuid', name=op.f('uq_instance_faults_uuid')),
    )
    op.create_index(
        op.f('ix_instance_faults_instance_uuid_deleted'),
        'instance_faults',
        ['instance_uuid', 'deleted'],
        unique=False,
    )
    op.create_table(
        'instance_fields',
        sa.Column('instance_uuid', models.Key(36), nullable=False),
        sa.Column('name', models.Key(64), nullable=False),
        sa.Column('value', LONG_TEXT, nullable=False),
        sa.PrimaryKeyConstraint('instance_uuid', 'name', name=op.f('pk_instance_fields')),
    )
    op.create_table(
        'notifications',
        sa.Column('id', BIG_ID, nullable=False),
        sa.Column('uuid', models.Key(36), nullable=False),
        sa.Column('event_type', sa.String(255), nullable=False),
        sa.Column('priority', sa.String(16), nullable=False),
        sa.Column('payload', LONG_TEXT, nullable=False),
        sa.Column('made_at', sa.Double(), nullable=False),
        sa.Column('claimed_by', models.Key(255), nullable=True),
        sa.Column('claimed_until', sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_notifications')),
    )
    op.create_index(
        op.f('ix_notifications_claimed_until_id'),
        'notifications',
        ['claimed_until', 'id'],
        unique=False,
    )
    op.create_table(
        'path_aliases',
        sa.Column('old_prefix', models.Key(512), nullable=False),
        sa.Column('new_prefix', sa.Text(), nullable=False),
        sa.Column('created_at', sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint('old_prefix', name=op.f('pk_path_aliases')),
    )
    op.add_column('inbox', sa.Column('instance_uuid', models.Key(36), nullable=True))
    op.add_column('inbox', sa.Column('ordering', models.Key(32), nullable=True))
    op.add_column('inbox', sa.Column('refused_at', sa.Double(), nullable=True))
    op.add_column('outbox', sa.Column('instance_uuid', models.Key(36), nullable=True))
    op.create_index(
        op.f('ix_outbox_instance_uuid_neighbour_id'),
        'outbox',
        ['instance_uuid', 'neighbour', 'id'],
        unique=False,
    )
    op.create_index(op.f('ix_inbox_state_id'), 'inbox', ['state', 'id'], unique=False)
    op.create_index(
        op.f('ix_inbox_instance_uuid_state_ordering_id'),
        'inbox',
        ['instance_uuid', 'state', 'ordering', 'id'],
        unique=False,
    )
    op.add_column('instance_actions', sa.Column('uuid', models.Key(36), nullable=True))
    op.create_index(op.f('ix_instance_actions_uuid'), 'instance_actions', ['uuid'], unique=True)
    op.add_column('instance_actions_events', sa.Column('uuid', models.Key(36), nullable=True))
    op.create_index(
        op.f('ix_instance_actions_events_uuid'), 'instance_actions_events', ['uuid'], unique=True
    )
    op.add_column(
        'instances', sa.Column('sync_epoch', BIG_ID, server_default=sa.text('0'), nullable=False)
    )
    op.add_column(
        'instances', sa.Column('sync_seq', BIG_ID, server_default=sa.text('0'), nullable=False)
    )
    op.add_column('instances', sa.Column('inconsistent', sa.Text(), nullable=True))
    op.create_index(
        op.f('ix_instances_task_state_updated_at'),
        'instances',
        ['task_state', 'updated_at'],
        unique=False,
    )
    op.add_column('sync_requests', sa.Column('state', models.Key(16), nullable=True))
    op.add_column('sync_requests', sa.Column('position', models.Key(36), nullable=True))
    op.add_column('sync_requests', sa.Column('looked_at', sa.Integer(), nullable=True))
    op.add_column('sync_requests', sa.Column('repaired', sa.Integer(), nullable=True))
    op.add_column('sync_requests', sa.Column('claimed_by', models.Key(255), nullable=True))
    op.add_column('sync_requests', sa.Column('claimed_until', sa.Double(), nullable=True))
    op.add_column('sync_requests', sa.Column('ended_at', sa.Double(), nullable=True))
