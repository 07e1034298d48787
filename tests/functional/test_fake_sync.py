"""What happens to instances gets to the top of a tree: real cells in one process."""

import contextlib
import json
import random
import time

import pytest
import sqlalchemy as sa
from oslo_db import exception as db_exc
from oslo_messaging.notify import _impl_test

from cells import cell, exceptions, slots, sync
from cells.db import (
    faults,
    instance_actions,
    instances,
    journal,
    models,
    replicas,
    unsent,
)
from cells.db import updates as db_updates
from cells.objects.instance import Instance, InstanceInfoCache
from tests import deploy, fake_cells, replication
from tests.sync_tree import LINE, ONE, TWO, VALUES, create, equal, numbered, rest, spy, update


@pytest.fixture
def tree(workdir):
    with fake_cells.FakeTree(workdir, LINE).running() as found:
        yield found


# -- the way up --


@pytest.mark.needs_extensions('plain cells confirm nothing')
def test_what_happens_to_an_instance_is_known_at_the_top_of_three_levels(tree):
    leaf, top = tree['leaf'], tree['top']
    create(leaf)
    deploy.wait_until(lambda: equal(leaf, top), 10, 'it is there')
    assert replication.column(top.database, ONE, 'cell_name') == 'top!mid!leaf'
    update(leaf, vm_state='stopped', power_state=4)
    deploy.wait_until(lambda: equal(leaf, top), 10, 'it has changed')
    with leaf.database.write() as connection:
        faults.fault_create(connection, ONE, 'é', code=404)
    leaf.wake()
    deploy.wait_until(lambda: faults.fault_get_all(top.database, ONE), 10, 'it has a fault')
    with leaf.database.write() as connection:
        instances.instance_destroy(connection, ONE)
    leaf.wake()
    deploy.wait_until(lambda: replication.column(top.database, ONE, 'deleted'), 10, 'it is deleted')
    rest(leaf)
    # Nothing of it is in a journal: the dirty set is what keeps it.
    assert journal.counts(tree['mid'].database) == journal.counts(top.database) == {}


@pytest.mark.needs_extensions('plain cells tell what is empty apart from what is not set')
def test_what_another_worker_commits_is_found_without_a_word(tree):
    leaf = tree['leaf']
    with leaf.database.write() as connection:
        instances.instance_create(connection, {**VALUES, 'uuid': ONE})
    deploy.wait_until(lambda: equal(leaf, tree['top']), 5, 'it is there')


@pytest.mark.needs_extensions('plain cells confirm nothing')
def test_s11_an_address_that_has_changed_comes_up_once_and_not_down(tree):
    leaf, top = tree['leaf'], tree['top']
    create(leaf)
    rest(leaf)
    sent = [spy(tree[name]) for name in ('leaf', 'mid', 'top')]
    cache = InstanceInfoCache(instance_uuid=ONE, network_info=[{'id': 'vif', 'address': 'fa:16'}])
    for _ in range(3):  # read and saved again as it is
        update(leaf, fields={'info_cache': cache})
        rest(leaf)
    with top.database.read() as connection:
        assert instances.instance_get(connection, ONE).info_cache.network_info[0]['id'] == 'vif'
    time.sleep(0.3)
    asked = [[one for one in found if one[1]['method_name'].startswith('x_inst')] for found in sent]
    assert [len(found) for found in asked] == [1, 1, 0]
    down = [one for one in sent[2] if ONE in json.dumps(one[1]['method_kwargs'])]
    assert [one[0] for one in down] == ['response']
    assert replication.Child(top.database).dirty() == []


def test_p3_an_idle_cell_sends_nothing(tree):
    leaf = tree['leaf']
    create(leaf)
    rest(leaf)
    sent = spy(leaf)
    for _ in range(20):
        update(leaf, vm_state='active')
    time.sleep(0.5)
    assert [one for one in sent if one[0] == 'broadcast'] == []


