"""The order of changes of one instance, on each kind of database and with several workers."""

import collections
import concurrent.futures
import random
import threading
import time

import pytest

from cells import exceptions, journal, journal_worker
from cells.db import engine, inbox, models
from cells.db import journal as statements
from cells.subjects import Subject
from tests import deploy
from tests.functional.test_journal import (
    names,
    patiently,
    reported,
    rows,
    run,
    set_values,
    start,
    states,
    wait_for_end,
)

__all__ = ['start']


def accept(database, *changes):
    """Put changes into the inbox: tuples of uuid, instance and ordering."""
    run(
        database,
        inbox.inbox_accept,
        [
            (one, 'start_instance', '{"uuid": "%s"}' % one, instance, ordering)
            for one, instance, ordering in changes
        ],
    )


def claim(database, worker='w', limit=10):
    return names(run(database, inbox.inbox_claim, worker, 30, limit))


def end(database, *uuids, worker='w', state=inbox.DONE):
    ids = {row['uuid']: row['id'] for row in rows(database, models.Inbox)}
    for one in uuids:
        assert run(database, inbox.inbox_end, ids[one], worker, state)


def row_of(database, one):
    [found] = [row for row in rows(database, models.Inbox) if row['uuid'] == one]
    return found


# -- statements --


def test_of_one_instance_one_change_is_claimed_at_a_time_and_others_go_on(database):
    accept(database, ('a1', 'a', '1'), ('b1', 'b', '1'), ('a2', 'a', '2'), ('x', None, None))
    assert claim(database) == ['a1', 'b1', 'x']
    assert claim(database, 'other') == []
    end(database, 'b1')
    assert claim(database, 'other') == []
    end(database, 'a1')
    assert claim(database, 'other') == ['a2']


def test_what_was_ordered_first_goes_first_whenever_it_arrives(database):
    accept(database, ('late', 'a', '2016-03-01T12:00:02.000000'))
    accept(database, ('same1', 'a', '2016-03-01T12:00:01.000000'))
    accept(database, ('same2', 'a', '2016-03-01T12:00:01.000000'))
    accept(database, ('early', 'a', '2016-03-01T12:00:00.999999'))
    order = []
    while found := claim(database):
        order += found
        end(database, *found)
    assert order == ['early', 'same1', 'same2', 'late']


def test_what_arrives_while_a_later_one_runs_waits_for_it(database):
    accept(database, ('a2', 'a', '2'))
    assert claim(database) == ['a2']
    accept(database, ('a1', 'a', '1'), ('a3', 'a', '3'))
    assert claim(database) == []
    end(database, 'a2', state=inbox.FAILED)
    assert claim(database) == ['a1']


def test_a_change_whose_worker_died_still_goes_before_those_behind_it(database):
    accept(database, ('a1', 'a', '1'), ('a2', 'a', '2'))
    assert names(run(database, inbox.inbox_claim, 'dead', -1, 10)) == ['a1']
    assert claim(database) == ['a1']
    assert claim(database) == []


def refuse(database, one, patience=30.0, pause=-1.0, worker='w'):
    return run(database, inbox.inbox_put_back, row_of(database, one), worker, pause, patience)


def test_s8_a_refused_change_is_tried_again_after_those_before_it(database):
    accept(database, ('stop', 'a', '2'))
    assert claim(database) == ['stop']
    accept(database, ('unlock', 'a', '1'))
    assert refuse(database, 'stop')
    assert claim(database) == ['unlock']
    end(database, 'unlock')
    assert claim(database) == ['stop']
    assert row_of(database, 'stop')['attempts'] == 1


def test_s8_a_refused_change_does_not_keep_back_what_came_earlier_and_says_later(database):
    """The clocks of two API services differ: the stop claims to be older than the unlock."""
    accept(database, ('unlock', 'a', '2'), ('stop', 'a', '1'), ('start', 'a', '3'))
    assert claim(database) == ['stop']
    assert refuse(database, 'stop', pause=30)
    assert claim(database) == ['unlock']
    end(database, 'unlock')
    # What came later waits for it all the same.
    assert claim(database) == []


def test_a_refused_change_waits_for_its_pause(database):
    accept(database, ('a1', 'a', '1'), ('b1', 'b', '1'))
    assert claim(database, limit=1) == ['a1']
    assert refuse(database, 'a1', pause=2)
    assert claim(database) == ['b1']
    deploy.wait_until(lambda: claim(database) == ['a1'], 20, 'the pause is over')


def test_the_patience_with_a_change_begins_with_its_first_refusal_and_ends(database):
    accept(database, ('a1', 'a', '1'))
    claim(database)
    assert refuse(database, 'a1')
    claim(database)
    set_values(database, models.Inbox, 'a1', refused_at=time.time() - 31)
    assert not refuse(database, 'a1')
    assert states(database, models.Inbox) == {'a1': 'claimed'}


