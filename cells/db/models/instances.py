"""Instances and what belongs to them."""

import datetime

import sqlalchemy as sa
from sqlalchemy import orm

from cells.db.models import base


class Instance(base.SoftDelete, base.Base):
    """An instance: one of this cell, or what a cell above knows of one below."""

    __tablename__ = 'instances'
    __table_args__ = (
        sa.UniqueConstraint('uuid'),
        sa.Index(None, 'host', 'deleted'),
        sa.Index(None, 'project_id', 'deleted'),
        sa.Index(None, 'deleted', 'id'),
        sa.Index(None, 'updated_at'),
        sa.Index(None, 'task_state', 'updated_at'),
    )

    id: orm.Mapped[int] = orm.mapped_column(base.BigId, primary_key=True)
    uuid: orm.Mapped[str] = orm.mapped_column(base.Key(36))
    user_id: orm.Mapped[str | None] = orm.mapped_column(base.Key(255))
    project_id: orm.Mapped[str | None] = orm.mapped_column(base.Key(255))
    cell_name: orm.Mapped[str | None] = orm.mapped_column(sa.Text())
    host: orm.Mapped[str | None] = orm.mapped_column(base.Key(255))
    node: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    hostname: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    display_name: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    display_description: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    reservation_id: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    launch_index: orm.Mapped[int | None] = orm.mapped_column(sa.Integer())

    vm_state: orm.Mapped[str | None] = orm.mapped_column(base.Key(255))
    task_state: orm.Mapped[str | None] = orm.mapped_column(base.Key(255))
    power_state: orm.Mapped[int | None] = orm.mapped_column(sa.Integer())
    progress: orm.Mapped[int | None] = orm.mapped_column(sa.Integer())
    locked: orm.Mapped[bool] = orm.mapped_column(sa.Boolean(), default=False)
    locked_by: orm.Mapped[str | None] = orm.mapped_column(sa.String(16))
    cleaned: orm.Mapped[bool] = orm.mapped_column(sa.Boolean(), default=False)
    launched_at: orm.Mapped[datetime.datetime | None] = orm.mapped_column(base.Moment)
    launched_on: orm.Mapped[str | None] = orm.mapped_column(sa.Text())
    terminated_at: orm.Mapped[datetime.datetime | None] = orm.mapped_column(base.Moment)

    instance_type_id: orm.Mapped[int | None] = orm.mapped_column(sa.Integer())
    memory_mb: orm.Mapped[int | None] = orm.mapped_column(sa.Integer())
    vcpus: orm.Mapped[int | None] = orm.mapped_column(sa.Integer())
    root_gb: orm.Mapped[int | None] = orm.mapped_column(sa.Integer())
    ephemeral_gb: orm.Mapped[int | None] = orm.mapped_column(sa.Integer())
    ephemeral_key_uuid: orm.Mapped[str | None] = orm.mapped_column(base.Key(36))

    image_ref: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    kernel_id: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    ramdisk_id: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    key_name: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    key_data: orm.Mapped[str | None] = orm.mapped_column(base.LongText)
    user_data: orm.Mapped[str | None] = orm.mapped_column(base.LongText)
    availability_zone: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    os_type: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    architecture: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    vm_mode: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    root_device_name: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    default_ephemeral_device: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    default_swap_device: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    config_drive: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    access_ip_v4: orm.Mapped[str | None] = orm.mapped_column(sa.String(39))
    access_ip_v6: orm.Mapped[str | None] = orm.mapped_column(sa.String(39))
    auto_disk_config: orm.Mapped[bool] = orm.mapped_column(sa.Boolean(), default=False)
    disable_terminate: orm.Mapped[bool] = orm.mapped_column(sa.Boolean(), default=False)
    shutdown_terminate: orm.Mapped[bool] = orm.mapped_column(sa.Boolean(), default=False)

    #: How often the state has changed in the cell that owns it; in cells above, the count that
    #: was applied last. The epoch comes first: it is raised when the count is not to be believed.
    sync_epoch: orm.Mapped[int] = orm.mapped_column(base.BigId, server_default=sa.text('0'))
    sync_seq: orm.Mapped[int] = orm.mapped_column(base.BigId, server_default=sa.text('0'))
    #: Why the record and the cell that owns it do not fit, null when they do.
    inconsistent: orm.Mapped[str | None] = orm.mapped_column(sa.Text())


