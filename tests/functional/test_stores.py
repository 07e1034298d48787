"""The database and the queries on it, on each kind of database."""

import concurrent.futures
import contextlib
import datetime
import subprocess
import sys
import threading
import time
import urllib.parse

import pytest
import sqlalchemy as sa
from oslo_config import cfg
from oslo_messaging import transport as messaging_transport

from cells import exceptions, state
from cells.db import engine, models, neighbours, services, sync_requests, task_log

BEGINNING = datetime.datetime(2016, 3, 1, 0, 0, 0, 123456)
ENDING = datetime.datetime(2016, 4, 1)
PRINTABLE = ''.join(map(chr, range(0x20, 0x7F)))
#: Characters of one, two, three and four bytes in UTF-8.
UNICODE = 'aé漢😀'


def add_task_log(database, **values):
    """Write a log of the task and period that the tests ask for."""
    task_log.task_log_begin(
        database,
        **{
            'task_name': 'audit',
            'state': 'RUNNING',
            'host': 'h1',
            'period_beginning': BEGINNING,
            'period_ending': ENDING,
            'message': 'begun',
            **values,
        },
    )


def set_values(database, model, **values):
    """Write values into all rows of a table."""
    with database.write() as connection:
        connection.execute(sa.update(model).values(**values))


def in_parallel(number, function):
    """Call ``function(0..number - 1)`` at the same moment; raise what one of them raises."""
    barrier = threading.Barrier(number)

    def run(index):
        barrier.wait(10)
        return function(index)

    with concurrent.futures.ThreadPoolExecutor(number) as pool:
        return list(pool.map(run, range(number)))


# -- the engine --


def test_the_clock_of_the_database_is_that_of_this_machine(database):
    before = time.time()
    with database.read() as connection:
        first = connection.execute(sa.select(engine.now())).scalar_one()
        time.sleep(0.05)
        second = connection.execute(sa.select(engine.now())).scalar_one()
    assert type(first) is float
    assert before - 0.1 <= first <= time.time() + 0.1
    assert 0.03 <= second - first <= time.time() - before + 0.1


def test_the_clock_goes_on_within_a_transaction(database):
    with database.write() as connection:
        first = connection.execute(sa.select(engine.now())).scalar_one()
        time.sleep(0.05)
        second = connection.execute(sa.select(engine.now())).scalar_one()
    assert second - first >= 0.03


def test_a_stored_time_is_the_clock_to_the_millisecond(database):
    while not 0.01 < time.time() % 1 < 0.9:  # a full second looks like one without milliseconds
        time.sleep(0.01)
    before = time.time()
    with database.write() as connection:
        sync_requests.sync_request_create(connection, 'u1', None, None, False, 'top', None)
    [row] = sync_requests.sync_request_get_all(database)
    assert type(row['requested_at']) is float
    assert before - 0.1 <= row['requested_at'] <= time.time() + 0.1
    assert row['requested_at'] % 1 != 0


def test_a_transaction_whose_block_raises_leaves_nothing(database):
    def fail_half_way():
        with database.write() as connection:
            sync_requests.sync_request_create(connection, 'u1', None, None, False, 'top', None)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert sync_requests.sync_request_count(database) == 0


def test_a_transaction_that_is_not_over_is_seen_by_nobody(database):
    with database.write() as connection:
        sync_requests.sync_request_create(connection, 'u1', None, None, False, 'top', None)
        assert sync_requests.sync_request_count(database) == 0
    assert sync_requests.sync_request_count(database) == 1


def test_many_threads_read_beside_a_writer(database):
    def work(index):
        if index == 0:
            for number in range(20):
                services.service_report(database, 'h%d' % number, 'nova-cells', 'cells')
            return True
        sizes = [len(services.service_get_all(database)) for _ in range(20)]
        return sizes == sorted(sizes)

    assert all(in_parallel(8, work))
    assert len(services.service_get_all(database)) == 20


def test_a_disposed_database_can_be_used_again(database):
    database.dispose()
    database.dispose()
    assert sync_requests.sync_request_count(database) == 0


