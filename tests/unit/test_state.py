import logging
import time

import pytest
import sqlalchemy as sa

from cells import exceptions, state
from cells.db import engine, migration, models, neighbours
from tests.unit.builders import eventually


def row(name, is_parent=False, **values):
    return {
        'name': name,
        'is_parent': is_parent,
        'transport_url': 'rabbit://nova:secret@broker-%s:5672/' % name,
        'weight_offset': 0.0,
        'weight_scale': 1.0,
        **values,
    }


# -- from the table to the tree --


def test_the_table_describes_the_neighbours():
    found = state.topology_of('mid', [row('api', True), row('leaf'), row('other')])
    assert (set(found.parents), set(found.children)) == ({'api'}, {'leaf', 'other'})
    assert found.names == {'api', 'leaf', 'other'}
    assert found.neighbours.own_name == 'mid'
    assert found.neighbours.parents == {'api'}
    assert found.get('leaf').transport_url == 'rabbit://nova:secret@broker-leaf:5672/'
    assert found.get('stranger') is None


def test_a_cell_without_neighbours_is_a_tree():
    assert state.topology_of('api', []).names == frozenset()


@pytest.mark.parametrize('name', ['', 'a!b', 'a@b', 'a.b', 'a b', 'x' * 256, None])
def test_r11_a_neighbour_whose_name_would_break_a_path_is_refused(name):
    with pytest.raises(ValueError, match='cell name'):
        state.topology_of('mid', [row('leaf'), row(name, transport_url='fake://x')])


def test_r11_a_neighbour_with_the_name_of_this_cell_is_refused():
    with pytest.raises(ValueError, match='the name of this cell, mid'):
        state.topology_of('mid', [row('mid')])


@pytest.mark.parametrize('second_is_parent', [False, True])
def test_r11_two_neighbours_of_one_name_are_refused(second_is_parent):
    with pytest.raises(ValueError, match='leaf'):
        state.topology_of('mid', [row('leaf'), row('leaf', second_is_parent)])


def test_r6_two_parents_are_refused_so_that_no_diamond_comes_about():
    with pytest.raises(ValueError, match='one parent, but the table has 2: a, b'):
        state.topology_of('mid', [row('b', True), row('a', True), row('leaf')])


@pytest.mark.parametrize(
    'url', ['', None, 'nonsense', 'rabbit://nova:secret@host:port/', 'rabbit://nova:secret@[::1/']
)
def test_a_neighbour_that_cannot_be_reached_by_its_url_is_refused_without_showing_it(url):
    with pytest.raises(ValueError, match='leaf.*transport_url') as caught:
        state.topology_of('mid', [row('leaf', transport_url=url)])
    assert 'secret' not in str(caught.value)


@pytest.mark.parametrize(
    ('url', 'shown'),
    [
        (
            'rabbit://nova:secret@broker:5673/vhost',
            {'username': 'nova', 'rpc_host': 'broker', 'rpc_port': 5673},
        ),
        (
            'rabbit://nova:secret%40%2F@a:5672,other:secret@b:5672/',
            {'username': 'nova', 'rpc_host': 'a', 'rpc_port': 5672},
        ),
        ('fake://', {}),
    ],
)
def test_what_is_told_of_a_neighbour_holds_no_password(url, shown):
    found = state.topology_of('mid', [row('api', True, transport_url=url)]).get('api').info()
    assert 'secret' not in repr(found)
    assert found == {
        'name': 'api',
        'capabilities': {},
        'is_parent': True,
        'weight_scale': 1.0,
        'weight_offset': 0.0,
        **shown,
    }


# -- what is learned from messages --


@pytest.fixture
def database(tmp_path):
    made = engine.Database('sqlite:///%s' % (tmp_path / 'cells.sqlite'))
    migration.sync(made)
    yield made
    made.dispose()


@pytest.fixture
def manager_of(database, monkeypatch):
    """Make managers, of several workers of one cell; they are stopped at the end."""
    monkeypatch.setattr(state, 'REPORT_INTERVAL', 0.02)
    made = []

    def make(check_interval=60.0):
        made.append(
            state.CellStateManager(own_name='mid', database=database, check_interval=check_interval)
        )
        return made[-1]

    yield make
    for manager in made:
        manager.stop()


@pytest.mark.parametrize(
    ('seen', 'protocol'),
    [
        ([], -1),
        ([0], 0),
        ([1], 1),
        ([0, 1], 1),
        ([1, 0], 1),
        ([1, 0, 0], 1),
        ([1, 0, 0, 0], 0),
        ([1, 0, 0, 1, 0, 0], 1),
        ([1, 0, 0, 0, 1], 1),
        ([2, 1], 1),
    ],
)
def test_a_neighbour_is_plain_after_three_plain_messages_and_ours_after_one(
    manager_of, seen, protocol
):
    manager = manager_of()
    for one in seen:
        manager.saw('leaf', one)
    assert manager.sighting('leaf').protocol == protocol
    assert manager.sighting('leaf').is_ours == (protocol > 0)
    assert manager.sighting('other').protocol == -1


