import json
import logging
import time

import pytest
import sqlalchemy as sa

from cells import exceptions, neighbour_sources, sightings, state
from cells.db import changes, drains, engine, migration, models, neighbours
from tests.unit.builders import eventually


def row(name, is_parent=False, **values):
    return {
        'name': name,
        'is_parent': is_parent,
        'transport_url': 'rabbit://nova:secret@broker-%s:5672/' % name,
        'weight_offset': 0.0,
        'weight_scale': 1.0,
        'api_url': None,
        **values,
    }


MID = state.Place('mid')
FREE = state.Place('mid', standalone=True)

# -- from rows to the tree --


def test_rows_describe_the_neighbours():
    found = state.topology_of(MID, [row('api', True), row('leaf'), row('other')])
    assert (set(found.parents), set(found.children)) == ({'api'}, {'leaf', 'other'})
    assert found.names == {'api', 'leaf', 'other'}
    assert found.neighbours.own_name == 'mid'
    assert found.neighbours.parents == {'api'}
    assert found.get('leaf').transport_url == 'rabbit://nova:secret@broker-leaf:5672/'
    assert found.get('stranger') is None
    assert not found.is_top


def test_a_cell_without_neighbours_is_a_tree():
    found = state.topology_of(state.Place('api', is_top=True), [])
    assert (found.names, found.is_top) == (frozenset(), True)


@pytest.mark.parametrize('name', ['', 'a!b', 'a@b', 'a.b', 'a b', 'x' * 256, None])
def test_r11_a_neighbour_whose_name_would_break_a_path_is_refused(name):
    with pytest.raises(ValueError, match='cell name'):
        state.topology_of(FREE, [row('leaf'), row(name, transport_url='fake://x')])


def test_r11_a_neighbour_with_the_name_of_this_cell_is_refused():
    with pytest.raises(ValueError, match='mid is the name of this cell itself'):
        state.topology_of(FREE, [row('mid')])


@pytest.mark.parametrize('second_is_parent', [False, True])
def test_r11_two_neighbours_of_one_name_are_refused(second_is_parent):
    with pytest.raises(ValueError, match='name leaf already exists'):
        state.topology_of(FREE, [row('leaf'), row('leaf', second_is_parent)])


def test_r6_two_parents_are_refused_so_that_no_diamond_comes_about():
    rows = [row('b', True), row('a', True), row('leaf')]
    with pytest.raises(ValueError, match='one parent, but there are 2: a, b.*allow_multiple'):
        state.topology_of(MID, rows)
    found = state.topology_of(state.Place('mid', many_parents=True), rows)
    assert set(found.parents) == {'a', 'b'}


def test_d11_a_compute_cell_without_a_parent_is_refused_with_what_to_do():
    with pytest.raises(ValueError, match='compute cell without a parent') as caught:
        state.topology_of(MID, [row('leaf')])
    for text in ('mid', 'nova-cells-manage cell create', 'cell_type = api', '--standalone'):
        assert text in str(caught.value)


def test_d11_a_compute_cell_may_be_told_to_stand_alone():
    found = state.topology_of(FREE, [row('leaf')])
    assert not found.is_top, 'it is not the top for that'
    assert set(found.children) == {'leaf'}


@pytest.mark.parametrize('standalone', [False, True])
def test_d11_the_top_with_a_parent_is_refused(standalone):
    place = state.Place('api', is_top=True, standalone=standalone, many_parents=True)
    with pytest.raises(ValueError, match='api is the top of the tree.*has the parent a, b'):
        state.topology_of(place, [row('b', True), row('a', True)])


@pytest.mark.parametrize(
    'url', ['', None, 'nonsense', 'rabbit://nova:secret@host:port/', 'rabbit://nova:secret@[::1/']
)
def test_a_neighbour_that_cannot_be_reached_by_its_url_is_refused_without_showing_it(url):
    with pytest.raises(ValueError, match='leaf.*transport_url') as caught:
        state.topology_of(FREE, [row('leaf', transport_url=url)])
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
    cell = state.topology_of(MID, [row('api', True, transport_url=url)]).get('api')
    assert 'secret' not in repr(cell)
    found = cell.info({'hypervisor': ['kvm']})
    assert 'secret' not in repr(found)
    assert found == {
        'name': 'api',
        'capabilities': {'hypervisor': ['kvm']},
        'is_parent': True,
        'weight_scale': 1.0,
        'weight_offset': 0.0,
        **shown,
    }


# -- what is kept up to date --


@pytest.fixture
def database(tmp_path):
    made = engine.Database('sqlite:///%s' % (tmp_path / 'cells.sqlite'))
    migration.sync(made)
    yield made
    made.dispose()


@pytest.fixture
def manager_of(database, monkeypatch):
    """Make managers, of several workers of one cell; they are stopped at the end."""
    monkeypatch.setattr(state, 'REPORT_SECONDS', 0.05)
    monkeypatch.setattr(state, 'POLL_SECONDS', 0.02)
    made = []

    def make(check_interval=60.0, place=FREE, source=None):
        made.append(
            state.CellStateManager(
                place=place,
                source=source or neighbour_sources.TableSource(database),
                seen=sightings.Sightings(database=database, mute_interval=300),
                database=database,
                check_interval=check_interval,
            )
        )
        return made[-1]

    yield make
    for manager in made:
        manager.stop()


