"""Records of instances at the top, as an API service works with them."""

import datetime
import itertools
import pathlib
import shutil
import time
import uuid as uuids

import pytest

from cells import context, exceptions, rpcapi
from cells import handlers as cells_handlers
from cells.db import engine, faults, inbox, instance_actions, instances, models
from cells.objects import flavor, instance, pci
from tests import fake_cells
from tests.conftest import open_directory

PARENTS = {'api': None, 'leaf': 'api'}
LEAF = 'api!leaf'
CTXT = context.RequestContext('u1', 'p1')
ADMIN = context.RequestContext('boss', 'admins', is_admin=True)
STRANGER = context.RequestContext('u2', 'p2')
MOMENT = datetime.datetime(2016, 3, 1, 12, 0, 0, 123456)
SMALL = flavor.Flavor(flavorid='1', id=3, memory_mb=512, vcpus=2, root_gb=10, ephemeral_gb=1)
PROJECTS = itertools.count()

#: Operation, context and arguments of each order that came to the leaf.
ARRIVED = []


def arrives(operation):
    def handle(connection, message, **kwargs):
        ARRIVED.append((operation, message.ctxt, kwargs))

    return handle


@pytest.fixture(scope='module')
def tree():
    """A top and a leaf, which only notes what it is told of instances."""
    original = cells_handlers.handlers
    workdir = open_directory()
    noted = ('instance_update_from_api', 'run_compute_api_method')

    def handlers(database, *rest, **more):
        found = original(database, *rest, **more)
        if pathlib.Path(database.url).stem == 'leaf':
            found.update({one: arrives(one) for one in noted})
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells_handlers, 'handlers', handlers)
        found = fake_cells.FakeTree(workdir, PARENTS)
    with found.running():
        yield found
    shutil.rmtree(workdir, ignore_errors=True)


@pytest.fixture(scope='module')
def records(tree):
    return rpcapi.InstancesAPI.from_conf(fake_cells.conf_of(tree.workdir, 'api'))


@pytest.fixture
def ctxt():
    """A context of a project that nobody else has."""
    return context.RequestContext('u1', 'project-%d' % next(PROJECTS))


def wanted(**values):
    return instance.Instance(
        **{'uuid': str(uuids.uuid4()), 'display_name': 'vm', 'flavor': SMALL, **values}
    )


def write(tree, function, *args, **kwargs):
    with tree['api'].database.write() as connection:
        return function(connection, *args, **kwargs)


def made(tree, **values):
    """Write the record of an instance that is in the leaf, and return its uuid."""
    values = {
        'uuid': str(uuids.uuid4()),
        'project_id': 'p1',
        'vm_state': 'active',
        'cell_name': LEAF,
        'host': 'h1',
        **values,
    }
    write(tree, instances.instance_create, values)
    return values['uuid']


def orders_of(uuid, number=1, seconds=10):
    """Wait for what the leaf is told of an instance: operation, arguments."""

    def named(kwargs):
        info = kwargs.get('method_info')
        return info['method_args'][0] if info else kwargs['instance'].uuid

    until = time.monotonic() + seconds
    while True:
        found = [(name, kwargs) for name, _, kwargs in ARRIVED if named(kwargs) == uuid]
        if len(found) >= number or time.monotonic() > until:
            assert len(found) == number, found
            return found
        time.sleep(0.02)


# -- create --


