"""nova-cells-manage against daemons over RabbitMQ: each command, and the likeliest mistakes.

A tree of three cells, one worker each; every output is searched for the passwords.
"""

import csv
import datetime
import json
import shutil

import kombu
import pytest

from cells import failures, reports
from cells.db import (
    compute_nodes,
    drains,
    engine,
    faults,
    flavors,
    instances,
    journal,
    neighbours,
    path_aliases,
    services,
)
from tests import deploy, manage
from tests.conftest import open_directory

CELLS = {'api': None, 'region': 'api', 'leaf': 'region'}
SECRET = 's3cr3t%2Fsign'
UUIDS = ['%d1111111-1111-4111-8111-111111111111' % number for number in range(4)]


@pytest.fixture(scope='module')
def tree(rabbit):
    directory = open_directory()
    found = deploy.Tree(
        directory,
        rabbit,
        deploy.sqlite(directory),
        CELLS,
        prefix='manage_',
        workers=1,
        options='receipt_timeout = 2\nreserve_percent = 0',
    )
    fill(found['leaf'].database())
    try:
        with found.running():
            yield found
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def fill(database: engine.Database) -> None:
    """Give a cell a host, with a size of instances that is counted."""
    with database.write() as connection:
        flavors.flavor_create(
            connection,
            {'name': 'small', 'flavorid': '1', 'memory_mb': 512, 'vcpus': 1, 'root_gb': 1},
        )
    later = datetime.datetime.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(days=1)
    services.service_report(database, 'host-1', 'nova-compute', 'compute', later)
    services.service_report(database, 'host-2', 'nova-compute', 'compute', later)
    compute_nodes.compute_node_save(
        database,
        'host-1',
        hypervisor_hostname='host-1.example',
        hypervisor_type='fake',
        hypervisor_version=1,
        memory_mb=8192,
        memory_mb_used=0,
        free_ram_mb=8192,
        local_gb=100,
        local_gb_used=0,
        free_disk_gb=100,
        vcpus=8,
        vcpus_used=0,
        cpu_info='',
    )


@pytest.fixture(scope='module')
def operator(rabbit):
    return manage.Operator(rabbit.password, 's3cr3t')


@pytest.fixture(scope='module')
def api(tree):
    return tree['api'].conf_file


def eventually(true, what, seconds=30):
    return deploy.wait_until(true, seconds, what)


@pytest.fixture
def other(workdir):
    """A cell without a daemon, whose message bus is one that does not answer."""

    def make(url='rabbit://cells:%s@127.0.0.1:1/x' % SECRET, cells='', name='other'):
        path = workdir / ('%s.conf' % name)
        path.write_text(
            deploy.CONF
            % {
                'url': url,
                'state_path': workdir,
                'database': 'sqlite:///%s' % (workdir / ('%s.sqlite' % name)),
                'name': name,
                'cell_type': 'api',
                'workers': 1,
                'options': cells,
                'debug': False,
            }
        )
        return path

    return make


# -- the tree --


def test_o9_the_tree_is_shown_with_what_each_cell_says(tree, operator, api):
    eventually(
        lambda: all(
            one['state'] == 'up' and one['protocol'] == 'ours'
            for one in operator(api, 'topology', '-f', 'json').json()
        ),
        'all cells are up',
    )
    eventually(
        lambda: operator(api, 'topology', '-f', 'json').json()[2]['free_memory_mb'] == 8192,
        'the capacity of the leaf is known',
    )
    rows = operator.done(api, 'topology', '-f', 'json').json()
    assert [row['path'] for row in rows] == ['api', 'api!region', 'api!region!leaf']
    leaf = rows[2]
    assert (leaf['hosts_up'], leaf['hosts_down'], leaf['instances']) == (2, 0, 0)
    assert leaf['cell_id'] == tree.ops('leaf').whoami(deploy.admin())['id']
    assert leaf['lag'] is not None
    assert leaf['waiting'] == 0
    shown = operator.done(api, 'topology').out
    for text in ('api ', '└─ region', '   └─ leaf', '2 of 2 up', '8 GiB', 'ours'):
        assert text in shown
    part = operator.done(tree['region'].conf_file, 'topology', '-f', 'json').json()
    assert [row['path'] for row in part] == ['region', 'region!leaf']


def test_d10_what_is_known_of_the_tree_is_shown_without_asking_anybody(tree, operator, api):
    known = eventually(
        lambda: (
            (rows := operator(api, 'topology', '--local', '-f', 'json').json())
            and len(rows) == 3
            and rows
        ),
        'the leaf is known at the top',
    )
    assert [row['path'] for row in known] == ['api', 'api!region', 'api!region!leaf']
    assert known[1]['state'] == 'up'
    assert known[1]['protocol'] == 'ours'


