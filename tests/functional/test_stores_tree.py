"""What workers of a cell share: leases, counters, neighbours, orders; on each kind of database."""

import concurrent.futures
import contextlib
import threading
import time

import pytest
import sqlalchemy as sa

from cells import exceptions, paths, sightings
from cells.db import changes, engine, inbox, leases, models, neighbours, path_aliases
from cells.db import journal as db_journal
from tests.functional.test_stores import in_parallel


def values(name, **more):
    return {'name': name, 'transport_url': 'fake://%s' % name, **more}


def version(database, name):
    return changes.versions(database).get(name, 0)


# -- leases --


def test_a_lease_is_taken_renewed_and_given_back(database):
    assert leases.lease_take(database, 'reports', 'a', 60)
    assert not leases.lease_take(database, 'reports', 'b', 60)
    assert leases.lease_take(database, 'reports', 'a', 60)
    assert leases.lease_get_all(database) == {'reports': 'a'}
    leases.lease_release(database, 'reports', 'b')
    assert leases.lease_get_all(database) == {'reports': 'a'}
    leases.lease_release(database, 'reports', 'a')
    assert leases.lease_get_all(database) == {}
    assert leases.lease_take(database, 'reports', 'b', 60)


def test_a_lease_lasts_by_the_clock_of_the_database(database):
    assert leases.lease_take(database, 'reports', 'a', 0.3)
    time.sleep(0.4)
    assert leases.lease_take(database, 'reports', 'b', 60)
    assert not leases.lease_take(database, 'reports', 'a', 60)


@pytest.mark.parametrize('beginning', ['new', 'over'])
def test_of_many_workers_exactly_one_gets_a_lease(database, beginning):
    for attempt in range(8):
        name = 'reports-%d' % attempt
        if beginning == 'over':
            leases.lease_take(database, name, 'dead', -1)

        def take(index, name=name):
            try:
                return leases.lease_take(database, name, 'worker-%d' % index, 60)
            except engine.ERRORS as error:
                if not engine.is_transient(error):
                    raise
                return False

        taken = in_parallel(4, take)
        assert sum(taken) == 1
        assert leases.lease_get_all(database)[name] == 'worker-%d' % taken.index(True)


@pytest.mark.parametrize('step', [86400.0, -86400.0])
def test_d8_a_clock_of_the_database_that_is_set_leaves_no_lease_to_the_dead(database, step):
    leases.lease_take(database, 'reports', 'dead', 15)
    with database.write() as connection:
        connection.execute(sa.update(models.Lease).values(expires=models.Lease.expires - step))
    assert leases.lease_take(database, 'reports', 'b', 15)


# -- counters --


def test_a_counter_begins_with_one_and_is_raised_by_one(database):
    assert version(database, 'x') == 0
    for expected in (1, 2, 3):
        with database.write() as connection:
            changes.bump(connection, 'x')
        assert version(database, 'x') == expected
    assert version(database, 'y') == 0


def test_a_counter_is_raised_with_its_transaction_or_not_at_all(database):
    with contextlib.suppress(ZeroDivisionError), database.write() as connection:
        changes.bump(connection, 'x')
        raise ZeroDivisionError
    assert version(database, 'x') == 0


def test_no_raise_of_a_counter_is_lost(database):
    def bump(index):
        for _ in range(10):
            with database.write() as connection:
                changes.bump(connection, 'x')

    in_parallel(4, bump)
    assert version(database, 'x') == 40


def test_the_first_raise_of_a_counter_is_no_race(database):
    """Nobody may be told of a deadlock: a client waits behind it."""

    for attempt in range(10):
        name = 'x-%d' % attempt

        def bump(index, name=name):
            with database.write() as connection:
                changes.bump(connection, name)

        in_parallel(4, bump)
        assert version(database, name) == 4


# -- neighbours --


def test_each_change_of_the_neighbours_raises_their_counter(database):
    neighbours.cell_create(database, values('a'))
    assert version(database, changes.NEIGHBOURS) == 1
    neighbours.cell_update(database, 'a', {'weight_offset': 2.0})
    assert version(database, changes.NEIGHBOURS) == 2
    neighbours.cell_delete(database, 'a')
    assert version(database, changes.NEIGHBOURS) == 3
    assert neighbours.cell_delete(database, 'a') == 0
    with pytest.raises(exceptions.CellNotFound):
        neighbours.cell_update(database, 'a', {'weight_offset': 2.0})
    assert version(database, changes.NEIGHBOURS) == 3


def test_a_neighbour_is_changed_and_comes_back(database):
    made = neighbours.cell_create(database, values('a'))
    assert (made['name'], made['deleted'], made['is_parent']) == ('a', 0, False)
    found = neighbours.cell_update(database, 'a', {'weight_scale': 2.5, 'is_parent': True})
    assert (found['weight_scale'], found['is_parent'], found['id']) == (2.5, True, made['id'])
    assert found['transport_url'] == 'fake://a'
    assert neighbours.cell_get_all(database) == [found]


