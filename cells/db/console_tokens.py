"""Rights to use the console of an instance.

The token itself is not kept, only its SHA-256: who reads the table cannot use it.
"""

import hashlib
from typing import Any, Final

import sqlalchemy as sa

from cells.db import dirty, engine, models

_COLUMNS: Final = models.ConsoleAuthToken.__table__.c


def token_create(
    connection: sa.Connection,
    token: str,
    instance_uuid: str,
    console_type: str,
    host: str,
    port: int,
    seconds: float,
) -> None:
    """Give the right to use a console, under a token that nobody else has.

    :param host: where the console is to be reached, with ``port``.
    :param seconds: how long the right lasts.
    """
    connection.execute(
        sa.insert(models.ConsoleAuthToken).values(
            token_hash=_hash(token),
            instance_uuid=instance_uuid,
            console_type=console_type,
            host=host,
            port=port,
            expires=engine.now() + seconds,
        )
    )


def token_get(database: engine.Database, token: str) -> dict[str, Any] | None:
    """Return what a token gives the right to, values by column; None when it is not valid."""
    query = sa.select(*_COLUMNS).where(
        _COLUMNS.token_hash == _hash(token), _COLUMNS.expires > engine.now()
    )
    with database.read() as connection:
        row = connection.execute(query).mappings().first()
    return None if row is None else dict(row)


def tokens_delete(connection: sa.Connection, instance_uuid: str) -> int:
    """Take all rights to the consoles of an instance away; return how many there were.

    Those that the cells above have given go with them.
    """
    dirty.mark_row(connection, instance_uuid, dirty.CONSOLE, '')
    gone = sa.delete(models.ConsoleAuthToken).where(_COLUMNS.instance_uuid == instance_uuid)
    return connection.execute(gone).rowcount


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
