"""The programs as a person meets them: the demo, the daemon's refusals, nova-cells-manage."""

import json
import os
import pathlib
import signal
import socket
import subprocess

import pytest

from cells.db import engine, migration, neighbours
from tests import deploy

SECRET = 's3cr3t'


def run(program: str, *arguments: str, seconds: float = 120, **env: str):
    """Run a program of ours to its end."""
    return subprocess.run(
        [str(deploy.BIN / program), *arguments],
        capture_output=True,
        text=True,
        timeout=seconds,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **env},
        check=False,
    )


@pytest.mark.timeout(600)
def test_the_demo_shows_the_tree_and_the_silent_cell_on_eventlet_as_well():
    shown = run('nova-cells-demo', seconds=580, CELLS_CONCURRENCY='eventlet', COLUMNS='200')
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert shown.stderr == ''
    assert 'cell-b falls silent' in shown.stdout
    assert 'Timeout waiting for response from cell api!region-1!cell-b' in shown.stdout
    assert shown.stdout.rstrip().endswith('All as it should be.')
    assert '✘' not in shown.stdout


@pytest.fixture
def conf_file(workdir):
    """Write a configuration; give lines by group to change it."""

    def write(default: str = '', database: str | None = None, cells: str = ''):
        url = database or 'sqlite:///%s' % (workdir / 'cells.sqlite')
        found = workdir / 'cells.conf'
        found.write_text(
            '[DEFAULT]\ntransport_url = rabbit://nova:%s@127.0.0.1:1/x\nstate_path = %s\n%s\n'
            '[database]\nconnection = %s\n[cells]\nname = api\ncell_type = api\n%s\n'
            % (SECRET, workdir, default, url, cells)
        )
        return str(found)

    return write


@pytest.mark.parametrize(
    ('change', 'code', 'texts'),
    [
        ({}, 1, ['schema is at revision none', 'nova-cells-manage db sync']),
        ({'cells': 'driver = pigeon'}, 1, ['driver = pigeon', 'fake, rpc']),
        ({'cells': 'driver = no.such.Class'}, 1, ['driver = no.such.Class', 'imported']),
        ({'cells': 'name = a!b'}, 1, ["'a!b'", 'not allowed']),
        ({'cells': 'cell_type = top'}, 1, ['cell_type', 'api', 'compute']),
        ({'cells': 'capabilities = os'}, 1, ["'os'", 'key=value']),
        ({'cells': 'cells_config = /no/such/file.json'}, 1, ['/no/such/file.json', 'no such file']),
        ({'cells': 'call_timeout = soon'}, 1, ['call_timeout', 'soon']),
        ({'database': 'nonsense'}, 1, ['[database] connection']),
        ({'default': 'transport_url = nonsense'}, 1, ['transport_url', 'rabbit://']),
    ],
)
def test_a_bad_configuration_is_refused_with_what_is_allowed(conf_file, change, code, texts):
    refused = run('nova-cells', '--config-file', conf_file(**change))
    assert refused.returncode == code, refused.stderr
    for text in texts:
        assert text in refused.stderr
    assert 'Traceback' not in refused.stderr
    assert SECRET not in refused.stderr + refused.stdout


def test_a_missing_configuration_file_is_named(workdir):
    refused = run('nova-cells', '--config-file', str(workdir / 'nowhere.conf'))
    assert refused.returncode == 2
    assert 'nowhere.conf' in refused.stderr
    assert 'Traceback' not in refused.stderr


def test_an_unknown_kind_of_concurrency_is_refused():
    refused = run('nova-cells', CELLS_CONCURRENCY='asyncio')
    assert refused.returncode == 2
    assert 'eventlet or threading' in refused.stderr


@pytest.fixture
def daemon(conf_file, workdir):
    """Start a daemon whose broker is away, and give it with a function that reads its log."""
    processes = []

    def start(concurrency: str, cells: str = ''):
        path = conf_file(cells=cells)
        migration.sync(engine.Database('sqlite:///%s' % (workdir / 'cells.sqlite')))
        with open(workdir / 'log', 'w') as log:
            process = subprocess.Popen(
                [str(deploy.BIN / 'nova-cells'), '--config-file', path],
                stderr=log,
                stdout=log,
                env={**os.environ, 'CELLS_CONCURRENCY': concurrency},
            )
        processes.append(process)
        return process, (workdir / 'log').read_text

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize('concurrency', ['threading', 'eventlet'])
def test_a_daemon_waits_for_a_broker_says_so_and_can_be_stopped(daemon, concurrency):
    process, log = daemon(concurrency)
    deploy.wait_until(lambda: 'Connection failed' in log(), 60, 'it says so')
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert SECRET not in log()
    assert 'Traceback' not in log()