def test_the_capacity_of_all_and_of_one_child_is_shown(operator, api):
    rows = eventually(
        lambda: (
            (found := operator.done(api, 'capacity', '-f', 'json').json())[0]['Size (MB)'] == 8192
            and found
        ),
        'the capacity is known at the top',
    )
    assert {'Of': 'memory', 'Kind': 'slots', 'Size (MB)': 512, 'Number': 16} in rows
    assert operator.done(api, 'capacity', 'region', '-f', 'json').json() == rows
    for name in ('nosuch', 'api!region!leaf'):
        said = operator.refused(api, 'capacity', name)
        assert 'no neighbour %s; there is region' % name in said


def test_a_cell_is_pinged_as_neighbour_by_path_and_by_none(tree, operator, api):
    for words, path in (((), 'api'), (('region',), 'api!region')):
        found = operator.done(api, 'cell', 'ping', *words, '-f', 'json').json()
        assert found['cell'] == path
        assert found['protocol'] == 1
    far = operator.done(api, 'cell', 'ping', 'api!region!leaf', '-f', 'json').json()
    assert far['id'] == tree.ops('leaf').whoami(deploy.admin())['id']
    assert 'no neighbour leaf; there is region' in operator.refused(api, 'cell', 'ping', 'leaf')
    assert 'nosuch' in operator.refused(api, 'cell', 'ping', 'api!nosuch!leaf')


# -- hosts --


def test_o5_services_are_listed_and_changed_by_the_ids_that_are_listed(tree, operator, api):
    listed = operator.done(api, 'service', 'list', '--binary', 'nova-compute', '-f', 'json').json()
    assert {(row['Host'], row['Status'], row['State']) for row in listed} == {
        ('api!region!leaf@host-1', 'enabled', 'up'),
        ('api!region!leaf@host-2', 'enabled', 'up'),
    }
    daemons = operator.done(api, 'service', 'list', '--binary', 'nova-cells', '-f', 'json').json()
    assert {row['Host'] for row in daemons} == {
        '%s@testhost' % path for path in ('api', 'api!region', 'api!region!leaf')
    }
    [one] = operator.done(api, 'service', 'list', '--host', 'host-2', '-f', 'json').json()
    operator.done(api, 'service', 'disable', one['Host'], '--reason', 'a fan')
    [row] = operator.done(api, 'service', 'list', '--host', 'host-2', '-f', 'json').json()
    assert (row['Status'], row['Reason']) == ('disabled', 'a fan')
    operator.done(api, 'service', 'enable', one['Host'])
    # in its own cell a host needs no path
    leaf = tree['leaf'].conf_file
    operator.done(leaf, 'service', 'disable', 'host-2')
    assert 'host-2 is up' in operator.refused(api, 'service', 'delete', one['ID'])
    long_ago = datetime.datetime.now(datetime.UTC).replace(tzinfo=None) - datetime.timedelta(days=1)
    database = tree['leaf'].database()
    services.service_report(database, 'host-2', 'nova-compute', 'compute', long_ago)
    database.dispose()
    operator.done(api, 'service', 'delete', one['ID'])
    assert operator.done(api, 'service', 'list', '--host', 'host-2', '-f', 'json').json() == []
    assert 'could not be found' in operator.refused(api, 'service', 'delete', one['ID'])


@pytest.mark.parametrize(
    ('words', 'text'),
    [
        (
            ('disable', 'api!region!leaf@nosuch'),
            'no nova-compute on api!region!leaf@nosuch: "service',
        ),
        (('disable', 'api!nosuch@host-1'), 'nosuch'),
        (('enable', 'host-1'), 'no nova-compute on api@host-1: "service list" has the hosts'),
        (('enable', 'a b@host-1'), 'not allowed'),
        (('delete', 'api!region!leaf@x'), 'could not be found'),
    ],
)
def test_a_service_that_is_none_is_refused(operator, api, words, text):
    assert text in operator.refused(api, 'service', *words)


def test_hypervisors_are_listed_and_added_up(operator, api):
    [row] = operator.done(api, 'hypervisor', 'list', '-f', 'json').json()
    assert row['ID'].startswith('api!region!leaf@')
    assert (row['Name'], row['Memory (MB)'], row['vCPUs']) == ('host-1.example', 8192, 8)
    assert (
        operator.done(api, 'hypervisor', 'list', '--matching', 'nosuch', '-f', 'json').json() == []
    )
    totals = operator.done(api, 'hypervisor', 'stats', '-f', 'json').json()
    assert (totals['count'], totals['memory_mb'], totals['vcpus']) == (1, 8192, 8)
    lines = operator.done(api, 'hypervisor', 'stats', '-f', 'csv').out.splitlines()
    assert next(csv.DictReader(lines))['memory_mb'] == '8192'
    assert '8192' in operator.done(api, 'hypervisor', 'stats', '-f', 'value').out
    assert 'memory_mb: 8192' in operator.done(api, 'hypervisor', 'stats', '-f', 'yaml').out