def test_the_patience_with_those_behind_a_refused_change_runs_as_well(database):
    accept(database, ('a1', 'a', '1'), ('a2', 'a', '2'), ('b1', 'b', '1'))
    assert claim(database, limit=1) == ['a1']
    assert refuse(database, 'a1')
    assert row_of(database, 'a2')['refused_at'] == pytest.approx(time.time(), abs=5)
    assert row_of(database, 'b1')['refused_at'] is None
    # It was not in vain to wait: those behind begin anew.
    run(database, inbox.inbox_calm, 'a')
    assert row_of(database, 'a2')['refused_at'] is None


def test_who_has_lost_its_claim_cannot_put_a_change_back(database):
    accept(database, ('a1', 'a', '1'))
    claim(database, 'w1')
    assert not refuse(database, 'a1', worker='w2')
    assert refuse(database, 'a1', worker='w1')


def test_two_claims_of_one_instance_at_the_same_time_are_noticed(database):
    if database.dialect == 'sqlite':
        pytest.skip('its writer is alone')
    accept(database, ('a2', 'a', '2'))
    first, second = database.engine.connect(), database.engine.connect()
    with first, second:
        with first.begin():
            [mine] = inbox.inbox_claim(first, 'w1', 30, 10)
            # Meanwhile an earlier one comes, and another worker, who cannot see the claim.
            accept(database, ('a1', 'a', '1'))
            with second.begin():
                [other] = inbox.inbox_claim(second, 'w2', 30, 10)
    assert (mine['uuid'], other['uuid']) == ('a2', 'a1')
    assert inbox.inbox_crowded(database, [mine]) == {mine['id']}
    run(database, inbox.inbox_release, [mine['id']], 'w1')
    assert inbox.inbox_crowded(database, [other]) == set()
    assert row_of(database, 'a2')['state'] == 'received'
    assert row_of(database, 'a2')['attempts'] == 0


# -- the journal as a whole --


class Ordered:
    """What the workers of a test did with instances, and whether two met at one."""

    def __init__(self, pause=0.0):
        self.lock = threading.Lock()
        self.busy = collections.Counter()
        self.met = []
        self.order = collections.defaultdict(list)
        self.pause = pause

    def perform(self, connection, change):
        instance = change['instance']
        with self.lock:
            self.busy[instance] += 1
            if self.busy[instance] > 1:
                self.met.append(change['uuid'])
        time.sleep(self.pause)
        with self.lock:
            self.busy[instance] -= 1
            self.order[instance].append(change['uuid'])


def test_p1_several_workers_keep_the_order_of_each_instance(database, start):
    """Two processes with two threads each; what one brings, any may carry out."""
    seen = Ordered(pause=0.001)
    # Those that are there before anybody works go strictly in order.
    instances, each = 20, 15
    changes = [
        ('i%02d-%02d' % (instance, number), 'i%02d' % instance, '%04d' % number)
        for instance in range(instances)
        for number in range(each)
    ]
    shuffled = list(changes)
    random.Random(4).shuffle(shuffled)
    run(
        database,
        inbox.inbox_accept,
        [
            (one, 'x', '{"uuid": "%s", "instance": "%s"}' % (one, instance), instance, ordering)
            for one, instance, ordering in shuffled
        ],
    )
    workers = [start('h1.0', seen.perform), start('h2.0', seen.perform)]
    wait_for_end(database, instances * each)
    assert seen.met == []
    assert statements.counts(database) == {'inbox.done': instances * each}
    for instance, order in seen.order.items():
        assert order == sorted(order), instance
    for worker in workers:
        assert worker.reported == []


def test_one_instance_does_not_hold_up_the_others(database, start):
    held = threading.Event()

    def perform(connection, change):
        if change['instance'] == 'slow':
            held.wait(600)

    if database.dialect == 'sqlite':
        pytest.skip('its writer is alone, and a handler is in a transaction')
    one = start(on_perform=perform)
    one.accept('s1', Subject('slow', '1'), instance='slow')
    one.accept('s2', Subject('slow', '2'), instance='slow')
    for number in range(50):
        one.accept('q%d' % number, Subject('quick', '%03d' % number), instance='quick')
    try:
        deploy.wait_until(
            lambda: sum(state == 'done' for state in states(database, models.Inbox).values()) == 50,
            15,
            'the others are done',
        )
        assert states(database, models.Inbox)['s2'] == 'received'
    finally:
        held.set()
    wait_for_end(database, 52)


