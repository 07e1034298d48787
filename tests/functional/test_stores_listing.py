"""Pages of instances, usage and history, on each kind of database."""

import datetime

import pytest

from cells import exceptions
from cells.db import instance_actions, instance_history, instance_listing, instances
from cells.db.instance_listing import Filters

MOMENT = datetime.datetime(2016, 3, 1, 12, 0, 0, 123456)


def uuid_of(number):
    return '00000000-0000-4000-8000-%012d' % number


def create(database, number, metadata=None, fields=None, **values):
    with database.write() as connection:
        instances.instance_create(
            connection,
            {'uuid': uuid_of(number), 'project_id': 'p1', **values},
            metadata,
            fields,
        )


def page(database, limit=100, marker=None, **filters):
    with database.read() as connection:
        found = instance_listing.instance_get_page(
            connection,
            Filters(**filters),
            limit,
            None if marker is None else uuid_of(marker),
        )
    return [int(one.uuid[-12:]) for one in found]


def test_pages_are_complete_also_when_many_are_of_the_same_moment(database):
    moments = [0, 0, 0, 1, 1, None, 2, None, 0]
    for number, seconds in enumerate(moments):
        moment = None if seconds is None else MOMENT + datetime.timedelta(seconds=seconds)
        create(database, number, created_at=moment)
    wanted = [6, 4, 3, 8, 2, 1, 0, 7, 5]
    assert page(database) == wanted
    for limit in (1, 2, 4):
        found, marker = [], None
        while part := page(database, limit, marker):
            found += part
            marker = part[-1]
        assert found == wanted


def test_a_page_has_what_belongs_to_each_instance(database):
    create(database, 1, metadata={'a': 'é'}, fields={'system_metadata': {'x': 'y'}})
    create(database, 2, metadata={'b': ''})
    create(database, 3)
    with database.read() as connection:
        found = instance_listing.instance_get_page(connection, Filters(), 10)
        alone = [instances.instance_get(connection, one.uuid) for one in found]
    assert [one.metadata for one in found] == [{}, {'b': ''}, {'a': 'é'}]
    assert [one.system_metadata for one in found] == [{}, {}, {'x': 'y'}]
    for one, other in zip(found, alone, strict=True):
        assert dict(one.items()) == dict(other.items())
        assert one.obj_what_changed() == set()


def test_a_marker_that_is_gone_still_marks_and_one_that_never_was_does_not(database):
    for number in range(3):
        create(database, number, created_at=MOMENT)
    with database.write() as connection:
        instances.instance_destroy(connection, uuid_of(1))
    assert page(database, marker=1) == [0]
    with pytest.raises(exceptions.InstanceNotFound):
        page(database, marker=9)


def test_filters_are_meant_to_the_letter(database):
    create(database, 1, host='H1', display_name='Web_1', cell_name='api!leaf')
    create(database, 2, host='h1', display_name='web%2', cell_name='api!leaf!x')
    create(database, 3, host=None, display_name='wab', cell_name='api!leaf_x', vm_state='error')
    create(database, 4, host='h1 ', display_name=None, cell_name=None)
    assert page(database, values={'host': ('h1',)}) == [2]
    assert page(database, values={'host': (None, 'H1')}) == [3, 1]
    assert page(database, values={'host': ('h1',), 'vm_state': ('error',)}) == []
    assert page(database, name='web') == [2, 1]
    assert page(database, name='_') == [1]
    assert page(database, name='%') == [2]
    assert page(database, cell_name='api!leaf') == [2, 1]
    assert page(database, cell_name='api!leaf_x') == [3]


def test_s19_usage_counts_what_lives_and_is_of_the_project(database):
    create(database, 1, vcpus=2, memory_mb=2**31 - 1)
    create(database, 2, vcpus=3, memory_mb=2**31 - 1, vm_state='active')
    create(database, 3, vcpus=None, memory_mb=None)
    create(database, 4, vcpus=5, memory_mb=5, vm_state='soft-delete')
    create(database, 5, vcpus=7, memory_mb=7)
    create(database, 6, vcpus=9, memory_mb=9, project_id='P1')
    with database.write() as connection:
        instances.instance_destroy(connection, uuid_of(5))
    with database.read() as connection:
        assert instance_listing.usage_get(connection, 'p1') == {
            'instances': 3,
            'cores': 5,
            'ram_mb': 2 * (2**31 - 1),
        }
        assert instance_listing.usage_get(connection, 'nobody')['instances'] == 0


def test_s16_steps_of_a_request_are_those_of_its_instance(database):
    with database.write() as connection:
        for number, request_id, remote_id in ((1, 'a', 70), (1, 'b', None), (2, 'a', 72)):
            action_id = instance_actions.action_create(
                connection,
                {
                    'instance_uuid': uuid_of(number),
                    'request_id': request_id,
                    'remote_id': remote_id,
                },
            )
            for event in ('first', 'second'):
                instance_actions.event_create(
                    connection,
                    {
                        'action_id': action_id,
                        'event': '%s of %d' % (event, number),
                        'created_at': MOMENT,
                    },
                )
    found = instance_history.events_of_request(database, uuid_of(1), 'a')
    assert [one['event'] for one in found] == ['second of 1', 'first of 1']
    assert {one['action_id'] for one in found} == {70}
    assert found[0]['created_at'] == '2016-03-01T12:00:00.123456'
    assert instance_history.events_of_request(database, uuid_of(2), 'b') == []
    assert len(instance_history.events_of_request(database, uuid_of(1), 'b')) == 2
