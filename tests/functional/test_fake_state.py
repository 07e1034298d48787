"""Whole trees in this process: state, reports, topology, and what the defects list asks of routing.

The times of pings and reports are shortened; nothing else is replaced.
"""

import concurrent.futures
import contextlib
import copy
import functools
import json
import logging
import shutil
import threading
import time

import pytest
import sqlalchemy as sa

from cells import (
    cell,
    context,
    dispatch,
    exceptions,
    host_capacity,
    messages,
    paths,
    reports,
    rpcapi,
    sightings,
    slots,
)
from cells.db import changes, compute_nodes, engine, migration, neighbours, services
from cells.db import journal as db_journal
from cells.db import sync_requests as db_sync
from cells.drivers import fake
from cells.endpoints import ops
from cells.handlers import reports as report_handlers
from cells.operations import Kind
from tests import fake_cells
from tests.conftest import open_directory
from tests.unit.builders import eventually

CTXT = context.RequestContext('u', 'p', is_admin=True)
#: Seconds until a cell is mute where none should be, although the machine may be busy.
UNHURRIED = 15.0
LINE = {'top': None, 'mid': 'top', 'leaf': 'mid', 'leaf2': 'mid'}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    fake_cells.hurry(monkeypatch)


@pytest.fixture
def stack():
    with contextlib.ExitStack() as found:
        yield found


@pytest.fixture
def tree_of(workdir, stack):
    """Make a tree and run it until the end of the test."""

    def make(parents, **options):
        tree = fake_cells.FakeTree(workdir, parents, **options)
        return stack.enter_context(tree.running())

    return make


