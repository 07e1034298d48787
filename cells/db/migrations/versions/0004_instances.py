"""Instances, their metadata, actions and migrations; key pairs; rights to use consoles.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from cells.db import models

revision = '0004'
down_revision = '0003'

MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), 'mysql', 'mariadb')
LONG_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), 'mysql', 'mariadb')
BIG_ID = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.create_table(
        'instances',
        sa.Column('id', BIG_ID, nullable=False),
        sa.Column('uuid', models.Key(36), nullable=False),
        sa.Column('user_id', models.Key(255), nullable=True),
        sa.Column('project_id', models.Key(255), nullable=True),
        sa.Column('cell_name', sa.Text(), nullable=True),
        sa.Column('host', models.Key(255), nullable=True),
        sa.Column('node', sa.String(255), nullable=True),
        sa.Column('hostname', sa.String(255), nullable=True),
        sa.Column('display_name', sa.String(255), nullable=True),
        sa.Column('display_description', sa.String(255), nullable=True),
        sa.Column('reservation_id', sa.String(255), nullable=True),
        sa.Column('launch_index', sa.Integer(), nullable=True),
        sa.Column('vm_state', models.Key(255), nullable=True),
        sa.Column('task_state', models.Key(255), nullable=True),
        sa.Column('power_state', sa.Integer(), nullable=True),
        sa.Column('progress', sa.Integer(), nullable=True),
        sa.Column('locked', sa.Boolean(), nullable=False),
        sa.Column('locked_by', sa.String(16), nullable=True),
        sa.Column('cleaned', sa.Boolean(), nullable=False),
        sa.Column('launched_at', MOMENT, nullable=True),
        sa.Column('launched_on', sa.Text(), nullable=True),
        sa.Column('terminated_at', MOMENT, nullable=True),
        sa.Column('instance_type_id', sa.Integer(), nullable=True),
        sa.Column('memory_mb', sa.Integer(), nullable=True),
        sa.Column('vcpus', sa.Integer(), nullable=True),
        sa.Column('root_gb', sa.Integer(), nullable=True),
        sa.Column('ephemeral_gb', sa.Integer(), nullable=True),
        sa.Column('ephemeral_key_uuid', models.Key(36), nullable=True),
        sa.Column('image_ref', sa.String(255), nullable=True),
        sa.Column('kernel_id', sa.String(255), nullable=True),
        sa.Column('ramdisk_id', sa.String(255), nullable=True),
        sa.Column('key_name', sa.String(255), nullable=True),
        sa.Column('key_data', LONG_TEXT, nullable=True),
        sa.Column('user_data', LONG_TEXT, nullable=True),
        sa.Column('availability_zone', sa.String(255), nullable=True),
        sa.Column('os_type', sa.String(255), nullable=True),
        sa.Column('architecture', sa.String(255), nullable=True),
        sa.Column('vm_mode', sa.String(255), nullable=True),
        sa.Column('root_device_name', sa.String(255), nullable=True),
        sa.Column('default_ephemeral_device', sa.String(255), nullable=True),
        sa.Column('default_swap_device', sa.String(255), nullable=True),
        sa.Column('config_drive', sa.String(255), nullable=True),
        sa.Column('access_ip_v4', sa.String(39), nullable=True),
        sa.Column('access_ip_v6', sa.String(39), nullable=True),
        sa.Column('auto_disk_config', sa.Boolean(), nullable=False),
        sa.Column('disable_terminate', sa.Boolean(), nullable=False),
        sa.Column('shutdown_terminate', sa.Boolean(), nullable=False),
        sa.Column('created_at', MOMENT, nullable=True),
        sa.Column('updated_at', MOMENT, nullable=True),
        sa.Column('deleted_at', MOMENT, nullable=True),
        sa.Column('deleted', BIG_ID, nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_instances')),
        sa.UniqueConstraint('uuid', name=op.f('uq_instances_uuid')),
    )
    op.create_index(op.f('ix_instances_deleted_id'), 'instances', ['deleted', 'id'], unique=False)
    op.create_index(
        op.f('ix_instances_host_deleted'), 'instances', ['host', 'deleted'], unique=False
    )
    op.create_index(
        op.f('ix_instances_project_id_deleted'),
        'instances',
        ['project_id', 'deleted'],
        unique=False,
    )
    op.create_index(op.f('ix_instances_updated_at'), 'instances', ['updated_at'], unique=False)
    op.create_table(
        'instance_metadata',
        sa.Column('instance_uuid', models.Key(36), nullable=False),
        sa.Column('key', models.Key(255), nullable=False),
        sa.Column('value', sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint('instance_uuid', 'key', name=op.f('pk_instance_metadata')),
    )
    op.create_table(
        'instance_actions',
        sa.Column('id', BIG_ID, nullable=False),
        sa.Column('remote_id', BIG_ID, nullable=True),
        sa.Column('action', sa.String(255), nullable=True),
        sa.Column('instance_uuid', models.Key(36), nullable=False),
        sa.Column('request_id', models.Key(255), nullable=True),
        sa.Column('user_id', sa.String(255), nullable=True),
        sa.Column('project_id', sa.String(255), nullable=True),
        sa.Column('start_time', MOMENT, nullable=True),
        sa.Column('finish_time', MOMENT, nullable=True),
        sa.Column('message', sa.Text(), nullable=True),
        sa.Column('created_at', MOMENT, nullable=True),
        sa.Column('updated_at', MOMENT, nullable=True),
        sa.Column('deleted_at', MOMENT, nullable=True),
        sa.Column('deleted', BIG_ID, nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_instance_actions')),
    )
    op.create_index(
        op.f('ix_instance_actions_instance_uuid_remote_id'),
        'instance_actions',
        ['instance_uuid', 'remote_id'],
        unique=False,
    )
    op.create_index(
        op.f('ix_instance_actions_instance_uuid_request_id'),
        'instance_actions',
        ['instance_uuid', 'request_id'],
        unique=False,
    )
    op.create_table(
        'instance_actions_events',
        sa.Column('id', BIG_ID, nullable=False),
        sa.Column('event', sa.String(255), nullable=True),
        sa.Column('action_id', BIG_ID, nullable=False),
        sa.Column('start_time', MOMENT, nullable=True),
        sa.Column('finish_time', MOMENT, nullable=True),
        sa.Column('result', sa.String(255), nullable=True),
        sa.Column('traceback', LONG_TEXT, nullable=True),
        sa.Column('host', sa.String(255), nullable=True),
        sa.Column('details', sa.Text(), nullable=True),
        sa.Column('created_at', MOMENT, nullable=True),
        sa.Column('updated_at', MOMENT, nullable=True),
        sa.Column('deleted_at', MOMENT, nullable=True),
        sa.Column('deleted', BIG_ID, nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_instance_actions_events')),
    )
    op.create_index(
        op.f('ix_instance_actions_events_action_id'),
        'instance_actions_events',
        ['action_id'],
        unique=False,
    )
    op.create_table(
        'migrations',
        sa.Column('id', BIG_ID, nullable=False),
        sa.Column('uuid', models.Key(36), nullable=False),
        sa.Column('instance_uuid', models.Key(36), nullable=True),
        sa.Column('migration_type', models.Key(32), nullable=False),
        sa.Column('status', models.Key(255), nullable=True),
        sa.Column('hidden', sa.Boolean(), nullable=False),
        sa.Column('source_compute', models.Key(255), nullable=True),
        sa.Column('source_node', sa.String(255), nullable=True),
        sa.Column('dest_compute', models.Key(255), nullable=True),
        sa.Column('dest_node', sa.String(255), nullable=True),
        sa.Column('dest_host', sa.String(255), nullable=True),
        sa.Column('old_instance_type_id', sa.Integer(), nullable=True),
        sa.Column('new_instance_type_id', sa.Integer(), nullable=True),
        sa.Column('memory_total', sa.BigInteger(), nullable=True),
        sa.Column('memory_processed', sa.BigInteger(), nullable=True),
        sa.Column('memory_remaining', sa.BigInteger(), nullable=True),
        sa.Column('disk_total', sa.BigInteger(), nullable=True),
        sa.Column('disk_processed', sa.BigInteger(), nullable=True),
        sa.Column('disk_remaining', sa.BigInteger(), nullable=True),
        sa.Column('created_at', MOMENT, nullable=True),
        sa.Column('updated_at', MOMENT, nullable=True),
        sa.Column('deleted_at', MOMENT, nullable=True),
        sa.Column('deleted', BIG_ID, nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_migrations')),
    )
    op.create_index(
        op.f('ix_migrations_dest_compute'), 'migrations', ['dest_compute'], unique=False
    )
    op.create_index(
        op.f('ix_migrations_instance_uuid_status'),
        'migrations',
        ['instance_uuid', 'status'],
        unique=False,
    )
    op.create_index(
        op.f('ix_migrations_source_compute'), 'migrations', ['source_compute'], unique=False
    )
    op.create_index(
        op.f('ix_migrations_status_deleted'), 'migrations', ['status', 'deleted'], unique=False
    )
    op.create_index(op.f('ix_migrations_updated_at'), 'migrations', ['updated_at'], unique=False)
    op.create_table(
        'key_pairs',
        sa.Column('id', BIG_ID, nullable=False),
        sa.Column('user_id', models.Key(255), nullable=False),
        sa.Column('name', models.Key(255), nullable=False),
        sa.Column('type', sa.String(16), nullable=False),
        sa.Column('fingerprint', sa.String(255), nullable=True),
        sa.Column('public_key', LONG_TEXT, nullable=True),
        sa.Column('created_at', MOMENT, nullable=True),
        sa.Column('updated_at', MOMENT, nullable=True),
        sa.Column('deleted_at', MOMENT, nullable=True),
        sa.Column('deleted', BIG_ID, nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_key_pairs')),
        sa.UniqueConstraint(
            'user_id', 'name', 'deleted', name=op.f('uq_key_pairs_user_id_name_deleted')
        ),
    )
    op.create_table(
        'console_auth_tokens',
        sa.Column('id', BIG_ID, nullable=False),
        sa.Column('token_hash', models.Key(64), nullable=False),
        sa.Column('instance_uuid', models.Key(36), nullable=False),
        sa.Column('console_type', sa.String(32), nullable=False),
        sa.Column('host', sa.String(255), nullable=False),
        sa.Column('port', sa.Integer(), nullable=False),
        sa.Column('internal_access_path', sa.String(255), nullable=True),
        sa.Column('access_url_base', sa.String(255), nullable=True),
        sa.Column('expires', sa.Double(), nullable=False),
        sa.Column('created_at', MOMENT, nullable=True),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_console_auth_tokens')),
        sa.UniqueConstraint('token_hash', name=op.f('uq_console_auth_tokens_token_hash')),
    )
    op.create_index(
        op.f('ix_console_auth_tokens_expires'), 'console_auth_tokens', ['expires'], unique=False
    )
    op.create_index(
        op.f('ix_console_auth_tokens_instance_uuid'),
        'console_auth_tokens',
        ['instance_uuid'],
        unique=False,
    )
