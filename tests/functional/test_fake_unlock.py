"""A stop that follows an unlock at once: whoever was told that it goes, sees it done (S8).

``CELLS_TEST_STOPS`` sets how many there are (1,000 in the nightly profile).
"""

import concurrent.futures
import os

import pytest
import sqlalchemy as sa

from cells import context, rpcapi
from cells.cell import Cell
from cells.db import instances as db_instances
from cells.db import journal as db_journal
from cells.db import models
from tests import deploy, fake_cells, replication
from tests.functional.test_fake_deletion import NIGHTLY, PARENTS, Cloud, admin, new_instance

STOPS = int(os.environ.get('CELLS_TEST_STOPS', '1000' if NIGHTLY else '40'))
INSTANCES = 12


def user():
    return context.RequestContext('u1', 'p1')


def second_workers(workdir) -> list[Cell]:
    """Return a second worker of each cell that an order passes."""
    return [
        fake_cells.build_again(
            workdir, name, call_timeout=10, cell_type='api' if name == 'top' else 'compute'
        )
        for name in ('top', 'left', 'mid', 'right')
    ]


@pytest.mark.needs_extensions('without receipts two workers take orders in as they come')
@pytest.mark.timeout(300 + STOPS)
def test_s8_every_stop_that_follows_an_unlock_ends_in_a_stop(workdir):
    with fake_cells.FakeTree(workdir, PARENTS, call_timeout=10).running() as tree:
        cloud = Cloud(workdir, tree)
        others = second_workers(workdir)
        try:
            for one in others:
                one.start()
            cloud.start()
            uuids = [build(cloud) for _ in range(INSTANCES)]
            wait(cloud, uuids, 'active')
            with concurrent.futures.ThreadPoolExecutor(INSTANCES) as pool:
                rounds = -(-STOPS // INSTANCES)
                counts = list(pool.map(lambda uuid: again(cloud, uuid, rounds), uuids))
        finally:
            cloud.stop()
            for one in others:
                one.stop()
    assert counts == [rounds] * INSTANCES


def build(cloud) -> str:
    instance = new_instance()
    cloud.records.create(admin(), [instance])
    cloud.build(instance)
    return instance.uuid


def wait(cloud, uuids, state, seconds=60) -> None:
    def settled():
        found = [cloud.records.get(admin(), uuid) for uuid in uuids]
        return all(one.vm_state == state and one.task_state is None for one in found)

    deploy.wait_until(settled, seconds, '%s is %s' % (', '.join(uuids), state))


def again(cloud, uuid, rounds) -> int:
    """Lock, unlock and stop an instance, and start it again; return how often it stopped."""
    stopped = 0
    # Requests of users come by different connections.
    conf = fake_cells.conf_of(cloud.workdir, 'top', cell_type='api')
    records, api = rpcapi.InstancesAPI.from_conf(conf), rpcapi.CellsAPI.from_conf(conf)
    for _ in range(rounds):
        records.save(user(), uuid, {'locked': True, 'locked_by': 'owner'})
        found = records.save(user(), uuid, {'locked': False, 'locked_by': None})
        api.stop_instance(user(), found)
        wait(cloud, [uuid], 'stopped')
        assert cloud.records.faults(admin(), uuid) == []
        stopped += 1
        api.start_instance(user(), found)
        wait(cloud, [uuid], 'active')
    return stopped


def carried_out(cell, uuid) -> list[str]:
    """Return when the changes of an instance were ordered, in the order they were carried out."""
    columns = models.Inbox.__table__.c
    query = sa.select(columns.ordering).where(
        columns.instance_uuid == uuid, columns.operation == 'instance_update_from_api'
    )
    with cell.database.read() as connection:
        return list(connection.execute(query.order_by(columns.ended_at, columns.id)).scalars())


@pytest.mark.needs_extensions('without receipts two workers take orders in as they come')
def test_s8_what_an_api_service_changes_comes_down_in_its_order(workdir):
    """Two workers in each cell: each change takes its own way, and the last one stays."""
    parents = {'top': None, 'leaf': 'top'}
    uuids = ['%08d-0000-4000-8000-000000000000' % number for number in range(12)]
    with fake_cells.FakeTree(workdir, parents).running() as tree:
        others = [
            fake_cells.build_again(workdir, 'top', cell_type='api'),
            fake_cells.build_again(workdir, 'leaf'),
        ]
        for one in others:
            one.start()
        try:
            with tree['leaf'].database.write() as connection:
                for uuid in uuids:
                    values = {'uuid': uuid, 'project_id': 'p1', 'user_id': 'u1', 'host': 'h'}
                    db_instances.instance_create(connection, {**values, 'vm_state': 'active'})
            tree['leaf'].wake()
            conf = fake_cells.conf_of(workdir, 'top', cell_type='api')
            records = rpcapi.InstancesAPI.from_conf(conf)
            deploy.wait_until(
                lambda: len(records.list(admin(), limit=100)) == len(uuids), 20, 'all are known'
            )

            def rename(uuid):
                for number in range(40):
                    records.save(admin(), uuid, {'display_name': 'name %d' % number})

            with concurrent.futures.ThreadPoolExecutor(len(uuids)) as pool:
                list(pool.map(rename, uuids))
            deploy.wait_until(
                lambda: (
                    not any(
                        name.startswith(('outbox', 'inbox.received', 'inbox.claimed'))
                        for cell in ('top', 'leaf')
                        for name in db_journal.counts(tree[cell].database)
                    )
                ),
                30,
                'all have come down',
            )
            for uuid in uuids:
                for cell in ('top', 'leaf'):
                    name = replication.column(tree[cell].database, uuid, 'display_name')
                    assert name == 'name 39', cell
                    orders = carried_out(tree[cell], uuid)
                    assert len(orders) == 40
                    assert orders == sorted(orders), cell
        finally:
            for one in others:
                one.stop()