class Lock:
    """An instance that can be locked, as the table of sync requests would have it."""

    def __init__(self):
        self.locked = collections.defaultdict(bool)
        self.refused = collections.Counter()
        self.lock = threading.Lock()

    def perform(self, connection, change):
        with self.lock:
            what, instance = change['what'], change['instance']
            if what in ('lock', 'unlock'):
                self.locked[instance] = what == 'lock'
            elif self.locked[instance]:
                self.refused[instance] += 1
                raise exceptions.InstanceIsLocked(instance_uuid=instance)


def test_x4_of_what_is_done_the_journal_keeps_no_values(database, start):
    one = start()
    one.accept('u1', Subject('a', '1'), password='secret')
    wait_for_end(database, 1, 5)
    [row] = rows(database, models.Inbox)
    assert (row['uuid'], row['state'], row['envelope']) == ('u1', 'done', '')


def test_s8_a_stop_that_overtakes_its_unlock_is_carried_out_all_the_same(
    database, start, monkeypatch
):
    """The stop is known here before the unlock, which was ordered before it."""
    monkeypatch.setattr(journal_worker, 'REFUSED_SECONDS', 30.0)
    instance = Lock()
    instance.locked['a'] = True
    one = start(on_perform=instance.perform)
    one.accept('stop', Subject('a', '2'), what='stop', instance='a')
    deploy.wait_until(lambda: instance.refused['a'] > 1, 20, 'it is refused, and tried again')
    one.accept('unlock', Subject('a', '1'), what='unlock', instance='a')
    wait_for_end(database, 2, 20)
    assert states(database, models.Inbox) == {'stop': 'done', 'unlock': 'done'}
    assert one.reported == []


def test_s8_a_change_that_stays_refused_is_reported_once_and_after_three_seconds(database, start):
    instance = Lock()
    instance.locked['a'] = True
    one = start(on_perform=instance.perform)
    begun = time.monotonic()
    for number in range(5):
        one.accept('stop%d' % number, Subject('a', str(number)), what='stop', instance='a')
    one.accept('other', Subject('b', '1'), what='stop', instance='b')
    deploy.wait_until(
        lambda: states(database, models.Inbox).get('other') == 'done', 20, 'others go on'
    )
    wait_for_end(database, 6, 60)
    # Those behind are not waited for one after the other.
    least = journal_worker.REFUSED_SECONDS
    assert least <= time.monotonic() - begun < 5 * least
    assert reported(database) == dict.fromkeys(['stop%d' % number for number in range(5)], 1)
    assert {type(error) for _, error in one.reported} == {exceptions.InstanceIsLocked}
    assert 'InstanceIsLocked' in row_of(database, 'stop0')['reason']


@pytest.mark.parametrize(
    'error',
    [
        exceptions.InstanceNotFound(instance_id='a'),
        exceptions.Invalid(reason='x'),
        exceptions.UnexpectedDeletingTaskStateError(instance_uuid='a', expected='', actual=''),
        RuntimeError('x'),
    ],
    ids=lambda error: type(error).__name__,
)
def test_t5_what_will_not_be_possible_later_is_reported_at_once(database, start, error):
    tried = []

    def perform(connection, change):
        tried.append(change)
        raise error

    one = start(on_perform=perform)
    one.accept('u1', Subject('a', '1'))
    wait_for_end(database, 1, 20)
    assert reported(database) == {'u1': 1}
    assert len(tried) == 1


def test_t5_a_report_that_fails_does_not_keep_a_change_from_its_end(database, start, caplog):
    def perform(connection, change):
        raise exceptions.InstanceNotFound(instance_id='a')

    one = start(on_perform=perform)
    one.report = None
    one.journal._workers._report = lambda connection, row, error: 1 / 0
    one.accept('u1', Subject('a', '1'))
    wait_for_end(database, 1, 5)
    assert states(database, models.Inbox) == {'u1': 'failed'}
    assert 'That change u1 failed cannot be reported' in caplog.text


def test_t5_what_nobody_expects_ends_no_thread_of_the_journal(database, start, monkeypatch):
    monkeypatch.setattr(journal_worker, 'POLL_SECONDS', 0.1)

    def perform(connection, change):
        if change['uuid'].startswith('bad'):
            raise exceptions.InstanceUpdateConflict(instance_uuid='a', expected='', actual='')

    def put_back(connection, *args):
        raise exceptions.CellsError('as no test has ever seen')

    monkeypatch.setattr(inbox, 'inbox_put_back', put_back)
    one = start(on_perform=perform)
    for number in range(2 * journal.WORKERS):
        one.accept('bad%d' % number, Subject('i%d' % number, '1'))
    one.accept('good', Subject('j', '2'))
    deploy.wait_until(lambda: states(database, models.Inbox).get('good') == 'done', 10, 'it is on')
    threads = [one for one in one.journal._threads if one.name.startswith('journal-')]
    assert all(thread.is_alive() for thread in threads)


