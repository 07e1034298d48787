"""The journal: its statements, and the whole of it with threads, on each kind of database."""

import collections
import concurrent.futures
import contextlib
import json
import logging
import threading
import time
import uuid

import pytest
import sqlalchemy as sa
from oslo_db import exception as db_exc

from cells import exceptions, journal, journal_worker, journal_writer, patience, subjects
from cells.db import engine, inbox, migration, models, sync_requests
from cells.db import journal as statements
from cells.stats import Stats
from tests import deploy

LONG = 60.0


def run(database, statement, *args, **kwargs):
    """Run a statement of the journal in a transaction of its own."""
    with database.write() as connection:
        return statement(connection, *args, **kwargs)


def patiently(database, statement, *args):
    """Run a statement, again when the database asks for it, as the journal does."""
    while True:
        try:
            return run(database, statement, *args)
        except engine.ERRORS as error:
            if not engine.is_transient(error):
                raise
            time.sleep(0.01)


def accept(database, *uuids):
    """Put changes into the inbox."""
    run(database, inbox.inbox_accept, [(one, 'sync_instances', 'text ' + one) for one in uuids])


def add(database, *uuids, neighbour='a'):
    """Put changes for a neighbour into the outbox."""
    rows = [(one, neighbour, 'broadcast', 'text ' + one) for one in uuids]
    run(database, statements.outbox_add, rows)


def rows(database, model):
    """Return all rows of a table in the order of their ids."""
    columns = model.__table__.c
    with database.read() as connection:
        found = connection.execute(sa.select(*columns).order_by(columns.id)).mappings()
        return [dict(row) for row in found]


def set_values(database, model, *uuids, **values):
    """Write values into the rows of these uuids."""
    with database.write() as connection:
        connection.execute(sa.update(model).where(model.uuid.in_(uuids)).values(**values))


def states(database, model):
    """Return the state of each row by uuid."""
    return {row['uuid']: row['state'] for row in rows(database, model)}


def names(found):
    """Return the uuids of rows."""
    return [row['uuid'] for row in found]


# -- statements on the inbox --


def test_r3_a_change_that_is_accepted_twice_has_one_row(database):
    accept(database, 'u1', 'u2')
    accept(database, 'u2', 'u3')
    accept(database, 'u4', 'u4')
    found = rows(database, models.Inbox)
    assert sorted(names(found)) == ['u1', 'u2', 'u3', 'u4']
    assert {row['envelope'] for row in found} == {'text ' + row['uuid'] for row in found}
    assert statements.counts(database) == {'inbox.received': 4}


def test_r3_a_change_that_is_done_is_not_begun_again_by_a_second_copy(database):
    accept(database, 'u1')
    [row] = run(database, inbox.inbox_claim, 'w', 30, 10)
    assert run(database, inbox.inbox_end, row['id'], 'w', inbox.DONE)
    accept(database, 'u1')
    assert states(database, models.Inbox) == {'u1': 'done'}
    assert not inbox.inbox_due(database)


@pytest.mark.parametrize(
    'uuids',
    [
        pytest.param(['u1', 'U1'], id='case'),
        pytest.param(['e', 'é'], id='accent'),
        pytest.param(['u1', 'u1 '], id='trailing blank'),
        pytest.param(['u1', 'u1;t=1.5'], id='mark'),
    ],
)
def test_uuids_that_differ_in_any_character_are_two_changes(database, uuids):
    for one in uuids:
        accept(database, one)
        add(database, one)
    assert names(rows(database, models.Inbox)) == uuids
    assert names(rows(database, models.Outbox)) == uuids


