"""What is over and may go from a database, on each kind of database."""

import datetime

import pytest
import sqlalchemy as sa

from cells import failures
from cells.db import (
    dirty,
    engine,
    instance_actions,
    instances,
    models,
    neighbours,
    purging,
    tombstones,
)

OLD, NEW, TOLD = ('%d1111111-1111-4111-8111-111111111111' % number for number in range(3))


@pytest.fixture
def filled(database):
    """Two deleted instances and one that lives, with all that is theirs; and ended rows."""
    for uuid in (OLD, NEW, TOLD):
        with database.write() as connection:
            instances.instance_create(connection, {'uuid': uuid, 'project_id': 'p'})
            instances.metadata_set(connection, uuid, {'a': 'b'})
            failures.abandon(connection, uuid, 'a fault', 'x')
            action_id = instance_actions.action_create(
                connection, {'instance_uuid': uuid, 'action': 'reboot', 'uuid': uuid}
            )
            instance_actions.event_create(connection, {'action_id': action_id, 'event': 'x'})
    with database.write() as connection:
        for uuid in (OLD, TOLD):
            instances.instance_destroy(connection, uuid, sync=False)
        dirty.mark(connection, TOLD, dirty.ALL, 0, 1)
        tombstones.tombstone_put(connection, OLD, seconds=-1)
        tombstones.tombstone_put(connection, NEW, seconds=1000)
    neighbours.cell_create(database, {'name': 'gone', 'transport_url': 'rabbit://b:1/'})
    neighbours.cell_create(database, {'name': 'here', 'transport_url': 'rabbit://b:1/'})
    neighbours.cell_delete(database, 'gone')
    return database


def later() -> datetime.datetime:
    """A time after which nothing of the test ended, whatever the clock of the database says."""
    return models.utcnow() + datetime.timedelta(seconds=60)


def rows(database: engine.Database) -> dict[str, int]:
    with database.read() as connection:
        return {
            model.__tablename__: connection.execute(
                sa.select(sa.func.count()).select_from(model)
            ).scalar_one()
            for model in (
                models.Instance,
                models.InstanceFault,
                models.InstanceAction,
                models.InstanceActionEvent,
                models.InstanceMetadata,
                models.Tombstone,
                models.Cell,
            )
        }


def test_what_ended_before_goes_and_what_lives_or_is_not_yet_told_above_stays(filled):
    counted = purging.counts(filled, later())
    assert counted['instances'] == counted['instance_faults'] == 1
    assert counted['tombstones'] == counted['cells'] == 1
    assert counted['instance_actions'] == counted['instance_actions_events'] == 1
    gone: dict[str, int] = {}
    for part in purging.purge(filled, later(), 1):
        for table, number in part.items():
            gone[table] = gone.get(table, 0) + number
    assert {table: number for table, number in gone.items() if number} == {
        table: number for table, number in counted.items() if number
    }
    assert rows(filled) == {
        'instances': 2,
        'instance_faults': 2,
        'instance_actions': 2,
        'instance_actions_events': 2,
        'instance_metadata': 2,
        'tombstones': 1,
        'cells': 1,
    }
    assert not any(purging.counts(filled, later()).values())
    assert list(purging.purge(filled, later(), 1)) == []


def test_what_ended_later_stays(filled):
    before = models.utcnow() - datetime.timedelta(days=1)
    assert not any(purging.counts(filled, before).values())
    assert list(purging.purge(filled, before, 100)) == []
    assert rows(filled)['instances'] == 3
