"""Services and hosts of this cell, and the sizes that are counted on them."""

import datetime

import sqlalchemy as sa
from sqlalchemy import orm

from cells.db.models import base


class Service(base.SoftDelete, base.Base):
    """A service of this cell and the last that was heard of it."""

    __tablename__ = 'services'
    __table_args__ = (
        sa.UniqueConstraint('host', 'binary', 'deleted'),
        sa.Index('ix_services_uuid', 'uuid', unique=True),
    )

    id: orm.Mapped[int] = orm.mapped_column(base.BigId, primary_key=True)
    #: Null in rows of versions before it came, until the service reports.
    uuid: orm.Mapped[str | None] = orm.mapped_column(base.Key(36))
    host: orm.Mapped[str] = orm.mapped_column(base.Key(255))
    binary: orm.Mapped[str] = orm.mapped_column(base.Key(255))
    topic: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    report_count: orm.Mapped[int] = orm.mapped_column(sa.Integer(), default=0)
    disabled: orm.Mapped[bool] = orm.mapped_column(sa.Boolean(), default=False)
    disabled_reason: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    availability_zone: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    last_seen_up: orm.Mapped[datetime.datetime | None] = orm.mapped_column(base.Moment)
    forced_down: orm.Mapped[bool] = orm.mapped_column(sa.Boolean(), default=False)
    version: orm.Mapped[int] = orm.mapped_column(sa.Integer(), default=0)
    #: Of the agent that reports under this name.
    machine_id: orm.Mapped[str | None] = orm.mapped_column(base.Key(64))


class ComputeNode(base.SoftDelete, base.Base):
    """What a host has and what of it is free, as its agent reported it last."""

    __tablename__ = 'compute_nodes'
    __table_args__ = (
        sa.UniqueConstraint('host', 'hypervisor_hostname', 'deleted'),
        sa.UniqueConstraint('uuid'),
    )

    id: orm.Mapped[int] = orm.mapped_column(base.BigId, primary_key=True)
    uuid: orm.Mapped[str] = orm.mapped_column(base.Key(36))
    service_id: orm.Mapped[int | None] = orm.mapped_column(base.BigId)
    host: orm.Mapped[str] = orm.mapped_column(base.Key(255))
    hypervisor_hostname: orm.Mapped[str] = orm.mapped_column(base.Key(255))
    hypervisor_type: orm.Mapped[str] = orm.mapped_column(sa.String(255), default='')
    hypervisor_version: orm.Mapped[int] = orm.mapped_column(sa.Integer(), default=0)
    host_ip: orm.Mapped[str | None] = orm.mapped_column(sa.String(39))
    vcpus: orm.Mapped[int] = orm.mapped_column(sa.Integer(), default=0)
    vcpus_used: orm.Mapped[int] = orm.mapped_column(sa.Integer(), default=0)
    memory_mb: orm.Mapped[int] = orm.mapped_column(sa.BigInteger(), default=0)
    memory_mb_used: orm.Mapped[int] = orm.mapped_column(sa.BigInteger(), default=0)
    free_ram_mb: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger())
    local_gb: orm.Mapped[int] = orm.mapped_column(sa.BigInteger(), default=0)
    local_gb_used: orm.Mapped[int] = orm.mapped_column(sa.BigInteger(), default=0)
    free_disk_gb: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger())
    disk_available_least: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger())
    current_workload: orm.Mapped[int | None] = orm.mapped_column(sa.Integer())
    running_vms: orm.Mapped[int | None] = orm.mapped_column(sa.Integer())
    cpu_allocation_ratio: orm.Mapped[float] = orm.mapped_column(sa.Double(), default=0.0)
    ram_allocation_ratio: orm.Mapped[float] = orm.mapped_column(sa.Double(), default=0.0)
    disk_allocation_ratio: orm.Mapped[float] = orm.mapped_column(sa.Double(), default=0.0)
    mapped: orm.Mapped[int] = orm.mapped_column(sa.Integer(), default=0)
    # JSON
    cpu_info: orm.Mapped[str | None] = orm.mapped_column(base.LongText)
    metrics: orm.Mapped[str | None] = orm.mapped_column(base.LongText)
    numa_topology: orm.Mapped[str | None] = orm.mapped_column(base.LongText)
    pci_device_pools: orm.Mapped[str | None] = orm.mapped_column(base.LongText)
    stats: orm.Mapped[str | None] = orm.mapped_column(base.LongText)
    supported_hv_specs: orm.Mapped[str | None] = orm.mapped_column(base.LongText)


class Flavor(base.SoftDelete, base.Base):
    """A size that instances come in."""

    __tablename__ = 'flavors'
    __table_args__ = (
        sa.UniqueConstraint('name', 'deleted'),
        sa.UniqueConstraint('flavorid', 'deleted'),
    )

    id: orm.Mapped[int] = orm.mapped_column(base.BigId, primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(base.Key(255))
    flavorid: orm.Mapped[str] = orm.mapped_column(base.Key(255))
    memory_mb: orm.Mapped[int] = orm.mapped_column(sa.Integer())
    vcpus: orm.Mapped[int] = orm.mapped_column(sa.Integer())
    root_gb: orm.Mapped[int] = orm.mapped_column(sa.Integer(), default=0)
    ephemeral_gb: orm.Mapped[int] = orm.mapped_column(sa.Integer(), default=0)
    swap: orm.Mapped[int] = orm.mapped_column(sa.Integer(), default=0)
    rxtx_factor: orm.Mapped[float | None] = orm.mapped_column(sa.Double(), default=1.0)
    vcpu_weight: orm.Mapped[int | None] = orm.mapped_column(sa.Integer())
    disabled: orm.Mapped[bool] = orm.mapped_column(sa.Boolean(), default=False)
    is_public: orm.Mapped[bool] = orm.mapped_column(sa.Boolean(), default=True)
    description: orm.Mapped[str | None] = orm.mapped_column(sa.Text())
    # JSON
    extra_specs: orm.Mapped[str | None] = orm.mapped_column(base.LongText)
    projects: orm.Mapped[str | None] = orm.mapped_column(base.LongText)


class TaskLog(base.SoftDelete, base.Base):
    """An audit task that ran on a host for a period."""

    __tablename__ = 'task_log'
    __table_args__ = (
        sa.UniqueConstraint('task_name', 'host', 'period_beginning', 'period_ending'),
        sa.Index('ix_task_log_period', 'task_name', 'period_beginning', 'period_ending'),
    )

    id: orm.Mapped[int] = orm.mapped_column(base.BigId, primary_key=True)
    task_name: orm.Mapped[str] = orm.mapped_column(sa.String(191))
    state: orm.Mapped[str] = orm.mapped_column(sa.String(255))
    host: orm.Mapped[str] = orm.mapped_column(base.Key(191))
    period_beginning: orm.Mapped[datetime.datetime] = orm.mapped_column(base.Moment)
    period_ending: orm.Mapped[datetime.datetime] = orm.mapped_column(base.Moment)
    message: orm.Mapped[str] = orm.mapped_column(sa.Text())
    task_items: orm.Mapped[int | None] = orm.mapped_column(sa.Integer(), default=0)
    errors: orm.Mapped[int | None] = orm.mapped_column(sa.Integer(), default=0)