def test_an_envelope_of_eight_megabytes_comes_back_as_it_was(database):
    envelope = 'aé漢😀' * (8 * 1024 * 1024 // 10)
    run(database, inbox.inbox_accept, [('u1', 'sync_instances', envelope)])
    [found] = run(database, inbox.inbox_claim, 'w', 30, 10)
    assert found['envelope'] == envelope


def test_a_claim_takes_the_oldest_first_and_no_more_than_asked(database):
    accept(database, 'u1')
    accept(database, 'u2')
    accept(database, 'u3')
    first = run(database, inbox.inbox_claim, 'w', 30, 2)
    second = run(database, inbox.inbox_claim, 'w', 30, 2)
    third = run(database, inbox.inbox_claim, 'w', 30, 2)
    assert (names(first), names(second), third) == (['u1', 'u2'], ['u3'], [])
    assert {key: first[0][key] for key in ('operation', 'envelope', 'attempts')} == {
        'operation': 'sync_instances',
        'envelope': 'text u1',
        'attempts': 0,
    }


def test_eight_threads_that_claim_at_the_same_time_never_get_the_same_change(database):
    accept(database, *['u%03d' % number for number in range(200)])
    barrier = threading.Barrier(8)

    def work(number):
        barrier.wait(10)
        mine = []
        while len(found := patiently(database, inbox.inbox_claim, 'w%d' % number, 60, 5)):
            mine += names(found)
            time.sleep(0.005)  # SQLite would let the same thread write again
        return mine

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        shares = list(pool.map(work, range(8)))
    # Who found nothing because others had locked what was free stops early; so one may be left.
    shares.append(names(run(database, inbox.inbox_claim, 'last', 60, 200)))
    claimed = [one for share in shares for one in share]
    assert sorted(claimed) == ['u%03d' % number for number in range(200)]
    assert sum(bool(share) for share in shares) > 1


def test_a_claim_that_expires_is_taken_over_and_counted(database):
    accept(database, 'u1')
    run(database, inbox.inbox_claim, 'w1', 2, 10)
    assert run(database, inbox.inbox_claim, 'w2', 30, 10) == []
    assert not inbox.inbox_due(database)
    deploy.wait_until(lambda: inbox.inbox_due(database), 20, 'the claim has expired')
    [found] = run(database, inbox.inbox_claim, 'w2', 30, 10)
    assert (found['uuid'], found['attempts']) == ('u1', 1)


def test_x4_of_what_has_failed_no_password_stays(database):
    kinds = ('set_admin_password', 'build_instances', 'sync_instances')
    run(database, inbox.inbox_accept, [(one, one, 'text ' + one) for one in kinds])
    for row in run(database, inbox.inbox_claim, 'w1', 30, 10):
        assert run(database, inbox.inbox_end, row['id'], 'w1', inbox.FAILED, 'refused')
    with database.read() as connection:
        found = connection.execute(sa.select(models.Inbox.uuid, models.Inbox.envelope)).all()
    kept = dict(map(tuple, found))
    assert kept == {**dict.fromkeys(kinds, ''), 'sync_instances': 'text sync_instances'}


def test_who_has_lost_its_claim_cannot_end_the_change(database):
    accept(database, 'u1')
    [row] = run(database, inbox.inbox_claim, 'w1', -1, 10)
    run(database, inbox.inbox_claim, 'w2', 30, 10)
    assert run(database, inbox.inbox_end, row['id'], 'w1', inbox.DONE) is False
    assert run(database, inbox.inbox_end, row['id'], 'w2', inbox.DONE) is True
    assert run(database, inbox.inbox_end, row['id'], 'w2', inbox.DONE) is False
    [found] = rows(database, models.Inbox)
    assert (found['state'], found['claimed_by'], found['attempts']) == ('done', 'w2', 2)
    assert abs(found['ended_at'] - time.time()) < 10


def test_a_change_that_nobody_has_claimed_cannot_be_ended(database):
    accept(database, 'u1')
    [row] = rows(database, models.Inbox)
    assert run(database, inbox.inbox_end, row['id'], 'w', inbox.DONE) is False
    assert states(database, models.Inbox) == {'u1': 'received'}


def test_a_failed_change_keeps_its_reason(database):
    accept(database, 'u1')
    [row] = run(database, inbox.inbox_claim, 'w', 30, 10)
    assert run(database, inbox.inbox_end, row['id'], 'w', inbox.FAILED, 'no é left')
    [found] = rows(database, models.Inbox)
    assert (found['state'], found['reason']) == ('failed', 'no é left')
    assert run(database, inbox.inbox_claim, 'w', 30, 10) == []


def test_a_new_process_frees_what_its_own_slot_had_claimed_and_nothing_else(database):
    accept(database, 'u1', 'u2', 'u3', 'u4')
    add(database, 'o1', 'o2', 'o3')
    [mine] = run(database, inbox.inbox_claim, 'w1', 30, 1)
    [done] = run(database, inbox.inbox_claim, 'w1', 30, 1)
    run(database, inbox.inbox_end, done['id'], 'w1', inbox.DONE)
    [other] = run(database, inbox.inbox_claim, 'w10', 30, 1)
    [my_out] = run(database, statements.outbox_claim, 'w1', 'a', 30, 1)
    [sent] = run(database, statements.outbox_claim, 'w1', 'a', 30, 1)
    run(database, statements.outbox_sent, [sent['id']], 30)
    run(database, statements.outbox_claim, 'w10', 'a', 30, 1)

    run(database, statements.release_all, 'w1')

    free = {*{'u1', 'u2', 'u3', 'u4'} - {done['uuid'], other['uuid']}}
    assert mine['uuid'] in free
    assert set(names(run(database, inbox.inbox_claim, 'w2', 30, 10))) == free
    assert names(run(database, statements.outbox_claim, 'w2', 'a', 30, 10)) == [my_out['uuid']]
    assert states(database, models.Outbox)[sent['uuid']] == 'sent'


def test_a_purge_deletes_done_changes_that_are_old_some_at_a_time(database):
    old = ['done%d' % number for number in range(5)]
    accept(database, *old, 'young', 'failed', 'claimed', 'received')
    set_values(database, models.Inbox, *old, state='done', ended_at=time.time() - 100)
    set_values(database, models.Inbox, 'young', state='done', ended_at=time.time() - 10)
    set_values(database, models.Inbox, 'failed', state='failed', ended_at=time.time() - 100)
    set_values(database, models.Inbox, 'claimed', state='claimed', claimed_by='w')
    numbers = [run(database, statements.purge, 50, 3) for _ in range(3)]
    assert numbers == [3, 2, 0]
    assert set(states(database, models.Inbox)) == {'young', 'failed', 'claimed', 'received'}
    # Failed ones are kept ten times as long; what a plain cell was sent goes as well.
    add(database, 'unconfirmed', 'sent')
    set_values(
        database, models.Outbox, 'unconfirmed', state='unconfirmed', sent_at=time.time() - 100
    )
    set_values(database, models.Outbox, 'sent', state='sent', sent_at=time.time() - 100)
    run(database, statements.purge, 5, 10)
    assert set(states(database, models.Inbox)) == {'claimed', 'received'}
    assert set(states(database, models.Outbox)) == {'sent'}


def test_what_was_put_aside_is_purged_when_nobody_has_looked_for_long(database):
    dead = [(name, 'x', 'above!top', 'text', 'delivered often') for name in ('old', 'young')]
    run(database, statements.dead_add, dead)
    which = sa.update(models.DeadMessage).where(models.DeadMessage.uuid == 'old')
    with database.write() as connection:
        connection.execute(which.values(parked_at=time.time() - 100))
    assert run(database, statements.purge, 50, 10) == 0
    assert run(database, statements.purge, 9, 10) == 1
    assert [row['uuid'] for row in rows(database, models.DeadMessage)] == ['young']


def test_orders_to_sync_are_purged_when_they_have_ended_long_ago(database):
    with database.write() as connection:
        for name in ('open', 'ended', 'long'):
            sync_requests.sync_request_create(connection, name, None, None, False, 'top', 'r')
        sync_requests.sync_request_end(connection, 'ended')
        sync_requests.sync_request_end(connection, 'long')
        connection.execute(
            sa.update(models.SyncRequest)
            .where(models.SyncRequest.uuid != 'ended')
            .values(requested_at=0.0, ended_at=time.time() - 100)
        )
        assert sync_requests.sync_request_purge(connection, 50, 10) == 1
    left = {row['uuid'] for row in sync_requests.sync_request_get_all(database)}
    assert left == {'open', 'ended'}


def test_a_change_that_still_comes_again_is_not_forgotten(database):
    accept(database, 'again', 'over')
    set_values(database, models.Inbox, 'again', 'over', state='done', ended_at=time.time() - 100)
    run(database, inbox.inbox_remember, ['again'], 50)
    run(database, statements.purge, 90, 10)
    assert states(database, models.Inbox) == {'again': 'done'}


# -- statements on the outbox --


def test_a_change_for_two_neighbours_has_a_row_for_each_and_none_twice(database):
    add(database, 'u1', neighbour='a')
    add(database, 'u1', neighbour='b')
    add(database, 'u1', 'u2', neighbour='a')
    found = {(row['uuid'], row['neighbour']) for row in rows(database, models.Outbox)}
    assert found == {('u1', 'a'), ('u1', 'b'), ('u2', 'a')}
    assert statements.counts(database) == {'outbox.pending': 3}
    assert sorted(statements.outbox_due(database, statements.PENDING)) == ['a', 'b']


def test_a_claim_in_the_outbox_is_for_one_neighbour_and_oldest_first(database):
    add(database, 'u1')
    add(database, 'x1', neighbour='b')
    add(database, 'u2')
    add(database, 'u3')
    first = run(database, statements.outbox_claim, 'w', 'a', 30, 2)
    assert names(first) == ['u1', 'u2']
    assert {key: first[0][key] for key in ('kind', 'envelope', 'attempts')} == {
        'kind': 'broadcast',
        'envelope': 'text u1',
        'attempts': 0,
    }
    assert names(run(database, statements.outbox_claim, 'w', 'a', 30, 9)) == ['u3']
    assert statements.outbox_due(database, statements.PENDING) == ['b']


def test_eight_threads_that_empty_the_outbox_never_get_the_same_change(database):
    add(database, *['u%03d' % number for number in range(200)])
    barrier = threading.Barrier(8)

    def work(number):
        barrier.wait(10)
        mine = []
        while found := patiently(database, statements.outbox_claim, 'w%d' % number, 'a', 60, 5):
            mine += names(found)
        return mine

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        claimed = [one for share in pool.map(work, range(8)) for one in share]
    claimed += names(run(database, statements.outbox_claim, 'last', 'a', 60, 200))
    assert sorted(claimed) == ['u%03d' % number for number in range(200)]


def test_a_change_that_did_not_get_out_is_due_again_after_its_delay(database):
    add(database, 'u1')
    [row] = run(database, statements.outbox_claim, 'w', 'a', 30, 1)
    run(database, statements.outbox_not_sent, [row['id']], 2)
    assert statements.outbox_due(database, statements.PENDING) == []
    deploy.wait_until(
        lambda: statements.outbox_due(database, statements.PENDING), 20, 'the delay is over'
    )
    [again] = run(database, statements.outbox_claim, 'w', 'a', 30, 1)
    assert (again['uuid'], again['attempts']) == ('u1', 1)


def test_a_change_whose_sender_died_is_claimed_by_another_after_a_while(database):
    add(database, 'u1')
    run(database, statements.outbox_claim, 'w1', 'a', 2, 1)
    assert run(database, statements.outbox_claim, 'w2', 'a', 30, 1) == []
    deploy.wait_until(
        lambda: statements.outbox_due(database, statements.PENDING), 20, 'the claim has expired'
    )
    assert names(run(database, statements.outbox_claim, 'w2', 'a', 30, 1)) == ['u1']


@pytest.mark.parametrize(
    ('plain', 'state', 'due'),
    [
        pytest.param(False, 'pending', ['a'], id='one of ours gets it again'),
        pytest.param(True, 'unconfirmed', [], id='a plain one does not'),
    ],
)
def test_what_was_sent_and_never_confirmed_is_dealt_with(database, plain, state, due):
    add(database, 'late', 'patient', 'pending')
    add(database, 'other', neighbour='b')
    claimed = run(database, statements.outbox_claim, 'w', 'a', 30, 2)
    claimed += run(database, statements.outbox_claim, 'w', 'b', 30, 1)
    ids = {row['uuid']: row['id'] for row in claimed}
    late, patient = (name for name in ids if name != 'other')
    run(database, statements.outbox_sent, [ids[late], ids['other']], -1)
    run(database, statements.outbox_sent, [ids[patient]], 30)
    assert sorted(statements.outbox_due(database, statements.SENT)) == ['a', 'b']

    # R3: who is not known yet may be plain, and would carry it out twice.
    assert run(database, statements.outbox_overdue, 'a', plain=False, older_than=60) == 0
    assert run(database, statements.outbox_overdue, 'a', plain=plain) == 1
    assert run(database, statements.outbox_overdue, 'a', plain=plain) == 0
    left = {row['uuid']: row['envelope'] for row in rows(database, models.Outbox)}
    assert bool(left.pop(late)) is not plain  # X4: there may be a password in it
    assert all(left.values())

    found = states(database, models.Outbox)
    assert (found[late], found[patient], found['other']) == (state, 'sent', 'sent')
    [third] = set(found) - set(ids)
    assert found[third] == 'pending'
    run(database, statements.outbox_claim, 'w', 'a', 30, 1)
    assert statements.outbox_due(database, statements.PENDING) == due


def test_x4_what_a_plain_cell_was_sent_is_never_due_again_and_its_content_is_gone(database):
    add(database, 'u1')
    [row] = run(database, statements.outbox_claim, 'w', 'a', 30, 1)
    run(database, statements.outbox_sent, [row['id']], -1, plain=True)
    assert states(database, models.Outbox) == {'u1': 'unconfirmed'}
    assert [one['envelope'] for one in rows(database, models.Outbox)] == ['']
    for state in (statements.SENT, statements.PENDING):
        assert statements.outbox_due(database, state) == []


@pytest.mark.parametrize('state', ['pending', 'claimed', 'sent', 'unconfirmed'])
def test_a_confirmed_change_is_dropped_in_whatever_state_it_is(database, state):
    add(database, 'u1', 'u2')
    add(database, 'u1', neighbour='b')
    set_values(database, models.Outbox, 'u2', claimed_until=time.time() + 60)
    if state != 'pending':
        [row] = run(database, statements.outbox_claim, 'w', 'a', 30, 1)
    if state in ('sent', 'unconfirmed'):
        run(database, statements.outbox_sent, [row['id']], -1)
    if state == 'unconfirmed':
        run(database, statements.outbox_overdue, 'a', plain=True)

    assert run(database, statements.outbox_confirm, 'a', ['u1', 'unknown']) == 1
    assert run(database, statements.outbox_confirm, 'a', ['u1']) == 0

    left = {(row['uuid'], row['neighbour']) for row in rows(database, models.Outbox)}
    assert left == {('u2', 'a'), ('u1', 'b')}


def test_a_change_that_was_confirmed_before_it_was_noted_as_sent_stays_away(database):
    add(database, 'u1')
    [row] = run(database, statements.outbox_claim, 'w', 'a', 30, 1)
    run(database, statements.outbox_confirm, 'a', ['u1'])
    run(database, statements.outbox_sent, [row['id']], 30)
    run(database, statements.outbox_not_sent, [row['id']], 0)
    assert rows(database, models.Outbox) == []


# -- the journal as a whole --


#: No instance.
NOTHING = subjects.Subject()


class Running:
    """A journal whose changes note in ``sync_requests`` that they were carried out.

    A change is a JSON object with its ``uuid``; each carrying out makes a row of its
    own, so that a change that is done twice has two.

    :param on_perform: called first with each change, may raise.
    """

    def __init__(self, database, worker='h1.0', on_perform=lambda connection, change: None):
        self.committed = collections.Counter()
        self.accepted = threading.Event()
        self.performed = threading.Event()
        self.stats = Stats()
        self.on_perform = on_perform
        self.worker = worker
        self.lock = threading.Lock()
        self.reported = []
        self.journal = journal.Journal(
            database=database,
            worker=worker,
            perform=self.perform,
            reach_out=lambda operation, envelope: None,
            report=self.report,
            on_accepted=self.accepted.set,
            on_performed=self.performed.set,
            stats=self.stats,
        )

    def perform(self, connection, envelope, age):
        change = json.loads(envelope)
        self.on_perform(connection, change)
        sync_requests.sync_request_create(
            connection, str(uuid.uuid4()), change['uuid'], None, False, self.worker, None
        )

    def report(self, connection, row, error):
        """Note in a row of its own that a change has failed."""
        self.reported.append((row['uuid'], error))
        sync_requests.sync_request_create(
            connection, str(uuid.uuid4()), 'failed ' + row['uuid'], None, False, self.worker, None
        )

    def accept(self, one, subject=NOTHING, **change):
        """Take a change in and count when it is safe."""

        def on_commit():
            with self.lock:
                self.committed[one] += 1

        text = json.dumps({'uuid': one, **change})
        self.journal.accept(
            one, 'sync_instances', text, on_commit, lambda reason: on_commit(), subject
        )


@pytest.fixture
def start(database):
    """A function that starts a journal on the database; it is stopped at the end."""
    with contextlib.ExitStack() as stack:

        def start_one(*args, **kwargs):
            one = Running(database, *args, **kwargs)
            one.journal.start()
            stack.callback(one.journal.stop)
            return one

        yield start_one


def done(database):
    """Return how often each change was carried out, by uuid."""
    found = sync_requests.sync_request_get_all(database, limit=10000)
    counted = collections.Counter(row['project_id'] for row in found)
    return collections.Counter(
        {one: number for one, number in counted.items() if not one.startswith('failed ')}
    )


def reported(database):
    """Return how often each change was reported as failed, by uuid."""
    found = sync_requests.sync_request_get_all(database, limit=10000)
    return collections.Counter(
        row['project_id'].removeprefix('failed ')
        for row in found
        if row['project_id'].startswith('failed ')
    )


def wait_for_end(database, number, seconds=LONG):
    """Wait until so many changes are done or failed."""

    def ended():
        counts = statements.counts(database)
        return counts.get('inbox.done', 0) + counts.get('inbox.failed', 0) == number

    deploy.wait_until(ended, seconds, '%d changes come to an end' % number)


def test_r3_changes_that_all_come_twice_from_several_threads_are_done_once(database, start):
    one = start()
    uuids = ['u%03d' % number for number in range(500)]

    def bring(offset):
        for name in uuids[offset:] + uuids[:offset]:
            if uuids.index(name) % 2 == offset % 2:
                one.accept(name)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(bring, (0, 1, 250, 251)))
    wait_for_end(database, 500)

    assert one.committed == dict.fromkeys(uuids, 2)
    assert done(database) == dict.fromkeys(uuids, 1)
    assert statements.counts(database) == {'inbox.done': 500}
    assert one.accepted.is_set()
    assert one.performed.is_set()
    assert one.stats.get('journal_accepted') == 1000
    assert one.stats.get('journal_done', operation='sync_instances') == 500