# -- draining --


def test_c7_a_child_is_drained_and_takes_instances_again(tree, operator, api):
    drained = operator.done(api, 'cell', 'drain', 'region', '--reason', 'new switches')
    assert 'takes no new instances' in drained.out
    eventually(
        lambda: operator(api, 'capacity', '-f', 'json').json()[0]['Size (MB)'] == 0,
        'the region counts for nothing',
    )
    shown = operator.done(api, 'cell', 'show', 'region', '-f', 'json').json()
    assert (shown['drained'], shown['drain_reason']) == (True, 'new switches')
    [listed] = operator.done(api, 'cell', 'list', '-f', 'json').json()
    assert listed['Drained'] is True
    assert 'takes no new instances' in operator.done(api, 'topology').out
    assert 'takes new instances' in operator.done(api, 'cell', 'undrain', 'region').out
    assert 'is not drained here' in operator.done(api, 'cell', 'undrain', 'region').out
    eventually(
        lambda: operator(api, 'capacity', '-f', 'json').json()[0]['Size (MB)'] == 8192,
        'the region counts again',
    )


def test_c7_a_cell_is_drained_by_itself_and_all_above_know(tree, operator, api):
    leaf = tree['leaf'].conf_file

    def drained():
        return [row['drained'] for row in operator(api, 'topology', '-f', 'json').json()]

    operator.done(leaf, 'cell', 'drain')
    eventually(lambda: drained() == [False, False, True], 'the top sees it')
    eventually(
        lambda: operator(api, 'capacity', '-f', 'json').json()[0]['Size (MB)'] == 0,
        'it reports no room',
    )
    operator.done(leaf, 'cell', 'undrain', 'leaf')
    eventually(lambda: drained() == [False, False, False], 'the top sees it')
    assert 'is a parent of this cell' in operator.refused(leaf, 'cell', 'drain', 'region')
    assert 'no neighbour nosuch' in operator.refused(api, 'cell', 'drain', 'nosuch')


# -- neighbours --


def test_o6_a_cell_is_made_verified_and_asked_whether_it_knows_us(
    tree, rabbit, operator, api, other, monkeypatch
):
    rabbit.add_vhost('manage_new')
    new = other(rabbit.url('manage_new'), name='new')
    operator.done(new, 'db', 'sync')
    monkeypatch.setenv('NEW_URL', rabbit.url('manage_new'))
    made = operator(
        api, 'cell', 'create', 'new', 'child', '--url-env', 'NEW_URL', '--handshake', timeout=7
    )
    assert made.code == 3
    assert 'RabbitMQ' in made.out
    assert 'No nova-cells listens there yet' in made.out
    assert 'does not know this cell as its parent' in made.err
    assert 'cell create api parent' in made.err
    shown = operator.done(api, 'cell', 'show', 'new', '-f', 'json').json()
    assert (shown['side'], shown['virtual_host']) == ('child', 'manage_new')
    assert shown['protocol'] == 'unknown'
    down = operator(api, 'topology')
    assert down.code == 3
    assert 'api!new does not answer' in down.err
    # the other side, by its parts
    password = new.parent / 'password'
    password.write_text(rabbit.password + '\n')
    text = new.read_text().replace('cell_type = api', 'cell_type = compute')
    new.write_text(text)
    broker = ['--broker', '127.0.0.1:%d' % rabbit.port, '--username', 'cells']
    broker[-1] = rabbit.url().partition('://')[2].partition(':')[0]
    operator.done(
        new,
        *('cell', 'create', 'api', 'parent', *broker),
        *('--password-file', str(password), '--virtual-host', 'manage_api'),
    )
    deployed = deploy.DeployedCell(
        'new',
        new.parent,
        rabbit.url('manage_new'),
        'sqlite:///%s' % (new.parent / 'new.sqlite'),
        'threading',
    )
    shutil.copy(new, deployed.conf_file)
    deployed.start()
    try:
        operator.done(api, 'cell', 'delete', 'new')
        url_file = new.parent / 'url'
        url_file.write_text(rabbit.url('manage_new') + '\n')
        made = operator.done(
            api, *('cell', 'create', 'new', 'child', '--url-file', str(url_file), '--handshake')
        )
        assert 'Cell new knows this cell as its parent' in made.out
        assert 'No nova-cells listens' not in made.out
        # what happens when its parent is gone: its own commands go on
        operator.done(deployed.conf_file, 'cell', 'ping')
    finally:
        deployed.kill()
    operator.done(api, 'cell', 'delete', 'new')