def test_t5_a_change_that_was_taken_over_is_not_reported(database, start):
    """The effects of a report go with the end of the row, which another worker has now."""

    def perform(connection, change):
        raise exceptions.InstanceNotFound(instance_id='a')

    one = start(on_perform=perform)
    report = one.report

    def late(connection, row, error):
        report(connection, row, error)
        connection.execute(
            models.Inbox.__table__.update()
            .where(models.Inbox.uuid == row['uuid'])
            .values(claimed_by='another')
        )

    one.journal._workers._report = late
    one.accept('u1', Subject('a', '1'))
    deploy.wait_until(lambda: one.reported, 5, 'it fails')
    time.sleep(0.5)
    assert reported(database) == {}
    one.journal._workers._report = report


def test_eight_workers_that_claim_never_hold_two_changes_of_one_instance(database):
    accept(
        database,
        *(
            ('u%03d' % number, 'i%d' % (number % 5), '%04d' % random.Random(number).randrange(1000))
            for number in range(100)
        ),
    )
    busy, lock, met, ended = collections.Counter(), threading.Lock(), [], []

    def work(number):
        worker = 'w%d' % number
        while len(ended) < 100:
            found = patiently(database, inbox.inbox_claim, worker, 60, 3)
            crowded = inbox.inbox_crowded(database, found)
            if crowded:
                patiently(database, inbox.inbox_release, crowded, worker)
            for row in found:
                if row['id'] in crowded:
                    continue
                with lock:
                    busy[row['instance_uuid']] += 1
                    if busy[row['instance_uuid']] > 1:
                        met.append(row['uuid'])
                time.sleep(0.001)
                with lock:
                    busy[row['instance_uuid']] -= 1
                assert patiently(database, inbox.inbox_end, row['id'], worker, inbox.DONE)
                ended.append(row['uuid'])

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert met == []
    assert sorted(ended) == ['u%03d' % number for number in range(100)]


def test_an_older_version_that_runs_beside_this_one_sees_its_changes_carried_out(database, start):
    """It writes no instance: then nothing is waited for."""
    run(database, inbox.inbox_accept, [('old', 'x', '{"uuid": "old"}')])
    with engine.Database(database.url).read() as connection:
        assert connection is not None
    start()
    wait_for_end(database, 1)


# -- on the way to neighbours --


def add(database, *changes, neighbour='a'):
    """Put changes for a neighbour into the outbox: tuples of uuid and instance."""
    rows = [(one, neighbour, 'targeted', 'text ' + one, instance) for one, instance in changes]
    run(database, statements.outbox_add, rows)


def send(database, worker='w', neighbour='a', **kwargs):
    with database.write() as connection:
        found = statements.outbox_claim(connection, worker, neighbour, 30, 10, **kwargs)
    return {row['uuid']: row['id'] for row in found}


def test_s8_of_one_instance_one_change_is_on_its_way_to_a_neighbour_at_a_time(database):
    add(database, ('a1', 'a'), ('a2', 'a'), ('b1', 'b'), ('x', None), ('y', None))
    add(database, ('a1', 'a'), neighbour='other')
    first = send(database)
    assert set(first) == {'a1', 'b1', 'x', 'y'}
    assert set(send(database, 'w2', neighbour='other')) == {'a1'}
    assert send(database, 'w2') == {}
    run(database, statements.outbox_sent, [first['a1']], 30)
    assert send(database, 'w2') == {}
    # It waits until the neighbour has the one before it in its journal, also when that is lost.
    set_values(database, models.Outbox, 'a1', claimed_until=0.0)
    run(database, statements.outbox_overdue, 'a', plain=False)
    assert set(send(database, 'w2')) == {'a1'}
    run(database, statements.outbox_confirm, 'a', ['a1'])
    assert set(send(database, 'w2')) == {'a2'}


def test_what_does_not_get_out_holds_up_only_what_is_behind_it(database):
    add(database, ('a1', 'a'), ('a2', 'a'), ('b1', 'b'))
    first = send(database)
    run(database, statements.outbox_not_sent, [first['a1']], 30)
    assert send(database) == {}
    add(database, ('c1', 'c'), ('b2', 'b'))
    assert set(send(database)) == {'c1'}


def test_of_a_plain_neighbour_the_word_of_its_broker_counts(database):
    add(database, ('a1', 'a'), ('a2', 'a'), ('a3', 'a'))
    first = send(database, confirms=False)
    assert set(first) == {'a1'}
    assert send(database, confirms=False) == {}
    run(database, statements.outbox_sent, [first['a1']], 30)
    second = send(database, confirms=False)
    assert set(second) == {'a2'}
