"""Hosts: compute nodes, flavors, the machine that a service reports from.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from cells.db import models

revision = '0003'
down_revision = '0002'

MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), 'mysql', 'mariadb')
LONG_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), 'mysql', 'mariadb')
BIG_ID = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.add_column('services', sa.Column('machine_id', models.Key(64), nullable=True))
    op.create_table(
        'compute_nodes',
        sa.Column('id', BIG_ID, nullable=False),
        sa.Column('uuid', models.Key(36), nullable=False),
        sa.Column('service_id', BIG_ID, nullable=True),
        sa.Column('host', models.Key(255), nullable=False),
        sa.Column('hypervisor_hostname', models.Key(255), nullable=False),
        sa.Column('hypervisor_type', sa.String(255), nullable=False),
        sa.Column('hypervisor_version', sa.Integer(), nullable=False),
        sa.Column('host_ip', sa.String(39), nullable=True),
        sa.Column('vcpus', sa.Integer(), nullable=False),
        sa.Column('vcpus_used', sa.Integer(), nullable=False),
        sa.Column('memory_mb', sa.BigInteger(), nullable=False),
        sa.Column('memory_mb_used', sa.BigInteger(), nullable=False),
        sa.Column('free_ram_mb', sa.BigInteger(), nullable=True),
        sa.Column('local_gb', sa.BigInteger(), nullable=False),
        sa.Column('local_gb_used', sa.BigInteger(), nullable=False),
        sa.Column('free_disk_gb', sa.BigInteger(), nullable=True),
        sa.Column('disk_available_least', sa.BigInteger(), nullable=True),
        sa.Column('current_workload', sa.Integer(), nullable=True),
        sa.Column('running_vms', sa.Integer(), nullable=True),
        sa.Column('cpu_allocation_ratio', sa.Double(), nullable=False),
        sa.Column('ram_allocation_ratio', sa.Double(), nullable=False),
        sa.Column('disk_allocation_ratio', sa.Double(), nullable=False),
        sa.Column('mapped', sa.Integer(), nullable=False),
        sa.Column('cpu_info', LONG_TEXT, nullable=True),
        sa.Column('metrics', LONG_TEXT, nullable=True),
        sa.Column('numa_topology', LONG_TEXT, nullable=True),
        sa.Column('pci_device_pools', LONG_TEXT, nullable=True),
        sa.Column('stats', LONG_TEXT, nullable=True),
        sa.Column('supported_hv_specs', LONG_TEXT, nullable=True),
        *_stored(),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_compute_nodes')),
        sa.UniqueConstraint(
            'host',
            'hypervisor_hostname',
            'deleted',
            name=op.f('uq_compute_nodes_host_hypervisor_hostname_deleted'),
        ),
        sa.UniqueConstraint('uuid', name=op.f('uq_compute_nodes_uuid')),
    )
    op.create_table(
        'flavors',
        sa.Column('id', BIG_ID, nullable=False),
        sa.Column('name', models.Key(255), nullable=False),
        sa.Column('flavorid', models.Key(255), nullable=False),
        sa.Column('memory_mb', sa.Integer(), nullable=False),
        sa.Column('vcpus', sa.Integer(), nullable=False),
        sa.Column('root_gb', sa.Integer(), nullable=False),
        sa.Column('ephemeral_gb', sa.Integer(), nullable=False),
        sa.Column('swap', sa.Integer(), nullable=False),
        sa.Column('rxtx_factor', sa.Double(), nullable=True),
        sa.Column('vcpu_weight', sa.Integer(), nullable=True),
        sa.Column('disabled', sa.Boolean(), nullable=False),
        sa.Column('is_public', sa.Boolean(), nullable=False),
        sa.Column('description', sa.Text(), nullable=True),
        sa.Column('extra_specs', LONG_TEXT, nullable=True),
        sa.Column('projects', LONG_TEXT, nullable=True),
        *_stored(),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_flavors')),
        sa.UniqueConstraint('name', 'deleted', name=op.f('uq_flavors_name_deleted')),
        sa.UniqueConstraint('flavorid', 'deleted', name=op.f('uq_flavors_flavorid_deleted')),
    )


def _stored() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column('created_at', MOMENT, nullable=True),
        sa.Column('updated_at', MOMENT, nullable=True),
        sa.Column('deleted_at', MOMENT, nullable=True),
        sa.Column('deleted', BIG_ID, nullable=False),
    )
