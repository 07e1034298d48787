import concurrent.futures
import threading
import time

import pytest
import sqlalchemy as sa

from cells import leases
from cells.db import engine, migration, models
from cells.db import leases as db_leases
from tests.unit.builders import eventually


@pytest.fixture
def database(tmp_path):
    made = engine.Database('sqlite:///%s' % (tmp_path / 'cells.sqlite'))
    migration.sync(made)
    yield made
    made.dispose()


@pytest.fixture
def quick(monkeypatch):
    """All times of a lease a hundred times shorter."""
    monkeypatch.setattr(leases, 'TTL', 0.45)
    monkeypatch.setattr(leases, 'TRUST', 0.3)
    monkeypatch.setattr(leases, 'RENEW', 0.05)
    monkeypatch.setattr(leases, 'ATTEMPT', 0.02)


@pytest.fixture
def lease_of(database, quick):
    """Make leases of one name for several workers; they are stopped at the end."""
    made = []

    def make(holder):
        made.append(leases.Lease(database=database, name='reports', holder=holder))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def set_away(database, away):
    names = ('leases', 'elsewhere') if away else ('elsewhere', 'leases')
    with database.write() as connection:
        connection.execute(sa.text('ALTER TABLE %s RENAME TO %s' % names))


# -- the statements --


def test_a_lease_is_taken_by_one_and_renewed_by_that_one(database):
    assert db_leases.lease_take(database, 'reports', 'a', 60)
    assert not db_leases.lease_take(database, 'reports', 'b', 60)
    assert db_leases.lease_take(database, 'reports', 'a', 60)
    assert db_leases.lease_get_all(database) == {'reports': 'a'}


def test_leases_of_two_names_are_two(database):
    assert db_leases.lease_take(database, 'reports', 'a', 60)
    assert db_leases.lease_take(database, 'sweep', 'b', 60)
    assert db_leases.lease_get_all(database) == {'reports': 'a', 'sweep': 'b'}


def test_a_lease_that_is_over_is_taken_by_another(database):
    assert db_leases.lease_take(database, 'reports', 'a', 0.05)
    time.sleep(0.1)
    assert db_leases.lease_get_all(database) == {}
    assert db_leases.lease_take(database, 'reports', 'b', 60)
    assert not db_leases.lease_take(database, 'reports', 'a', 60)


def test_a_lease_that_is_given_back_is_free_at_once(database):
    db_leases.lease_take(database, 'reports', 'a', 60)
    db_leases.lease_release(database, 'reports', 'b')
    assert not db_leases.lease_take(database, 'reports', 'b', 60), 'it was not theirs to give'
    db_leases.lease_release(database, 'reports', 'a')
    assert db_leases.lease_take(database, 'reports', 'b', 60)


@pytest.mark.parametrize('step', [86400.0, -86400.0])
def test_d8_a_clock_that_is_set_leaves_a_lease_to_nobody_for_long(database, step):
    """After ``step`` the row of a holder that died is that much older, or in the future."""
    db_leases.lease_take(database, 'reports', 'a', 15)
    with database.write() as connection:
        connection.execute(sa.update(models.Lease).values(expires=models.Lease.expires - step))
    assert db_leases.lease_take(database, 'reports', 'b', 15)
    assert db_leases.lease_get_all(database) == {'reports': 'b'}


# -- the worker --


def test_of_two_workers_one_has_it_and_the_other_takes_it_over(lease_of, database, monkeypatch):
    monkeypatch.setattr(leases, 'TTL', 60.0)  # what is not given back is never free
    monkeypatch.setattr(leases, 'TRUST', 40.0)

    def expires():
        with database.read() as connection:
            return connection.execute(sa.select(models.Lease.expires)).scalar_one()

    first, second = lease_of('a'), lease_of('b')
    assert not first.held
    first.start()
    eventually(lambda: first.held)
    second.start()
    begun = expires()
    while expires() < begun + 0.3:  # some renewals
        assert first.held
        assert not second.held
        time.sleep(0.01)
    first.stop()
    assert not first.held
    eventually(lambda: second.held)


def test_the_lease_of_a_worker_that_died_is_taken_over_when_it_is_over(lease_of, database):
    begun = time.monotonic()
    db_leases.lease_take(database, 'reports', 'dead', leases.TTL)
    second = lease_of('b')
    second.start()
    eventually(lambda: second.held)
    assert time.monotonic() - begun > leases.TTL - 0.05


def test_a_holder_distrusts_itself_before_another_may_take_it(lease_of, database, monkeypatch):
    monkeypatch.setattr(leases, 'TTL', 60.0)
    holder = lease_of('a')
    holder.start()
    eventually(lambda: holder.held)
    set_away(database, True)
    eventually(lambda: not holder.held)
    set_away(database, False)
    assert db_leases.lease_get_all(database) == {'reports': 'a'}, 'nobody else could have it'
    eventually(lambda: holder.held)


def test_the_times_leave_room_for_a_slow_holder():
    assert leases.RENEW < leases.TRUST < leases.TTL
    assert leases.TRUST + 4 < leases.TTL


def test_a_statement_that_takes_long_does_not_lengthen_the_trust(lease_of, monkeypatch):
    take = db_leases.lease_take

    def slow(*args):
        taken = take(*args)
        time.sleep(leases.TRUST + 0.05)
        return taken

    monkeypatch.setattr(db_leases, 'lease_take', slow)
    holder = lease_of('a')
    holder.start()
    until = time.monotonic() + 1
    while time.monotonic() < until:
        assert not holder.held
        time.sleep(0.01)


def test_a_database_that_is_away_at_the_start_and_at_the_end_is_no_error(lease_of, database):
    set_away(database, True)
    one = lease_of('a')
    one.start()
    time.sleep(0.1)
    assert not one.held
    set_away(database, False)
    eventually(lambda: one.held)
    set_away(database, True)
    one.stop()
    assert not one.held
    set_away(database, False)


def test_a_lease_that_was_never_begun_can_be_stopped(lease_of, database):
    lease_of('a').stop()
    assert db_leases.lease_get_all(database) == {}


def test_at_no_moment_two_workers_believe_in_it(lease_of):
    workers = [lease_of('worker-%d' % number) for number in range(4)]
    stopped, both = threading.Event(), []

    def watch():
        while not stopped.is_set():
            holders = [number for number, one in enumerate(workers) if one.held]
            # One after the other is looked at: it may change hands meanwhile.
            if len(holders) > 1 and all(workers[number].held for number in holders):
                both.append(holders)
            time.sleep(0.002)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        for one in workers:
            one.start()
        for _ in workers:
            holder = eventually(lambda: next((each for each in workers if each.held), None))
            holder.stop()
        stopped.set()
        watching.result(5)
    assert both == []