def test_a_record_is_created_and_read_again(records, ctxt):
    given = wanted(
        metadata={'é': '😀'},
        system_metadata={'image_os': 'linux'},
        display_description='',
        user_data='x' * 70_000,
        access_ip_v4='10.0.0.1',
        launch_index=0,
        pci_requests=pci.InstancePCIRequests(
            instance_uuid=str(uuids.uuid4()), requests=[pci.InstancePCIRequest(count=2)]
        ),
    )
    [found] = records.create(ctxt, [given])
    for one in (found, records.get(ctxt, given.uuid)):
        assert (one.vm_state, one.task_state) == ('building', 'scheduling')
        assert (one.user_id, one.project_id) == (ctxt.user_id, ctxt.project_id)
        assert one.metadata == {'é': '😀'}
        assert one.system_metadata == {'image_os': 'linux'}
        assert one.flavor.flavorid == '1'
        assert (one.memory_mb, one.vcpus, one.root_gb, one.ephemeral_gb) == (512, 2, 10, 1)
        assert one.instance_type_id == 3
        assert one.pci_requests.requests[0].count == 2
        assert str(one.access_ip_v4) == '10.0.0.1'
        assert len(one.user_data) == 70_000
        assert one.cell_name is None
        assert one.obj_what_changed() == set()


def test_what_an_instance_says_goes_before_its_flavor_and_the_request(records):
    given = wanted(memory_mb=64, user_id='u9', project_id='p9')
    [found] = records.create(ADMIN, [given])
    assert (found.memory_mb, found.vcpus) == (64, 2)
    assert (found.user_id, found.project_id) == ('u9', 'p9')


def test_a_create_that_is_repeated_is_fine_also_when_the_instance_has_gone_on(tree, records, ctxt):
    given = [wanted(), wanted(display_name='other')]
    first = records.create(ctxt, given)
    values = {'vm_state': 'active', 'task_state': None, 'display_name': 'renamed', 'host': 'h'}
    write(tree, instances.instance_update, given[0].uuid, values)
    again = records.create(ctxt, given)
    assert [one.id for one in again] == [one.id for one in first]
    assert (again[0].vm_state, again[0].display_name) == ('active', 'renamed')


@pytest.mark.parametrize('values', [{'memory_mb': 7}, {'image_ref': 'i'}, {'project_id': 'p'}])
def test_another_instance_of_the_same_uuid_is_refused_and_leaves_nothing(records, ctxt, values):
    given = wanted()
    records.create(ctxt, [given])
    other = wanted()
    admin = context.RequestContext(ctxt.user_id, ctxt.project_id, is_admin=True)
    with pytest.raises(exceptions.InstanceExists, match=given.uuid):
        records.create(admin, [other, wanted(uuid=given.uuid, **values)])
    with pytest.raises(exceptions.InstanceNotFound):
        records.get(ctxt, other.uuid)


def test_a_deleted_instance_is_not_created_again(tree, records, ctxt):
    given = wanted()
    records.create(ctxt, [given])
    write(tree, instances.instance_destroy, given.uuid)
    with pytest.raises(exceptions.InstanceExists):
        records.create(ctxt, [given])


BAD_INSTANCES = [
    ([], 'instances is []'),
    ([instance.Instance(display_name='x')], 'instances[0] has no uuid'),
    ([wanted(memory_mb=-1)], 'instances[0].memory_mb is -1'),
    ([wanted(vm_state='active')], "instances[0].vm_state is 'active'"),
    ([wanted(task_state='spawning')], "instances[0].task_state is 'spawning'"),
    ([wanted(host='h1')], "instances[0].host is 'h1'"),
    ([wanted(cell_name=LEAF)], "instances[0].cell_name is 'api!leaf'"),
    ([wanted(deleted=True)], 'instances[0].deleted is True'),
    ([wanted(display_name='x' * 256)], 'at most 255'),
    ([wanted(hostname='a\0b')], 'instances[0].hostname'),
    ([wanted(launch_index=2**31)], 'instances[0].launch_index'),
    ([wanted(metadata={'k' * 256: 'v'})], 'a key of instances[0].metadata'),
    ([wanted(metadata={'k': 'v' * 256})], "instances[0].metadata['k']"),
    ([wanted(), 5], 'instances[1] is 5'),
]


@pytest.mark.parametrize(('given', 'text'), BAD_INSTANCES)
def test_what_cannot_be_created_is_refused_by_name(records, ctxt, given, text):
    with pytest.raises(exceptions.Invalid) as caught:
        records.create(ctxt, given)
    assert text in str(caught.value)


