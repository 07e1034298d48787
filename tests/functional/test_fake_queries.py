"""Questions on instances and orders for them, over three levels, through CellsAPI."""

import datetime
import itertools
import json
import shutil
import uuid

import pytest
from oslo_db import exception as db_exc

from cells import context, dispatch, exceptions, messages, operations, paths, remote_errors
from cells import handlers as cells_handlers
from cells.compute import api as compute_api
from cells.db import (
    console_tokens,
    instance_actions,
    instance_migrations,
    instances,
    key_pairs,
)
from cells.db import journal as db_journal
from cells.drivers import fake
from cells.objects import keypair, migration
from cells.stats import Stats
from tests import deploy, fake_cells
from tests.conftest import open_directory

PARENTS = {'api': None, 'region': 'api', 'leaf': 'region', 'other': 'region'}
LEAF = 'api!region!leaf'
CTXT = context.RequestContext('u1', 'p1')
ADMIN = context.RequestContext('boss', 'admins', is_admin=True)
STRANGER = context.RequestContext('u2', 'p2')
MOMENT = datetime.datetime(2016, 3, 1, 12, 0, 0, 123456)
COUNT = itertools.count()
#: Not a text that names anything.
NO_TEXTS = [None, 5, '', ['x'], {'a': 1}, True, 'a\0b', '\ud800', 'x' * 300]


class Hosts:
    """The agents on the hosts of all cells."""

    def __init__(self) -> None:
        self.asked = []

    def call(self, ctxt, host, method, timeout=None, **kwargs):
        self.asked.append((host, method, kwargs))
        if host == 'away':
            raise exceptions.NotFound('No agent on host away')
        return kwargs['console_port'] in ('5900', 5900)

    def cast(self, ctxt, host, method, **kwargs):
        self.asked.append((host, method, kwargs))


HOSTS = Hosts()


@pytest.fixture(scope='module')
def tree():
    """A top, a region and two leaves; their hosts are ours."""
    original = cells_handlers.handlers
    workdir = open_directory()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            cells_handlers,
            'handlers',
            lambda database, state, hosts, *rest, **more: original(
                database, state, HOSTS, *rest, **more
            ),
        )
        found = fake_cells.FakeTree(workdir, PARENTS)
    with found.running():
        yield found
    shutil.rmtree(workdir, ignore_errors=True)


@pytest.fixture(scope='module')
def api(tree):
    return tree.api('api')


def make(tree, cell='leaf', metadata=None, **values):
    """Write an instance of the leaf into a cell and return its uuid."""
    values = {
        'uuid': str(uuid.uuid4()),
        'project_id': 'p1',
        'user_id': 'u1',
        'vm_state': 'active',
        'launched_at': MOMENT,
        'host': 'h1',
        'cell_name': LEAF,
        **values,
    }
    with tree[cell].database.write() as connection:
        instances.instance_create(connection, values, metadata)
    return values['uuid']


def load(tree, uuid, cell='leaf'):
    with tree[cell].database.read() as connection:
        return instances.instance_get(connection, uuid)


def write(tree, cell, function, *args):
    with tree[cell].database.write() as connection:
        return function(connection, *args)


# -- actions --


def test_actions_of_an_instance_come_from_its_cell(tree, api):
    instance = {'uuid': make(tree), 'cell_name': LEAF}
    values = {'instance_uuid': instance['uuid'], 'request_id': 'req-é', 'action': 'reboot'}
    first = write(tree, 'leaf', instance_actions.action_create, {**values, 'created_at': MOMENT})
    second = write(tree, 'leaf', instance_actions.action_create, {**values, 'request_id': 'req-2'})
    event = write(
        tree,
        'leaf',
        instance_actions.event_create,
        {'action_id': first, 'event': 'compute_reboot_instance', 'result': 'Success'},
    )
    found = api.actions_get(CTXT, instance)
    assert [row['id'] for row in found] == [second, first]
    assert found[1]['created_at'] == '2016-03-01T12:00:00.123456'
    assert api.action_get_by_request_id(CTXT, instance, 'req-é') == found[1]
    assert api.action_get_by_request_id(CTXT, instance, 'req-nosuch') is None
    events = api.action_events_get(CTXT, instance, first)
    assert [(row['id'], row['result']) for row in events] == [(event, 'Success')]
    assert api.action_events_get(CTXT, instance, second) == []
    # An object does as well.
    assert api.actions_get(CTXT, load(tree, instance['uuid'])) == found
    # What another cell has under this id is not meant.
    assert api.action_events_get(CTXT, {'uuid': 'x', 'cell_name': 'api!region'}, first) == []


