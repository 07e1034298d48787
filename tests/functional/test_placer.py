"""Giving out builds, step by step, on each kind of database; nothing is sent, nobody answers."""

import collections
import concurrent.futures
import contextlib
import time

import pytest
import sqlalchemy as sa

from cells import cell, context, messages, parts, paths, placement, placer, slots, wire
from cells.db import engine, faults, journal, models, neighbours
from cells.db import instances as db_instances
from cells.db import placements as db
from cells.messages import TargetedMessage
from cells.objects import base as objects_base
from cells.operations import Direction
from tests import building, fake_cells
from tests.building import wanted

CTXT = context.RequestContext('u', 'p', is_admin=True, request_id='req-build')
OWN = paths.CellPath(('api',))


@pytest.fixture
def farm(monkeypatch):
    made = building.Farm()
    monkeypatch.setattr(parts.builds, 'Builds', lambda **options: made)
    return made


@pytest.fixture
def worker_of(database, workdir, farm):
    """Make workers of a cell with some children; their threads do not run."""
    with contextlib.ExitStack() as stack:

        def make(*children, name='api', parent=None, **options):
            cell_type = 'api' if parent is None else 'compute'
            conf = fake_cells.conf_of(workdir, name, cell_type=cell_type, **options)
            conf.set_override('connection', database.url, group='database')
            with database.write() as connection:
                # the fixture has emptied this table with all others
                if connection.execute(sa.select(models.CellIdentity)).first() is None:
                    identity = {'id': messages.new_uuid()}
                    connection.execute(sa.insert(models.CellIdentity).values(identity))
            known = {row['name'] for row in neighbours.cell_get_all(database)}
            for other in (*children, *([parent] if parent else [])):
                if other not in known:
                    url = fake_cells.address(workdir, other)
                    values = {'name': other, 'transport_url': url, 'is_parent': other == parent}
                    neighbours.cell_create(database, values)
            if children:
                protocol = {
                    'protocol': 1,
                    'plain_in_a_row': 0,
                    'last_plain_at': None,
                    'last_seen': time.time(),
                    'cell_id': None,
                    'clock_offset': None,
                }
                neighbours.reports_save(database, [{'name': one, **protocol} for one in children])
            one = cell.Cell(conf, slots.WorkerSlot.take(conf.state_path))
            one.state.start()
            stack.callback(one.state.stop)
            return one

        yield make


def order(one, *instances, path=OWN, above=None, **values):
    """Carry an order out as the journal does."""
    properties = {'instance_type': building.SMALL}
    if above is not None:
        properties['cells.placement'] = {each.uuid: above for each in instances}
    kwargs = {
        'instances': list(instances),
        'image': {},
        'filter_properties': properties,
        **values,
    }
    primitive = objects_base.to_primitive({'build_inst_kwargs': kwargs}, 'liberty')
    message = TargetedMessage(
        ctxt=CTXT.to_dict(),
        method_name='build_instances',
        method_kwargs=primitive,
        direction=Direction.DOWN,
        routing_path=path,
        hop_count=len(path),
        uuid=messages.new_uuid(),
        target_cell=OWN if len(path) == 1 and path == OWN else path.hopped(one.name),
        # Who expects an answer is of our kind.
        extension=None if above is None else messages.Extension(1, time.time()),
    )
    with one.database.write() as connection:
        one.runner.perform(connection, wire.encode(message), 0.0)


def turn(one):
    while one.placer.turn():
        continue


def rows(database):
    table = models.Placement.__table__
    with database.read() as connection:
        found = connection.execute(sa.select(table).order_by(table.c.id)).mappings()
        return [dict(row) for row in found]


def outcome(database):
    return [(row['next_cell'], row['state']) for row in rows(database)]


def outbox(database):
    table = models.Outbox.__table__
    with database.read() as connection:
        found = connection.execute(sa.select(table).order_by(table.c.id)).mappings()
        return [(row['neighbour'], wire.decode(row['envelope'])) for row in found]


def write(database, function, *args):
    with database.write() as connection:
        return function(connection, *args)


def later(database, seconds):
    """Have so much time gone by for all attempts."""
    table = models.Placement.__table__
    with database.write() as connection:
        connection.execute(
            sa.update(table).values(
                created_at=table.c.created_at - seconds, expires=table.c.expires - seconds
            )
        )


def test_a_build_is_written_for_a_child_and_its_answer_closes_it(database, worker_of):
    one, vm = worker_of('a', 'b'), wanted()
    order(one, vm)
    assert outcome(database) == [('', db.WAITING)]
    turn(one)
    assert outcome(database) == [('a', db.PLACED)]
    ((to, message),) = outbox(database)
    assert (to, str(message.target_cell), str(message.routing_path)) == ('a', 'api!a', 'api')
    kwargs = message.method_kwargs['build_inst_kwargs']
    assert kwargs['filter_properties']['cells.placement'] == {vm.uuid: 1}
    write(database, placement.answered, 'a', vm.uuid, 1, True, {})
    turn(one)
    assert outcome(database) == [('a', db.DONE)]
    with database.read() as connection:
        assert connection.execute(sa.select(models.BuildRequest.uuid)).all() == []