@pytest.mark.parametrize(
    ('words', 'text'),
    [
        (('new', 'child', 'rabbit://u:s3cr3t@127.0.0.1:1/x'), 'nothing listens there'),
        (('new', 'child', 'rabbit://u:s3cr3t@no.such.host.invalid/x'), 'no host of this name'),
        (('new', 'child', 'BROKER', '--weight-scale', 'nan'), 'weight_scale'),
        (('new', 'child', 'nonsense:s3cr3t'), 'rabbit://user:password@host:port/virtual_host'),
        (('region', 'child', 'rabbit://u:s3cr3t@127.0.0.1:1/x'), 'already exists'),
        (('api', 'child', 'rabbit://u:s3cr3t@127.0.0.1:1/x'), 'this cell itself'),
        (('a.b', 'child', 'rabbit://u:s3cr3t@127.0.0.1:1/x'), "'a.b'"),
        (('', 'child', 'rabbit://u:s3cr3t@127.0.0.1:1/x'), 'not empty'),
        (('new', 'parent', 'rabbit://u:s3cr3t@127.0.0.1:1/x'), 'top of the tree'),
        (('new', 'child'), 'The message bus of the cell is missing'),
        (('new', 'child', '--broker', 'a'), 'is not complete'),
        (('new', 'child', '--url-file', '/no/such/file'), 'No such file'),
        (('new', 'child', '--url-env', 'NO_SUCH_NAME'), 'no such environment variable'),
        (('new', 'child', '--url-env', 'A', '--url-file', 'b'), 'given twice'),
    ],
)
def test_o6_a_neighbour_that_cannot_be_is_refused(rabbit, operator, api, words, text):
    words = [rabbit.url('/') if word == 'BROKER' else word for word in words]
    assert text in operator.refused(api, 'cell', 'create', *words)
    assert [row['Name'] for row in operator(api, 'cell', 'list', '-f', 'json').json()] == ['region']


def test_r11_a_cell_has_one_parent_and_neighbours_of_two_kinds(tree, operator):
    region, url = tree['region'].conf_file, 'rabbit://u:s3cr3t@127.0.0.1:1/x'
    assert 'one parent' in operator.refused(region, 'cell', 'create', 'top2', 'parent', url)
    assert "'uncle'" in operator.refused(region, 'cell', 'create', 'x', 'uncle', url, code=2)


def test_o6_a_bus_that_refuses_us_is_told_from_one_that_is_away(rabbit, tree, operator, api):
    own = tree['api'].transport_url
    wrong = own.replace(rabbit.password, 's3cr3t')
    assert 'the name or the password is wrong' in operator.refused(
        api, 'cell', 'create', 'new', 'child', wrong.replace('manage_api', 'manage_leaf')
    )
    assert 'rabbitmqctl add_vhost' in operator.refused(
        api, 'cell', 'create', 'new', 'child', rabbit.url('manage_nosuch')
    )
    assert 'message bus of cell api itself' in operator.refused(
        api, 'cell', 'create', 'new', 'child', own
    )
    # one broker of two is away
    host = own.partition('://')[2].partition('/')[0]
    two = 'rabbit://%s,u:s3cr3t@127.0.0.1:1/manage_leaf' % host
    made = operator(api, 'cell', 'create', 'new', 'child', two)
    assert made.code == 3
    assert 'One of its brokers cannot be used; 127.0.0.1:1' in made.err
    operator.done(api, 'cell', 'delete', 'new')


def test_o7_d14_weights_and_the_bus_are_changed_while_daemons_run(tree, rabbit, operator, api):
    operator.done(api, 'cell', 'set', 'region', '--weight-offset', '5', '--weight-scale', '2')
    [row] = operator.done(api, 'cell', 'list', '-f', 'json').json()
    assert (row['Weight offset'], row['Weight scale']) == (5.0, 2.0)
    known = eventually(
        lambda: (
            (found := tree.api('api').get_cell_info_for_neighbors(deploy.admin()))[0][
                'weight_offset'
            ]
            == 5.0
            and found
        ),
        'the daemon has read it',
    )
    assert known[0]['weight_scale'] == 2.0
    operator.done(api, 'cell', 'set', 'region', tree['region'].transport_url)
    assert 'Nothing is to be changed' in operator.refused(api, 'cell', 'set', 'region')
    assert 'nothing listens' in operator.refused(
        api, 'cell', 'set', 'region', 'rabbit://u:s3cr3t@127.0.0.1:1/x'
    )
    assert 'no neighbour nosuch' in operator.refused(
        api, 'cell', 'set', 'nosuch', '--weight-offset', '1'
    )
    operator.done(api, 'cell', 'set', 'region', '--weight-offset', '0', '--weight-scale', '1')