def test_actions_of_an_unknown_instance_are_none(api):
    instance = {'uuid': str(uuid.uuid4()), 'cell_name': LEAF}
    assert api.actions_get(CTXT, instance) == []
    assert api.action_get_by_request_id(CTXT, instance, 'req') is None
    assert api.action_events_get(CTXT, instance, 10**9) == []


@pytest.mark.parametrize('cell_name', [None, ''])
def test_without_a_cell_nothing_is_asked(api, cell_name):
    instance = {'uuid': 'u', 'cell_name': cell_name}
    for ask in (
        lambda: api.actions_get(CTXT, instance),
        lambda: api.action_get_by_request_id(CTXT, instance, 'req'),
        lambda: api.action_events_get(CTXT, instance, 1),
    ):
        with pytest.raises(exceptions.InstanceUnknownCell) as caught:
            ask()
        assert caught.value.kwargs['instance_uuid'] == 'u'


@pytest.mark.parametrize(
    'cell_name', ['api!region!nosuch', 'other!leaf', 'leaf', 'a b', '!', 'é!漢', 'x' * 5000, 7]
)
def test_r14_a_cell_that_no_way_leads_to_is_told_as_that(api, caplog, cell_name):
    with pytest.raises(exceptions.CellRoutingInconsistency):
        api.actions_get(CTXT, {'uuid': 'u', 'cell_name': cell_name})
    with pytest.raises(exceptions.CellRoutingInconsistency):
        api.call_compute_api_method(CTXT, cell_name, 'lock', 'u')
    assert 'Traceback' not in caplog.text


@pytest.mark.parametrize('value', NO_TEXTS)
def test_r14_an_id_that_is_no_text_is_the_callers_error(tree, api, caplog, value):
    asks = [
        lambda: api.actions_get(CTXT, {'uuid': value, 'cell_name': LEAF}),
        lambda: api.action_get_by_request_id(CTXT, {'uuid': 'u', 'cell_name': LEAF}, value),
        lambda: api.get_keypair_at_top(CTXT, value, 'k'),
        lambda: api.get_keypair_at_top(CTXT, 'u', value),
        lambda: api.validate_console_port(CTXT, value, 5900, 'novnc'),
        lambda: api.validate_console_port(CTXT, 'u', 5900, value),
        lambda: api.call_compute_api_method(CTXT, LEAF, 'lock', value),
        lambda: api.get_migrations(CTXT, {'host': value if value is not None else 5}),
        lambda: api.get_migrations(CTXT, {'cell_name': value if value is not None else 5}),
    ]
    # A long path is one, that leads nowhere.
    wanted = (exceptions.Invalid, exceptions.CellRoutingInconsistency)
    for ask in asks:
        with pytest.raises(wanted):
            ask()
    if value == '\ud800':
        return  # it cannot be sent at all
    # The same from a neighbour that did not check.
    for operation, kwargs in (
        ('actions_get', {'instance_uuid': value}),
        ('action_get_by_request_id', {'instance_uuid': 'u', 'request_id': value}),
        ('validate_console_port', _console(instance_uuid=value)),
        ('validate_console_port', _console(console_type=value)),
    ):
        assert _asked(tree, operation, kwargs).failure.name == 'Invalid'
    assert 'Traceback' not in caplog.text