class InstanceField(base.Base):
    """A field of an instance that is no column: JSON text of its primitive."""

    __tablename__ = 'instance_fields'

    instance_uuid: orm.Mapped[str] = orm.mapped_column(base.Key(36), primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(base.Key(64), primary_key=True)
    value: orm.Mapped[str] = orm.mapped_column(base.LongText)


class InstanceFault(base.SoftDelete, base.Base):
    """An error that befell an instance."""

    __tablename__ = 'instance_faults'
    __table_args__ = (sa.UniqueConstraint('uuid'), sa.Index(None, 'instance_uuid', 'deleted'))

    id: orm.Mapped[int] = orm.mapped_column(base.BigId, primary_key=True)
    uuid: orm.Mapped[str] = orm.mapped_column(base.Key(36))
    instance_uuid: orm.Mapped[str] = orm.mapped_column(base.Key(36))
    code: orm.Mapped[int] = orm.mapped_column(sa.Integer())
    message: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    details: orm.Mapped[str | None] = orm.mapped_column(base.LongText)
    host: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))


class BlockDeviceMapping(base.SoftDelete, base.Base):
    """A block device of an instance; a volume has one row, whoever asks in which order (S10)."""

    __tablename__ = 'block_device_mapping'
    __table_args__ = (
        sa.UniqueConstraint('uuid'),
        sa.UniqueConstraint('instance_uuid', 'volume_id', 'deleted'),
        sa.Index(None, 'instance_uuid', 'device_name'),
    )

    id: orm.Mapped[int] = orm.mapped_column(base.BigId, primary_key=True)
    uuid: orm.Mapped[str] = orm.mapped_column(base.Key(36))
    instance_uuid: orm.Mapped[str] = orm.mapped_column(base.Key(36))
    device_name: orm.Mapped[str | None] = orm.mapped_column(base.Key(255))
    source_type: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    destination_type: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    guest_format: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    device_type: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    disk_bus: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    boot_index: orm.Mapped[int | None] = orm.mapped_column(sa.Integer())
    image_id: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    snapshot_id: orm.Mapped[str | None] = orm.mapped_column(base.Key(36))
    volume_id: orm.Mapped[str | None] = orm.mapped_column(base.Key(36))
    volume_size: orm.Mapped[int | None] = orm.mapped_column(sa.Integer())
    attachment_id: orm.Mapped[str | None] = orm.mapped_column(sa.String(36))
    tag: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    connection_info: orm.Mapped[str | None] = orm.mapped_column(base.LongText)
    no_device: orm.Mapped[bool] = orm.mapped_column(sa.Boolean(), default=False)
    delete_on_termination: orm.Mapped[bool] = orm.mapped_column(sa.Boolean(), default=False)


class BandwidthUsage(base.SoftDelete, base.Base):
    """What went through an interface of an instance in a period."""

    __tablename__ = 'bw_usage_cache'
    __table_args__ = (sa.UniqueConstraint('uuid', 'mac', 'start_period'),)

    id: orm.Mapped[int] = orm.mapped_column(base.BigId, primary_key=True)
    uuid: orm.Mapped[str] = orm.mapped_column(base.Key(36))
    mac: orm.Mapped[str] = orm.mapped_column(base.Key(255))
    start_period: orm.Mapped[datetime.datetime] = orm.mapped_column(base.Moment)
    last_refreshed: orm.Mapped[datetime.datetime | None] = orm.mapped_column(base.Moment)
    bw_in: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger())
    bw_out: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger())
    last_ctr_in: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger())
    last_ctr_out: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger())


class InstanceMetadata(base.Base):
    """One item of what a user has noted on an instance."""

    __tablename__ = 'instance_metadata'

    instance_uuid: orm.Mapped[str] = orm.mapped_column(base.Key(36), primary_key=True)
    key: orm.Mapped[str] = orm.mapped_column(base.Key(255), primary_key=True)
    value: orm.Mapped[str] = orm.mapped_column(sa.String(255))


class InstanceAction(base.SoftDelete, base.Base):
    """Something that was ordered for an instance.

    ``remote_id`` is its id in the cell below that it comes from, null for one of this cell.
    The uuid is the same in all cells.
    """

    __tablename__ = 'instance_actions'
    __table_args__ = (
        sa.Index(None, 'uuid', unique=True),
        sa.Index(None, 'instance_uuid', 'request_id'),
        sa.Index(None, 'instance_uuid', 'remote_id'),
    )

    id: orm.Mapped[int] = orm.mapped_column(base.BigId, primary_key=True)
    uuid: orm.Mapped[str | None] = orm.mapped_column(base.Key(36))
    remote_id: orm.Mapped[int | None] = orm.mapped_column(base.BigId)
    action: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    instance_uuid: orm.Mapped[str] = orm.mapped_column(base.Key(36))
    request_id: orm.Mapped[str | None] = orm.mapped_column(base.Key(255))
    user_id: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    project_id: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    start_time: orm.Mapped[datetime.datetime | None] = orm.mapped_column(base.Moment)
    finish_time: orm.Mapped[datetime.datetime | None] = orm.mapped_column(base.Moment)
    message: orm.Mapped[str | None] = orm.mapped_column(sa.Text())


