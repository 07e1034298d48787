"""The path from a client through three levels and back, with real processes over RabbitMQ.

Runs under native threads with SQLite and PostgreSQL, and under eventlet.
"""

import datetime
import os
import shutil
import signal
import threading
import time

import oslo_messaging
import pytest
import sqlalchemy as sa

from cells import exceptions, rpc
from cells.db import models, services, task_log
from tests import deploy
from tests.conftest import open_directory

BEGIN, END = datetime.datetime(2016, 1, 1), datetime.datetime(2016, 2, 1)
CALL_TIMEOUT = 6
#: Until when a caller is answered, on a machine where all takes its time.
LATEST = CALL_TIMEOUT + 4
LINE = {'api': None, 'mid': 'api', 'leaf': 'mid', 'leaf2': 'mid'}
HOSTS = ('host0', 'host1', 'host2')

FLAVOURS = [('threading', 'sqlite'), ('threading', 'postgresql'), ('eventlet', 'postgresql')]


@pytest.fixture(scope='module', params=FLAVOURS, ids='-'.join)
def tree(request, rabbit):
    concurrency, dialect = request.param
    module_workdir = open_directory()
    if dialect == 'sqlite':
        databases = deploy.sqlite(module_workdir)
    else:
        databases = request.getfixturevalue(dialect).create_database
    found = deploy.Tree(
        module_workdir / 'tree',
        rabbit,
        databases,
        LINE,
        concurrency=concurrency,
        prefix='path_%s_%s_' % request.param,
        options='call_timeout = %d\nreceipt_timeout = 2' % CALL_TIMEOUT,
    )
    for deployed in found.cells.values():
        database = deployed.database()
        for host in HOSTS:
            services.service_report(database, host, 'nova-compute', 'compute')
            task_log.task_log_begin(
                database,
                task_name='audit',
                state='DONE',
                host=host,
                period_beginning=BEGIN,
                period_ending=END,
                message='größer',
            )
        database.dispose()
    with found.running():
        yield found
    shutil.rmtree(module_workdir)


@pytest.fixture
def ctxt():
    return deploy.admin()


@pytest.fixture
def api(tree):
    return tree.api('api')


@pytest.fixture
def silent_leaf(tree):
    """Stop all workers of a cell in their tracks: its broker takes messages, nobody answers."""
    pids = tree['leaf'].worker_pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    yield 'api!mid!leaf'
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def test_a_cell_knows_its_neighbours_and_shows_no_password(tree, api, ctxt):
    found = api.get_cell_info_for_neighbors(ctxt)
    assert [(one['name'], one['is_parent']) for one in found] == [('mid', False)]
    assert found[0]['rpc_host'] == '127.0.0.1'
    assert found[0]['username'] in tree['mid'].transport_url
    assert all('password' not in key for key in found[0])
    below = tree.api('mid').get_cell_info_for_neighbors(ctxt)
    assert [(one['name'], one['is_parent']) for one in below] == [
        ('leaf', False),
        ('leaf2', False),
        ('api', True),
    ]


@pytest.mark.parametrize('path', ['api', 'api!mid', 'api!mid!leaf'])
def test_a_targeted_question_is_answered_by_its_cell(api, ctxt, path):
    rows = api.task_log_get_all(ctxt, 'audit', BEGIN, END, host=path)
    assert [row['host'] for row in rows] == ['%s@%s' % (path, host) for host in HOSTS]
    assert {row['id'] for row in rows} == {'%s@%d' % (path, n) for n in (1, 2, 3)}
    assert rows[0]['message'] == 'größer'
    assert rows[0]['period_beginning'] == '2016-01-01T00:00:00.000000'


def test_a_host_and_a_state_narrow_a_question_down(api, ctxt):
    one = api.task_log_get_all(ctxt, 'audit', BEGIN, END, host='api!mid@host1', state='DONE')
    assert [row['host'] for row in one] == ['api!mid@host1']
    assert api.task_log_get_all(ctxt, 'audit', BEGIN, END, host='api!mid', state='RUNNING') == []


def test_a_broadcast_reaches_every_cell_once(api, ctxt):
    rows = api.task_log_get_all(ctxt, 'audit', BEGIN, END)
    assert sorted(row['host'] for row in rows) == sorted(
        '%s@%s' % (path, host)
        for path in ('api', 'api!mid', 'api!mid!leaf', 'api!mid!leaf2')
        for host in HOSTS
    )