def test_neighbours_in_a_file_are_changed_there(other, operator, workdir):
    listed = workdir / 'cells.json'
    listed.write_text(json.dumps({'child': {'transport_url': 'rabbit://u:s3cr3t@b:1/'}}))
    conf = other(cells='cells_config = %s' % listed)
    operator.done(conf, 'db', 'sync')
    assert operator.done(conf, 'cell', 'list', '-f', 'json').json()[0]['Broker'] == 'b:1'
    for words in (
        ('create', 'x', 'child', 'rabbit://u:s3cr3t@b:1/'),
        ('set', 'child', '--weight-offset', '1'),
        ('delete', 'child'),
        ('rename', 'child', 'kid'),
    ):
        said = operator.refused(conf, 'cell', *words)
        assert 'Cannot update cells configuration file' in said
        assert str(listed) in said
    # a drain is kept in the database
    operator.done(conf, 'cell', 'drain', 'child')
    assert operator.done(conf, 'cell', 'list', '-f', 'json').json()[0]['Drained'] is True


# -- delete, rename, move --


def record(database, uuid, cell_name, **values):
    with database.write() as connection:
        instances.instance_create(
            connection,
            {
                'uuid': uuid,
                'project_id': 'p1',
                'user_id': 'u1',
                'display_name': 'web-%s' % uuid[0],
                'cell_name': cell_name,
                'vm_state': 'active',
                **values,
            },
        )


@pytest.fixture
def lone(other, operator, workdir):
    """A top with a child and records of instances in it; nobody runs there."""
    conf = other(name='top')
    operator.done(conf, 'db', 'sync')
    url = 'rabbit://u:%s@127.0.0.1:1/leaf' % SECRET
    operator.done(conf, 'cell', 'create', 'leaf', 'child', url, '--no-verify')
    database = engine.Database('sqlite:///%s' % (workdir / 'top.sqlite'))
    record(database, UUIDS[0], 'top!leaf')
    record(database, UUIDS[1], 'top!leaf!twig', task_state='rebooting')
    record(database, UUIDS[2], 'top!leaflet')
    yield conf, database
    database.dispose()


def test_a_cell_with_instances_is_deleted_only_with_them_as_lost(lone, operator):
    conf, database = lone
    said = operator(conf, 'cell', 'delete', 'leaf')
    assert said.code == 1
    assert '2 instances are still there' in said.err
    assert '--force' in said.err
    assert UUIDS[0] in said.out
    assert UUIDS[1] in said.out
    assert UUIDS[2] not in said.out
    assert [row['name'] for row in neighbours.cell_get_all(database)] == ['leaf']
    forced = operator.done(conf, 'cell', 'delete', 'leaf', '--force')
    assert 'Lost: 2 instances' in forced.out
    assert neighbours.cell_get_all(database) == []
    with database.read() as connection:
        for uuid in UUIDS[:2]:
            found = instances.instance_get(connection, uuid)
            assert (found.vm_state, found.task_state) == ('error', None)
            [fault] = faults.fault_get_all(database, uuid)
            assert 'Cell leaf, which had the instance, was taken out' in fault['message']
        assert instances.instance_get(connection, UUIDS[2]).vm_state == 'active'
    assert 'there is none' in operator.refused(conf, 'cell', 'delete', 'leaf')


def test_what_a_parent_was_not_told_is_kept_for_the_next_one(other, operator, workdir):
    conf = other(name='twig')
    conf.write_text(conf.read_text().replace('cell_type = api', 'cell_type = compute'))
    operator.done(conf, 'db', 'sync')
    url = 'rabbit://u:%s@127.0.0.1:1/' % SECRET
    operator.done(conf, 'cell', 'create', 'old', 'parent', url + 'old', '--no-verify')
    database = engine.Database('sqlite:///%s' % (workdir / 'twig.sqlite'))
    record(database, UUIDS[0], None)
    assert '1 instance of this cell' in operator.refused(conf, 'cell', 'delete', 'old')
    with database.write() as connection:
        journal.outbox_add(
            connection,
            [
                (uuid, 'old', kind, '{}', None, None)
                for uuid, kind in (('m1', 'broadcast'), ('m2', 'targeted'))
            ],
        )
    gone = operator.done(conf, 'cell', 'delete', 'old', '--force').out
    assert 'Lost' not in gone
    assert 'It has no parent now' in gone
    made = operator.done(conf, 'cell', 'create', 'new', 'parent', url + 'new', '--no-verify').out
    assert 'It gets 1 report that waited for an old parent' in made
    assert journal.outbox_waiting(database) == {'new': 1, 'old': 1}
    with database.read() as connection:
        assert instances.instance_get(connection, UUIDS[0]).vm_state == 'active'
    database.dispose()