@pytest.mark.needs_extensions('plain cells confirm nothing')
def test_p3_a_burst_is_few_messages(tree):
    leaf = tree['leaf']
    create(leaf)
    rest(leaf)
    sent = spy(leaf)
    for number in range(200):
        update(leaf, progress=number)
    rest(leaf)
    assert replication.column(tree['top'].database, ONE, 'progress') == 199
    assert len([one for one in sent if one[0] == 'broadcast']) < 100


@pytest.mark.needs_extensions('a plain cell is told of whole instances')
def test_p5_one_field_is_less_than_500_bytes(tree):
    leaf = tree['leaf']
    create(leaf, *map(numbered, range(40)))
    rest(leaf)
    sent = spy(leaf)
    update(leaf, numbered(7), vm_state='stopped')
    rest(leaf)
    [(_, _, alone)] = [one for one in sent if one[0] == 'broadcast']
    assert alone < 500
    sent.clear()
    with leaf.database.write() as connection:
        for number in range(40):
            instances.instance_update(connection, numbered(number), {'vm_state': 'error'})
    leaf.wake()
    rest(leaf)
    sizes = [size for kind, _, size in sent if kind == 'broadcast']
    assert sum(sizes) < len(sizes) * 500 + 40 * 110


@pytest.mark.needs_extensions('plain cells confirm nothing')
def test_the_answer_says_what_is_known_above(tree):
    found = []
    create(tree['leaf'])
    rest(tree['leaf'])
    items = [{'uuid': ONE, 'at': [0, 1]}, {'uuid': TWO, 'at': [0, 1]}]
    tree['leaf'].runner.ask_above(
        'x_instances_update_at_top', 'mid', {'items': items}, 5, found.append
    )
    [responses] = deploy.wait_until(lambda: found, 10, 'an answer')
    assert [one.cell_name for one in responses] == ['leaf!mid!top', 'leaf!mid']
    assert responses[0].value == {ONE: [0, 1], TWO: 'missing'}
    assert responses[1].value is None


@pytest.mark.needs_extensions('plain cells confirm nothing')
def test_s2_several_workers_on_both_sides_come_to_the_newest_state(workdir):
    tree = fake_cells.FakeTree(workdir, {'top': None, 'leaf': 'top'})
    uuids = [numbered(number) for number in range(60)]
    with tree.running():
        others = []
        for name, kind in (('leaf', 'compute'), ('top', 'api')):
            conf = fake_cells.conf_of(workdir, name, cell_type=kind)
            others.append(cell.Cell(conf, slots.WorkerSlot.take(conf.state_path)))
            others[-1].start()
        try:
            leaf, top = tree['leaf'], tree['top']
            create(leaf, *uuids)
            chance = random.Random(2)
            for _ in range(400):
                uuid = chance.choice(uuids)
                with leaf.database.write() as connection:
                    values = {'progress': chance.randrange(10**6), 'vm_state': chance.choice('abc')}
                    instances.instance_update(connection, uuid, values)
                chance.choice((leaf, others[0])).wake()
            rest(leaf, 60)
            for uuid in uuids:
                assert equal(leaf, top, uuid)
            for one in (leaf, others[0]):
                assert one.stats.get('sync_confirmed') > 0
            assert sum(one.stats.get('replicas_applied') for one in (top, others[1])) > 0
        finally:
            for one in others:
                one.stop()


# -- after the end --


