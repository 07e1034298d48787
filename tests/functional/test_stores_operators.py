"""What operators ask of a cell's database, on each kind of it."""

import datetime
import time

import orjson
import pytest
import sqlalchemy as sa

from cells import neighbour_sources, paths, scheduler, sightings, state
from cells.db import (
    drift,
    faults,
    histories,
    host_operations,
    inbox,
    instance_actions,
    instance_listing,
    instances,
    instances_shown,
    journal,
    models,
    placements,
    sync_requests,
)
from cells.handlers import compare, operators

ONE = '11111111-1111-4111-8111-111111111111'
TWO = '22222222-2222-4222-8222-222222222222'
REQUEST = 'req-1'
OLD = datetime.datetime(2016, 1, 1)


@pytest.fixture
def ask(database):
    alone = state.CellStateManager(
        place=state.Place('alone', standalone=True),
        source=neighbour_sources.TableSource(database),
        seen=sightings.Sightings(database=database, mute_interval=300),
        database=database,
        check_interval=60,
    )
    return operators.OperatorHandlers(database, alone)


def create(database, uuid=ONE, **values):
    with database.write() as connection:
        instances.instance_create(connection, {'uuid': uuid, 'vm_state': 'active', **values})


def test_a_request_is_traced_through_every_table(database, ask):
    create(database)
    with database.write() as connection:
        inbox.inbox_accept(
            connection,
            [
                ('m1', 'build_instances', 'text', ONE, '1', REQUEST),
                ('m2', 'build_instances', 'text', TWO, '1', 'req-other'),
            ],
        )
        journal.outbox_add(connection, [('m3', 'leaf', 'targeted', 'text', ONE, REQUEST)])
        for uuid, request in ((ONE, 'm1'), (TWO, 'm2')):
            attempt = {'instance_uuid': uuid, 'attempt': 1, 'request_uuid': request}
            placements.attempts_add(connection, [attempt])
        action = instance_actions.action_create(
            connection,
            {
                'instance_uuid': ONE,
                'action': 'create',
                'request_id': REQUEST,
                'start_time': models.utcnow(),
            },
        )
        instance_actions.event_create(
            connection,
            {'action_id': action, 'event': 'compute_x', 'result': 'Error', 'traceback': 'why'},
        )
        for op_id, request in (('op1', REQUEST), ('op2', 'req-other')):
            op = {
                'op_id': op_id,
                'instance_uuid': ONE,
                'host': 'h1',
                'method': 'build',
                'args': {'admin_password': 'geheim'},
                'instance': {},
                'notes': {},
                'ctxt': {'request_id': request},
            }
            host_operations.op_add(connection, op, 60)
        sync_requests.sync_request_create(connection, 's1', None, None, False, 'top', REQUEST)
        journal.dead_add(
            connection, [('', 'x', 'a client', '{"request_id": "%s"}' % REQUEST, 'too often')]
        )
        faults.fault_create(connection, ONE, 'it went wrong', code=503)
        faults.fault_create(connection, TWO, 'of another')
    found = ask.x_request(None, REQUEST)
    kinds = sorted((one['kind'], one['what']) for one in found)
    assert kinds == [
        ('action', 'create'),
        ('dead', 'x'),
        ('fault', 'code 503'),
        ('host', 'build on h1'),
        ('journal', 'build_instances'),
        ('outbox', 'to cell leaf'),
        ('placement', 'attempt 1 in cell (none yet)'),
        ('step', 'compute_x'),
        ('sync', 'sync_instances'),
    ]
    assert [one['at'] for one in found] == sorted(one['at'] for one in found)
    assert all(abs(one['at'] - time.time()) < 60 for one in found)
    assert 'geheim' not in orjson.dumps(found).decode()
    assert ask.x_request(None, 'req-none') == []


def test_a_fault_long_after_a_request_is_none_of_it(database):
    create(database)
    with database.write() as connection:
        inbox.inbox_accept(connection, [('m1', 'reboot_instance', 'text', ONE, '1', REQUEST)])
        faults.fault_create(connection, ONE, 'late')
        connection.execute(sa.update(models.Inbox).values(received_at=time.time() - 100))
    with database.read() as connection:
        assert {one.kind for one in histories.traces(connection, REQUEST)} == {'journal'}


