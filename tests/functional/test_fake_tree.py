"""A tree in one process, over the fake driver: what is hard to bring about with daemons."""

import concurrent.futures
import json

import pytest

from cells import context
from cells.db import journal as db_journal
from cells.db import sync_requests as db_sync
from cells.drivers import fake
from tests import deploy, fake_cells

CHILDREN = ('left', 'right')
CALL_TIMEOUT = fake_cells.CALL_TIMEOUT


@pytest.fixture
def tree(workdir):
    """A top with two children."""
    found = {'top': fake_cells.build(workdir, 'top', dict.fromkeys(CHILDREN, False), rpc_threads=4)}
    for name in CHILDREN:
        found[name] = fake_cells.build(workdir, name, {'top': True}, rpc_threads=4)
    for one in found.values():
        one.start()
    fake_cells.connected(found.values())
    yield found
    for one in found.values():
        one.stop()


class Arrived:
    """A message as a driver hands it over."""

    deliveries = 0

    def __init__(self, text: str) -> None:
        self.text = text
        self.settled = False

    def settle(self) -> None:
        self.settled = True


def ask(tree) -> list:
    return tree['top'].runner.broadcast(context.RequestContext('u', 'p'), 'service_get_all', {})


def test_p8_many_who_wait_for_a_silent_cell_still_get_the_others(tree, workdir):
    # rpc_threads = 4: one call at a time may wait for the same neighbour.
    fake.hold(fake_cells.address(workdir, 'left'))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        listings = [one.result() for one in [pool.submit(ask, tree) for _ in range(4)]]
    for responses in listings:
        good = {one.cell_name for one in responses if one.failure is None}
        assert 'top' in good
        failed = {one.cell_name: one.failure.message for one in responses if one.failure}
        assert good | set(failed) == {'top', 'top!left', 'top!right'}
        assert 'top!left' in failed
    waited = [one for responses in listings for one in responses if one.cell_name == 'top!right']
    assert any(one.failure is None for one in waited)
    assert tree['top'].stats.get('calls_refused', neighbour='left') == 3


def test_a_receipt_of_rubbish_is_refused_and_the_outbox_goes_on(tree, workdir):
    for uuids in (['a\0b'], ['x' * 500], [''], 'text', [1], None):
        arrived = Arrived(
            json.dumps(
                {
                    'message_type': 'targeted',
                    'ctxt': {},
                    'method_name': 'x_receipt',
                    'method_kwargs': {'uuids': uuids},
                    'direction': 'up',
                    'uuid': 'r',
                    'routing_path': 'left',
                    'hop_count': 1,
                    'target_cell': 'left!top',
                }
            )
        )
        tree['top'].runner.receive(arrived)
        assert arrived.settled
    assert tree['top'].stats.get('messages_refused', reason='InvalidMessage') == 6
    tree['top'].runner.change(
        context.RequestContext('u', 'p'),
        'sync_instances',
        {'project_id': 'p', 'updated_since': None, 'deleted': False},
    )
    for name in CHILDREN:
        deploy.wait_until(
            lambda name=name: db_sync.sync_request_count(tree[name].database) == 1,
            10,
            '%s has the order' % name,
        )
    deploy.wait_until(
        lambda: 'outbox.pending' not in db_journal.counts(tree['top'].database), 10, 'sent'
    )


@pytest.mark.parametrize(
    ('operation', 'kwargs', 'text'),
    [
        ('service_get_all', {'nosuch': 1}, "unexpected keyword argument 'nosuch'"),
        ('service_get_all', {'filters': 'abc'}, "filters is 'abc', not an object"),
        ('task_log_get_all', {'task_name': 'x'}, "missing a required argument: 'period_beginning'"),
    ],
)
def test_arguments_that_do_not_fit_are_the_askers_error(tree, caplog, operation, kwargs, text):
    found = tree['top'].runner.broadcast(context.RequestContext('u', 'p'), operation, kwargs)
    assert len(found) == 3
    for one in found:
        assert one.failure.name == 'Invalid'
        assert text in one.failure.message
    assert 'Traceback' not in caplog.text


def test_r3_a_change_that_is_delivered_twice_is_done_once(tree):
    text = json.dumps(
        {
            'message_type': 'broadcast',
            'ctxt': {},
            'method_name': 'sync_instances',
            'method_kwargs': {'project_id': 'p', 'updated_since': None, 'deleted': False},
            'direction': 'down',
            'uuid': 'the-same',
            'routing_path': 'top',
            'hop_count': 1,
        }
    )
    copies = [Arrived(text), Arrived(text), Arrived(text)]
    for arrived in copies:
        tree['left'].runner.receive(arrived)
    deploy.wait_until(lambda: all(one.settled for one in copies), 10, 'all are settled')
    deploy.wait_until(
        lambda: db_journal.counts(tree['left'].database) == {'inbox.done': 1}, 10, 'it is done'
    )
    assert db_sync.sync_request_count(tree['left'].database) == 1
