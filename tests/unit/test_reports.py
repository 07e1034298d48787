import logging
import threading
import time
import types

import pytest

from cells import exceptions, reports, sightings, state
from cells.db import changes, engine
from cells.handlers import reports as report_handlers
from cells.reports import DRAINING, NODES
from tests.unit.builders import eventually, targeted

ID = 'the id of mid'
OURS = {'ram_free': {'total_mb': 100, 'units_by_mb': {'50': 2}}}


class State:
    """What the reports ask of the state of a worker."""

    def __init__(self, parents=('api',), children=('a', 'b')) -> None:
        self.cell_id = ID
        self.seen = {}
        self.silent = set()
        self.drained = frozenset()
        self.watchers = []
        self.set(parents, children)

    def set(self, parents, children):
        def cell(name, is_parent):
            return state.CellState(name, is_parent, 'fake://%s' % name)

        self.topology = state.Topology(
            'mid',
            {name: cell(name, True) for name in parents},
            {name: cell(name, False) for name in children},
        )

    def sighting(self, name):
        return self.seen.setdefault(name, sightings.Sighting())

    def mute(self):
        return frozenset(self.silent)

    def on_versions(self, watcher):
        self.watchers.append(watcher)

    def tell_versions(self, **versions):
        for watcher in self.watchers:
            watcher(versions)


class Runner:
    """Notes what is told to whom, and when."""

    def __init__(self) -> None:
        self.told = []
        self.broken = False

    def tell(self, operation, neighbour, kwargs, on_failure=lambda: None):
        self.told.append((time.monotonic(), operation, neighbour, kwargs))
        if self.broken:
            on_failure()

    def of(self, operation):
        return [kwargs for _, name, _, kwargs in self.told if name == operation]

    def times(self, operation):
        return [at for at, name, _, _ in self.told if name == operation]


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(reports, 'TURN_SECONDS', 0.01)
    monkeypatch.setattr(reports, 'LEAST_SECONDS', 0.15)
    monkeypatch.setattr(reports, 'LEAST_COUNT', 0.01)
    monkeypatch.setattr(reports, 'COUNT_SECONDS', 0.05)


@pytest.fixture
def cell():
    return State()


@pytest.fixture
def runner():
    return Runner()


@pytest.fixture
def lease():
    return types.SimpleNamespace(held=True)


@pytest.fixture
def made(cell, runner, lease):
    """Make reports; they are stopped at the end."""
    found = []

    def make(count=lambda: OURS, capabilities=None, enabled=lambda: True):
        found.append(
            reports.Reports(
                state=cell,
                runner=runner,
                lease=lease,
                capabilities=capabilities or {'hypervisor': ['kvm']},
                count=count,
                enabled=enabled,
            )
        )
        return found[-1]

    yield make
    for one in found:
        one.stop()


# -- the own capabilities --


@pytest.mark.parametrize(
    ('items', 'found'),
    [
        ([], {}),
        (['a=b'], {'a': ['b']}),
        (['a=c;b;c'], {'a': ['b', 'c']}),
        ([' a = b ; c '], {'a': ['b', 'c']}),
        (['a='], {'a': []}),
        (['a=b=c'], {'a': ['b=c']}),
        (['a=;;'], {'a': []}),
    ],
)
def test_capabilities_are_read_as_they_are_configured(items, found):
    assert reports.parse_capabilities(items) == found


@pytest.mark.parametrize('item', ['', 'a', '=b', ' = b', 'cells.node=x', 'cells.draining=x'])
def test_a_capability_that_is_none_is_refused(item):
    with pytest.raises(ValueError, match='not of the form key=value'):
        reports.parse_capabilities(['good=1', item])


# -- merging --