def test_r3_the_uuid_of_what_is_written_is_that_of_what_it_is_about(database, worker_of):
    one, vm = worker_of('a'), wanted()
    order(one, vm)
    turn(one)
    ((_, first),) = outbox(database)
    (row,) = rows(database)
    with database.write() as connection:
        connection.execute(
            sa.update(models.Placement.__table__).values(state=db.WAITING, expires=0)
        )
    turn(one)
    ((_, again),) = outbox(database)
    assert again.uuid == first.uuid == row['message_uuid']


def test_after_a_refusal_the_next_cell_and_in_the_end_the_fault(database, worker_of):
    one, vm = worker_of('a', 'b'), wanted()
    order(one, vm)
    turn(one)
    for child, attempt in (('a', 1), ('b', 2)):
        reasons = {'api!%s' % child: '%s is full' % child}
        write(database, placement.answered, child, vm.uuid, attempt, False, reasons)
        turn(one)
    assert outcome(database) == [('a', db.FAILED), ('b', db.FAILED), ('', db.FAILED)]
    (fault,) = faults.fault_get_all(database, vm.uuid)
    assert fault['details'].splitlines()[1:] == ['api!a: a is full', 'api!b: b is full']
    with database.read() as connection:
        found = db_instances.instance_get(connection, vm.uuid)
    assert (found.vm_state, found.task_state) == ('error', None)


def test_in_the_middle_answers_go_up_with_the_number_of_the_cell_above(database, worker_of):
    one = worker_of('x', name='mid', parent='top')
    good, bad = wanted(1), wanted(2)
    order(one, good, bad, path=paths.CellPath(('top',)), above=7)
    turn(one)
    ((_, down),) = outbox(database)
    assert (str(down.routing_path), str(down.target_cell)) == ('top!mid', 'top!mid!x')
    write(database, placement.answered, 'x', good.uuid, 1, True, {})
    write(database, placement.answered, 'x', bad.uuid, 1, False, {'top!mid!x': 'full'})
    turn(one)
    answers = {
        message.method_kwargs['instance_uuid']: message.method_kwargs
        for to, message in outbox(database)
        if to == 'top'
    }
    assert answers == {
        good.uuid: {'instance_uuid': good.uuid, 'attempt': 7, 'accepted': True, 'reasons': {}},
        bad.uuid: {
            'instance_uuid': bad.uuid,
            'attempt': 7,
            'accepted': False,
            'reasons': {'top!mid!x': 'full'},
        },
    }


def test_a_cancelled_attempt_is_cancelled_below_and_here(database, worker_of, farm):
    one = worker_of('x', name='mid', parent='top')
    vm = wanted()
    order(one, vm, path=paths.CellPath(('top',)), above=7)
    turn(one)
    write(database, placement.cancelled_above, vm.uuid, 7)
    turn(one)
    assert outcome(database) == [('x', db.CANCELLED)]
    (_, cancel) = outbox(database)[-1]
    assert cancel.method_name == 'x_build_cancel'
    assert dict(cancel.method_kwargs) == {'instance_uuid': vm.uuid, 'attempt': 1}
    # one that comes late
    order(one, vm, path=paths.CellPath(('top',)), above=7)
    turn(one)
    assert [state for _, state in outcome(database)] == [db.CANCELLED] * 2
    # and one that another attempt has brought
    order(one, vm, path=paths.CellPath(('top',)), above=9)
    turn(one)
    assert outcome(database)[-1] == ('x', db.PLACED)


def test_what_is_built_here_is_dropped_for_the_cell_above_and_left_to_who_deletes(
    database, worker_of, farm
):
    one = worker_of(name='leaf', parent='top')
    with database.read() as connection:
        farm.slow = {building.cell_of(connection)}
    cancelled, deleted = wanted(1), wanted(2)
    order(one, cancelled, deleted, path=paths.CellPath(('top',)), above=3)
    turn(one)
    write(database, placement.cancelled_above, cancelled.uuid, 3)
    write(database, placement.bury, deleted.uuid)
    turn(one)
    assert [state for _, state in outcome(database)] == [db.CANCELLED] * 2
    assert [uuid for _, uuid, _ in farm.cancelled] == [cancelled.uuid]
    with database.read() as connection:
        uuids = set(connection.execute(sa.select(models.Instance.uuid)).scalars())
    assert uuids == {deleted.uuid}


def test_a_build_in_the_own_cell_leaves_nothing_when_it_cannot_be_begun(database, worker_of, farm):
    one = worker_of(name='leaf', parent='top')
    vms = [wanted(number) for number in range(3)]
    real = farm.build_here

    def build_here(connection, ctxt, vm, kwargs, attempt):
        reason = real(connection, ctxt, vm, kwargs, attempt)
        if vm.uuid == vms[1].uuid:
            db_instances.instance_create(connection, {'uuid': vm.uuid})  # there is one already
        return reason

    farm.build_here = build_here
    order(one, *vms, path=paths.CellPath(('top',)), above=1)
    turn(one)
    states = collections.Counter(state for _, state in outcome(database))
    assert states == {db.DONE: 2, db.FAILED: 2}
    with database.read() as connection:
        uuids = set(connection.execute(sa.select(models.Instance.uuid)).scalars())
    assert uuids == {vms[0].uuid, vms[2].uuid}