def test_a_cell_in_the_middle_asks_below_before_a_child_is_deleted(tree, operator):
    region, database = tree['region'].conf_file, tree['leaf'].database()
    record(database, UUIDS[0], None)
    said = operator.refused(region, 'cell', 'delete', 'leaf')
    assert '1 instance in region!leaf' in said
    with database.write() as connection:
        instances.instance_destroy(connection, UUIDS[0], sync=False)
    database.dispose()
    assert [one['name'] for one in neighbours.cell_get_all(tree['region'].database())] == [
        'api',
        'leaf',
    ]


def test_r12_a_child_is_renamed_and_its_instances_stay_known(lone, operator):
    conf, database = lone
    said = operator.done(conf, 'cell', 'rename', 'leaf', 'branch').out
    assert '[cells] name = branch' in said
    assert 'cell rename leaf branch' in said
    assert path_aliases.alias_get_all(database) == [('top!leaf', 'top!branch')]
    [row] = operator.done(conf, 'cell', 'alias-list', '-f', 'json').json()
    assert row == {'Old': 'top!leaf', 'New': 'top!branch'}
    shown = operator.done(conf, 'cell', 'show', 'branch', '-f', 'json').json()
    assert shown['records_of_instances'] == 2
    refused = operator(conf, 'cell', 'delete', 'branch')
    assert '2 instances are still there' in refused.err
    assert 'no neighbour leaf; there is branch' in operator.refused(
        conf, 'cell', 'rename', 'leaf', 'x'
    )
    assert 'this name already' in operator.refused(conf, 'cell', 'rename', 'branch', 'branch')
    assert "'a!b'" in operator.refused(conf, 'cell', 'rename', 'branch', 'a!b')
    assert 'this cell itself' in operator.refused(conf, 'cell', 'rename', 'branch', 'top')


def test_r12_a_cell_is_moved_further_down_and_its_instances_stay_known(lone, operator):
    conf, database = lone
    url = 'rabbit://u:%s@127.0.0.1:1/y' % SECRET
    operator.done(conf, 'cell', 'create', 'region', 'child', url, '--no-verify')
    said = operator.done(conf, 'cell', 'move', 'top!leaf', 'top!region!leaf').out
    assert '2 instances are known there' in said
    assert 'cell delete leaf' in said
    operator.done(conf, 'cell', 'delete', 'leaf')
    shown = operator.done(conf, 'cell', 'show', 'region', '-f', 'json').json()
    assert shown['records_of_instances'] == 2
    for words, text in (
        (('move', 'leaf', 'top!leaf'), 'leaf is not the path of a cell below'),
        (('move', 'top!a', 'top!nosuch!a'), 'no child nosuch; there is region'),
        (('move', 'top!region', 'top!region!b'), 'is a part of the second'),
        (('move', 'a b', 'c'), 'not allowed'),
        (('alias-delete', 'top!nosuch'), 'no alias of top!nosuch'),
    ):
        assert text in operator.refused(conf, 'cell', *words)
    operator.done(conf, 'cell', 'alias-delete', 'top!leaf')
    assert operator.done(conf, 'cell', 'alias-list', '-f', 'json').json() == []


# -- the database --


def test_the_database_is_checked(tree, other, operator, api):
    rows = operator.done(api, 'db', 'check', '-f', 'json').json()
    assert {row['Result'] for row in rows} == {'ok'}
    conf = other()
    assert 'nova-cells-manage db sync' in operator.refused(conf, 'cell', 'list')
    checked = operator(conf, 'db', 'check', '-f', 'json')
    assert checked.code == 1
    assert 'nova-cells-manage db sync' in checked.out
    assert 'revision' in operator.done(api, 'db', 'version').out or (
        'this version needs' in operator.done(api, 'db', 'version').out
    )
    conf.write_text(
        conf.read_text().replace('sqlite:///', 'postgresql+psycopg2://u:s3cr3t@[::1]:1/')
    )
    said = operator.refused(conf, 'db', 'check')
    assert 'The database of cell other cannot be used' in said
    assert 'start it, or correct [database] connection' in said
    assert 'Connection refused' in said or 'could not' in said