def test_capabilities_are_the_union_of_all_and_name_each_cell_of_ours(made, cell):
    cell.sighting('a').capabilities = {'hypervisor': ['xen', 'kvm'], NODES: ['id-a;a;mid;1']}
    cell.sighting('b').capabilities = {'os': ['linux']}
    assert made().capabilities() == {
        NODES: ['id-a;a;mid;1', '%s;mid;api;1' % ID],
        'hypervisor': ['kvm', 'xen'],
        'os': ['linux'],
    }


def test_a_node_names_all_its_parents_and_none_at_the_top(made, cell):
    cell.set(('y', 'x'), ())
    assert made().capabilities()[NODES] == ['%s;mid;x,y;1' % ID]
    cell.set((), ())
    assert made().capabilities()[NODES] == ['%s;mid;;1' % ID]


def test_d1_a_mute_child_counts_for_nothing_until_it_is_heard_again(made, cell):
    for name in 'ab':
        cell.sighting(name).capacities = {'ram_free': {'total_mb': 10}}
        cell.sighting(name).capabilities = {'of': [name]}
    one = made()
    assert one.capacities() == {'ram_free': {'total_mb': 20}}
    cell.silent.add('a')
    assert one.capacities() == {'ram_free': {'total_mb': 10}}
    assert one.capabilities()['of'] == ['b']
    cell.silent.clear()
    assert one.capacities() == {'ram_free': {'total_mb': 20}}


def test_d4_free_hosts_are_told_only_when_all_below_tell_theirs(made, cell):
    """Else a cell would seem to have no room which a nova-cells below it has."""
    whole = {'ram_free': {'total_mb': 10}, 'free': {'1:1:1': 1}}
    for name in 'ab':
        cell.sighting(name).capacities = whole
        cell.sighting(name).protocol = 1
    one = made()
    assert one.capacities()['free'] == {'1:1:1': 2}
    cell.sighting('b').capacities = {}
    assert one.capacities()['free'] == {'1:1:1': 1}, 'a cell without hosts has none to tell of'
    cell.sighting('b').capacities = {'ram_free': {'total_mb': 10}}
    assert one.capacities() == {'ram_free': {'total_mb': 20}}
    # a sum that a nova-cells has made has in it what only some of those below it told
    cell.sighting('b').capacities, cell.sighting('b').protocol = whole, 0
    assert one.capacities() == {'ram_free': {'total_mb': 20}}


def test_c7_a_child_that_is_drained_here_counts_for_nothing_and_is_named_above(made, cell):
    for name in 'ab':
        cell.sighting(name).capacities = {'ram_free': {'total_mb': 10}}
    cell.drained = frozenset({'a', 'gone'})
    one = made()
    assert one.capacities() == {'ram_free': {'total_mb': 10}}
    assert one.capabilities()[DRAINING] == ['a']
    cell.drained = frozenset()
    assert one.capacities() == {'ram_free': {'total_mb': 20}}
    assert DRAINING not in one.capabilities()


def test_c7_a_drained_cell_says_so_and_tells_of_no_room(made, cell, runner, quick):
    cell.sighting('a').capabilities = {DRAINING: ['x']}
    cell.sighting('a').capacities = {'ram_free': {'total_mb': 10, 'units_by_mb': {'5': 2}}}
    state = {'enabled': True}
    one = made(count=lambda: {**OURS, 'free': {'1:1:1': 1}}, enabled=lambda: state['enabled'])
    one.start()
    eventually(lambda: runner.of('update_capacities'))
    assert one.capabilities()[DRAINING] == ['x']
    state['enabled'] = False
    assert one.capabilities()[DRAINING] == ['mid', 'x']
    nothing = {'ram_free': {'total_mb': 0, 'units_by_mb': {'5': 0, '50': 0}}}
    eventually(lambda: runner.of('update_capacities')[-1]['capacities'] == nothing)
    assert runner.of('update_capabilities')[-1]['capabilities'][DRAINING] == ['mid', 'x']
    assert one.capacities()['ram_free']['total_mb'] == 110, 'here it is seen what there is'
    state['enabled'] = True
    eventually(
        lambda: runner.of('update_capacities')[-1]['capacities']['ram_free']['total_mb'] == 110
    )