def test_services_show_their_cell_and_can_be_filtered(api, ctxt):
    found = api.service_get_all(ctxt, {'binary': 'nova-compute', 'disabled': False})
    assert len(found) == 4 * len(HOSTS)
    one = next(service for service in found if service.host == 'api!mid!leaf@host2')
    assert one.binary == 'nova-compute'
    assert one.id.startswith('api!mid!leaf@')
    assert one.disabled is False
    assert api.service_get_all(ctxt, {'disabled': True}) == []


@pytest.mark.parametrize(
    ('host', 'error', 'text'),
    [
        ('api!nosuch', exceptions.CellRoutingInconsistency, 'Unknown child'),
        ('api!mid!nosuch', exceptions.CellRoutingInconsistency, 'Unknown child'),
        ('mid!leaf', exceptions.CellRoutingInconsistency, 'routing_path is api'),
        ('api!mid!leaf!deeper', exceptions.CellRoutingInconsistency, 'Unknown child'),
        ('', exceptions.Invalid, 'cell!path@host'),
        ('@host', exceptions.Invalid, 'cell!path@host'),
        ('api!!leaf@host', exceptions.Invalid, 'cell!path@host'),
        ('api@a@b', exceptions.Invalid, 'cell!path@host'),
        ('größe!x', exceptions.CellRoutingInconsistency, 'routing_path is api'),
    ],
)
def test_r14_a_wrong_cell_is_the_callers_error(api, ctxt, host, error, text):
    with pytest.raises(error, match=text) as raised:
        api.task_log_get_all(ctxt, 'audit', BEGIN, END, host=host)
    assert 'Traceback' not in str(raised.value)


def test_a_wrong_time_is_the_callers_error_wherever_it_is_found(api, ctxt):
    for host in (None, 'api', 'api!mid!leaf'):
        with pytest.raises(exceptions.Invalid, match="period_beginning is 'yesterday'"):
            api.task_log_get_all(ctxt, 'audit', 'yesterday', END, host=host)


def test_an_unknown_filter_is_refused_with_the_known_ones(api, ctxt):
    with pytest.raises(exceptions.Invalid, match='no attribute colour; filters are .*binary'):
        api.service_get_all(ctxt, {'colour': 'red'})


def test_an_unknown_method_is_refused(tree, ctxt):
    transport = rpc.get_transport(tree.conf('api'))
    client = rpc.get_client(transport, 'cells', timeout=10, retry=1)
    with pytest.raises(oslo_messaging.RemoteError, match='NoSuchMethod'):
        client.call(ctxt, 'no_such_method')
    transport.cleanup()


OTHERS = {'api', 'api!mid', 'api!mid!leaf2'}


def in_time(ask, complete):
    """Return what was answered and after how many seconds.

    The cell above a silent one answers right before the end: on a busy machine that may come too
    late, so there are a few tries.
    """
    for _ in range(3):
        begun = time.monotonic()
        found = ask()
        took = time.monotonic() - begun
        if complete(found) and took < LATEST:
            break
    return found, took


def test_t1_a_silent_cell_costs_only_its_own_answer(tree, api, ctxt, silent_leaf):
    def cells(rows):
        return {row['host'].partition('@')[0] for row in rows}

    rows, took = in_time(
        lambda: api.task_log_get_all(ctxt, 'audit', BEGIN, END), lambda rows: cells(rows) == OTHERS
    )
    assert took < LATEST
    assert cells(rows) == OTHERS


def test_t2_t8_the_silent_cell_is_named_by_the_cell_above_it(tree, ctxt, silent_leaf):
    found, took = in_time(
        lambda: tree.ops('api').query(ctxt, 'service_get_all', {'filters': None}),
        lambda found: len(found['missing']) == 1,
    )
    assert took < LATEST
    assert {one['cell'] for one in found['answers']} == OTHERS
    assert [one['cell'] for one in found['missing']] == [silent_leaf]
    reason = found['missing'][0]['reason']
    assert 'api!mid!leaf to service_get_all, message ' in reason
    assert 'seconds after it was asked' in reason


def test_t8_a_targeted_question_to_a_silent_cell_ends_in_time(tree, api, ctxt, silent_leaf):
    begun = time.monotonic()
    with pytest.raises(exceptions.CellTimeout, match='api!mid!leaf to task_log_get_all'):
        api.task_log_get_all(ctxt, 'audit', BEGIN, END, host=silent_leaf)
    assert time.monotonic() - begun < LATEST


def test_r4_a_question_that_nobody_waits_for_any_more_is_not_answered(tree, api, ctxt):
    pids = tree['leaf2'].worker_pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(exceptions.CellTimeout):
            api.task_log_get_all(ctxt, 'audit', BEGIN, END, host='api!mid!leaf2')
        time.sleep(1.5)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    deploy.wait_until(
        lambda: 'after its asker had stopped waiting' in tree['leaf2'].log(),
        30,
        'the late question is refused',
    )