@pytest.mark.needs_extensions('plain cells confirm nothing')
def test_s6_a_deleted_record_stays_and_its_cell_is_told(tree):
    leaf, top = tree['leaf'], tree['top']
    create(leaf)
    rest(leaf)
    with top.database.write() as connection:
        instances.instance_destroy(connection, ONE)
    deleted_at = replication.column(top.database, ONE, 'deleted_at')
    inbox = models.Inbox.__table__.c
    ordered = sa.select(sa.func.count()).where(inbox.operation == 'terminate_instance')
    update(leaf, vm_state='error')

    def orders():
        with leaf.database.read() as connection:
            return connection.execute(ordered).scalar()

    deploy.wait_until(lambda: orders() == 1, 10, 'it is told')
    assert replication.column(top.database, ONE, 'vm_state') != 'error'
    assert replication.column(top.database, ONE, 'deleted_at') == deleted_at
    for number in range(3):
        with contextlib.suppress(exceptions.InstanceNotFound):  # it ends meanwhile
            update(leaf, progress=number)
        rest(leaf)
    time.sleep(0.5)
    assert orders() == 1
    assert replication.column(top.database, ONE, 'deleted_at') == deleted_at


@pytest.mark.needs_extensions('the history of an instance does not pass plain cells')
def test_s16_the_history_is_readable_while_its_cell_is_down(workdir):
    tree = fake_cells.FakeTree(workdir, LINE)
    with tree.running():
        leaf = tree['leaf']
        create(leaf)
        with leaf.database.write() as connection:
            number = instance_actions.action_create(
                connection, {'uuid': TWO, 'instance_uuid': ONE, 'action': 'reboot'}
            )
            instance_actions.event_create(connection, {'action_id': number, 'event': 'reboot'})
        leaf.wake()
        rest(leaf)
        leaf.stop()
        [action] = instance_actions.actions_get(tree['top'].database, ONE)
        assert (action['action'], action['id']) == ('reboot', number)
        tree.cells.pop('leaf')


# -- names --


@pytest.mark.needs_extensions('plain cells confirm nothing')
def test_r12_a_cell_with_a_thousand_instances_is_renamed(workdir):
    tree = fake_cells.FakeTree(workdir, {'top': None, 'leaf': 'top'})
    uuids = [numbered(number) for number in range(1000)]
    ctxt = deploy.admin()
    with tree.running():
        top, leaf = tree['top'], tree['leaf']
        create(leaf, *uuids)
        with leaf.database.write() as connection:
            instance_actions.action_create(
                connection, {'instance_uuid': uuids[5], 'action': 'reboot'}
            )
        rest(leaf, 30)
        api = tree.api('top')
        assert api.cell_update(ctxt, 'leaf', {'name': 'region'}) is None
        leaf.stop()
        conf = fake_cells.conf_of(workdir, 'leaf', cell_type='compute')
        conf.set_override('name', 'region', group='cells')
        renamed = cell.Cell(conf, slots.WorkerSlot.take(conf.state_path))
        tree.cells['leaf'] = renamed
        renamed.start()
        fake_cells.connected([renamed, top])
        # By the path that is in the records, and that users hold.
        for path in ('top!leaf', 'top!region'):
            [action] = api.actions_get(ctxt, {'uuid': uuids[5], 'cell_name': path})
            assert action['action'] == 'reboot'
        update(renamed, uuids[7], vm_state='stopped')
        deploy.wait_until(lambda: equal(renamed, top, uuids[7]), 10, 'it may still say so')
        columns = models.Instance.__table__.c
        query = sa.select(columns.cell_name, sa.func.count()).group_by(columns.cell_name)
        with top.database.read() as connection:
            assert dict(tuple(row) for row in connection.execute(query)) == {
                'top!leaf': 999,
                'top!region': 1,
            }


# -- when something is away, or wrong --


@pytest.mark.needs_extensions('plain cells confirm nothing')
def test_s13_what_happens_while_the_top_is_down_is_known_when_it_is_back(workdir):
    tree = fake_cells.FakeTree(workdir, LINE)
    with tree.running():
        leaf = tree['leaf']
        create(leaf, ONE, TWO)
        rest(leaf)
        tree['top'].stop()
        update(leaf, vm_state='stopped')
        with leaf.database.write() as connection:
            instances.instance_destroy(connection, TWO)
        time.sleep(1.5)
        assert unsent.summary(leaf.database)['rows'] == 2
        conf = fake_cells.conf_of(workdir, 'top', cell_type='api')
        tree.cells['top'] = cell.Cell(conf, slots.WorkerSlot.take(conf.state_path))
        tree['top'].start()
        rest(leaf, 60)
        for uuid in (ONE, TWO):
            assert equal(leaf, tree['top'], uuid)