@pytest.mark.parametrize('value', [None, '5', 1.5, -1, 2**63, 10**30, True, [1], {}])
def test_r14_an_action_id_that_is_no_number_is_the_callers_error(tree, api, caplog, value):
    with pytest.raises(exceptions.Invalid, match='action_id'):
        api.action_events_get(CTXT, {'uuid': 'u', 'cell_name': LEAF}, value)
    assert _asked(tree, 'action_events_get', {'action_id': value}).failure.name == 'Invalid'
    assert 'Traceback' not in caplog.text


def _console(**values):
    return {'instance_uuid': 'u', 'console_port': 1, 'console_type': 'novnc', **values}


def _asked(tree, operation, kwargs):
    """Ask the leaf past the manager of the top."""
    return tree['api'].runner.call(CTXT, operation, paths.CellPath.parse(LEAF), kwargs)


# -- migrations --


def add_migration(tree, cell, **values):
    values = {'status': 'finished', 'source_compute': 'h1', **values}
    return write(tree, cell, instance_migrations.migration_create, values)


def test_migrations_come_from_all_cells_below_or_from_one(tree, api):
    status = 'status-%d' % next(COUNT)
    for cell in PARENTS:
        add_migration(tree, cell, status=status, dest_compute=cell)
    found = api.get_migrations(CTXT, {'status': status})
    assert isinstance(found, migration.MigrationList)
    assert sorted(one.dest_compute for one in found) == ['leaf', 'other', 'region']
    assert all(isinstance(one, migration.Migration) for one in found)
    found = api.get_migrations(CTXT, {'status': [status], 'cell_name': 'region!leaf'})
    assert [one.dest_compute for one in found] == ['leaf']
    found = api.get_migrations(CTXT, {'status': status, 'cell_name': 'region'})
    assert [one.dest_compute for one in found] == ['region']
    found = api.get_migrations(CTXT, {'status': status, 'host': 'other', 'hidden': 'False'})
    assert [one.dest_compute for one in found] == ['other']
    assert list(api.get_migrations(CTXT, {'status': status, 'hidden': True})) == []
    # Seen from the region its path is another one.
    found = tree.api('region').get_migrations(CTXT, {'status': status, 'cell_name': 'leaf'})
    assert [one.dest_compute for one in found] == ['leaf']


BAD_FILTERS = [
    (None, 'filters'),
    ('status', 'filters'),
    ([['status', 'x']], 'filters'),
    (5, 'filters'),
    ({'nosuch': 1}, 'nosuch'),
    ({'漢': 1}, 'no filter'),
    ({'status': 5}, 'status'),
    ({'status': {}}, 'status'),
    ({'status': ['x', None]}, 'status'),
    ({'hidden': 'perhaps'}, 'hidden'),
    ({'hidden': []}, 'hidden'),
    ({'instance_uuid': ['x']}, 'instance_uuid'),
    ({'changes-since': 'yesterday'}, 'changes-since'),
    ({'changes-since': 7}, 'changes-since'),
    ({'source_compute': 'a\0b'}, 'source_compute'),
]


@pytest.mark.parametrize(('filters', 'text'), BAD_FILTERS)
@pytest.mark.parametrize('cell_name', [None, 'region!leaf'])
def test_filters_that_cannot_be_used_are_the_callers_error(
    tree, api, caplog, filters, text, cell_name
):
    if isinstance(filters, dict) and cell_name:
        filters = {**filters, 'cell_name': cell_name}
    with pytest.raises(exceptions.Invalid, match=text):
        api.get_migrations(CTXT, filters)
    failure = _asked(tree, 'get_migrations', {'filters': filters}).failure
    assert failure.name == 'Invalid'
    assert text in failure.message
    assert 'Traceback' not in caplog.text


def test_a_cell_that_is_not_there_has_no_migrations_but_an_error(api):
    for cell_name in ('nosuch', 'region!nosuch', 'api!region'):
        with pytest.raises(exceptions.CellRoutingInconsistency):
            api.get_migrations(CTXT, {'cell_name': cell_name})


