"""What the cells above know wrongly is repaired: rounds of healing, and orders to sync."""

import functools
import json
import os
import statistics
import threading
import time
import tracemalloc

import pytest
import sqlalchemy as sa

from cells import comparison, context, heal, paths
from cells.db import (
    contents,
    dirty,
    engine,
    faults,
    healing,
    instances,
    migration,
    models,
    path_aliases,
    snapshots,
    sync_requests,
)
from cells.db import instance_actions as actions
from cells.drivers import fake
from cells.objects.instance import InstanceInfoCache
from tests import deploy, fake_cells, plain_cell, replication

LINE = {'top': None, 'mid': 'top', 'leaf': 'mid'}
VALUES = {
    'project_id': 'p1',
    'user_id': 'u1',
    'vm_state': 'active',
    'task_state': None,
    'power_state': 1,
    'host': 'h1',
    'memory_mb': 512,
    'display_name': 'é漢',
}
QUICK = {'heal_page_interval': 0.02, 'heal_round_interval': 1}
INSTANCES = models.Instance.__table__


@pytest.fixture
def settled(monkeypatch):
    """Nothing counts as being on its way for long."""
    monkeypatch.setattr(comparison, 'SETTLE_SECONDS', 0.0)


@pytest.fixture
def tree(workdir, settled):
    with fake_cells.FakeTree(workdir, LINE, **QUICK).running() as found:
        yield found


def numbered(number):
    return '%08d-0000-4000-8000-000000000000' % number


ONE, TWO = numbered(1), numbered(2)


def create(cell, *uuids, **values):
    with cell.database.write() as connection:
        for uuid in uuids or (ONE,):
            cache = InstanceInfoCache(
                instance_uuid=uuid, network_info=[{'id': 'vif', 'address': '10.0.0.1'}]
            )
            fields = {'system_metadata': {'image_os': 'linux'}, 'info_cache': cache}
            given = {**VALUES, **values, 'uuid': uuid}
            instances.instance_create(connection, given, {'a': 'b'}, fields)
    cell.wake()


def write(cell, statement, *args):
    """Change a database behind the back of its cell."""
    with cell.database.write() as connection:
        return connection.execute(statement, *args)


def equal(here, there, *uuids):
    return all(
        replication.record(here.database, uuid) is not None
        and replication.record(here.database, uuid) == replication.record(there.database, uuid)
        for uuid in uuids or (ONE,)
    )


def arrive(tree, *uuids, cell='leaf'):
    deploy.wait_until(lambda: equal(tree[cell], tree['top'], *uuids), 20, 'they are at the top')
    deploy.wait_until(
        lambda: not replication.Child(tree[cell].database).dirty(), 10, 'nothing is dirty'
    )


def rounds(cell):
    found = cell.healing.status().get('round')
    return found['number'] if found else 0


def next_round(cell, seconds=30):
    """Wait for a round that begins after now to end."""
    wanted = rounds(cell) + 2
    cell.healing.wake()
    deploy.wait_until(lambda: rounds(cell) >= wanted, seconds, 'a round of healing')


# -- contents --


def test_the_same_instance_has_the_same_content_in_two_databases(database, workdir):
    """What is stored by one kind of database and read from another is the same all the same."""
    other = engine.Database('sqlite:///%s' % (workdir / 'other.sqlite'), replicates=True)
    migration.sync(other)
    child, top = replication.Child(other), replication.Top(database)
    values = {**VALUES, 'launched_at': models.utcnow(), 'locked': True, 'access_ip_v4': '10.0.0.1'}
    with other.write() as connection:
        cache = InstanceInfoCache(instance_uuid=ONE, network_info=[{'é': [1, 2.5, None]}])
        instances.instance_create(
            connection,
            {**values, 'uuid': ONE},
            {'k': 'é', '': 'x'},
            {'info_cache': cache, 'system_metadata': {'a': 'b'}},
        )
        connection.execute(
            models.BlockDeviceMapping.__table__.insert().values(
                uuid=TWO, instance_uuid=ONE, volume_id=TWO, device_name='/dev/vda', deleted=0
            )
        )
    replication.bring(child, top)
    with other.read() as here, database.read() as there:
        [mine] = contents.contents(here, [ONE]).values()
        [theirs] = contents.contents(there, [ONE], {ONE: mine.absent}).values()
    assert mine.digest == theirs.digest
    assert len(mine.digest) == 2 * contents.DIGEST_BYTES
    other.dispose()