def test_d10_two_workers_know_the_same_of_a_neighbour_soon(manager_of, table):
    first, second = manager_of(), manager_of()
    first.start()
    second.start()
    first.sightings.saw('leaf', 1)
    first.sightings.reported('leaf', 'capacities', {'a': 1})
    first.share()
    eventually(lambda: second.sighting('leaf').capacities == {'a': 1}, 1)
    assert second.sighting('leaf').is_ours
    for _ in range(3):
        second.sightings.saw('leaf', 0)
    eventually(lambda: first.sighting('leaf').protocol == 0)


def test_d10_what_was_known_before_a_restart_is_known_after_it(manager_of, table):
    before = manager_of()
    before.start()
    before.sightings.saw('leaf', 1)
    before.sightings.reported('leaf', 'capacities', {'a': 1})
    before.stop()
    after = manager_of()
    after.start()
    assert after.sighting('leaf').is_ours
    assert after.sighting('leaf').capacities == {'a': 1}
    assert after.mute() == frozenset()


def test_all_workers_of_a_cell_have_its_id(manager_of, database):
    first, second = manager_of(), manager_of()
    first.start()
    second.start()
    assert first.cell_id == second.cell_id == neighbours.cell_id(database) != ''


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


def test_a_change_that_another_worker_makes_is_seen_without_waiting_for_the_interval(
    manager_of, table, database
):
    manager, versions = manager_of(check_interval=3600), []
    manager.on_versions(versions.append)
    manager.start()
    before = manager.topology
    neighbours.cell_update(database, 'leaf', {'weight_offset': 5.0})
    eventually(lambda: manager.topology is not before)
    assert manager.topology.get('leaf').weight_offset == 5.0
    neighbours.cell_delete(database, 'leaf')
    eventually(lambda: manager.topology.names == {'api'})
    eventually(lambda: versions[-1][changes.NEIGHBOURS] == 4)


def test_what_was_known_of_a_neighbour_goes_with_it(manager_of, table, database):
    manager = manager_of()
    manager.start()
    manager.sightings.saw('leaf', 1, 'an id')
    manager.sightings.reported('leaf', 'capacities', {'a': 1})
    manager.share()
    eventually(lambda: neighbours.reports_get_all(database).get('leaf', {}).get('capacities'))
    neighbours.cell_delete(database, 'leaf')
    eventually(lambda: 'leaf' not in manager.topology.names)
    neighbours.cell_create(database, row('leaf'))
    eventually(lambda: 'leaf' in manager.topology.names)
    time.sleep(0.2)
    assert manager.sighting('leaf').capacities == {}
    assert manager.sighting('leaf').cell_id is None


def test_a_new_neighbour_does_not_inherit_the_report_of_one_that_was_renamed(
    manager_of, table, database
):
    manager = manager_of()
    manager.start()
    manager.sightings.saw('leaf', 1, 'an id')
    manager.sightings.reported('leaf', 'capacities', {'a': 1})
    manager.share()
    eventually(lambda: neighbours.reports_get_all(database).get('leaf', {}).get('capacities'))
    neighbours.cell_update(database, 'leaf', {'name': 'leaf2'})
    eventually(lambda: 'leaf2' in manager.topology.names)
    neighbours.cell_create(database, row('leaf'))
    eventually(lambda: 'leaf' in manager.topology.names)
    time.sleep(0.2)
    assert manager.sighting('leaf').capacities == {}


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


def test_d11_a_parent_that_vanishes_leaves_the_last_good_tree_and_an_error(
    manager_of, table, database, log
):
    manager = manager_of(place=MID)
    manager.start()
    neighbours.cell_delete(database, 'api')
    eventually(lambda: log(logging.ERROR))
    assert 'compute cell without a parent' in log(logging.ERROR)[0]
    assert manager.topology.names == {'api', 'leaf'}


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


@pytest.fixture
def hidden(database):
    """Hide a table and show it again."""

    def rename(old, new):
        with database.write() as connection:
            connection.execute(sa.text('ALTER TABLE %s RENAME TO %s' % (old, new)))

    return rename


def test_d6_while_the_table_is_away_routing_goes_on_with_the_last_tree(
    manager_of, table, hidden, log
):
    manager = manager_of()
    manager.start()
    good = manager.topology
    hidden('cells', 'elsewhere')
    manager.refresh()
    manager.refresh()
    assert manager.topology is good
    hidden('elsewhere', 'cells')
    table('leaf', name='leaf2')
    manager.refresh()
    assert manager.topology.names == {'api', 'leaf2'}
    assert len(log(logging.WARNING)) == 1