def test_what_the_parent_reports_is_not_counted(made, cell):
    cell.sighting('api').capacities = {'ram_free': {'total_mb': 10}}
    assert made().capacities() == {}


def test_r6_a_child_that_has_this_cell_below_itself_counts_for_nothing(made, cell):
    cell.sighting('a').capabilities = {NODES: ['id-a;a;mid;1', '%s;mid;x;1' % ID], 'of': ['a']}
    cell.sighting('a').capacities = {'ram_free': {'total_mb': 10}}
    cell.sighting('b').capacities = {'ram_free': {'total_mb': 1}}
    one = made()
    assert one.capacities() == {'ram_free': {'total_mb': 1}}
    assert 'of' not in one.capabilities()
    assert 'id-a;a;mid;1' in one.capabilities()[NODES], 'the next cell must see the cycle as well'


# -- the own hosts --


def test_hosts_are_counted_again_when_they_changed_and_from_time_to_time(made, cell, quick):
    counted = []
    one = made(count=lambda: counted.append(1) or {'n': len(counted)})
    one.start()
    eventually(lambda: len(counted) > 3)
    eventually(lambda: one.own_capacities()['n'] > 3)
    assert one.capacities()['n'] >= 3


def test_d5_a_count_that_takes_long_holds_nobody_up(made, cell, quick):
    go = threading.Event()
    one = made(count=lambda: go.wait(60) and OURS)
    one.start()
    begun = time.monotonic()
    assert one.capacities() == {}
    assert one.capabilities()
    assert time.monotonic() - begun < 20
    go.set()
    eventually(lambda: one.capacities() == OURS)


@pytest.mark.parametrize('error', [engine.ERRORS[0]('the database is away'), ZeroDivisionError()])
def test_d6_while_hosts_cannot_be_counted_the_last_count_stays(made, cell, quick, caplog, error):
    broken = []

    def count():
        if broken:
            broken.append(1)
            raise error
        return OURS

    one = made(count=count)
    one.start()
    eventually(lambda: one.own_capacities() == OURS)
    broken.append(1)
    eventually(lambda: len(broken) > 3)
    assert one.own_capacities() == OURS
    broken.clear()
    if not isinstance(error, ZeroDivisionError):
        assert caplog.text.count('hosts cannot be counted') == 1


# -- up the tree --


def test_each_parent_is_told_both_with_the_own_name(made, cell, runner, quick):
    cell.set(('x', 'y'), ())
    one = made()
    one.start()
    eventually(lambda: {'capacities': OURS, 'cell_name': 'mid'} in runner.of('update_capacities'))
    for operation in ('update_capacities', 'update_capabilities'):
        assert {to for _, name, to, _ in runner.told if name == operation} == {'x', 'y'}
    assert runner.of('update_capabilities')[0] == {
        'cell_name': 'mid',
        'capabilities': one.capabilities(),
    }


def test_p2_it_is_told_again_only_when_it_changed_and_not_more_often_than_allowed(
    made, cell, runner, quick
):
    one = made()
    one.start()
    eventually(lambda: {'capacities': OURS, 'cell_name': 'mid'} in runner.of('update_capacities'))
    time.sleep(0.5)
    told = len(runner.of('update_capacities'))
    assert told <= 2, 'before the first count and after it'
    begun, number = time.monotonic(), 0
    while len(runner.of('update_capacities')) < told + 6:
        assert time.monotonic() - begun < 20
        number += 1
        cell.sighting('a').capacities = {'ram_free': {'total_mb': number}}
        time.sleep(0.005)
    eventually(
        lambda: (
            runner.of('update_capacities')[-1]['capacities']['ram_free']['total_mb'] == 100 + number
        )
    )
    times = runner.times('update_capacities')[told:]
    assert len(times) - 2 <= (times[-1] - times[0]) / 0.14, 'they keep their distance'
    assert len(runner.of('update_capabilities')) == 1