def _changed_values():
    for name in snapshots.STATE:
        kind = INSTANCES.c[name].type
        if isinstance(kind, sa.Boolean):
            yield name, True
        elif isinstance(kind, sa.DateTime):
            yield name, models.utcnow()
        elif isinstance(kind, sa.Integer):
            yield name, 77
        else:
            yield name, 'other'


@pytest.mark.parametrize(('name', 'value'), _changed_values())
def test_s1_a_difference_in_any_column_is_seen(workdir, name, value):
    database = engine.Database('sqlite:///%s' % (workdir / 'cells.sqlite'))
    models.Base.metadata.create_all(database.engine)
    with database.write() as connection:
        instances.instance_create(connection, {**VALUES, 'uuid': ONE})
        before = contents.contents(connection, [ONE])[ONE].digest
        connection.execute(sa.update(INSTANCES).values({name: value}))
        assert contents.contents(connection, [ONE])[ONE].digest != before
    database.dispose()


# -- the round --


def _corrupt_column(name, value):
    return lambda top: write(top, sa.update(INSTANCES).values({name: value}))


def _corrupt_field(name):
    fields = models.InstanceField.__table__
    return lambda top: write(top, sa.delete(fields).where(fields.c.name == name))


def _corrupt_metadata(top):
    write(top, sa.update(models.InstanceMetadata).values(value='wrong'))


def _add_device(top):
    write(
        top,
        models.BlockDeviceMapping.__table__.insert().values(
            uuid=TWO, instance_uuid=ONE, volume_id=TWO, device_name='/dev/vdz', deleted=0
        ),
    )


CORRUPTIONS = {
    'vm_state': _corrupt_column('vm_state', 'error'),
    'task_state': _corrupt_column('task_state', 'rebuilding'),
    'host': _corrupt_column('host', 'elsewhere'),
    'power_state': _corrupt_column('power_state', 4),
    'addresses': _corrupt_field('info_cache'),
    'system_metadata': _corrupt_field('system_metadata'),
    'metadata': _corrupt_metadata,
    'devices': _add_device,
}


@pytest.mark.needs_extensions('a plain cell is told all again, not asked what differs')
@pytest.mark.parametrize('what', [*CORRUPTIONS, 'all'])
def test_s1_what_differs_at_the_top_is_repaired_in_one_round(tree, what):
    create(tree['leaf'])
    arrive(tree)
    for name, corrupt in CORRUPTIONS.items():
        if what in (name, 'all'):
            corrupt(tree['top'])
    assert not equal(tree['leaf'], tree['top'])
    next_round(tree['leaf'])
    arrive(tree)
    assert replication.column(tree['top'].database, ONE, 'cell_name') == 'top!mid!leaf'


@pytest.mark.needs_extensions('a plain cell is told all again, not asked what differs')
def test_s1_what_is_equal_is_not_told_again(tree):
    create(tree['leaf'], ONE, TWO)
    arrive(tree, ONE, TWO)
    next_round(tree['leaf'])  # one that is under way may have seen less
    told = tree['leaf'].stats.get('instances_told_again')
    looked = tree['leaf'].stats.get('instances_looked_at')
    updated = replication.column(tree['leaf'].database, ONE, 'updated_at')
    next_round(tree['leaf'])
    assert tree['leaf'].stats.get('instances_looked_at') > looked
    assert tree['leaf'].stats.get('instances_told_again') == told
    assert replication.column(tree['leaf'].database, ONE, 'updated_at') == updated


@pytest.mark.needs_extensions('a plain cell is told all again, not asked what differs')
def test_p3_a_repair_does_not_change_when_an_instance_was_changed(tree):
    create(tree['leaf'])
    with tree['leaf'].database.write() as connection:
        instances.instance_update(connection, ONE, {'vm_state': 'stopped'})
    arrive(tree)
    updated = replication.column(tree['leaf'].database, ONE, 'updated_at')
    _corrupt_column('host', 'x')(tree['top'])
    next_round(tree['leaf'])
    arrive(tree)
    assert replication.column(tree['leaf'].database, ONE, 'updated_at') == updated