def test_r3_a_second_copy_of_a_change_that_is_done_is_safe_at_once_and_not_done_again(
    database, start
):
    one = start()
    one.accept('u1')
    wait_for_end(database, 1)
    one.accept('u1')
    deploy.wait_until(lambda: one.committed['u1'] == 2, LONG, 'the second copy is safe')
    one.accept('u2')
    wait_for_end(database, 2)
    assert done(database) == {'u1': 1, 'u2': 1}


def test_a_change_is_done_soon_after_it_came(database, start, monkeypatch):
    monkeypatch.setattr(journal_worker, 'POLL_SECONDS', 60.0)
    one = start()
    one.accept('u1')
    wait_for_end(database, 1)
    time.sleep(0.3)  # the workers have found that there is no more
    one.accept('u2')
    wait_for_end(database, 2)


def fail(connection, change):
    raise RuntimeError('no %s today' % change['uuid'])


def fail_as_expected(connection, change):
    raise exceptions.CellNotFound(cell_name='b')


def fail_in_the_database(connection, change):
    connection.execute(sa.text('SELECT x FROM no_such_table'))


def fail_with_a_duplicate(connection, change):
    for _ in range(2):
        sync_requests.sync_request_create(connection, 'same', 'x', None, False, 'x', None)


def fail_at_length(connection, change):
    raise RuntimeError('x' * 100_000)