@pytest.mark.parametrize(
    'statement',
    [
        pytest.param('SELECT x FROM no_such_table', id='missing table'),
        pytest.param('SELECT no_such_column FROM services', id='missing column'),
        pytest.param('SELEKT 1', id='syntax'),
        pytest.param("INSERT INTO sync_requests (uuid) VALUES ('u1')", id='missing value'),
    ],
)
def test_a_statement_that_is_wrong_is_not_taken_for_a_database_that_is_away(database, statement):
    with pytest.raises(engine.ERRORS) as caught, database.write() as connection:
        connection.execute(sa.text(statement))
    assert not engine.is_transient(caught.value)


def test_a_database_that_is_away_is_told_from_a_statement_that_is_wrong(postgresql):
    database = engine.Database(postgresql.create_database('away'))
    assert database.dialect == 'postgresql'
    with database.read() as connection:
        connection.execute(sa.text('SELECT 1'))
    postgresql.stop()
    try:
        for access in (database.read, database.write):
            with pytest.raises(engine.ERRORS) as caught, access() as connection:
                connection.execute(sa.text('SELECT 1'))
            assert engine.is_transient(caught.value)
    finally:
        postgresql.start()
    with database.read() as connection:
        assert connection.execute(sa.text('SELECT 1')).scalar_one() == 1
    database.dispose()


WRITER = """
import sys
import time
import sqlalchemy as sa
from cells.db import engine, sync_requests

database = engine.Database(sys.argv[1])
print('ready', flush=True)
sys.stdin.readline()
for number in range(100):
    with database.write() as connection:
        connection.execute(sa.text('SELECT count(*) FROM sync_requests')).scalar_one()
        sync_requests.sync_request_create(
            connection, '%s-%d' % (sys.argv[2], number), None, None, False, 'top', None
        )
        time.sleep(0.001)
    time.sleep(0.002)
"""


@pytest.mark.parametrize('database', ['sqlite'], indirect=True)
def test_two_processes_write_to_one_sqlite_database_at_the_same_time(database):
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, '-W', 'ignore', '-c', WRITER, database.url, name],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for name in ('a', 'b')
        ]
        for writer in writers:
            assert writer.stdout.readline() == 'ready\n'
        for writer in writers:
            writer.stdin.write('go\n')
            writer.stdin.flush()
        errors = [writer.communicate(timeout=60)[1] for writer in writers]
    assert errors == ['', '']
    assert [writer.returncode for writer in writers] == [0, 0]
    names = [row['uuid'][0] for row in sync_requests.sync_request_get_all(database)]
    assert sorted(names) == ['a'] * 100 + ['b'] * 100
    # By turns: neither of them had to wait until the other had ended.
    turns = sum(one != other for one, other in zip(names, names[1:], strict=False))
    assert turns > 1


@pytest.mark.parametrize('database', ['sqlite'], indirect=True)
def test_readers_of_sqlite_do_not_wait_for_a_writer(database):
    with database.write() as connection:
        sync_requests.sync_request_create(connection, 'u1', None, None, False, 'top', None)
        begun = time.monotonic()
        assert sync_requests.sync_request_count(database) == 0
        assert time.monotonic() - begun < 4  # SQLITE_BUSY_SECONDS is longer


# -- task logs --


def test_a_task_log_comes_back_in_the_plain_form_of_the_contract(database):
    add_task_log(database, message='begun ' + UNICODE, task_items=3, errors=1)
    [found] = task_log.task_log_get_all(database, 'audit', BEGINNING, ENDING)
    created_at = found.pop('created_at')
    assert abs(datetime.datetime.fromisoformat(created_at) - models.utcnow()).total_seconds() < 10
    assert found.pop('id') > 0
    assert found == {
        'task_name': 'audit',
        'state': 'RUNNING',
        'host': 'h1',
        'period_beginning': '2016-03-01T00:00:00.123456',
        'period_ending': '2016-04-01T00:00:00.000000',
        'message': 'begun ' + UNICODE,
        'task_items': 3,
        'errors': 1,
        'updated_at': None,
        'deleted_at': None,
        'deleted': 0,
    }