@pytest.mark.needs_extensions('a plain cell is told all again, not asked what differs')
def test_s3_a_record_that_is_missing_at_the_top_is_made_again_with_its_history(tree):
    leaf, top = tree['leaf'], tree['top']
    create(leaf)
    with leaf.database.write() as connection:
        faults.fault_create(connection, ONE, 'it broke once')
        number = actions.action_create(
            connection, {'instance_uuid': ONE, 'action': 'reboot', 'request_id': 'req-1'}
        )
        actions.event_create(
            connection, {'action_id': number, 'event': 'compute_reboot', 'result': 'Success'}
        )
    arrive(tree)
    for model, column in (
        (models.Instance, 'uuid'),
        (models.InstanceField, 'instance_uuid'),
        (models.InstanceMetadata, 'instance_uuid'),
        (models.InstanceFault, 'instance_uuid'),
        (models.InstanceAction, 'instance_uuid'),
    ):
        write(top, sa.delete(model).where(model.__table__.c[column] == ONE))
    write(top, sa.delete(models.InstanceActionEvent))
    next_round(leaf)
    arrive(tree)
    assert replication.column(top.database, ONE, 'cell_name') == 'top!mid!leaf'
    assert replication.column(top.database, ONE, 'project_id') == 'p1'
    deploy.wait_until(lambda: faults.fault_get_all(top.database, ONE), 10, 'it has its fault')
    [action] = actions.actions_get(top.database, ONE)
    assert action['action'] == 'reboot'
    usage = sa.select(sa.func.sum(INSTANCES.c.memory_mb)).where(INSTANCES.c.deleted == 0)
    with top.database.read() as connection:
        assert connection.execute(usage).scalar_one() == VALUES['memory_mb']


@pytest.mark.needs_extensions('a plain cell is told all again, not asked what differs')
def test_s4_a_record_that_its_cell_never_had_is_marked_and_stays(tree, caplog):
    """The database of the cell was restored from an old backup: a newer machine may run."""
    leaf, top = tree['leaf'], tree['top']
    create(leaf, ONE, TWO)
    arrive(tree, ONE, TWO)
    for model in (models.Instance, models.InstanceField, models.InstanceMetadata):
        column = 'uuid' if model is models.Instance else 'instance_uuid'
        write(leaf, sa.delete(model).where(model.__table__.c[column] == TWO))
    next_round(leaf)
    reason = deploy.wait_until(
        lambda: replication.column(top.database, TWO, 'inconsistent'), 10, 'it is marked'
    )
    assert 'top!mid!leaf' in reason
    assert not replication.column(top.database, TWO, 'deleted')
    assert replication.column(top.database, ONE, 'inconsistent') is None
    assert top.sweep.status()['inconsistent'] == 1
    next_round(leaf)
    assert caplog.text.count('does not have instance %s' % TWO) == 1
    # The mark goes when it is there again.
    create(leaf, TWO)
    arrive(tree, TWO)
    deploy.wait_until(
        lambda: replication.column(top.database, TWO, 'inconsistent') is None, 10, 'it fits'
    )


@pytest.mark.needs_extensions('a plain cell is told all again, not asked what differs')
def test_s4_a_record_that_is_being_deleted_goes_when_its_cell_does_not_have_it(tree):
    leaf, top = tree['leaf'], tree['top']
    create(leaf)
    arrive(tree)
    write(leaf, sa.delete(models.Instance))
    write(top, sa.update(INSTANCES).values(task_state='deleting'))
    next_round(leaf)
    deploy.wait_until(lambda: replication.column(top.database, ONE, 'deleted'), 10, 'it is gone')


@pytest.mark.needs_extensions('a plain cell is told all again, not asked what differs')
def test_o13_a_record_whose_deletion_was_lost_is_deleted(tree):
    leaf, top = tree['leaf'], tree['top']
    create(leaf)
    arrive(tree)
    write(leaf, sa.update(INSTANCES).values(deleted=INSTANCES.c.id, deleted_at=models.utcnow()))
    next_round(leaf)
    deploy.wait_until(lambda: replication.column(top.database, ONE, 'deleted'), 10, 'it is gone')


@pytest.mark.needs_extensions('a plain cell is told all again, not asked what differs')
def test_s6_what_is_deleted_at_the_top_does_not_come_back(tree):
    leaf, top = tree['leaf'], tree['top']
    create(leaf)
    arrive(tree)
    write(top, sa.update(INSTANCES).values(deleted=INSTANCES.c.id, deleted_at=models.utcnow()))
    next_round(leaf)
    # Its cell is told to end what it has, which has no host that could be asked.
    deploy.wait_until(lambda: replication.column(leaf.database, ONE, 'deleted'), 15, 'it is ended')
    assert replication.column(top.database, ONE, 'deleted')