def test_a_daemon_says_what_works_but_not_well(daemon):
    process, log = daemon('eventlet', 'workers = 2\ncall_timeuot = 3')
    deploy.wait_until(lambda: 'Under eventlet every' in log(), 60, 'eventlet')
    assert '2 workers share an SQLite database' in log()
    assert 'Under eventlet every statement of the database driver pysqlite' in log()
    assert 'nobody reads [cells] call_timeuot (is it [cells] call_timeout?)' in log()
    deploy.wait_until(lambda: 'Connection failed' in log(), 60, 'it goes on')
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def manage(conf: str, *arguments: str):
    return run('nova-cells-manage', '--config-file', conf, *arguments)


def test_a_schema_is_made_and_neighbours_are_managed(conf_file):
    conf = conf_file()
    assert manage(conf, 'db', 'version').stdout.startswith('none (this version needs ')
    made = manage(conf, 'db', 'sync')
    assert (made.returncode, made.stderr) == (0, '')
    url = 'rabbit://nova:%s%%40%%2F@broker:5671/child' % SECRET
    assert manage(conf, 'cell', 'create', 'child', 'child', url, '--no-verify').returncode == 0
    listed = manage(conf, 'cell', 'list', '-f', 'json')
    assert json.loads(listed.stdout) == [
        {
            'Name': 'child',
            'Side': 'child',
            'Broker': 'broker:5671',
            'Weight offset': 0.0,
            'Weight scale': 1.0,
            'Drained': False,
            'Seconds since heard': None,
        }
    ]
    assert SECRET not in listed.stdout + listed.stderr


def test_d13_all_brokers_of_a_neighbour_are_listed(conf_file):
    conf = conf_file()
    manage(conf, 'db', 'sync')
    hosts = ','.join('u:%s@broker-%d:567%d' % (SECRET, number, number) for number in range(5))
    made = manage(conf, 'cell', 'create', 'child', 'child', 'rabbit://%s/v' % hosts, '--no-verify')
    assert (made.returncode, made.stderr) == (0, '')
    [listed] = json.loads(manage(conf, 'cell', 'list', '-f', 'json').stdout)
    assert listed['Broker'] == ', '.join('broker-%d:567%d' % (n, n) for n in range(5))


def test_a_neighbour_whose_url_is_wrong_is_listed_as_well(conf_file, workdir):
    conf = conf_file()
    manage(conf, 'db', 'sync')
    database = engine.Database('sqlite:///%s' % (workdir / 'cells.sqlite'))
    neighbours.cell_create(
        database, {'name': 'odd', 'transport_url': 'rabbit://a:%s@b:c/' % SECRET}
    )
    neighbours.cell_create(database, {'name': 'fine', 'transport_url': 'rabbit://b:1/'})
    database.dispose()
    listed = manage(conf, 'cell', 'list', '-f', 'json')
    rows = {row['Name']: row['Broker'] for row in json.loads(listed.stdout)}
    assert rows == {'odd': 'not a transport URL', 'fine': 'b:1'}
    assert SECRET not in listed.stdout + listed.stderr


@pytest.mark.parametrize(
    ('cells', 'made', 'texts'),
    [
        ('cell_type = compute', [], ['compute cell without a parent', '--standalone']),
        ('cell_type = api', ['above', 'parent'], ['top of the tree', 'above']),
        ('capabilities = kvm', [], ['[cells] capabilities', "'kvm'", 'key=value']),
        ('cells_config = /no/where.json', [], ['/no/where.json', 'no such file']),
        ('cells_config = broken.json', [], ['broken.json', 'is not JSON']),
        (
            'cell_type = api\n[upgrade_levels]\nintercell = 2.0',
            [],
            ["intercell = '2.0'", 'liberty', '1.0'],
        ),
    ],
)
def test_d11_a_place_in_the_tree_that_cannot_be_stops_the_start(
    conf_file, workdir, cells, made, texts
):
    conf = conf_file(cells='cell_type = compute')
    manage(conf, 'db', 'sync')
    if made:
        manage(conf, 'cell', 'create', *made, 'rabbit://u:p@b:1/', '--no-verify')
    (workdir / 'broken.json').write_text('{"a": ')
    conf = conf_file(cells=cells.replace('broken', str(workdir / 'broken')))
    refused = run('nova-cells', '--config-file', conf)
    assert refused.returncode == 1
    for text in texts:
        assert text in refused.stderr
    assert 'Traceback' not in refused.stderr


def test_manage_says_in_one_line_that_the_database_is_away(conf_file):
    url = 'postgresql+psycopg2://nova:%s@127.0.0.1:1/cells' % SECRET
    refused = manage(conf_file(database=url), 'cell', 'list')
    assert refused.returncode == 1
    assert len(refused.stderr.strip().splitlines()) == 1
    assert 'The database of cell api cannot be used' in refused.stderr
    assert SECRET not in refused.stderr


@pytest.fixture
def synced(conf_file, workdir):
    """Write a configuration for a database that has the schema."""

    def write(default: str = '', cells: str = '') -> str:
        found = conf_file(default, None, cells)
        database = engine.Database('sqlite:///%s' % (workdir / 'cells.sqlite'))
        migration.sync(database)
        database.dispose()
        return found

    return write


def add_neighbour(workdir, **values) -> None:
    database = engine.Database('sqlite:///%s' % (workdir / 'cells.sqlite'))
    neighbours.cell_create(database, {'transport_url': 'rabbit://u:p@h/v', **values})
    database.dispose()


