"""A tree in one process, over the fake driver: what is hard to bring about with daemons."""

import concurrent.futures
import contextlib
import json
import threading
import time

import pytest
import sqlalchemy as sa

from cells import capacity, context, exceptions
from cells.db import host_reports, models, services
from cells.db import journal as db_journal
from cells.db import sync_requests as db_sync
from cells.drivers import fake
from tests import deploy, fake_cells, plain_cell

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


@pytest.mark.needs_extensions('plain cells confirm nothing')
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


FIVE = tuple('child%d' % number for number in range(5))


@pytest.fixture
def wide(workdir):
    """A top with five children, of which the first does not listen."""
    tree = fake_cells.FakeTree(workdir, {'top': None, **dict.fromkeys(FIVE, 'top')})
    running = [tree[name] for name in ('top', *FIVE[1:])]
    for one in running:
        one.start()
    deploy.wait_until(
        lambda: len(tree.ops('top').query(deploy.admin(), 'service_get_all')['answers']) == 5,
        10,
        'four answer, and the top',
    )
    yield tree
    for one in running:
        one.stop()


def test_r2_fan_out_survives_a_bad_neighbour(wide):
    ctxt = deploy.admin()
    found = wide.ops('top').query(ctxt, 'service_get_all')
    assert {one['cell'] for one in found['answers']} == {
        'top',
        *('top!' + name for name in FIVE[1:]),
    }
    [missing] = found['missing']
    assert missing['cell'] == 'top!' + FIVE[0]
    assert 'no nova-cells listens' in missing['reason']
    wide.api('top').sync_instances(ctxt, project_id='r2')
    for name in FIVE[1:]:
        deploy.wait_until(
            lambda name=name: db_sync.sync_request_count(wide[name].database) == 1, 10, name
        )
    # What the fifth is to do waits for it, and is seen to wait.
    status = wide.ops('top').status(ctxt)
    waiting = {one['name']: one['oldest_unconfirmed'] for one in status['neighbours']}
    assert waiting.pop(FIVE[0]) > 0
    deploy.wait_until(
        lambda: wide.ops('top').status(ctxt)['journal'].get('outbox.pending') == 1, 20, 'one waits'
    )
    wide[FIVE[0]].start()
    try:
        deploy.wait_until(
            lambda: db_sync.sync_request_count(wide[FIVE[0]].database) == 1, 40, 'it is told'
        )
    finally:
        wide[FIVE[0]].stop()


def silent_since(one, name, seconds):
    before = one.state.sighting(name).last_seen
    time.sleep(seconds)
    return one.state.sighting(name).last_seen == before


@pytest.mark.needs_extensions('a plain neighbour never gets a second copy')
def test_v1_who_is_silent_gets_one_copy_of_a_change_until_it_speaks_again(workdir, monkeypatch):
    # It may come back as a nova-cells, with all that was sent to it in its queue.
    tree = fake_cells.FakeTree(workdir, {'top': None, 'left': 'top'}, receipt_timeout=0.3)
    with tree.running():
        top, left = tree['top'], tree['left']
        deploy.wait_until(lambda: fake_cells.met(top, 'left'), 20, 'they know each other')

        def mute(neighbour, outgoing):
            raise exceptions.NotSent(cell_name=neighbour.name, reason='the test wants it')

        fake.hold(fake_cells.address(workdir, 'left'))
        with monkeypatch.context() as patch:
            patch.setattr(left.driver, 'send', mute)
            deploy.wait_until(lambda: silent_since(top, 'left', 1), 60, 'nothing is on its way')
            tree.api('top').sync_instances(deploy.admin(), project_id='v1')
            deploy.wait_until(
                lambda: db_journal.outbox_due(top.database, db_journal.SENT), 20, 'it is overdue'
            )
            time.sleep(3)  # several looks for what is overdue
            assert top.stats.get('outbox_sent', neighbour='left') == 1
            # With another order it is sent its first copy as well.
            tree.api('top').sync_instances(deploy.admin(), project_id='v1-2')
            deploy.wait_until(
                lambda: top.stats.get('outbox_sent', neighbour='left') == 2, 20, 'it is sent'
            )
        fake.hold(fake_cells.address(workdir, 'left'), silent=False)
        deploy.wait_until(
            lambda: not db_journal.outbox_waiting(top.database), 60, 'all is confirmed'
        )
        assert db_sync.sync_request_count(left.database) == 2


def test_v1_ours_does_not_get_what_the_plain_cell_in_its_place_was_sent(workdir):
    # As long as it could be confirmed it would be sent again to who comes next.
    top = fake_cells.build(workdir, 'top', {'left': False}, receipt_timeout=3600)
    left = fake_cells.build(workdir, 'left', {'top': True})
    plain = plain_cell.PlainCell(workdir, 'left')
    api = fake_cells.api(top)
    top.start()
    try:
        plain.start()
        plain.tell('top', 'update_capabilities', 'up', cell_name='left', capabilities={})
        deploy.wait_until(lambda: top.state.sighting('left').protocol == 0, 20, 'it is plain')
        api.sync_instances(deploy.admin(), project_id='v1')
        deploy.wait_until(lambda: len(plain.of('sync_instances')) == 1, 20, 'it has the order')
        deploy.wait_until(
            lambda: db_journal.counts(top.database) == {'inbox.done': 1, 'outbox.unconfirmed': 1},
            20,
            'the order is never sent again',
        )
        plain.stop()
        left.start()
        deploy.wait_until(lambda: fake_cells.met(top, 'left'), 20, 'ours is known')
        api.sync_instances(deploy.admin(), project_id='v1-2')
        deploy.wait_until(
            lambda: db_sync.sync_request_count(left.database) == 1, 20, 'ours has its own'
        )
    finally:
        plain.stop()
        left.stop()
        top.stop()
    [order] = db_sync.sync_request_get_all(left.database)
    assert order['project_id'] == 'v1-2'