@pytest.mark.needs_extensions('a plain cell is told all again, not asked what differs')
def test_x1_what_belongs_to_another_cell_is_left_alone(workdir, settled):
    parents = {'top': None, 'left': 'top', 'right': 'top'}
    with fake_cells.FakeTree(workdir, parents, **QUICK).running() as tree:
        create(tree['left'])
        arrive(tree, cell='left')
        with tree['right'].database.write() as connection:
            instances.instance_create(connection, {**VALUES, 'uuid': ONE, 'host': 'thief'})
            connection.execute(sa.delete(models.Dirty))
        next_round(tree['right'])
        deploy.wait_until(
            lambda: tree['right'].stats.get('instances_of_others'), 10, 'it is told so'
        )
        assert equal(tree['left'], tree['top'])
        assert replication.column(tree['top'].database, ONE, 'cell_name') == 'top!left'
        # And a record of another cell is not asked for.
        next_round(tree['right'])
        assert replication.column(tree['top'].database, ONE, 'inconsistent') is None


@pytest.mark.needs_extensions('a plain cell is told all again, not asked what differs')
def test_r12_the_records_of_a_cell_that_was_renamed_are_its_own(tree):
    leaf, top = tree['leaf'], tree['top']
    create(leaf, ONE, TWO)
    arrive(tree, ONE, TWO)
    write(top, sa.update(INSTANCES).values(cell_name='top!old!name'))
    with top.database.write() as connection:
        path_aliases.alias_create(
            connection, paths.CellPath.parse('top!old'), paths.CellPath.parse('top!mid')
        )
        path_aliases.alias_create(
            connection,
            paths.CellPath.parse('top!mid!name'),
            paths.CellPath.parse('top!mid!leaf'),
        )
    deploy.wait_until(lambda: len(top.state.aliases.prefixes) == 2, 10, 'the top knows')
    write(leaf, sa.delete(models.Instance).where(INSTANCES.c.uuid == TWO))
    _corrupt_column('vm_state', 'paused')(top)
    next_round(leaf)
    deploy.wait_until(
        lambda: replication.column(top.database, ONE, 'vm_state') == 'active', 10, 'repaired'
    )
    deploy.wait_until(
        lambda: replication.column(top.database, TWO, 'inconsistent'), 10, 'it is marked'
    )


def test_what_has_just_changed_is_looked_at_again_later(workdir, monkeypatch):
    monkeypatch.setattr(comparison, 'SETTLE_SECONDS', 6.0)
    with fake_cells.FakeTree(workdir, LINE, **QUICK).running() as tree:
        create(tree['leaf'])
        deploy.wait_until(lambda: equal(tree['leaf'], tree['top']), 10, 'it is there')
        _corrupt_column('vm_state', 'paused')(tree['top'])
        time.sleep(0.5)
        assert tree['leaf'].stats.get('instances_told_again') == 0
        deploy.wait_until(lambda: equal(tree['leaf'], tree['top']), 40, 'it is repaired')


@pytest.mark.needs_extensions('a plain cell is told all again, not asked what differs')
def test_healing_goes_on_when_the_top_was_away(tree, caplog):
    create(tree['leaf'])
    arrive(tree)
    _corrupt_column('vm_state', 'paused')(tree['top'])
    asked = comparison.ANSWER_SECONDS
    fake_cells_address = fake_cells.address(tree.workdir, 'mid')
    fake.hold(fake_cells_address)
    try:
        comparison.ANSWER_SECONDS = 0.5
        deploy.wait_until(lambda: tree['leaf'].healing.status()['error'], 20, 'it says so')
    finally:
        comparison.ANSWER_SECONDS = asked
        fake.hold(fake_cells_address, silent=False)
    arrive(tree)
    deploy.wait_until(lambda: not tree['leaf'].healing.status()['error'], 70, 'it is over')


# -- how fast --


def fill(cell, number, values=VALUES):
    """Write so many instances at once, without marks."""
    rows = [{**values, 'uuid': numbered(one), 'sync_seq': 1} for one in range(number)]
    with cell.database.write() as connection:
        for start in range(0, number, 1000):
            connection.execute(INSTANCES.insert(), rows[start : start + 1000])