def test_it_is_told_from_time_to_time_though_nothing_changed(
    made, cell, runner, quick, monkeypatch
):
    monkeypatch.setattr(reports, 'REPORT_SECONDS', 0.3)
    made().start()
    eventually(lambda: len(runner.of('update_capacities')) >= 4)
    eventually(lambda: len(runner.of('update_capabilities')) >= 4)


def test_p2_who_does_not_hold_the_lease_tells_nothing(made, cell, runner, lease, quick):
    lease.held = False
    made().start()
    time.sleep(0.3)
    assert runner.told == []
    lease.held = True
    eventually(lambda: runner.of('update_capacities'))
    lease.held = False
    time.sleep(0.05)
    before = len(runner.told)
    cell.sighting('a').capacities = {'ram_free': {'total_mb': 1}}
    time.sleep(0.3)
    assert len(runner.told) == before
    lease.held = True
    eventually(lambda: len(runner.told) > before)


def test_a_report_that_is_asked_for_comes_though_nothing_changed(made, cell, runner, quick):
    one = made()
    one.start()
    cell.tell_versions(**{changes.WANTED: 1})
    eventually(lambda: one.own_capacities())
    time.sleep(0.4)
    before = len(runner.of('update_capacities')), len(runner.of('update_capabilities'))
    cell.tell_versions(**{changes.WANTED: 2})
    eventually(
        lambda: (
            len(runner.of('update_capacities')) > before[0]
            and len(runner.of('update_capabilities')) > before[1]
        )
    )
    time.sleep(0.3)
    assert len(runner.of('update_capacities')) == before[0] + 1


def test_a_report_that_is_asked_for_right_after_one_is_not_forgotten(made, cell, runner, quick):
    one = made()
    one.start()
    eventually(lambda: one.own_capacities())
    time.sleep(0.4)
    cell.sighting('a').capacities = {'ram_free': {'total_mb': 1}}
    before = len(runner.of('update_capacities'))
    eventually(lambda: len(runner.of('update_capacities')) > before)
    capabilities = len(runner.of('update_capabilities'))
    # The parent may have got the row of this cell only now, and have refused that one.
    cell.tell_versions(**{changes.WANTED: 1})
    eventually(lambda: len(runner.of('update_capacities')) == before + 2)
    eventually(lambda: len(runner.of('update_capabilities')) == capabilities + 1)


def test_a_new_parent_is_told_at_once(made, cell, runner, quick):
    made().start()
    eventually(lambda: {'capacities': OURS, 'cell_name': 'mid'} in runner.of('update_capacities'))
    cell.set(('other',), ('a', 'b'))
    eventually(
        lambda: (
            {
                ('update_capacities', 'other'),
                ('update_capabilities', 'other'),
            }
            <= {(name, to) for _, name, to, _ in runner.told}
        )
    )


def test_a_report_that_did_not_get_out_is_tried_again_soon(made, cell, runner, quick):
    runner.broken = True
    one = made()
    one.start()
    eventually(lambda: one.own_capacities())
    eventually(lambda: len(runner.of('update_capacities')) >= 4)
    times = runner.times('update_capacities')
    assert len(times) - 1 <= (times[-1] - times[0]) / 0.14, 'they keep their distance'
    runner.broken = False
    before = len(times)
    eventually(lambda: len(runner.of('update_capacities')) > before)
    time.sleep(0.4)
    assert len(runner.of('update_capacities')) <= before + 2


def test_the_top_tells_nobody_and_asks_its_children(made, cell, runner, quick):
    cell.set((), ('a', 'b'))
    made().start()
    eventually(lambda: len(runner.told) == 4)
    time.sleep(0.1)
    assert sorted((name, to, tuple(kwargs)) for _, name, to, kwargs in runner.told) == [
        ('announce_capabilities', 'a', ()),
        ('announce_capabilities', 'b', ()),
        ('announce_capacities', 'a', ()),
        ('announce_capacities', 'b', ()),
    ]
    cell.set((), ('a', 'b', 'c'))
    eventually(lambda: len(runner.told) == 6)
    assert {to for _, _, to, _ in runner.told[4:]} == {'c'}