@pytest.mark.needs_extensions('a plain parent is not told of failures in a listing')
def test_t3_a_failing_cell_costs_a_listing_only_its_own_answer(tree, api, monkeypatch):
    status = 'status-%d' % next(COUNT)
    for cell in ('leaf', 'other'):
        add_migration(tree, cell, status=status, dest_compute=cell)
    monkeypatch.setattr(tree['leaf'].database, 'read', _broken)
    found = api.get_migrations(CTXT, {'status': status})
    assert [one.dest_compute for one in found] == ['other']
    answer = tree.ops('api').query(CTXT, 'get_migrations', {'filters': {'status': status}})
    assert [one['cell'] for one in answer['missing']] == [LEAF]
    # Asked alone, it raises what it has: nova failed with a TypeError here.
    with pytest.raises(remote_errors.RemoteFailure, match='a broken handler'):
        api.get_migrations(CTXT, {'status': status, 'cell_name': 'region!leaf'})


def _broken():
    raise RuntimeError('a broken handler')


def _away():
    raise db_exc.DBConnectionError


# -- key pairs --


def add_key_pair(tree, name, cell='api'):
    values = {'user_id': 'u1', 'name': name, 'public_key': 'ssh-rsa ' + cell}
    write(tree, cell, key_pairs.key_pair_create, values)


@pytest.mark.parametrize('cell', PARENTS)
def test_a_key_pair_comes_from_the_top(tree, cell):
    name = 'clé-%d' % next(COUNT)
    for other in PARENTS:
        add_key_pair(tree, name, other)
    found = tree.api(cell).get_keypair_at_top(CTXT, 'u1', name)
    assert isinstance(found, keypair.KeyPair)
    assert (found.name, found.public_key) == (name, 'ssh-rsa api')
    with pytest.raises(exceptions.KeypairNotFound) as caught:
        tree.api(cell).get_keypair_at_top(CTXT, 'u2', name)
    assert (caught.value.kwargs['user_id'], caught.value.kwargs['name']) == ('u2', name)


@pytest.mark.parametrize(
    ('read', 'error'),
    [(_away, exceptions.DatabaseUnavailable), (_broken, remote_errors.RemoteFailure)],
)
def test_t9_a_failure_at_the_top_is_an_error_and_never_a_key_pair(tree, monkeypatch, read, error):
    name = 'k-%d' % next(COUNT)
    add_key_pair(tree, name)
    monkeypatch.setattr(tree['api'].database, 'read', read)
    for cell in ('leaf', 'region', 'api'):
        with pytest.raises(error):
            tree.api(cell).get_keypair_at_top(CTXT, 'u1', name)
    monkeypatch.undo()
    assert tree.api('leaf').get_keypair_at_top(CTXT, 'u1', name).name == name


def test_t9_a_silent_top_is_an_error_and_never_a_missing_key_pair(tree):
    fake.hold(fake_cells.address(tree.workdir, 'api'))
    try:
        with pytest.raises(exceptions.CellTimeout):
            tree.api('leaf').get_keypair_at_top(CTXT, 'u1', 'k')
    finally:
        fake.hold(fake_cells.address(tree.workdir, 'api'), False)


# -- consoles --


def test_a_console_port_is_checked_by_the_host_of_the_instance(tree, api):
    uuid = make(tree)
    make(tree, 'api', uuid=uuid, host=None)
    for port, good in (('5900', True), (5900, True), (5901, False)):
        assert api.validate_console_port(CTXT, uuid, port, 'novnc') is good
        assert HOSTS.asked[-1] == (
            'h1',
            'validate_console_port',
            {'instance_uuid': uuid, 'console_port': port, 'console_type': 'novnc'},
        )


@pytest.mark.parametrize('port', [None, '', 'abc', '-1', 0, 65536, 1.5, '9' * 5000, '٣', [], True])
def test_a_console_port_that_is_none_is_the_callers_error(tree, api, port):
    uuid = make(tree)
    make(tree, 'api', uuid=uuid)
    with pytest.raises(exceptions.Invalid, match='console_port'):
        api.validate_console_port(CTXT, uuid, port, 'novnc')