def drift(cell, share):
    """Let one of so many be wrong."""
    uuids = [numbered(one) for one in range(0, 10**6, share)]
    with cell.database.write() as connection:
        known = connection.execute(sa.select(INSTANCES.c.uuid)).scalars().all()
        wrong = [uuid for uuid in uuids if uuid in set(known)]
        connection.execute(
            sa.update(INSTANCES).where(INSTANCES.c.uuid.in_(wrong)).values(host='wrong')
        )
    return len(wrong)


def wrong(cell):
    with cell.database.read() as connection:
        query = sa.select(sa.func.count()).where(INSTANCES.c.host == 'wrong')
        return connection.execute(query).scalar_one()


def workers(workdir, number, **options):
    """Return a top and a cell below it with so many workers."""
    top = fake_cells.build(workdir, 'top', {'leaf': False}, **options)
    first = fake_cells.build(workdir, 'leaf', {'top': True}, **options)
    others = [
        type(first)(
            fake_cells.conf_of(workdir, 'leaf', cell_type='compute', **options),
            fake_cells.slots.WorkerSlot.take(str(workdir / 'leaf')),
        )
        for _ in range(number - 1)
    ]
    return [top, first, *others]


def when(ready, do, *args, **kwargs):
    """Do something as soon as it may be done."""
    assert ready.wait(60)
    return do(*args, **kwargs)


@pytest.mark.needs_extensions('a plain cell is told all again, not asked what differs')
@pytest.mark.parametrize('number', [1, 3])
def test_s20_drift_of_any_age_is_repaired_and_workers_share_the_work(workdir, settled, number):
    """By the pace: N instances take N / 100 * 0.2 s for one worker, and each does its share."""
    pace = {
        'heal_page_interval': 0.2,
        'heal_round_interval': 3600,
        'instance_update_sync_database_limit': 100,
    }
    size = 3000
    cells = workers(workdir, number, **pace)
    fill(cells[1], size, {**VALUES, 'updated_at': models.utcnow().replace(year=2015)})
    fill(cells[0], size, {**VALUES, 'cell_name': 'top!leaf'})
    expected = drift(cells[0], 100)
    ready = threading.Event()
    for one in cells[1:]:
        one.healing._go_round = functools.partial(when, ready, one.healing._go_round)
    try:
        for one in cells:
            one.start()
        fake_cells.connected(cells[:2])
        begun = time.monotonic()
        ready.set()
        deploy.wait_until(lambda: wrong(cells[0]) == 0, 60, 'all is repaired')
        seconds = time.monotonic() - begun
        status = cells[1].healing.status()
        last = deploy.wait_until(
            lambda: cells[1].healing.status().get('last_round'), 30, 'the round is over'
        )
    finally:
        for one in cells:
            one.stop()
    assert expected == 30
    assert status['round']['repaired'] <= expected
    assert (last['looked_at'], last['repaired']) == (size, expected)
    # No faster than the pace allows; how slow it may be at most is the limit above.
    assert seconds > (size / 100 / number - 1) * 0.2 * 0.8
    shares = [one.stats.get('instances_looked_at') for one in cells[1:]]
    assert sum(shares) == size
    assert number == 1 or max(shares) <= size * 2 / 3


@pytest.mark.nightly
@pytest.mark.skipif(
    os.environ.get('CELLS_TEST_PROFILE') != 'nightly', reason='of the nightly profile'
)
def test_s20_a_drift_of_one_in_a_hundred_among_100_000_is_repaired_within_the_bound(
    workdir, settled
):
    pace = {'heal_page_interval': 0.1, 'heal_round_interval': 3600}
    cells = workers(workdir, 2, **pace)
    fill(cells[1], 100_000, {**VALUES, 'updated_at': models.utcnow().replace(year=2015)})
    fill(cells[0], 100_000, {**VALUES, 'cell_name': 'top!leaf'})
    assert drift(cells[0], 100) == 1000
    begun = time.monotonic()
    try:
        for one in cells:
            one.start()
        # 500 pages, each its interval and as much for itself, and two workers.
        deploy.wait_until(lambda: wrong(cells[0]) == 0, 100, 'all is repaired')
    finally:
        for one in cells:
            one.stop()
    assert time.monotonic() - begun < 100


