"""The sweep of one cell by itself: what cannot be dealt with keeps nothing else from it."""

import pytest
import sqlalchemy as sa

from cells import context, exceptions, messages, paths, sweep, sweep_own, sweep_top, wire
from cells.compute.means import Means
from cells.db import engine, faults, instances, migration, models
from cells.db import journal as db_journal
from cells.messages import Response, TargetedMessage
from cells.operations import Direction
from cells.stats import Stats

ONE = '11111111-1111-4111-8111-111111111111'
TWO = '22222222-2222-4222-8222-222222222222'
VALUES = {'user_id': 'u', 'project_id': 'p', 'vm_state': 'active', 'host': 'h1'}
INSTANCES = models.Instance.__table__


@pytest.fixture(params=[True, False], ids=['cell', 'top'])
def database(request, workdir):
    found = engine.Database('sqlite:///%s' % (workdir / 'cells.sqlite'), replicates=request.param)
    migration.sync(found)
    yield found
    found.dispose()


def create(database, uuid, task_state, **values):
    with database.write() as connection:
        given = {**VALUES, 'task_state': task_state, **values, 'uuid': uuid}
        instances.instance_create(connection, given)


def column(database, uuid, name):
    with database.read() as connection:
        query = sa.select(INSTANCES.c[name]).where(INSTANCES.c.uuid == uuid)
        return connection.execute(query).scalar_one()


def own_sweep(database, stats):
    return sweep_own.OwnSweep(
        database=database, means=Means(cell='leaf'), stats=stats, older_than=-1.0
    )


def test_t5_a_task_that_cannot_be_ended_does_not_keep_the_others_from_it(database, caplog):
    create(database, ONE, 'pausing')
    create(database, TWO, 'pausing')
    with database.write() as connection:
        connection.execute(
            sa.insert(models.InstanceField).values(instance_uuid=ONE, name='flavor', value='{what')
        )
    stats = Stats()
    own_sweep(database, stats).sweep()
    assert column(database, TWO, 'task_state') is None
    assert len(faults.fault_get_all(database, TWO)) == 1
    assert column(database, ONE, 'task_state') == 'pausing'
    assert stats.get('sweep_failed') == 1
    assert ONE in caplog.text


def test_s5_a_soft_deletion_of_what_never_ran_comes_to_its_end(database):
    create(database, ONE, 'soft-deleting', host=None, vm_state='error')
    own_sweep(database, Stats()).sweep()
    assert column(database, ONE, 'deleted')


class Runner:
    """Asks cells, of which one answers what nobody has thought of."""

    def __init__(self):
        self.asked = []

    def call(self, ctxt, operation, target, kwargs):
        self.asked.append(str(target))
        if target.last == 'bad':
            raise exceptions.Invalid(reason='this cannot be sent')
        return Response(str(target), {uuid: {'known': False} for uuid in kwargs['instances']})


class State:
    """A tree in which all are of our kind."""

    def __init__(self):
        self.sightings = self

    def is_plain(self, name):
        return False

    def resolve(self, path):
        return path


def test_t5_a_cell_that_cannot_be_asked_does_not_keep_the_others_from_it(database):
    create(database, ONE, 'pausing', cell_name='top!bad')
    create(database, TWO, 'pausing', cell_name='top!good')
    stats, runner = Stats(), Runner()
    top = sweep_top.TopSweep(
        database=database,
        state=State(),
        runner=runner,
        stats=stats,
        older_than=-1.0,
        build_older_than=600.0,
    )
    top.sweep()
    assert sorted(runner.asked) == ['top!bad', 'top!good']
    assert column(database, TWO, 'task_state') is None
    assert column(database, ONE, 'task_state') == 'pausing'
    assert top.unknown == {'top!bad': 1}
    assert stats.get('sweep_failed') == 1


def test_t5_an_order_that_cannot_be_reported_does_not_keep_the_others_from_it(database):
    reported = []

    class Reports:
        def report(self, connection, message, error):
            reported.append(message.uuid)
            if len(reported) == 1:
                raise ZeroDivisionError

    for _ in range(2):
        message = TargetedMessage(
            ctxt=context.background().to_dict(),
            method_name='pause_instance',
            method_kwargs={},
            direction=Direction.DOWN,
            routing_path=paths.CellPath.parse('top'),
            uuid=messages.new_uuid(),
            target_cell=paths.CellPath.parse('top!a'),
        )
        with database.write() as connection:
            row = (message.uuid, 'a', 'targeted', wire.encode(message))
            db_journal.outbox_add(connection, [row])
    stats = Stats()
    one = sweep.Sweep(
        database=database,
        state=State(),
        lease=None,
        reports=Reports(),
        top=None,
        own=None,
        action_timeout=-1.0,
        stats=stats,
    )
    one.withdraw()
    assert len(reported) == 2
    assert stats.get('orders_withdrawn', neighbour='a') == 1
    assert db_journal.counts(database) == {'outbox.pending': 1}
    one.withdraw()
    assert db_journal.counts(database) == {}
