"""What operators see of the journal, and do with it, on each kind of database."""

import json
import time

import pytest
import sqlalchemy as sa

from cells import context, journal_entries, messages, paths, wire
from cells.db import inbox, journal, journal_rows, models, placements
from cells.db.journal_rows import DEAD, INBOX, OUTBOX
from cells.messages import BroadcastMessage, TargetedMessage
from cells.operations import Direction

ONE = '11111111-1111-4111-8111-111111111111'
SECRET = 's3cr3t-in-the-arguments'


class Reports:
    """Keeps what is reported, in the place of those that write it."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def report(self, connection, message, error) -> None:
        self.told.append((message.method_name, str(error)))


@pytest.fixture
def reports():
    return Reports()


def order(operation='reboot_instance', came_by='api!mid', direction=Direction.DOWN, **more):
    kwargs = {'instance': ONE, 'reboot_type': SECRET}
    path = paths.CellPath.parse(came_by)
    fields = {
        'ctxt': context.RequestContext('u1', 'p1', request_id='req-1').to_dict(),
        'method_name': operation,
        'method_kwargs': kwargs,
        'direction': direction,
        'routing_path': path,
        'hop_count': len(path),
        'uuid': messages.new_uuid(),
        **more,
    }
    if direction is Direction.UP:
        return BroadcastMessage(**fields)
    return TargetedMessage(target_cell=paths.CellPath.parse('api!mid!leaf'), **fields)


def came_in(database, message=None, **values):
    """Put a change into the inbox of the leaf and return its entry."""
    message = message or order()
    row = (message.uuid, message.method_name, wire.encode(message), ONE, '1', 'req-1')
    with database.write() as connection:
        inbox.inbox_accept(connection, [row])
        if values:
            connection.execute(sa.update(models.Inbox).values(**values))
    return only(database, INBOX)


def goes_out(database, message=None, **values):
    """Put a change for the leaf into the outbox of the cell in the middle."""
    message = message or order(came_by='api!mid')
    row = (message.uuid, 'leaf', 'targeted', wire.encode(message), ONE, 'req-1')
    with database.write() as connection:
        journal.outbox_add(connection, [row])
        if values:
            connection.execute(sa.update(models.Outbox).values(**values))
    return only(database, OUTBOX)


def put_aside(database, text, operation='', came_by=''):
    with database.write() as connection:
        journal.dead_add(connection, [('', operation, came_by, text, 'delivered often')])
    return only(database, DEAD)


def only(database, box):
    states = (*journal_rows.OPEN[box], *journal_rows.OVER[box])
    own = 'mid' if box == OUTBOX else 'leaf'
    [row] = journal_rows.rows(database, box, states)
    return journal_entries.entry_of(row, own)


def do(database, what, entry, *args, **kwargs):
    with database.write() as connection:
        row = journal_rows.row_get(connection, entry.row.box, entry.row.id, lock=True)
        locked = journal_entries.entry_of(row, 'mid' if row.box == OUTBOX else 'leaf')
        return what(connection, locked, *args, **kwargs)


def column(database, model, name):
    with database.read() as connection:
        return connection.execute(sa.select(model.__table__.c[name])).scalars().all()


def test_x4_of_what_came_in_everything_is_shown_but_the_arguments(database):
    entry = came_in(database)
    found = entry.details()
    assert entry.name == 'inbox:%d' % entry.row.id
    assert found['operation'] == 'reboot_instance'
    assert found['neighbour'] == 'mid'
    assert found['instances'] == ONE
    assert found['request_id'] == 'req-1'
    assert found['came_by'] == 'api!mid!leaf'
    assert found['target'] == 'api!mid!leaf'
    assert found['arguments'] == 'instance, reboot_type'
    assert 0 <= found['age'] < 60
    assert SECRET not in json.dumps(found)


def test_many_rows_are_listed_page_by_page_and_by_neighbour(database):
    with database.write() as connection:
        for start in range(0, 500, 100):
            journal.outbox_add(
                connection,
                [
                    ('u%d' % number, 'ab'[number % 2], 'targeted', 'text')
                    for number in range(start, start + 100)
                ],
            )
    found = list(journal_rows.rows(database, OUTBOX, [journal.PENDING]))
    assert [row.uuid for row in found] == ['u%d' % number for number in range(500)]
    found = list(journal_rows.rows(database, OUTBOX, [journal.PENDING], neighbour='b'))
    assert len(found) == 250
    assert not list(journal_rows.rows(database, OUTBOX, [journal.SENT]))


def test_t5_a_dropped_change_is_reported_and_not_carried_out(database, reports):
    entry = came_in(database)
    assert 'reported as failed' in journal_entries.loss(entry)
    do(database, journal_entries.drop, entry, reports)
    assert reports.told == [('reboot_instance', 'An operator has dropped it')]
    assert column(database, models.Inbox, 'state') == [inbox.FAILED]
    assert column(database, models.Inbox, 'envelope') == ['']
    assert not inbox.inbox_due(database)
    # Who ordered it knows: dropped once more, it is done with.
    do(database, journal_entries.drop, only(database, INBOX), reports)
    assert len(reports.told) == 1
    assert column(database, models.Inbox, 'state') == [inbox.DONE]
    with pytest.raises(journal_entries.Refused, match='nothing to drop'):
        do(database, journal_entries.drop, only(database, INBOX), reports)


def test_what_a_worker_has_just_now_is_left_alone(database, reports):
    held = {'state': inbox.CLAIMED, 'claimed_by': 'w.0', 'claimed_until': time.time() + 600}
    entry = came_in(database, **held)
    for what, *args in (
        (journal_entries.drop, reports),
        (journal_entries.retry, 600.0),
    ):
        with pytest.raises(journal_entries.Refused, match=r'worker w\.0 has it just now'):
            do(database, what, entry, *args)
    assert reports.told == []


def test_a_failed_change_is_carried_out_again(database):
    entry = came_in(database, state=inbox.FAILED, attempts=8, reason='why', ended_at=1.0)
    do(database, journal_entries.retry, entry, 600.0)
    with database.write() as connection:
        [claimed] = inbox.inbox_claim(connection, 'w', 30, 10)
    assert claimed['attempts'] == 0
    assert claimed['age'] < 60
    assert column(database, models.Inbox, 'reason') == [None]


def test_a_change_that_is_too_old_or_wiped_is_not_tried_again(database):
    entry = came_in(database, state=inbox.FAILED, received_at=time.time() - 700)
    with pytest.raises(journal_entries.Refused, match='action_timeout.*ordered anew'):
        do(database, journal_entries.retry, entry, 600.0)
    with database.write() as connection:
        connection.execute(sa.update(models.Inbox).values(envelope=''))
    with pytest.raises(journal_entries.Refused, match='may be a password'):
        do(database, journal_entries.retry, entry, 600.0)


def test_an_order_that_is_not_sent_is_reported_when_it_is_dropped(database, reports):
    entry = goes_out(database)
    do(database, journal_entries.drop, entry, reports)
    assert reports.told == [('reboot_instance', 'An operator has dropped it')]
    assert column(database, models.Outbox, 'id') == []


def test_a_build_that_is_not_sent_goes_to_the_next_cell_when_it_is_dropped(database, reports):
    message = order('build_instances', method_kwargs={'build_inst_kwargs': {}})
    entry = goes_out(database, message)
    assert 'next cell is tried' in journal_entries.loss(entry)
    with database.write() as connection:
        attempt = {'instance_uuid': ONE, 'attempt': 1, 'request_uuid': 'r'}
        placements.attempts_add(connection, [attempt])
        [row] = placements.attempts_due(connection, [placements.WAITING], 1)
        placements.attempts_place(connection, [(row['id'], 'leaf', message.uuid, 60.0, None)])
    do(database, journal_entries.drop, entry, reports)
    assert column(database, models.Placement, 'state') == [placements.REFUSED]
    [text] = column(database, models.Placement, 'reasons')
    assert placements.Reasons.of(text).cells == {'api!mid!leaf': 'An operator has dropped it'}
    assert reports.told == []


def test_a_build_that_the_other_side_has_is_not_dropped(database, reports):
    message = order('build_instances', method_kwargs={'build_inst_kwargs': {}})
    entry = goes_out(database, message, state=journal.SENT, claimed_until=time.time() + 60)
    with pytest.raises(journal_entries.Refused, match='two cells would build it'):
        do(database, journal_entries.drop, entry, reports)


def test_what_was_sent_is_sent_again_at_once_but_not_to_a_plain_cell(database):
    entry = goes_out(database, state=journal.SENT, claimed_until=time.time() + 600)
    with pytest.raises(journal_entries.Refused, match='carry it out twice'):
        do(database, journal_entries.retry, entry, 600.0, plain=True)
    do(database, journal_entries.retry, entry, 600.0)
    assert journal.outbox_due(database, journal.PENDING) == ['leaf']


def test_a_message_that_was_put_aside_is_taken_in_again(database):
    message = order()
    entry = put_aside(database, wire.encode(message))
    do(database, journal_entries.retry, entry, 600.0)
    assert column(database, models.DeadMessage, 'id') == []
    [row] = journal_rows.rows(database, INBOX, [inbox.RECEIVED])
    assert (row.uuid, row.operation) == (message.uuid, 'reboot_instance')
    assert (row.instance_uuid, row.request_id) == (ONE, 'req-1')


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('rubbish', 'cannot be read; drop it'),
        (wire.encode(order(need_response=True)), 'nobody waits'),
        (wire.encode(order('service_get_all', method_kwargs={})), 'no change of anything'),
        ('{"method": "reboot_instance", "args": {"instance": "%s"}}' % ONE, "a client's"),
    ],
    ids=['rubbish', 'question', 'read', 'client'],
)
def test_what_was_put_aside_and_cannot_be_taken_in_says_why(database, text, reason):
    entry = put_aside(database, text, operation='reboot_instance', came_by='a client')
    with pytest.raises(journal_entries.Refused, match=reason):
        do(database, journal_entries.retry, entry, 600.0)
    assert len(column(database, models.DeadMessage, 'id')) == 1


@pytest.mark.parametrize('text', ['client', 'cell', 'rubbish'])
def test_t5_what_was_put_aside_is_reported_as_far_as_it_can_be_read(database, reports, text):
    texts = {
        'client': '{"method": "reboot_instance", "args": {"instance": "%s"}}' % ONE,
        'cell': wire.encode(order()),
        'rubbish': '\x01 rubbish',
    }
    entry = put_aside(database, texts[text], operation='reboot_instance', came_by='a client')
    do(database, journal_entries.drop, entry, reports)
    assert [name for name, _ in reports.told] == ['reboot_instance'] * (text != 'rubbish')
    assert column(database, models.DeadMessage, 'id') == []


def test_what_goes_up_is_no_order_that_anybody_is_told_of(database):
    entry = came_in(database, order('instance_update_at_top', direction=Direction.UP))
    assert 'nobody is told' in journal_entries.loss(entry)


def test_an_operation_that_is_done_is_listed_when_asked_for(database):
    entry = came_in(database, state=inbox.DONE, envelope='')
    assert list(journal_rows.rows(database, INBOX, journal_rows.OPEN[INBOX])) == []
    assert entry.details()['operation'] == 'reboot_instance'
    assert entry.request_id == 'req-1'