@pytest.mark.parametrize(
    ('asked', 'hosts'),
    [
        pytest.param({}, ['h1', 'h2', 'h3'], id='all'),
        pytest.param({'host': 'h2'}, ['h2'], id='of a host'),
        pytest.param({'state': 'DONE'}, ['h2', 'h3'], id='in a state'),
        pytest.param({'host': 'h3', 'state': 'DONE'}, ['h3'], id='of a host in a state'),
        pytest.param({'host': 'h1', 'state': 'DONE'}, [], id='of a host that is in another state'),
        pytest.param({'host': 'h9'}, [], id='of an unknown host'),
        pytest.param({'host': ''}, [], id='of a host without a name'),
        pytest.param({'task_name': 'other'}, ['h4'], id='of another task'),
        pytest.param({'period_ending': BEGINNING}, [], id='over another period'),
        pytest.param(
            {'period_beginning': BEGINNING.replace(microsecond=123457)},
            [],
            id='from a microsecond later',
        ),
    ],
)
def test_task_logs_are_found_by_task_period_host_and_state(database, asked, hosts):
    add_task_log(database, host='h1')
    add_task_log(database, host='h2', state='DONE')
    add_task_log(database, host='h3', state='DONE')
    add_task_log(database, host='h4', task_name='other')
    asked = {
        'task_name': 'audit',
        'period_beginning': BEGINNING,
        'period_ending': ENDING,
        **asked,
    }
    found = task_log.task_log_get_all(database, **asked)
    assert [row['host'] for row in found] == hosts


def test_a_deleted_task_log_is_not_found(database):
    add_task_log(database)
    set_values(database, models.TaskLog, deleted=models.TaskLog.id)
    assert task_log.task_log_get_all(database, 'audit', BEGINNING, ENDING) == []


# -- services --


def test_the_first_report_of_a_service_makes_its_row(database):
    now = datetime.datetime(2016, 3, 1, 12, 0, 0, 654321)
    services.service_report(database, 'h1', 'nova-cells', 'cells', now)
    [found] = services.service_get_all(database)
    assert (found['host'], found['binary'], found['topic']) == ('h1', 'nova-cells', 'cells')
    assert (found['report_count'], found['last_seen_up']) == (1, now)
    assert (found['disabled'], found['forced_down'], found['deleted']) == (False, False, 0)


def test_each_further_report_of_a_service_counts_and_tells_the_time(database):
    times = [datetime.datetime(2016, 3, 1, 12, 0, second) for second in range(3)]
    for now in times:
        services.service_report(database, 'h1', 'nova-cells', 'cells', now)
    services.service_report(database, 'h1', 'nova-compute', 'compute', times[0])
    services.service_report(database, 'h2', 'nova-cells', 'cells', times[0])
    found = [
        (row['host'], row['binary'], row['report_count'], row['last_seen_up'])
        for row in services.service_get_all(database)
    ]
    assert found == [
        ('h1', 'nova-cells', 3, times[2]),
        ('h1', 'nova-compute', 1, times[0]),
        ('h2', 'nova-cells', 1, times[0]),
    ]


def test_workers_of_a_host_report_for_the_first_time_at_the_same_moment(database):
    in_parallel(8, lambda index: services.service_report(database, 'h1', 'nova-cells', 'cells'))
    [found] = services.service_get_all(database)
    assert 1 <= found['report_count'] <= 8


@pytest.mark.parametrize(
    ('disabled', 'hosts'),
    [
        pytest.param(None, ['h1', 'h2'], id='all'),
        pytest.param(True, ['h1'], id='disabled'),
        pytest.param(False, ['h2'], id='not disabled'),
    ],
)
def test_services_are_found_by_whether_they_are_disabled(database, disabled, hosts):
    services.service_report(database, 'h1', 'nova-cells', 'cells')
    set_values(database, models.Service, disabled=True, disabled_reason='broken ' + UNICODE)
    services.service_report(database, 'h2', 'nova-cells', 'cells')
    found = services.service_get_all(database, disabled)
    assert [row['host'] for row in found] == hosts
    assert all(isinstance(row['disabled'], bool) for row in found)