def test_a_console_needs_an_instance_a_cell_and_a_host(tree, api):
    with pytest.raises(exceptions.InstanceNotFound):
        api.validate_console_port(CTXT, str(uuid.uuid4()), 5900, 'novnc')
    unknown = make(tree, 'api', cell_name=None)
    with pytest.raises(exceptions.InstanceUnknownCell):
        api.validate_console_port(CTXT, unknown, 5900, 'novnc')
    hostless = make(tree, host=None)
    make(tree, 'api', uuid=hostless)
    with pytest.raises(exceptions.InstanceNotReady):
        api.validate_console_port(CTXT, hostless, 5900, 'novnc')
    away = make(tree, host='away')
    make(tree, 'api', uuid=away)
    with pytest.raises(exceptions.NotFound, match='No agent'):
        api.validate_console_port(CTXT, away, 5900, 'novnc')


def test_s4_an_instance_that_its_cell_does_not_have_stays_at_the_top(tree, api):
    lost = make(tree, 'api')
    with pytest.raises(exceptions.InstanceNotFound) as caught:
        api.validate_console_port(CTXT, lost, 5900, 'novnc')
    assert caught.value.kwargs['instance_id'] == lost
    with pytest.raises(exceptions.InstanceNotFound):
        api.call_compute_api_method(CTXT, LEAF, 'lock', lost)
    api.cast_compute_api_method(CTXT, LEAF, 'lock', lost)
    deploy.wait_until(
        lambda: db_journal.counts(tree['leaf'].database).get('inbox.failed'), 10, 'it failed'
    )
    assert load(tree, lost, 'api').deleted is False


def test_a_database_that_is_away_is_told_as_that(tree, api, monkeypatch):
    monkeypatch.setattr(tree['api'].database, 'read', _away)
    with pytest.raises(exceptions.DatabaseUnavailable):
        api.validate_console_port(CTXT, 'u', 5900, 'novnc')


@pytest.mark.parametrize('cell', ['leaf', 'api'])
def test_x5_the_tokens_of_an_instance_are_deleted_at_the_top_alone(tree, cell):
    uuids = [make(tree, 'api'), make(tree, 'api')]
    for name in PARENTS:
        for one in uuids:
            token = (one + name, one, 'novnc', 'h1', 5900, 600.0)
            write(tree, name, console_tokens.token_create, *token)
    tree.api(cell).consoleauth_delete_tokens(CTXT, uuids[0])
    top = tree['api'].database
    deploy.wait_until(
        lambda: console_tokens.token_get(top, uuids[0] + 'api') is None, 10, 'it is gone'
    )
    assert console_tokens.token_get(top, uuids[1] + 'api') is not None
    for name in ('region', 'leaf'):
        assert console_tokens.token_get(tree[name].database, uuids[0] + name) is not None


# -- what is done with instances --


def test_an_instance_is_locked_and_unlocked_three_levels_down(tree, api):
    uuid = make(tree)
    assert api.call_compute_api_method(CTXT, LEAF, 'lock', uuid) is None
    found = load(tree, uuid)
    assert (found.locked, found.locked_by) == (True, 'owner')
    api.call_compute_api_method(CTXT, LEAF, 'unlock', uuid)
    found = load(tree, uuid)
    assert (found.locked, found.locked_by) == (False, None)
    api.cast_compute_api_method(ADMIN, LEAF, 'lock', uuid)
    deploy.wait_until(lambda: load(tree, uuid).locked_by == 'admin', 10, 'it is locked')


def test_metadata_is_read_and_changed_three_levels_down(tree, api):
    uuid = make(tree, metadata={'a': '1'})
    call = api.call_compute_api_method
    assert call(CTXT, LEAF, 'get_instance_metadata', uuid) == {'a': '1'}
    assert call(CTXT, LEAF, 'update_instance_metadata', uuid, {'é': '😀'}) == {'a': '1', 'é': '😀'}
    assert call(CTXT, LEAF, 'delete_instance_metadata', uuid, 'a') is None
    assert call(CTXT, LEAF, 'delete_instance_metadata', uuid, key='nosuch') is None
    assert call(CTXT, LEAF, 'update_instance_metadata', uuid, {'b': '2'}, delete=True) == {'b': '2'}
    assert load(tree, uuid).metadata == {'b': '2'}
    api.cast_compute_api_method(CTXT, LEAF, 'update_instance_metadata', uuid, {'c': '3'})
    deploy.wait_until(lambda: 'c' in load(tree, uuid).metadata, 10, 'it has come')