def test_d11_a_top_with_a_parent_is_refused(synced, workdir):
    conf = synced()
    add_neighbour(workdir, name='above', is_parent=True)
    refused = run('nova-cells', '--config-file', conf)
    assert refused.returncode == 1
    assert 'is the top of the tree' in refused.stderr
    assert 'parent above' in refused.stderr


def test_d11_a_compute_cell_without_a_parent_is_refused_with_what_helps(synced):
    refused = run('nova-cells', '--config-file', synced(cells='cell_type = compute'))
    assert refused.returncode == 1
    assert 'without a parent' in refused.stderr
    assert '--standalone' in refused.stderr


def test_d11_a_compute_cell_may_be_told_to_run_alone(workdir, rabbit):
    tree = deploy.Tree(
        workdir / 'tree', rabbit, deploy.sqlite(workdir), {'lonely': None}, workers=1, prefix='d11_'
    )
    conf = tree['lonely'].conf_file
    conf.write_text(conf.read_text().replace('cell_type = api', 'cell_type = compute'))
    refused = run('nova-cells', '--config-file', str(conf))
    assert refused.returncode == 1
    with open(workdir / 'log', 'wb') as log:
        process = subprocess.Popen(
            [str(deploy.BIN / 'nova-cells'), '--config-file', str(conf), '--standalone'],
            stdout=log,
            stderr=log,
        )
    try:
        deploy.wait_until(lambda: ' serves' in (workdir / 'log').read_text(), 30, 'it serves')
    finally:
        process.terminate()
        assert process.wait(30) == 0


@pytest.mark.parametrize('concurrency', ['threading', 'eventlet'])
def test_o9_a_message_bus_that_refuses_us_is_named_in_one_line(synced, rabbit, concurrency):
    conf = synced()
    path = pathlib.Path(conf)
    path.write_text(
        path.read_text().replace(
            'rabbit://nova:%s@127.0.0.1:1/x' % SECRET,
            'rabbit://nova:%s@127.0.0.1:%d/' % (SECRET, rabbit.port),
        )
    )
    reason = '127.0.0.1:%d: it refuses user nova: the name or the password is wrong' % rabbit.port
    refused = run('nova-cells', '--config-file', conf, CELLS_CONCURRENCY=concurrency)
    asked = run('nova-cells-manage', '--config-file', conf, 'topology')
    for ran in (refused, asked):
        assert ran.returncode == 1, ran
        said = ran.stdout + ran.stderr
        assert reason in said
        assert 'correct [DEFAULT] transport_url' in said
        assert 'Traceback' not in said
        assert SECRET not in said
    assert len(asked.stderr.splitlines()) == 1


def test_a_virtual_host_that_there_is_not_is_named(synced, rabbit):
    conf = synced()
    path = pathlib.Path(conf)
    text = path.read_text().replace('rabbit://nova:%s@127.0.0.1:1/x' % SECRET, rabbit.url('nosuch'))
    path.write_text(text)
    asked = run('nova-cells-manage', '--config-file', conf, 'topology')
    assert asked.returncode == 1
    assert 'the virtual host nosuch: make it (rabbitmqctl add_vhost)' in asked.stderr
    assert 'Traceback' not in asked.stdout + asked.stderr


def test_two_cells_on_one_message_bus_do_not_both_serve(workdir, rabbit):
    databases = deploy.sqlite(workdir)
    first = deploy.Tree(
        workdir / 'one', rabbit, databases, {'first': None}, workers=1, prefix='bus_'
    )
    second = deploy.Tree(
        workdir / 'two', rabbit, databases, {'second': None}, workers=2, prefix='bus_'
    )
    conf = second['second'].conf_file
    conf.write_text(conf.read_text().replace('bus_second', 'bus_first', 1))
    with first.running():
        refused = run('nova-cells', '--config-file', str(conf))
        assert refused.returncode == 1
        said = refused.stdout + refused.stderr
        assert 'cell first (' in said
        assert 'of this cell, second (' in said
        assert 'Traceback' not in said
        assert first.ops('first').whoami(deploy.admin())['name'] == 'first'


@pytest.mark.parametrize('concurrency', ['threading', 'eventlet'])
def test_systemd_is_told_that_the_daemon_is_up(workdir, rabbit, concurrency):
    tree = deploy.Tree(
        workdir / 'tree',
        rabbit,
        deploy.sqlite(workdir),
        {'notified': None},
        workers=1,
        prefix='systemd_%s_' % concurrency,
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(workdir / 'notify'))
        told.settimeout(30)
        process = subprocess.Popen(
            [str(deploy.BIN / 'nova-cells'), '--config-file', str(tree['notified'].conf_file)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={
                **os.environ,
                'NOTIFY_SOCKET': str(workdir / 'notify'),
                'CELLS_CONCURRENCY': concurrency,
            },
        )
        try:
            assert told.recv(100) == b'READY=1'
        finally:
            process.terminate()
            assert process.wait(30) == 0