def fail_with_nul(connection, change):
    raise RuntimeError('nul \0 here')


def fail_with_surrogate(connection, change):
    raise RuntimeError('half a pair \ud800 here')


def fail_with_half_an_effect(connection, change):
    sync_requests.sync_request_create(connection, 'half', 'half', None, False, 'x', None)
    raise RuntimeError('half done')


@pytest.mark.parametrize(
    ('failure', 'reason'),
    [
        pytest.param(fail, 'RuntimeError: no bad today', id='any error'),
        pytest.param(fail_as_expected, "CellNotFound: Cell b doesn't exist.", id='of the contract'),
        pytest.param(fail_in_the_database, 'no_such_table', id='wrong statement'),
        pytest.param(fail_with_a_duplicate, 'DBDuplicateEntry', id='duplicate row'),
        pytest.param(fail_with_half_an_effect, 'RuntimeError: half done', id='half an effect'),
        pytest.param(fail_at_length, 'RuntimeError: xxxx', id='long text'),
        pytest.param(fail_with_nul, 'RuntimeError: nul', id='NUL in the text'),
        pytest.param(fail_with_surrogate, 'RuntimeError: half a pair', id='surrogate in the text'),
    ],
)
def test_a_change_that_cannot_be_carried_out_fails_with_the_reason_and_harms_no_other(
    database, start, caplog, failure, reason
):
    caplog.set_level('INFO')

    def on_perform(connection, change):
        if change['uuid'].startswith('bad'):
            failure(connection, change)

    one = start(on_perform=on_perform)
    # As many as there are threads that carry out, so that a thread that stops is missed.
    for name in ('good1', 'bad', 'bad2', 'bad3', 'good2', 'good3'):
        one.accept(name)
    wait_for_end(database, 6, 15)

    assert states(database, models.Inbox) == {
        'good1': 'done',
        'bad': 'failed',
        'bad2': 'failed',
        'bad3': 'failed',
        'good2': 'done',
        'good3': 'done',
    }
    assert done(database) == {'good1': 1, 'good2': 1, 'good3': 1}
    reasons = {row['uuid']: row['reason'] for row in rows(database, models.Inbox)}
    assert reason in reasons['bad']
    assert reasons['good1'] is None
    assert one.stats.get('journal_failed', operation='sync_instances') == 3
    told = [record for record in caplog.records if 'Change bad (sync' in record.getMessage()]
    # What a user did wrong is no error of the operator's.
    by_user = failure is fail_as_expected
    assert [record.levelname for record in told] == ['INFO' if by_user else 'ERROR']
    one.accept('good4')
    wait_for_end(database, 7, 15)