@pytest.mark.needs_extensions('the age of a message is not in a plain envelope')
def test_o9_every_neighbour_has_its_figures(tree):
    ops, ctxt = fake_cells.ops(tree['top']), deploy.admin()
    before = {one['name']: one for one in ops.status(ctxt)['neighbours']}
    for _ in range(3):
        ops.query(ctxt, 'service_get_all')
    after = {one['name']: one for one in ops.status(ctxt)['neighbours']}
    for name in CHILDREN:
        assert after[name]['link_up'] is True
        assert after[name]['mute'] is False
        assert after[name]['messages_in'] >= before[name]['messages_in'] + 3
        assert after[name]['messages_out'] >= before[name]['messages_out'] + 3
        assert after[name]['sent'] >= before[name]['sent'] + 3
        assert 0 <= after[name]['lag'] < 5
        assert after[name]['oldest_unconfirmed'] is None
        assert after[name]['last_seen'] > 0
    counters = ops.status(ctxt)['counters']
    assert counters['messages_received{neighbour="left"}'] > 0


def test_an_answer_that_is_too_large_costs_only_itself(workdir):
    parents = {'top': None, 'left': 'top', 'right': 'top'}
    with fake_cells.FakeTree(workdir, parents, max_message_bytes=200_000).running() as tree:
        with tree['left'].database.write() as connection:
            for number in range(300):
                connection.execute(
                    sa.insert(models.Service).values(
                        host='h%d' % number, binary='x' * 200, report_count=0, deleted=0
                    )
                )
        found = tree.ops('top').query(deploy.admin(), 'service_get_all')
        assert {one['cell'] for one in found['answers']} == {'top', 'top!right'}
        [missing] = found['missing']
        assert missing['cell'] == 'top!left'
        assert 'bytes, and a message no more than' in missing['reason']


@pytest.mark.parametrize('value', ['\ud800', 'x' * 9_000_000])
def test_what_no_cell_would_read_is_the_callers_error(tree, value):
    with pytest.raises(exceptions.Invalid, match='service_get_all'):
        fake_cells.api(tree['top']).service_get_all(deploy.admin(), {'host': value})


@pytest.mark.needs_extensions('what is free below a plain cell is known by its sums only')
def test_d4_room_for_a_flavor_that_no_cell_knows_is_still_known(tree):
    api, ctxt = fake_cells.api(tree['top']), deploy.admin()
    node = {
        'hypervisor_hostname': 'n',
        'hypervisor_type': 'none',
        'hypervisor_version': 0,
        'vcpus': 8,
        'vcpus_used': 0,
        'memory_mb': 65536,
        'memory_mb_used': 0,
        'free_ram_mb': 65536,
        'local_gb': 1000,
        'local_gb_used': 0,
        'free_disk_gb': 1000,
        'cpu_allocation_ratio': 1.0,
        'ram_allocation_ratio': 1.0,
        'disk_allocation_ratio': 1.0,
    }
    report = host_reports.HostReport('h', 'nova-compute', 'compute', 'm', (node,), None)
    host_reports.host_report(tree['left'].database, report, 60)
    found = deploy.wait_until(lambda: api.get_capacities(ctxt), 10, 'the top knows')
    assert found['ram_free']['units_by_mb'] == {}  # no flavor anywhere
    assert capacity.hosts_for(found['free'], 16384, 100, 2) == (1, 1)
    assert capacity.hosts_for(found['free'], 131072, 100, 2) == (0, 0)


@pytest.mark.needs_extensions('a plain envelope has no deadline')
def test_r4_an_order_that_waited_for_a_thread_too_long_is_not_carried_out(workdir):
    parents = {'top': None, 'left': 'top'}
    with fake_cells.FakeTree(workdir, parents, call_timeout=1, handler_threads=1).running() as tree:
        left, ctxt = tree['left'], deploy.admin()
        services.service_report(left.database, 'h', 'nova-compute', 'compute')
        dispatcher = left.runner._questions._dispatcher
        plain = dispatcher._handlers['compute_node_stats']
        began, go = threading.Event(), threading.Event()

        def slow(ctxt):
            began.set()
            go.wait(60)
            return plain(ctxt)

        dispatcher._handlers['compute_node_stats'] = slow
        api = tree.api('top')
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            pool.submit(api.compute_node_stats, ctxt)
            assert began.wait(30)
            with pytest.raises(exceptions.CellTimeout):
                api.service_update(ctxt, 'top!left@h', 'nova-compute', {'disabled': True})
            time.sleep(1.5)  # longer than a clock may be off
            go.set()
        deploy.wait_until(lambda: left.stats.get('questions_late') == 1, 20, 'its turn came')
        [row] = services.service_get_all(left.database, disabled=True) or [None]
        assert row is None
        dispatcher._handlers['compute_node_stats'] = plain

        def carried_out():
            with contextlib.suppress(exceptions.CellTimeout):
                api.service_update(ctxt, 'top!left@h', 'nova-compute', {'disabled': True})
            return services.service_get_all(left.database, disabled=True)

        assert len(deploy.wait_until(carried_out, 20, 'the next is carried out')) == 1
