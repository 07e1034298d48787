"""The dirty set: what of the instances of this cell the cells above do not know yet.

Who changes something marks it in the same transaction. A mark holds no values: what
is sent is read when it is sent, and the mark goes when the top has confirmed a state
as new as the mark (:mod:`cells.sync`). So of many changes the newest goes up, none is
lost, and it does not matter how often or in which order they arrive.
"""

from collections.abc import Iterable
from typing import Final

import sqlalchemy as sa

from cells.db import engine, models, statements

_DIRTY: Final = models.Dirty.__table__.c

#: The name that stands for all fields.
ALL: Final = frozenset('*')

INSTANCE: Final = 'instance'
FAULT: Final = 'fault'
ACTION: Final = 'action'
EVENT: Final = 'event'
BANDWIDTH: Final = 'bw'
CONSOLE: Final = 'console'


def mark(
    connection: sa.Connection,
    uuid: str,
    names: Iterable[str],
    epoch: int,
    seq: int,
    part: str = INSTANCE,
    key: str = '',
) -> None:
    """Mark something of an instance, in the transaction that changes it.

    :param names: of the fields that have changed, :data:`ALL` for all.
    :param epoch: and ``seq``: of the instance, with this change.
    :param key: of what is kept many times for an instance: the uuid of a fault, and so on.
    """
    text = ','.join(sorted(names))
    statements.insert_or_update(
        connection,
        models.Dirty,
        {
            'instance_uuid': uuid,
            'part': part,
            'key': key,
            'names': text,
            'epoch': epoch,
            'seq': seq,
            'marked_at': engine.now(),
            'attempts': 0,
            'claimed_until': 0.0,
        },
        {'names': _DIRTY.names + ',' + text, 'epoch': epoch, 'seq': seq},
    )


def mark_row(connection: sa.Connection, uuid: str, part: str, key: str) -> None:
    """Mark something that is kept many times for an instance; nothing in a cell without parents."""
    if engine.replicates(connection):
        mark(connection, uuid, ALL, 0, 0, part, key)
