"""Walks over all instances by several workers, on each kind of database."""

import concurrent.futures
import threading

import pytest
import sqlalchemy as sa

from cells.db import engine, healing, instances, models, walks

WALK = 'instances'


def numbered(number):
    return '%08d-0000-4000-8000-000000000000' % number


def write(database, statement, *args):
    with database.write() as connection:
        return statement(connection, *args)


def patiently(database, statement, *args):
    while True:
        try:
            return write(database, statement, *args)
        except engine.ERRORS as error:
            if not engine.is_transient(error):
                raise


@pytest.fixture
def filled(database):
    """A database with 25 instances, of which two are deleted, and a walk."""
    with database.write() as connection:
        rows = [{'uuid': numbered(one), 'sync_seq': 1} for one in range(27)]
        connection.execute(sa.insert(models.Instance), rows)
        for one in (3, 20):
            instances.instance_destroy(connection, numbered(one), sync=False)
        walks.walk_begin(connection, WALK)
    return database


def take(database, worker='w', seconds=60.0, length=10):
    return patiently(database, walks.page_take, WALK, worker, seconds, length, healing.living)


def done(database, page, worker='w', looked_at=None, repaired=0):
    number = len(page.uuids) if looked_at is None else looked_at
    return patiently(database, walks.page_done, page, worker, number, repaired)


def test_pages_follow_each_other_to_the_end(filled):
    pages = []
    while (page := take(filled)) is not None:
        pages.append(page)
        assert done(filled, page, repaired=1)
    assert [len(page.uuids) for page in pages] == [10, 10, 5]
    assert [page.after for page in pages] == [None, numbered(10), numbered(21)]
    assert [page.until for page in pages] == [numbered(10), numbered(21), None]
    over = write(filled, walks.walk_over, WALK)
    assert (over['looked_at'], over['repaired'], over['round']) == (25, 3, 1)


def test_a_walk_is_not_over_while_a_page_is_out(filled):
    pages = [take(filled) for _ in range(3)]
    assert take(filled) is None
    assert write(filled, walks.walk_over, WALK) is None
    for page in pages:
        assert done(filled, page)
    assert write(filled, walks.walk_over, WALK) is not None


def test_a_walk_begins_anew_after_its_rest_and_keeps_what_it_came_to(filled):
    while (page := take(filled)) is not None:
        done(filled, page, repaired=2)
    over = write(filled, walks.walk_over, WALK)
    write(filled, walks.walk_again, over, 3600)
    assert take(filled) is None
    assert write(filled, walks.walk_over, WALK) is None
    last = write(filled, walks.walk_get, WALK + walks.LAST)
    assert (last['looked_at'], last['repaired'], last['round']) == (25, 6, 1)
    assert write(filled, walks.walk_get, WALK)['round'] == 2
    with filled.write() as connection:
        connection.execute(
            sa.update(models.HealPosition)
            .where(models.HealPosition.name == WALK)
            .values(claimed_until=0.0)
        )
    assert len(take(filled).uuids) == 10


def test_the_page_of_a_worker_that_died_is_taken_over_once(filled):
    lost = take(filled, 'dead', seconds=-1)
    again = take(filled, 'w')
    assert again == lost
    assert take(filled, 'w2').after == numbered(10)
    assert not done(filled, lost, 'dead')
    assert done(filled, again, 'w')
    assert not done(filled, again, 'w')


def test_a_page_that_is_given_back_comes_again(filled):
    page = take(filled)
    write(filled, walks.page_later, page, 'w', -1.0)
    assert take(filled, 'w2') == page


def test_a_new_process_gives_back_what_its_slot_had(filled):
    page = take(filled, 'h1.0', seconds=3600)
    other = take(filled, 'h1.1', seconds=3600)
    write(filled, walks.release_all, 'h1.0')
    assert take(filled, 'h2.0') == page
    assert take(filled, 'h2.0').after == other.until


def test_a_cell_without_instances_has_one_empty_page(database):
    write(database, walks.walk_begin, WALK)
    page = take(database)
    assert (page.uuids, page.after, page.until) == ((), None, None)
    done(database, page)
    assert write(database, walks.walk_over, WALK) is not None


def test_two_walks_do_not_meet(filled):
    write(filled, walks.walk_begin, 'instances2')
    page = take(filled)
    other = patiently(filled, walks.page_take, 'instances2', 'w', 60.0, 10, healing.living)
    assert page.uuids == other.uuids
    assert page.name != other.name
    write(filled, walks.walk_drop, 'instances2')
    assert done(filled, page)


def test_s20_eight_workers_take_each_instance_once(database):
    with database.write() as connection:
        rows = [{'uuid': numbered(one), 'sync_seq': 1} for one in range(400)]
        connection.execute(sa.insert(models.Instance), rows)
        walks.walk_begin(connection, WALK)
    seen, lock, barrier = [], threading.Lock(), threading.Barrier(8)

    def work(number):
        barrier.wait(10)
        while (page := take(database, 'w%d' % number, length=7)) is not None:
            with lock:
                seen.extend(page.uuids)
            assert done(database, page, 'w%d' % number)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert sorted(seen) == [numbered(one) for one in range(400)]
    assert write(database, walks.walk_over, WALK)['looked_at'] == 400


def test_a_walk_rests_between_two_rounds_and_never_within_one(filled):
    assert not walks.walk_rests(filled, 'another')
    while (page := take(filled)) is not None:
        assert not walks.walk_rests(filled, WALK)
        done(filled, page)
    assert not walks.walk_rests(filled, WALK)
    over = write(filled, walks.walk_over, WALK)
    write(filled, walks.walk_again, over, 60.0)
    assert walks.walk_rests(filled, WALK)
    write(filled, walks.walk_again, over, 0.0)
    assert not walks.walk_rests(filled, WALK)