def test_a_change_to_what_it_is_already_is_no_missing_cell(database):
    neighbours.cell_create(database, values('a', weight_scale=2.5))
    for _ in range(2):
        assert neighbours.cell_update(database, 'a', {'weight_scale': 2.5})['name'] == 'a'


def test_a_neighbour_gets_another_name(database):
    neighbours.cell_create(database, values('a'))
    neighbours.cell_create(database, values('b'))
    assert neighbours.cell_update(database, 'a', {'name': 'c'}) is None
    assert [row['name'] for row in neighbours.cell_get_all(database)] == ['c', 'b']
    with pytest.raises(exceptions.CellExists, match='b already exists'):
        neighbours.cell_update(database, 'c', {'name': 'b'})
    with pytest.raises(exceptions.CellExists, match='b already exists'):
        neighbours.cell_create(database, values('b'))
    assert neighbours.cell_update(database, 'c', {'name': 'c'})['name'] == 'c'


def test_a_name_can_be_used_deleted_and_used_again(database):
    for _ in range(3):
        neighbours.cell_create(database, values('a'))
        assert neighbours.cell_delete(database, 'a') == 1
    assert neighbours.cell_get_all(database) == []


def test_what_was_known_goes_with_a_neighbour_that_is_deleted_or_renamed(database):
    for name in ('a', 'b', 'c'):
        neighbours.cell_create(database, values(name))
        neighbours.reports_save(database, [report(name)])
    neighbours.cell_delete(database, 'a')
    neighbours.cell_update(database, 'b', {'name': 'b2'})
    neighbours.cell_update(database, 'c', {'weight_scale': 2.0, 'name': 'c'})
    assert set(neighbours.reports_get_all(database)) == {'c'}


def test_r11_of_many_who_create_a_cell_of_one_name_one_does(database):
    def create(index):
        try:
            neighbours.cell_create(database, values('a', weight_offset=float(index)))
        except exceptions.CellExists:
            return False
        return True

    assert sum(in_parallel(4, create)) == 1
    assert len(neighbours.cell_get_all(database)) == 1
    assert version(database, changes.NEIGHBOURS) == 1


def test_of_many_who_delete_a_cell_one_does(database):
    neighbours.cell_create(database, values('a'))
    assert sum(in_parallel(4, lambda index: neighbours.cell_delete(database, 'a'))) == 1


def test_the_id_of_a_cell_stays(database):
    with database.write() as connection:  # the fixture has emptied all tables
        connection.execute(sa.delete(models.CellIdentity))
        connection.execute(sa.insert(models.CellIdentity).values(id='an id'))
    assert neighbours.cell_id(database) == neighbours.cell_id(database) == 'an id'


# -- reports --


def report(name, last_seen=5.0, **more):
    return {
        'name': name,
        'protocol': 1,
        'plain_in_a_row': 0,
        'last_plain_at': None,
        'last_seen': last_seen,
        'cell_id': None,
        'clock_offset': None,
        **more,
    }


def test_a_report_is_kept_beside_what_is_seen(database):
    neighbours.reports_save(database, [report('a')])
    neighbours.report_store(database, 'a', {'capacities': '{"größe": 1}'})
    neighbours.report_store(database, 'a', {'capabilities': '{}'})
    neighbours.reports_save(database, [report('a', 6.0, clock_offset=-0.123456789012)])
    found = neighbours.reports_get_all(database)['a']
    assert (found['capacities'], found['capabilities']) == ('{"größe": 1}', '{}')
    assert (found['last_seen'], found['clock_offset']) == (6.0, -0.123456789012)
    assert version(database, changes.REPORTS) == 2


def test_a_report_of_a_neighbour_that_is_not_known_is_none(database):
    neighbours.report_store(database, 'a', {'capacities': '{}'})
    assert neighbours.reports_get_all(database) == {}
    assert version(database, changes.REPORTS) == 0


def test_a_report_of_many_cells_fits(database):
    text = '"%s"' % ('x' * 500_000)
    neighbours.reports_save(database, [report('a')])
    neighbours.report_store(database, 'a', {'capabilities': text})
    assert neighbours.reports_get_all(database)['a']['capabilities'] == text


def test_d10_workers_share_reports_and_sightings(database):
    one, two = (sightings.Sightings(database=database, mute_interval=300) for _ in range(2))
    one.saw('a', 1, 'an id')
    one.measured('a', 0.25, 0.0)
    one.reported('a', 'capacities', {'ram_free': {'total_mb': 5}})
    for worker in (one, two):
        worker.exchange(changes.versions(database))
    assert two.get('a').capacities == {'ram_free': {'total_mb': 5}}
    assert (two.get('a').cell_id, two.offset('a')) == ('an id', 0.25)


