"""What happens to instances, told to a nova-cells and by one: real cells in one process."""

import datetime
import json
import pathlib
import statistics
import time

import pytest

from cells.db import (
    bandwidth,
    block_devices,
    console_tokens,
    faults,
    instance_actions,
    instances,
    journal,
    unsent,
)
from cells.objects.instance import InstanceInfoCache
from tests import deploy, fake_cells, plain_cell, replication
from tests.sync_tree import ONE, create, update


@pytest.fixture
def plain_top(workdir):
    found = plain_cell.PlainCell(workdir, 'top')
    found.start()
    yield found
    found.stop()


@pytest.fixture
def leaf(workdir, plain_top):
    found = fake_cells.build(workdir, 'leaf', {'top': True})
    found.start()
    plain_top.say('leaf', 'announce_capacities', 'down')
    deploy.wait_until(lambda: found.state.sighting('top').protocol == 0, 10, 'it is plain')
    yield found
    found.stop()


UPDATE = 'instance_update_at_top'


def instance_in(envelope):
    return envelope['method_kwargs']['instance']


def test_a_plain_parent_is_told_as_a_nova_cells_tells(leaf, plain_top):
    create(leaf)
    [whole] = deploy.wait_until(lambda: plain_top.of(UPDATE), 10, 'it is told')
    assert (whole['direction'], whole['message_type']) == ('up', 'broadcast')
    assert sorted(whole['ctxt']) == [
        'is_admin',
        'project_id',
        'request_id',
        'timestamp',
        'user_id',
    ]
    told = instance_in(whole)
    assert (told['nova_object.name'], told['nova_object.version']) == ('Instance', '2.0')
    assert 'id' not in told['nova_object.data']
    assert told['nova_object.data']['metadata'] == {'a': 'b'}
    unmarked = {'uuid', 'metadata', 'deleted', 'deleted_at', 'created_at', 'updated_at'}
    assert set(told['nova_object.data']) - set(told['nova_object.changes']) == unmarked | {
        'cell_name'
    }
    time.sleep(0.3)
    cache = InstanceInfoCache(instance_uuid=ONE, network_info=[{'id': 'vif'}])
    update(leaf, task_state='rebooting', fields={'info_cache': cache})
    [_, changed] = deploy.wait_until(
        lambda: len(plain_top.of(UPDATE)) == 2 and plain_top.of(UPDATE), 10, 'it is told'
    )
    told = instance_in(changed)
    assert told['nova_object.changes'] == ['info_cache', 'task_state']
    assert told['nova_object.data']['host'] == 'h1'
    inside = told['nova_object.data']['info_cache']
    assert 'network_info' in inside['nova_object.changes']
    below = replication.Child(leaf.database)
    deploy.wait_until(lambda: below.dirty() == [(ONE, 'closing')], 5, 'one more is to come')


def test_a_plain_parent_is_told_once_more_after_the_last_change(leaf, plain_top, monkeypatch):
    monkeypatch.setattr(leaf.sync._ends, 'CLOSE_SECONDS', 1.0)
    create(leaf)
    deploy.wait_until(lambda: plain_top.of(UPDATE), 10, 'it is told')
    begun = time.monotonic()
    for number in range(10):
        update(leaf, progress=number)
        time.sleep(0.03)
    update(leaf, vm_state='stopped')
    seconds = time.monotonic() - begun
    deploy.wait_until(lambda: not replication.Child(leaf.database).dirty(), 10, 'all is over')
    told = plain_top.of(UPDATE)
    # The first, five a second, what is left then, and the one at the end.
    assert 3 <= len(told) <= 3 + seconds / 0.2
    last = instance_in(told[-1])
    assert {'vm_state', 'progress'} <= set(last['nova_object.changes'])
    assert last['nova_object.data']['vm_state'] == 'stopped'
    assert last['nova_object.data']['progress'] == 9


def test_messages_of_an_instance_to_a_plain_parent_are_apart(leaf, plain_top, monkeypatch):
    moments = []
    receive = plain_top._receive

    def note(incoming):
        if UPDATE in incoming.text:
            moments.append(time.monotonic())
        receive(incoming)

    for port in plain_top._driver._ports.values():
        port.receive = note
    create(leaf)
    until = time.monotonic() + 20
    number = 0
    while len(moments) < 6 and time.monotonic() < until:
        number += 1
        update(leaf, progress=number)
        time.sleep(0.01)
    apart = [b - a for a, b in zip(moments, moments[1:], strict=False)]
    assert len(moments) >= 6, 'what is marked while it is sent must not wait for the claim to end'
    assert statistics.median(apart) > 0.15