def test_a_sighting_is_a_copy(manager_of):
    manager = manager_of()
    manager.saw('leaf', 1)
    manager.sighting('leaf').protocol = 0
    assert manager.sighting('leaf').is_ours


def test_two_workers_know_the_same_of_a_neighbour(manager_of):
    first, second = manager_of(), manager_of()
    first.start()
    second.start()
    first.saw('leaf', 1)
    eventually(lambda: second.sighting('leaf').is_ours)
    assert second.sighting('leaf') == first.sighting('leaf')
    for _ in range(3):
        second.saw('leaf', 0)
    eventually(lambda: first.sighting('leaf').protocol == 0)


def test_what_was_known_before_a_restart_is_known_after_it(manager_of):
    before = manager_of()
    before.saw('leaf', 1)
    before.stop()
    after = manager_of()
    after.start()
    assert after.sighting('leaf').is_ours


# -- a table that changes --


@pytest.fixture
def table(database):
    """Write to the table of neighbours, which has a parent and a child at first."""
    cells = models.Cell.__table__

    def change(name, /, **values):
        with database.write() as connection:
            connection.execute(sa.update(cells).where(cells.c.name == name).values(**values))

    for one in (row('api', True), row('leaf')):
        neighbours.cell_create(database, one)
    return change


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, 'cells.state')
    return lambda level: [
        record.getMessage()
        for record in caplog.records
        if record.name == 'cells.state' and record.levelno == level
    ]


def test_r11_two_rows_of_one_name_are_refused(database, table):
    with pytest.raises(exceptions.CellExists, match='leaf'):
        neighbours.cell_create(database, row('leaf', True))


def test_a_change_of_the_table_is_seen_and_told_once(manager_of, table):
    manager, told = manager_of(check_interval=0.02), []
    manager.on_change(told.append)
    manager.start()
    assert manager.topology.names == {'api', 'leaf'}
    table('leaf', name='leaf2')
    eventually(lambda: manager.topology.names == {'api', 'leaf2'})
    manager.refresh()
    assert [topology.names for topology in told] == [{'api', 'leaf'}, {'api', 'leaf2'}]


BAD = pytest.mark.parametrize(
    ('name', 'bad'),
    [
        ('leaf', {'name': 'leaf.1'}),
        ('leaf', {'name': 'mid'}),
        ('leaf', {'is_parent': True}),
        ('api', {'transport_url': ''}),
    ],
    ids=['bad name', 'own name', 'two parents', 'no url'],
)


@BAD
def test_a_table_that_turns_bad_leaves_the_last_good_tree_until_it_is_good(
    manager_of, table, log, name, bad
):
    manager = manager_of()
    manager.start()
    good = manager.topology
    table(name, **bad)
    manager.refresh()
    assert manager.topology is good
    assert len(log(logging.ERROR)) == 1
    table(bad.get('name', name), **{**row(name, name == 'api'), 'name': name + '2'})
    manager.refresh()
    assert manager.topology.names == {'api', 'leaf'} - {name} | {name + '2'}


@BAD
def test_a_table_that_is_bad_at_the_start_stops_the_start(manager_of, table, name, bad):
    table(name, **bad)
    manager = manager_of()
    with pytest.raises(ValueError, match='cell|neighbour'):
        manager.start()


def test_while_the_table_is_bad_the_log_says_so_once_and_nothing_else(manager_of, table, log):
    manager = manager_of(check_interval=0.05)
    manager.start()
    told_before = len(log(logging.INFO))
    table('leaf', name='leaf.1')
    eventually(lambda: log(logging.ERROR))
    # several looks at the table and more exchanges of reports
    time.sleep(0.3)
    assert len(log(logging.ERROR)) == 1
    assert len(log(logging.INFO)) == told_before
    table('leaf.1', name='leaf')
    eventually(lambda: len(log(logging.INFO)) > told_before)


def test_while_the_database_is_away_routing_goes_on_with_the_last_tree(
    manager_of, database, table, log
):
    manager = manager_of()
    manager.start()
    good = manager.topology
    with database.write() as connection:
        connection.execute(sa.text('ALTER TABLE cells RENAME TO elsewhere'))
    manager.refresh()
    manager.refresh()
    assert manager.topology is good
    with database.write() as connection:
        connection.execute(sa.text('ALTER TABLE elsewhere RENAME TO cells'))
    table('leaf', name='leaf2')
    manager.refresh()
    assert manager.topology.names == {'api', 'leaf2'}
    assert log(logging.WARNING)


def test_r11_a_cell_with_an_illegal_name_of_its_own_is_not_made(database):
    with pytest.raises(ValueError, match='cell name'):
        state.CellStateManager(own_name='a.b', database=database, check_interval=60)