#: What parents of some release send and this cell does not do, and what must never be called.
UNSUPPORTED = [
    *compute_api.REFUSED,
    '__class__',
    'run',
    'METHODS',
    'db_instances',
    'start',
    'terminate_instance',
    'nosuch',
    'é',
]


@pytest.mark.parametrize('method', UNSUPPORTED)
def test_o1_an_unsupported_method_is_refused_before_anything_changes(tree, api, caplog, method):
    uuid = make(tree, metadata={'a': '1'})
    before = dict(load(tree, uuid).items())
    with pytest.raises(exceptions.CellServiceAPIMethodNotFound) as caught:
        api.call_compute_api_method(CTXT, LEAF, method, uuid, 'some', argument=1)
    reason = compute_api.REFUSED.get(method, 'update_instance_metadata')
    assert reason in str(caught.value)
    assert dict(load(tree, uuid).items()) == before
    assert 'Traceback' not in caplog.text


@pytest.mark.parametrize('method', compute_api.METHODS)
def test_a_method_with_arguments_that_it_does_not_take_is_the_callers_error(
    tree, api, caplog, method
):
    uuid = make(tree, metadata={'a': '1'})
    before = dict(load(tree, uuid).items())
    with pytest.raises(exceptions.Invalid, match='nonsense|too many'):
        api.call_compute_api_method(CTXT, LEAF, method, uuid, *['x'] * 9, nonsense=1)
    assert dict(load(tree, uuid).items()) == before
    assert 'Traceback' not in caplog.text


BAD_INFOS = [
    ({'method': 'lock', 'method_args': [], 'method_kwargs': {}}, 'names no instance'),
    ({'method': 'lock', 'method_args': None, 'method_kwargs': {}}, 'method_args'),
    ({'method': 'lock', 'method_args': 'uuid', 'method_kwargs': {}}, 'method_args'),
    ({'method': 'lock', 'method_args': ['u'], 'method_kwargs': []}, 'method_kwargs'),
    ({'method': 'lock', 'method_args': [['u']]}, 'uuid of the instance'),
    ({'method': 'lock', 'method_args': ['u', 'more']}, 'too many'),
    ({'method': 'lock', 'method_args': ['u'], 'method_kwargs': {'connection': 1}}, 'connection'),
    ({'method': 'update_instance_metadata', 'method_args': ['u']}, 'metadata'),
    ({'method': 'update_instance_metadata', 'method_args': ['u', 'x']}, 'metadata'),
    ({'method': 'update_instance_metadata', 'method_args': ['u', {'k': 5}]}, 'metadata'),
    ({'method': 'update_instance_metadata', 'method_args': ['u', {'': 'v'}]}, 'key'),
    ({'method': 'update_instance_metadata', 'method_args': ['u', {'k': 'v' * 256}]}, '255'),
    ({'method': 'update_instance_metadata', 'method_args': ['u', {'k' * 256: 'v'}]}, '255'),
    ({'method': 'update_instance_metadata', 'method_args': ['u', {'k': 'a\0'}]}, 'stored'),
    ({'method': 'update_instance_metadata', 'method_args': ['u', {}, 'yes']}, 'delete'),
    (
        {
            'method': 'update_instance_metadata',
            'method_args': ['u', dict.fromkeys(map(str, range(2000)), 'v')],
        },
        '2000',
    ),
    ({'method': 'delete_instance_metadata', 'method_args': ['u', None]}, 'key'),
    ({'method': 'delete_instance_metadata', 'method_args': ['u', {'a': 1}]}, 'key'),
    ('lock', 'method_info'),
    (None, 'method_info'),
]