@pytest.fixture
def own(monkeypatch):
    """What each cell has free itself, in MiB, by its name; nothing for others."""
    found = {}

    def count(database, *args):
        name = database.url.rpartition('/')[2].partition('.')[0]
        if name not in found:
            return {}
        mb = found[name]() if callable(found[name]) else found[name]
        return {
            'ram_free': {'total_mb': mb, 'units_by_mb': {'512': mb // 512}},
            'disk_free': {'total_mb': mb * 10, 'units_by_mb': {}},
        }

    monkeypatch.setattr(host_capacity, 'own_capacities', count)
    return found


def total(one):
    return one.reports.capacities().get('ram_free', {}).get('total_mb', 0)


def noted(tree, name):
    """Return what the top has written down of a neighbour."""
    return neighbours.reports_get_all(tree['top'].database).get(name, {})


def query(one, operation='service_get_all', kwargs=None):
    """Return answers and failures of a broadcast, by cell."""
    responses = one.runner.broadcast(CTXT, operation, kwargs or {})
    names = [response.cell_name for response in responses]
    assert sorted(set(names)) == sorted(names), 'each cell once'
    good = {found.cell_name: found.value for found in responses if found.failure is None}
    bad = {found.cell_name: found.failure for found in responses if found.failure is not None}
    return good, bad


def all_know_each_other(tree):
    """Wait until all cells have heard of their neighbours that they are of our kind."""
    for one in tree.cells.values():
        for name in one.state.topology.names:
            eventually(lambda one=one, name=name: fake_cells.met(one, name))


def worker_of(tree, name):
    """Return one more worker of a cell."""
    cell_type = 'api' if tree[name].state.topology.is_top else 'compute'
    conf = fake_cells.conf_of(tree.workdir, name, **{'cell_type': cell_type, **tree.options})
    return cell.Cell(conf, slots.WorkerSlot.take(conf.state_path))


def another_worker(tree, name, stack):
    """Start one more worker of a cell; tree[name] stays the first."""
    found = worker_of(tree, name)
    stack.callback(found.stop)
    found.start()
    return found


def start_again(tree, name):
    """Make and start a cell anew that was stopped."""
    tree.cells[name] = worker_of(tree, name)
    tree[name].start()


def address(tree, name):
    return fake_cells.address(tree.workdir, name)


def rename_table(one, old, new):
    with one.database.write() as connection:
        connection.execute(sa.text('ALTER TABLE %s RENAME TO %s' % (old, new)))


class Tap:
    """Sees what a cell sends, and may send something else instead."""

    def __init__(self, one, monkeypatch) -> None:
        self.sent = []
        self.instead = lambda send, outgoing: send()
        send = one.driver.send

        def tapped(neighbour, outgoing):
            self.sent.append((neighbour.name, outgoing))
            self.instead(lambda: send(neighbour, outgoing), outgoing)

        monkeypatch.setattr(one.driver, 'send', tapped)

    def envelopes(self, method):
        found = [json.loads(outgoing.text) for _, outgoing in self.sent]
        return [one for one in found if one['method_name'] == method]


class Arrived:
    """A message as a driver hands it over."""

    deliveries = 0

    def __init__(self, **envelope) -> None:
        path = envelope['routing_path']
        envelope = {
            'message_type': 'targeted',
            'ctxt': {'request_id': 'req-1'},
            'method_kwargs': {},
            'direction': 'up',
            'uuid': 'a-uuid',
            'hop_count': len(path.split('!')),
            **envelope,
        }
        if envelope['message_type'] == 'targeted':
            envelope.setdefault('target_cell', '%s!mid' % path)
        self.text = json.dumps(envelope)
        self.settled = False

    def settle(self) -> None:
        self.settled = True


# -- capabilities and capacities, up the tree --


def test_what_cells_have_and_can_reaches_the_top_and_changes_follow(tree_of, own, workdir):
    own.update(top=1, mid=10, leaf=1024, leaf2=2048)
    tree = tree_of(LINE, capabilities=['hypervisor=kvm', 'os=linux;windows'])
    eventually(lambda: total(tree['top']) == 3083)
    api = tree.api('top')
    found = api.get_capacities(CTXT)
    assert found['ram_free'] == {'total_mb': 3083, 'units_by_mb': {'512': 6}}
    assert found['disk_free']['total_mb'] == 30830
    assert api.get_capacities(CTXT, 'mid')['ram_free']['total_mb'] == 3082
    assert tree.api('mid').get_capacities(CTXT, 'leaf2')['ram_free']['total_mb'] == 2048
    own['leaf'] = 4096
    eventually(lambda: total(tree['top']) == 6155)
    [mid] = api.get_cell_info_for_neighbors(CTXT)
    assert mid['capabilities']['os'] == ['linux', 'windows']
    nodes = {node.split(';')[1]: node.split(';') for node in mid['capabilities'][reports.NODES]}
    assert {name: node[2] for name, node in nodes.items()} == {
        'mid': 'top',
        'leaf': 'mid',
        'leaf2': 'mid',
    }
    assert nodes['leaf'][0] == tree['leaf'].state.cell_id
    assert tree.api('mid').get_cell_info_for_neighbors(CTXT)[2]['capabilities'] == {}


def test_hosts_in_the_database_of_a_leaf_are_seen_at_the_top(tree_of):
    tree = tree_of({'top': None, 'leaf': 'top'})
    database = tree['leaf'].database
    services.service_report(database, 'h1', 'nova-compute', 'compute')
    compute_nodes.compute_node_save(
        database,
        'h1',
        memory_mb=4096,
        free_ram_mb=4096,
        local_gb=100,
        free_disk_gb=100,
        vcpus=8,
        vcpus_used=0,
    )
    eventually(lambda: total(tree['top']) == 4096)


@pytest.mark.parametrize('name', [None, '', 'top'])
def test_the_own_capacities_may_be_asked_for_by_any_name(tree_of, own, name):
    own.update(top=5)
    tree = tree_of({'top': None})
    eventually(lambda: total(tree['top']) == 5)
    assert tree.api('top').get_capacities(CTXT, name)['ram_free']['total_mb'] == 5


def test_capacities_of_who_is_no_child_are_refused(tree_of):
    tree = tree_of({'top': None, 'mid': 'top'})
    for name in ('nosuch', 'top', ['mid'], {'a': 1}, 5, 'x' * 5000):
        with pytest.raises(exceptions.CellNotFound):
            tree.api('mid').get_capacities(CTXT, name)


@pytest.mark.needs_extensions('a plain cell is not pinged, and counts as mute later')
def test_d1_the_total_drops_by_the_share_of_a_mute_cell_at_every_tier_and_comes_back(
    tree_of, own, stack
):
    own.update(top=1, mid=10, leaf=100, leaf2=1000)
    tree = tree_of(LINE)
    eventually(lambda: total(tree['top']) == 1111)
    assert total(tree['mid']) == 1110
    tree['leaf'].stop()
    eventually(lambda: total(tree['mid']) == 1010)
    eventually(lambda: total(tree['top']) == 1011)

    def nodes():
        return tree['top'].reports.capabilities()[reports.NODES]

    eventually(lambda: not any(';leaf;' in node for node in nodes()))
    start_again(tree, 'leaf')
    eventually(lambda: total(tree['mid']) == 1110)
    eventually(lambda: total(tree['top']) == 1111)


@pytest.mark.needs_extensions('a plain cell is not pinged, and counts as mute later')
def test_d1_o9_a_mute_cell_is_waited_for_shortly_and_named(tree_of, monkeypatch, caplog):
    tree = tree_of(LINE, call_timeout=30)
    all_know_each_other(tree)
    fake.hold(address(tree, 'leaf'))
    tree['leaf'].pings.stop()
    tree['leaf'].reports.stop()
    eventually(lambda: tree['mid'].state.sightings.is_mute('leaf'))
    assert not tree['top'].state.sightings.is_mute('mid')
    eventually(lambda: 'Cell leaf is mute' in caplog.text)
    caplog.clear()
    begun = time.monotonic()
    good, bad = query(tree['top'])
    assert time.monotonic() - begun < 10  # thirty are allowed
    assert set(good) == {'top', 'top!mid', 'top!mid!leaf2'}
    assert set(bad) == {'top!mid!leaf'}
    assert 'top!mid!leaf' in bad['top!mid!leaf'].message
    begun = time.monotonic()
    with pytest.raises(exceptions.CellTimeout, match='leaf'):
        tree.api('top').task_log_get_all(CTXT, 'x', None, None, host='top!mid!leaf@h')
    assert time.monotonic() - begun < 10
    # It has been said that it is mute: no line for each question.
    said = [one for one in caplog.records if one.name == 'cells.questions']
    assert [one.getMessage() for one in said if one.levelno >= logging.WARNING] == []
    # A cell that is not mute any more has its full time again.
    fake.hold(address(tree, 'leaf'), False)
    eventually(lambda: not tree['mid'].state.sightings.is_mute('leaf'))
    good, bad = query(tree['top'])
    assert (len(good), bad) == (4, {})


@pytest.mark.needs_extensions('it shows which neighbours are ours')
def test_d10_after_a_restart_a_worker_knows_at_once_what_was_reported(
    tree_of, own, stack, monkeypatch
):
    monkeypatch.setattr(sightings, 'MUTE_SECONDS', UNHURRIED)
    own.update(leaf=100)
    tree = tree_of({'top': None, 'leaf': 'top'})
    eventually(lambda: total(tree['top']) == 100)
    eventually(lambda: '100' in (noted(tree, 'leaf').get('capacities') or ''))
    second = another_worker(tree, 'top', stack)
    assert total(second) == 100
    assert second.state.sighting('leaf').is_ours
    tree['top'].stop()
    start_again(tree, 'top')
    assert total(tree['top']) == 100
    assert tree['top'].state.mute() == frozenset()


# -- the neighbours, changed while it runs --


def create(api, name, url='fake://nobody', **values):
    return api.cell_create(CTXT, {'name': name, 'transport_url': url, **values})


@pytest.mark.needs_extensions('plain cells cannot be pinged')
def test_d7_cells_come_change_and_go_while_questions_are_asked(tree_of):
    tree = tree_of({'top': None, 'left': 'top', 'right': 'top'})
    api, stopped, trouble, rounds = tree.api('top'), threading.Event(), [], []

    def traffic():
        while not stopped.is_set():
            try:
                good, bad = query(tree['top'])
                assert {'top', 'top!left', 'top!right'} <= set(good), bad
                assert all(name.startswith('top!extra') for name in bad), bad
                assert tree.ops('top').ping(CTXT, 'top!left')['cell'] == 'top!left'
                rounds.append(1)
            except Exception as error:  # noqa: BLE001 - what is looked for
                trouble.append(error)

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        running = [pool.submit(traffic) for _ in range(3)]
        try:
            for number in range(6):
                name, before = 'extra%d' % number, len(rounds)
                assert create(api, name)['name'] == name
                assert api.cell_update(CTXT, name, {'weight_offset': 2})['weight_offset'] == 2.0
                assert api.cell_update(CTXT, name, {'name': name + 'b'}) is None
                assert api.cell_get(CTXT, name + 'b')['weight_offset'] == 2.0
                assert api.cell_delete(CTXT, name + 'b') == 1
                assert api.cell_delete(CTXT, name + 'b') == 0
                eventually(lambda before=before: len(rounds) > before, 60)
        finally:
            stopped.set()
        for one in running:
            one.result(10)
    assert trouble == []
    assert {found['name'] for found in api.get_cell_info_for_neighbors(CTXT)} == {'left', 'right'}


def test_a_neighbour_that_is_made_over_rpc_is_talked_to_at_once(workdir, stack):
    top = fake_cells.build(workdir, 'top', {})
    leaf = fake_cells.build(workdir, 'leaf', {'top': True})
    for one in (top, leaf):
        stack.callback(one.stop)
        one.start()
    api = rpcapi.CellsAPI.from_conf(fake_cells.conf_of(workdir, 'top'))
    assert set(query(top)[0]) == {'top'}
    row = create(api, 'leaf', fake_cells.address(workdir, 'leaf'), weight_scale=2)
    assert (row['name'], row['is_parent'], row['weight_scale'], row['deleted']) == (
        'leaf',
        False,
        2.0,
        0,
    )
    good, bad = query(top)
    assert (set(good), bad) == ({'top', 'top!leaf'}, {})
    found = api.cell_get(CTXT, 'leaf')
    assert found['transport_url'] == fake_cells.address(workdir, 'leaf')
    # Its report is there in seconds though it was refused until now, not after REPORT_SECONDS.
    begun = time.monotonic()
    eventually(lambda: reports.NODES in top.state.sighting('leaf').capabilities)
    assert time.monotonic() - begun < 9
    assert api.cell_delete(CTXT, 'leaf') == 1
    assert set(query(top)[0]) == {'top'}
    with pytest.raises(exceptions.CellNotFound, match='leaf'):
        api.cell_get(CTXT, 'leaf')


@pytest.mark.parametrize(
    ('values', 'error', 'text'),
    [
        ({'name': 'a.b'}, exceptions.Invalid, "cell name 'a.b'"),
        ({'name': 'a!b'}, exceptions.Invalid, "cell name 'a!b'"),
        ({'name': ''}, exceptions.Invalid, 'not empty'),
        ({'name': None}, exceptions.Invalid, 'not empty'),
        ({'name': 'mid'}, exceptions.Invalid, 'mid is the name of this cell itself'),
        ({'name': 'leaf'}, exceptions.CellExists, 'Cell with name leaf already exists'),
        ({'name': 'top'}, exceptions.CellExists, 'Cell with name top already exists'),
        ({'transport_url': 'nonsense'}, exceptions.Invalid, 'rabbit://user:password@host'),
        ({'transport_url': None}, exceptions.Invalid, 'transport_url'),
        ({'transport_url': 'rabbit://u:s3cr3t@h:x/'}, exceptions.Invalid, 'transport_url'),
        ({'is_parent': True}, exceptions.Invalid, 'one parent; mid has top already'),
        ({'is_parent': 'perhaps'}, exceptions.Invalid, 'is_parent'),
        ({'weight_offset': 'heavy'}, exceptions.Invalid, 'weight_offset'),
        ({'weight_scale': 10**400}, exceptions.Invalid, 'weight_scale'),
        ({'rpc_host': 'h'}, exceptions.Invalid, 'no rpc_host'),
    ],
)
def test_r11_what_a_neighbour_cannot_be_is_refused_over_rpc(module_tree, values, error, text):
    api = module_tree.api('mid')
    before = module_tree['mid'].state.topology
    with pytest.raises(error, match=text) as caught:
        api.cell_create(CTXT, {'name': 'new', 'transport_url': 'fake://x', **values})
    assert 's3cr3t' not in str(caught.value)
    with pytest.raises(error, match=text):
        api.cell_update(CTXT, 'leaf2', {**values})
    assert module_tree['mid'].state.topology is before


def test_a_change_of_nothing_or_of_nobody_is_refused(module_tree):
    api = module_tree.api('mid')
    with pytest.raises(exceptions.Invalid, match='nothing is to be changed'):
        api.cell_update(CTXT, 'leaf', {})
    with pytest.raises(exceptions.CellNotFound):
        api.cell_update(CTXT, 'nobody', {'weight_scale': 2})
    with pytest.raises(exceptions.CellNotFound):
        api.cell_get(CTXT, 'nobody')
    assert api.cell_delete(CTXT, 'nobody') == 0


def test_a_cell_can_be_given_another_parent_over_rpc(tree_of):
    tree = tree_of({'top': None, 'mid': 'top', 'leaf': 'mid'})
    api = tree.api('mid')
    assert api.cell_delete(CTXT, 'top') == 1
    # D11: while it has none it keeps the last one.
    assert set(tree['mid'].state.topology.parents) == {'top'}
    assert create(api, 'other', is_parent=True)['is_parent'] is True
    assert set(tree['mid'].state.topology.parents) == {'other'}


# -- neighbours in a file --


@pytest.fixture
def in_file(workdir, stack):
    """A top whose neighbours are in a file, two cells below it, and the writer of the file."""
    path = workdir / 'neighbours.json'
    rows = {
        name: {'transport_url': fake_cells.address(workdir, name)} for name in ('left', 'right')
    }
    path.write_text(json.dumps(rows))
    top = fake_cells.build(workdir, 'top', {}, cells_config=str(path))
    others = [fake_cells.build(workdir, name, {'top': True}) for name in rows]
    for one in (top, *others):
        stack.callback(one.stop)
        one.start()
    return top, path, rows


def replace(path, text):
    """Write a file that is read at any moment."""
    new = path.with_suffix('.new')
    new.write_text(text)
    new.replace(path)


def test_d9_neighbours_from_a_file_are_followed_and_a_broken_file_changes_nothing(
    in_file, workdir, caplog
):
    top, path, rows = in_file
    eventually(lambda: set(query(top)[0]) == {'top', 'top!left', 'top!right'})
    replace(path, json.dumps({'left': rows['left']}))
    eventually(lambda: set(query(top)[0]) == {'top', 'top!left'})
    replace(path, json.dumps(rows)[:-5])
    eventually(lambda: 'The neighbours are wrong' in caplog.text)
    assert set(query(top)[0]) == {'top', 'top!left'}
    replace(path, json.dumps({'a.b': rows['left']}))
    time.sleep(1.2)
    assert set(query(top)[0]) == {'top', 'top!left'}
    replace(path, json.dumps(rows))
    eventually(lambda: set(query(top)[0]) == {'top', 'top!left', 'top!right'})
    assert caplog.text.count('The neighbours are wrong') == 1


def test_neighbours_in_a_file_are_not_changed_over_rpc(in_file, workdir):
    api = rpcapi.CellsAPI.from_conf(fake_cells.conf_of(workdir, 'top'))
    with pytest.raises(exceptions.CellsUpdateUnsupported):
        create(api, 'new')
    with pytest.raises(exceptions.CellsUpdateUnsupported):
        api.cell_update(CTXT, 'left', {'weight_scale': 2})
    with pytest.raises(exceptions.CellsUpdateUnsupported):
        api.cell_delete(CTXT, 'left')
    assert api.cell_get(CTXT, 'left')['name'] == 'left'


def test_a_file_that_is_not_there_stops_the_start(workdir):
    with pytest.raises(exceptions.ConfigurationError, match='nowhere.json: there is no such file'):
        fake_cells.build(workdir, 'top', {}, cells_config=str(workdir / 'nowhere.json'))


# -- a database that is away --


@pytest.mark.needs_extensions('plain cells cannot be pinged')
def test_d6_while_the_tables_of_a_cell_are_away_it_routes_on(tree_of, caplog):
    tree = tree_of(LINE)
    all_know_each_other(tree)
    for table in ('cells', 'changes', 'neighbour_reports', 'leases'):
        rename_table(tree['mid'], table, table + '_away')
    tree['mid'].state.refresh()
    until = time.monotonic() + 2.5  # much longer than the mute interval
    while time.monotonic() < until:
        good, bad = query(tree['top'])
        assert (set(good), bad) == ({'top', 'top!mid', 'top!mid!leaf', 'top!mid!leaf2'}, {})
        assert tree.ops('top').ping(CTXT, 'top!mid!leaf')['cell'] == 'top!mid!leaf'
    assert len(tree.api('mid').get_cell_info_for_neighbors(CTXT)) == 3
    for table in ('cells', 'changes', 'neighbour_reports', 'leases'):
        rename_table(tree['mid'], table + '_away', table)
    assert tree.api('mid').cell_delete(CTXT, 'leaf2') == 1
    assert set(query(tree['top'])[0]) == {'top', 'top!mid', 'top!mid!leaf'}


@pytest.mark.needs_extensions('plain cells cannot be pinged')
def test_d5_a_count_that_takes_long_makes_no_message_wait(tree_of, own):
    go, counting = threading.Event(), threading.Event()

    def slow():
        counting.set()
        go.wait(600)
        return 100

    own.update(mid=slow)
    tree = tree_of({'top': None, 'mid': 'top', 'leaf': 'mid'})
    assert counting.wait(30)
    for _ in range(50):
        # What waited for the count would not be answered in time.
        assert tree.ops('top').ping(CTXT, 'top!mid!leaf')['seconds'] <= ops.PING_SECONDS
    assert tree['mid'].reports.own_capacities() == {}, 'it still counts'
    go.set()
    eventually(lambda: total(tree['top']) == 100)


# -- what operators ask --


@pytest.fixture(scope='module')
def module_tree():
    """A tree that tests look at and do not change."""
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(sightings, 'PING_SECONDS', 0.2)
        workdir = open_directory()
        stack.callback(shutil.rmtree, workdir, ignore_errors=True)
        yield stack.enter_context(fake_cells.FakeTree(workdir, LINE).running())


@pytest.mark.needs_extensions('plain cells cannot be pinged')
@pytest.mark.parametrize(
    ('asked', 'path'),
    [
        (None, 'top'),
        ('top', 'top'),
        ('mid', 'top!mid'),
        ('top!mid', 'top!mid'),
        ('top!mid!leaf', 'top!mid!leaf'),
    ],
)
def test_a_cell_is_pinged_at_any_depth(module_tree, asked, path):
    found = module_tree.ops('top').ping(CTXT, asked)
    assert found['cell'] == path
    assert found['id'] == module_tree[path.rpartition('!')[2]].state.cell_id
    assert 0 <= found['seconds'] <= ops.PING_SECONDS
    assert abs(found['time'] - time.time()) < 60
    assert found['protocol'] == 1


@pytest.mark.needs_extensions('plain cells cannot be pinged')
def test_a_parent_can_be_pinged(module_tree):
    found = module_tree.ops('leaf').ping(CTXT, 'mid')
    assert (found['cell'], found['id']) == ('leaf!mid', module_tree['mid'].state.cell_id)


@pytest.mark.parametrize(
    'name', ['nosuch', 'top!nosuch', 'top!mid!nosuch', 'mid!leaf', 'a b', '!', 'top!', 5, ['mid']]
)
def test_r14_a_ping_to_nowhere_is_refused_at_once(module_tree, name):
    begun = time.monotonic()
    with pytest.raises(exceptions.CellRoutingInconsistency):
        module_tree.ops('top').ping(CTXT, name)
    assert time.monotonic() - begun < ops.PING_SECONDS * 0.8


def test_a_cell_says_who_it_is(module_tree):
    assert module_tree.ops('mid').whoami(CTXT) == {
        'id': module_tree['mid'].state.cell_id,
        'name': 'mid',
    }
    assert len({one.state.cell_id for one in module_tree.cells.values()}) == 4


@pytest.mark.needs_extensions('plain cells cannot be pinged')
def test_hello_tells_as_what_a_neighbour_knows_this_cell(module_tree):
    found = module_tree.ops('mid').hello(CTXT, 'leaf')
    assert (found['known'], found['as'], found['reason']) == (True, 'parent', None)
    assert found['id'] == module_tree['leaf'].state.cell_id
    found = module_tree.ops('mid').hello(CTXT, 'top')
    assert (found['known'], found['as']) == (True, 'child')
    for name in ('nosuch', 'top!mid', None, ['leaf']):
        with pytest.raises(exceptions.CellNotFound):
            module_tree.ops('mid').hello(CTXT, name)


@pytest.mark.needs_extensions('plain cells cannot be pinged')
def test_hello_tells_that_a_neighbour_does_not_know_this_cell(tree_of):
    tree = tree_of(LINE)
    create(tree.api('top'), 'leaf', address(tree, 'leaf'))
    found = tree.ops('top').hello(CTXT, 'leaf')
    assert (found['known'], found['as']) == (False, None)
    assert 'does not know this cell (top) as its parent' in found['reason']


@pytest.mark.needs_extensions('it shows which neighbours are ours')
def test_the_status_shows_each_link(module_tree):
    all_know_each_other(module_tree)
    eventually(
        lambda: (
            None not in {one['clock_offset'] for one in mid_status(module_tree)['neighbours']}
            and 0 not in {one['messages_in'] for one in mid_status(module_tree)['neighbours']}
        ),
        10,
    )
    found = mid_status(module_tree)
    assert (found['name'], found['worker'], found['is_top']) == ('mid', 'mid.0', False)
    assert found['id'] == module_tree['mid'].state.cell_id
    assert [(one['name'], one['is_parent']) for one in found['neighbours']] == [
        ('top', True),
        ('leaf', False),
        ('leaf2', False),
    ]
    for one in found['neighbours']:
        assert (one['link_up'], one['link_error'], one['protocol']) == (True, None, 'ours')
        assert one['mute'] is False
        assert one['cell_id'] == module_tree[one['name']].state.cell_id
        assert abs(one['clock_offset']) < 0.5
        assert one['messages_in'] > 0
        assert one['messages_out'] > 0
        assert abs(one['last_seen'] - time.time()) < 60
    assert reports.NODES in found['capabilities']
    assert isinstance(found['journal'], dict)
    assert isinstance(found['counters'], dict)


def mid_status(tree):
    return tree.ops('mid').status(CTXT)


# -- two cells of one name, diamonds and cycles, the place in the tree --


def impostor(tree, name, parent):
    """Return another cell of the same name, with the same parent, on a bus of its own."""
    workdir = tree.workdir / 'elsewhere'
    workdir.mkdir()
    conf = fake_cells.conf_of(workdir, name, **tree.options)
    database = engine.Database(fake_cells.database_url(workdir, name))
    migration.sync(database)
    values = {'name': parent, 'transport_url': address(tree, parent), 'is_parent': True}
    neighbours.cell_create(database, values)
    database.dispose()
    return cell.Cell(conf, slots.WorkerSlot.take(conf.state_path))


@pytest.mark.needs_extensions('a plain envelope does not name the id of its cell')
def test_r13_a_second_cell_of_a_name_is_refused_while_the_first_lives(
    tree_of, own, stack, caplog, monkeypatch
):
    monkeypatch.setattr(sightings, 'MUTE_SECONDS', UNHURRIED)
    own.update(left=100)
    tree = tree_of({'top': None, 'left': 'top'})
    eventually(lambda: total(tree['top']) == 100)
    second = impostor(tree, 'left', 'top')
    stack.callback(second.stop)
    second.start()
    eventually(lambda: 'two cells are called left' in caplog.text)
    first_id, second_id = tree['left'].state.cell_id, second.state.cell_id
    assert first_id != second_id
    assert first_id in caplog.text
    assert second_id in caplog.text
    time.sleep(1.5)
    assert tree['top'].state.sighting('left').cell_id == first_id
    # Who was refused finds it out.
    found = rpcapi.OpsAPI.from_conf(fake_cells.conf_of(tree.workdir / 'elsewhere', 'left')).hello(
        CTXT, 'top'
    )
    assert found['known'] is False
    assert 'knows another one by this name' in found['reason']
    assert tree.ops('left').hello(CTXT, 'top')['known'] is True


def diamond(workdir, stack, **options):
    parents = {'top': (), 'left': ('top',), 'right': ('top',), 'bottom': ('left', 'right')}
    children = {name: [o for o, up in parents.items() if name in up] for name in parents}
    found = {}
    for name, up in parents.items():
        others = {**dict.fromkeys(up, True), **dict.fromkeys(children[name], False)}
        found[name] = fake_cells.build(
            workdir, name, others, allow_multiple_parents=len(up) > 1, **options
        )
        stack.callback(found[name].stop)
    for one in found.values():
        one.start()
    return found


def test_r6_in_a_diamond_each_cell_handles_a_broadcast_once(workdir, stack):
    cells = diamond(workdir, stack)
    eventually(lambda: len(cells['top'].reports.capabilities()[reports.NODES]) == 4)
    # A link that was tried before the other side listened is tried again after a pause.
    eventually(
        lambda: (
            not any(
                one.failure for one in cells['top'].runner.broadcast(CTXT, 'service_get_all', {})
            )
        ),
        5,
    )
    before = cells['bottom'].stats.get('questions_twice')
    for _ in range(5):
        responses = cells['top'].runner.broadcast(CTXT, 'service_get_all', {})
        assert [one for one in responses if one.failure] == []
        last = sorted(one.cell_name.rpartition('!')[2] for one in responses)
        assert last == ['bottom', 'left', 'right', 'top']
    assert cells['bottom'].stats.get('questions_twice') == before + 5
    cells['top'].runner.change(
        CTXT, 'sync_instances', {'project_id': 'p', 'updated_since': None, 'deleted': False}
    )
    for one in cells.values():
        wanted = 0 if one is cells['top'] else 1
        eventually(
            lambda one=one, wanted=wanted: db_sync.sync_request_count(one.database) == wanted, 10
        )
    eventually(
        lambda: all('outbox.pending' not in db_journal.counts(c.database) for c in cells.values())
    )
    time.sleep(0.3)
    assert db_sync.sync_request_count(cells['bottom'].database) == 1


def test_r6_two_parents_are_refused_at_the_start(workdir):
    made = fake_cells.build(workdir, 'bottom', {'left': True, 'right': True})
    with pytest.raises(exceptions.ConfigurationError, match='2: left, right.*allow_multiple'):
        made.start()
    made.stop()


def test_r6_a_cycle_is_told_and_counts_nobody_twice(workdir, stack, own, caplog):
    own.update(a=1, b=10, c=100)
    ring = {'a': ('c', 'b'), 'b': ('a', 'c'), 'c': ('b', 'a')}
    cells = {
        name: fake_cells.build(workdir, name, {parent: True, child: False})
        for name, (parent, child) in ring.items()
    }
    for one in cells.values():
        stack.callback(one.stop)
        one.start()
    eventually(lambda: 'the tree has a cycle' in caplog.text)
    time.sleep(1)
    highest = max(total(one) for one in cells.values())
    time.sleep(0.5)
    assert max(total(one) for one in cells.values()) <= max(highest, 111)
    assert highest <= 111, 'it does not grow from round to round'
    responses = cells['a'].runner.broadcast(CTXT, 'service_get_all', {})
    names = [one.cell_name for one in responses]
    assert len(names) <= 4


def test_d11_a_compute_cell_without_a_parent_does_not_start(workdir, stack):
    made = fake_cells.build(workdir, 'leaf', {}, cell_type='compute')
    with pytest.raises(exceptions.ConfigurationError, match='compute cell without a parent'):
        made.start()
    made.stop()
    alone = fake_cells.build(workdir, 'alone', {}, cell_type='compute', standalone=True)
    stack.callback(alone.stop)
    alone.start()
    assert alone.state.topology.is_top is False


def test_d11_a_top_with_a_parent_does_not_start(workdir):
    made = fake_cells.build(workdir, 'top', {'above': True}, cell_type='api')
    with pytest.raises(exceptions.ConfigurationError, match='top of the tree.*parent above'):
        made.start()
    made.stop()


# -- time --


def service_of(one, host='h1'):
    [found] = [row for row in services.service_get_all(one.database) if row['host'] == host]
    return found


def disable(tree, host='h1'):
    return tree['top'].runner.call(
        CTXT,
        'service_update',
        paths.CellPath(('top', 'leaf')),
        {
            'host_name': host,
            'binary': 'nova-compute',
            'params_to_update': {'disabled': True},
        },
    )


@pytest.mark.needs_extensions('a plain envelope has no deadline')
def test_r4_an_order_whose_asker_has_given_up_is_not_carried_out(tree_of):
    tree = tree_of({'top': None, 'leaf': 'top'}, call_timeout=1)
    leaf = tree['leaf']
    services.service_report(leaf.database, 'h1', 'nova-compute', 'compute')
    leaf.pings.stop()  # what it sent while it was held would make its clock look late
    fake.hold(address(tree, 'leaf'))
    begun = time.monotonic()
    failure = disable(tree).failure
    assert time.monotonic() - begun < 10
    assert (failure.name, failure.kwargs['cell_name']) == ('CellTimeout', 'top!leaf')
    time.sleep(max(0.0, begun + 4 - time.monotonic()))
    fake.hold(address(tree, 'leaf'), False)
    eventually(lambda: leaf.stats.get('messages_refused', reason='CellTimeout') >= 1)
    time.sleep(0.3)  # it may have been a ping that was refused first
    assert service_of(leaf)['disabled'] is False
    eventually(lambda: disable(tree).failure is None)
    assert service_of(leaf)['disabled'] is True


@pytest.mark.needs_extensions('a plain parent is not told of failures in a listing')
def test_t4_three_tiers_of_slow_cells_end_in_time_with_what_there_is(tree_of):
    parents = {'top': None, 'mid': 'top', 'a': 'mid', 'b': 'mid', 'c': 'mid', 'side': 'top'}
    # Each tier answers a twentieth of the time before the one above has to.
    tree = tree_of(parents, call_timeout=12)
    for name in 'abc':
        fake.hold(address(tree, name))
    begun = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(tree.ops('top').query, CTXT, 'service_get_all')
        good, bad = query(tree['top'])
        assert time.monotonic() - begun < 20
        found = asked.result(30)
    assert set(good) == {'top', 'top!mid', 'top!side'}
    assert set(bad) == {'top!mid!a', 'top!mid!b', 'top!mid!c'}
    for name, failure in bad.items():
        assert failure.name == 'CellTimeout'
        for text in (name, 'service_get_all', 'message', 'seconds after'):
            assert text in failure.message, 'T8'
    assert {one['cell'] for one in found['missing']} == {'top!mid!a', 'top!mid!b', 'top!mid!c'}
    assert {one['cell'] for one in found['answers']} == {'top', 'top!mid', 'top!side'}


@pytest.mark.needs_extensions('a plain parent is not told of failures in a listing')
def test_r5_what_the_hop_limit_leaves_out_is_named(tree_of):
    tree = tree_of({'top': None, 'a': 'top', 'b': 'a', 'c': 'b', 'd': 'c'}, max_hop_count=3)
    good, bad = query(tree['top'])
    assert set(good) == {'top', 'top!a', 'top!a!b'}
    assert {name: failure.name for name, failure in bad.items()} == {
        'top!a!b!c': 'CellMaxHopCountReached'
    }
    found = tree.ops('top').query(CTXT, 'service_get_all')
    assert [one['cell'] for one in found['missing']] == ['top!a!b!c']


# -- the way of messages --


@pytest.mark.parametrize('how', ['at once', 'later'])
@pytest.mark.parametrize('at', ['leaf', 'mid'])
def test_r7_an_answer_that_fails_once_on_its_way_still_comes(tree_of, monkeypatch, how, at):
    tree = tree_of(LINE)
    all_know_each_other(tree)
    tap, failed = Tap(tree[at], monkeypatch), []

    def instead(send, outgoing):
        is_answer = outgoing.kind is Kind.RESPONSE and 'parse_responses' in outgoing.text
        if is_answer and 'knows' not in outgoing.text and not failed:  # not that to a ping
            failed.append(1)
            error = exceptions.NotSent(cell_name='x', reason='injected')
            if how == 'at once':
                raise error
            outgoing.on_sent(error)
            return
        send()

    tap.instead = instead
    begun = time.monotonic()
    good, bad = query(tree['top'])
    assert failed
    assert bad == {}
    assert len(good) == 4
    assert time.monotonic() - begun < 10


def test_r8_the_size_of_an_answer_does_not_depend_on_the_question(tree_of, monkeypatch):
    tree = tree_of({'top': None, 'leaf': 'top'})
    tap, sizes = Tap(tree['leaf'], monkeypatch), []
    for length in (1, 100_000):
        tap.sent.clear()
        query(tree['top'], kwargs={'filters': {'host': 'x' * length}})
        replies = [text for text in tap.sent if text[1].kind is Kind.RESPONSE]
        answers = [one for _, one in replies if 'top!leaf' in one.text]
        sizes.append(len(answers[-1].text))
    assert abs(sizes[0] - sizes[1]) < 200


def test_r9_r10_what_is_sent_on_is_what_came_and_the_caller_keeps_its_arguments(
    tree_of, monkeypatch
):
    tree = tree_of({'top': None, 'mid': 'top', 'leaf': 'mid', 'side': 'top'})
    taps = {name: Tap(tree[name], monkeypatch) for name in ('top', 'mid')}
    kwargs = {'filters': {'host': 'größe', 'disabled': False, 'deep': [{'a': [1, None, 1.5]}]}}
    before = copy.deepcopy(kwargs)
    query(tree['top'], kwargs=kwargs)
    assert kwargs == before
    order = {'project_id': 'größe', 'updated_since': '2016-01-01T00:00:00.000000', 'deleted': True}
    tree['top'].runner.change(CTXT, 'sync_instances', order)
    for method, arguments in (('service_get_all', before), ('sync_instances', order)):
        eventually(lambda method=method: taps['mid'].envelopes(method))
        [at_leaf, *_] = taps['mid'].envelopes(method)
        # To mid and to side.
        sent = eventually(
            lambda method=method: len(sent := taps['top'].envelopes(method)) >= 2 and sent
        )
        for one in (at_leaf, *sent):
            assert one['method_kwargs'] == arguments
            assert one['ctxt'] == sent[0]['ctxt']
            assert one['uuid'] == sent[0]['uuid']


def test_t7_an_answer_that_comes_twice_counts_once(tree_of, monkeypatch):
    tree = tree_of({'top': None, 'left': 'top', 'right': 'top'}, call_timeout=5)
    for name in ('left', 'right'):
        tap = Tap(tree[name], monkeypatch)

        def twice(send, outgoing):
            send()
            if outgoing.kind is Kind.RESPONSE:
                send()

        tap.instead = twice
    for _ in range(5):
        good, bad = query(tree['top'])
        assert (set(good), bad) == ({'top', 'top!left', 'top!right'}, {})
    fake.hold(address(tree, 'right'))
    good, bad = query(tree['top'])
    assert (set(good), set(bad)) == ({'top', 'top!left'}, {'top!right'})


@pytest.mark.needs_extensions('a plain parent is not told of failures in a listing')
def test_t3_an_answer_that_cannot_be_written_costs_only_its_own_cell(tree_of, monkeypatch):
    answer = dispatch.Dispatcher.answer

    def unsendable(self, message):
        found = answer(self, message)
        if found.cell_name.endswith('!leaf'):
            return messages.Response(found.cell_name, {'a': object()})
        return found

    monkeypatch.setattr(dispatch.Dispatcher, 'answer', unsendable)
    tree = tree_of(LINE, call_timeout=20)
    begun = time.monotonic()
    good, bad = query(tree['top'])
    assert time.monotonic() - begun < 10
    assert set(good) == {'top', 'top!mid', 'top!mid!leaf2'}
    assert {name: failure.name for name, failure in bad.items()} == {'top!mid!leaf': 'TypeError'}


@pytest.mark.needs_extensions('the workers of a plain cell share no reports')
def test_p2_a_report_is_delivered_once_whatever_the_number_of_workers(
    tree_of, own, stack, monkeypatch
):
    taken = []
    update = report_handlers.ReportHandlers.update_capacities

    @functools.wraps(update)
    def counted(self, ctxt, message, cell_name, capacities):
        taken.append((cell_name, capacities['ram_free']['total_mb'] if capacities else 0))
        return update(self, ctxt, message, cell_name, capacities)

    monkeypatch.setattr(report_handlers.ReportHandlers, 'update_capacities', counted)
    monkeypatch.setattr(sightings, 'MUTE_SECONDS', UNHURRIED)
    own.update(mid=1, leaf=10)
    tree = tree_of({'top': None, 'mid': 'top', 'leaf': 'mid'})
    workers = {
        name: [tree[name], *(another_worker(tree, name, stack) for _ in range(2))]
        for name in tree.cells
    }
    for name, of_cell in workers.items():
        assert [one.server for one in of_cell] == ['%s.%d' % (name, n) for n in range(3)]
        eventually(lambda of_cell=of_cell: sum(one.lease.held for one in of_cell) == 1)
    all_know_each_other(tree)
    eventually(lambda: total(tree['top']) == 11)
    time.sleep(1)
    for value in range(20, 23):
        taken.clear()
        own['leaf'] = value
        for one in workers['top']:
            eventually(lambda one=one, value=value: total(one) == value + 1)
        assert taken.count(('leaf', value)) == 1
        assert taken.count(('mid', value + 1)) == 1
    taken.clear()
    time.sleep(1.5)
    assert taken == [], 'nothing changed, nothing is told'


# -- who may say what --


@pytest.mark.parametrize(
    ('envelope', 'why'),
    [
        pytest.param(
            {'routing_path': 'stranger', 'method_name': 'update_capacities'},
            'CellRoutingInconsistency',
            id='from a stranger',
        ),
        pytest.param(
            {'routing_path': 'top', 'method_name': 'update_capacities'},
            'CellRoutingInconsistency',
            id='upwards from the parent',
        ),
        pytest.param(
            {'routing_path': 'leaf', 'method_name': 'service_get_all', 'direction': 'down'},
            'CellRoutingInconsistency',
            id='downwards from a child',
        ),
        pytest.param(
            {
                'routing_path': 'leaf',
                'method_name': 'service_update',
                'need_response': True,
                'method_kwargs': {
                    'host_name': 'h1',
                    'binary': 'nova-compute',
                    'params_to_update': {'disabled': True},
                },
            },
            'CellRoutingInconsistency',
            id='an order of the parent from a child',
        ),
        pytest.param(
            {
                'routing_path': 'below!leaf',
                'target_cell': 'below!leaf!mid',
                'method_name': 'update_capacities',
                'method_kwargs': {'cell_name': 'below', 'capacities': {}},
            },
            'CellRoutingInconsistency',
            id='a report that was passed on',
        ),
        pytest.param(
            {
                'routing_path': 'leaf',
                'method_name': 'update_capacities',
                'method_kwargs': {'cell_name': 'leaf2', 'capacities': {'ram_free': 1}},
            },
            'Invalid',
            id='a report for another',
        ),
        pytest.param(
            {'routing_path': 'leaf', 'method_name': 'start'},
            'CellServiceAPIMethodNotFound',
            id='a method of an object',
        ),
        pytest.param(
            {'routing_path': 'leaf!mid!leaf', 'method_name': 'update_capacities'},
            'CellRoutingInconsistency',
            id='a loop',
        ),
    ],
)
def test_x1_x2_what_a_neighbour_may_not_say_is_refused_and_counted(
    module_tree, caplog, envelope, why
):
    mid = module_tree['mid']
    services.service_report(mid.database, 'h1', 'nova-compute', 'compute')
    before = mid.stats.get('messages_refused', reason=why)
    leaf2 = mid.state.sighting('leaf2').capacities
    arrived = Arrived(**envelope)
    mid.runner.receive(arrived)
    assert arrived.settled
    eventually(lambda: mid.stats.get('messages_refused', reason=why) == before + 1)
    assert envelope['routing_path'].rpartition('!')[2] in caplog.text
    assert service_of(mid)['disabled'] is False
    assert mid.state.sighting('leaf2').capacities == leaf2


def test_r3_copies_of_an_order_get_the_same_answer_and_it_is_done_once(tree_of, monkeypatch):
    tree = tree_of({'top': None, 'leaf': 'top'})
    services.service_report(tree['leaf'].database, 'h1', 'nova-compute', 'compute')
    tap = Tap(tree['top'], monkeypatch)

    def thrice(send, outgoing):
        for _ in range(3 if 'service_update' in outgoing.text else 1):
            send()

    tap.instead = thrice
    answers = Tap(tree['leaf'], monkeypatch)
    assert disable(tree).failure is None
    eventually(
        lambda: len([t for t in answers.envelopes('parse_responses') if 'h1' in str(t)]) == 3
    )
    texts = [t['method_kwargs'] for t in answers.envelopes('parse_responses') if 'h1' in str(t)]
    assert texts == [texts[0]] * 3
    assert tree['leaf'].stats.get('orders_twice') == 2
    assert db_journal.counts(tree['leaf'].database) == {'inbox.done': 1}


def test_a_parent_that_starts_has_its_children_report(tree_of, own):
    own.update(leaf=100)
    tree = tree_of({'top': None, 'leaf': 'top'})

    def wanted():
        return changes.versions(tree['leaf'].database).get(changes.WANTED, 0)

    eventually(lambda: total(tree['top']) == 100)
    tree['top'].stop()
    before = wanted()
    with tree['top'].database.write() as connection:
        connection.execute(sa.text('DELETE FROM neighbour_reports'))
    start_again(tree, 'top')
    # A report of its own accord may come before the leaf has heard the question.
    eventually(lambda: total(tree['top']) == 100 and wanted() > before)


@pytest.mark.needs_extensions('what a plain cell asks is dated by the clock of its user')
@pytest.mark.parametrize('step', [86400, -86400])
def test_d8_a_clock_that_is_set_makes_nobody_mute_and_stops_no_question(
    tree_of, own, monkeypatch, step
):
    monkeypatch.setattr(sightings, 'MUTE_SECONDS', UNHURRIED)
    own.update(leaf=100, leaf2=10)
    tree = tree_of(LINE)
    all_know_each_other(tree)
    eventually(lambda: total(tree['top']) == 110)
    real = time.time
    monkeypatch.setattr(time, 'time', lambda: real() + step)
    time.sleep(0.5)  # what was under way is refused, or came a day ahead
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        good, bad = query(tree['top'])
        assert (len(good), bad) == (4, {})
        assert [one.state.mute() for one in tree.cells.values()] == [frozenset()] * 4
        assert total(tree['top']) == 110
