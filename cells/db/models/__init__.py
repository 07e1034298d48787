"""The tables. ``migrations/`` makes the same ones; a test compares the two."""

from cells.db.models.base import Base, BigId, Key, LongText, Moment, SoftDelete, utcnow
from cells.db.models.builds import BuildRequest, Claim, HostOperation, Placement, Tombstone
from cells.db.models.hosts import ComputeNode, Flavor, Service, TaskLog
from cells.db.models.instances import (
    BandwidthUsage,
    BlockDeviceMapping,
    ConsoleAuthToken,
    Instance,
    InstanceAction,
    InstanceActionEvent,
    InstanceFault,
    InstanceField,
    InstanceMetadata,
    KeyPair,
    Migration,
)
from cells.db.models.journal import DeadMessage, Inbox, Outbox
from cells.db.models.sync import Dirty, HealPosition, Notification, PathAlias, SyncRequest
from cells.db.models.tree import Cell, CellIdentity, Change, Drain, Lease, NeighbourReport

__all__ = [
    'BandwidthUsage',
    'Base',
    'BigId',
    'BlockDeviceMapping',
    'BuildRequest',
    'Cell',
    'CellIdentity',
    'Change',
    'Claim',
    'ComputeNode',
    'ConsoleAuthToken',
    'DeadMessage',
    'Dirty',
    'Drain',
    'Flavor',
    'HealPosition',
    'HostOperation',
    'Inbox',
    'Instance',
    'InstanceAction',
    'InstanceActionEvent',
    'InstanceFault',
    'InstanceField',
    'InstanceMetadata',
    'Key',
    'KeyPair',
    'Lease',
    'LongText',
    'Migration',
    'Moment',
    'NeighbourReport',
    'Notification',
    'Outbox',
    'PathAlias',
    'Placement',
    'Service',
    'SoftDelete',
    'SyncRequest',
    'TaskLog',
    'Tombstone',
    'utcnow',
]