def test_neither_the_log_nor_the_reason_of_a_failure_shows_what_was_to_be_stored(
    database, start, caplog
):
    def on_perform(connection, change):
        for _ in range(2):
            sync_requests.sync_request_create(
                connection, 'same', 'a user secret', None, False, 'x', None
            )

    one = start(on_perform=on_perform)
    one.accept('u1')
    wait_for_end(database, 1, 15)
    [row] = rows(database, models.Inbox)
    assert row['state'] == 'failed'
    assert 'a user secret' not in row['reason']
    assert 'a user secret' not in caplog.text


@pytest.mark.parametrize(
    'rubbish',
    [
        pytest.param('x' * 200, id='too long'),
        pytest.param('nul \0 here', id='NUL'),
    ],
)
def test_a_change_that_does_not_fit_into_the_table_harms_no_other(database, start, rubbish):
    one = start()
    for name in ('good1', rubbish, 'good2'):
        one.accept(name)
    deploy.wait_until(lambda: len(one.committed) == 3, 15, 'the broker may forget all of them')
    one.accept('good3')
    deploy.wait_until(
        lambda: {'good1', 'good2', 'good3'} <= set(done(database)), 15, 'the good ones are done'
    )


def test_changes_that_are_large_together_are_journaled(database):
    one = Running(database)
    for number in range(4):
        one.accept('u%d' % number, padding='x' * (6 * 1024 * 1024))
    one.journal.start()
    try:
        wait_for_end(database, 4, 20)
    finally:
        one.journal.stop()
    assert done(database) == {'u%d' % number: 1 for number in range(4)}