def test_d10_workers_that_exchange_at_the_same_time_lose_nothing(database):
    workers = [sightings.Sightings(database=database, mute_interval=300) for _ in range(4)]

    def work(index):
        for number in range(10):
            for name in ('a', 'b', 'c'):
                workers[index].saw(name, 1)
            workers[index].reported('abc'[index % 3], 'capacities', {'n': number})
            while True:
                try:
                    workers[index].exchange(changes.versions(database))
                except engine.ERRORS as error:
                    if not engine.is_transient(error):
                        raise
                    continue
                break

    in_parallel(4, work)
    for worker in workers:
        worker.exchange(changes.versions(database))
    found = [[worker.get(name).capacities for name in 'abc'] for worker in workers]
    assert found == [[{'n': 9}] * 3] * 4
    seen = [[worker.get(name).last_seen for name in 'abc'] for worker in workers]
    assert seen == [seen[0]] * 4


# -- orders that want an answer --


def order(database, uuid='u1'):
    with database.write() as connection:
        return db_journal.order_begin(connection, uuid, 'x')


def result(database, uuid='u1'):
    with database.read() as connection:
        return db_journal.order_result(connection, uuid)


def test_r3_an_order_is_begun_once_and_its_answer_kept(database):
    assert order(database)
    assert not order(database)
    assert result(database) is None
    with database.write() as connection:
        db_journal.order_end(connection, 'u1', '"größe"')
    assert result(database) == '"größe"'
    assert not order(database)
    assert order(database, 'u2')


def test_r3_an_order_that_is_forgotten_can_begin_again(database):
    order(database)
    with database.write() as connection:
        db_journal.order_forget(connection, 'u1')
    assert order(database)
    with database.write() as connection:
        db_journal.order_end(connection, 'u1', '1')
        db_journal.order_forget(connection, 'u1')
    assert result(database) == '1', 'what is done is not forgotten'


def test_r3_an_order_whose_transaction_fails_can_begin_again(database):
    with contextlib.suppress(ZeroDivisionError), database.write() as connection:
        db_journal.order_begin(connection, 'u1', 'x')
        raise ZeroDivisionError
    assert order(database)


def test_r3_of_copies_at_the_same_moment_one_is_carried_out(database):
    def carry_out(index):
        with database.write() as connection:
            if not db_journal.order_begin(connection, 'u1', 'x'):
                return False
            time.sleep(0.1)
            db_journal.order_end(connection, 'u1', '%d' % index)
            return True

    done = in_parallel(4, carry_out)
    assert sum(done) == 1
    assert result(database) == '%d' % done.index(True)


def test_r3_a_copy_waits_for_the_first_and_takes_over_when_that_fails(database):
    begun, second = threading.Event(), []

    def first():
        with contextlib.suppress(ZeroDivisionError), database.write() as connection:
            assert db_journal.order_begin(connection, 'u1', 'x')
            begun.set()
            time.sleep(0.3)
            raise ZeroDivisionError

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(first)
        begun.wait(5)
        second.append(order(database))
        running.result(5)
    assert second == [True]


def test_an_order_is_no_work_for_the_journal(database):
    order(database)
    assert not inbox.inbox_due(database)
    with database.write() as connection:
        assert inbox.inbox_claim(connection, 'w', 30, 10) == []
        db_journal.release_all(connection, 'w')
    assert db_journal.counts(database) == {'inbox.begun': 1}


def test_orders_are_purged_when_they_are_old(database):
    order(database, 'begun')
    order(database, 'done')
    with database.write() as connection:
        db_journal.order_end(connection, 'done', '1')
        assert db_journal.purge(connection, 60, 100) == 0
        connection.execute(sa.update(models.Inbox).values(ended_at=models.Inbox.ended_at - 100))
        assert db_journal.purge(connection, 60, 100) == 2
    assert db_journal.counts(database) == {}


def test_r12_a_name_by_which_a_renamed_cell_is_still_known_is_not_given_away(database):
    neighbours.cell_create(database, {'name': 'a', 'transport_url': 'rabbit://h/v'}, 'top')
    neighbours.cell_update(database, 'a', {'name': 'b'}, 'top')
    with pytest.raises(exceptions.Invalid, match='top!a is still the alias of top!b.*alias-delete'):
        neighbours.cell_create(database, {'name': 'a', 'transport_url': 'rabbit://h/v'}, 'top')
    with database.write() as connection:
        path_aliases.alias_delete(connection, paths.CellPath(('top', 'a')))
    made = neighbours.cell_create(database, {'name': 'a', 'transport_url': 'rabbit://h/v'}, 'top')
    assert made['name'] == 'a'