@pytest.mark.parametrize(
    ('away', 'warnings'), [('changes', 2), ('neighbour_reports', 2), ('cells', 1)]
)
def test_d6_while_the_database_is_away_nobody_turns_mute_and_all_is_read_after_it(
    manager_of, table, hidden, database, log, monkeypatch, away, warnings
):
    monkeypatch.setattr(sightings, 'MUTE_SECONDS', 3.0)
    manager, other = manager_of(check_interval=0.1), manager_of()
    for one in (manager, other):
        one.start()
        one.sightings.saw('leaf', 1)
    hidden(away, 'elsewhere')
    until = time.monotonic() + 4
    while time.monotonic() < until:
        other.sightings.saw('leaf', 1)  # the only one that hears it
        assert not manager.sightings.is_mute('leaf')
        time.sleep(0.02)
    told = eventually(lambda: len(found := log(logging.WARNING)) >= warnings and found)
    assert len(told) == warnings, 'once for each worker that looks'
    assert all('database does not answer' in text for text in told)
    hidden('elsewhere', away)
    neighbours.cell_update(database, 'leaf', {'name': 'leaf2'})
    eventually(lambda: manager.topology.names == {'api', 'leaf2'})


def test_a_watcher_that_fails_does_not_stop_the_others(manager_of, table, database, caplog):
    manager = manager_of()

    def fail(found):
        raise ZeroDivisionError

    manager.on_versions(fail)
    manager.start()
    neighbours.cell_update(database, 'leaf', {'weight_offset': 5.0})
    eventually(lambda: manager.topology.get('leaf').weight_offset == 5.0)
    eventually(lambda: 'ZeroDivisionError' in caplog.text)


def test_r11_a_cell_with_an_illegal_name_of_its_own_is_not_made(manager_of):
    with pytest.raises(ValueError, match='cell name'):
        manager_of(place=state.Place('a.b'))


# -- a file that changes --


@pytest.fixture
def write(tmp_path):
    path = tmp_path / 'neighbours.json'

    def write(content):
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text)
        return neighbour_sources.FileSource(str(path))

    return write


def in_file(*names):
    return {name: {'transport_url': 'fake://%s' % name} for name in names}


def test_d9_a_file_is_read_again_when_it_changes_and_kept_while_it_is_broken(
    manager_of, write, log
):
    manager = manager_of(source=write(in_file('a', 'b')), check_interval=3600)
    manager.start()
    assert manager.topology.names == {'a', 'b'}
    good = manager.topology
    write(json.dumps(in_file('a', 'c'))[:-9])
    eventually(lambda: log(logging.ERROR))
    time.sleep(0.2)
    assert manager.topology is good
    assert len(log(logging.ERROR)) == 1
    assert 'neighbours.json is not JSON' in log(logging.ERROR)[0]
    write(in_file('a', 'c'))
    eventually(lambda: manager.topology.names == {'a', 'c'})


def test_d9_a_file_that_is_gone_leaves_the_last_good_tree(manager_of, write, log, tmp_path):
    manager = manager_of(source=write(in_file('a')))
    manager.start()
    (tmp_path / 'neighbours.json').unlink()
    eventually(lambda: log(logging.ERROR))
    assert manager.topology.names == {'a'}


def test_d6_a_file_is_read_while_the_database_is_away(manager_of, write, hidden):
    manager = manager_of(source=write(in_file('a')))
    manager.start()
    hidden('changes', 'elsewhere')
    time.sleep(0.2)
    write(in_file('b'))
    eventually(lambda: manager.topology.names == {'b'})


@pytest.mark.parametrize(
    'content', ['{', '[]', {'a': {}}, {'mid': {'transport_url': 'fake://a'}}, in_file('a.b')]
)
def test_d9_a_file_that_is_wrong_at_the_start_stops_the_start(manager_of, write, content):
    manager = manager_of(source=write(content))
    with pytest.raises(ValueError, match='neighbours.json|cell'):
        manager.start()


def test_c7_workers_hear_of_a_drain_and_know_it_after_a_restart(manager_of, database):
    running = manager_of()
    running.start()
    assert running.drained == frozenset()
    with database.write() as connection:
        drains.drain_create(connection, 'leaf', 'its broker is being replaced')
        drains.drain_create(connection, 'leaf', 'a new reason')
    eventually(lambda: running.drained == {'leaf'})
    later = manager_of()
    later.start()
    assert later.drained == {'leaf'}
    assert drains.drain_get_all(database)['leaf']['reason'] == 'a new reason'
    with database.write() as connection:
        assert drains.drain_delete(connection, 'leaf') == 1
        assert drains.drain_delete(connection, 'leaf') == 0
    eventually(lambda: running.drained == later.drained == frozenset())


def test_c7_a_drain_follows_a_rename_and_ends_with_the_cell(database, table):
    with database.write() as connection:
        drains.drain_create(connection, 'leaf', '')
    neighbours.cell_update(database, 'leaf', {'name': 'twig'}, 'mid')
    assert list(drains.drain_get_all(database)) == ['twig']
    neighbours.cell_delete(database, 'twig')
    assert drains.drain_get_all(database) == {}