def test_changes_that_are_small_and_large_at_a_time_are_journaled(database):
    # MariaDB takes statements of 16 MiB, in which each quotation mark counts twice or more.
    one = Running(database)
    for number, length in enumerate((500_000, 3_900_000, 10)):
        one.accept('u%d' % number, padding='"' * length)
    one.journal.start()
    try:
        wait_for_end(database, 3, 20)
    finally:
        one.journal.stop()


def test_a_large_change_goes_out_to_many_neighbours(database):
    envelope = '"' * 1_000_000
    patiently(
        database,
        statements.outbox_add,
        [('u1', 'cell-%d' % number, 'broadcast', envelope) for number in range(20)],
    )
    assert statements.counts(database) == {'outbox.pending': 20}


def test_a_change_that_was_begun_too_often_is_given_up(database, start):
    def on_perform(connection, change):
        raise AssertionError('it must not be tried once more')

    run(database, inbox.inbox_accept, [('u1', 'sync_instances', '{"uuid": "u1"}')])
    for _ in range(journal_worker.MOST_ATTEMPTS):
        assert run(database, inbox.inbox_claim, 'killed', -1, 1)
    start(on_perform=on_perform)
    wait_for_end(database, 1)
    [row] = rows(database, models.Inbox)
    assert row['state'] == 'failed'
    assert 'begun %d times' % journal_worker.MOST_ATTEMPTS in row['reason']


