"""The tables. ``migrations/`` makes the same ones; a test compares the two."""

from cells.db.models.base import Base, BigId, Key, LongText, Moment, SoftDelete, utcnow
from cells.db.models.hosts import ComputeNode, Flavor, Service, TaskLog
from cells.db.models.instances import (
    ConsoleAuthToken,
    Instance,
    InstanceAction,
    InstanceActionEvent,
    InstanceMetadata,
    KeyPair,
    Migration,
)
from cells.db.models.journal import DeadMessage, Inbox, Outbox
from cells.db.models.sync import SyncRequest
from cells.db.models.tree import Cell, CellIdentity, Change, Lease, NeighbourReport

__all__ = [
    'Base',
    'BigId',
    'Cell',
    'CellIdentity',
    'Change',
    'ComputeNode',
    'ConsoleAuthToken',
    'DeadMessage',
    'Flavor',
    'Inbox',
    'Instance',
    'InstanceAction',
    'InstanceActionEvent',
    'InstanceMetadata',
    'Key',
    'KeyPair',
    'Lease',
    'LongText',
    'Migration',
    'Moment',
    'NeighbourReport',
    'Outbox',
    'Service',
    'SoftDelete',
    'SyncRequest',
    'TaskLog',
    'utcnow',
]
