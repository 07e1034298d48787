"""The schema: what the migrations make, and which databases a cell accepts."""

import alembic.autogenerate
import alembic.runtime.migration
import pytest
import sqlalchemy as sa

from cells import exceptions
from cells.db import engine, migration, models, services


def set_revision(database: engine.Database, revision: str) -> None:
    """Make a database say that it is at a revision."""
    table = sa.table('alembic_version', sa.column('version_num'))
    with database.write() as connection:
        connection.execute(sa.update(table).values(version_num=revision))


def test_migrations_make_the_tables_of_the_models(database):
    with database.read() as connection:
        context = alembic.runtime.migration.MigrationContext.configure(
            connection, opts={'compare_type': True, 'compare_server_default': True}
        )
        differences = alembic.autogenerate.compare_metadata(context, models.Base.metadata)
    assert differences == []


def test_sync_of_a_synced_database_changes_nothing(database):
    services.service_report(database, 'h1', 'nova-cells', 'cells')
    before = migration.version(database)

    migration.sync(database)

    assert migration.version(database) == before == migration.head()
    assert [row['host'] for row in services.service_get_all(database)] == ['h1']


def test_an_empty_database_is_refused_with_the_command_that_helps(database_url):
    database = engine.Database(database_url)
    try:
        assert migration.version(database) is None
        with pytest.raises(exceptions.SchemaError) as caught:
            migration.check(database)
    finally:
        database.dispose()
    assert 'nova-cells-manage db sync' in str(caught.value)
    assert 'revision none' in str(caught.value)
    assert migration.head() in str(caught.value)


def test_a_synced_database_is_accepted(database):
    migration.check(database)
    assert migration.version(database) == migration.head()


def test_a_database_that_a_newer_version_has_migrated_is_accepted(database_url):
    database = engine.Database(database_url)
    try:
        migration.sync(database)
        set_revision(database, '9999')
        migration.check(database)
        assert migration.version(database) == '9999'
    finally:
        database.dispose()