def test_what_is_over_is_purged_and_the_rest_stays(lone, operator):
    conf, database = lone
    with database.write() as connection:
        failures.abandon(connection, UUIDS[0], 'a fault', 'x')
        instances.instance_destroy(connection, UUIDS[0], sync=False)
    dry = operator.done(conf, 'db', 'purge', '--days', '0', '--dry-run', '-f', 'json').json()
    assert {row['Table']: row['Rows to delete'] for row in dry}['instances'] == 1
    assert operator.done(conf, 'db', 'purge', '--days', '1', '-f', 'json').json() == []
    gone = operator.done(
        conf, 'db', 'purge', '--days', '0', '--batch-size', '1', '-f', 'json'
    ).json()
    numbers = {row['Table']: row['Rows deleted'] for row in gone}
    assert (numbers['instances'], numbers['instance_faults']) == (1, 1)
    with database.read() as connection:
        assert instances.instance_get(connection, UUIDS[1]).vm_state == 'active'
    for words, text in (
        (('--before', 'yesterday'), 'not a time'),
        (('--days', 'x'), 'not a number of days'),
        ((), 'required'),
    ):
        assert text in operator.refused(conf, 'db', 'purge', *words, code=2)
    assert 'in the future' in operator.refused(conf, 'db', 'purge', '--before', '2999-01-01')


# -- configuration, upgrade --


def test_a_configuration_is_validated_with_what_may_be_meant(other, operator, api, workdir):
    assert operator.done(api, 'config', 'validate', '-f', 'json').json()[0]['Result'] == 'ok'
    unread = operator(other(cells='call_timeuot = 3\nhost = x'), 'config', 'validate', '-f', 'json')
    assert unread.code == 3
    assert 'is it [cells] call_timeout?' in unread.out
    assert 'is it [DEFAULT] host?' in unread.out
    wrong = operator(
        other(cells='call_timeout = soon\nqueue_type = odd'), 'config', 'validate', '-f', 'json'
    )
    assert wrong.code == 1
    assert [row['Result'] for row in json.loads(wrong.out)] == ['wrong'] * 2
    (workdir / 'broken.json').write_text('{"a": ')
    for line, text in (
        ('cells_config = /no/where.json', 'no such file'),
        ('cells_config = %s' % (workdir / 'broken.json'), 'is not JSON'),
        ('driver = pigeon', 'fake, rpc'),
        ('capabilities = os', 'key=value'),
    ):
        said = operator(other(cells=line), 'config', 'validate', '-f', 'json')
        assert said.code == 1
        assert text in said.out
    assert 'nowhere.conf' in operator.refused(workdir / 'nowhere.conf', 'config', 'validate')


def test_an_upgrade_is_checked(tree, rabbit, other, operator, api, monkeypatch):
    monkeypatch.setenv('CELLS_CONCURRENCY', 'threading')
    rows = operator.done(api, 'upgrade', 'check', '-f', 'json').json()
    assert {row['Result'] for row in rows} == {'success'}
    details = {row['Check']: row['Details'] for row in rows}
    assert 'RabbitMQ' in details['Message bus']
    assert 'cells.intercell.targeted' in details['Types of queues']
    monkeypatch.setenv('CELLS_CONCURRENCY', 'eventlet')
    assert operator(api, 'upgrade', 'check').code == 1
    # the same bus with another type of queues, and an empty database
    conf = other(tree['api'].transport_url, cells='queue_type = classic')
    found = operator(conf, 'upgrade', 'check', '-f', 'json')
    assert found.code == 2
    results = {row['Check']: row for row in json.loads(found.out)}
    assert results['Schema of the database']['Result'] == 'failure'
    assert results['Types of queues']['Result'] == 'failure'
    assert 'cells.intercell.targeted' in results['Types of queues']['Details']
    away = operator(other(), 'upgrade', 'check', '-f', 'json')
    assert 'nothing listens there' in away.out


# -- what is away --


@pytest.mark.parametrize(
    'words',
    [
        ('topology',),
        ('capacity',),
        ('service', 'disable', 'host-1'),
    ],
)
def test_without_a_daemon_a_command_says_so_and_what_to_do(rabbit, operator, other, words):
    url = rabbit.url('manage_other')
    rabbit.add_vhost('manage_other')
    with kombu.Connection(url.replace('rabbit://', 'amqp://')) as connection:
        # As a daemon leaves it when it ends.
        exchange = kombu.Exchange('nova', 'topic', durable=False)
        kombu.Queue('cells', exchange, 'cells', channel=connection.default_channel).declare()
    said = operator.refused(other(url), *words, timeout=1)
    assert 'The daemon of cell other did not answer within 1 s' in said
    assert 'start nova-cells' in said