def test_all_that_belongs_to_an_instance_is_told_to_a_plain_parent(leaf, plain_top):
    create(leaf)
    deploy.wait_until(lambda: plain_top.of(UPDATE), 10, 'it is told')
    time.sleep(0.3)
    with leaf.database.write() as connection:
        faults.fault_create(connection, ONE, 'it broke', code=503)
        for volume in ('v1', 'v2'):
            block_devices.bdm_save(connection, ONE, {'volume_id': volume, 'device_name': 'd'})
        block_devices.bdm_destroy(connection, ONE, volume_id='v1')
        bandwidth.bw_usage_update(
            connection,
            {
                'uuid': ONE,
                'mac': 'fa:16',
                'start_period': datetime.datetime(2016, 3, 1, 12),
                'bw_in': 1,
                'bw_out': 2,
                'last_ctr_in': 3,
                'last_ctr_out': 4,
                'last_refreshed': None,
            },
        )
        console_tokens.tokens_delete(connection, ONE)
        instance_actions.action_create(connection, {'instance_uuid': ONE, 'action': 'x'})
    leaf.wake()
    deploy.wait_until(
        lambda: (
            not [one for one in replication.Child(leaf.database).dirty() if one[1] != 'closing']
        ),
        10,
        'all is told',
    )
    told_by = (
        'instance_fault_create_at_top',
        'bdm_update_or_create_at_top',
        'bdm_destroy_at_top',
        'bw_usage_update_at_top',
        'consoleauth_delete_tokens',
    )
    deploy.wait_until(lambda: all(map(plain_top.of, told_by)), 20, 'all is heard')
    [fault] = plain_top.of('instance_fault_create_at_top')
    told = fault['method_kwargs']['instance_fault']
    assert (told['instance_uuid'], told['code'], told['message']) == (ONE, 503, 'it broke')
    assert 'uuid' not in told
    [device] = plain_top.of('bdm_update_or_create_at_top')
    assert device['method_kwargs']['bdm']['volume_id'] == 'v2'
    assert device['method_kwargs']['create'] is None
    assert not {'id', 'uuid', 'tag'} & set(device['method_kwargs']['bdm'])
    [gone] = plain_top.of('bdm_destroy_at_top')
    assert gone['method_kwargs'] == {'instance_uuid': ONE, 'device_name': None, 'volume_id': 'v1'}
    [used] = plain_top.of('bw_usage_update_at_top')
    assert used['method_kwargs']['bw_update_info']['start_period'] == '2016-03-01T12:00:00.000000'
    [tokens] = plain_top.of('consoleauth_delete_tokens')
    assert tokens['method_kwargs'] == {'instance_uuid': ONE}
    with leaf.database.write() as connection:
        instances.instance_destroy(connection, ONE)
    leaf.wake()
    [destroyed] = deploy.wait_until(
        lambda: plain_top.of('instance_destroy_at_top'), 10, 'it is told'
    )
    assert instance_in(destroyed)['nova_object.data']['host'] == 'h1'


def test_a_plain_parent_that_is_away_is_told_later(workdir):
    plain = plain_cell.PlainCell(workdir, 'top')
    plain.start()
    leaf = fake_cells.build(workdir, 'leaf', {'top': True})
    leaf.start()
    try:
        plain.say('leaf', 'announce_capacities', 'down')
        deploy.wait_until(lambda: leaf.state.sighting('top').protocol == 0, 10, 'it is plain')
        plain.stop()
        create(leaf)
        time.sleep(1)
        assert unsent.summary(leaf.database)['rows'] == 1
        plain = plain_cell.PlainCell(workdir, 'top')
        plain.start()
        deploy.wait_until(lambda: plain.of(UPDATE), 30, 'it is told')
    finally:
        leaf.stop()
        plain.stop()


def test_a_cell_of_ours_between_passes_on_what_is_told_to_a_plain_top(workdir, plain_top):
    cells = {
        'mid': fake_cells.build(workdir, 'mid', {'top': True, 'leaf': False}),
        'leaf': fake_cells.build(workdir, 'leaf', {'mid': True}),
    }
    for one in cells.values():
        one.start()
    try:
        fake_cells.connected([cells['leaf']])
        plain_top.say('mid', 'announce_capacities', 'down')
        deploy.wait_until(
            lambda: cells['mid'].state.sighting('top').protocol == 0, 10, 'it is plain'
        )
        create(cells['leaf'])
        [told] = deploy.wait_until(lambda: plain_top.of(UPDATE), 20, 'it is told')
        assert told['routing_path'] == 'leaf!mid'
        assert cells['leaf'].sync.status()['parents'][0]['form'] == 'plain'
    finally:
        for one in cells.values():
            one.stop()


def test_a_plain_child_is_heard_at_the_top(workdir):
    top = fake_cells.build(workdir, 'top', {'leaf': False})
    plain = plain_cell.PlainCell(workdir, 'leaf')
    top.start()
    plain.start()
    try:
        golden = json.loads(
            (
                pathlib.Path(__file__).parents[1] / 'golden' / 'intercell-rocky-child.json'
            ).read_text()
        )
        recorded = {
            one['method']: one['sent'][0]['json']['method_kwargs']
            for one in golden
            if 'method' in one and one.get('sent')
        }
        told = (
            'instance_update_at_top',
            'instance_fault_create_at_top',
            'bdm_update_or_create_at_top',
            'bw_usage_update_at_top',
        )
        for number, operation in enumerate(told):
            kwargs = dict(recorded[operation])
            if operation == 'bw_usage_update_at_top':
                kwargs['bw_update_info'] = {
                    **kwargs['bw_update_info'],
                    'start_period': '2016-03-01 12:00:00',
                }
            plain.say('top', operation, 'up', **kwargs)
            deploy.wait_until(
                lambda number=number: journal.counts(top.database) == {'inbox.done': number + 1},
                10,
                '%s is done' % operation,
            )
        with top.database.read() as connection:
            found = instances.instance_get(connection, ONE)
        assert (found.vm_state, found.task_state, found.host) == (
            'active',
            'powering-off',
            'host1',
        )
        assert found.flavor.name == 'm1.small'
        assert found.cell_name == 'top!leaf'
        assert [row['message'] for row in faults.fault_get_all(top.database, ONE)] == ['boom']
        for operation in ('bdm_destroy_at_top', 'instance_destroy_at_top'):
            plain.say('top', operation, 'up', **recorded[operation])
        deploy.wait_until(
            lambda: replication.column(top.database, ONE, 'deleted'), 10, 'it is deleted'
        )
    finally:
        plain.stop()
        top.stop()