@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
@pytest.mark.needs_extensions('a plain cell is told all again, not asked what differs')
def test_s20_a_worker_that_dies_leaves_its_page_to_the_others(workdir, settled, monkeypatch):
    monkeypatch.setattr(heal, 'CLAIM_SECONDS', 1.0)
    top, first, second = workers(workdir, 2, **QUICK)
    fill(first, 300)
    fill(top, 300, {**VALUES, 'cell_name': 'top!leaf'})
    assert drift(top, 2) == 150
    died = []
    look = first.healing._look_at

    def die(page, whole):
        if died:
            return look(page, whole)
        died.append(page)
        raise SystemExit  # the thread is gone, its page is claimed

    first.healing._look_at = die
    try:
        for one in (top, first, second):
            one.start()
        deploy.wait_until(lambda: died, 20, 'one dies')
        deploy.wait_until(lambda: wrong(top) == 0, 30, 'the others do it')
    finally:
        for one in (top, first, second):
            one.stop()


@pytest.mark.needs_extensions('a plain cell is told all again, not asked what differs')
def test_s20_a_round_goes_on_where_it_was_when_all_had_stopped(workdir, settled):
    pace = {'heal_page_interval': 0.3, 'instance_update_sync_database_limit': 50}
    top, leaf = workers(workdir, 1, **pace)
    fill(leaf, 1000)
    fill(top, 1000, {**VALUES, 'cell_name': 'top!leaf'})
    top.start()
    leaf.start()
    deploy.wait_until(
        lambda: leaf.healing.status().get('round', {}).get('looked_at', 0) >= 150, 30, 'begun'
    )
    leaf.stop()
    again = fake_cells.cell.Cell(
        fake_cells.conf_of(workdir, 'leaf', cell_type='compute', **pace),
        fake_cells.slots.WorkerSlot.take(str(workdir / 'leaf')),
    )
    again.start()
    try:
        found = again.healing.status()['round']
        assert found['number'] == 1
        assert found['looked_at'] >= 100
        assert found['position'] >= numbered(100)
        deploy.wait_until(lambda: again.healing.status().get('last_round'), 30, 'the round is over')
        assert again.healing.status()['last_round']['looked_at'] == 1000
        assert again.stats.get('instances_looked_at') <= 900
    finally:
        again.stop()
        top.stop()


@pytest.mark.needs_extensions('a plain cell is told all again, not asked what differs')
def test_p6_memory_does_not_grow_with_the_number_of_instances(workdir, settled):
    peaks = []
    for size in (1000, 10_000):
        directory = workdir / str(size)
        directory.mkdir()
        pace = {'heal_page_interval': 0.01, 'heal_round_interval': 3600}
        top, leaf = workers(directory, 1, **pace)
        fill(leaf, size)
        fill(top, size, {**VALUES, 'cell_name': 'top!leaf'})
        drift(top, 100)
        top.start()
        leaf.start()
        tracemalloc.start()
        try:
            deploy.wait_until(
                lambda leaf=leaf: leaf.healing.status().get('last_round'), 60, 'a round'
            )
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
            leaf.stop()
            top.stop()
    # All 9,000 further ones together would have some 15 MB.
    assert peaks[1] - peaks[0] < 4 * 1024 * 1024


# -- orders to sync --


def order(tree, **filters):
    api = tree.api('top')
    given = {'project_id': None, 'updated_since': None, 'deleted': False, **filters}
    api.sync_instances(context.RequestContext('u', 'p', is_admin=True), **given)


def orders_of(cell):
    return sync_requests.sync_request_get_all(cell.database)


@pytest.mark.needs_extensions('a plain cell is told all again, not asked what differs')
def test_o11_an_order_to_sync_is_paced_shows_its_progress_and_ends(workdir, settled):
    pace = {
        'heal_page_interval': 0.2,
        'heal_round_interval': 3600,
        'instance_update_sync_database_limit': 100,
    }
    with fake_cells.FakeTree(workdir, LINE, **pace).running() as tree:
        leaf, top = tree['leaf'], tree['top']
        deploy.wait_until(lambda: leaf.healing.status().get('last_round'), 20, 'an empty round')
        fill(leaf, 1500)
        fill(top, 1500, {**VALUES, 'cell_name': 'top!mid!leaf'})
        expected = drift(top, 10)
        order(tree)
        deploy.wait_until(lambda: orders_of(leaf), 20, 'the order is there')
        begun = time.monotonic()
        seen, answered = [], []

        def ended():
            [found] = tree.ops('leaf').sync_status(context.RequestContext('u', 'p'))
            seen.append((found['state'], found['looked_at'], found['repaired']))
            # Meanwhile the cell answers as quickly as ever.
            asked = time.monotonic()
            tree.ops('leaf').ping(context.RequestContext('u', 'p'))
            answered.append(time.monotonic() - asked)
            return found['ended_at']

        deploy.wait_until(ended, 30, 'it is carried out')
        assert time.monotonic() - begun > 1500 / 100 * 0.2 / 2
        assert statistics.median(answered) < 1
        assert seen[-1] == ('done', 1500, expected)
        assert len({looked for _, looked, _ in seen}) > 3
        deploy.wait_until(lambda: wrong(top) == 0, 20, 'all is repaired')
        # In the cell on the way there was nothing to do.
        deploy.wait_until(lambda: orders_of(tree['mid'])[0]['state'] == 'done', 10, 'done there')