def test_nothing_heard_for_long_takes_a_build_from_a_child_of_ours(database, worker_of):
    one, vm = worker_of('a', 'b', build_timeout=100.0), wanted()
    order(one, vm)
    turn(one)
    with database.write() as connection:
        connection.execute(sa.delete(models.Outbox.__table__))  # it was confirmed
    later(database, 101)
    turn(one)
    assert outcome(database) == [('a', db.FAILED), ('b', db.PLACED)]
    names = [(to, message.method_name) for to, message in outbox(database)]
    assert names == [('a', 'x_build_cancel'), ('b', 'build_instances')]


def test_v1_ours_does_not_lose_a_build_that_the_plain_cell_in_its_place_was_given(
    database, worker_of
):
    one, vm = worker_of('a', 'b'), wanted()
    order(one, vm)
    turn(one)
    [row] = write(database, journal.outbox_claim, 'w', 'a', 30, 1)
    write(database, journal.outbox_sent, [row['id']], 15, True)
    later(database, 30)
    turn(one)
    assert outcome(database) == [('a', db.PLACED)]
    # Ours that is there now would have confirmed it by then.
    later(database, 31)
    turn(one)
    assert outcome(database) == [('a', db.TOLD)]


def test_one_that_is_known_to_have_a_host_is_not_taken_away(database, worker_of):
    one, vm = worker_of('a', 'b', build_timeout=100.0), wanted()
    order(one, vm)
    turn(one)
    with database.write() as connection:
        connection.execute(sa.delete(models.Outbox.__table__))
        db_instances.instance_update(connection, vm.uuid, {'host': 'h1', 'cell_name': 'api!a'})
    later(database, 101)
    turn(one)
    assert outcome(database) == [('a', db.DONE)]


def test_a_cell_in_the_middle_leaves_that_to_the_top(database, worker_of):
    one = worker_of('x', name='mid', parent='top', build_timeout=100.0)
    order(one, wanted(), path=paths.CellPath(('top',)), above=7)
    turn(one)
    with database.write() as connection:
        connection.execute(sa.delete(models.Outbox.__table__))
    later(database, 101)
    turn(one)
    assert outcome(database) == [('x', db.PLACED)]
    later(database, 101)
    turn(one)
    assert outcome(database) == [('x', db.DONE)], 'it needs no passwords for ever'
    assert outbox(database) == []


def test_a_child_that_is_gone_from_the_tree_loses_its_builds(database, worker_of):
    one, vm = worker_of('a', 'b'), wanted()
    order(one, vm)
    turn(one)
    neighbours.cell_delete(database, 'a')
    one.state.refresh()
    later(database, 5)
    turn(one)
    assert outcome(database) == [('a', db.FAILED), ('b', db.PLACED)]
    assert [to for to, _ in outbox(database)] == ['b'], 'what was not sent is taken back'


def test_a_request_that_was_lost_ends_its_attempts(database, worker_of):
    one = worker_of('a')
    write(
        database,
        db.attempts_add,
        [{'instance_uuid': wanted().uuid, 'attempt': 1, 'request_uuid': 'gone'}],
    )
    turn(one)
    assert outcome(database) == [('', db.FAILED)]


def test_c4_workers_side_by_side_give_out_each_build_once_and_evenly(database, worker_of):
    workers = [worker_of('a', 'b', 'c'), worker_of('a', 'b', 'c')]
    number = 60
    errors = []

    def work(index):
        for _ in range(number // 2):
            while True:
                try:
                    order(workers[index], wanted())
                    turn(workers[index])
                    break
                except engine.ERRORS as error:
                    # the worker's loop does it again as well
                    if not engine.is_transient(error):
                        raise
                    errors.append(error)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(work, range(2)))
    turn(workers[0])
    found = rows(database)
    assert len(found) == number
    assert {row['state'] for row in found} == {db.PLACED}
    assert collections.Counter(row['next_cell'] for row in found) == dict.fromkeys('abc', 20)
    assert len(outbox(database)) == number
    assert len(errors) < number


def test_what_is_over_is_purged_as_fast_as_it_comes(database, worker_of, monkeypatch):
    one = worker_of('a')
    values = {'request_uuid': 'r', 'attempt': 1}
    names = ['%08d' % number for number in range(5)]
    write(database, db.attempts_add, [{**values, 'instance_uuid': name} for name in names])
    ids = [row['id'] for row in rows(database)]
    with database.write() as connection:
        db.attempts_set(connection, ids, db.DONE, seconds=-db.KEEP_SECONDS - 1)
    monkeypatch.setattr(placer, 'PURGE_SIZE', 3)
    monkeypatch.setattr(placer, 'PURGE_AGAIN', 0.0)
    one.placer._purge_at = 0.0
    one.placer._purge()
    assert len(rows(database)) == 2
    one.placer._purge()
    assert rows(database) == []
    assert one.placer._purge_at > time.monotonic() + 100