class InstanceActionEvent(base.SoftDelete, base.Base):
    """A step of an action."""

    __tablename__ = 'instance_actions_events'
    __table_args__ = (sa.Index(None, 'action_id'), sa.Index(None, 'uuid', unique=True))

    id: orm.Mapped[int] = orm.mapped_column(base.BigId, primary_key=True)
    uuid: orm.Mapped[str | None] = orm.mapped_column(base.Key(36))
    event: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    action_id: orm.Mapped[int] = orm.mapped_column(base.BigId)
    start_time: orm.Mapped[datetime.datetime | None] = orm.mapped_column(base.Moment)
    finish_time: orm.Mapped[datetime.datetime | None] = orm.mapped_column(base.Moment)
    result: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    traceback: orm.Mapped[str | None] = orm.mapped_column(base.LongText)
    host: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    details: orm.Mapped[str | None] = orm.mapped_column(sa.Text())


class Migration(base.SoftDelete, base.Base):
    """An instance on its way to another host, or to another size."""

    __tablename__ = 'migrations'
    __table_args__ = (
        sa.Index(None, 'instance_uuid', 'status'),
        sa.Index(None, 'status', 'deleted'),
        sa.Index(None, 'source_compute'),
        sa.Index(None, 'dest_compute'),
        sa.Index(None, 'updated_at'),
    )

    id: orm.Mapped[int] = orm.mapped_column(base.BigId, primary_key=True)
    uuid: orm.Mapped[str] = orm.mapped_column(base.Key(36))
    instance_uuid: orm.Mapped[str | None] = orm.mapped_column(base.Key(36))
    migration_type: orm.Mapped[str] = orm.mapped_column(base.Key(32))
    status: orm.Mapped[str | None] = orm.mapped_column(base.Key(255))
    hidden: orm.Mapped[bool] = orm.mapped_column(sa.Boolean(), default=False)
    source_compute: orm.Mapped[str | None] = orm.mapped_column(base.Key(255))
    source_node: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    dest_compute: orm.Mapped[str | None] = orm.mapped_column(base.Key(255))
    dest_node: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    dest_host: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    old_instance_type_id: orm.Mapped[int | None] = orm.mapped_column(sa.Integer())
    new_instance_type_id: orm.Mapped[int | None] = orm.mapped_column(sa.Integer())
    memory_total: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger())
    memory_processed: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger())
    memory_remaining: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger())
    disk_total: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger())
    disk_processed: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger())
    disk_remaining: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger())


class KeyPair(base.SoftDelete, base.Base):
    """A public key of a user; only the top of the tree has any."""

    __tablename__ = 'key_pairs'
    __table_args__ = (sa.UniqueConstraint('user_id', 'name', 'deleted'),)

    id: orm.Mapped[int] = orm.mapped_column(base.BigId, primary_key=True)
    user_id: orm.Mapped[str] = orm.mapped_column(base.Key(255))
    name: orm.Mapped[str] = orm.mapped_column(base.Key(255))
    type: orm.Mapped[str] = orm.mapped_column(sa.String(16), default='ssh')
    fingerprint: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    public_key: orm.Mapped[str | None] = orm.mapped_column(base.LongText)


class ConsoleAuthToken(base.Base):
    """A right to use the console of an instance; of the token only the SHA-256 is kept."""

    __tablename__ = 'console_auth_tokens'
    __table_args__ = (
        sa.UniqueConstraint('token_hash'),
        sa.Index(None, 'instance_uuid'),
        sa.Index(None, 'expires'),
    )

    id: orm.Mapped[int] = orm.mapped_column(base.BigId, primary_key=True)
    token_hash: orm.Mapped[str] = orm.mapped_column(base.Key(64))
    instance_uuid: orm.Mapped[str] = orm.mapped_column(base.Key(36))
    console_type: orm.Mapped[str] = orm.mapped_column(sa.String(32))
    host: orm.Mapped[str] = orm.mapped_column(sa.String(255))
    port: orm.Mapped[int] = orm.mapped_column(sa.Integer())
    internal_access_path: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    access_url_base: orm.Mapped[str | None] = orm.mapped_column(sa.String(255))
    expires: orm.Mapped[float] = orm.mapped_column(sa.Double())
    created_at: orm.Mapped[datetime.datetime | None] = orm.mapped_column(
        base.Moment, default=base.utcnow
    )
