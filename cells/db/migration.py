"""The schema: alembic migrations inside the package, which only ever expand."""

import pathlib

import alembic.command
import alembic.config
import alembic.runtime.migration
import alembic.script
import sqlalchemy as sa

from cells import exceptions
from cells.db import engine, models


def _config(connection: sa.Connection | None = None) -> alembic.config.Config:
    config = alembic.config.Config()
    here = pathlib.Path(__file__).parent / 'migrations'
    config.set_main_option('script_location', str(here).replace('%', '%%'))
    config.attributes['connection'] = connection
    return config


def head() -> str:
    """Return the revision that this code needs."""
    found = alembic.script.ScriptDirectory.from_config(_config()).get_current_head()
    assert found is not None
    return found


def version(database: engine.Database) -> str | None:
    """Return the revision of the database, None for an empty one."""
    with database.read() as connection:
        return alembic.runtime.migration.MigrationContext.configure(
            connection
        ).get_current_revision()


def sync(database: engine.Database, revision: str = 'head') -> None:
    """Bring the schema to a revision, by default the newest."""
    with database.write() as connection:
        alembic.command.upgrade(_config(connection), revision)


def check(database: engine.Database) -> None:
    """Refuse a database with a schema that this code cannot work on.

    A newer schema is fine: migrations only expand.

    :raises SchemaError: the schema is older, or there is none.
    """
    found, wanted = version(database), head()
    if found == wanted:
        return
    script = alembic.script.ScriptDirectory.from_config(_config())
    ours = {entry.revision for entry in script.walk_revisions()}
    if found is None or found in ours:
        raise exceptions.SchemaError(found=found or 'none', wanted=wanted)


def missing(connection: sa.Connection) -> list[str]:
    """Return the tables and columns (``table.column``) of the models that are not there."""
    inspector = sa.inspect(connection)
    there = set(inspector.get_table_names())
    found = []
    for table in models.Base.metadata.sorted_tables:
        if table.name not in there:
            found.append(table.name)
            continue
        columns = {column['name'] for column in inspector.get_columns(table.name)}
        found += ['%s.%s' % (table.name, one.name) for one in table.c if one.name not in columns]
    return sorted(found)