def test_a_service_that_was_deleted_begins_anew_with_its_next_report(database):
    services.service_report(database, 'h1', 'nova-cells', 'cells')
    set_values(database, models.Service, deleted=models.Service.id, deleted_at=models.utcnow())
    assert services.service_get_all(database) == []
    services.service_report(database, 'h1', 'nova-cells', 'cells')
    [found] = services.service_get_all(database)
    assert found['report_count'] == 1


# -- neighbours --


def test_a_neighbour_comes_back_as_it_was_given(database):
    given = {
        'name': 'cell-' + UNICODE,
        'transport_url': 'rabbit://u:%s@h:5672/v' % UNICODE,
        'api_url': 'http://api/',
        'weight_offset': -1.5,
        'weight_scale': 2.25,
        'is_parent': True,
    }
    neighbours.cell_create(database, given)
    [found] = neighbours.cell_get_all(database)
    assert {key: found[key] for key in given} == given


def test_a_neighbour_with_a_name_and_a_url_only_is_a_child_of_neutral_weight(database):
    neighbours.cell_create(database, {'name': 'a', 'transport_url': 'fake://a'})
    [found] = neighbours.cell_get_all(database)
    weights = (found['weight_offset'], found['weight_scale'])
    assert (weights, found['is_parent']) == ((0.0, 1.0), False)


def test_a_neighbour_of_a_name_that_exists_is_refused(database):
    neighbours.cell_create(database, {'name': 'a', 'transport_url': 'fake://first'})
    with pytest.raises(exceptions.CellExists, match='Cell with name a already exists'):
        neighbours.cell_create(database, {'name': 'a', 'transport_url': 'fake://second'})
    [found] = neighbours.cell_get_all(database)
    assert found['transport_url'] == 'fake://first'


@pytest.mark.parametrize(
    'names',
    [
        pytest.param(['cell', 'CELL'], id='case'),
        pytest.param(['cafe', 'café'], id='accent'),
        pytest.param(['straße', 'strasse'], id='sharp s'),
        pytest.param(['😀', '😁'], id='emoji'),
    ],
)
def test_names_of_neighbours_that_differ_in_any_character_are_two(database, names):
    for name in names:
        neighbours.cell_create(database, {'name': name, 'transport_url': 'fake://x'})
        neighbours.reports_save(database, [report(name, 1.0)])
    assert [row['name'] for row in neighbours.cell_get_all(database)] == names
    assert set(neighbours.reports_get_all(database)) == set(names)


def test_a_deleted_neighbour_is_gone_and_its_name_is_free(database):
    neighbours.cell_create(database, {'name': 'a', 'transport_url': 'fake://first'})
    set_values(database, models.Cell, deleted=models.Cell.id)
    assert neighbours.cell_get_all(database) == []
    neighbours.cell_create(database, {'name': 'a', 'transport_url': 'fake://second'})
    [found] = neighbours.cell_get_all(database)
    assert found['transport_url'] == 'fake://second'


def test_a_transport_url_of_2000_characters_is_kept_whole(database):
    url = 'rabbit://u:p@' + ','.join('broker-%03d:5672' % number for number in range(124))
    url = url.ljust(2000, 'x')
    neighbours.cell_create(database, {'name': 'a', 'transport_url': url})
    [found] = neighbours.cell_get_all(database)
    assert (len(url), found['transport_url']) == (2000, url)


@pytest.mark.parametrize(
    'password',
    [
        pytest.param(PRINTABLE, id='all printable'),
        pytest.param('p@ss/w%40rd:%', id='as in a URL'),
        pytest.param(UNICODE, id='unicode'),
    ],
)
def test_d12_any_password_and_five_brokers_survive_the_table(database, password):
    login = 'cells:%s' % urllib.parse.quote(password, safe='')
    hosts = ','.join('%s@broker-%d:5672' % (login, number) for number in range(5))
    neighbours.cell_create(database, {'name': 'a', 'transport_url': 'rabbit://%s/v' % hosts})

    place = state.Place('top', is_top=True)
    topology = state.topology_of(place, neighbours.cell_get_all(database))

    url = messaging_transport.TransportURL.parse(
        cfg.ConfigOpts(), topology.children['a'].transport_url
    )
    assert [host.hostname for host in url.hosts] == ['broker-%d' % number for number in range(5)]
    assert {(host.username, host.password, host.port) for host in url.hosts} == {
        ('cells', password, 5672)
    }
    assert url.virtual_host == 'v'


