"""What an agent has and what its cell knows, compared, on each kind of database."""

import pytest
import sqlalchemy as sa

from cells.compute import host_ops, reconciling
from cells.db import (
    claims,
    faults,
    host_operations,
    instance_migrations,
    instances,
    models,
)

HERE, THERE = 'h1', 'h2'


def uuid(number):
    return '%08d-1111-4111-8111-111111111111' % number


def add(database, number, **values):
    values = {'host': HERE, 'vm_state': 'active', 'power_state': 1, **values}
    with database.write() as connection:
        instances.instance_create(connection, {'uuid': uuid(number), **values})


def order(database, op_id, number, host=HERE, state=None, method='start'):
    with database.write() as connection:
        host_ops.order(
            connection, op_id=op_id, host=host, method=method, instance={'uuid': uuid(number)}
        )
        if state == host_operations.ACCEPTED:
            host_operations.ops_accepted(connection, [op_id])
        elif state is not None:
            host_operations.op_end(connection, op_id, state, None)


@pytest.fixture
def compare(database):
    """Compare, and return the answer and which power states were taken over."""

    def run(found, operations=()):
        taken = {}
        with database.write() as connection:
            answer = reconciling.reconcile(
                connection,
                HERE,
                set(operations),
                {uuid(number): state for number, state in found.items()},
                lambda connection, one, state: taken.update({one: state}),
            )
        return answer, taken

    return run


def load(database, number):
    with database.read() as connection:
        return instances.instance_get(connection, uuid(number))


def state_of(database, op_id):
    with database.read() as connection:
        return host_operations.op_find(connection, op_id)['state']


def messages(database, number):
    return [one['message'] for one in faults.fault_get_all(database, uuid(number))]


NOTHING = {'cancel': [], 'destroy': []}


def test_what_fits_is_left_as_it_is(database, compare):
    add(database, 1)
    add(database, 2, host=THERE)
    assert compare({1: 1}) == (NOTHING, {})
    assert load(database, 2).vm_state == 'active'


def test_power_states_that_differ_are_taken_over(database, compare):
    add(database, 1)
    add(database, 2, task_state='powering-off')
    add(database, 3)
    order(database, 'c.1', 3)
    assert compare({1: 4, 2: 4, 3: 4}) == (NOTHING, {uuid(1): 4})


def test_what_is_deleted_or_elsewhere_is_destroyed(database, compare):
    add(database, 2)
    add(database, 3, host=THERE)
    add(database, 4, host=None, vm_state='shelved_offloaded')
    with database.write() as connection:
        instances.instance_destroy(connection, uuid(2))
    answer, taken = compare({2: 1, 3: 1, 4: 4})
    assert answer['destroy'] == [uuid(2), uuid(3), uuid(4)]
    assert taken == {}


def test_s4_what_a_restored_database_does_not_know_is_left_alone_and_told(
    database, compare, caplog
):
    add(database, 2)
    assert compare({1: 1, 2: 1}) == (NOTHING, {})
    [line] = [one.getMessage() for one in caplog.records if one.levelname == 'ERROR']
    assert '%s is on host h1, and this cell has no record of it' % uuid(1) in line


def test_what_comes_goes_or_is_at_work_is_not_destroyed(database, compare):
    add(database, 1, host=THERE)  # resized, and not confirmed: a claim
    add(database, 2, host=THERE)  # on its way: an unfinished migration
    add(database, 3, host=THERE)  # an order for this host is open
    order(database, 'c.1', 4, state=host_operations.DONE)  # it has just ended
    add(database, 5, host=THERE)  # the migration is over
    with database.write() as connection:
        report = sa.insert(models.ComputeNode).values(
            host=HERE,
            hypervisor_hostname='n',
            uuid='u',
            memory_mb=10,
            free_ram_mb=10,
            local_gb=1,
            free_disk_gb=1,
        )
        connection.execute(report)
        assert claims.claim_add(
            connection, uuid(1), HERE, 'n', claims.Amount(1, 0, 0), claims.MIGRATION
        )
        for number, status in ((2, 'finished'), (5, 'confirmed')):
            instance_migrations.migration_create(
                connection,
                {
                    'instance_uuid': uuid(number),
                    'source_compute': HERE,
                    'dest_compute': THERE,
                    'status': status,
                },
            )
    order(database, 'b.1', 3)
    answer, _ = compare(dict.fromkeys(range(1, 6), 1))
    assert answer['destroy'] == [uuid(5)]


def test_an_instance_that_is_missing_goes_into_error_and_stays_on_record(database, compare):
    add(database, 1)
    for _ in range(2):
        assert compare({}) == (NOTHING, {})
    found = load(database, 1)
    assert (found.vm_state, found.host, found.power_state) == ('error', HERE, 0)
    assert messages(database, 1) == ['Host h1 does not have this instance any more']


@pytest.mark.parametrize(
    'values',
    [
        {'vm_state': 'building'},
        {'vm_state': 'error'},
        {'task_state': 'rebuilding'},
        {'host': THERE},
    ],
    ids=str,
)
def test_an_instance_that_need_not_be_there_is_not_missing(database, compare, values):
    add(database, 1, **values)
    before = load(database, 1)
    compare({})
    assert load(database, 1).vm_state == before.vm_state
    assert messages(database, 1) == []


@pytest.mark.parametrize('state', [None, host_operations.ACCEPTED, host_operations.DONE])
def test_an_instance_at_work_is_not_missing(database, compare, state):
    add(database, 1)
    order(database, 'a.1', 1, state=state)
    compare({})
    assert load(database, 1).vm_state == 'active'
    if state == host_operations.DONE:
        with database.write() as connection:
            connection.execute(sa.update(models.HostOperation).values(ended_at=1.0))
        compare({})
        assert load(database, 1).vm_state == 'error'


def test_operations_are_cancelled_that_are_not_wanted_any_more(database, compare):
    order(database, 'a.1', 1, state=host_operations.ACCEPTED)
    order(database, 'b.1', 2)
    order(database, 'c.1', 3, state=host_operations.FAILED)
    order(database, 'd.1', 4, state=host_operations.CANCELLED)
    order(database, 'e.1', 5, host=THERE)
    answer, _ = compare({}, ['a.1', 'b.1', 'c.1', 'd.1', 'e.1', 'x.1'])
    assert answer['cancel'] == ['c.1', 'd.1', 'e.1', 'x.1']


def test_operations_that_an_agent_does_not_know_any_more_are_offered_again(database, compare):
    order(database, 'a.1', 1, state=host_operations.ACCEPTED)
    order(database, 'b.1', 2, state=host_operations.ACCEPTED)
    order(database, 'c.1', 3, host=THERE, state=host_operations.ACCEPTED)
    compare({}, ['a.1'])
    assert state_of(database, 'a.1') == host_operations.ACCEPTED
    assert state_of(database, 'b.1') == host_operations.PENDING
    assert state_of(database, 'c.1') == host_operations.ACCEPTED
    assert host_operations.hosts_due(database) == [HERE]


def test_a_host_with_very_many_instances_is_compared(database, compare):
    with database.write() as connection:
        rows = [
            {
                'uuid': uuid(number),
                'host': HERE if number < 1500 else THERE,
                'vm_state': 'active',
                'power_state': 1,
            }
            for number in range(3000)
        ]
        connection.execute(sa.insert(models.Instance), rows)
    answer, taken = compare({number: 1 if number else 4 for number in range(3000)})
    assert answer['destroy'] == [uuid(number) for number in range(1500, 3000)]
    assert taken == {uuid(0): 4}
