"""The tables. ``migrations/`` makes the same ones; a test compares the two."""

from cells.db.models.base import Base, BigId, Key, LongText, Moment, SoftDelete, utcnow
from cells.db.models.hosts import Service, TaskLog
from cells.db.models.journal import DeadMessage, Inbox, Outbox
from cells.db.models.sync import SyncRequest
from cells.db.models.tree import Cell, CellIdentity, Change, Lease, NeighbourReport

__all__ = [
    'Base',
    'BigId',
    'Cell',
    'CellIdentity',
    'Change',
    'DeadMessage',
    'Inbox',
    'Key',
    'Lease',
    'LongText',
    'Moment',
    'NeighbourReport',
    'Outbox',
    'Service',
    'SoftDelete',
    'SyncRequest',
    'TaskLog',
    'utcnow',
]