def test_a_database_of_the_top_that_is_away_loses_nothing(tree, monkeypatch):
    leaf, top = tree['leaf'], tree['top']
    create(leaf)
    rest(leaf)
    apply = replicas.apply
    away = [True]

    def failing(*args):
        if away[0]:
            raise db_exc.DBConnectionError
        return apply(*args)

    monkeypatch.setattr(replicas, 'apply', failing)
    update(leaf, vm_state='stopped')
    time.sleep(1)
    assert unsent.summary(leaf.database) | {'oldest_seconds': 0} == {
        'rows': 1,
        'oldest_seconds': 0,
        'failing': 0,  # it is not the fault of what is sent
    }
    away[0] = False
    rest(leaf, 30)
    assert equal(leaf, top)


@pytest.mark.needs_extensions('a plain cell is told of instances one by one')
def test_one_that_makes_the_top_fail_costs_only_itself(tree, monkeypatch):
    leaf, top = tree['leaf'], tree['top']
    uuids = [numbered(number) for number in range(60)]
    poison = uuids[33]
    read = db_updates.read

    def failing(item):
        if item['uuid'] == poison:
            raise RuntimeError('the top does not bear it')
        return read(item)

    monkeypatch.setattr(db_updates, 'read', failing)
    monkeypatch.setattr('cells.sync_ends.SHORTEST_PAUSE', 0.01)
    create(leaf, *uuids)
    deploy.wait_until(lambda: leaf.stats.get('sync_poisonous') == 1, 30, 'it is found')
    below = replication.Child(leaf.database)
    deploy.wait_until(
        lambda: [uuid for uuid, _ in below.dirty()] == [poison], 30, 'all others are told'
    )
    for uuid in uuids:
        assert equal(leaf, top, uuid) == (uuid != poison)
    monkeypatch.undo()
    with leaf.database.write() as connection:  # as it is in time
        connection.execute(sa.update(models.Dirty).values(claimed_until=1.0))
    rest(leaf)
    assert equal(leaf, top, poison)


@pytest.mark.needs_extensions('a plain cell is told of instances one by one')
def test_one_that_cannot_even_be_read_here_costs_only_itself(tree, caplog):
    leaf, top = tree['leaf'], tree['top']
    with leaf.database.write() as connection:
        for uuid in (ONE, TWO):
            instances.instance_create(connection, {**VALUES, 'uuid': uuid})
        connection.execute(
            sa.insert(models.InstanceField).values(instance_uuid=ONE, name='flavor', value='{rubb')
        )
    deploy.wait_until(lambda: equal(leaf, top, TWO), 10, 'the other')
    assert leaf.stats.get('sync_poisonous') == 1
    assert 'instance %s is not taken above and kept' % ONE in caplog.text
    assert replication.record(top.database, ONE) is None


def test_a_parent_that_reads_nothing_at_all_gets_it_as_a_plain_one_in_the_end(tree, monkeypatch):
    leaf = tree['leaf']
    mid = tree['mid']
    monkeypatch.setattr(sync, 'ANSWER_SECONDS', 0.3)
    receive = mid.runner.receive

    def deaf(incoming):
        if 'x_instances_update' in incoming.text:
            incoming.settle()
            return
        receive(incoming)

    for port in mid.driver._ports.values():
        port.receive = deaf
    # Its pings come every five seconds; here it is always heard.
    sighting = leaf.state.sighting

    def heard(name):
        found = sighting(name)
        found.heard = time.monotonic()
        return found

    monkeypatch.setattr(leaf.state, 'sighting', heard)
    create(leaf)
    deploy.wait_until(lambda: equal(leaf, tree['top']), 30, 'it got there')
    assert leaf.sync.status()['parents'][0]['form'] == 'plain'