def test_a_failure_in_one_report_does_not_end_them(made, cell, runner, quick, caplog):
    tell, failed = runner.tell, []

    def fail(*args):
        failed.append(1)
        raise ZeroDivisionError

    runner.tell = fail
    made().start()
    eventually(lambda: len(failed) > 1)
    runner.tell = tell
    eventually(lambda: runner.of('update_capacities'))
    assert 'could not be reported' in caplog.text


# -- what comes from a child --


class Sightings:
    def __init__(self) -> None:
        self.kept = {}

    def reported(self, name, what, value):
        new = self.kept.get((name, what)) != value
        self.kept[name, what] = value
        return new


@pytest.fixture
def handlers(cell):
    cell.sightings = Sightings()
    cell.shared = []
    cell.share = lambda: cell.shared.append(1)
    return report_handlers.ReportHandlers(None, cell)


FROM_A = targeted('a!mid', 'a!mid', 'up', method_name='update_capacities')


def test_a_report_is_kept_and_shared_when_it_is_new(handlers, cell):
    for _ in range(2):
        handlers.update_capacities(None, FROM_A, 'a', OURS)
    assert cell.sightings.kept == {('a', 'capacities'): OURS}
    assert len(cell.shared) == 1
    handlers.update_capabilities(None, FROM_A, 'a', {'x': ['y']})
    assert cell.sightings.kept['a', 'capabilities'] == {'x': ['y']}


@pytest.mark.parametrize('name', ['b', 'mid', '', None, 5, ['a'], 'x' * 5000])
def test_x1_a_cell_reports_for_itself_only(handlers, cell, name):
    for report in (handlers.update_capacities, handlers.update_capabilities):
        with pytest.raises(exceptions.Invalid, match='a reports for cell'):
            report(None, FROM_A, name, {})
    assert cell.sightings.kept == {}


@pytest.mark.parametrize(
    'value',
    [
        None,
        [],
        'x',
        5,
        {'a': 'b'},
        {'a': None},
        {'a': True},
        {'a': [1]},
        {'a': 10**400},
        {'a': -(10**400)},
        {'a': 1e300},
        {'a': {'b': {'c': {'d': {'e': 1}}}}},
    ],
)
def test_capacities_that_are_no_numbers_are_refused(handlers, cell, value):
    with pytest.raises(exceptions.Invalid, match='not numbers by name'):
        handlers.update_capacities(None, FROM_A, 'a', value)
    assert cell.sightings.kept == {}


@pytest.mark.parametrize('value', [None, [], 'x', {'a': 'b'}, {'a': [1]}, {'a': None}, {'a': {}}])
def test_capabilities_that_are_no_lists_of_texts_are_refused(handlers, cell, value):
    with pytest.raises(exceptions.Invalid, match='not lists of texts'):
        handlers.update_capabilities(None, FROM_A, 'a', value)
    assert cell.sightings.kept == {}


def test_r6_a_cycle_is_refused_with_the_names_of_both(handlers, cell):
    value = {'of': ['a'], NODES: ['id-a;a;mid;1', '%s;mid;z;1' % ID]}
    with pytest.raises(
        exceptions.CellRoutingInconsistency,
        match='cycle: a is a child of mid and has it below itself',
    ):
        handlers.update_capabilities(None, FROM_A, 'a', value)
    assert cell.sightings.kept == {('a', 'capabilities'): {NODES: value[NODES]}}


def test_a_cell_of_the_same_name_elsewhere_is_no_cycle(handlers, cell, caplog):
    caplog.set_level(logging.WARNING)
    handlers.update_capabilities(None, FROM_A, 'a', {NODES: ['another id;mid;a;1']})
    assert caplog.text == ''