def test_what_a_process_was_killed_with_is_done_by_the_next_in_its_slot(database, start):
    run(
        database,
        inbox.inbox_accept,
        [(name, 'sync_instances', '{"uuid": "%s"}' % name) for name in ('u1', 'u2')],
    )
    assert len(run(database, inbox.inbox_claim, 'h1.0', 3600, 1)) == 1
    [other] = run(database, inbox.inbox_claim, 'h1.1', 3600, 1)
    start('h1.0')
    wait_for_end(database, 1)
    time.sleep(journal_worker.POLL_SECONDS + 0.3)
    assert states(database, models.Inbox)[other['uuid']] == 'claimed'
    start('h1.1')
    wait_for_end(database, 2)
    assert done(database) == {'u1': 1, 'u2': 1}


def test_a_change_that_was_taken_over_meanwhile_has_the_effects_of_one(database, start):
    began, go_on = threading.Event(), threading.Event()

    def on_perform(connection, change):
        began.set()
        go_on.wait(10)

    slow = start('slow', on_perform)
    if database.dialect != 'sqlite':  # where nobody else can write meanwhile
        slow.accept('u1')
        assert began.wait(10)
        set_values(database, models.Inbox, 'u1', claimed_until=0.0)
    else:
        run(database, inbox.inbox_accept, [('u1', 'sync_instances', '{"uuid": "u1"}')])
    start('quick')
    wait_for_end(database, 1)
    go_on.set()
    slow.accept('u2')
    wait_for_end(database, 2)
    assert done(database) == {'u1': 1, 'u2': 1}


def test_two_workers_share_the_changes_and_do_none_twice(database, start):
    uuids = ['u%03d' % number for number in range(200)]
    run(
        database,
        inbox.inbox_accept,
        [(name, 'sync_instances', '{"uuid": "%s"}' % name) for name in uuids],
    )

    def on_perform(connection, change):
        time.sleep(0.001)

    workers = [start('h1.0', on_perform), start('h2.0', on_perform)]
    for number in range(100):
        for worker in workers:
            worker.accept('v%03d' % number)
    wait_for_end(database, 300)

    expected = uuids + ['v%03d' % number for number in range(100)]
    assert done(database) == dict.fromkeys(expected, 1)
    found = sync_requests.sync_request_get_all(database, limit=10000)
    shares = collections.Counter(row['requested_by'] for row in found)
    # Of two that want to write, SQLite lets go on who has just written.
    assert len(shares) == 2 or database.dialect == 'sqlite'