def test_nobody_creates_for_another_project(records):
    with pytest.raises(exceptions.PolicyNotAuthorized):
        records.create(CTXT, [wanted(project_id='p2')])
    assert records.create(ADMIN, [wanted(project_id='p2')])


# -- save --


def test_a_save_changes_the_record_and_orders_the_same_in_the_cell(tree, records):
    uuid = made(tree)
    found = records.save(
        CTXT,
        uuid,
        {'display_name': 'new', 'display_description': None, 'access_ip_v4': '10.0.0.1'},
        expected={'vm_state': ['active', 'stopped'], 'task_state': None},
    )
    assert found.display_name == 'new'
    [(operation, kwargs)] = orders_of(uuid)
    assert operation == 'instance_update_from_api'
    # What has not changed is not said to have.
    assert kwargs['instance'].obj_what_changed() == {'display_name', 'access_ip_v4'}
    assert kwargs['instance'].display_name == 'new'
    assert kwargs['expected_vm_state'] == ['active', 'stopped']
    assert kwargs['expected_task_state'] == [None]
    assert kwargs['admin_state_reset'] is False


def test_p3_a_save_that_changes_nothing_sends_nothing(tree, records):
    uuid = made(tree, display_name='vm')
    records.save(CTXT, uuid, {'display_name': 'vm', 'locked': False, 'metadata': {}})
    records.save(CTXT, uuid, {'display_name': 'vm2'})
    [(_, kwargs)] = orders_of(uuid)
    assert kwargs['instance'].display_name == 'vm2'


def test_s12_a_task_state_stays_at_the_top(tree, records):
    uuid = made(tree)
    assert records.save(CTXT, uuid, {'task_state': 'powering-off'}).task_state == 'powering-off'
    records.save(CTXT, uuid, {'locked': True, 'locked_by': 'owner'})
    [(_, kwargs)] = orders_of(uuid)
    assert kwargs['instance'].obj_what_changed() == {'locked', 'locked_by'}


def test_metadata_is_changed_here_and_by_the_cell_that_owns_it(tree, records):
    uuid = made(tree)
    records.save(CTXT, uuid, {'metadata': {'a': 'b', 'c': 'd'}, 'display_name': 'x'})
    found = records.save(CTXT, uuid, {'metadata': {'a': 'b'}})
    assert found.metadata == {'a': 'b'}
    orders = orders_of(uuid, 3)
    assert [name for name, _ in orders] == [
        'instance_update_from_api',
        'run_compute_api_method',
        'run_compute_api_method',
    ]
    assert orders[2][1]['method_info'] == {
        'method': 'update_instance_metadata',
        'method_args': [uuid, {'a': 'b'}],
        'method_kwargs': {'delete': True},
    }


def test_an_instance_in_no_cell_yet_is_changed_here_alone(tree, records, ctxt):
    given = wanted()
    records.create(ctxt, [given])
    found = records.save(ctxt, given.uuid, {'display_name': 'x', 'metadata': {'a': 'b'}})
    assert (found.display_name, found.metadata) == ('x', {'a': 'b'})
    with tree['api'].database.read() as connection:
        rows = connection.execute(models.Inbox.__table__.select()).mappings().all()
    assert given.uuid not in {row['instance_uuid'] for row in rows}


def test_s14_a_save_that_expects_no_task_is_refused_when_there_is_one(tree, records):
    uuid = made(tree, task_state='rebooting')
    with pytest.raises(exceptions.UnexpectedTaskStateError):
        records.save(CTXT, uuid, {'display_name': 'x'}, expected={'task_state': None})
    with pytest.raises(exceptions.InstanceUpdateConflict):
        records.save(CTXT, uuid, {'display_name': 'x'}, expected={'vm_state': ['stopped']})
    assert records.get(CTXT, uuid).display_name is None
    assert records.save(CTXT, uuid, {'display_name': 'x'}).display_name == 'x'
    orders_of(uuid, 1)


