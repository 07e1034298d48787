import datetime

import pytest

from cells import context, exceptions
from cells.compute import api, metadata
from cells.db import engine, instances, migration

UUID = '11111111-1111-4111-8111-111111111111'
OWNER = context.RequestContext('u1', 'p1')
ADMIN = context.RequestContext('boss', 'admins', is_admin=True)
BOTH = context.RequestContext('boss', 'p1', is_admin=True)


@pytest.fixture
def database(workdir):
    database = engine.Database('sqlite:///%s' % (workdir / 'cells.sqlite'))
    migration.sync(database)
    yield database
    database.dispose()


def create(database, metadata=None, **values):
    values = {'uuid': UUID, 'project_id': 'p1', 'vm_state': 'active', **values}
    with database.write() as connection:
        instances.instance_create(connection, values, metadata)


def load(database):
    with database.read() as connection:
        return instances.instance_get(connection, UUID)


def run(database, name, *args, ctxt=OWNER, **kwargs):
    with database.write() as connection:
        return api.run(connection, ctxt, name, (UUID, *args), kwargs)


@pytest.mark.parametrize(
    ('locked_by', 'ctxt', 'then'),
    [
        (None, OWNER, 'owner'),
        (None, ADMIN, 'admin'),
        (None, BOTH, 'owner'),
        ('admin', OWNER, 'admin'),
        ('owner', OWNER, 'owner'),
        ('owner', ADMIN, 'admin'),
        ('admin', ADMIN, 'admin'),
    ],
)
def test_a_lock_says_whose_it_is(database, locked_by, ctxt, then):
    create(database, locked=locked_by is not None, locked_by=locked_by)
    run(database, 'lock', ctxt=ctxt)
    assert (load(database).locked, load(database).locked_by) == (True, then)


@pytest.mark.parametrize(
    ('locked_by', 'ctxt', 'goes'),
    [
        ('owner', OWNER, True),
        ('owner', ADMIN, True),
        ('admin', ADMIN, True),
        ('admin', BOTH, True),
        ('admin', OWNER, False),
        (None, OWNER, True),
    ],
)
def test_a_lock_is_opened_by_who_may(database, locked_by, ctxt, goes):
    create(database, locked=locked_by is not None, locked_by=locked_by)
    if goes:
        run(database, 'unlock', ctxt=ctxt)
        assert (load(database).locked, load(database).locked_by) == (False, None)
        return
    with pytest.raises(exceptions.PolicyNotAuthorized):
        run(database, 'unlock', ctxt=ctxt)
    assert load(database).locked_by == locked_by


def test_what_changes_nothing_leaves_the_instance_alone(database):
    create(database, {'a': '1'}, launched_at=datetime.datetime(2016, 3, 1))
    run(database, 'unlock')
    assert run(database, 'update_instance_metadata', {'a': '1'}) == {'a': '1'}
    run(database, 'delete_instance_metadata', 'nosuch')
    assert load(database).updated_at is None
    run(database, 'update_instance_metadata', {'a': '2'})
    assert load(database).updated_at is not None


def test_metadata_has_a_limit_that_counts_what_is_there_already(database):
    start = {'k%d' % number: 'v' for number in range(metadata.MOST_METADATA)}
    create(database, start, launched_at=datetime.datetime(2016, 3, 1))
    with pytest.raises(exceptions.Invalid, match='1025 items'):
        run(database, 'update_instance_metadata', {'one more': 'v'})
    assert load(database).metadata == start
    assert len(run(database, 'update_instance_metadata', {'k1': 'other'})) == metadata.MOST_METADATA
    assert run(database, 'update_instance_metadata', {'only': 'v'}, delete=True) == {'only': 'v'}


def test_policy_is_looked_at_before_lock_and_lock_before_state(database):
    create(database, locked=True, vm_state='error')
    stranger = context.RequestContext('u2', 'p2')
    for ctxt, error in (
        (stranger, exceptions.PolicyNotAuthorized),
        (OWNER, exceptions.InstanceIsLocked),
        (ADMIN, exceptions.InstanceInvalidState),
    ):
        with pytest.raises(error) as caught:
            run(database, 'delete_instance_metadata', 'k', ctxt=ctxt)
        assert type(caught.value) is error


@pytest.mark.parametrize(
    'name', [None, 5, ['lock'], {}, '', 'Lock', 'lock ', '_lock', 'x' * 10_000]
)
def test_a_method_that_is_not_in_the_table_is_not_found(database, name):
    create(database)
    with pytest.raises(exceptions.CellServiceAPIMethodNotFound) as caught:
        run(database, name)
    assert caught.value.code == 404
    assert ', '.join(api.METHODS) in str(caught.value)
    assert len(str(caught.value)) < 1000