# -- reports on neighbours --


def report(name, last_seen, **values):
    """Return a report as a worker writes it."""
    return {
        'name': name,
        'protocol': 1,
        'plain_in_a_row': 0,
        'last_plain_at': None,
        'last_seen': last_seen,
        'cell_id': None,
        'clock_offset': None,
        'capabilities': None,
        'capacities': None,
        **values,
    }


def test_a_report_comes_back_as_it_was_given(database):
    given = report('a', 1457000000.123456, protocol=-1, plain_in_a_row=2, last_plain_at=1.25)
    neighbours.reports_save(database, [given, report('b', 5.0)])
    assert neighbours.reports_get_all(database) == {'a': given, 'b': report('b', 5.0)}


@pytest.mark.parametrize(
    ('stored', 'saved', 'kept'),
    [
        pytest.param(10.0, 11.0, 11.0, id='newer'),
        pytest.param(10.0, 9.0, 10.0, id='older'),
        pytest.param(1457000000.25, 1457000000.125, 1457000000.25, id='older by a fraction'),
    ],
)
def test_a_newer_report_is_never_replaced_by_an_older(database, stored, saved, kept):
    neighbours.reports_save(database, [report('a', stored, protocol=1)])
    neighbours.reports_save(database, [report('b', 1.0), report('a', saved, protocol=2)])
    found = neighbours.reports_get_all(database)
    assert found['a'] == report('a', kept, protocol=2 if kept == saved else 1)
    assert found['b'] == report('b', 1.0)


def test_a_report_that_is_saved_twice_stays_as_it_is(database):
    for _ in range(2):
        neighbours.reports_save(database, [report('a', 7.0)])
    assert neighbours.reports_get_all(database) == {'a': report('a', 7.0)}


def test_workers_that_see_a_neighbour_for_the_first_time_together_all_report_it(database):
    in_parallel(
        8,
        lambda index: neighbours.reports_save(
            database, [report('a', 1.0 + index), report('b', 9.0 - index)]
        ),
    )
    found = neighbours.reports_get_all(database)
    assert {name: values['last_seen'] for name, values in found.items()} == {'a': 8.0, 'b': 9.0}


# -- orders to sync --


def test_an_order_to_sync_comes_back_as_it_was_given(database):
    since = datetime.datetime(2016, 3, 1, 12, 0, 0, 654321)
    with database.write() as connection:
        sync_requests.sync_request_create(
            connection, 'u1', 'project-' + UNICODE, since, True, 'top!' + UNICODE, 'req-1'
        )
    [found] = sync_requests.sync_request_get_all(database)
    assert abs(found.pop('requested_at') - time.time()) < 10
    given = {
        'uuid': 'u1',
        'project_id': 'project-' + UNICODE,
        'updated_since': since,
        'deleted': True,
        'requested_by': 'top!' + UNICODE,
        'request_id': 'req-1',
    }
    assert {name: found[name] for name in given} == given
    assert found['ended_at'] is None


def test_orders_to_sync_are_counted_and_the_newest_come_first(database):
    for number in range(3):
        with database.write() as connection:
            sync_requests.sync_request_create(
                connection, 'u%d' % number, None, None, False, 'top', None
            )
        time.sleep(0.01)
    assert sync_requests.sync_request_count(database) == 3
    found = sync_requests.sync_request_get_all(database, limit=2)
    assert [row['uuid'] for row in found] == ['u2', 'u1']


def test_a_second_order_of_the_same_uuid_is_an_error(database):
    with database.write() as connection:
        sync_requests.sync_request_create(connection, 'u1', None, None, False, 'top', None)
    with pytest.raises(engine.ERRORS), database.write() as connection:
        sync_requests.sync_request_create(connection, 'u1', None, None, False, 'top', None)
    assert sync_requests.sync_request_count(database) == 1