@pytest.mark.parametrize(('info', 'text'), BAD_INFOS)
def test_arguments_that_do_not_fit_are_refused_before_anything_changes(tree, caplog, info, text):
    uuid = make(tree, metadata={'a': '1'})
    if isinstance(info, dict) and isinstance(info['method_args'], list):
        info = {**info, 'method_args': [uuid if one == 'u' else one for one in info['method_args']]}
    before = dict(load(tree, uuid).items())
    failure = _asked(tree, 'run_compute_api_method', {'method_info': info}).failure
    assert failure.name == 'Invalid'
    assert text in failure.message
    assert dict(load(tree, uuid).items()) == before
    assert 'Traceback' not in caplog.text


def test_who_may_not_is_refused(tree, api):
    uuid = make(tree, metadata={'a': '1'})
    call = api.call_compute_api_method
    for method, args in (
        ('lock', ()),
        ('unlock', ()),
        ('get_instance_metadata', ()),
        ('update_instance_metadata', ({'a': '2'},)),
        ('delete_instance_metadata', ('a',)),
    ):
        with pytest.raises(exceptions.PolicyNotAuthorized) as caught:
            call(STRANGER, LEAF, method, uuid, *args)
        assert caught.value.kwargs['action'] == 'compute:' + method
    call(ADMIN, LEAF, 'lock', uuid)
    call(CTXT, LEAF, 'lock', uuid)
    assert load(tree, uuid).locked_by == 'admin'
    with pytest.raises(exceptions.PolicyNotAuthorized, match='unlock_override'):
        call(CTXT, LEAF, 'unlock', uuid)
    assert load(tree, uuid).locked is True
    assert load(tree, uuid).metadata == {'a': '1'}
    call(ADMIN, LEAF, 'unlock', uuid)
    assert load(tree, uuid).locked is False


def test_a_locked_instance_and_one_in_the_wrong_state_are_left_alone(tree, api):
    call = api.call_compute_api_method
    locked = make(tree, locked=True, locked_by='owner')
    with pytest.raises(exceptions.InstanceIsLocked):
        call(CTXT, LEAF, 'update_instance_metadata', locked, {'a': '1'})
    assert call(ADMIN, LEAF, 'update_instance_metadata', locked, {'a': '1'}) == {'a': '1'}
    with pytest.raises(exceptions.InstanceIsLocked):
        call(CTXT, LEAF, 'delete_instance_metadata', locked, 'a')
    wrong = make(tree, vm_state='error')
    with pytest.raises(exceptions.InstanceInvalidState) as caught:
        call(CTXT, LEAF, 'update_instance_metadata', wrong, {'a': '1'})
    assert {
        name: caught.value.kwargs[name] for name in ('attr', 'instance_uuid', 'state', 'method')
    } == {
        'attr': 'vm_state',
        'instance_uuid': wrong,
        'state': 'error',
        'method': 'update_instance_metadata',
    }
    new = make(tree, launched_at=None)
    with pytest.raises(exceptions.InstanceInvalidState) as caught:
        call(CTXT, LEAF, 'delete_instance_metadata', new, 'a')
    assert caught.value.kwargs['attr'] == 'launched_at'
    assert load(tree, locked).metadata == {'a': '1'}


# -- what comes twice, and what may not come --


class Arrived:
    """A message as a driver hands it over."""

    deliveries = 0

    def __init__(self, text):
        self.text = text
        self.settled = False

    def settle(self):
        self.settled = True


def envelope(info, **values):
    """Return an order for the leaf as it comes from the region."""
    return {
        'message_type': 'targeted',
        'ctxt': CTXT.to_dict(),
        'method_name': 'run_compute_api_method',
        'method_kwargs': {'method_info': info},
        'direction': 'down',
        'uuid': str(uuid.uuid4()),
        'routing_path': 'api!region',
        'hop_count': 2,
        'target_cell': LEAF,
        'need_response': False,
        **values,
    }


def update(uuid, **metadata):
    return {'method': 'update_instance_metadata', 'method_args': [uuid, metadata]}