def test_s13_a_save_that_dies_before_its_order_is_written_changes_nothing(
    tree, records, monkeypatch
):
    uuid = made(tree)

    def dies(connection, rows):
        raise engine.ERRORS[0]('the disk is full')

    with monkeypatch.context() as patch:
        patch.setattr(inbox, 'inbox_accept', dies)
        with pytest.raises(engine.ERRORS, match='the disk is full'):
            records.save(CTXT, uuid, {'display_name': 'x'})
    assert records.get(CTXT, uuid).display_name is None


def test_a_save_for_a_cell_that_is_not_there_changes_nothing(tree, records):
    uuid = made(tree, cell_name='api!gone')
    with pytest.raises(exceptions.CellRoutingInconsistency):
        records.save(CTXT, uuid, {'display_name': 'x'})
    assert records.get(CTXT, uuid).display_name is None


def test_a_state_is_reset_by_administrators_alone_and_in_the_cell_too(tree, records):
    uuid = made(tree, vm_state='error', task_state='deleting')
    values = {'vm_state': 'active', 'task_state': None}
    with pytest.raises(exceptions.PolicyNotAuthorized):
        records.save(CTXT, uuid, values, admin_state_reset=True)
    with pytest.raises(exceptions.Invalid, match="'vm_state'"):
        records.save(ADMIN, uuid, values)
    found = records.save(ADMIN, uuid, values, admin_state_reset=True)
    assert (found.vm_state, found.task_state) == ('active', None)
    [(_, kwargs)] = orders_of(uuid)
    assert kwargs['admin_state_reset'] is True
    assert kwargs['instance'].obj_what_changed() == {'vm_state', 'task_state'}


BAD_SAVES = [
    ({'values': 5}, 'values is 5'),
    ({'values': {'host': 'h'}}, "values has 'host'"),
    ({'values': {'cell_name': 'api'}}, 'not for a caller to change; there are access_ip_v4'),
    ({'values': {'system_metadata': {}}}, "values has 'system_metadata'"),
    ({'values': {'display_name': None}}, 'values.display_name is None'),
    ({'values': {'display_name': 'x' * 256}}, 'at most 255'),
    ({'values': {'locked': 'yes'}}, "values.locked is 'yes'"),
    ({'values': {'locked_by': 'me'}}, "values.locked_by is 'me', not one of owner, admin"),
    ({'values': {'access_ip_v4': '::1'}}, "values.access_ip_v4 is '::1', not an IPv4 address"),
    ({'values': {'access_ip_v6': 'x'}}, "values.access_ip_v6 is 'x'"),
    ({'values': {'metadata': {'a': 5}}}, "values.metadata['a'] is 5"),
    ({'values': {'metadata': {str(key): '' for key in range(1025)}}}, 'is 1025, not at most 1024'),
    ({'values': {'task_state': 5}}, 'values.task_state is 5'),
    ({'values': {'task_state': 'napping'}}, "values.task_state is 'napping', not one of "),
    (
        {'values': {'vm_state': 'actve'}, 'admin_state_reset': True},
        "values.vm_state is 'actve', not one of active, ",
    ),
    ({'expected': {'colour': 1}}, "a key of expected is 'colour'"),
    ({'expected': {'vm_state': []}}, 'expected.vm_state is []'),
    ({'expected': {'vm_state': {}}}, 'expected.vm_state is {}'),
    ({'expected': 5}, 'expected is 5'),
    ({'uuid': ''}, "uuid is ''"),
    ({'uuid': 'x' * 37}, 'at most 36'),
    ({'admin_state_reset': 'yes'}, "admin_state_reset is 'yes'"),
]


