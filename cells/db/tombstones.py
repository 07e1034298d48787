"""What is not to be built any more: instances that are deleted, and attempts that were given up.

A deletion can be faster than the build that it is for. Who deletes leaves a tombstone;
who makes the row of an instance looks for one in the transaction that makes it (S5).
"""

from typing import Final

import sqlalchemy as sa

from cells.db import engine, models, statements

_COLUMNS: Final = models.Tombstone.__table__.c

#: Stands for all attempts to build an instance.
ALL_ATTEMPTS: Final = 0
#: How long a build may be on its way.
KEEP_SECONDS: Final = 7 * 86400.0
LONGEST_REASON: Final = 255
#: The reason of a row that only keeps others out while a transaction goes on.
_MARK: Final = ''


def tombstone_put(
    connection: sa.Connection,
    instance_uuid: str,
    attempt: int = ALL_ATTEMPTS,
    reason: str = 'deleted',
    seconds: float = KEEP_SECONDS,
) -> None:
    """Have an instance, or one attempt at it, not built here within so many seconds."""
    values = {
        'instance_uuid': instance_uuid,
        'attempt': attempt,
        'reason': reason[:LONGEST_REASON],
        'created_at': engine.now(),
        'expires': engine.now() + seconds,
    }
    statements.insert_or_update(
        connection, models.Tombstone, values, {'expires': engine.now() + seconds}
    )


def tombstone_purge(connection: sa.Connection, limit: int) -> int:
    """Delete those that are over, some at a time; return how many."""
    query = (
        sa.select(_COLUMNS.instance_uuid, _COLUMNS.attempt)
        .where(_COLUMNS.expires < engine.now())
        .limit(limit)
    )
    found = connection.execute(query).all()
    for row in found:
        connection.execute(
            sa.delete(models.Tombstone).where(
                _COLUMNS.instance_uuid == row.instance_uuid, _COLUMNS.attempt == row.attempt
            )
        )
    return len(found)


def of_own_attempt(attempt: int) -> int:
    """Return the number in tombstones of an attempt that this cell makes itself.

    Others are those of the cell above, which counts in its own way.
    """
    return -attempt


def tombstone_check(connection: sa.Connection, instance_uuid: str, attempt: int) -> str | None:
    """Return why an instance is not to be built; if it may be, keep others from burying it.

    Who puts a tombstone at the same time waits for the end of this transaction, and finds
    the instance then.

    :param attempt: of this cell.
    """
    keys = sorted({ALL_ATTEMPTS, of_own_attempt(attempt)})
    marks = [
        {
            'instance_uuid': instance_uuid,
            'attempt': one,
            'reason': _MARK,
            'created_at': engine.now(),
            'expires': 0.0,
        }
        for one in keys
    ]
    # Nobody sees these marks: they go before the transaction ends.
    if statements.insert_new(connection, models.Tombstone, marks):
        connection.execute(
            sa.delete(models.Tombstone).where(
                _COLUMNS.instance_uuid == instance_uuid,
                _COLUMNS.attempt.in_(keys),
                _COLUMNS.reason == _MARK,
                _COLUMNS.expires == 0.0,
            )
        )
    query = sa.select(_COLUMNS.reason).where(
        _COLUMNS.instance_uuid == instance_uuid,
        _COLUMNS.attempt.in_(keys),
        _COLUMNS.expires > engine.now(),
    )
    # Locked, as without that MySQL would show how it was when the transaction began.
    found = statements.locked(connection, query.order_by(_COLUMNS.attempt), free_only=False)
    return found[0]['reason'] if found else None
