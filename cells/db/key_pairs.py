"""Key pairs of users, which are known at the top of the tree."""

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from oslo_db import exception as db_exc

from cells import exceptions
from cells.db import engine, models
from cells.objects import keypair

_COLUMNS: Final = models.KeyPair.__table__.c


def key_pair_create(connection: sa.Connection, values: Mapping[str, Any]) -> int:
    """Write a new key pair and return its id.

    :param values: by column; ``user_id`` and ``name`` at least.
    :raises KeyPairExists: the user has one of that name; the transaction cannot go on.
    """
    try:
        made = connection.execute(sa.insert(models.KeyPair).values(**values))
    except db_exc.DBDuplicateEntry:
        raise exceptions.KeyPairExists(key_name=values['name']) from None
    assert made.inserted_primary_key is not None
    return int(made.inserted_primary_key[0])


def key_pair_destroy(connection: sa.Connection, user_id: str, name: str) -> None:
    """Mark a key pair as deleted.

    :raises KeypairNotFound: there is none.
    """
    gone = (
        sa.update(models.KeyPair)
        .where(_COLUMNS.user_id == user_id, _COLUMNS.name == name, _COLUMNS.deleted == 0)
        .values(deleted=_COLUMNS.id, deleted_at=models.utcnow())
    )
    if not connection.execute(gone).rowcount:
        raise exceptions.KeypairNotFound(user_id=user_id, name=name)


def key_pair_get(database: engine.Database, user_id: str, name: str) -> keypair.KeyPair | None:
    """Return a key pair, None when there is none."""
    query = sa.select(*_COLUMNS).where(
        _COLUMNS.user_id == user_id, _COLUMNS.name == name, _COLUMNS.deleted == 0
    )
    with database.read() as connection:
        row = connection.execute(query).mappings().first()
    if row is None:
        return None
    found = keypair.KeyPair(**{**row, 'deleted': False})
    found.obj_reset_changes()
    return found