def test_r3_an_order_that_comes_twice_is_done_once_and_gets_the_same_answer(tree):
    leaf = tree['leaf']
    uuid = make(tree)
    dispatcher = dispatch.Dispatcher(
        handlers=cells_handlers.handlers(
            leaf.database,
            leaf.state,
            HOSTS,
            stats=Stats(),
            order=leaf.runner.change_within,
            summary=leaf.status.summary,
        ),
        database=leaf.database,
        own_name='leaf',
        object_release='liberty',
        stats=Stats(),
    )
    message = messages.TargetedMessage(
        ctxt=CTXT.to_dict(),
        method_name='run_compute_api_method',
        method_kwargs={'method_info': update(uuid, a='1')},
        direction=operations.Direction.DOWN,
        routing_path=paths.CellPath.parse(LEAF),
        uuid='once-%s' % uuid,
        need_response=True,
        target_cell=paths.CellPath.parse(LEAF),
    )
    first = dispatcher.answer(message)
    assert first.value == {'a': '1'}
    tree.api('api').call_compute_api_method(CTXT, LEAF, 'delete_instance_metadata', uuid, 'a')
    second = dispatcher.answer(message)
    assert second.value == first.value
    assert load(tree, uuid).metadata == {}


def test_r3_an_order_without_an_answer_that_comes_twice_is_done_once(tree):
    uuid = make(tree)
    text = json.dumps(envelope(update(uuid, a='1')))
    tree['leaf'].runner.receive(Arrived(text))
    deploy.wait_until(lambda: load(tree, uuid).metadata == {'a': '1'}, 10, 'it is done')
    tree.api('api').call_compute_api_method(CTXT, LEAF, 'delete_instance_metadata', uuid, 'a')
    copies = [Arrived(text), Arrived(text)]
    for one in copies:
        tree['leaf'].runner.receive(one)
    deploy.wait_until(lambda: all(one.settled for one in copies), 10, 'they are settled')
    marker = json.dumps(envelope(update(uuid, b='2')))
    tree['leaf'].runner.receive(Arrived(marker))
    deploy.wait_until(lambda: 'b' in load(tree, uuid).metadata, 10, 'the next one is done')
    assert load(tree, uuid).metadata == {'b': '2'}


@pytest.mark.parametrize(
    'values',
    [
        {'direction': 'up', 'routing_path': 'leaf', 'hop_count': 1, 'target_cell': 'leaf!region'},
        {'routing_path': 'api!leaf', 'hop_count': 2, 'target_cell': 'api!leaf!region'},
        {'routing_path': 'leaf', 'hop_count': 1, 'target_cell': 'leaf!region'},
        {'message_type': 'broadcast'},
    ],
    ids=['upwards', 'down from a child', 'child as source', 'to all'],
)
def test_x2_an_order_that_does_not_come_from_above_is_refused(tree, values):
    uuid = make(tree, 'region')
    forged = {**CTXT.to_dict(), 'is_admin': True, 'roles': ['admin']}
    refused = tree['region'].stats.get('messages_refused', reason='CellRoutingInconsistency')
    base = {'routing_path': 'api', 'hop_count': 1, 'target_cell': 'api!region', 'ctxt': forged}
    for wants_answer in (False, True):
        order = envelope(update(uuid, a='1'), **{**base, 'need_response': wants_answer, **values})
        arrived = Arrived(json.dumps(order))
        tree['region'].runner.receive(arrived)
        assert arrived.settled
    assert (
        tree['region'].stats.get('messages_refused', reason='CellRoutingInconsistency')
        == refused + 2
    )
    assert load(tree, uuid, 'region').metadata == {}


def test_x2_an_administrator_from_below_is_none(tree):
    # What goes up is believed for what it is about, not for the rights of who asks.
    message = messages.BroadcastMessage(
        ctxt={**CTXT.to_dict(), 'is_admin': True, 'roles': ['admin']},
        method_name='get_keypair_at_top',
        method_kwargs={'user_id': 'u1', 'name': 'k'},
        direction=operations.Direction.UP,
        routing_path=paths.CellPath.parse('leaf!region!api'),
        uuid='u',
    )
    ctxt = dispatch.context_of(message)
    assert ctxt.is_admin is False
    assert ctxt.roles == []
