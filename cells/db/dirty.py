"""The dirty set: what of the instances of this cell the cells above do not know yet.

Who changes something marks it in the same transaction. A mark holds no values: what
is sent is read when it is sent, and the mark goes when the top has confirmed a state
as new as the mark (:mod:`cells.sync`). So of many changes the newest goes up, none is
lost, and it does not matter how often or in which order they arrive.
"""

import functools
from collections.abc import Iterable
from typing import Final

import sqlalchemy as sa

from cells.db import engine, models, statements

_DIRTY: Final = models.Dirty.__table__.c

#: The name that stands for all fields.
ALL: Final = frozenset('*')

#: Seconds: who sends a mark holds it for less, so what is held for longer was put aside.
LONGEST_CLAIM: Final = 120.0
#: Seconds after which it is tried again when it is marked anew.
TRIED_AGAIN: Final = 30.0

INSTANCE: Final = 'instance'
FAULT: Final = 'fault'
ACTION: Final = 'action'
EVENT: Final = 'event'
BANDWIDTH: Final = 'bw'
CONSOLE: Final = 'console'

#: Characters of names after which all fields are meant: the cells above may be away for long.
LONGEST_NAMES: Final = 1000


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
    connection.execute(
        _marking(connection.dialect.name),
        {
            'an_uuid': uuid,
            'a_part': part,
            'a_key': key,
            'new_names': ','.join(sorted(names)),
            'new_epoch': epoch,
            'new_seq': seq,
        },
    )


@functools.cache  # every change of an instance makes some of them
def _marking(dialect: str) -> sa.Insert:
    given = {
        'names': sa.bindparam('new_names', type_=_DIRTY.names.type),
        'epoch': sa.bindparam('new_epoch', type_=_DIRTY.epoch.type),
        'seq': sa.bindparam('new_seq', type_=_DIRTY.seq.type),
    }
    return statements.upsert(
        dialect,
        models.Dirty,
        {
            **given,
            'instance_uuid': sa.bindparam('an_uuid', type_=_DIRTY.instance_uuid.type),
            'part': sa.bindparam('a_part', type_=_DIRTY.part.type),
            'key': sa.bindparam('a_key', type_=_DIRTY.key.type),
            'marked_at': engine.now(),
            'attempts': 0,
            'claimed_until': 0.0,
        },
        # Whoever sends it just now sees that it is no longer what was claimed.
        {
            **given,
            'names': joined(given['names']),
            'claimed_by': None,
            'claimed_until': _soon(),
        },
    )


def _soon() -> sa.ColumnElement[float]:
    """Return when it is sent: what was put aside for long is tried again soon."""
    aside = _DIRTY.claimed_until > engine.now() + LONGEST_CLAIM
    return sa.case((aside, engine.now() + TRIED_AGAIN), else_=_DIRTY.claimed_until)


def joined(names: str | sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    """Return the names of a mark with these as well; all, when they become too long."""
    long = sa.func.length(_DIRTY.names) > LONGEST_NAMES
    return sa.case((long, '*'), else_=_DIRTY.names + ',' + names)


def mark_row(connection: sa.Connection, uuid: str, part: str, key: str) -> None:
    """Mark something that is kept many times for an instance; nothing in a cell without parents."""
    if engine.replicates(connection):
        mark(connection, uuid, ALL, 0, 0, part, key)