def test_who_waits_for_a_change_to_be_safe_returns_when_it_is(database, start):
    one = start()
    one.journal.accept_and_wait('u1', 'sync_instances', '{"uuid": "u1"}')
    assert names(rows(database, models.Inbox)) == ['u1']
    wait_for_end(database, 1)


def test_who_waits_for_a_change_to_be_safe_is_told_when_the_worker_stops(database):
    one = Running(database)  # it never starts, as if the database were away
    one.journal.stop()
    with pytest.raises(exceptions.JournalUnavailable, match='stopping'):
        one.journal.accept_and_wait('u1', 'sync_instances', '{"uuid": "u1"}')


def test_a_journal_that_stops_has_written_what_came_before(database):
    one = Running(database)
    one.journal.start()
    for number in range(100):
        one.accept('u%d' % number)
    begun = time.monotonic()
    one.journal.stop()
    one.journal.stop()
    assert time.monotonic() - begun < 10
    assert len(one.committed) == 100
    assert len(rows(database, models.Inbox)) == 100
    counts = statements.counts(database)
    assert counts.get('inbox.done', 0) == len(done(database))


@pytest.mark.parametrize('database', ['postgresql'], indirect=True)
def test_changes_outlast_a_database_that_is_away_with_one_warning_for_each_thread(
    database, postgresql, start, caplog
):
    caplog.set_level(logging.INFO)
    one = start(on_perform=lambda connection, change: time.sleep(0.005))
    before = ['u%03d' % number for number in range(200)]
    during = ['v%03d' % number for number in range(200)]
    for name in before:
        one.accept(name)
    deploy.wait_until(lambda: len(done(database)) > 20, LONG, 'it is in the middle')

    postgresql.stop()
    try:
        for name in during:
            one.accept(name)
            time.sleep(0.01)
        time.sleep(1)
        assert not set(during) & set(one.committed)
    finally:
        postgresql.start()
    wait_for_end(database, 400)

    assert done(database) == dict.fromkeys(before + during, 1)
    assert statements.counts(database) == {'inbox.done': 400}
    assert set(one.committed) == set(before + during)
    loud = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert 1 <= len(loud) <= 1 + journal.WORKERS, loud
    assert all('the database' in text for text in loud)

    def back():
        calm = [record for record in caplog.records if record.levelno == logging.INFO]
        return [record for record in calm if 'the database' in record.getMessage()]

    deploy.wait_until(lambda: len(back()) >= len(loud), 20, 'all say that it is back')
    assert len(back()) == len(loud)


def test_a_change_that_alone_is_refused_keeps_no_other_out(workdir, monkeypatch, caplog):
    """As MariaDB refuses one that is larger than a packet: the error looks like an outage."""
    database = engine.Database('sqlite:///%s' % (workdir / 'cells.sqlite'))
    migration.sync(database)
    write = inbox.inbox_accept
    poison = ['poison']

    def accept(connection, rows):
        if any(row[0] in poison for row in rows):
            raise db_exc.DBConnectionError('packet too large')
        write(connection, rows)

    monkeypatch.setattr(inbox, 'inbox_accept', accept)
    monkeypatch.setattr(journal_writer, 'ASIDE_SECONDS', 0.5)
    monkeypatch.setattr(patience, 'LONGEST_PAUSE', 0.1)
    taken = []
    one = journal.Journal(
        database=database,
        worker='w',
        perform=lambda connection, envelope, age: None,
        reach_out=lambda operation, envelope: None,
        report=lambda connection, row, error: None,
        on_accepted=lambda: None,
        on_performed=lambda: None,
        stats=Stats(),
    )
    one.start()
    try:
        for uuid in ('a', 'poison', 'b'):
            one.accept(uuid, 'x', '{}', lambda uuid=uuid: taken.append(uuid), taken.append)
        deploy.wait_until(lambda: sorted(taken) == ['a', 'b'], 10, 'the others are taken')
        one.accept('c', 'x', '{}', lambda: taken.append('c'), taken.append)
        deploy.wait_until(lambda: 'c' in taken, 5, 'and what comes later')
        assert 'Change poison (x, 2 characters) is not taken by the database' in caplog.text
        poison.clear()
        deploy.wait_until(lambda: 'poison' in taken, 5, 'it is tried again')
    finally:
        one.stop()
        database.dispose()