def test_attempts_are_told_with_what_they_were_chosen_by(database, ask):
    explanation = scheduler.Explanation(
        (scheduler.Weighed('a', 10.0, {'ram': 7.0}),), {'b': ('capacity', 'no room')}, (1, 1)
    )
    with database.write() as connection:
        attempt = {'instance_uuid': ONE, 'attempt': 1, 'request_uuid': 'm1'}
        placements.attempts_add(connection, [attempt])
        [row] = placements.attempts_due(connection, [placements.WAITING], 1)
        text = orjson.dumps(explanation).decode()
        placements.attempts_place(connection, [(row['id'], 'a', None, 60.0, text)])
    [found] = ask.x_placements(None, ONE)
    assert (found['cell'], found['state']) == ('a', placements.PLACED)
    assert found['choice']['weighed'] == [{'cell': 'a', 'weight': 10.0, 'parts': {'ram': 7.0}}]
    assert found['choice']['refused'] == {'b': ['capacity', 'no room']}


def test_drift_is_told_in_numbers(database, ask):
    create(database, cell_name='top!a')
    create(database, TWO, cell_name='top!a')
    with database.write() as connection:
        connection.execute(
            sa.update(models.Instance).where(models.Instance.uuid == TWO).values(inconsistent='x')
        )
        assert drift.records_by_cell(connection) == {'top!a': (2, 1)}
        assert drift.inconsistent(connection, 10) == [(TWO, 'top!a', 'x')]
    found = ask.x_drift(None)
    assert (found['instances'], found['round'], found['waiting']['rows']) == (2, None, 0)


def test_pages_of_contents_name_what_is_on_its_way(database, ask, monkeypatch):
    monkeypatch.setattr(operators, 'PAGE', 1)
    create(database)
    create(database, TWO)
    first = ask.x_instance_contents(None)
    assert (first['items'], first['unsettled'], first['until']) == ([], [ONE], ONE)
    with database.write() as connection:
        connection.execute(sa.update(models.Instance).values(created_at=OLD, updated_at=OLD))
    first = ask.x_instance_contents(None)
    assert [item[0] for item in first['items']] == [ONE]
    second = ask.x_instance_contents(None, after=first['until'])
    assert [item[0] for item in second['items']] == [TWO]
    assert ask.x_instance_contents(None, after=second['until'])['until'] is None


def test_records_are_compared_without_changing_any(database):
    route = paths.CellPath.parse('top!a')
    create(database, cell_name='top!a')
    create(database, TWO, cell_name='top!b')
    three = ONE.replace('1', '3')
    with database.read() as connection:
        given = dict.fromkeys((ONE, TWO, three), ('digest', frozenset()))
        found, mended = compare.differences(connection, paths.Aliases(), route, given)
        assert (found['differ'], found['refused'], found['missing']) == ([ONE], [TWO], [three])
        assert mended == []
        assert compare.extra(connection, paths.Aliases(), route, None, None, []) == [ONE]
        assert compare.extra(connection, paths.Aliases(), route, None, None, [ONE]) == []


def test_what_is_under_way_with_an_instance_is_counted(database):
    create(database)
    with database.write() as connection:
        inbox.inbox_accept(connection, [('m1', 'reboot_instance', 'text', ONE, '1')])
        journal.outbox_add(connection, [('m2', 'leaf', 'targeted', 'text', ONE)])
    with database.read() as connection:
        found = instances_shown.under_way(connection, ONE)
        assert found == (0, 1, ('leaf',), ())
        assert instances_shown.columns_of(connection, ONE, ('uuid',)) == {'uuid': ONE}
        assert instances_shown.columns_of(connection, TWO, ('uuid',)) is None


def test_records_that_do_not_fit_are_listed(database):
    create(database)
    create(database, TWO)
    with database.write() as connection:
        connection.execute(
            sa.update(models.Instance).where(models.Instance.uuid == TWO).values(inconsistent='x')
        )
        odd = instance_listing.Filters(inconsistent=True)
        found = instance_listing.row_get_page(connection, ('uuid',), odd, 10)
    assert found == [{'uuid': TWO}]


def test_how_far_an_order_to_sync_is(database, ask):
    create(database)
    assert ask.x_sync_progress(None, REQUEST) is None
    with database.write() as connection:
        sync_requests.sync_request_create(connection, 's1', None, None, False, 'top', REQUEST)
        sync_requests.sync_request_progress(connection, 's1', ONE, 1, 0)
    assert ask.x_sync_progress(None, REQUEST) == {
        'state': 'open',
        'looked_at': 1,
        'repaired': 0,
        'total': 1,
    }