@pytest.mark.needs_extensions('it shows in which form a parent is told')
def test_o9_what_waits_and_since_when_is_shown(tree):
    leaf = tree['leaf']
    create(leaf)
    rest(leaf)
    found = fake_cells.ops(leaf).status(deploy.admin())
    [parent] = found['sync']['parents']
    assert (parent['name'], parent['form'], parent['error']) == ('mid', 'ours', None)
    assert abs(parent['last_confirmed'] - time.time()) < 60
    assert found['sync']['waiting'] == {'rows': 0, 'oldest_seconds': None, 'failing': 0}
    assert found['counters']['sync_confirmed'] >= 1
    assert fake_cells.ops(tree['top']).status(deploy.admin())['counters']['replicas_restored'] == 1


# -- events --


@pytest.fixture
def listening(workdir, monkeypatch):
    """A tree in which each cell is told to send events."""
    conf_of = fake_cells.conf_of

    def conf(*args, **options):
        found = conf_of(*args, **options)
        found.set_override('driver', ['test'], group='oslo_messaging_notifications')
        return found

    monkeypatch.setattr(fake_cells, 'conf_of', conf)
    _impl_test.reset()
    with fake_cells.FakeTree(workdir, LINE).running() as found:
        yield found
    _impl_test.reset()


def test_s15_there_is_one_event_for_each_change_in_the_whole_tree(listening):
    leaf, top = listening['leaf'], listening['top']
    create(leaf, vm_state='building', task_state='spawning')
    rest(leaf)
    update(leaf, vm_state='active', task_state=None)
    update(leaf, vm_state='active')
    update(leaf, progress=5)
    with leaf.database.write() as connection:
        faults.fault_create(connection, ONE, 'it broke', code=503)
        instances.instance_destroy(connection, ONE)
    leaf.wake()
    rest(leaf)
    deploy.wait_until(lambda: replication.column(top.database, ONE, 'deleted'), 10, 'it is known')
    events = models.Notification.__table__.c
    deploy.wait_until(lambda: not _count(leaf.database, events), 10, 'all are told')
    time.sleep(0.3)
    told = [
        (message['event_type'], priority) for _, message, priority, _ in _impl_test.NOTIFICATIONS
    ]
    assert told == [
        ('compute.instance.create', 'INFO'),
        ('compute.instance.update', 'INFO'),
        ('compute.instance.fault', 'ERROR'),
        ('compute.instance.delete', 'INFO'),
    ]
    changed = _impl_test.NOTIFICATIONS[1][1]['payload']
    assert (changed['instance_id'], changed['tenant_id']) == (ONE, 'p1')
    assert (changed['old_state'], changed['state']) == ('building', 'active')
    assert (changed['old_task_state'], changed['new_task_state']) == ('spawning', None)
    assert _count(top.database, events) == 0


def test_without_a_driver_no_event_is_written(tree):
    create(tree['leaf'])
    update(tree['leaf'], vm_state='error')
    rest(tree['leaf'])
    assert _count(tree['leaf'].database, models.Notification.__table__.c) == 0


def _count(database, columns):
    with database.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(columns.id.table)).scalar()


# -- clients --


def test_a_client_of_the_top_tells_of_instances_of_the_top_itself(tree):
    api, ctxt = tree.api('top'), deploy.admin()
    instance = Instance(uuid=ONE, project_id='p', vm_state='active', host='h')
    api.instance_update_at_top(ctxt, instance)
    top = tree['top']
    deploy.wait_until(lambda: replication.record(top.database, ONE), 10, 'it is there')
    assert replication.column(top.database, ONE, 'cell_name') is None
    instance = Instance(uuid=ONE, vm_state='stopped')
    api.instance_update_at_top(ctxt, instance)
    deploy.wait_until(
        lambda: replication.column(top.database, ONE, 'vm_state') == 'stopped', 10, 'it has changed'
    )