def test_a_change_is_done_once_in_every_cell_below(tree, api, ctxt):
    api.sync_instances(ctxt, 'pröject', '2016-01-01T00:00:00Z', deleted=True)
    for name in ('mid', 'leaf', 'leaf2'):
        orders = deploy.wait_until(
            lambda name=name: [
                one for one in tree.ops(name).sync_status(ctxt) if one['project_id'] == 'pröject'
            ],
            15,
            '%s has the order' % name,
        )
        assert len(orders) == 1
        assert orders[0]['updated_since'] == '2016-01-01T00:00:00.000000'
        assert orders[0]['deleted'] in (True, 1)
    assert [one['project_id'] for one in tree.ops('api').sync_status(ctxt)] == []


def test_confirmed_changes_leave_the_outbox(tree, api, ctxt):
    api.sync_instances(ctxt, 'outbox')
    for name in ('api', 'mid'):
        deploy.wait_until(
            lambda name=name: (
                not [
                    key
                    for key in tree.ops(name).status(ctxt)['journal']
                    if key.startswith('outbox')
                ]
            ),
            15,
            'the outbox of %s is empty' % name,
        )


def test_status_tells_links_and_protocols(tree, api, ctxt):
    for _ in range(6):  # both workers have asked
        api.task_log_get_all(ctxt, 'audit', BEGIN, END)
    found = {}

    def known():  # by whichever worker answers
        found.update(tree.ops('mid').status(ctxt))
        return {(one['name'], one['protocol']) for one in found['neighbours']} == {
            ('api', 'ours'),
            ('leaf', 'ours'),
            ('leaf2', 'ours'),
        } and all(one['link_up'] for one in found['neighbours'])

    deploy.wait_until(known, 30, 'its neighbours are known and reached')
    assert found['name'] == 'mid'
    assert any(key.startswith('messages_received') for key in found['counters'])


def test_a_killed_worker_comes_back_and_nothing_else_notices(tree, api, ctxt):
    victim = tree['mid'].worker_pids()[-1]
    served = tree['mid'].log().count(' serves')
    os.kill(victim, signal.SIGKILL)
    failures = []

    def ask() -> None:
        try:
            rows = api.task_log_get_all(ctxt, 'audit', BEGIN, END, host='api!mid!leaf')
            assert len(rows) == len(HOSTS)
        except (exceptions.CellTimeout, oslo_messaging.MessagingTimeout) as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Questions that the victim held are lost with it, and their askers are told in time.
    assert len(failures) <= 5
    deploy.wait_until(
        lambda: tree['mid'].log().count(' serves') > served, 30, 'a new worker serves'
    )
    ask()
    assert len(failures) <= 5


def test_o10_a_restart_in_order_fails_no_call(tree, api, ctxt):
    failures = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            try:
                assert len(api.task_log_get_all(ctxt, 'audit', BEGIN, END, host='api!mid')) == 3
            except Exception as error:  # noqa: BLE001 - counted
                failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    # One worker after the other, as an operator would with two hosts.
    for pid in tree['mid'].worker_pids():
        served = tree['mid'].log().count(' serves')
        os.kill(pid, signal.SIGTERM)
        deploy.wait_until(
            lambda served=served: tree['mid'].log().count(' serves') > served, 30, 'it is replaced'
        )
    over.set()
    for thread in threads:
        thread.join()
    assert failures == []


def test_x6_an_answer_has_no_traceback(tree, api, ctxt):
    with pytest.raises(exceptions.Invalid) as raised:
        api.task_log_get_all(ctxt, 'audit', 'yesterday', END, host='api!mid!leaf')
    assert 'File "' not in str(raised.value)


def test_a_new_neighbour_is_seen_at_once_on_sighup(tree, ctxt):
    values = {
        'name': 'newcomer',
        'transport_url': tree['leaf2'].transport_url.replace('leaf2', 'newcomer'),
        'is_parent': False,
    }
    with tree['leaf2'].database().write() as connection:  # in a way that nobody notices
        connection.execute(sa.insert(models.Cell).values(**values))
    process = tree['leaf2'].process
    assert process is not None
    process.send_signal(signal.SIGHUP)

    def seen() -> bool:
        # Each of the two workers answers some of the calls.
        try:
            answers = [tree.api('leaf2').get_cell_info_for_neighbors(ctxt) for _ in range(4)]
        except oslo_messaging.MessagingTimeout:
            return False
        return all('newcomer' in {one['name'] for one in answer} for answer in answers)

    deploy.wait_until(seen, 20, 'the newcomer is seen')
    assert process.poll() is None