@pytest.mark.parametrize(('bad', 'text'), BAD_SAVES)
def test_what_cannot_be_saved_is_refused_by_name(tree, records, bad, text):
    arguments = {'uuid': made(tree), 'values': {}, **bad}
    with pytest.raises(exceptions.Invalid) as caught:
        records._call(ADMIN, '1.0', 'save', **arguments)
    assert text in str(caught.value)


def test_nobody_saves_or_reads_the_record_of_another_project(tree, records):
    uuid = made(tree)
    with pytest.raises(exceptions.PolicyNotAuthorized):
        records.save(STRANGER, uuid, {'display_name': 'x'})
    for name, rest in (('get', ()), ('faults', ()), ('actions', ()), ('action_events', ('r',))):
        with pytest.raises(exceptions.InstanceNotFound):
            getattr(records, name)(STRANGER, uuid, *rest)
        getattr(records, name)(ADMIN, uuid, *rest)


# -- read --


def test_records_are_listed_newest_first_and_in_pages(records, ctxt):
    given = [wanted(display_name='vm-%d' % number) for number in range(5)]
    for one in given:
        records.create(ctxt, [one])
    uuid_list = [one.uuid for one in reversed(given)]
    found = records.list(ctxt)
    assert [one.uuid for one in found] == uuid_list
    assert found[0].flavor.flavorid == '1'
    first = records.list(ctxt, limit=2)
    second = records.list(ctxt, limit=2, marker=first[-1].uuid)
    third = records.list(ctxt, limit=2, marker=second[-1].uuid)
    assert [one.uuid for one in (*first, *second, *third)] == uuid_list
    assert records.list(ctxt, marker=third[-1].uuid) == []


def test_a_listing_shows_what_its_filters_fit(tree, records, ctxt):
    project = ctxt.project_id
    values = [
        {'display_name': 'Web_1', 'vm_state': 'active', 'host': 'h1', 'cell_name': 'api!leaf'},
        {'display_name': 'web%2', 'vm_state': 'stopped', 'host': 'h2', 'cell_name': 'api!leaf!x'},
        {'display_name': 'db', 'vm_state': 'error', 'host': None, 'cell_name': 'api!leafy'},
        {'display_name': None, 'vm_state': 'building', 'host': None, 'cell_name': None},
    ]
    made_uuids = [
        made(tree, project_id=project, user_id='u%d' % number, task_state=None, **one)
        for number, one in enumerate(values)
    ]
    write(tree, instances.instance_update, made_uuids[1], {'task_state': 'powering-on'})
    write(tree, instances.instance_destroy, made_uuids[2])

    def numbers(**filters):
        found = records.list(ADMIN, {'project_id': project, **filters})
        return {made_uuids.index(one.uuid) for one in found}

    assert numbers() == {0, 1, 3}
    assert numbers(deleted=True) == {2}
    assert numbers(deleted=False) == {0, 1, 3}
    assert numbers(vm_state='active') == {0}
    assert numbers(vm_state=['active', 'stopped', 'error']) == {0, 1}
    assert numbers(task_state=None) == {0, 3}
    assert numbers(task_state=[None, 'powering-on']) == {0, 1, 3}
    assert numbers(host='h2') == {1}
    assert numbers(host=[None, 'h1']) == {0, 3}
    assert numbers(user_id='u1') == {1}
    assert numbers(cell_name='api!leaf') == {0, 1}
    assert numbers(cell_name='api!leaf!x') == {1}
    assert numbers(name='WEB') == {0, 1}
    assert numbers(name='%') == {1}
    assert numbers(name='_') == {0}
    assert numbers(name='web', vm_state='stopped') == {1}
    with_deleted = context.RequestContext('boss', 'a', is_admin=True, read_deleted='yes')
    assert len(records.list(with_deleted, {'project_id': project})) == 4


def test_a_listing_shows_others_to_administrators_alone(tree, records, ctxt):
    uuid = made(tree, project_id='secret')
    assert records.list(ctxt) == []
    assert records.list(ctxt, {'name': 'x'}) == []
    with pytest.raises(exceptions.PolicyNotAuthorized):
        records.list(ctxt, {'project_id': 'secret'})
    assert [one.uuid for one in records.list(ADMIN, {'project_id': 'secret'})] == [uuid]