def test_o11_an_order_that_was_interrupted_goes_on(workdir, settled):
    pace = {
        'heal_page_interval': 0.3,
        'heal_round_interval': 3600,
        'instance_update_sync_database_limit': 50,
    }
    top, leaf = workers(workdir, 1, **pace)
    for one in (top, leaf):
        one.start()
    deploy.wait_until(lambda: leaf.healing.status().get('last_round'), 20, 'an empty round')
    fill(leaf, 1000)
    with leaf.database.write() as connection:
        sync_requests.sync_request_create(connection, 'u1', None, None, False, 'top!leaf', None)
    deploy.wait_until(lambda: (orders_of(leaf)[0]['looked_at'] or 0) >= 150, 20, 'it has begun')
    leaf.stop()
    again = fake_cells.cell.Cell(
        fake_cells.conf_of(workdir, 'leaf', cell_type='compute', **pace),
        fake_cells.slots.WorkerSlot.take(str(workdir / 'leaf')),
    )
    again.start()
    try:
        deploy.wait_until(lambda: orders_of(again)[0]['ended_at'], 30, 'it is carried out')
        [found] = orders_of(again)
        assert found['looked_at'] == 1000
        assert again.stats.get('instances_looked_at') <= 900
    finally:
        again.stop()
        top.stop()


@pytest.mark.needs_extensions('a plain cell is told all again, not asked what differs')
@pytest.mark.parametrize(
    ('filters', 'repaired'),
    [
        pytest.param({'project_id': 'p2'}, {TWO}, id='project'),
        pytest.param({'updated_since': '2020-01-01T00:00:00Z'}, {ONE, TWO}, id='updated since'),
        pytest.param({'deleted': True}, {ONE, TWO, numbered(3), numbered(4)}, id='deleted'),
        pytest.param({}, {ONE, TWO, numbered(3)}, id='all'),
    ],
)
def test_o11_an_order_to_sync_is_for_the_instances_that_fit(workdir, settled, filters, repaired):
    pace = {'heal_page_interval': 0.05, 'heal_round_interval': 3600}
    with fake_cells.FakeTree(workdir, LINE, **pace).running() as tree:
        leaf, top = tree['leaf'], tree['top']
        deploy.wait_until(lambda: leaf.healing.status().get('last_round'), 20, 'an empty round')
        uuids = [numbered(number) for number in range(1, 5)]
        create(leaf, *uuids)
        arrive(tree, *uuids)
        old = models.utcnow().replace(year=2015)
        write(
            leaf,
            sa.update(INSTANCES)
            .where(INSTANCES.c.uuid == numbered(3))
            .values(updated_at=old, created_at=old),
        )
        for cell in (leaf, top):
            write(cell, sa.update(INSTANCES).where(INSTANCES.c.uuid == TWO).values(project_id='p2'))
        write(
            leaf,
            sa.update(INSTANCES)
            .where(INSTANCES.c.uuid == numbered(4))
            .values(deleted=INSTANCES.c.id, deleted_at=models.utcnow()),
        )
        write(top, sa.update(INSTANCES).values(host='wrong'))
        order(tree, **filters)
        deploy.wait_until(
            lambda: [one['state'] for one in orders_of(leaf)] == ['done'], 20, 'it is carried out'
        )
        deploy.wait_until(lambda: not replication.Child(leaf.database).dirty(), 10, 'all is told')
        found = {uuid for uuid in uuids if equal(leaf, top, uuid)}
        assert found == repaired