def test_where_no_daemon_has_ever_served_a_command_says_so(rabbit, operator, other):
    rabbit.add_vhost('manage_empty')
    said = operator.refused(other(rabbit.url('manage_empty')), 'topology', timeout=1)
    assert 'No nova-cells listens at topic cells of this message bus' in said
    assert 'start nova-cells with this configuration' in said


def test_without_a_broker_a_command_says_so_and_local_ones_work(operator, other):
    conf = other()
    said = operator.refused(conf, 'capacity', timeout=1)
    assert 'The message bus of cell other cannot be used' in said
    assert 'start the broker' in said
    operator.done(conf, 'db', 'sync')
    for words in (
        ('cell', 'list'),
        ('cell', 'drain'),
        ('cell', 'undrain'),
        ('topology', '--local'),
        ('db', 'check'),
        ('db', 'purge', '--days', '1'),
        ('config', 'validate'),
    ):
        operator.done(conf, *words)


def test_r12_a_silent_cell_is_named_renamed_and_works_without_its_parent(tree, operator, api):
    """Last but one, as the tree is another after it."""
    tree['leaf'].kill()
    found = eventually(
        lambda: (
            (ran := operator(api, 'topology', '-f', 'json', timeout=8)).code == 3
            and ran.json()[2]['state'] == 'down'
            and ran
        ),
        'the leaf is down',
    )
    assert 'api!region!leaf does not answer' in found.err
    listed = operator(api, 'service', 'list', '-f', 'json', timeout=15)
    assert listed.code == 3
    assert 'api!region!leaf does not answer' in listed.err
    assert {row['Host'] for row in listed.json()} == {'api@testhost', 'api!region@testhost'}
    said = operator.refused(tree['region'].conf_file, 'cell', 'delete', 'leaf', timeout=8)
    assert 'nothing is heard from there' in said
    # it comes back under another name, and is found by the old one
    region, leaf = tree['region'].conf_file, tree['leaf'].conf_file
    renamed = operator.done(region, 'cell', 'rename', 'leaf', 'twig').out
    assert 'at the top of the tree: nova-cells-manage cell move' in renamed
    leaf.write_text(leaf.read_text().replace('name = leaf', 'name = twig'))
    tree['leaf'].start()
    operator.done(api, 'cell', 'move', 'api!region!leaf', 'api!region!twig')
    eventually(
        lambda: (
            [row['path'] for row in operator(api, 'topology', '-f', 'json').json()]
            == ['api', 'api!region', 'api!region!twig']
        ),
        'the leaf has its new name',
    )
    eventually(
        lambda: operator(api, 'service', 'disable', 'api!region!leaf@host-1', timeout=6).code == 0,
        'its host is found by the old path',
    )
    operator.done(api, 'service', 'enable', 'api!region!twig@host-1')
    tree['region'].kill()
    operator.done(leaf, 'service', 'list')
    operator.done(leaf, 'capacity')
    operator.done(leaf, 'cell', 'ping')
    refused = operator.refused(leaf, 'cell', 'ping', 'region', timeout=12)
    assert refused.startswith('Cell region did not answer: ')
    assert 'does not know this cell (twig) as its child' in refused
    operator.done(leaf, 'cell', 'drain')
    assert list(drains.drain_get_all(tree['leaf'].database())) == ['twig']
    eventually(
        lambda: reports.DRAINING in tree.ops('leaf').status(deploy.admin())['capabilities'],
        'its daemon has read it',
    )
    # its daemons run on while it gets another parent, and it is still found by its first path
    operator.done(leaf, 'cell', 'delete', 'region')
    operator.done(leaf, 'cell', 'create', 'api', 'parent', tree['api'].transport_url)
    url = tree['leaf'].transport_url
    made = operator.done(api, 'cell', 'create', 'twig', 'child', url, '--handshake', timeout=40)
    assert 'knows this cell as its parent' in made.out
    operator.done(api, 'cell', 'move', 'api!region!twig', 'api!twig')
    eventually(
        lambda: operator(api, 'service', 'disable', 'api!region!leaf@host-1', timeout=6).code == 0,
        'the daemon has read the new path',
    )
    listed = operator(api, 'service', 'list', '--host', 'host-1', '-f', 'json', timeout=8).json()
    assert [(row['Host'], row['Status']) for row in listed] == [('api!twig@host-1', 'disabled')]


def test_x7_no_log_of_a_daemon_has_a_password(tree, operator):
    for name in CELLS:
        for secret in operator.secrets:
            assert secret not in tree[name].log()