BAD_LISTINGS = [
    ({'filters': 5}, 'filters is 5'),
    ({'filters': {'colour': 'red'}}, "no filter 'colour'; there are cell_name, deleted, host"),
    ({'filters': {'host': []}}, 'filter host is []'),
    ({'filters': {'host': 5}}, 'filter host is 5'),
    ({'filters': {'cell_name': 'a!!b'}}, 'filter cell_name'),
    ({'filters': {'deleted': 'no'}}, "filter deleted is 'no'"),
    ({'filters': {'name': ''}}, "filter name is ''"),
    ({'limit': 0}, 'limit is 0, not a whole number from 1 to 1000'),
    ({'limit': '5'}, "limit is '5'"),
    ({'marker': 5}, 'marker is 5'),
    ({'marker': 'unknown'}, "marker is 'unknown', of which there is no record"),
]


@pytest.mark.parametrize(('bad', 'text'), BAD_LISTINGS)
def test_a_listing_of_nonsense_is_refused_by_name(records, bad, text):
    with pytest.raises(exceptions.Invalid) as caught:
        records._call(ADMIN, '1.0', 'list', **bad)
    assert text in str(caught.value)


def test_s16_the_history_of_an_instance_is_read_from_the_top(tree, records):
    uuid = made(tree)
    values = {'instance_uuid': uuid, 'request_id': 'req-7', 'action': 'reboot', 'remote_id': 42}
    local = write(tree, instance_actions.action_create, values)
    for event in ('one', 'two'):
        row = {'action_id': local, 'event': event, 'result': 'Success'}
        write(tree, instance_actions.event_create, row)
    write(tree, instance_actions.action_create, {**values, 'request_id': 'req-8', 'remote_id': 43})
    write(tree, faults.fault_create, uuid, 'boom', code=418, details='more')
    write(tree, instances.instance_destroy, uuid)
    assert [one['id'] for one in records.actions(CTXT, uuid)] == [43, 42]
    events = records.action_events(CTXT, uuid, 'req-7')
    assert [one['event'] for one in events] == ['two', 'one']
    assert {one['action_id'] for one in events} == {42}
    assert records.action_events(CTXT, uuid, 'req-8') == []
    [fault] = records.faults(CTXT, uuid)
    assert (fault['code'], fault['message'], fault['details']) == (418, 'boom', 'more')


def test_s19_usage_is_the_sum_over_what_lives(tree, records, ctxt):
    project = ctxt.project_id
    nothing = {'instances': 0, 'cores': 0, 'ram_mb': 0}
    assert records.usage(ctxt) == nothing
    records.create(ctxt, [wanted(), wanted()])
    uuid = made(tree, project_id=project, vcpus=8, memory_mb=100)
    made(tree, project_id=project, vcpus=None, memory_mb=None, vm_state=None)
    made(tree, project_id=project, vcpus=1, memory_mb=1, vm_state='soft-delete')
    assert records.usage(ctxt) == {'instances': 4, 'cores': 12, 'ram_mb': 1124}
    write(tree, instances.instance_destroy, uuid)
    assert records.usage(ADMIN, project) == {'instances': 3, 'cores': 4, 'ram_mb': 1024}
    with pytest.raises(exceptions.PolicyNotAuthorized):
        records.usage(STRANGER, project)


def test_an_unknown_instance_is_not_found(records):
    for name, rest in (('get', ()), ('faults', ()), ('actions', ()), ('action_events', ('r',))):
        with pytest.raises(exceptions.InstanceNotFound, match='unknown'):
            getattr(records, name)(ADMIN, 'unknown', *rest)
    with pytest.raises(exceptions.InstanceNotFound):
        records.save(ADMIN, 'unknown', {})