def test_s1_a_plain_parent_is_told_all_at_a_pace_of_its_own(workdir, settled):
    """It cannot compare: each minute so many instances are told, all fields marked as changed."""
    plain = plain_cell.PlainCell(workdir, 'top')
    plain.start()
    leaf = fake_cells.build(
        workdir, 'leaf', {'top': True}, instance_update_num_instances=600, **QUICK
    )
    create(leaf, ONE, TWO)
    write(leaf, sa.delete(models.Dirty))
    leaf.start()
    try:
        for _ in range(3):
            plain.say('leaf', 'announce_capabilities', 'down')

        def told():
            return {uuid_of(one): one for one in plain.of('instance_update_at_top')}

        def uuid_of(message):
            return message['method_kwargs']['instance']['nova_object.data']['uuid']

        deploy.wait_until(lambda: {ONE, TWO} <= told().keys(), 30, 'both are told')
        changes = told()[ONE]['method_kwargs']['instance']['nova_object.changes']
        wanted = {'vm_state', 'task_state', 'host', 'power_state', 'info_cache'}
        assert wanted <= set(changes)
        # Before it was known what the parent is, it may have been asked once.
        asked = len(plain.of('x_instances_compare'))
        assert asked <= 1
        often = leaf.stats.get('instances_told_again') + 4
        deploy.wait_until(
            lambda: leaf.stats.get('instances_told_again') >= often, 30, 'they are told again'
        )
        assert len(plain.of('x_instances_compare')) == asked
    finally:
        leaf.stop()
        plain.stop()


@pytest.mark.needs_extensions('a plain cell is told all again, not asked what differs')
def test_status_shows_the_healing(tree):
    create(tree['leaf'])
    arrive(tree)
    next_round(tree['leaf'])

    def asked():
        return tree.ops('leaf').status(context.RequestContext('u', 'p'))['healing']

    # What had just changed is looked at again, and that counts for the round of that moment.
    deploy.wait_until(lambda: asked()['last_round']['looked_at'] == 1, 30, 'it is the only one')
    found = asked()
    assert found['round']['number'] > found['last_round']['number']
    assert found['error'] is None
    assert json.dumps(found)


@pytest.mark.needs_extensions('a plain cell is told all again, not asked what differs')
def test_a_mark_is_of_all_fields(tree):
    create(tree['leaf'])
    arrive(tree)
    with tree['leaf'].database.write() as connection:
        assert healing.tell_again(connection, {ONE: (0, 99)}) == []
        assert healing.tell_again(connection, {ONE: None}) == [ONE]
        marks = connection.execute(sa.select(models.Dirty.__table__)).mappings().all()
    assert [(one['names'], one['part']) for one in marks] == [('*', dirty.INSTANCE)]


@pytest.mark.needs_extensions('a plain cell is told all again, not asked what differs')
@pytest.mark.parametrize('where', ['leaf', 'top'])
def test_an_instance_that_cannot_be_read_does_not_keep_its_page_from_being_healed(
    tree, where, caplog
):
    many = [numbered(number) for number in range(1, 6)]
    create(tree['leaf'], *many)
    arrive(tree, *many)
    # No text in any encoding, as after an upgrade that went wrong.
    bad = sa.text("UPDATE instances SET hostname = CAST(x'ff41' AS TEXT) WHERE uuid = '%s'" % ONE)
    write(tree[where], bad)
    write(tree['top'], sa.update(INSTANCES).where(INSTANCES.c.uuid == TWO).values(memory_mb=1))
    next_round(tree['leaf'])
    deploy.wait_until(lambda: equal(tree['leaf'], tree['top'], TWO), 20, 'it is repaired')
    assert '1 of 5 instances cannot be compared with the cells above: %s' % ONE in caplog.text
    assert tree['leaf'].stats.get('instances_unreadable') >= 1


@pytest.mark.needs_extensions('a plain cell is told all again, not asked what differs')
def test_a_sync_order_ends_though_an_instance_cannot_be_read(tree):
    create(tree['leaf'], ONE, TWO)
    arrive(tree, ONE, TWO)
    write(tree['leaf'], sa.text("UPDATE instances SET hostname = CAST(x'ff41' AS TEXT)"))
    tree.api('top').sync_instances(context.RequestContext('u1', 'p1', is_admin=True))
    deploy.wait_until(
        lambda: (
            [one['state'] for one in sync_requests.sync_request_get_all(tree['leaf'].database)]
            == [sync_requests.DONE]
        ),
        20,
        'the order has an end',
    )
